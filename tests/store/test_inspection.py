"""Every view holds exactly the faces that its figure counts: cell by cell, group by group, bin by bin."""

from __future__ import annotations

import itertools
import json
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import facevlm
from facevlm import attributes
from facevlm.errors import FieldError
from facevlm.store import correcting, evaluations, history, inspection, predictions, runs
from facevlm.store import results as results_store
from facevlm.store.inspection import Inspected
from facevlm.store.model_evaluation import JudgedFields
from facevlm.store.rows import PictureRows
from facevlm.types import Face, Prediction

N = 240
ASKED = ("race7", "gender", "age5")
GROUPS = ["race", "gender", "age", "indoors", "lens", "width", "height", "tag:blurred"]
ADULT = "20-39"


def answer(rng: np.random.Generator, face: Face, attribute: str, k: int) -> Prediction:
    labels = attributes.get(attribute).labels
    if k % 17 == 0:
        return Prediction(face, attribute, "refused", reason="I cannot say", text="I cannot say that.")
    shares = rng.dirichlet(np.full(len(labels), 0.4))
    at = int(shares.argmax())
    if k % 23 == 0:
        return Prediction(face, attribute, "ok", label=labels[at], text=labels[at])
    return Prediction(
        face,
        attribute,
        "ok",
        label=labels[at],
        confidence=float(shares[at]),
        log_probs=tuple(np.log(shares).tolist()),
        coverage=0.3 if k % 11 == 0 else 0.9,
    )


def predict(dataset: fo.Dataset, prefix: str, seed: int, names: tuple[str, ...] = ASKED) -> None:
    """Answers of a model that guesses; every 13th face was not asked."""
    rng = np.random.default_rng(seed)
    fields = {name: predictions.field_name(prefix, name) for name in names}
    stamps = dict.fromkeys(names, f"facevlm_{prefix}:0")
    predictions.declare(dataset, fields, stamps)
    faces = [Face(i, "") for k, i in enumerate(dataset.values("id")) if k % 13]
    write = predictions.PredictionWriter(dataset, fields, stamps)
    write([answer(rng, face, name, k) for k, face in enumerate(faces) for name in names])
    questions = {name: {"labels": list(attributes.get(name).labels)} for name in names}
    runs.write(
        dataset, runs.run_key(prefix), {"prefix": prefix, "questions": questions, "time": "2000-01-01T00:00:00+00:00"}
    )


@pytest.fixture(scope="module")
def dataset() -> Any:
    rng = np.random.default_rng(7)
    made = fo.Dataset("inspection", overwrite=True)
    races, genders = attributes.get("race5").labels, attributes.get("gender").labels
    made.add_samples(
        [
            fo.Sample(
                filepath=f"/nowhere/{k}.png",
                race=None if k % 19 == 0 else fo.Classification(label=races[rng.integers(len(races))]),
                gender=fo.Classification(label=genders[rng.integers(2)].lower()),
                age=int(rng.integers(1, 90)),
                indoors=None if k % 7 == 0 else bool(k % 2),
                lens=["wide", "long"][k % 2] if k % 5 else None,
                width=int(rng.integers(100, 4000)),
                height=float(rng.random() * 300),
                tags=["blurred"] if k % 3 == 0 else [],
            )
            for k in range(N)
        ],
        progress=False,
    )
    predict(made, "m", 1)
    facevlm.evaluate(
        made,
        prefix="m",
        ground_truth={"race7": "race", "gender": "gender", "age5": "age"},
        groups=GROUPS[:6],
        draws=20,
    )
    facevlm.evaluate(
        made, ["gender"], prefix="m", groups=GROUPS[5:], bins={"width": [500, 2000.5]}, eval_key="binned", draws=20
    )
    yield made
    fo.delete_dataset("inspection")


def there(dataset: fo.Dataset, attribute: str, key: str = "m_eval") -> Inspected:
    return inspection.inspect(dataset, results_store.load(dataset, key), attribute)


@pytest.mark.parametrize("attribute", ASKED)
def test_every_cell_of_the_confusion_matrix(dataset: fo.Dataset, attribute: str) -> None:
    found = there(dataset, attribute)
    labels = found.figures["labels"]
    for truth, row in zip(labels, found.figures["confusion"], strict=True):
        for said, n in zip([*labels, None], row, strict=True):
            view = inspection.cell(found, truth, said)
            assert len(view) == n, (truth, said)
            sure = [c for c in view.values(found.fields.sure) if c is not None]
            assert sure == sorted(sure, reverse=True)
    assert len(found.faces) == found.figures["overall"]["n"] > 100


def test_fields_are_found_where_labels_were_mapped(dataset: fo.Dataset) -> None:
    race, age = there(dataset, "race7"), there(dataset, "age5")
    copy = "m_race7_as_race5"
    paths = {"told": "m_eval_race7_told"}
    assert race.fields == JudgedFields("race.label", f"{copy}.label", f"{copy}.confidence", "m_race7", **paths)
    paths = {"told": "m_eval_age5_told"}
    assert age.fields == JudgedFields("age_as_age5.label", "m_age5.label", "m_age5.confidence", "m_age5", **paths)
    assert (race.prefix, age.truth) == ("m", "age")
    labels, merged, logits = race.faces.values([race.fields.said, race.fields.sure, "m_race7.logits"])
    becomes = race.results["becomes"]["race7"]
    for label, sure, row in zip(labels, merged, logits, strict=True):
        if row is not None:
            shares = zip(attributes.get("race7").labels, np.exp(row), strict=True)
            assert sure == pytest.approx(sum(share for fine, share in shares if becomes[fine] == label))


@pytest.mark.parametrize(("attribute", "key"), [(a, "m_eval") for a in ASKED] + [("gender", "binned")])
def test_every_group_and_crossing_of_groups(dataset: fo.Dataset, attribute: str, key: str) -> None:
    found = there(dataset, attribute, key)
    by = [table for table in found.figures["groups"] if len(table["by"]) <= 2]
    assert {name for table in by for name in table["by"]} == set(GROUPS[:6] if key == "m_eval" else GROUPS[5:])
    rows = [(table["by"], row) for table in by for row in table["rows"]]
    # Single groups all, pairs of groups every seventh: there are hundreds of them.
    pairs = itertools.islice((r for r in rows if len(r[0]) == 2), 0, None, 7)
    for names, row in [*(r for r in rows if len(r[0]) == 1), *pairs]:
        assert len(inspection.group(found, names, row["values"])) == row["cell"]["n"], (names, row["values"])


@pytest.mark.parametrize("attribute", ASKED)
def test_every_bin_of_the_reliability_curve(dataset: fo.Dataset, attribute: str) -> None:
    found = there(dataset, attribute)
    bins = found.figures["confidence"]["bins"]
    assert sum(b["n"] for b in bins) == found.figures["confidence"]["n"]
    assert [len(inspection.reliability_bin(found, k)) for k in range(len(bins))] == [b["n"] for b in bins]


def test_faces_without_an_answer_and_of_low_coverage(dataset: fo.Dataset) -> None:
    found = there(dataset, "gender")
    refused = inspection.not_answered(found)
    assert refused.count_values("m_gender.outcome") == {"refused": len(refused)}
    assert len(refused) == found.figures["overall"]["outcomes"]["refused"]
    low = inspection.low_coverage(found).values("m_gender.coverage")
    assert low
    assert max(low) < inspection.LOW_COVERAGE
    assert len(low) == sum(1 for c in dataset.values("m_gender.coverage") if c is not None and c < 0.5)


def test_confident_errors_are_the_answered_cells_off_the_diagonal(dataset: fo.Dataset) -> None:
    found = there(dataset, "race7")
    errors = inspection.confident_errors(found)
    confusion = np.array(found.figures["confusion"])
    assert len(errors) == confusion[:, :-1].sum() - np.trace(confusion)
    sure = [c for c in errors.values(found.fields.sure) if c is not None]
    assert sure == sorted(sure, reverse=True)


def test_disagreements_count_no_answer_as_an_answer(dataset: fo.Dataset) -> None:
    predict(dataset, "other", 2, ("gender",))
    found = there(dataset, "gender")
    assert inspection.rivals(found) == ["other"]
    assert inspection.rivals(there(dataset, "race7")) == []
    mine, its, asked = dataset.values(["m_gender.label", "other_gender.label", "m_gender.outcome"])
    differ = sum(1 for a, b, o in zip(mine, its, asked, strict=True) if o is not None and a != b)
    assert len(inspection.disagreements(found, "other")) == differ > 20
    with pytest.raises(FieldError, match="nope_gender"):
        inspection.disagreements(found, "nope")


@pytest.mark.parametrize("attribute", ["gender", "race7"])
def test_likely_label_errors_follow_confident_learning(dataset: fo.Dataset, attribute: str) -> None:
    found = there(dataset, attribute)
    labels, field = list(found.figures["labels"]), f"m_{attribute}"
    ids, truth, said, logits = found.faces.values(
        ["id", f"{found.fields.truth}", f"{found.fields.said}", f"{field}.logits"]
    )
    becomes = attributes.label_map(
        attributes.get(attribute), attributes.get(found.figures["attribute"]), attributes.shipped()
    )
    assert becomes is not None
    fine = attributes.get(attribute).labels
    shares = {
        i: np.array([sum(np.exp(row[k]) for k, f in enumerate(fine) if becomes[f] == label) for label in labels])
        for i, row in zip(ids, logits, strict=True)
        if row is not None
    }
    known = [(i, labels.index(t), s) for i, t, s in zip(ids, truth, said, strict=True) if i in shares]
    if attribute == "gender":
        usual = {k: np.mean([shares[i][t] for i, t, _ in known if t == k]) for k in range(len(labels))}
        wanted = [
            i for i, t, s in known if labels.index(s) != t and shares[i][labels.index(s)] >= usual[labels.index(s)]
        ]
        true = {i: t for i, t, _ in known}
        wanted.sort(key=lambda i: shares[i][true[i]])
        assert inspection.label_errors(found)[1].values("id") == wanted
    name, view = inspection.label_errors(found, most=5)
    assert name == f"m_eval_{attribute}_label_errors"
    assert dataset.load_saved_view(name).values("id") == view.values("id")
    own = {i: shares[i][t] for i, t, _ in known}
    listed = [own[i] for i in view.values("id")]
    assert len(listed) == 5
    assert listed == sorted(listed)


def test_corrections_go_to_a_field_of_their_own(dataset: fo.Dataset) -> None:
    found = there(dataset, "age5")
    before, chosen = dataset.values("age"), found.faces.values("id")[:3]
    assert correcting.correct(found, chosen, ADULT) == "age_corrected"
    correcting.correct(found, chosen[:1], "0-2" if "0-2" in found.figures["labels"] else found.figures["labels"][0])
    assert dataset.values("age") == before
    assert dataset.select(chosen[1:]).distinct("age_corrected.label") == [ADULT]
    copied = dict(zip(*dataset.values(["id", "age_corrected.label"]), strict=True))
    mapped = dict(zip(*dataset.values(["id", "age_as_age5.label"]), strict=True))
    assert {i for i in copied if copied[i] != mapped[i]} <= set(chosen)
    assert "age_corrected" in evaluations.truth_fields(PictureRows(dataset))
    again = facevlm.evaluate(
        dataset, ["age5"], prefix="m", ground_truth={"age5": "age_corrected"}, eval_key="c", draws=5
    )
    assert again["age5"].overall.n == found.figures["overall"]["n"]
    with pytest.raises(FieldError, match="Got the label 'ancient'"):
        correcting.correct(found, chosen, "ancient")
    dataset.add_sample_field("gender_corrected", fo.StringField)
    with pytest.raises(FieldError, match="does not hold corrections of 'gender_as_gender'"):
        correcting.correct(there(dataset, "gender"), chosen, "Male")
    dataset.delete_sample_field("gender_corrected")


def test_all_answers_about_a_face(dataset: fo.Dataset) -> None:
    sample = dataset.exists("m_gender").skip(1).first()
    said = {a.attribute: a for a in history.answers(dataset, sample.id) if a.prefix == "m"}
    assert set(said) == set(ASKED)
    gender = said["gender"]
    assert (gender.label, gender.outcome, gender.labels) == (sample.m_gender.label, "ok", ("Male", "Female"))
    assert sum(gender.shares) == pytest.approx(1)
    refused = dataset.match(fo.ViewField("m_gender.outcome") == "refused").first()
    answer = next(a for a in history.answers(dataset, refused.id) if a.attribute == "gender" and a.prefix == "m")
    assert (answer.label, answer.reason, answer.text, answer.shares) == (None, "I cannot say", "I cannot say that.", ())
    assert [a for a in history.answers(dataset, dataset.first().id) if a.prefix == "m"] == []


def test_views_are_made_of_stages_alone(dataset: fo.Dataset) -> None:
    found = there(dataset, "gender")
    views = [
        inspection.cell(found, "Male", None),
        inspection.reliability_bin(found, 3),
        inspection.group(found, ["race"], ["White"]),
    ]
    assert all(len(json.dumps(view._serialize(), default=str)) < 3000 for view in views)


def test_an_evaluation_of_a_view_shows_faces_of_that_view(dataset: fo.Dataset) -> None:
    facevlm.evaluate(dataset.limit(60), ["gender"], prefix="m", eval_key="part", groups=["width"], draws=5)
    found = there(dataset, "gender", "part")
    assert len(found.target) == 60
    assert len(inspection.cell(found, "Male", "Male")) == found.figures["confusion"][0][0]
    for row in found.figures["groups"][0]["rows"]:
        assert len(inspection.group(found, ["width"], row["values"])) == row["cell"]["n"]


def test_what_is_not_there_any_more_is_said(dataset_name: str, dataset: fo.Dataset) -> None:
    copy = dataset.clone(dataset_name)
    with pytest.raises(FieldError, match="keeps no figures of the evaluation 'nope'"):
        results_store.load(copy, "nope")
    results = results_store.load(copy, "m_eval")
    with pytest.raises(FieldError, match="no figures of 'emotion7'"):
        inspection.inspect(copy, results, "emotion7")
    found = inspection.inspect(copy, results, "gender")
    copy.delete_sample_field("lens")
    with pytest.raises(FieldError, match="'lens' is not there any more"):
        inspection.group(found, ["lens"], ["wide"])
    copy.delete_sample_field("m_gender")
    with pytest.raises(FieldError, match="Field 'm_gender' of the evaluation 'm_eval_gender' is not there any more"):
        inspection.inspect(copy, results, "gender")
    copy.delete_evaluation("m_eval_race7")
    with pytest.raises(FieldError, match="it was deleted"):
        inspection.inspect(copy, results, "race7")


def test_an_evaluation_older_than_the_predictions_is_known(dataset: fo.Dataset) -> None:
    found = there(dataset, "gender")
    assert not found.outdated
    runs.write(dataset, "facevlm_m", {"prefix": "m", "time": "2999-01-01T00:00:00+00:00"})
    assert there(dataset, "gender").outdated


def test_a_dataset_without_evaluations_has_no_keys(dataset_name: str, dataset: fo.Dataset) -> None:
    assert results_store.eval_keys(dataset)[:2] == ["m_eval", "binned"]
    assert results_store.eval_keys(fo.Dataset(dataset_name)) == []

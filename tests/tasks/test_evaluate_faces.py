"""Attributes on faces: judged box by box, whichever way predictions and ground truth meet."""

from __future__ import annotations

import dataclasses

import fiftyone as fo
import numpy as np
import pytest

import facevlm
from facevlm.attributes import align, get, shipped
from facevlm.errors import FieldError
from facevlm.store import correcting, evaluations, history, inspection
from facevlm.store import results as results_store
from facevlm.store.rows import FaceRows, PictureRows, detections_fields, rows_of
from facevlm.tasks import sources as sources_task
from facevlm.types import Prediction
from tests.store import on_faces

NAMES = ("gender", "age5")
TRUTH = {"gender": "faces.detections.gender", "age5": "faces.detections.age"}


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, Prediction]]:
    groups = sources_task.sample_groups("test-faces-said")
    found = on_faces.answers(groups, NAMES)
    by_place = {d.id: (k, n) for k, s in enumerate(groups) for n, d in enumerate(s.faces.detections)}
    groups.delete()
    return {name: {str(by_place[i]): p for i, p in rows.items()} for name, rows in found.items()}


@pytest.fixture
def groups(dataset_name: str, said: dict[str, dict[str, Prediction]]) -> fo.Dataset:
    """The group pictures with predictions of prefix ``m``, tied to the faces by id."""
    dataset = sources_task.sample_groups(dataset_name)
    on_faces.store(dataset, "m", _here(dataset, said))
    return dataset


def _here(dataset: fo.Dataset, said: dict[str, dict[str, Prediction]]) -> dict[str, dict[str, Prediction]]:
    ids = {str((k, n)): d.id for k, s in enumerate(dataset) for n, d in enumerate(s.faces.detections)}
    return {name: {ids[place]: p for place, p in rows.items()} for name, rows in said.items()}


def by_hand(dataset: fo.Dataset, attribute: str) -> tuple[int, int]:
    """Faces with ground truth, and how many answers are right."""
    n = right = 0
    for sample in dataset:
        for true, answer in zip(sample.faces.detections, sample[f"m_{attribute}"].detections, strict=True):
            value = true.age if attribute == "age5" else true.gender
            label = align(get(attribute), [value], shipped()).to_truth(value)
            n, right = n + 1, right + (label == answer.label)
    return n, right


def test_faces_are_judged_as_by_hand(groups: fo.Dataset) -> None:
    result = facevlm.evaluate(groups, prefix="m", draws=20)
    assert result.ground_truth == {"gender": "faces.detections.gender", "age5": "faces.detections.age_group"}
    result = facevlm.evaluate(groups, prefix="m", ground_truth=TRUTH, draws=20)
    for name in NAMES:
        n, right = by_hand(groups, name)
        assert (result[name].overall.n, result[name].extra) == (n, 0)
        assert result[name].overall.accuracy == pytest.approx(right / n)
    assert n == 28
    assert result["gender"].confidence is not None
    assert result["age5"].ages is not None
    assert result.faces == "faces"


def test_boxes_without_ids_meet_by_overlap(groups: fo.Dataset, said: dict[str, dict[str, Prediction]]) -> None:
    on_faces.store(groups, "o", _here(groups, said), by_id=False)
    first, second = (facevlm.evaluate(groups, prefix=p, ground_truth=TRUTH, draws=20) for p in ("m", "o"))
    for name in NAMES:
        assert first[name].confusion == second[name].confusion
        assert second[name].overall.n == 28


def test_a_face_without_a_prediction_and_a_prediction_without_a_face(groups: fo.Dataset) -> None:
    sample = groups.first()
    found = sample.m_gender.detections
    gone, kept = found[0], found[1:]
    stray = fo.Detection(label="Male", bounding_box=[0.0, 0.0, 0.01, 0.01], outcome="ok", confidence=0.9)
    sample.m_gender = fo.Detections(detections=[*kept, stray])
    sample.save()
    last = groups.last()
    last.m_gender = None
    last.save()
    result = facevlm.evaluate(groups, ["gender"], prefix="m", ground_truth={"gender": TRUTH["gender"]}, draws=20)
    judged = result["gender"]
    assert judged.extra == 1
    assert judged.not_asked == len(last.faces.detections)
    assert judged.overall.outcomes == {"ok": 27 - judged.not_asked, "no_face": 1}
    there = inspection.inspect(groups, results_store.load(groups, "m_eval"), "gender")
    assert inspection.not_answered(there).values("m_eval_gender_told.face") == [gone.face]


def test_refusals_and_groups_on_faces_and_pictures(groups: fo.Dataset) -> None:
    groups.set_values("place", ["in", "out"] * (len(groups) // 2))
    sample = groups.first()
    detection = sample.m_gender.detections[0]
    detection.label, detection["outcome"], detection["logits"] = None, "refused", None
    detection.confidence = None
    sample.save()
    names = ["faces.detections.race", "place"]
    result = facevlm.evaluate(groups, ["gender"], prefix="m", groups=names, draws=20)["gender"]
    assert result.overall.outcomes == {"ok": 27, "refused": 1}
    place = next(t for t in result.groups if t.by == ("place",))
    sizes = {row.values[0]: row.cell.n for row in place.rows}
    faces = [len(d) for d in groups.values("faces.detections")]
    assert sizes == {"in": sum(faces[::2]), "out": sum(faces[1::2])}
    races = next(t for t in result.groups if t.by == ("faces.detections.race",))
    assert sum(row.cell.n for row in races.rows) == 28


def test_every_figure_opens_its_faces(groups: fo.Dataset) -> None:
    groups.set_values("place", ["in", "out"] * (len(groups) // 2))
    names = ["faces.detections.race", "place", "faces.detections.gender"]
    facevlm.evaluate(groups, prefix="m", ground_truth=TRUTH, groups=names, draws=20)
    stored = results_store.load(groups, "m_eval")
    for name in NAMES:
        there = inspection.inspect(groups, stored, name)
        for truth, row in zip(there.figures["labels"], there.figures["confusion"], strict=True):
            for label, n in zip([*there.figures["labels"], None], row, strict=True):
                assert len(inspection.cell(there, truth, label)) == n
        for table in there.figures["groups"]:
            for row in table["rows"]:
                assert len(inspection.group(there, table["by"], row["values"])) == row["cell"]["n"], table["by"]
        bins = there.figures["confidence"]["bins"]
        assert [len(inspection.reliability_bin(there, k)) for k in range(len(bins))] == [b["n"] for b in bins]
        errors = inspection.confident_errors(there)
        assert len(errors) == 28 - sum(there.figures["confusion"][k][k] for k in range(len(there.figures["labels"])))
        assert groups.load_saved_view(f"m_eval_{name}_errors").values("id") == errors.values("id")
        kept, right = inspection.kept(there, 0.0)
        assert (kept, right) == (28, 28 - len(errors))
        assert len(inspection.surer_than(there, 0.9)) + len(inspection.less_sure_than(there, 0.9)) == 28
        assert len(inspection.label_errors(there)[1]) <= len(errors)


def test_the_native_evaluation_agrees(groups: fo.Dataset) -> None:
    """FiftyOne's own matching by overlap, on boxes that are the same."""
    result = facevlm.evaluate(groups, prefix="m", ground_truth=TRUTH, draws=20)
    assert sorted(groups.list_evaluations()) == ["m_eval_age5", "m_eval_gender"]
    for name in NAMES:
        native = groups.load_evaluation_results(f"m_eval_{name}", cache=False)
        assert np.mean(native.ytrue == native.ypred) == pytest.approx(result[name].overall.accuracy)
        assert len(native.ytrue) == 28
        assert next(iter(native.custom_metrics.values()))["value"] == pytest.approx(result[name].overall.f1)


def test_faces_are_tagged_and_relabelled_on_the_ground_truth(groups: fo.Dataset) -> None:
    result = facevlm.evaluate(groups, prefix="m", ground_truth=TRUTH, draws=20)["gender"]
    there = inspection.inspect(groups, results_store.load(groups, "m_eval"), "gender")
    males = inspection.cell(there, "Male", "Male")
    chosen = males.values("id")[:2]
    assert correcting.tag(there, "ambiguous", chosen) == 2
    tagged = groups.match_labels(tags="ambiguous", fields="faces").values("faces.detections.tags")
    assert groups.count_label_tags("faces") == {"ambiguous": 2}
    assert tagged
    with pytest.raises(FieldError, match="Got pictures, expected faces"):
        correcting.tag(there, "ambiguous", groups.values("id")[:1])
    with pytest.raises(FieldError, match="Got pictures, expected faces"):
        correcting.correct(there, groups.values("id")[:1], "Male")
    assert history.answers(groups, chosen[0]) == []
    assert correcting.corrected_overall(there) is None
    name = correcting.correct(there, chosen[:1], "Female")
    assert name == "faces.detections.gender_corrected"
    assert groups.count_values(name)["Female"] == groups.count_values("faces.detections.gender")["Female"] + 1
    figures = correcting.corrected_overall(there)
    assert figures is not None
    assert figures.n == 1
    assert figures.accuracy == pytest.approx(result.overall.accuracy - 1 / 28)
    again = facevlm.evaluate(groups, ["gender"], prefix="m", ground_truth={"gender": name}, eval_key="c", draws=20)
    assert again["gender"].overall.accuracy == pytest.approx(figures.accuracy)


def test_two_runs_on_faces_are_compared(groups: fo.Dataset, said: dict[str, dict[str, Prediction]]) -> None:
    other = _here(groups, said)
    turned = {"Male": "Female", "Female": "Male"}
    first = next(iter(other["gender"]))
    label = other["gender"][first].label
    assert label is not None
    other["gender"][first] = dataclasses.replace(other["gender"][first], label=turned[label])
    on_faces.store(groups, "t", other)
    pair = facevlm.compare(groups, ["m", "t"], ["gender"], ground_truth={"gender": TRUTH["gender"]}, draws=20)[0].pairs[
        0
    ]
    assert (pair.n, pair.table[0][1] + pair.table[1][0]) == (28, 1)
    facevlm.evaluate(groups, ["gender"], prefix="m", ground_truth={"gender": TRUTH["gender"]}, draws=20)
    there = inspection.inspect(groups, results_store.load(groups, "m_eval"), "gender")
    assert inspection.rivals(there) == ["t"]
    assert inspection.disagreements(there, "t").values("m_eval_gender_told.face") == [first]


def test_what_is_not_known_is_said(groups: fo.Dataset) -> None:
    assert detections_fields(groups) == ["faces"]
    with pytest.raises(FieldError, match="Got 'boxes', which is no field of Detections with ground truth"):
        facevlm.evaluate(groups, prefix="m", faces="boxes")
    groups.clone_sample_field("faces", "people")
    with pytest.raises(FieldError, match="expected faces= one of: faces, people"):
        facevlm.evaluate(groups, prefix="m")
    with pytest.raises(FieldError, match="Ground-truth field 'gender' is not there"):
        facevlm.evaluate(groups, ["gender"], prefix="m", faces="faces", ground_truth={"gender": "gender"})
    assert isinstance(rows_of(groups, ["m_gender"], "people"), FaceRows)
    assert isinstance(rows_of(groups, []), PictureRows)


def test_an_emotion_of_a_field_that_holds_none(groups: fo.Dataset) -> None:
    rows = FaceRows(groups, "faces")
    assert "faces.detections.gender" in evaluations.truth_fields(rows)
    assert len(rows.ids()) == len(rows.values("filepath")) == len(rows.face_ids) == 28
    assert [len(part) for part in rows.per_picture(range(28))] == [len(d) for d in groups.values("faces.detections")]


def test_errors_are_grouped_by_what_a_detector_measured(groups: fo.Dataset) -> None:
    """Quality is on boxes of another field, in another order and a little off; a face that was not found has none."""
    expected: list[float | None] = []
    for sample in groups:
        found: list[fo.Detection] = []
        for k, face in enumerate(sample.faces.detections):
            x, y, w, h = face.bounding_box
            sharpness = None if k == 2 else float(10 * len(expected) + k)
            expected.append(sharpness)
            if sharpness is not None:
                box = [x + 0.1 * w, y, w, h]
                found.insert(0, fo.Detection(label="face", bounding_box=box, confidence=0.9, sharpness=sharpness))
        sample["found"] = fo.Detections(detections=found)
        sample.save()
    groups.add_dynamic_sample_fields()
    rows = FaceRows(groups, "faces")
    assert "found.detections.sharpness" in evaluations.group_fields(rows)
    assert "m_gender.detections.coverage" not in evaluations.group_fields(rows)
    assert rows.values("found.detections.sharpness") == expected
    field = "found.detections.sharpness"
    result = facevlm.evaluate(
        groups, prefix="m", ground_truth=TRUTH, groups=[field], bins={field: [150.0]}, faces="faces"
    )
    [table] = result.evaluations[0].groups
    below = [v < 150 for v in expected if v is not None]
    assert [(r.values[0], r.cell.n) for r in table.rows] == [
        ("1: below 150", sum(below)),
        ("2: from 150", len(below) - sum(below)),
    ]


def test_a_picture_is_grouped_by_its_only_face(dataset_name: str) -> None:
    dataset = fo.Dataset(dataset_name)
    faces = [fo.Detection(bounding_box=[0, 0, 1, 1], sharpness=float(k)) for k in range(3)]
    shown = [faces[:1], [], faces[1:], None]
    found = [None if some is None else fo.Detections(detections=some) for some in shown]
    dataset.add_samples([fo.Sample(filepath=f"/x/{k}.png", found=f) for k, f in enumerate(found)], progress=False)
    dataset.add_dynamic_sample_fields()
    assert PictureRows(dataset).elsewhere((fo.FloatField,)) == ["found.detections.sharpness"]
    groups = evaluations.group_values(PictureRows(dataset), "found.detections.sharpness", [0.5])
    assert groups == ["1: below 0.5", None, None, None]

"""Groups by tags, numbers and bins, mapped scores and ages: evaluate on a real dataset."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from PIL import Image

import facevlm
from facevlm.attributes import YEARS, align, get, shipped
from facevlm.errors import FieldError, InputError
from facevlm.evaluation.evaluate import GroupTable
from facevlm.reports import text
from facevlm.reports.brief import brief
from facevlm.store import results
from facevlm.store.evaluations import group_values, read, read_truth
from facevlm.store.rows import PictureRows
from facevlm.tasks.evaluate import MOST_FIELDS, EvaluationResult
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain

RACE7 = get("race7")
FEW_DRAWS = 20


def by_brightness(image: Image.Image, question: Question) -> Reply:
    level = int(image.getpixel((0, 0))[0])  # type: ignore[index]
    return certain(question.attribute.labels[int(level >= 100)], question)


def silent(image: Image.Image, question: Question) -> Reply:
    return Reply(text="I cannot say", refused=True)


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    """Ten greys, the darker five Male, picture 9 taken for the wrong one."""
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    made.set_values("gender", [fo.Classification(label=x) for x in ["Male"] * 5 + ["Female"] * 4 + ["Male"]])
    made.set_values("years", [3, 8, 17, 18, 25, 30, 41, 60, 75, None])
    made.set_values("blur", [0.1 * k for k in range(9)] + [None])
    facevlm.apply(made, ScriptedBackend(by_brightness), ["gender"], prefix="t", progress=False)
    return made


def evaluated(dataset: fo.Dataset, **kwargs: object) -> EvaluationResult:
    return facevlm.evaluate(dataset, **{"prefix": "t", "draws": FEW_DRAWS} | kwargs)  # type: ignore[arg-type]


def sizes(result: EvaluationResult, *by: str) -> dict[tuple[str, ...], int]:
    return {row.values: row.cell.n for row in table(result, *by).rows}


def table(result: EvaluationResult, *by: str) -> GroupTable:
    return next(t for t in result.evaluations[0].groups if t.by == by)


def test_bins_of_ones_own(dataset: fo.Dataset) -> None:
    result = evaluated(dataset, groups=[], bins={"years": [18, 60]})
    assert sizes(result, "years") == {("1: below 18",): 3, ("2: from 18 below 60",): 4, ("3: from 60",): 2}
    assert len(result.evaluations[0].groups) == 1


def test_bins_stand_beside_the_fields_to_group_by(dataset: fo.Dataset) -> None:
    result = evaluated(dataset, groups=["gender"], bins={"years": [18]})
    assert [t.by for t in result.evaluations[0].groups] == [("gender",), ("years",), ("gender", "years")]
    assert sizes(result, "gender", "years")["Female", "2: from 18"] == 4
    by_default = evaluated(dataset, bins={"years": [18]})
    assert [t.by for t in by_default.evaluations[0].groups] == [("gender",), ("years",), ("gender", "years")]


def test_bins_take_the_place_of_the_groups_of_a_ground_truth_field(dataset: fo.Dataset) -> None:
    facevlm.apply(dataset, ScriptedBackend(by_brightness), ["age5"], prefix="t", progress=False)
    result = evaluated(dataset, attributes=["age5"], ground_truth={"age5": "years"}, bins={"years": [18]})
    assert sizes(result, "years") == {("1: below 18",): 3, ("2: from 18",): 6}
    labels = evaluated(dataset, attributes=["age5"], ground_truth={"age5": "years"})
    assert set(sizes(labels, "years")) == {("0-9",), ("10-19",), ("20-39",), ("40-59",), ("More than 60",)}


def test_a_tag_makes_two_groups(dataset: fo.Dataset) -> None:
    dataset.limit(3).tag_samples("studio")
    dataset.limit(1).tag_samples("blurred")
    result = evaluated(dataset, groups=["tag:studio", "tag:blurred"])
    assert sizes(result, "tag:studio") == {("not studio",): 7, ("studio",): 3}
    assert sizes(result, "tag:studio", "tag:blurred") == {
        ("not studio", "not blurred"): 7,
        ("studio", "blurred"): 1,
        ("studio", "not blurred"): 2,
    }
    assert sizes(evaluated(dataset, groups=["tag:nowhere"]), "tag:nowhere") == {("not nowhere",): 10}


def test_few_numbers_are_groups_and_many_are_quarters(dataset: fo.Dataset) -> None:
    dataset.set_values("camera", [1, 2] * 5)
    dataset.set_values("day", [True, False] * 5)
    assert set(group_values(PictureRows(dataset), "camera")) == {"1", "2"}
    assert set(group_values(PictureRows(dataset), "day")) == {"True", "False"}
    dataset.add_samples([fo.Sample(filepath=f"/x/{k}.png", blur=k / 10) for k in range(9, 40)], progress=False)
    quarters = group_values(PictureRows(dataset), "blur")
    assert len(set(quarters) - {None}) == 4
    assert [v is None for v in quarters].count(True) == 1
    assert sum(sizes(evaluated(dataset, groups=["blur"]), "blur").values()) == 9


def test_numbers_that_are_none_are_in_no_group(dataset: fo.Dataset) -> None:
    """Whether there are few numbers or many: nan is not known."""
    dataset.set_values("score", [1.0, 2.0, math.nan, math.nan, math.nan, None, 1.0, 1.0, 2.0, 2.0])
    expected = ["1.0", "2.0", None, None, None, None, "1.0", "1.0", "2.0", "2.0"]
    assert group_values(PictureRows(dataset), "score") == expected
    assert {v is None for v in group_values(PictureRows(dataset), "score", [1.5])[2:6]} == {True}


def test_a_field_of_a_thousand_values(dataset: fo.Dataset) -> None:
    dataset.add_samples([fo.Sample(filepath=f"/x/{k}.png", serial=f"s{k}") for k in range(1_100)], progress=False)
    said = r"Group field 'serial' has 1,100 different values, expected at most 100\. Choose a field with few values"
    with pytest.raises(FieldError, match=said):
        evaluated(dataset, groups=["serial"])
    assert dataset.list_evaluations() == []


def test_too_many_fields(dataset: fo.Dataset) -> None:
    names = [f"f{k}" for k in range(MOST_FIELDS + 1)]
    for name in names:
        dataset.set_values(name, ["a", "b"] * 5)
    with pytest.raises(InputError, match=r"Got 7 fields to group by \(f0, .*\), expected at most 6"):
        evaluated(dataset, groups=names)
    with pytest.raises(InputError, match="Got 7 fields"):
        evaluated(dataset, groups=names[:-1], bins={"years": [18]})
    most = evaluated(dataset, groups=names[:-1]).evaluations[0].groups
    assert len(most) == 2**MOST_FIELDS - 1


def test_a_field_named_twice_is_one(dataset: fo.Dataset) -> None:
    assert [t.by for t in evaluated(dataset, groups=["gender", "gender"]).evaluations[0].groups] == [("gender",)]


@pytest.mark.parametrize(
    ("kwargs", "error", "said"),
    [
        ({"groups": ["nofield"]}, FieldError, r"'nofield' is not there or no label.*tag:NAME groups by a tag"),
        ({"bins": {"gender": [1]}}, FieldError, "Got bins for 'gender', which holds no numbers"),
        ({"bins": {"nofield": [1]}}, FieldError, "'nofield' is not there"),
        ({"bins": {"years": [60, 18]}}, InputError, r"bin edges \[60, 18\] for 'years', expected rising numbers"),
        ({"bins": {"tag:studio": [1]}}, FieldError, "Got bins for 'tag:studio'"),
    ],
)
def test_groups_that_cannot_be(
    dataset: fo.Dataset, kwargs: Mapping[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        evaluated(dataset, **kwargs)
    assert dataset.list_evaluations() == []


SCORES = (0.05, 0.30, 0.02, 0.20, 0.06, 0.25, 0.12)
"""Black, East Asian, Indian, Latinx or Hispanic, Middle Eastern, Southeast Asian, White."""


def test_probabilities_of_labels_that_become_one_add_up(dataset: fo.Dataset) -> None:
    def answer(image: Image.Image, question: Question) -> Reply:
        if image.getpixel((0, 0))[0] == 10:  # type: ignore[index]
            return Reply(text="East Asian")
        return Reply(log_probs=tuple(math.log(v) for v in SCORES))

    facevlm.apply(dataset, ScriptedBackend(answer), ["race7"], prefix="t", progress=False)
    dataset.set_values("race", [fo.Classification(label=x) for x in ["Asian", "Others"] * 5])
    rows = PictureRows(dataset)
    truth = read_truth(rows, "race", RACE7, shipped())
    assert truth.alignment.common.labels == ("White", "Black", "Asian", "Indian", "Others")
    reading, _ = read(rows, "t", RACE7, truth)
    merged = reading.records({}).log_probs
    assert merged is not None
    assert np.isnan(merged[0]).all(), "answered in words: there are no scores"
    np.testing.assert_allclose(np.exp(merged[1:]), [[0.12, 0.05, 0.55, 0.02, 0.26]] * 9, atol=1e-6)
    confidence = evaluated(dataset, attributes=["race7"])["race7"].confidence
    assert confidence is not None
    assert confidence.n == 9
    # Cut, not rounded, where it is shown: in binary the confidence lies a little below 0.55.
    assert confidence.selective[-1].threshold == pytest.approx(0.54)
    assert confidence.selective[-1].coverage == pytest.approx(9 / 10)
    assert confidence.top2 == 1


def test_no_scores_make_no_confidence(dataset: fo.Dataset) -> None:
    answering = ScriptedBackend(lambda image, question: Reply(text="Male"))
    facevlm.apply(dataset, answering, ["gender"], prefix="words", progress=False)
    assert evaluated(dataset, prefix="words")["gender"].confidence is None


def test_nobody_is_answered(dataset: fo.Dataset) -> None:
    facevlm.apply(dataset, ScriptedBackend(silent), ["gender", "age5"], prefix="mute", progress=False)
    result = evaluated(dataset, prefix="mute", ground_truth={"age5": "years"}, groups=["gender"])
    cell = result["gender"].overall
    assert (cell.n, cell.coverage, cell.accuracy, cell.outcomes) == (10, 0, 0, {"refused": 10})
    assert math.isnan(cell.accuracy_answered)
    assert result["gender"].confidence is None
    ages = result["age5"].ages
    assert ages is not None
    assert (ages.n, ages.n_minors) == (0, 0)
    assert math.isnan(ages.mean_years)
    assert json.dumps(result.to_dict(), allow_nan=False)
    assert dataset.load_saved_view(result.views["gender"]).count() == 10


def test_true_years_give_age_errors(dataset: fo.Dataset) -> None:
    groups = [0, 1, 2, 1, 3, 2, 2, 4, 0, 0]

    def answer(image: Image.Image, question: Question) -> Reply:
        k = (int(image.getpixel((0, 0))[0]) - 10) // 20  # type: ignore[index]
        return certain(question.attribute.labels[groups[k]], question)

    facevlm.apply(dataset, ScriptedBackend(answer), ["age5"], prefix="t", progress=False)
    result = evaluated(dataset, attributes=["age5"], ground_truth={"age5": "years"})["age5"]
    ages = result.ages
    assert ages is not None
    # Years 3, 8, 17, 18, 25, 30, 41, 60, 75 in 0-9, 10-19, 20-39, 10-19, 40-59, 20-39, 20-39, 60 on, 0-9.
    assert ages.mean_years == pytest.approx((0 + 2 + 3 + 0 + 15 + 0 + 2 + 0 + 66) / 9)
    assert (ages.n, ages.n_minors, ages.minors_as_adults) == (9, 3, pytest.approx(1 / 3))
    assert (ages.n_adults, ages.adults_as_minors) == (6, pytest.approx(1 / 6))
    assert result.overall.signed_bias == pytest.approx((0 + 1 + 1 + 0 + 1 + 0 - 1 + 0 - 4) / 9)


def test_labels_as_ground_truth_give_no_years(dataset: fo.Dataset) -> None:
    assert evaluated(dataset)["gender"].ages is None
    assert align(get("age5"), [3, 30], shipped()).truth_attribute == YEARS


def test_an_attribute_no_face_has_both_truth_and_answer_of(dataset: fo.Dataset) -> None:
    """Ground truth is there and predictions are there, but never of the same face."""
    half = dataset.limit(5)
    facevlm.apply(half, ScriptedBackend(by_brightness), ["gender"], prefix="half", progress=False)
    dataset.set_values("gender", [None] * 5 + dataset.values("gender")[5:])
    result = evaluated(dataset, prefix="half", groups=[])["gender"]
    assert (result.overall.n, result.not_asked, result.no_truth) == (0, 5, 5)
    assert math.isnan(result.overall.accuracy)
    assert result.confidence is None


def test_the_overall_interval_does_not_depend_on_the_groups(dataset: fo.Dataset) -> None:
    cells = [evaluated(dataset, groups=names)["gender"].overall for names in ([], ["gender"], ["gender", "years"])]
    assert len({(cell.balanced_accuracy_low, cell.balanced_accuracy_high) for cell in cells}) == 1


def test_faces_of_no_group_are_counted_in_words(dataset: fo.Dataset, tmp_path: Path) -> None:
    dataset.set_values("site", ["a", "b", "a", None, None, None, "b", "b", None, None])
    result = evaluated(dataset, groups=["site", "gender"])
    told = "5 of 10 faces have no site: they are in no group."
    told_of_both = "5 of 10 faces have no site or no gender: they are in no group."
    shown = text.text(result.evaluations)
    assert told in shown
    assert told_of_both in shown
    assert "have no gender" not in shown
    facevlm.report(dataset, tmp_path, prefix="t")
    for name in ("report.md", "report.html", "report.json"):
        report = (tmp_path / name).read_text()
        assert told in report
        assert told_of_both in report


def test_faces_of_no_group_are_counted_where_answers_are_lacking(dataset: fo.Dataset, tmp_path: Path) -> None:
    facevlm.apply(dataset, ScriptedBackend(silent), ["gender"], prefix="mute", progress=False)
    dataset.set_values("site", ["a", "b", "a", None, None, None, "b", "b", None, None])
    evaluated(dataset, prefix="mute", groups=["site"])
    facevlm.report(dataset, tmp_path, prefix="mute")
    outcomes = (tmp_path / "report.md").read_text().partition("Outcomes by site")[2]
    assert "5 of 10 faces have no site: they are in no group." in outcomes


@pytest.fixture
def sites(dataset_name: str, tmp_path: Path) -> fo.Dataset:
    """Two sites that are served alike at every age, of which one has more of the old, who are hard; 240 faces."""
    for name, grey in (("right", 10), ("wrong", 200)):
        Image.new("RGB", (16, 16), (grey,) * 3).save(tmp_path / f"{name}.png")
    made = fo.Dataset(dataset_name, persistent=True)
    samples = [
        fo.Sample(
            filepath=str(tmp_path / ("right.png" if k < n * share else "wrong.png")),
            truth=fo.Classification(label="Male"),
            site=site,
            band=band,
            years=25 if band == "young" else 70,
        )
        for site, young, old in (("a", 90, 30), ("b", 30, 90))
        for band, n, share in (("young", young, 0.9), ("old", old, 0.5))
        for k in range(n)
    ]
    made.add_samples(samples, progress=False)
    facevlm.apply(made, ScriptedBackend(by_brightness), ["gender"], prefix="t", progress=False)
    return made


def of_sites(dataset: fo.Dataset, **kwargs: object) -> EvaluationResult:
    return evaluated(dataset, **{"ground_truth": {"gender": "truth"}, "groups": ["site"]} | kwargs)


def test_a_gap_that_age_explains_is_none_at_the_same_age(sites: fo.Dataset, tmp_path: Path) -> None:
    result = of_sites(sites, adjust=["band"])
    held = table(result, "site").adjusted
    assert held is not None
    assert [(row.values, row.n) for row in held.rows] == [(("a",), 120), (("b",), 120)]
    assert [row.crude for row in held.rows] == pytest.approx([0.8, 0.6])
    assert [row.adjusted for row in held.rows] == pytest.approx([0.7, 0.7])
    assert [row.difference for row in held.rows] == pytest.approx([0, 0], abs=1e-12)
    assert [row.odds_ratio for row in held.rows] == pytest.approx([1, 1])
    assert (held.crude_gap, held.gap) == (pytest.approx(0.2), pytest.approx(0, abs=1e-12))
    assert held.crude_gap_low > 0
    assert held.gap_low == 0
    assert (held.over, held.strata, result.adjust) == (("band",), (("old",), ("young",)), ["band"])
    low, high = (f"{100 * v:.1f}" for v in (held.crude_gap_low, held.crude_gap_high))
    told = f"are 20.0 crude ({low} - {high}) and 0.0 adjusted by band (0.0 - "
    shown = " ".join(text.text(result.evaluations).split())
    assert told in shown
    assert "With the same mix of band for every group it is 70.0 % (" in shown
    facevlm.report(sites, tmp_path, prefix="t")
    for name in ("report.md", "report.html", "report.json"):
        report = (tmp_path / name).read_text()
        assert told in report
        assert "Accuracy by site, adjusted by band" in report


def test_pairs_of_groups_are_adjusted_or_it_is_said_why_not(sites: fo.Dataset) -> None:
    sites.set_values("light", [["bright", "dim"][k % 2] for k in range(len(sites))])
    result = of_sites(sites, groups=["site", "light"], adjust=["band"])
    (pairs,) = (t for t in result.evaluations[0].groups if len(t.by) == 2)
    held = pairs.adjusted
    assert held is not None
    assert [row.values for row in held.rows] == [("a", "bright"), ("a", "dim"), ("b", "bright"), ("b", "dim")]
    assert sum(row.n for row in held.rows) == held.n == 240
    assert "Accuracy by site and light, adjusted by band:" in text.text(result.evaluations)
    bands = [f"{band}{k % 2}" for k, band in enumerate(sites.values("band"))]
    sites.set_values("band", bands)
    apart = of_sites(sites, groups=["site", "light"], adjust=["band"])
    assert "Nothing can be adjusted: no band has faces of every group." in text.text(apart.evaluations)


def test_numbers_are_adjusted_by_in_bins_and_are_no_groups_for_that(sites: fo.Dataset) -> None:
    result = of_sites(sites, adjust="years", bins={"years": [30, 60]})
    held = table(result, "site").adjusted
    assert held is not None
    assert held.strata == (("1: below 30",), ("3: from 60",))
    assert [t.by for t in result.evaluations[0].groups] == [("site",)]


def test_an_evaluated_attribute_stands_for_its_ground_truth(sites: fo.Dataset) -> None:
    facevlm.apply(sites, ScriptedBackend(by_brightness), ["age5"], prefix="t", progress=False)
    truths = {"gender": "truth", "age5": "years"}
    result = of_sites(sites, ground_truth=truths, adjust=["age5"])
    assert result.adjust == ["years"]
    for evaluation in result.evaluations:
        held = evaluation.groups[0].adjusted
        assert held is not None
        assert held.strata == (("20-39",), ("More than 60",))
    # By default faces are grouped by the ground truth: a field that is adjusted by is left as it is.
    usual = evaluated(sites, ground_truth=truths, adjust=["age5"])
    assert {t.by: t.adjusted is None for t in usual.evaluations[0].groups} == {
        ("truth",): True,
        ("years",): True,
        ("truth", "years"): True,
    }


def test_strata_that_a_group_lacks_are_named_and_in_neither_figure(sites: fo.Dataset) -> None:
    bands = sites.values("band")
    sites.set_values("band", ["middle"] * 10 + [None] * 5 + bands[15:])
    result = of_sites(sites, adjust=["band"])
    held = table(result, "site").adjusted
    assert held is not None
    (lacking,) = held.without_support
    assert (lacking.values, lacking.missing, lacking.n) == (("middle",), ("b",), 10)
    assert (held.n, held.unknown, held.small) == (225, 5, 0)
    assert [(row.n, row.crude) for row in held.rows] == [(105, pytest.approx(81 / 105)), (120, pytest.approx(0.6))]
    shown = " ".join(text.text(result.evaluations).split())
    assert "10 faces are in neither figure, since not every group has faces of their band: middle (10; " in shown
    assert "5 faces of these groups have no band: they are in neither figure" in shown
    sites.set_values("band", ["x"] * 120 + ["y"] * 120)
    apart = of_sites(sites, adjust=["band"])
    assert "Nothing can be adjusted: no band has faces of every group." in text.text(apart.evaluations)
    assert json.dumps(apart.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("kwargs", "error", "said"),
    [
        ({"adjust": ["nofield"]}, FieldError, r"Field to adjust by 'nofield' is not there or no label.*is: .*band"),
        ({"adjust": ["site"]}, InputError, "Got 'site' both to group by and to adjust by, expected different fields"),
        ({"adjust": 3}, InputError, r"Got adjust=3 \(int\), expected a list of names"),
        ({"adjsut": ["band"]}, InputError, "adjsut.*adjust"),
    ],
)
def test_fields_that_cannot_be_adjusted_by(
    sites: fo.Dataset, kwargs: Mapping[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        of_sites(sites, **kwargs)
    assert sites.list_evaluations() == []


def test_faces_of_one_person_belong_together(sites: fo.Dataset, tmp_path: Path) -> None:
    """Four faces of each of 59 persons, of whom a site is full each, and four faces of nobody known."""
    subjects = [k // 4 for k in range(240)]
    sites.set_values("subject", [None if k == 59 else k for k in subjects])
    alone, together = of_sites(sites), of_sites(sites, cluster="subject")
    assert (together.cluster, alone.cluster) == ("subject", None)
    one, other = alone.evaluations[0], together.evaluations[0]
    assert other.clusters is not None
    assert (other.clusters.by, other.clusters.n, other.clusters.unknown) == ("subject", 63, 4)
    assert one.overall.accuracy == other.overall.accuracy
    assert other.overall.low < one.overall.low < one.overall.high < other.overall.high
    gap, wider = table(alone, "site").gaps[0], table(together, "site").gaps[0]
    assert gap.p_value < wider.p_value
    assert gap.difference_high < wider.difference_high
    shown = " ".join(text.text(together.evaluations).split())
    said = "240 faces of 63 clusters by subject: intervals and tests know which faces belong together. 4 faces have no"
    assert said in shown
    assert said in " ".join(brief(together.evaluations).split())
    assert "clusters" not in text.text(alone.evaluations)
    facevlm.report(sites, tmp_path / "report", prefix="t", eval_key=together.eval_key)
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert said in " ".join(report.split())
    assert "| site | n | clusters |" in " ".join(report.split())
    kept = results.load(sites, together.eval_key)
    assert kept["cluster"] == "subject"
    assert kept["evaluations"][0]["clusters"] == {"by": "subject", "n": 63, "unknown": 4}


def test_an_evaluation_that_was_stored_before_clusters_is_read(sites: fo.Dataset, tmp_path: Path) -> None:
    stored = of_sites(sites).to_dict()
    del stored["cluster"]
    for evaluation in stored["evaluations"]:
        del evaluation["clusters"], evaluation["overall"]["clusters"]
        for grouping in evaluation["groups"]:
            for row in grouping["rows"]:
                del row["shrunk"], row["cell"]["clusters"]
    results.keep(sites, f"{results.KEPT}{stored['eval_key']}", results.RESULTS, stored)
    assert results.load(sites, stored["eval_key"])["cluster"] is None
    written = facevlm.report(sites, tmp_path / "report", prefix="t", eval_key=stored["eval_key"])
    assert {path.name for path in written} == {"report.html", "report.json", "report.md"}


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("nofield", r"Field of clusters 'nofield' is not there or holds no values.*There is: .*band"),
        ("truth", "Got the ground truth 'truth' as clusters, expected the field that says which faces belong together"),
        ("gender", "Got the ground truth 'truth' as clusters"),
        ("same", "Field of clusters 'same' has one value, 'x', for all faces, expected one that tells persons apart"),
    ],
)
def test_fields_that_are_no_clusters(sites: fo.Dataset, field: str, said: str) -> None:
    sites.set_values("same", ["x"] * 240)
    with pytest.raises(FieldError, match=said):
        of_sites(sites, cluster=field)
    assert sites.list_evaluations() == []


def test_two_runs_are_compared_by_person(sites: fo.Dataset) -> None:
    facevlm.apply(sites, ScriptedBackend(silent), ["gender"], prefix="u", progress=False)
    sites.set_values("subject", [k // 4 for k in range(240)])
    [alone], [together] = (
        facevlm.compare(sites, ["t", "u"], ["gender"], ground_truth={"gender": "truth"}, cluster=by)
        for by in (None, "subject")
    )
    assert together.cluster == "subject"
    assert together.pairs[0].low <= alone.pairs[0].low
    assert "240 faces of 60 clusters by subject" in together.notes[-1]
    with pytest.raises(FieldError, match="Got the ground truth 'truth' as clusters"):
        facevlm.compare(sites, ["t", "u"], ["gender"], ground_truth={"gender": "truth"}, cluster="truth")

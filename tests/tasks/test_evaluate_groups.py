"""Groups by tags, numbers and bins, mapped scores and ages: evaluate on a real dataset."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import fiftyone as fo
import numpy as np
import pytest
from PIL import Image

import facevlm
from facevlm.attributes import YEARS, align, get, shipped
from facevlm.errors import FieldError, InputError
from facevlm.evaluation.evaluate import GroupTable
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


def test_a_field_of_ten_thousand_values(dataset: fo.Dataset) -> None:
    dataset.add_samples([fo.Sample(filepath=f"/x/{k}.png", serial=f"s{k}") for k in range(10_000)], progress=False)
    said = r"Group field 'serial' has 10,000 different values, expected at most 100\. Choose a field with few values"
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
    merged = read(rows, "t", RACE7, truth).records({}).log_probs
    assert merged is not None
    assert np.isnan(merged[0]).all(), "answered in words: there are no scores"
    np.testing.assert_allclose(np.exp(merged[1:]), [[0.12, 0.05, 0.55, 0.02, 0.26]] * 9, atol=1e-6)
    confidence = evaluated(dataset, attributes=["race7"])["race7"].confidence
    assert confidence is not None
    assert confidence.n == 9
    assert confidence.selective[-1].threshold == pytest.approx(0.55, abs=1e-6)
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
    assert len({(cell.f1_low, cell.f1_high) for cell in cells}) == 1

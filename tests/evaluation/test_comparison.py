"""Two runs on the same faces: McNemar's test against statsmodels, intervals by simulation, and real datasets."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from statsmodels.stats.contingency_tables import mcnemar

import facevlm
from facevlm.errors import FieldError, InputError, TargetError, TaxonomyError, UnknownName
from facevlm.evaluation.comparison import Comparison, compare
from facevlm.evaluation.metrics import Codes, wilson
from facevlm.reports import text as report
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain

LABELS = ("dark", "fair", "grey")
checked = settings(deadline=None, max_examples=60)
CODE = st.integers(-1, len(LABELS) - 1)


def codes(*values: int) -> Codes:
    return np.array(values, dtype=np.int64)


@st.composite
def runs(draw: st.DrawFn) -> tuple[Codes, Codes, Codes]:
    """Truth and two runs, -1 for no answer; often equal runs, sometimes no faces."""
    rows = draw(st.lists(st.tuples(st.integers(0, len(LABELS) - 1), CODE, CODE), max_size=50))
    truth, a, b = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return (truth, a, a) if draw(st.booleans()) else (truth, a, b)


def compared(truth: Codes, a: Codes, b: Codes, draws: int = 20) -> Comparison:
    return compare("hair", LABELS, truth, {"a": a, "b": b}, {}, draws=draws)


@given(runs())
@checked
def test_mcnemars_exact_test_agrees_with_statsmodels(case: tuple[Codes, Codes, Codes]) -> None:
    truth, a, b = case
    (pair,) = compared(*case).pairs
    assert None not in (pair.both_right, pair.only_a, pair.only_b, pair.neither)
    both, only_a, only_b, neither = pair.both_right or 0, pair.only_a or 0, pair.only_b or 0, pair.neither or 0
    table = [[both, only_a], [only_b, neither]]
    assert pair.n == len(truth) == int(np.sum(table))
    assert both + only_a == (a == truth).sum()
    assert both + only_b == (b == truth).sum()
    expected = mcnemar(table, exact=True).pvalue if only_a + only_b else 1.0
    assert pair.p_value == pytest.approx(expected)


@given(runs())
@checked
def test_the_agreement_table_counts_answers_against_answers(case: tuple[Codes, Codes, Codes]) -> None:
    truth, a, b = case
    (pair,) = compared(*case).pairs
    at = [*range(len(LABELS)), -1]
    assert pair.table == tuple(tuple(int(((a == row) & (b == column)).sum()) for column in at) for row in at)
    if len(truth):
        assert pair.agreement == pytest.approx(np.trace(np.array(pair.table)) / len(truth))
        assert pair.difference == pytest.approx((a == truth).mean() - (b == truth).mean())
        assert pair.low <= pair.high
    else:
        assert all(math.isnan(v) for v in (pair.agreement, pair.difference, pair.low, pair.high))


def test_a_pair_by_hand() -> None:
    truth, a, b = codes(0, 0, 1, 1, 2, 2), codes(0, 0, 1, -1, 2, 0), codes(0, 1, 1, -1, 2, 2)
    (pair,) = compared(truth, a, b).pairs
    assert (pair.a, pair.b, pair.n) == ("a", "b", 6)
    assert (pair.both_right, pair.only_a, pair.only_b, pair.neither) == (3, 1, 1, 1)
    assert (pair.p_value, pair.difference, pair.agreement) == (1.0, 0.0, pytest.approx(4 / 6))
    assert pair.table == ((1, 1, 1, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))


def test_no_answer_is_never_right() -> None:
    (pair,) = compared(codes(0, 1), codes(-1, -1), codes(-1, 1)).pairs
    assert (pair.both_right, pair.only_a, pair.only_b, pair.neither) == (0, 0, 1, 1)


def test_every_pair_of_runs_is_compared() -> None:
    answers = {name: codes(0, 1, k) for k, name in enumerate("abc")}
    found = compare("hair", LABELS, codes(0, 1, 2), answers, {}, draws=5)
    assert [(p.a, p.b) for p in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (found.runs, found.labels) == (("a", "b", "c"), LABELS)


def test_intervals_of_the_difference_hold_it_in_95_of_100_samples() -> None:
    """From some hundred faces on; with few faces on which only one run is right, the interval is too narrow."""
    shares, n, samples = np.array([0.6, 0.16, 0.09, 0.15]), 300, 2000
    rng = np.random.default_rng(5)
    held = 0
    for cells in rng.multinomial(n, shares, size=samples):
        right_a, right_b = np.repeat([1, 1, 0, 0], cells), np.repeat([1, 0, 1, 0], cells)
        (pair,) = compare("hair", LABELS, np.ones(n, dtype=np.int64), {"a": right_a, "b": right_b}, {}, draws=400).pairs
        held += pair.low <= 0.16 - 0.09 <= pair.high
    assert 0.93 <= held / samples <= 0.97


def test_flips_overall_and_by_group() -> None:
    answers = {"a": codes(0, 1, -1, 2, 0), "b": codes(0, 2, -1, -1, 0), "c": codes(0, 1, -1, 2, 1)}
    side = ["l", "l", "r", "r", None]
    found = compare("hair", LABELS, codes(0, 1, 2, 2, 0), answers, {"side": side, "lens": [None] * 5}, draws=5)
    assert (found.flips.group, found.flips.n, found.flips.rate) == ("all", 5, pytest.approx(3 / 5))
    assert (found.flips.low, found.flips.high) == wilson(3, 5)
    assert found.flips.small
    left, right = found.flips_by["side"]
    assert [(f.group, f.n, f.rate) for f in (left, right)] == [("l", 2, 0.5), ("r", 2, 0.5)]
    assert found.flips_by["lens"] == ()


def test_no_faces_compare_to_nothing() -> None:
    found = compare("hair", LABELS, codes(), {"a": codes(), "b": codes()}, {"side": []})
    assert found.pairs[0].p_value == 1
    assert math.isnan(found.flips.rate)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["pairs"][0]["difference"] is None


def threshold(limit: int, refuse: Sequence[int] = ()) -> ScriptedBackend:
    """Female from a grey level on; some levels are refused."""

    def answer(image: Image.Image, question: Question) -> Reply:
        level = int(image.getpixel((0, 0))[0])  # type: ignore[index]
        if level in refuse:
            return Reply(text="I cannot say", refused=True)
        labels = question.attribute.labels
        return certain(labels[int(level >= limit) if len(labels) == 2 else 0], question)

    return ScriptedBackend(answer)


def run(target: fo.Dataset, backend: ScriptedBackend, prefix: str, attribute: str = "gender") -> None:
    facevlm.apply(target, backend, [attribute], prefix=prefix, progress=False)


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    """Ten greys from 10 to 190; truly female from 100 on, of picture 0 nothing is known."""
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    truth = [None, *("Male",) * 4, *("Female",) * 5]
    made.set_values("gender", [None if t is None else fo.Classification(label=t) for t in truth])
    made.set_values("side", ["left", "right"] * 5)
    run(made, threshold(100), "one")
    run(made, threshold(140, refuse=[30]), "two")
    return made


def test_two_runs_on_a_dataset(dataset: fo.Dataset) -> None:
    (found,) = facevlm.compare(dataset, ["one", "two"], groups=["side"], draws=50)
    (pair,) = found.pairs
    assert (found.attribute, found.runs) == ("gender", ("one", "two"))
    # Picture 1 (level 30) is refused, 5 and 6 (110, 130) are taken for male by the second run alone.
    assert (pair.n, pair.both_right, pair.only_a, pair.only_b, pair.neither) == (9, 6, 3, 0, 0)
    assert pair.table == ((3, 0, 1), (2, 3, 0), (0, 0, 0))
    assert pair.p_value == pytest.approx(0.25)
    assert found.flips.rate == pytest.approx(3 / 9)
    assert {f.group: (f.n, round(f.rate * f.n)) for f in found.flips_by["side"]} == {"left": (4, 1), "right": (5, 2)}
    assert json.dumps([found.to_dict()], allow_nan=False)


def test_only_faces_that_every_run_was_asked_about_count(dataset: fo.Dataset) -> None:
    answers = dataset.values("two_gender")
    dataset.set_values("two_gender", [*answers[:8], None, None])
    (found,) = facevlm.compare(dataset, ["one", "two"], draws=5)
    assert found.pairs[0].n == 7
    assert found.flips.n == 7


def test_a_view_is_all_that_is_compared(dataset: fo.Dataset) -> None:
    (found,) = facevlm.compare(dataset.match(fo.ViewField("side") == "left"), ["one", "two"], draws=5)
    assert found.pairs[0].n == 4


def test_runs_of_finer_labels_are_compared_on_coarser_ground_truth(dataset: fo.Dataset) -> None:
    for prefix, label in (("one", "East Asian"), ("two", "Southeast Asian")):
        answering = ScriptedBackend(lambda image, question, label=label: certain(label, question))  # type: ignore[misc]
        run(dataset, answering, prefix, "race7")
    dataset.set_values("race", [fo.Classification(label=x) for x in ["Asian", "Others"] * 5])
    (found,) = facevlm.compare(dataset, ["one", "two"], ["race7"], draws=5)
    assert (found.attribute, found.flips.rate, found.pairs[0].agreement) == ("race5", 0, 1)
    assert found.pairs[0].both_right == 5


def test_a_prefix_named_twice_is_one_run(dataset: fo.Dataset) -> None:
    (found,) = facevlm.compare(dataset, ["one", "two", "one"], draws=5)
    assert found.runs == ("one", "two")


@pytest.mark.parametrize(
    ("prefixes", "kwargs", "error", "said"),
    [
        (["one"], {}, InputError, r"Got the prefixes \['one'\], expected at least two different ones"),
        ([], {}, InputError, "expected at least two"),
        (["one", "one"], {}, InputError, "expected at least two different ones"),
        (["one", "three"], {}, FieldError, "under all of one, three. There is one: gender; three: none"),
        (["one", "one", "three"], {}, FieldError, "There is one: gender; three: none"),
        (["one", "three"], {"attributes": ["gender"]}, FieldError, "'three_gender' is not there; need Classification"),
        (["one", "two"], {"attributes": ["race7"]}, FieldError, "'one_race7' is not there"),
        (["one", "two"], {"attributes": ["gendr"]}, UnknownName, "Did you mean 'gender'"),
        (["one", "two"], {"ground_truth": {"gender": "nofield"}}, FieldError, "'nofield' is not there"),
        (["one", "two"], {"groups": ["nofield"]}, FieldError, "Group field 'nofield' is not there"),
        (["one", "two"], {"ground_truth": {"age5": "side"}}, InputError, "ground truth for age5, expected only gender"),
    ],
)
def test_bad_input_to_compare(
    dataset: fo.Dataset, prefixes: list[str], kwargs: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        facevlm.compare(dataset, prefixes, **kwargs)  # type: ignore[arg-type]


def test_prefixes_as_one_string_are_refused(dataset: fo.Dataset) -> None:
    """A string is a sequence of letters, each of which would be taken for a prefix."""
    with pytest.raises(InputError, match="one"):
        facevlm.compare(dataset, "one,two")


def test_runs_without_ground_truth_agree_or_flip(dataset: fo.Dataset) -> None:
    dataset.delete_sample_field("gender")
    (found,) = facevlm.compare(dataset, ["one", "two"], groups=["side"], save_views=True)
    (pair,) = found.pairs
    assert (found.ground_truth, found.judged) == (None, False)
    assert (pair.n, pair.agreement, pair.both_right, pair.p_value) == (10, pytest.approx(0.7), None, None)
    assert pair.table == ((4, 0, 1), (2, 3, 0), (0, 0, 0))
    assert (found.flips.n, found.flips.rate) == (10, pytest.approx(0.3))
    assert [f.n for f in found.flips_by["side"]] == [5, 5]
    assert found.views == ("one_vs_two_gender_disagree",)
    assert re.match(r"No ground-truth field is known for gender.*gender=FIELD.*side", found.notes[0])
    plain = found.to_dict()
    assert plain["pairs"][0]["only_a"] is plain["pairs"][0]["difference"] is plain["ground_truth"] is None
    text = report.comparison_text([found])
    assert ["a", "b", "n", "same", "answer"] in [line.split() for line in text.splitlines()]
    assert ["one", "two", "10", "70.0"] in [line.split() for line in text.splitlines()]
    assert "McNemar" not in text
    assert found.notes[0] in text


def test_ground_truth_that_was_only_found_may_not_fit(dataset: fo.Dataset) -> None:
    dataset.set_values("gender", [fo.Classification(label="?")] * 10)
    (found,) = facevlm.compare(dataset, ["one", "two"], draws=5)
    assert not found.judged
    assert found.notes[0].startswith("Ground truth of gender is left out: Ground truth holds '?'")
    with pytest.raises(TaxonomyError, match="Ground truth holds"):
        facevlm.compare(dataset, ["one", "two"], ground_truth={"gender": "gender"})


def test_saved_views_hold_just_the_faces_that_are_counted(dataset: fo.Dataset) -> None:
    answers = dataset.values("two_gender")
    answers[6].confidence = 0.99
    dataset.set_values("two_gender", answers)
    (found,) = facevlm.compare(dataset, ["one", "two"], save_views=True, draws=5)
    assert found.views == tuple(f"one_vs_two_gender_{end}" for end in ("disagree", "only_one_right", "only_two_right"))
    levels = {
        name: [int(Path(p).stem) for p in dataset.load_saved_view(name).values("filepath")] for name in found.views
    }
    # 1 was refused by the second run, 5 and 6 are its errors; it is surer of 6. Of picture 0 nothing is known.
    assert levels["one_vs_two_gender_only_one_right"] == [6, 5, 1]
    assert levels["one_vs_two_gender_disagree"] == [6, 5, 1]
    assert levels["one_vs_two_gender_only_two_right"] == []
    assert len(levels["one_vs_two_gender_only_one_right"]) == found.pairs[0].only_a
    assert dataset.get_saved_view_info(found.views[1])["description"] == (
        "one is right and two wrong about gender, the most confident first (saved by facevlm)"
    )
    (again,) = facevlm.compare(dataset.limit(6), ["one", "two"], save_views=True, draws=5)
    assert again.views == found.views
    assert len(dataset.load_saved_view("one_vs_two_gender_only_one_right")) == again.pairs[0].only_a == 2
    assert len(dataset.list_saved_views()) == 3


def test_runs_on_faces_are_compared_face_by_face(dataset: fo.Dataset) -> None:
    """Two faces in each of three pictures; predictions as Detections that name the face."""
    boxes = [[0.1, 0.1, 0.2, 0.2], [0.6, 0.6, 0.2, 0.2]]
    truth = ["Male", "Female"]
    some = dataset.limit(3).clone(f"{dataset.name}-faces")
    some.delete_sample_fields(["one_gender", "two_gender", "gender"])
    faces = [[fo.Detection(bounding_box=b, gender=t) for b, t in zip(boxes, truth, strict=True)] for _ in range(3)]
    some.set_values("faces", [fo.Detections(detections=found) for found in faces])
    for prefix, said in (("one", ["Male", "Female"]), ("two", ["Male", "Male"])):
        answers = [
            [
                fo.Detection(bounding_box=f.bounding_box, label=s, outcome="ok", confidence=k / 4 + 0.1, face=f.id)
                for f, s in zip(found, said, strict=True)
            ]
            for k, found in enumerate(faces)
        ]
        some.set_values(f"{prefix}_gender", [fo.Detections(detections=found) for found in answers])
    some.add_dynamic_sample_fields()
    (found,) = facevlm.compare(some, ["one", "two"], ["gender"], save_views=True, draws=5)
    (pair,) = found.pairs
    assert found.ground_truth == "faces.detections.gender"
    assert (pair.n, pair.both_right, pair.only_a, pair.only_b) == (6, 3, 3, 0)
    view = some.load_saved_view("one_vs_two_gender_only_one_right")
    assert view.values("id") == [found[1].id for found in reversed(faces)], "surest error first"
    fo.delete_dataset(some.name)


def test_no_dataset_at_all() -> None:
    with pytest.raises(TargetError, match="type str"):
        facevlm.compare("a name", ["one", "two"])

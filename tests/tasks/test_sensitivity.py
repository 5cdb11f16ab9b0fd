"""Sensitivity to wording: flip rates by hand, on scripted answers in a real dataset, and of the demo model."""

from __future__ import annotations

import json
import math
from collections import Counter

import fiftyone as fo
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import facevlm
from facevlm.backends import Backend, Options
from facevlm.datasets import samples
from facevlm.engines import devices
from facevlm.errors import FieldError, InputError, ModelError, TargetError, TaxonomyError, UnknownName
from facevlm.evaluation.comparison import flip_rates, members, summarise
from facevlm.evaluation.metrics import Codes, wilson
from facevlm.store import evaluations
from facevlm.store import samples as records
from facevlm.store.rows import PictureRows
from facevlm.tasks.sensitivity import Sensitivity
from facevlm.types import Attribute, Question, Reply
from tests.scripted import ScriptedBackend, certain

LABELS = 3
CODE = st.integers(-1, LABELS - 1)


def codes(*values: int) -> Codes:
    return np.array(values, dtype=np.int64)


def test_flip_rates_by_hand() -> None:
    runs = [codes(0, 0, 0, -1, -1), codes(0, 1, 1, -1, 2), codes(0, 0, 2, -1, -1), codes(0, 0, -1, -1, 2)]
    rates = flip_rates(runs, LABELS)
    assert rates[:3].tolist() == [0, 0.25, 0.75]
    assert math.isnan(rates[3]), "no answer in any run"
    assert rates[4] == 0.5


@given(st.lists(st.tuples(CODE, CODE, CODE, CODE), max_size=30))
@settings(deadline=None, max_examples=80)
def test_flip_rates_are_what_a_counter_says(rows: list[tuple[int, ...]]) -> None:
    rates = flip_rates(list(np.array(rows, dtype=np.int64).reshape(-1, 4).T), LABELS)
    for row, rate in zip(rows, rates.tolist(), strict=True):
        if set(row) == {-1}:
            assert math.isnan(rate)
        else:
            assert rate == pytest.approx(1 - Counter(row).most_common(1)[0][1] / len(row))
            assert (rate > 0) == (len(set(row)) > 1)


def test_rates_of_a_group_in_figures() -> None:
    rates = np.array([0, 0, 0.25, 0.5, math.nan])
    found = summarise("some", rates)
    assert (found.group, found.n, found.rate, found.mean) == ("some", 4, 0.5, pytest.approx(0.1875))
    assert (found.low, found.high) == wilson(2, 4)
    assert 0 <= found.mean_low < found.mean < found.mean_high <= 0.5
    assert found.small
    nothing = summarise("none", rates[4:])
    assert nothing.n == 0
    assert all(math.isnan(v) for v in (nothing.rate, nothing.mean, nothing.mean_low, nothing.mean_high))
    steady = summarise("steady", np.zeros(3))
    # Few faces without a flip do not show that there is none.
    assert (steady.mean_low, steady.low) == (0, 0)
    assert 0 < steady.mean_high < 0.5
    assert steady.high > 0.5, "three faces prove little"


def test_intervals_of_the_mean_hold_it_in_95_of_100_samples() -> None:
    levels, shares, n, samples_drawn = np.array([0, 0.25, 0.5]), np.array([0.5, 0.3, 0.2]), 200, 2000
    rng, held = np.random.default_rng(2), 0
    for rates in rng.choice(levels, p=shares, size=(samples_drawn, n)):
        found = summarise("all", rates, draws=300)
        held += found.mean_low <= float(levels @ shares) <= found.mean_high
    assert 0.93 <= held / samples_drawn <= 0.97


def test_members_of_groups() -> None:
    found = members("side", ["l", None, "r", "l"])
    assert [(name, there.tolist()) for name, there in found] == [
        ("l", [True, False, False, True]),
        ("r", [False, False, True, False]),
    ]


def moody(image: Image.Image, question: Question) -> Reply:
    """Below 60 always Male, from 160 on always Female, between as the wording goes; 90 never answers."""
    level = int(image.getpixel((0, 0))[0])  # type: ignore[index]
    male, female = question.attribute.labels
    if level == 90:
        return Reply(text="I cannot say", refused=True)
    if level < 60 or level >= 160:
        return certain(male if level < 60 else female, question)
    if "refuse" in question.text:
        return Reply(text="I cannot say", refused=True)
    return certain(male if "Male, Female" in question.text or "first" in question.text else female, question)


PHRASES = {"gender": ["first?", "second?", "refuse {labels}"]}


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    """Ten greys from 10 to 190."""
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    made.set_values("side", ["left"] * 5 + ["right"] * 5)
    return made


def ask(target: fo.Dataset, backend: ScriptedBackend, **kwargs: object) -> list[Sensitivity]:
    return facevlm.sensitivity(target, backend, ["gender"], progress=False, draws=50, **kwargs)  # type: ignore[arg-type]


def test_flips_per_face_and_per_group(dataset: fo.Dataset) -> None:
    backend = ScriptedBackend(moody)
    (found,) = ask(dataset, backend, paraphrases=PHRASES, orders=2, groups=["side"])
    # Own wording and 'second?': Female; 'first?': Male; 'refuse' in either order: no answer.
    assert [w.prefix for w in found.wordings] == [f"scripted_words_{end}" for end in ("w0", "w1", "w2", "w3", "w3o1")]
    assert [w.prompt for w in found.wordings][3:] == ["refuse Male, Female", "refuse Female, Male"]
    # Levels 10 30 50 are steady, 90 is never answered, 70 110 130 150 hang on the wording, 170 190 are steady.
    rates = [0, 0, 0, 0.6, None, 0.6, 0.6, 0.6, 0, 0]
    dataset.reload()
    assert dataset.values("scripted_words_gender_flip_rate") == [None if r is None else pytest.approx(r) for r in rates]
    assert (found.flips.n, found.flips.rate, found.flips.mean) == (9, pytest.approx(4 / 9), pytest.approx(2.4 / 9))
    assert (found.flips.low, found.flips.high) == wilson(4, 9)
    left, right = found.groups["side"]
    assert [(g.group, g.n, g.rate, g.mean) for g in (left, right)] == [
        ("left", 4, 0.25, pytest.approx(0.15)),
        ("right", 5, 0.6, pytest.approx(0.36)),
    ]
    assert found.unanswered == 1
    assert [w.n for w in found.wordings] == [9] * 5
    assert [w.answered for w in found.wordings] == [9, 9, 9, 5, 5]
    assert [w.differs for w in found.wordings] == [pytest.approx(k / 9) for k in (0, 4, 0, 4, 4)]
    assert found.by_order is None
    assert found.by_paraphrase is not None
    assert found.by_paraphrase.mean == pytest.approx(4 * 0.5 / 9)
    assert (found.spread, found.ground_truth) == (None, None)
    assert found.notes[0].startswith("No ground-truth field is known for gender")
    assert backend.asked == 5 * 10


def test_the_app_can_sort_by_the_rate_and_opens_a_view_of_the_flipped(dataset: fo.Dataset) -> None:
    (found,) = ask(dataset, ScriptedBackend(moody), paraphrases=PHRASES, orders=2)
    assert (found.field, found.view) == ("scripted_words_gender_flip_rate", "scripted_words_gender_most_sensitive")
    dataset.reload()
    assert isinstance(dataset.get_field(found.field), fo.FloatField)
    view = dataset.load_saved_view(found.view)
    assert len(view) == round(found.flips.rate * found.flips.n) == 4
    rates = view.values(found.field)
    assert rates == sorted(rates, reverse=True)
    assert found.field not in evaluations.truth_fields(PictureRows(dataset)), "a rate is offered as no ground truth"


def test_what_was_answered_is_not_asked_again(dataset: fo.Dataset) -> None:
    first, second = ScriptedBackend(moody), ScriptedBackend(moody)
    (before,) = ask(dataset, first, paraphrases={"gender": ["first?", "second?"]})
    (after,) = ask(dataset, second, paraphrases={"gender": ["first?", "second?", "third?"]})
    # The refused face is asked anew in each of the three wordings, all ten in the fourth.
    assert (first.asked, second.asked) == (30, 3 + 10)
    assert [w.prefix for w in after.wordings[:3]] == [w.prefix for w in before.wordings]
    third = ScriptedBackend(moody)
    ask(dataset, third, paraphrases={"gender": ["first?", "second?"]}, overwrite=True)
    assert third.asked == 30
    with pytest.raises(FieldError, match="prefix 'scripted_words_w2' hold predictions of another model or prompt"):
        ask(dataset, third, paraphrases={"gender": ["first?", "changed?"]})
    assert third.asked == 30, "found out before anything is asked"


def test_orders_alone(dataset: fo.Dataset) -> None:
    (found,) = ask(dataset, ScriptedBackend(moody), paraphrases={"gender": ["of {labels}"]}, orders=9)
    assert [w.labels for w in found.wordings] == [None, ("Male", "Female"), ("Female", "Male")]
    assert not any("list no labels" in note for note in found.notes)
    (plain,) = ask(dataset, ScriptedBackend(moody), prefix="plain")
    assert len(plain.wordings) == 4
    assert any(note.startswith("The prompts about gender list no labels") for note in plain.notes)


def test_a_model_whose_prompt_lists_the_labels_is_asked_in_orders(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scripted stand-in for a zero-shot checkpoint, which cannot be had here; its card is the shipped one."""
    backend = ScriptedBackend(moody, name="paligemma")
    monkeypatch.setattr("facevlm.tasks.sensitivity.opened", lambda *_: backend)
    (found,) = facevlm.sensitivity(dataset, "paligemma", ["gender"], orders=2, draws=5, progress=False)
    assert len(found.wordings) == 8
    assert found.by_order is not None
    assert found.by_paraphrase is not None
    # Between the own wordings only the order differs, and the order alone decides.
    assert found.by_order.rate == pytest.approx(4 / 9)
    assert found.by_paraphrase.rate == 0
    assert found.flips.mean == pytest.approx(4 * 0.5 / 9)


def test_a_model_is_opened_once_for_all_wordings(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one attribute has more wordings than another, so that not all runs ask about both."""
    opened: list[list[str]] = []

    def recorded(model: str, options: Options, attributes: list[Attribute]) -> Backend:
        opened.append([a.name for a in attributes])
        return devices.opened(model, options, attributes)

    for module in ("apply", "sensitivity"):
        monkeypatch.setattr(f"facevlm.tasks.{module}.opened", recorded)
    more = {"gender": ["who?", "which?"], "age5": ["how old?"]}
    results = facevlm.sensitivity(dataset, "demo", ["gender", "age5"], paraphrases=more, progress=False, draws=5)
    assert opened == [["gender", "age5"]]
    assert [len(r.wordings) for r in results] == [3, 2]
    assert list(dataset.get_run_info("facevlm_demo_words_w2").config.questions) == ["gender"]


def test_accuracy_over_wordings(dataset: fo.Dataset) -> None:
    truth = ["Male"] * 5 + ["Female"] * 4 + [None]
    dataset.set_values("gender", [None if t is None else fo.Classification(label=t) for t in truth])
    (found,) = ask(dataset, ScriptedBackend(moody), paraphrases=PHRASES, orders=1)
    assert found.ground_truth == "gender"
    # Own: 10 30 50 and 110 130 150 170 are right, 70 is wrong; 90 has no answer to anything, of 190 nothing is known.
    assert [(w.n_truth, w.accuracy) for w in found.wordings] == [(8, pytest.approx(k / 8)) for k in (7, 5, 7, 4)]
    assert (found.wordings[0].low, found.wordings[0].high) == wilson(7, 8)
    assert found.spread is not None
    assert (found.spread.a, found.spread.b) == ("scripted_words_w0", "scripted_words_w3")
    assert (found.spread.n, found.spread.difference) == (8, pytest.approx(3 / 8))
    assert (found.spread.only_a, found.spread.only_b) == (3, 0)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_flips_are_of_the_labels_said_accuracy_is_of_those_shared(dataset: fo.Dataset) -> None:
    def asian(image: Image.Image, question: Question) -> Reply:
        return certain("East Asian" if "first" in question.text else "Southeast Asian", question)

    dataset.set_values("race", [fo.Classification(label="Asian")] * 10)
    (found,) = facevlm.sensitivity(
        dataset, ScriptedBackend(asian), ["race7"], paraphrases={"race7": ["first?"]}, progress=False
    )
    assert found.flips.rate == 1
    assert [w.accuracy for w in found.wordings] == [1, 1]
    assert found.spread is None, "no wording is better than another"


def test_a_picture_that_cannot_be_read_flips_nothing(dataset: fo.Dataset) -> None:
    dataset.add_sample(fo.Sample(filepath="/nowhere/x.png"))
    (found,) = ask(dataset, ScriptedBackend(moody), paraphrases=PHRASES)
    assert (found.flips.n, found.unanswered) == (9, 2)


def test_the_demo_model_in_other_words(dataset_name: str) -> None:
    dataset = records.build_singles(dataset_name, samples.read("single")[:12])
    results = facevlm.sensitivity(dataset, "demo", ["gender", "emotion7"], groups=["gender"], draws=50, progress=False)
    assert [r.attribute for r in results] == ["gender", "emotion7"]
    for result in results:
        assert [w.prefix for w in result.wordings] == [f"demo_words_w{k}" for k in range(4)]
        assert (result.wordings[0].differs, result.flips.n) == (0, 12)
        assert sum(g.n for g in result.groups["gender"]) == 12
        answers = [dataset.values(f"{w.prefix}_{result.attribute}.label") for w in result.wordings]
        assert all(len(said) == 12 and None not in said for said in answers)
        faces = list(zip(*answers, strict=True))
        assert dataset.values(result.field) == [pytest.approx(1 - Counter(f).most_common(1)[0][1] / 4) for f in faces]
        truth = dataset.values("gender.label" if result.attribute == "gender" else "emotion.label")
        hits = [sum(a == t for a, t in zip(said, truth, strict=True)) / 12 for said in answers]
        assert [w.accuracy for w in result.wordings] == pytest.approx(hits)
    assert any("expression" in w.prompt for w in results[1].wordings)
    assert dataset.get_run_info("facevlm_demo_words_w1").config.questions["gender"]["context"] is None


@pytest.mark.parametrize(
    ("kwargs", "error", "said"),
    [
        ({"paraphrases": {"age5": ["old?"]}}, InputError, "Got paraphrases for age5, expected only gender"),
        ({"ground_truth": {"age5": "side"}}, InputError, "Got ground truth for age5, expected only gender"),
        ({"paraphrases": {"gender": []}}, InputError, "There is only one way to ask 'scripted' about gender"),
        ({"orders": 0}, InputError, "Got orders=0"),
        ({"groups": ["nofield"]}, FieldError, "Group field 'nofield' is not there"),
        ({"ground_truth": {"gender": "nofield"}}, FieldError, "'nofield' is not there"),
        ({"ground_truth": {"gender": "side"}}, TaxonomyError, "Ground truth holds"),
        ({"prefix": "9x"}, FieldError, "Got the field prefix '9x'"),
        ({"prefix": "mine"}, FieldError, "Field 'mine_gender_flip_rate' is already there"),
        ({"prefix": "taken"}, FieldError, "Field 'taken_w1_gender' is already there"),
    ],
)
def test_bad_input_is_found_before_anything_is_asked(
    dataset: fo.Dataset, kwargs: dict[str, object], error: type[Exception], said: str
) -> None:
    dataset.add_sample_field("mine_gender_flip_rate", fo.FloatField)
    dataset.add_sample_field("taken_w1_gender", fo.StringField)
    backend = ScriptedBackend(moody)
    with pytest.raises(error, match=said):
        ask(dataset, backend, **kwargs)
    assert backend.asked == 0
    dataset.reload()
    assert dataset.list_runs() == []


def test_bad_models_attributes_and_targets(dataset: fo.Dataset) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'gender'"):
        facevlm.sensitivity(dataset, "demo", ["gendr"])
    with pytest.raises(InputError, match="Got no attribute"):
        facevlm.sensitivity(dataset, "demo")
    with pytest.raises(ModelError, match="Cannot load model"):
        facevlm.sensitivity(dataset, "hf:/nowhere", ["gender"], options=Options(device="cpu"))
    with pytest.raises(TargetError, match="type str"):
        facevlm.sensitivity("a name", "demo", ["gender"])

"""Results as Python and notebooks expect them: mappings, data frames, tables of HTML that nobody else's text breaks."""

from __future__ import annotations

import contextlib
import html.parser
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm.backends import BackendInfo
from facevlm.datasets import samples
from facevlm.errors import FacevlmError, InputError
from facevlm.store import samples as records
from facevlm.tasks.compare import Comparisons
from facevlm.tasks.evaluate import EvaluationResult
from facevlm.types import Reply

NAME = "test-in-notebooks"
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def dataset() -> Iterator[fo.Dataset]:
    """Faces answered by the demo model under two prefixes, in two groups, one of a hostile name."""
    made = records.build_singles(NAME, samples.read("single")[::4])
    made.set_values("side", [HOSTILE, "right"] * (len(made) // 2))
    with contextlib.redirect_stderr(io.StringIO()):
        for prefix in ("one", "two"):
            facevlm.apply(made, "demo", ["gender", "age5"], prefix=prefix, progress=False)
    yield made
    fo.delete_dataset(NAME)


@pytest.fixture(scope="module")
def result(dataset: fo.Dataset) -> EvaluationResult:
    return facevlm.evaluate(dataset, prefix="one", groups=["side"], draws=50)


class Shape(html.parser.HTMLParser):
    """The tags and the text of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.said.append(data)


HARMLESS = {"p", "b", "table", "thead", "tbody", "tr", "th", "td"}


def test_an_evaluation_is_a_mapping_of_attributes(result: EvaluationResult) -> None:
    assert isinstance(result, Mapping)
    assert list(result) == list(result.keys()) == ["gender", "age5"]
    assert [name for name, evaluation in result.items() if evaluation is result[name]] == ["gender", "age5"]
    assert list(result.values()) == list(result.evaluations)
    assert ("gender" in result, "nope" in result, len(result)) == (True, False, 2)
    assert result.get("nope") is None
    with pytest.raises(KeyError, match="nope was not evaluated, only gender, age5"):
        result["nope"]


def test_an_evaluation_becomes_a_data_frame(result: EvaluationResult) -> None:
    frame = result.to_dataframe()
    assert list(frame.columns[:5]) == ["attribute", "by", "group", "n", "answered"]
    whole = frame[frame["by"] == "overall"].set_index("attribute")
    for name in result:
        cell = result[name].overall
        assert whole.loc[name, "n"] == cell.n
        assert whole.loc[name, "accuracy"] == cell.accuracy
        assert (whole.loc[name, "low"], whole.loc[name, "high"]) == (cell.low, cell.high)
    sides = frame[(frame["by"] == "side") & (frame["attribute"] == "gender")]
    assert dict(zip(sides["group"], sides["n"], strict=True)) == {HOSTILE: 12, "right": 12}


def test_an_evaluation_is_shown_with_n_and_intervals_and_others_texts_are_text(result: EvaluationResult) -> None:
    shown = Shape(result._repr_html_())
    assert shown.tags <= HARMLESS
    text = "\n".join(shown.said)
    cell = result["gender"].overall
    assert f"{100 * cell.low:.1f} - {100 * cell.high:.1f}" in text
    assert f"{cell.n}*" in text
    assert HOSTILE in text, "as a text"


def test_comparisons_are_a_list_with_names(dataset: fo.Dataset) -> None:
    results = facevlm.compare(dataset, ["one", "two"], groups=["side"])
    assert isinstance(results, Comparisons)
    assert [c.attribute for c in results] == ["gender", "age5"]
    assert results["age5"] is results[1]
    assert ("gender" in results, "nope" in results, results[0] in results) == (True, False, True)
    with pytest.raises(KeyError, match="nope was not compared, only gender, age5"):
        results["nope"]
    frame = results.to_dataframe()
    assert frame[["attribute", "a", "b"]].values.tolist() == [["gender", "one", "two"], ["age5", "one", "two"]]
    assert frame["agreement"].tolist() == [pair.agreement for c in results for pair in c.pairs]
    shown = Shape(results._repr_html_())
    assert shown.tags <= HARMLESS
    assert HOSTILE in "\n".join(shown.said)


def test_a_name_that_is_nearly_right_is_named(dataset: fo.Dataset) -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'aply'\. Did you mean 'apply'\?"):
        facevlm.aply  # noqa: B018
    calls: dict[str, Callable[[], object]] = {
        "side": lambda: facevlm.evaluate(dataset, prefix="one", groups=["sied"]),
        "gender": lambda: facevlm.evaluate(dataset, prefix="one", ground_truth={"gender": "gendr"}),
        "one_gender": lambda: facevlm.evaluate(dataset, ["gender"], prefix="on"),
        NAME: lambda: facevlm.sources.load(NAME[:-1]),
        "emotion": lambda: facevlm.check(dataset, fields=["emotions"]),
    }
    for name, call in calls.items():
        with pytest.raises(FacevlmError, match=f"Did you mean '{name}'\\?"):
            call()


class Shaped:
    """A backend whose answers have the shape that a test wants."""

    def __init__(self, answers: object, info: object = BackendInfo("m", {"m": "1"}, "cpu", "float32", "score")) -> None:
        self.answers, self.info = answers, info

    def answer(self, images: object, questions: object) -> object:
        return self.answers


VERBS: dict[str, Callable[[fo.Dataset, Any], object]] = {
    "apply": lambda dataset, model: facevlm.apply(dataset, model, ["gender"], prefix="odd", progress=False),
    "probe": lambda dataset, model: facevlm.probe(dataset, model, ["gender"], faces=1),
    "sensitivity": lambda dataset, model: facevlm.sensitivity(dataset, model, ["gender"], prefix="words"),
    "try_one": lambda dataset, model: facevlm.try_one(dataset, model, ["gender"]),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("answers", [None, "text", [None], ["x"], [["x"]], [[]], [[Reply(text="Male")] * 2], {}])
def test_a_backend_that_answers_in_another_shape_is_told_which(dataset: fo.Dataset, verb: str, answers: object) -> None:
    with pytest.raises(FacevlmError, match=r"The backend gave .*, expected"):
        VERBS[verb](dataset.limit(1), Shaped(answers))


@pytest.mark.parametrize("verb", VERBS)
def test_a_backend_without_facts_is_none(dataset: fo.Dataset, verb: str) -> None:
    for model in (None, 3, Shaped, Shaped([], None), object()):
        with pytest.raises(InputError, match="expected a text or a Backend, which has info and answer"):
            VERBS[verb](dataset, model)


def test_one_model_stands_for_a_list_of_it(dataset: fo.Dataset) -> None:
    model: Any = Shaped(None)
    dataset.limit(1).tag_samples("val")
    (result,) = facevlm.paper.reproduce({"fairface": dataset}, model, ["fairface-gender"], progress=False)
    assert "The backend gave a NoneType" in result.missing[0]

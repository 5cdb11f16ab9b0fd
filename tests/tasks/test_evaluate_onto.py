"""Comparing on a label set that is named: every declared map, years, and figures against scikit-learn's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import fiftyone as fo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

import facevlm
from facevlm.attributes import align, label_map, shipped
from facevlm.errors import FieldError, InputError, TaxonomyError, UnknownName
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain

SHIPPED = shipped()
MAPS = [
    (source, target) for source, target in SHIPPED.maps if label_map(SHIPPED.get(source), SHIPPED.get(target), SHIPPED)
]
RACE7 = SHIPPED.get("race7").labels
TO_RACE6 = {**{label: label for label in RACE7}, "East Asian": "Asian", "Southeast Asian": "Asian"}


@pytest.mark.parametrize(("source", "target"), MAPS)
def test_both_sides_are_brought_onto_the_named_labels(source: str, target: str) -> None:
    fine, coarse = SHIPPED.get(source), SHIPPED.get(target)
    alignment = align(fine, fine.labels, SHIPPED, onto=coarse)
    down = label_map(fine, coarse, SHIPPED)
    assert alignment.common == coarse
    assert alignment.predicted == down
    assert [alignment.to_truth(label) for label in fine.labels] == list(down.values())


@pytest.mark.parametrize(("source", "target"), MAPS)
def test_coarse_truth_stays_as_it_is(source: str, target: str) -> None:
    fine, coarse = SHIPPED.get(source), SHIPPED.get(target)
    alignment = align(fine, coarse.labels, SHIPPED, onto=coarse)
    assert [alignment.to_truth(label) for label in coarse.labels] == list(coarse.labels)
    assert alignment.to_truth("nonsense") is None
    assert alignment.to_truth(None) is None


@pytest.mark.parametrize("name", sorted(SHIPPED.years))
def test_years_are_grouped_by_the_named_labels(name: str) -> None:
    onto = SHIPPED.get(name)
    # A set may name the age at which its last group ends, too.
    edges = SHIPPED.years[name][: len(onto.labels)]
    alignment = align(onto, edges, SHIPPED, onto=onto)
    assert alignment.truth_attribute == "years"
    assert [alignment.to_truth(edge) for edge in edges] == list(onto.labels)
    assert [alignment.to_truth(edge + 0.5) for edge in edges] == list(onto.labels)


@pytest.mark.parametrize(
    ("predicted", "values", "onto", "said"),
    [
        ("race5", ["White"], "race7", "No map from race5 onto race7"),
        ("gender", ["White"], "race5", "No map from gender onto race5"),
        ("age9", ["0-9", "10-19"], "age9", "No map from age5 onto age9"),
    ],
)
def test_what_has_no_map_is_refused(predicted: str, values: Sequence[str], onto: str, said: str) -> None:
    with pytest.raises(TaxonomyError, match=said):
        align(SHIPPED.get(predicted), values, SHIPPED, onto=SHIPPED.get(onto))


def test_strange_values_are_refused_in_the_names_of_the_label_set() -> None:
    with pytest.raises(TaxonomyError, match="Ground truth holds 'martian'"):
        align(SHIPPED.get("race7"), ["White", "martian"], SHIPPED, onto=SHIPPED.get("race6"))


def echo(image: Image.Image, question: Question) -> Reply:
    """Says the label whose number is the grey level."""
    return certain(question.attribute.labels[int(image.getpixel((0, 0))[0]) % len(question.attribute.labels)], question)  # type: ignore[index]


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A picture for every label of race7, of the grey level that is its number."""
    folder = tmp_path_factory.mktemp("levels")
    paths = [str(folder / f"{k}.png") for k in range(len(RACE7))]
    for k, path in enumerate(paths):
        Image.new("RGB", (16, 16), (k, k, k)).save(path)
    return paths


def judged(paths: Sequence[str], said: Sequence[int], truth: Sequence[int], name: str) -> fo.Dataset:
    """A sample per face, with the truth as a label; the model says the label that the picture stands for."""
    made = fo.Dataset(name, persistent=True, overwrite=True)
    rows = zip(said, truth, strict=True)
    made.add_samples(
        [fo.Sample(filepath=paths[k], race=fo.Classification(label=RACE7[t])) for k, t in rows], progress=False
    )
    facevlm.apply(made, ScriptedBackend(echo), ["race7"], prefix="t", progress=False)
    return made


AT = st.integers(0, len(RACE7) - 1)


@given(st.lists(st.tuples(AT, AT), min_size=2, max_size=25))
@settings(deadline=None, max_examples=8)
def test_figures_on_six_groups_are_those_of_mapped_labels(levels: list[str], rows: list[tuple[int, int]]) -> None:
    said, truth = zip(*rows, strict=True)
    dataset = judged(levels, said, truth, "test-onto-sklearn")
    found = facevlm.evaluate(dataset, ["race7"], prefix="t", onto={"race7": "race6"}, groups=[], draws=10)
    cell = found["race7"].overall
    mapped = [[TO_RACE6[RACE7[k]] for k in some] for some in (truth, said)]
    assert found["race7"].attribute == "race6"
    assert cell.n == len(rows)
    assert cell.accuracy == pytest.approx(accuracy_score(*mapped))
    options = {"average": "macro", "zero_division": 0}
    assert cell.precision == pytest.approx(precision_score(*mapped, **options))
    assert cell.recall == pytest.approx(recall_score(*mapped, **options))
    assert cell.f1 == pytest.approx(f1_score(*mapped, **options))
    fo.delete_dataset("test-onto-sklearn")


def test_each_label_set_is_an_evaluation_of_its_own(levels: list[str], dataset_name: str) -> None:
    rows = list(itertools.product(range(len(RACE7)), repeat=2))
    said, truth = zip(*rows, strict=True)
    dataset = judged(levels, said, truth, dataset_name)
    accuracy = {}
    for onto in ("race7", "race6", "race5"):
        options: dict[str, Any] = {"onto": {"race7": onto}, "groups": [], "draws": 10, "eval_key": f"on_{onto}"}
        accuracy[onto] = facevlm.evaluate(dataset, ["race7"], prefix="t", **options)["race7"].overall.accuracy
        results = dataset.load_evaluation_results(f"on_{onto}_race7")
        assert set(results.classes) >= set(SHIPPED.get(onto).labels)
        assert results.metrics()["accuracy"] == pytest.approx(accuracy[onto])
    # Of 49 pairs 7 agree; joining two groups adds 2, joining two more another 2.
    assert accuracy == pytest.approx({"race7": 7 / 49, "race6": 9 / 49, "race5": 11 / 49})
    assert set(dataset.list_evaluations()) == {"on_race7_race7", "on_race6_race7", "on_race5_race7"}
    assert dataset.count_values("t_race7_as_race5.label")["Others"] == 14


def test_bad_names_leave_nothing_behind(levels: list[str], dataset_name: str) -> None:
    dataset = judged(levels, [0, 1], [0, 1], dataset_name)
    before = dataset.list_runs()
    with pytest.raises(UnknownName, match="Unknown attribute 'race2'"):
        facevlm.evaluate(dataset, prefix="t", onto={"race7": "race2"})
    with pytest.raises(InputError, match="Got label sets for race5, expected only race7"):
        facevlm.evaluate(dataset, prefix="t", onto={"race5": "race5"})
    with pytest.raises(FieldError):
        facevlm.evaluate(dataset, prefix="other", onto={"race7": "race6"})
    assert (dataset.list_runs(), dataset.list_evaluations()) == (before, [])

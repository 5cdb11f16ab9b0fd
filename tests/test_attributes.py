"""The attribute registry: definitions, files, spellings, maps, and how predictions meet ground truth."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevlm import attributes
from facevlm.attributes import (
    YEARS,
    Registry,
    age_in_years,
    align,
    canonical,
    define,
    fold,
    label_map,
    recognise,
    require_map,
    translate,
    why_not,
)
from facevlm.errors import FacevlmError, InputError, TaxonomyError, UnknownName
from facevlm.types import Attribute

SHIPPED = attributes.shipped()
NAMES = sorted(SHIPPED.attributes)
MAPS = sorted(SHIPPED.maps)
INCLUSIONS = {("emotion7", "emotion8"), ("race4", "race5"), ("race4", "race6")}
"""Maps into a label set that has more: nothing is merged, and not every class is reached."""
TASK = ("race7", "race6", "race5", "gender", "age9", "age5", "emotion8", "emotion7")
FAMILY_PAIRS = [
    (a, b)
    for a, b in itertools.product(TASK, TASK)
    if SHIPPED.get(a).family == SHIPPED.get(b).family and (a, b) != ("emotion7", "emotion8")
]
PAIRS = list(itertools.product(NAMES, NAMES))
GROUPED = sorted(SHIPPED.years)

MOODS = """
attributes:
  mood2:
    family: mood
    question: how does the person seem?
    labels: [calm, lively]
  mood3:
    family: mood
    question: how does the person seem?
    labels: [bright, dull, mixed]
  stage:
    title: Apparent stage of life
    kind: ordinal
    question: at what stage of life does the person seem to be?
    labels: [child, adult]
    aliases: {child: [kid, young one]}
maps:
  - {source: age5, target: stage, labels: {0-9: child, 10-19: child, 20-39: adult, 40-59: adult, More than 60: adult}}
years:
  stage: [0, 20]
"""


@pytest.fixture
def moods(tmp_path: Path) -> Registry:
    path = tmp_path / "moods.yaml"
    path.write_text(MOODS, encoding="utf-8")
    return attributes.load(path)


# What ships


def test_the_label_sets_of_the_task_ship() -> None:
    assert {"race7", "race6", "race5", "gender", "age5", "age9", "emotion8", "emotion7"} <= set(NAMES)
    assert attributes.get("race5").labels == ("White", "Black", "Asian", "Indian", "Others")
    assert attributes.get("age5").labels == ("0-9", "10-19", "20-39", "40-59", "More than 60")
    ages = {"age5", "age8", "age9", "age5_rafdb", "age3_facet"}
    assert {n for n in NAMES if SHIPPED.get(n).kind == "ordinal"} == ages | {"skin_tone6", "skin_tone10"}
    assert {a.name for a in SHIPPED.family("race")} == {"race3", "race4", "race5", "race6", "race7"}
    assert {a.name for a in SHIPPED.family("age")} == ages


def test_celebas_forty_are_a_set_of_their_own() -> None:
    more = set(attributes.load("celeba").attributes) - set(NAMES)
    assert len(more) == 40
    assert {attributes.load("celeba").get(name).labels for name in more} == {("yes", "no")}
    assert not any(name.startswith("celeba") for name in NAMES)


def test_an_unknown_attribute_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"Unknown attribute 'rase7'.*Did you mean 'race7'"):
        attributes.get("rase7")


@pytest.mark.parametrize("name", sorted(SHIPPED.years))
def test_year_edges_start_at_birth_and_fit_the_labels(name: str) -> None:
    edges, attribute = SHIPPED.years[name], SHIPPED.get(name)
    assert edges[0] == (25 if name == "age3_facet" else 0)
    assert list(edges) == sorted(set(edges))
    assert len(edges) - len(attribute.labels) == (1 if name == "age8" else 0)
    for label, low, high in zip(attribute.labels, edges, (*edges[1:], None), strict=False):
        if "-" in label:
            assert high is not None
            assert label == f"{low:g}-{high - 1:g}"


# define()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "my attribute"}, "expected letters, digits and underscores"),
        ({"name": "a.b"}, "expected letters, digits and underscores"),
        ({"name": ""}, "expected letters, digits and underscores"),
        ({"labels": ["yes"]}, "at least two different ones"),
        ({"labels": []}, "at least two different ones"),
        ({"labels": ["yes", "yes"]}, "at least two different ones"),
        ({"labels": ["yes", " yes "]}, "at least two different ones"),
        ({"labels": ["yes", "  "]}, "at least two different ones"),
        ({"question": "  "}, "got no question"),
        ({"kind": "interval"}, "got kind 'interval', expected one of nominal, ordinal"),
        ({"labels": ["Yes", "yes"]}, "stands for both 'Yes' and 'yes'"),
        ({"aliases": {"yes": ["Sure"], "no": ["sure."]}}, "'sure.' stands for both 'yes' and 'no'"),
        ({"aliases": {"yes": ["no"]}}, "stands for both 'yes' and 'no'"),
    ],
)
def test_define_says_what_is_wrong(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"name": "glasses", "labels": ["yes", "no"], "question": "does the person wear glasses?"}
    with pytest.raises(InputError, match=message):
        define(**{**good, **change})


def test_define_trims_and_fills_in() -> None:
    made = define("glasses", [" yes", "no "], " glasses? ", aliases={"yes": ["sure"], "maybe": ["perhaps"]})
    assert made == Attribute("glasses", ("yes", "no"), "glasses?", "nominal", "glasses", "glasses", {"yes": ("sure",)})


# Spellings


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("race7", "Latino_Hispanic", "Latinx or Hispanic"),
        ("race7", "Southeast_Asian", "Southeast Asian"),
        ("race7", "EAST  asian.", "East Asian"),
        ("race5", "others", "Others"),
        ("gender", "woman", "Female"),
        ("age5", "60+", "More than 60"),
        ("age9", "More than 70", "more than 70"),
        ("emotion8", "Angry", "anger"),
        ("emotion7", "contempt", None),
        ("race6", "East Asian", None),
        ("gender", "a man", None),
        ("gender", "", None),
        ("gender", None, None),
        ("age5", 3, None),
    ],
)
def test_canonical(name: str, value: object, label: str | None) -> None:
    assert canonical(SHIPPED.get(name), value) == label


@pytest.mark.parametrize("name", NAMES)
def test_every_label_and_alias_spells_its_label(name: str) -> None:
    attribute = SHIPPED.get(name)
    for label in attribute.labels:
        assert {canonical(attribute, s) for s in attribute.spellings(label)} == {label}


@given(st.text(alphabet=st.sampled_from("aBÉßİΣ_ .\t\n-+1"), max_size=12) | st.text(max_size=12))
@settings(deadline=None, max_examples=60)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


# Maps


@pytest.mark.parametrize(("source", "target"), MAPS)
def test_maps_are_total_and_stay_in_the_target(source: str, target: str) -> None:
    labels = SHIPPED.maps[source, target].labels
    assert set(labels) == set(SHIPPED.get(source).labels)
    assert set(labels.values()) <= set(SHIPPED.get(target).labels)


@pytest.mark.parametrize(("source", "target"), MAPS)
def test_a_label_of_both_sets_is_never_moved(source: str, target: str) -> None:
    labels = SHIPPED.maps[source, target].labels
    shared = set(SHIPPED.get(source).labels) & set(SHIPPED.get(target).labels)
    assert {label: labels[label] for label in shared} == {label: label for label in shared}


@pytest.mark.parametrize(("source", "target"), [pair for pair in MAPS if pair not in INCLUSIONS])
def test_a_coarser_set_is_fully_reached(source: str, target: str) -> None:
    assert set(SHIPPED.maps[source, target].labels.values()) == set(SHIPPED.get(target).labels)


@pytest.mark.parametrize(("source", "middle", "target"), [(a, b, d) for (a, b) in MAPS for (c, d) in MAPS if b == c])
def test_two_steps_lead_where_one_leads(source: str, middle: str, target: str) -> None:
    first, second, direct = (SHIPPED.maps[k].labels for k in ((source, middle), (middle, target), (source, target)))
    assert {label: second[between] for label, between in first.items()} == direct


def test_fairface_maps_as_the_paper_merges() -> None:
    merged = require_map(SHIPPED.get("race7"), SHIPPED.get("race6"), SHIPPED)
    assert {label for label, target in merged.items() if target == "Asian"} == {"East Asian", "Southeast Asian"}
    others = require_map(SHIPPED.get("race7"), SHIPPED.get("race5"), SHIPPED)
    assert {label for label, target in others.items() if target == "Others"} == {"Latinx or Hispanic", "Middle Eastern"}


def mapped(values: Sequence[str | None], source: str, target: str) -> list[str | None]:
    return translate(values, SHIPPED.get(source), SHIPPED.get(target))


@given(st.sampled_from(PAIRS), st.data())
@settings(deadline=None, max_examples=300)
def test_a_map_is_total_and_never_splits_a_class_or_it_is_refused(pair: tuple[str, str], data: st.DataObject) -> None:
    source, target = map(SHIPPED.get, pair)
    spelled = [s for label in source.labels for s in source.spellings(label)]
    values = data.draw(st.lists(st.sampled_from(spelled), min_size=1, max_size=20))
    if label_map(source, target, SHIPPED) is None:
        with pytest.raises(TaxonomyError, match=re.escape(why_not(source, target, SHIPPED))):
            translate(values, source, target)
        return
    found = translate(values, source, target)
    assert set(found) <= set(target.labels), "total: every label leads to one of the target"
    became: dict[str | None, set[str | None]] = {}
    for value, label in zip(values, found, strict=True):
        became.setdefault(canonical(source, value), set()).add(label)
    assert all(len(labels) == 1 for labels in became.values()), "one class never becomes two"


@given(st.sampled_from(MAPS), st.data())
@settings(deadline=None, max_examples=100)
def test_mapping_what_is_mapped_changes_nothing(pair: tuple[str, str], data: st.DataObject) -> None:
    source, target = pair
    once = mapped(data.draw(st.lists(st.sampled_from(SHIPPED.get(source).labels))), source, target)
    assert mapped(once, target, target) == once
    held = [label for label in once if label in SHIPPED.get(source).labels]
    assert mapped(held, source, target) == held, "a label of both sets stays as it is"


@given(st.lists(st.integers(0, 120) | st.floats(0, 120)))
@settings(deadline=None, max_examples=60)
def test_ages_in_years_fall_into_one_group_and_groups_agree_where_a_map_leads(ages: list[float]) -> None:
    groups = {name: translate(ages, YEARS, SHIPPED.get(name)) for name in GROUPED}
    for name, found in groups.items():
        edges, labels = SHIPPED.years[name], SHIPPED.get(name).labels
        end = edges[len(labels)] if len(edges) > len(labels) else math.inf
        assert [label is not None for label in found] == [edges[0] <= age < end for age in ages]
    for source, target in itertools.permutations(GROUPED, 2):
        if label_map(SHIPPED.get(source), SHIPPED.get(target), SHIPPED):
            assert mapped(groups[source], source, target) == groups[target]


@given(st.permutations(range(100)))
@settings(deadline=None, max_examples=10)
def test_older_people_are_never_in_a_younger_group(ages: list[int]) -> None:
    for name in GROUPED:
        labels = SHIPPED.get(name).labels
        found = dict(zip(ages, translate(ages, YEARS, SHIPPED.get(name)), strict=True))
        order = [labels.index(found[age]) for age in range(100) if found[age] is not None]
        assert order == sorted(order)


def test_what_is_no_label_becomes_none_and_true_is_no_age() -> None:
    assert translate(["White", "Martian", None, 3], SHIPPED.get("race7"), SHIPPED.get("race5")) == [
        "White",
        None,
        None,
        None,
    ]
    assert translate([1, True, 1.0, "1", None, -1], YEARS, SHIPPED.get("age9")) == [
        "0-2",
        None,
        "0-2",
        "0-2",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("race7", "race4", "race4 has no place for Latinx or Hispanic and Middle Eastern"),
        ("race6", "race4", "race4 has no place for Latinx or Hispanic and Middle Eastern"),
        ("race5", "race4", "race4 has no place for Others"),
        ("race3", "race5", "does not say whether its Asian holds Indian"),
        ("race5", "race7", "'Asian', 'Others' of race5 are no label of race7"),
        ("emotion8", "emotion7", "contempt is none of the seven"),
        ("age9", "age8", "a map must not split a group, and 3-9 lies across 7, 10-19 lies across 13"),
        ("age5_rafdb", "age5", "4-19 lies across 10"),
        ("age8", "age5", "7-12 lies across 10"),
        ("gender", "race7", "one is about gender, the other about race"),
        ("skin_tone10", "skin_tone6", "of skin_tone10 are no label of skin_tone6"),
    ],
)
def test_a_map_that_is_not_there_is_refused_with_the_reason(source: str, target: str, reason: str) -> None:
    with pytest.raises(TaxonomyError) as caught:
        mapped([], source, target)
    message = str(caught.value)
    assert f"No map is declared from {source} (" in message
    assert reason in message
    assert "Use labels of one set on both sides, or declare a map" in message


def test_years_have_no_place_among_races() -> None:
    with pytest.raises(TaxonomyError, match=r"Got ages in years for race7; groups in years have: 'age5'"):
        translate([3], YEARS, SHIPPED.get("race7"))


def test_a_million_labels_are_mapped_in_a_second() -> None:
    values = ["Latino_Hispanic", "East Asian", None, "White"] * 250_000
    start = time.process_time()
    found = mapped(values, "race7", "race5")
    assert time.process_time() - start < 1
    assert found[:4] == ["Others", "Asian", None, "White"]


@pytest.mark.parametrize("name", NAMES)
def test_a_label_set_maps_onto_itself_by_identity(name: str) -> None:
    attribute = SHIPPED.get(name)
    assert label_map(attribute, attribute, SHIPPED) == {label: label for label in attribute.labels}


@pytest.mark.parametrize(("source", "target"), [("emotion8", "emotion7"), ("race5", "race7"), ("gender", "race5")])
def test_there_is_no_map_that_would_split_or_drop_a_label(source: str, target: str) -> None:
    assert label_map(SHIPPED.get(source), SHIPPED.get(target), SHIPPED) is None


# recognise()


@pytest.mark.parametrize(
    ("wanted", "values", "found"),
    [
        ("race7", ["White", "Latino_Hispanic", None, ""], "race7"),
        ("race7", ["White", "Asian"], "race6"),
        ("race7", ["Others", "Asian"], "race5"),
        ("race5", ["East Asian", "White"], "race7"),
        ("race5", ["White", "Black"], "race5"),
        ("age5", ["0-2", "10-19"], "age9"),
        ("emotion8", ["happiness", "neutral"], "emotion8"),
        ("gender", [], "gender"),
        ("age5", [None, ""], "age5"),
    ],
)
def test_the_label_set_of_ground_truth_is_recognised(wanted: str, values: list[object], found: str) -> None:
    attribute = recognise(values, SHIPPED.get(wanted), SHIPPED)
    assert isinstance(attribute, Attribute)
    assert attribute.name == found


def test_numbers_are_years_where_the_attribute_has_year_edges() -> None:
    assert recognise([0, 23, 61.5, None], SHIPPED.get("age5"), SHIPPED) == YEARS
    with pytest.raises(TaxonomyError, match="'23'"):
        recognise([23], SHIPPED.get("gender"), SHIPPED)


@pytest.mark.parametrize("value", [-1, 121, 999, math.nan, math.inf, -math.inf, True, "unknown", "30-40", "1e1", "-1"])
def test_what_cannot_be_an_age_in_years_is_no_ground_truth_among_ages(value: object) -> None:
    assert age_in_years(value) is None
    found = align(SHIPPED.get("age5"), [23, value, None], SHIPPED)
    assert found.truth_attribute == YEARS
    assert [found.to_truth(v) for v in (23, value, None)] == ["20-39", None, None]


@pytest.mark.parametrize(
    ("value", "years"), [(0, 0), (31.5, 31.5), (120, 120), ("31", 31), (" 4.5 ", 4.5), ("120", 120)]
)
def test_numbers_and_texts_of_numbers_are_ages(value: object, years: float) -> None:
    assert age_in_years(value) == years
    assert recognise([value], SHIPPED.get("age5"), SHIPPED) == YEARS


@pytest.mark.parametrize("values", [[-1], [999, math.nan], ["unknown"], [30, "x", "y", "z"]])
def test_what_is_no_age_for_the_most_part_is_refused(values: list[object]) -> None:
    with pytest.raises(TaxonomyError, match="no label set of 'age'"):
        recognise(values, SHIPPED.get("age5"), SHIPPED)


def test_strange_values_are_listed_with_what_was_expected() -> None:
    with pytest.raises(TaxonomyError) as caught:
        recognise(["White", "Martian"], SHIPPED.get("race7"), SHIPPED)
    message = str(caught.value)
    assert "Ground truth holds 'Martian', which no label set of 'race'" in message
    assert all(name in message for name in ("race7", "race6", "race5", "'Middle Eastern'"))


def test_a_long_list_of_strange_values_is_cut() -> None:
    strange = [f"s{k}" for k in range(8)] + [f"t{k}" for k in range(12)]
    with pytest.raises(TaxonomyError, match=r"'s0', .*'s7' and 12 more,"):
        recognise(strange, SHIPPED.get("gender"), SHIPPED)


# align()


@pytest.mark.parametrize(("predicted", "truth"), FAMILY_PAIRS)
def test_alignment_brings_both_onto_one_label_set(predicted: str, truth: str) -> None:
    asked, values = SHIPPED.get(predicted), SHIPPED.get(truth).labels
    alignment = align(asked, values, SHIPPED)
    common = set(alignment.common.labels)
    assert set(alignment.predicted) == set(asked.labels)
    assert set(alignment.predicted.values()) <= common
    assert {alignment.to_truth(value) for value in values} <= common


@pytest.mark.parametrize(
    ("predicted", "values", "common", "line"),
    [
        ("race7", ["Latino_Hispanic", "White"], "race7", "race7, no map needed"),
        ("race5", ["East Asian", "Latino_Hispanic"], "race5", "race7 -> race5"),
        ("race7", ["Asian", "Others"], "race5", "race7 -> race5"),
        ("age5", ["0-2", "more than 70"], "age5", "age9 -> age5"),
        ("age5", [1, 70], "age5", "years -> age5"),
    ],
)
def test_alignment_is_described_in_a_line(predicted: str, values: list[object], common: str, line: str) -> None:
    alignment = align(SHIPPED.get(predicted), values, SHIPPED)
    assert alignment.common.name == common
    assert alignment.describe(predicted) == line


def test_finer_ground_truth_is_mapped_through_its_aliases() -> None:
    to_truth = align(SHIPPED.get("race5"), ["Latino_Hispanic", "East Asian"], SHIPPED).to_truth
    assert [to_truth(v) for v in ("Latino_Hispanic", "East Asian", "black", None, 7)] == [
        "Others",
        "Asian",
        "Black",
        None,
        None,
    ]


def test_finer_predictions_are_mapped_onto_coarser_ground_truth() -> None:
    alignment = align(SHIPPED.get("race7"), ["Asian", "Others"], SHIPPED)
    assert alignment.predicted["Middle Eastern"] == "Others"
    assert alignment.predicted["Southeast Asian"] == "Asian"
    assert alignment.to_truth("others") == "Others"


@pytest.mark.parametrize(
    ("years", "label"),
    [(0, "0-9"), (9, "0-9"), (9.9, "0-9"), (10, "10-19"), (20, "20-39"), (59, "40-59"), (60, "More than 60")],
)
def test_years_fall_into_their_group(years: float, label: str) -> None:
    assert align(SHIPPED.get("age5"), [years], SHIPPED).to_truth(years) == label


@pytest.mark.parametrize("value", [None, "young", True, -3, math.nan])
def test_what_is_no_age_has_no_group(value: object) -> None:
    assert align(SHIPPED.get("age5"), [1, 70], SHIPPED).to_truth(value) is None


@pytest.mark.parametrize(("years", "label"), [(0, None), (17.9, None), (18, "worker"), (66, "worker"), (67, "retired")])
def test_an_age_below_the_first_group_has_no_group(years: float, label: str | None, tmp_path: Path) -> None:
    path = tmp_path / "work.yaml"
    path.write_text(
        "attributes: {work: {labels: [worker, retired], question: q, kind: ordinal}}\nyears: {work: [18, 67]}",
        encoding="utf-8",
    )
    known = attributes.load(path)
    assert align(known.get("work"), [years], known).to_truth(years) == label


@given(st.integers(0, 120) | st.floats(0, 120))
@settings(deadline=None, max_examples=60)
def test_grouping_years_finely_then_coarsely_is_grouping_them_coarsely(years: float) -> None:
    fine = align(SHIPPED.get("age9"), [years], SHIPPED).to_truth(years)
    assert SHIPPED.maps["age9", "age5"].labels[str(fine)] == align(SHIPPED.get("age5"), [years], SHIPPED).to_truth(
        years
    )


def test_without_a_map_both_label_sets_are_named(moods: Registry) -> None:
    with pytest.raises(TaxonomyError) as caught:
        align(moods.get("mood2"), ["dull", "mixed"], moods)
    message = str(caught.value)
    pair = "mood2 ('calm', 'lively') and mood3 ('bright', 'dull', 'mixed')"
    assert f"No map that reaches every label is declared between {pair}" in message
    assert "Predict mood3, or declare a map" in message


def test_ground_truth_with_a_class_that_predictions_never_reach_is_refused() -> None:
    with pytest.raises(TaxonomyError) as caught:
        align(SHIPPED.get("emotion7"), SHIPPED.get("emotion8").labels, SHIPPED)
    message = str(caught.value)
    assert "No map that reaches every label is declared between emotion7 ('neutral'" in message
    assert "and emotion8 ('neutral'" in message
    assert "'contempt'" in message
    assert "Predict emotion8, or declare a map" in message


def test_predictions_with_a_class_more_than_ground_truth_meet_on_their_own_set() -> None:
    alignment = align(SHIPPED.get("emotion8"), SHIPPED.get("emotion7").labels, SHIPPED)
    assert alignment.common.name == "emotion8"
    assert alignment.describe("emotion8") == "emotion8, no map needed"
    assert alignment.predicted["contempt"] == "contempt"
    assert alignment.to_truth("Happiness") == "happy"


def test_ground_truth_of_another_family_is_refused() -> None:
    with pytest.raises(TaxonomyError, match="'Female', 'Male', which no label set of 'race'"):
        align(SHIPPED.get("race7"), ["Male", "Female"], SHIPPED)


# Files


def test_a_file_adds_to_what_ships_and_leaves_it_as_it_was(moods: Registry) -> None:
    assert moods.get("race7") == SHIPPED.get("race7")
    assert moods.get("stage").kind == "ordinal"
    assert moods.get("stage").family == "stage"
    assert canonical(moods.get("stage"), "Young_one") == "child"
    assert label_map(moods.get("age5"), moods.get("stage"), moods) == {
        "0-9": "child",
        "10-19": "child",
        "20-39": "adult",
        "40-59": "adult",
        "More than 60": "adult",
    }
    assert align(moods.get("stage"), [19, 20], moods).to_truth(19.5) == "child"
    assert "stage" not in attributes.shipped().attributes


def test_files_stack(moods: Registry, tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text(
        "attributes: {}\nmaps: [{source: mood3, target: mood2, labels: {bright: lively, dull: calm, mixed: calm}}]",
        encoding="utf-8",
    )
    both = moods.with_file(path)
    alignment = align(both.get("mood2"), ["dull", "bright"], both)
    assert [alignment.to_truth(v) for v in ("dull", "bright", "mixed")] == ["calm", "lively", "calm"]


def test_a_file_may_say_where_the_last_group_ends_and_why_there_is_no_map(tmp_path: Path) -> None:
    path = tmp_path / "school.yaml"
    path.write_text(
        "attributes: {school: {labels: [first, second], question: q, kind: ordinal, family: age}}\n"
        "years: {school: [6, 12, 18]}\n"
        "undefined: [{source: age5, target: school, why: school begins at six}]",
        encoding="utf-8",
    )
    known = attributes.load(path)
    assert translate([5, 6, 11, 12, 17, 18], YEARS, known.get("school"), known) == [
        None,
        "first",
        "first",
        "second",
        "second",
        None,
    ]
    with pytest.raises(TaxonomyError, match="school begins at six"):
        translate(["0-9"], known.get("age5"), known.get("school"), known)
    with pytest.raises(TaxonomyError, match="3-9 lies across 6, 10-19 lies across 12, 10-19 lies across 18"):
        translate(["0-2"], known.get("age9"), known.get("school"), known)
    assert known.undefined.items() > SHIPPED.undefined.items()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping with the key 'attributes'"),
        ("- a\n- b\n", "expected a mapping with the key 'attributes'"),
        ("attributes: [a, b]", "expected a mapping with the key 'attributes'"),
        ("labels: {a: 1}", "expected a mapping with the key 'attributes'"),
        ("attributes: {a: [", "Cannot read the attribute file"),
        ("attributes: {x: 5}", "Attribute 'x': got 5, expected a mapping"),
        ("attributes: {x: {question: q}}", "Attribute 'x': expected 'labels' to be a list"),
        ("attributes: {x: {labels: [], question: q}}", "Attribute 'x': got the labels \\[\\]"),
        ("attributes: {x: {labels: ab, question: q}}", "Attribute 'x': expected 'labels' to be a list"),
        ("attributes: {x: {labels: {a: 1, b: 2}, question: q}}", "Attribute 'x': expected 'labels' to be a list"),
        ("attributes: {x: {labels: [a, b], question: q, aliases: [c]}}", "'aliases' to map labels to lists"),
        ("attributes: {x: {labels: [a, b], question: q, aliases: {a: c}}}", "'aliases' to map labels to lists"),
        ("attributes: {x: {labels: [a, b], question: q, aliases: {a: {c: d}}}}", "'aliases' to map labels to lists"),
        ("attributes: {x: {labels: [a, b], question: q, kind: [ordinal]}}", "expected one of nominal, ordinal"),
        ("attributes: {x: {labels: [a, b]}}", "Attribute 'x': got no question"),
        ("attributes: {x y: {labels: [a, b], question: q}}", "got the name 'x y'"),
        ("attributes: {}\nmaps: {source: race7, target: race6}", "expected 'maps' to be a list"),
        ("attributes: {}\nmaps: race7", "expected 'maps' to be a list"),
        ("attributes: {}\nmaps: [race7]", "Map: got 'race7', expected source, target, and labels as a mapping"),
        ("attributes: {}\nmaps: [{source: race7}]", "expected source, target, and labels"),
        ("attributes: {}\nmaps: [{source: race7, target: race6, labels: [Asian]}]", "labels as a mapping"),
        ("attributes: {}\nmaps: [{source: [race7], target: race6}]", "Unknown attribute"),
        ("attributes: {}\nmaps: [{source: race7, target: race9}]", "Unknown attribute 'race9'"),
        (
            "attributes: {}\nundefined: race7",
            "expected 'undefined' to be a list of mappings with source, target and why",
        ),
        ("attributes: {}\nundefined: [{source: race7, target: race4}]", "expected 'undefined' to be a list"),
        ("attributes: {}\nmaps: [{source: race7, target: race5}]", "Map race7 -> race5: got East Asian"),
        ("attributes: {}\nmaps: [{source: race6, target: race7, labels: {Asian: Asian}}]", "race6 -> race7: got Asian"),
        ("attributes: {}\nmaps: [{source: emotion7, target: emotion8, labels: {joy: happy}}]", "got joy"),
        ("attributes: {}\nyears: [age5]", "'years' a mapping"),
        ("attributes: {}\nyears: {age4: [0, 10]}", "Unknown attribute 'age4'"),
        ("attributes: {}\nyears: {age5: 10}", "Years of 'age5': got 10, expected 5 ascending ages, one per label"),
        ("attributes: {}\nyears: {age5: '01234'}", "Years of 'age5': got '01234'"),
        ("attributes: {}\nyears: {age5: [0, 10, 20, 40]}", "expected 5 ascending ages"),
        ("attributes: {}\nyears: {age5: [0, 10, 20, 40, 60, 80, 90]}", "and one more where the last group ends"),
        ("attributes: {}\nyears: {age5: [0, 20, 10, 40, 60]}", "expected 5 ascending ages"),
        ("attributes: {}\nyears: {age5: [0, 10, 10, 40, 60]}", "expected 5 ascending ages"),
        ("attributes: {}\nyears: {age5: [-1, 10, 20, 40, 60]}", "expected 5 ascending ages"),
        ("attributes: {}\nyears: {age5: [0, ten, 20, 40, 60]}", "expected 5 ascending ages"),
        ("attributes: {}\nyears: {age5: [0, [1], {a: 2}, 40, 60]}", "expected 5 ascending ages"),
        ("attributes: {}\nyears: {age5: [0, 10, 20, 40, .inf]}", "expected 5 ascending ages"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FacevlmError, match=message) as caught:
        attributes.load(path)
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize("content", [MOODS.replace("kid", "Füchse").encode("latin-1"), b"\xff\xfe\x00\xd8", b"a\0b"])
def test_a_file_that_is_no_utf8_text_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bytes.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"Cannot read the attribute file .*bytes\.yaml"):
        attributes.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read the attribute file .*nowhere\.yaml"):
        attributes.load(tmp_path / "nowhere.yaml")

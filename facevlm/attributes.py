"""The attribute registry: label sets, their spellings, and which label set maps onto which.

A package of somebody else adds a set by an entry point of the group ``facevlm.attributes``: the path of a YAML file in
the form of ``assets/attributes.yaml``, a :class:`Registry`, or a function without arguments that gives one of these.
"""

from __future__ import annotations

import bisect
import functools
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from facevlm import doors, folders
from facevlm.arguments import checked
from facevlm.doors import Addition
from facevlm.errors import InputError, TaxonomyError, lookup
from facevlm.folders import ASSETS
from facevlm.types import Attribute

SHIPPED = ASSETS / "attributes.yaml"
SETS = {"celeba": ASSETS / "celeba.yaml"}
"""Attribute sets by name, too large to stand among the others: ``load("celeba")``."""
YEARS = "years"
OLDEST = 120
"""Years. The oldest age in UTKFace is 116; nobody is known to have reached 123."""
AGE_TEXT = re.compile(r"\d{1,3}(\.\d*)?")
UNDEFINED = {"source", "target", "why"}
KINDS = ("nominal", "ordinal")


@dataclass(frozen=True)
class LabelMap:
    """A total many-to-one map from the labels of ``source`` to those of ``target``."""

    source: str
    target: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Registry:
    """Attributes by name, the declared maps between them, and the year edges of age groups.

    ``years`` has the age at which each label begins, and one more where the last group ends.
    """

    attributes: Mapping[str, Attribute]
    maps: Mapping[tuple[str, str], LabelMap]
    years: Mapping[str, tuple[float, ...]]
    undefined: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Why there is no map from one label set to another, where it takes more words than which labels have no place."""

    def get(self, name: str) -> Attribute:
        """The attribute, or an :class:`~facevlm.errors.UnknownName` that lists all."""
        return lookup("attribute", self.attributes, name)

    def with_file(self, path: str | Path) -> Registry:
        """This registry plus the attributes and maps of a YAML file."""
        return _parse(path, self)

    def plus(self, other: Registry) -> Registry:
        """This registry and another one, which must not define anything anew that is in this one.

        Raises :class:`~facevlm.errors.InputError` that names what stands in both.
        """
        both = [
            *(
                name
                for name, attribute in other.attributes.items()
                if self.attributes.get(name, attribute) != attribute
            ),
            *(f"{a} -> {b}" for (a, b), found in other.maps.items() if self.maps.get((a, b), found) != found),
            *(f"years of {name}" for name, edges in other.years.items() if self.years.get(name, edges) != edges),
        ]
        if both:
            raise InputError(f"Got {_listed(both)} in both sets with different content, expected names of their own.")
        return Registry(
            {**self.attributes, **other.attributes},
            {**self.maps, **other.maps},
            {**self.years, **other.years},
            {**other.undefined, **self.undefined},
        )

    def family(self, name: str) -> list[Attribute]:
        """The label sets of one concept."""
        return [a for a in self.attributes.values() if a.family == name]


def _parse(path: str | Path, base: Registry | None = None) -> Registry:
    try:
        data = folders.read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"Cannot read the attribute file {path}: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("attributes"), dict):
        raise InputError(f"{path}: expected a mapping with the key 'attributes'; see facevlm/assets/attributes.yaml")
    if not isinstance(data.get("maps") or [], list) or not isinstance(data.get("years") or {}, dict):
        raise InputError(
            f"{path}: expected 'maps' to be a list and 'years' a mapping; see facevlm/assets/attributes.yaml"
        )
    undefined = data.get("undefined") or []
    if not isinstance(undefined, list) or not all(isinstance(u, dict) and u.keys() >= UNDEFINED for u in undefined):
        raise InputError(f"{path}: expected 'undefined' to be a list of mappings with source, target and why")
    attributes = dict(base.attributes) if base else {}
    attributes.update({str(name): _attribute(str(name), raw) for name, raw in data["attributes"].items()})
    maps = dict(base.maps) if base else {}
    for raw in data.get("maps") or ():
        label_map = _map(raw, attributes)
        maps[label_map.source, label_map.target] = label_map
    years = dict(base.years) if base else {}
    years.update({str(k): _edges(str(k), edges, attributes) for k, edges in (data.get("years") or {}).items()})
    why = dict(base.undefined) if base else {}
    why.update({(str(u["source"]), str(u["target"])): str(u["why"]) for u in undefined})
    return Registry(attributes, maps, years, why)


def _attribute(name: str, raw: Any) -> Attribute:
    if not isinstance(raw, dict):
        raise InputError(f"Attribute '{name}': got {raw!r}, expected a mapping with labels and question")
    aliases = raw.get("aliases") or {}
    lists = [raw.get("labels"), *(aliases.values() if isinstance(aliases, dict) else [None])]
    if not all(isinstance(part, list) for part in lists):
        raise InputError(f"Attribute '{name}': expected 'labels' to be a list and 'aliases' to map labels to lists.")
    if any(isinstance(label, bool) for label in raw["labels"]):
        raise InputError(f"Attribute '{name}': YAML reads yes and no as true and false; put such labels into quotes.")
    return define(
        name,
        raw["labels"],
        str(raw.get("question") or ""),
        kind=str(raw.get("kind", "nominal")),
        family=str(raw.get("family", name)),
        title=str(raw.get("title", name)),
        aliases=aliases,
    )


def _edges(name: str, raw: Any, attributes: Mapping[str, Attribute]) -> tuple[float, ...]:
    attribute = lookup("attribute", attributes, name)
    numbers, labels = (
        isinstance(raw, list) and all(_is_number(v) and 0 <= v < math.inf for v in raw),
        len(attribute.labels),
    )
    if not numbers or raw != sorted(set(raw)) or len(raw) not in (labels, labels + 1):
        raise InputError(
            f"Years of '{name}': got {raw!r}, expected {labels} ascending ages, one per label, "
            "and one more where the last group ends."
        )
    return tuple(float(v) for v in raw)


@checked
def define(
    name: str,
    labels: Iterable[str],
    question: str,
    *,
    kind: str = "nominal",
    family: str = "",
    title: str = "",
    aliases: Mapping[str, Iterable[str]] | None = None,
) -> Attribute:
    """A checked :class:`~facevlm.types.Attribute`.

    Raises :class:`~facevlm.errors.InputError` for a name that is no identifier, fewer than two labels,
    repeated labels, no question, an unknown kind, or a spelling that stands for two labels.
    """
    if isinstance(labels, str):
        raise InputError(f"Attribute '{name}': got the labels '{labels}', expected a list of at least two.")
    labels = tuple(str(label).strip() for label in labels)
    problem = None
    if not name.isidentifier():
        problem = f"got the name {name!r}, expected letters, digits and underscores, because it becomes a field name"
    elif len(labels) < 2 or len(set(labels)) < len(labels) or "" in labels:
        problem = f"got the labels {list(labels)}, expected at least two different ones"
    elif not question.strip():
        problem = "got no question, expected the sentence to ask the model"
    elif kind not in KINDS:
        problem = f"got kind {kind!r}, expected one of {', '.join(KINDS)}"
    if problem:
        raise InputError(f"Attribute '{name}': {problem}.")
    kept = {k: (v,) if isinstance(v, str) else tuple(map(str, v)) for k, v in (aliases or {}).items() if k in labels}
    attribute = Attribute(
        name=name,
        labels=labels,
        question=question.strip(),
        kind="ordinal" if kind == "ordinal" else "nominal",
        family=family or name,
        title=title or name,
        aliases=kept,
    )
    spelling_table(attribute)
    return attribute


@functools.lru_cache(maxsize=256)
def _spelling_table(labels: tuple[str, ...], aliases: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, str]:
    table: dict[str, str] = {}
    spelled = dict(aliases)
    for label in labels:
        for spelling in (label, *spelled.get(label, ())):
            if table.setdefault(fold(spelling), label) != label:
                raise InputError(f"The spelling '{spelling}' stands for both '{table[fold(spelling)]}' and '{label}'.")
    return table


def spelling_table(attribute: Attribute) -> dict[str, str]:
    """Folded spelling -> label."""
    return _spelling_table(attribute.labels, tuple(sorted(attribute.aliases.items())))


def fold(text: str) -> str:
    """Lower case, underscores and runs of blanks as one blank, outer blanks and full stops removed."""
    return " ".join(text.replace("_", " ").lower().split()).strip(" .")


def canonical(attribute: Attribute, value: object) -> str | None:
    """The label that ``value`` spells, or None."""
    return spelling_table(attribute).get(fold(value)) if isinstance(value, str) else None


def _map(raw: Any, attributes: Mapping[str, Attribute]) -> LabelMap:
    if (
        not isinstance(raw, dict)
        or not {"source", "target"} <= set(raw)
        or not isinstance(raw.get("labels") or {}, dict)
    ):
        raise InputError(f"Map: got {raw!r}, expected source, target, and labels as a mapping.")
    source, target = (lookup("attribute", attributes, str(raw[end])) for end in ("source", "target"))
    changed = {str(k): str(v) for k, v in (raw.get("labels") or {}).items()}
    labels = {label: changed.get(label, label) for label in source.labels}
    strange = (set(changed) - set(source.labels)) | (set(labels.values()) - set(target.labels))
    if strange:
        raise TaxonomyError(
            f"Map {source.name} -> {target.name}: got {', '.join(sorted(strange))}, which is in neither label set; "
            f"expected every label of {source.name} to lead to one of {', '.join(target.labels)}."
        )
    return LabelMap(source.name, target.name, labels)


@functools.cache
def shipped() -> Registry:
    """The attributes that come with facevlm and with the packages that are installed."""
    registry = _own()
    for addition in added().values():
        registry = registry.plus(addition.value)
    return registry


@functools.cache
def _own() -> Registry:
    return _parse(SHIPPED)


@functools.cache
def added() -> Mapping[str, Addition[Registry]]:
    """The sets of installed packages by name, each with what it adds alone."""
    known = _own()

    def read(addition: Addition[object]) -> Registry:
        nonlocal known
        before, made = known, _registry(addition.value, known)
        known = before.plus(made)
        return Registry(
            {name: attribute for name, attribute in made.attributes.items() if name not in before.attributes},
            {pair: label_map for pair, label_map in made.maps.items() if pair not in before.maps},
            {name: edges for name, edges in made.years.items() if name not in before.years},
            {pair: why for pair, why in made.undefined.items() if pair not in before.undefined},
        )

    return doors.admit("attributes", read, SETS)


def _registry(value: object, known: Registry) -> Registry:
    """What an entry point stands for; a file may map its labels onto label sets that are ``known``."""
    made = value() if callable(value) else value
    if isinstance(made, (str, os.PathLike)):
        return known.with_file(Path(made))
    if not isinstance(made, Registry):
        raise TypeError(f"got {made!r}, expected the path of a YAML file, a Registry, or a function that gives one")
    return made


def origin(name: str) -> str:
    """The package that an attribute comes with; empty for one that comes with none of them."""
    if name in _own().attributes:
        return doors.OWN
    return next((addition.package for addition in added().values() if name in addition.value.attributes), "")


@checked
def load(path: str | Path) -> Registry:
    """The shipped registry plus the attributes of a YAML file of the same form, or of a set by name (``celeba``)."""
    return shipped().with_file(SETS.get(str(path), path))


@checked
def get(name: str) -> Attribute:
    """A shipped attribute by name."""
    return shipped().get(name)


def label_map(source: Attribute, target: Attribute, registry: Registry) -> dict[str, str] | None:
    """Labels of ``source`` -> labels of ``target``: the identity, a declared map, or None."""
    if source.labels == target.labels:
        return {label: label for label in source.labels}
    declared = registry.maps.get((source.name, target.name))
    return dict(declared.labels) if declared else None


def require_map(source: Attribute, target: Attribute, registry: Registry) -> dict[str, str]:
    """As :func:`label_map`, but raises :class:`~facevlm.errors.TaxonomyError` with the reason why there is none."""
    found = label_map(source, target, registry)
    if found is None:
        raise TaxonomyError(
            f"No map is declared from {source.name} ({_some(source.labels)}) to {target.name} "
            f"({_some(target.labels)}): {why_not(source, target, registry)}. "
            "Use labels of one set on both sides, or declare a map in an attribute file."
        )
    return found


def why_not(source: Attribute, target: Attribute, registry: Registry) -> str:
    """The reason for which no map leads from one label set to another."""
    if (source.name, target.name) in registry.undefined:
        return registry.undefined[source.name, target.name]
    if source.family != target.family:
        return f"one is about {source.family}, the other about {target.family}"
    here, there = registry.years.get(source.name), registry.years.get(target.name)
    if here and there:
        ends = (*here[1:], math.inf)[: len(source.labels)]
        groups = zip(source.labels, here, ends, strict=False)
        split = [f"{label} lies across {cut:g}" for label, low, high in groups for cut in there if low < cut < high]
        if split:
            return f"a map must not split a group, and {_listed(split)} years"
    lost = [label for label in source.labels if canonical(target, label) is None]
    return f"{_some(lost)} of {source.name} {'is' if len(lost) == 1 else 'are'} no label of {target.name}"


def translate(
    values: Iterable[object], source: Attribute | str, target: Attribute, registry: Registry | None = None
) -> list[str | None]:
    """Values of one label set, or ages in years (``source="years"``), as labels of another; None for what is neither.

    Raises :class:`~facevlm.errors.TaxonomyError` with the reason where there is no map.
    """
    known = registry or shipped()
    if isinstance(source, Attribute):
        become = functools.partial(_mapped, source, require_map(source, target, known))
    elif source == YEARS and target.name in known.years:
        become = functools.partial(_group, target.labels, known.years[target.name])
    else:
        raise TaxonomyError(f"Got ages in years for {target.name}; groups in years have: {_some(known.years)}.")
    # A label set is small: each value is looked at once, and true is not taken for the age 1.
    memory: dict[tuple[type, object], str | None] = {}
    return [memory[key] if (key := (type(v), v)) in memory else memory.setdefault(key, become(v)) for v in values]


@dataclass(frozen=True)
class Alignment:
    """How predictions and ground truth meet: both are brought onto ``common``."""

    common: Attribute
    predicted: Mapping[str, str]
    truth_attribute: str
    to_truth: Callable[[object], str | None]

    def describe(self, predicted: str) -> str:
        """One line for forms and reports, such as ``race7 -> race5``."""
        parts = [
            f"{name} -> {self.common.name}" for name in (self.truth_attribute, predicted) if name != self.common.name
        ]
        return "; ".join(parts) or f"{self.common.name}, no map needed"


def recognise(values: Iterable[object], wanted: Attribute, registry: Registry) -> Attribute | str:
    """The label set that ground-truth values belong to: an attribute of the family, or ``"years"``.

    The wanted label set itself is preferred. Among ages, what can be none (-1, 999, NaN, a text) is no ground truth for
    its face, as long as at least half of the different values are ages. Raises
    :class:`~facevlm.errors.TaxonomyError` where no label set of the family holds all values.
    """
    seen = {v for v in values if v is not None and v != ""}
    years = 2 * sum(age_in_years(v) is not None for v in seen) >= len(seen) > 0
    if years and wanted.name in registry.years and any(_is_number(v) for v in seen):
        return YEARS
    family = [a for a in registry.family(wanted.family) if a.name != wanted.name]
    for attribute in (wanted, *family):
        if all(canonical(attribute, v) is not None for v in seen):
            return attribute
    if years and wanted.name in registry.years:
        return YEARS
    strange = sorted(str(v) for v in seen if canonical(wanted, v) is None)
    names = ", ".join(a.name for a in (wanted, *family))
    raise TaxonomyError(
        f"Ground truth holds {_some(strange)}, which no label set of '{wanted.family}' ({names}) knows. "
        f"Expected labels such as {_some(wanted.labels)}. Map the field, or define an attribute with these labels."
    )


def align(
    predicted: Attribute, values: Iterable[object], registry: Registry, onto: Attribute | None = None
) -> Alignment:
    """Bring predictions of an attribute and ground-truth values onto one label set, which ``onto`` may name.

    Raises :class:`~facevlm.errors.TaxonomyError`, naming both, where no map is declared.
    """
    if onto is not None:
        return _align_onto(onto, predicted, values, registry)
    truth = recognise(values, predicted, registry)
    if isinstance(truth, str):
        edges = registry.years[predicted.name]
        return Alignment(
            predicted, {v: v for v in predicted.labels}, YEARS, functools.partial(_group, predicted.labels, edges)
        )
    down = label_map(truth, predicted, registry)
    if down is not None:
        identity = {v: v for v in predicted.labels}
        return Alignment(predicted, identity, truth.name, functools.partial(_mapped, truth, down))
    up = label_map(predicted, truth, registry)
    if up is not None and set(up.values()) == set(truth.labels):
        identity = {v: v for v in truth.labels}
        return Alignment(truth, up, truth.name, functools.partial(_mapped, truth, identity))
    raise TaxonomyError(
        f"No map that reaches every label is declared between {predicted.name} ({_some(predicted.labels)}) "
        f"and {truth.name} ({_some(truth.labels)}), in either direction: {why_not(truth, predicted, registry)}. "
        f"Predict {truth.name}, or declare a map."
    )


def _align_onto(onto: Attribute, predicted: Attribute, values: Iterable[object], registry: Registry) -> Alignment:
    truth = recognise(values, onto, registry)
    said = label_map(predicted, onto, registry)
    told = None if isinstance(truth, str) else label_map(truth, onto, registry)
    if said is None or (told is None and truth != YEARS):
        missing = predicted.name if said is None else getattr(truth, "name", YEARS)
        raise TaxonomyError(
            f"No map from {missing} onto {onto.name} ({_some(onto.labels)}) is declared. Compare on another label set, "
            "or declare a map."
        )
    if isinstance(truth, str) or told is None:
        return Alignment(onto, said, YEARS, functools.partial(_group, onto.labels, registry.years[onto.name]))
    return Alignment(onto, said, truth.name, functools.partial(_mapped, truth, told))


def _mapped(attribute: Attribute, labels: Mapping[str, str], value: object) -> str | None:
    label = canonical(attribute, value)
    return None if label is None else labels[label]


def _group(labels: tuple[str, ...], edges: tuple[float, ...], value: object) -> str | None:
    age = age_in_years(value)
    if age is None:
        return None
    at = bisect.bisect_right(edges, age) - 1
    return labels[at] if 0 <= at < len(labels) else None


def age_in_years(value: object) -> float | None:
    """The age that a number, or a text that spells one, stands for: from 0 to :data:`OLDEST`; None for all else.

    The one line between ages and what stands for none, such as -1, 999 or NaN: for loading, evaluating and checking.
    """
    if isinstance(value, str) and AGE_TEXT.fullmatch(value.strip()):
        value = float(value)
    return float(value) if _is_number(value) and 0 <= value <= OLDEST else None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _some(values: Iterable[str], most: int = 8) -> str:
    return _listed([f"'{v}'" for v in values], most)


def _listed(parts: list[str], most: int = 8) -> str:
    return ", ".join(parts[:most]) + (f" and {len(parts) - most} more" if len(parts) > most else "")

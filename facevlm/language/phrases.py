"""What the words of requests mean for a model and its attributes, and the plan that a request amounts to.

The words are data: ``assets/phrases.yaml``.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from facevlm.attributes import Registry, canonical, fold
from facevlm.errors import InputError
from facevlm.folders import ASSETS
from facevlm.types import Attribute

TOKEN = re.compile(r"\d+\s*[-–]\s*\d+|\w+(?:['’]\w+)?|[^\w\s]")
SILENT = set(".?!\"'’“”()")
BARE_LETTERS = 3
"""Labels of fewer letters are no adjectives: M and F are too easily something else."""
NEVER_BARE = {"yes", "no", "none", "other", "others", "unknown", "man", "woman"}
NTH = {1: "", 2: "second ", 3: "third ", 4: "fourth ", 5: "fifth ", 6: "sixth "}
SIDES = {"leftmost": "from the left", "rightmost": "from the right", "topmost": "from the top", "lowest": "from below"}
ENDS = {"x": ("leftmost", "rightmost"), "y": ("topmost", "lowest"), "size": ("smallest", "biggest")}


@dataclass(frozen=True)
class Condition:
    """Faces whose predicted ``attribute`` has one of ``labels``."""

    attribute: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """One face per picture: number ``which`` by ``x``, ``y`` or ``size``, from 1, from the end below 0; 0 is the
    middle."""

    by: str
    which: int

    def __str__(self) -> str:
        if not self.which:
            return "middle one"
        end = ENDS[self.by][self.which < 0]
        number = NTH.get(abs(self.which), "")
        return f"{number}{SIDES[end]}" if number and end in SIDES else f"{number}{end}"


@dataclass(frozen=True)
class Plan:
    """What a request amounts to: ``attributes`` to ask, of the faces that meet all ``conditions``, whom the phrase
    ``who`` fits, and of these the one at ``place``."""

    request: str
    attributes: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    who: str | None = None
    place: Place | None = None
    notes: tuple[str, ...] = ()

    def sentences(self, registry: Registry) -> list[str]:
        """The plan to be read by a user."""
        asked = ", ".join(_titled(registry, name) for name in self.attributes)
        lines = [f"Asked: {asked}." if asked else "Nothing is asked: faces are only picked."]
        lines += [
            f"Only faces with {_titled(registry, c.attribute)}: {' or '.join(c.labels)}." for c in self.conditions
        ]
        if self.who:
            lines.append(f"Only those whom the words '{self.who}' fit, as a model decides that sees the whole picture.")
        if self.place:
            lines.append(f"In each picture only the {self.place} of these.")
        if not (self.conditions or self.who or self.place):
            lines.append("Of all faces.")
        return [*lines, *self.notes]


def _titled(registry: Registry, name: str) -> str:
    return f"{registry.get(name).title} ({name})"


@dataclass(frozen=True)
class Item:
    """Tokens of a request with one meaning."""

    kind: str
    text: str
    value: Any = None
    start: int = 0


@functools.cache
def words() -> Mapping[str, Any]:
    """The words of ``assets/phrases.yaml``."""
    raw: dict[str, Any] = yaml.safe_load((ASSETS / "phrases.yaml").read_text(encoding="utf-8"))
    return raw


class Vocabulary:
    """What words mean for a model that answers the attributes ``offered``, where ``predicted`` ones are stored."""

    def __init__(self, registry: Registry, offered: Iterable[str] | None = None, predicted: Iterable[str] = ()) -> None:
        self.registry = registry
        self.offered = list(registry.attributes) if offered is None else list(offered)
        usual = [name for name in words()["usual"].values() if name in self.offered]
        known = [*predicted, *usual, *self.offered]
        self.deciding = [registry.attributes[name] for name in dict.fromkeys(known) if name in registry.attributes]
        self.table: dict[tuple[str, ...], Item] = {}
        self._add_closed_words()
        self._add_labels()
        self._add_people()
        self._add_attributes()
        self.longest = max(map(len, self.table))
        self.single = sorted({w for key in self.table for w in key if len(w) > 4} | set(words()["openers"]))

    def _add(self, text: str, kind: str, value: Any = None) -> None:
        self.table.setdefault(tuple(plain(text)), Item(kind, text, value))

    def _add_closed_words(self) -> None:
        for text, (by, which) in words()["places"].items():
            self._add(text, "place", Place(by, which))
        for text in words()["counting"]:
            self._add(text, "fill")
        for text, number in words()["ordinals"].items():
            self._add(text, "ordinal", number)
        for text, side in words()["sides"].items():
            self._add(text, "side", side)

    def _add_people(self) -> None:
        for group in words()["people"]:
            conditions = [self._aged(group["age"])] if "age" in group else []
            conditions += [self.labelled("gender", group["gender"])] if "gender" in group else []
            decided = None if None in conditions else tuple(conditions)
            for text in group["words"]:
                # As the adjectives of the registry say 'man' for Male, the noun stands before them.
                self.table[tuple(plain(text))] = Item("group", text, decided)

    def _add_labels(self) -> None:
        for family in words()["adjectives"]:
            for attribute in self.registry.family(family):
                self._add_spellings(attribute, family)
        for family, labels in words()["labels"].items():
            for label, spellings in labels.items():
                for text in spellings:
                    self._add(text, "label", self.labelled(family, label))
        for name in words()["hair"]:
            if name in self.registry.attributes:
                self._add_hair(self.registry.get(name))
        for attribute in self.registry.attributes.values():
            if attribute.family not in words()["attributes"] and attribute.name not in words()["attributes"]:
                self._add_spellings(attribute, attribute.family)

    def _add_spellings(self, attribute: Attribute, family: str) -> None:
        for label in attribute.labels:
            for text in attribute.spellings(label):
                if len(text) >= BARE_LETTERS and fold(text) not in NEVER_BARE:
                    self._add(text, "label", self.labelled(family, text))

    def _add_hair(self, attribute: Attribute) -> None:
        offered = attribute in self.deciding
        for label in attribute.labels:
            for text in attribute.spellings(label):
                for ending in ("hair", "haired"):
                    self._add(f"{text} {ending}", "label", Condition(attribute.name, (label,)) if offered else None)

    def _add_attributes(self) -> None:
        for attribute in self.registry.attributes.values():
            for text in (attribute.name, attribute.title):
                self._add(text, "attr", (attribute.family, attribute.name))
        for concept, texts in words()["attributes"].items():
            for text in texts:
                self._add(text, "attr", (concept, None))

    def labelled(self, family: str, spelling: str) -> Condition | None:
        """The condition that a label's spelling means; None where no label set that is there can decide it."""
        sets = [a for a in self.deciding if a.family == family]
        for attribute in sets:
            if label := canonical(attribute, spelling):
                return Condition(attribute.name, (label,))
            for (source, target), label_map in self.registry.maps.items():
                label = canonical(self.registry.get(target), spelling)
                labels = tuple(k for k, v in label_map.labels.items() if v == label)
                if source == attribute.name and labels:
                    return Condition(attribute.name, labels)
        return None

    def _aged(self, group: str) -> Condition | None:
        groups = words()["ages"][group]
        attribute = next((a for a in self.deciding if a.name in groups), None)
        return Condition(attribute.name, tuple(groups[attribute.name])) if attribute else None

    def years(self, low: float, high: float, phrase: str) -> Condition:
        """Faces of apparent ages from ``low`` to below ``high``, where groups begin and end there."""
        tried = [a for a in self.deciding if a.name in self.registry.years and a.kind == "ordinal"]
        for attribute in tried:
            edges = [*self.registry.years[attribute.name], float("inf")][: len(attribute.labels) + 1]
            pairs = zip(attribute.labels, edges, edges[1:], strict=False)
            if (low in edges or low <= edges[0]) and high in edges:
                labels = tuple(label for label, a, b in pairs if low <= a and b <= high)
                if labels:
                    return Condition(attribute.name, labels)
        groups = "; ".join(f"{a.name}: {', '.join(a.labels)}" for a in tried)
        raise InputError(f"Got '{phrase}', which no groups of age begin or end at. There are {groups or 'none'}.")

    def attribute(self, concept: str, name: str | None, phrase: str) -> str:
        """The attribute that is asked where a concept is named."""
        if name is None:
            usual = words()["usual"].get(concept, concept)
            fits = [a.name for a in self.registry.attributes.values() if concept in (a.family, a.name)]
            name = next((n for n in (usual, *fits) if n in self.offered and n in fits), None)
        if name is None or name not in self.offered:
            raise InputError(
                f"Understood '{phrase}', but the model does not answer that. It answers {', '.join(self.offered)}: "
                "ask for one of these, or choose another model."
            )
        return name

    def kind(self, concept: str, name: str | None) -> list[Attribute]:
        """The label sets that may decide a condition on a concept."""
        return [a for a in self.deciding if name == a.name or (name is None and concept in (a.family, a.name))]


def plain(text: str) -> list[str]:
    """The words of a text as they are compared."""
    lowered = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    parts = [part for part in TOKEN.findall(lowered) if part not in SILENT]
    joined: list[str] = []
    for part in parts:
        part = part.replace("’", "'")
        if part.endswith("n't"):
            joined += [part[:-3], "not"]
        elif part in ("who's", "that's", "what's"):
            joined += [part[:-2], "is"]
        elif part != "-":
            joined.append(re.sub(r"'s?$", "", re.sub(r"\s*[-–]\s*", "-", part)))
    return joined

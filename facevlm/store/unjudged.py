"""Answers of a run as they are, where there is no ground truth to judge them by: how many of each, and the faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F

from facevlm.errors import FieldError
from facevlm.store import provenance, runs
from facevlm.store.rows import flat
from facevlm.store.schema import CONFIDENCE, COVERAGE, DETECTIONS, FACE, ID, LABEL, OUTCOME
from facevlm.store.targets import Collection, all_pictures, holds

LOW_COVERAGE = 0.5
UNSURE = 0.6
"""Confidence below which an answer is called unsure."""


@dataclass(frozen=True)
class Told:
    """What a run answered to one attribute: ``faces`` are pictures, or patches where faces were asked about."""

    dataset: fo.Dataset
    prefix: str
    attribute: str
    faces: Collection
    on_faces: bool

    @property
    def field(self) -> str:
        return f"{self.prefix}_{self.attribute}"


def answered(dataset: fo.Dataset) -> dict[str, list[str]]:
    """The attributes that each run has answers to, the oldest run first."""
    found = {prefix: _attributes(dataset, prefix) for prefix in runs.prefixes(dataset)}
    return {prefix: names for prefix, names in found.items() if names}


def _attributes(dataset: fo.Dataset, prefix: str) -> list[str]:
    asked = runs.read(dataset, runs.run_key(prefix)).get("questions") or {}
    return [name for name in asked if _root(dataset, f"{prefix}_{name}") is not None]


def _root(dataset: fo.Dataset, name: str) -> str | None:
    """Where the answers in a field are; None where it holds none."""
    roots = (name, f"{name}.{DETECTIONS}")
    return next((root for root in roots if dataset.get_field(f"{root}.{OUTCOME}") is not None), None)


def told(dataset: fo.Dataset, prefix: str, attribute: str) -> Told:
    """The answers of a run to an attribute. Raises :class:`~facevlm.errors.FieldError` where there are none."""
    name = f"{prefix}_{attribute}"
    if _root(dataset, name) is None:
        raise FieldError(f"Field '{name}' of dataset '{dataset.name}' holds no answers. Apply a model first.")
    pictures = all_pictures(dataset)
    on_faces = holds(dataset.get_field(name), fo.Detections)
    return Told(dataset, prefix, attribute, pictures.to_patches(name) if on_faces else pictures, on_faces)


def counts(said: Told) -> dict[str, dict[str, int]]:
    """Faces per label and per outcome, by reading both."""
    root = _root(said.dataset, said.field)
    pictures = all_pictures(said.dataset)
    labels, outcomes = (pictures.count_values(f"{root}.{part}") for part in (LABEL, OUTCOME))
    return {"labels": _known(labels), "outcomes": _known(outcomes)}


def _known(values: Mapping[Any, int]) -> dict[str, int]:
    return {str(value): n for value, n in values.items() if value is not None}


def labelled(said: Told, label: str) -> Collection:
    """Faces with one label, the least sure first."""
    return said.faces.match(F(f"{said.field}.{LABEL}") == label).sort_by(f"{said.field}.{CONFIDENCE}")


def unsure(said: Told, below: float = UNSURE) -> Collection:
    """Faces whose answer has less confidence, the least first."""
    sure = F(f"{said.field}.{CONFIDENCE}")
    answers = F(f"{said.field}.{LABEL}") != None  # noqa: E711
    return said.faces.match(answers & (sure != None) & (sure < below)).sort_by(  # noqa: E711
        f"{said.field}.{CONFIDENCE}"
    )


def not_answered(said: Told) -> Collection:
    """Faces that were refused, failed and so on: outcome by outcome."""
    outcome = F(f"{said.field}.{OUTCOME}")
    return said.faces.match((outcome != None) & (outcome != "ok")).sort_by(f"{said.field}.{OUTCOME}")  # noqa: E711


def low_coverage(said: Told, below: float = LOW_COVERAGE) -> Collection:
    """Faces where less of the model's probability lay on the label set, the least first."""
    share = F(f"{said.field}.{COVERAGE}")
    return said.faces.match((share != None) & (share < below)).sort_by(f"{said.field}.{COVERAGE}")  # noqa: E711


def rivals(said: Told) -> list[str]:
    """Other runs with answers to the same attribute about the same kind of target."""
    wanted = _root(said.dataset, said.field) == said.field
    names = [p for p in runs.prefixes(said.dataset) if p != said.prefix]
    roots = {p: _root(said.dataset, f"{p}_{said.attribute}") for p in names}
    return [p for p in names if roots[p] is not None and (roots[p] == f"{p}_{said.attribute}") == wanted]


def disagreements(said: Told, rival: str) -> Collection:
    """Faces that both runs were asked about and answered otherwise; no answer is an answer of its own."""
    other = told(said.dataset, rival, said.attribute)
    for one in (said, other):
        provenance.require_one_run(all_pictures(said.dataset), one.field)
    if said.on_faces:
        mine, its = _by_face(said), _by_face(other)
        differ = [face for face, label in mine.items() if face in its and its[face] != label]
        return said.faces.match(F(f"{said.field}.{FACE}").is_in(differ)).sort_by(f"{said.field}.{CONFIDENCE}")
    own, another = F(f"{said.field}.{LABEL}"), F(f"{other.field}.{LABEL}")
    asked = (F(f"{said.field}.{OUTCOME}") != None) & (F(f"{other.field}.{OUTCOME}") != None)  # noqa: E711
    both = (own == None) & (another == None)  # noqa: E711
    return said.faces.match(asked & (own != another) & ~both).sort_by(f"{said.field}.{CONFIDENCE}")


def _by_face(said: Told) -> dict[str, str | None]:
    """Labels by the id of the face that was asked about."""
    root = f"{said.field}.{DETECTIONS}"
    columns = all_pictures(said.dataset).values([f"{root}.{ID}", f"{root}.{FACE}", f"{root}.{LABEL}"])
    rows = zip(*map(flat, columns), strict=True)
    return {face or own: label for own, face, label in rows}

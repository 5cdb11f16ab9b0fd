"""Two runs beside each other on the judged faces of an evaluation: who is right where, and the faces behind a count."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from fiftyone import ViewField as F

from facevlm.evaluation import comparison
from facevlm.evaluation.metrics import Codes
from facevlm.store import evaluations, inspection, provenance
from facevlm.store.inspection import Inspected
from facevlm.store.predictions import require
from facevlm.store.rows import FaceRows, PictureRows
from facevlm.store.schema import FACE, LABEL, OUTCOME
from facevlm.store.targets import Collection

BOTH, FIRST, SECOND, NEITHER, FLIPS = "both", "first", "second", "neither", "flips"
SIDES = (BOTH, FIRST, SECOND, NEITHER)
"""Who is right about a face: the evaluated run is the first."""


@dataclass(frozen=True)
class Sides:
    """Of ``n`` faces of a group that both runs were asked about, how many each was right about, and how many have
    unequal answers. ``values`` name the group, none for all faces."""

    values: tuple[str, ...]
    n: int
    both: int
    first: int
    second: int
    neither: int
    flips: int


def beside(inspected: Inspected, rival: str, by: Sequence[str] = ()) -> dict[str, Any]:
    """The counts of all faces and of each group, and the figures of :class:`~facevlm.evaluation.comparison.Pair`, as
    plain data. It reads all judged faces.

    Raises :class:`~facevlm.errors.FieldError` where the rival's field is gone, or holds answers of several runs.
    """
    rows = _read(inspected, rival)
    truth, first, second = (rows.codes(k, inspected) for k in range(3))
    right = [first == truth, second == truth]
    masks = {BOTH: right[0] & right[1], FIRST: right[0] & ~right[1], SECOND: ~right[0] & right[1]}
    masks |= {NEITHER: ~right[0] & ~right[1], FLIPS: first != second}
    groups = [((), np.ones(len(truth), dtype=bool)), *_groups(inspected, rows.ids, by)]
    sides = [Sides(v, int(m.sum()), **{k: int((mask & m).sum()) for k, mask in masks.items()}) for v, m in groups]
    labels = len(inspected.figures["labels"])
    pair = comparison.compare_two(inspected.prefix, rival, truth, first, second, labels)
    told = {k: v for k, v in asdict(pair).items() if k != "table"}
    return {"rival": rival, "by": list(by), "pair": told, "sides": [asdict(one) for one in sides]}


@dataclass(frozen=True)
class _Rows:
    """Faces that both were asked about: ids, and a column each of ground truth and of the two answers."""

    ids: list[str]
    columns: tuple[list[str | None], list[str | None], list[str | None]]

    def codes(self, k: int, inspected: Inspected) -> Codes:
        """A column as indices of the common labels, -1 for no answer."""
        index = {label: i for i, label in enumerate(inspected.figures["labels"])}
        return np.array([-1 if v is None else index[v] for v in self.columns[k]], dtype=np.int64)


def _read(inspected: Inspected, rival: str) -> _Rows:
    name, fields, becomes = _checked(inspected, rival), inspected.fields, inspected.results["becomes"]
    common = becomes[inspected.attribute]
    if fields.faces is None:
        paths = ["id", fields.truth, fields.said, f"{name}.{LABEL}", f"{name}.{OUTCOME}"]
        ids, truth, said, its, asked = inspected.faces.values(paths)
    else:
        rows = FaceRows(inspected.view, inspected.results["faces"])
        answered = dict(zip(rows.face_ids, zip(*rows.answers(name, LABEL, OUTCOME), strict=True), strict=True))
        ids, truth, said = inspected.faces.values([f"{fields.faces}.{FACE}", fields.truth, fields.said])
        its, asked = zip(*(answered.get(i, (None, None)) for i in ids), strict=True) if ids else ((), ())
    kept = [k for k, outcome in enumerate(asked) if outcome is not None]
    mapped = [common.get(label, label) if label is not None else None for label in its]
    return _Rows([ids[k] for k in kept], tuple([c[k] for k in kept] for c in (truth, said, mapped)))  # type: ignore[arg-type]


def _checked(inspected: Inspected, rival: str) -> str:
    """The field of the rival's answers."""
    name = f"{rival}_{inspected.attribute}"
    require(inspected.dataset, name)
    provenance.require_one_run(inspected.view, name)
    return name


def _groups(inspected: Inspected, ids: Sequence[str], by: Sequence[str]) -> list[tuple[tuple[str, ...], Any]]:
    """Every group of the evaluation by these fields, and which of the faces are in it."""
    table = next((t for t in inspected.figures["groups"] if list(t["by"]) == list(by)), None)
    if table is None:
        return []
    known = _names(inspected, by)
    here = [known.get(i) for i in ids]
    groups = [tuple(row["values"]) for row in table["rows"]]
    return [(group, np.array([name == group for name in here], dtype=bool)) for group in groups]


def _names(inspected: Inspected, by: Sequence[str]) -> Mapping[str, tuple[str | None, ...]]:
    """The groups of all evaluated faces by their ids."""
    rows: PictureRows
    if inspected.fields.faces is not None:
        rows = FaceRows(inspected.view, inspected.results["faces"])
        ids, names = rows.face_ids, [inspection.named(inspected, rows, field) for field in by]
    else:
        rows = PictureRows(inspected.target)
        ids, names = rows.ids(), [_named(inspected, rows, field) for field in by]
    return dict(zip(ids, zip(*names, strict=True), strict=True))


def _named(inspected: Inspected, rows: PictureRows, field: str) -> list[str | None]:
    for attribute, truth in inspected.results["ground_truth"].items():
        if truth == field:
            return list(rows.values(inspected.results["fields"][attribute]["truth"]))
    return evaluations.group_values(rows, field, inspected.results["bins"].get(field))


def faces(
    inspected: Inspected, rival: str, side: str, by: Sequence[str] = (), values: Sequence[str] = ()
) -> Collection:
    """The faces behind a count of :func:`beside`, the most confident answers of the first run first."""
    name, fields = _checked(inspected, rival), inspected.fields
    where = inspection.group(inspected, by, values) if by else inspected.faces
    if fields.faces is not None:
        chosen = _chosen(inspected, rival, side)
        return where.match(F(f"{fields.faces}.{FACE}").is_in(chosen)).sort_by(fields.sure, reverse=True)
    asked = F(f"{name}.{OUTCOME}") != None  # noqa: E711
    return where.match(asked & _condition(inspected, f"{name}.{LABEL}", side)).sort_by(fields.sure, reverse=True)


def _condition(inspected: Inspected, rival: str, side: str) -> Any:
    """A count of :func:`beside` as a condition on whole pictures."""
    said, truth, its = F(inspected.fields.said), F(inspected.fields.truth), F(rival)
    spelled: dict[str, list[str]] = {}
    for own, common in inspected.results["becomes"][inspected.attribute].items():
        spelled.setdefault(common, []).append(own)

    def same(value: Any) -> Any:
        each = [(value == common) & its.is_in(own) for common, own in spelled.items()]
        return functools.reduce(operator.or_, each)

    first, second = said == truth, same(truth)
    none = (said == None) & (its == None)  # noqa: E711
    return {
        BOTH: first & second,
        FIRST: first & ~second,
        SECOND: ~first & second,
        NEITHER: ~first & ~second,
        FLIPS: ~(same(said) | none),
    }[side]


def _chosen(inspected: Inspected, rival: str, side: str) -> list[str]:
    rows = _read(inspected, rival)

    def is_one(truth: str | None, first: str | None, second: str | None) -> bool:
        if side == FLIPS:
            return first != second
        return {(True, True): BOTH, (True, False): FIRST, (False, True): SECOND, (False, False): NEITHER}[
            (first == truth, second == truth)
        ] == side

    return [i for i, *row in zip(rows.ids, *rows.columns, strict=True) if is_one(*row)]

"""The published tables as data, and whether a figure of one's own differs from a published one beyond chance."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from facevlm.errors import UnknownName
from facevlm.evaluation.metrics import wilson
from facevlm.folders import ASSETS

SHIPPED = ASSETS / "paper.yaml"
ALPHA = 0.05


@dataclass(frozen=True)
class PublishedFigures:
    """Published figures of one system as shares of 1; None where they are not given.

    The accuracy is printed to ``rounding`` on either side: half a point for one in whole per cent.
    """

    accuracy: float
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    rounding: float = 0.0


@dataclass(frozen=True)
class PublishedTable:
    """One published comparison: a data set, the tags of its test split, the label set, n, and figures by system.

    ``boxes`` tells that every face of a picture counts, not the picture. ``classes`` holds precision, recall and F1 of
    each label, as shares of 1, of the systems for which they are published.
    """

    name: str
    title: str
    dataset: str
    attribute: str
    n: int
    figures: Mapping[str, PublishedFigures]
    split: tuple[str, ...] = ()
    boxes: bool = False
    classes: Mapping[str, Mapping[str, tuple[float, float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Paper:
    """All tables, their sources, which system a model is, and what a model was trained on: model -> data set -> why."""

    sources: tuple[str, ...]
    tables: Mapping[str, PublishedTable]
    models: Mapping[str, str]
    trained_on: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def select(self, names: Sequence[str] | None) -> list[PublishedTable]:
        """Tables by name (``utkface-gender``), by label set (``gender``) or by data set (``utkface``); all for None.

        Raises :class:`~facevlm.errors.UnknownName` that lists all of these.
        """
        if names is None:
            return list(self.tables.values())
        known = {key for table in self.tables.values() for key in (table.name, table.attribute, table.dataset)}
        for name in names:
            if name not in known:
                raise UnknownName("table", name, known)
        return [t for t in self.tables.values() if {t.name, t.attribute, t.dataset} & set(names)]


@functools.cache
def shipped() -> Paper:
    """The tables that come with facevlm."""
    raw = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    tables = {name: _table(name, data) for name, data in raw["tables"].items()}
    return Paper(tuple(raw["sources"]), tables, raw["models"], raw["trained_on"])


def _table(name: str, raw: Mapping[str, Any]) -> PublishedTable:
    figures = {system: _figures(row) for system, row in raw["figures"].items()}
    classes = {
        system: {label: tuple(v / 100 for v in row) for label, row in rows.items()}
        for system, rows in raw.get("classes", {}).items()
    }
    rest = {key: value for key, value in raw.items() if key not in ("figures", "split", "classes")}
    return PublishedTable(name=name, figures=figures, split=tuple(raw.get("split", ())), classes=classes, **rest)


def _figures(printed: Sequence[float | None]) -> PublishedFigures:
    """Accuracy, macro precision, recall and F1 in per cent, as they are printed."""
    accuracy, precision, recall, f1 = (None if value is None else value / 100 for value in printed)
    if printed[0] is None or accuracy is None:
        raise ValueError(f"Got {printed}, expected an accuracy first.")
    return PublishedFigures(accuracy, precision, recall, f1, _rounding(printed[0]))


def _rounding(printed: float) -> float:
    """Half of the last digit of a figure in per cent, as a share of 1."""
    digits = len(repr(printed).partition(".")[2]) if isinstance(printed, float) else 0
    return 0.5 * 10.0 ** -(digits + 2)


@dataclass(frozen=True)
class Difference:
    """One's own accuracy against a published one, which is printed to ``rounding``. See :func:`compare`."""

    published: float
    published_low: float
    published_high: float
    difference: float
    contains: bool
    p_value: float
    rounding: float = 0.0

    @property
    def within_noise(self) -> bool | None:
        """Whether chance alone makes a difference of this size at least one time in twenty; None without own faces."""
        return None if math.isnan(self.p_value) else self.p_value >= ALPHA


def compare(right: int, n: int, published: float, published_n: int, rounding: float = 0.0) -> Difference:
    """Own accuracy of ``right`` out of ``n`` faces against a published accuracy on ``published_n`` faces.

    Two answers, because both are asked for. ``contains`` is whether the 95 % Wilson interval of the own accuracy holds
    the published figure: it allows for no chance in that. ``p_value`` is the two-sided test that both accuracies are
    equal, with the pooled standard error of two independent proportions; it allows for chance in the published figure,
    too, so ``within_noise`` (p of 0.05 or more) follows it. ``published_low`` to ``published_high`` is the Wilson
    interval of the published figure.

    Where both are of the same pictures, as on FairFace's validation split, they are not independent: pictures that are
    hard for one are hard for the other. The paper gives no answers per picture, so McNemar's test is not possible, and
    this test then finds fewer differences than there are. Published figures are rounded, some to whole per cent: of
    what may have been printed so, ``rounding`` to either side, both answers are about the value nearest to one's own.

    Two proportions: Fleiss, Levin, Paik (2003), Statistical Methods for Rates and Proportions, ch. 3, without
    continuity correction.
    """
    own = right / n if n else math.nan
    low, high = wilson(right, n)
    # Python's min and max of nan depend on the order: without own faces the figure stays as it is printed.
    nearest = min(max(own, published - rounding, 0.0), published + rounding, 1.0) if n else published
    pooled = (right + nearest * published_n) / (n + published_n)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / published_n)) if n else math.nan
    z = (own - nearest) / error if error else 0.0
    return Difference(
        published=published,
        published_low=wilson(round(published * published_n), published_n)[0],
        published_high=wilson(round(published * published_n), published_n)[1],
        difference=own - published,
        contains=low <= published + rounding and published - rounding <= high,
        p_value=math.erfc(abs(z) / math.sqrt(2)),
        rounding=rounding,
    )

"""The figures of an evaluation: what each is called, how it is computed, and where it is shown.

This table is the one place for a figure. The evaluation fills its cells from it; text tables, reports, the summary in
the App, the panel and FiftyOne's own evaluations show what it says. A new figure is one entry here, or one call of
:func:`register` from code of somebody else.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from facevlm import doors
from facevlm.errors import InputError, UnknownName
from facevlm.evaluation import metrics
from facevlm.evaluation.intervals import DRAWS, bootstrap, worthy
from facevlm.evaluation.metrics import Counts, Floats, Values

Number: TypeAlias = "float | None"
Unit: TypeAlias = Literal["share", "number", "groups"]
Interval: TypeAlias = Literal["", "wilson", "bootstrap"]
Surface: TypeAlias = Literal[
    "brief", "text", "text groups", "glance", "report", "report groups", "operator", "panel", "fiftyone", "paper"
]
SURFACES: tuple[Surface, ...] = get_args(Surface)
"""Where a figure can be shown. ``brief`` is what a terminal shows first, ``text`` the summary of all its tables and
``text groups`` the tables by group below it; ``glance`` is the table of all attributes that opens a report, ``report``
and ``report groups`` are those of one attribute; ``operator`` is what the App says after an evaluation, ``panel`` the
panel of errors, ``fiftyone`` FiftyOne's own Model Evaluation panel, and ``paper`` the tables beside published ones. A
figure for ordinal attributes alone stands in ``text`` and ``report`` below the others, in a line or a table of its
own."""
NARROW: tuple[Surface, ...] = ("text", "text groups", "operator", "paper")
"""Surfaces with room for short headings and for Wilson intervals alone."""
INTERVALS: Mapping[Interval, str] = {"wilson": "95 % Wilson", "bootstrap": "95 % bootstrap"}
TAKEN = ("n", "n_labels", "figures", "answered", "outcomes", "small", "low", "high")
"""What a cell holds beside its figures."""
NATIVE = ("accuracy", "precision", "recall", "fscore", "support")
"""FiftyOne's own metrics, beside which a figure stands under its ``key``."""
EARLIER = {"f1": "macro_f1"}
"""Names in stored evaluations of the time when one figure had several."""


@dataclass(frozen=True)
class Figure:
    """One figure, such as accuracy.

    ``function`` takes counts (..., labels, labels + 1) - row truth, column prediction, last column no answer - and
    returns a value for each matrix, of shape (...), nan where it is undefined. ``title`` heads its columns, ``short``
    those of narrow tables. A ``share`` is shown in per cent, a ``number`` and a distance in ``groups`` as they are.
    ``wilson`` intervals are for shares of all faces.
    A ``bootstrap`` interval of a figure of ``several_labels`` is there where each label that occurs is true of
    ``metrics.FEWEST`` faces or more.

    A figure that is ``ordinal`` exists for ordinal attributes alone, and one of ``several_labels`` says nothing about a
    group in which one label alone is true. ``answered`` figures are computed over the answered faces, too, and ``gaps``
    are measured between groups by those that ask for it. ``of_all`` says that it is a share of all faces, so many of so
    many, of which exact tests can be made; a figure with a ``wilson`` interval is one.
    """

    name: str
    title: str
    function: Callable[[Counts], Values]
    meaning: str = ""
    unit: Unit = "share"
    interval: Interval = ""
    shown_in: tuple[Surface, ...] = SURFACES
    short: str = ""
    ordinal: bool = False
    several_labels: bool = False
    answered: bool = False
    gaps: bool = False
    of_all: bool = False
    lower_is_better: bool = False

    @property
    def is_share_of_all(self) -> bool:
        return self.of_all or self.interval == "wilson"

    @property
    def ends(self) -> tuple[str, str]:
        """Names of the ends of its interval in a cell."""
        # A cell's first figure: its interval has had the plain names from the beginning, in JSON files, too.
        return ("low", "high") if self.name == "accuracy" else (f"{self.name}_low", f"{self.name}_high")

    @property
    def key(self) -> str:
        """Its name among FiftyOne's own figures, where ``precision`` is another one: its title, such as macro_f1."""
        return re.sub(r"\W+", "_", self.title.lower()).strip("_")

    def heading(self, surface: Surface) -> str:
        return self.short or self.title if surface in NARROW else self.title

    def has_interval(self, surface: Surface) -> bool:
        """Whether its interval stands beside it."""
        return self.interval == "wilson" or (self.interval == "bootstrap" and surface not in NARROW)

    def of(self, counts: Counts) -> Floats:
        """Its values (...,) for matrices (..., labels, labels + 1).

        Raises :class:`~facevlm.errors.InputError` where the function gives another shape.
        """
        values = np.asarray(self.function(counts), dtype=float)
        if values.shape != counts.shape[:-2]:
            raise InputError(
                f"Figure '{self.name}' gave values of shape {values.shape} for counts of shape {counts.shape}, "
                f"expected {counts.shape[:-2]}: one value for each matrix. Let it sum over the last two axes alone."
            )
        return values

    def bounds(
        self, counts: Counts, draws: int = DRAWS, seed: int = 0, worth: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Ends of its 95 % interval for matrices (n_groups, labels, labels + 1), each (n_groups,); nan without one.

        ``worth`` is as how many independent faces it counts in each (n_groups,); without, all faces are independent.
        """
        values = self.of(counts)
        if self.interval == "bootstrap":
            return self._known(
                counts, *bootstrap(counts if worth is None else worthy(counts, worth), self.of, draws, seed)
            )
        if self.interval == "wilson":
            sizes = zip(values.tolist(), (counts.sum((-2, -1)) if worth is None else worth).tolist(), strict=True)
            known = [(v, n) if np.isfinite(v) else (0.0, 0) for v, n in sizes]
            ends = [metrics.wilson(round(v * n), n) if worth is None else metrics.score(v * n, n) for v, n in known]
            lows, highs = np.array(ends, dtype=float).reshape(-1, 2).T
            return lows, highs
        return np.full(values.shape, np.nan), np.full(values.shape, np.nan)

    def _known(self, counts: Counts, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Ends that were drawn, where all labels have faces enough."""
        unsure = self.several_labels & metrics.has_few(counts)
        return np.where(unsure, np.nan, low), np.where(unsure, np.nan, high)

    def value(self, held: Mapping[str, Any]) -> Number:
        """Its value in a cell's figures, fresh or stored; None in those of a version that did not know it."""
        value: Number = held.get(self.name, held.get(EARLIER.get(self.name, "")))
        return value

    def interval_in(self, held: Mapping[str, Any]) -> tuple[Number, Number]:
        """The ends of its interval in a cell's figures, fresh or stored; None where they are not there."""
        low, high = self.ends
        return held.get(low), held.get(high)


def all_bounds(
    chosen: Sequence[Figure],
    counts: Counts,
    draws: int = DRAWS,
    seed: int = 0,
    worth: Mapping[str, Floats] = MappingProxyType({}),
) -> dict[str, tuple[Floats, Floats]]:
    """:meth:`Figure.bounds` of several figures by name; those by bootstrap share its draws, which take most time.

    One that has a ``worth`` of its own has draws of its own.
    """
    drawn = [figure for figure in chosen if figure.interval == "bootstrap" and figure.name not in worth]
    found = {f.name: f.bounds(counts, draws, seed, worth.get(f.name)) for f in chosen if f not in drawn}
    if not len(counts):
        return found | {figure.name: (np.zeros(0), np.zeros(0)) for figure in drawn}
    if drawn:
        lows, highs = bootstrap(counts, lambda c: np.stack([f.of(c) for f in drawn], axis=-1), draws, seed)
        found |= {f.name: f._known(counts, lows[..., k], highs[..., k]) for k, f in enumerate(drawn)}
    return found


class HoldsFigures:
    """Offers its ``figures`` as attributes, too: ``cell.accuracy`` is ``cell.figures["accuracy"]``."""

    figures: Mapping[str, Number]

    # Any: whether a figure is a float or, as an ordinal one of a nominal attribute, None, is not known by its name.
    def __getattr__(self, name: str) -> Any:
        # By way of __dict__: whoever copies an object looks for attributes before it has any.
        held = self.__dict__.get("figures", {})
        if name not in held:
            raise AttributeError(f"Unknown figure '{name}'. Known: {', '.join(held) or 'none'}.")
        return held[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.figures]


SHIPPED = (
    Figure(
        "coverage",
        "answered",
        metrics.coverage,
        "Share of faces with an answer.",
        shown_in=("text", "text groups", "glance", "operator", "panel", "paper"),
        gaps=True,
        of_all=True,
    ),
    Figure(
        "accuracy",
        "accuracy",
        metrics.accuracy,
        "Share right of all faces; one without an answer counts as wrong.",
        interval="wilson",
        shown_in=("brief", "text", "text groups", "glance", "report", "report groups", "operator", "panel", "paper"),
        answered=True,
        gaps=True,
    ),
    Figure(
        "accuracy_answered",
        "accuracy of answered",
        metrics.accuracy_answered,
        "Share right of the answered faces.",
        shown_in=("glance", "report groups"),
    ),
    Figure(
        "balanced_accuracy",
        "balanced accuracy",
        metrics.balanced_accuracy,
        "Mean recall over the labels that occur in the ground truth.",
        interval="bootstrap",
        shown_in=("brief", "text", "text groups", "glance", "report"),
        short="balanced",
        answered=True,
    ),
    Figure(
        "precision",
        "macro precision",
        metrics.macro_precision,
        "Mean precision over the labels that occur.",
        shown_in=("text", "paper"),
        short="macro P",
        several_labels=True,
    ),
    Figure(
        "recall",
        "macro recall",
        metrics.macro_recall,
        "Mean recall over the labels that occur.",
        shown_in=("text", "paper"),
        short="macro R",
        several_labels=True,
    ),
    Figure(
        "f1",
        "macro F1",
        metrics.macro_f1,
        "Mean F1 over the labels that occur.",
        interval="bootstrap",
        shown_in=(
            *("text", "text groups", "glance", "report", "report groups"),
            *("operator", "panel", "fiftyone", "paper"),
        ),
        several_labels=True,
        answered=True,
    ),
    Figure(
        "weighted_f1",
        "weighted F1",
        metrics.weighted_f1,
        "Mean F1 in which every label counts as often as it is true.",
        shown_in=("report",),
        several_labels=True,
        answered=True,
    ),
    Figure(
        "kappa",
        "Cohen's kappa",
        metrics.kappa,
        "Agreement beyond chance.",
        unit="number",
        shown_in=("text", "glance", "report"),
        short="kappa",
        answered=True,
    ),
    Figure(
        "mcc",
        "MCC",
        metrics.mcc,
        "Matthews correlation coefficient for several labels.",
        unit="number",
        shown_in=("report",),
        answered=True,
    ),
    Figure(
        "off_by_one",
        "right or one group away",
        metrics.off_by_one,
        "Share of the answered faces that is right or one group away.",
        shown_in=("text", "report"),
        short="off by one at most",
        ordinal=True,
    ),
    Figure(
        "mean_bin_error",
        "mean distance",
        metrics.mean_bin_error,
        "Mean distance between answer and truth over the answered faces.",
        unit="groups",
        shown_in=("text", "report", "report groups"),
        short="mean error",
        ordinal=True,
        lower_is_better=True,
    ),
    Figure(
        "signed_bias",
        "said minus true",
        metrics.signed_bias,
        "Mean of answer minus truth over the answered faces; above 0, answers are too high.",
        unit="groups",
        shown_in=("report", "report groups"),
        ordinal=True,
    ),
)
"""The figures that come with facevlm, in the order of their columns."""

SHRUNK = Figure(
    "shrunk",
    "shrunk",
    lambda counts: np.full(counts.shape[:-2], np.nan),
    "Accuracy drawn towards that of all groups together, the more so the fewer faces a group has and the less groups "
    "differ: a better guess at how the group would do on many faces.",
    shown_in=("text groups", "report groups"),
)
"""A column of tables by group alone: it is made of all groups at once, by :func:`facevlm.evaluation.gaps.shrunken`."""

_registered: dict[str, Figure] = {}


def table() -> tuple[Figure, ...]:
    """All figures: those that come with facevlm, those of other packages, those that were registered."""
    return (*SHIPPED, *(addition.value for addition in added().values()), *_registered.values())


@functools.cache
def added() -> dict[str, doors.Addition[Figure]]:
    """The figures of other packages, by their entry points; one that cannot be is left out with a warning."""
    known: list[Figure] = list(SHIPPED)

    def read(addition: doors.Addition[object]) -> Figure:
        if not isinstance(addition.value, Figure):
            raise InputError(f"Got a {type(addition.value).__name__}, expected a facevlm.evaluation.figures.Figure.")
        check(addition.value, known)
        known.append(addition.value)
        return addition.value

    return doors.admit("figures", read)


def register(figure: Figure) -> None:
    """Add a figure. It is computed by every evaluation from now on, and shown where its ``shown_in`` says.

    Raises what :func:`check` raises.
    """
    check(figure, table())
    _registered[figure.name] = figure


def check(figure: Figure, known: Sequence[Figure]) -> None:
    """Raise :class:`~facevlm.errors.InputError` for a figure that cannot be added to the known ones: its name or title
    is taken or is no name, or its unit, its kind of interval or a surface is unknown."""
    if not figure.name.isidentifier():
        raise InputError(
            f"Got a figure of the name '{figure.name}', expected letters, digits and _, such as my_figure."
        )
    taken = {name for other in known for name in (other.name, *other.ends)} | {*TAKEN, *EARLIER.values()}
    if not taken.isdisjoint((figure.name, *figure.ends)):
        all_names = ", ".join(other.name for other in known)
        raise InputError(
            f"Got a figure of the name '{figure.name}', which is taken. Give it another one; taken are {all_names}."
        )
    if figure.key in {*(other.key for other in known), *NATIVE}:
        raise InputError(f"Got a figure titled '{figure.title}', which is taken. Give it another title.")
    for kind, given, names in (
        ("surface", figure.shown_in, SURFACES),
        ("unit", (figure.unit,), get_args(Unit)),
        ("kind of interval", (figure.interval,), get_args(Interval)),
    ):
        for name in given:
            if name not in names:
                raise UnknownName(kind, name, names)


@contextmanager
def registered(figure: Figure) -> Iterator[Figure]:
    """A figure that is there for the time of a ``with`` block."""
    register(figure)
    try:
        yield figure
    finally:
        del _registered[figure.name]


def find(name: str) -> Figure:
    """A figure by the name that it has, or had when an evaluation was stored.

    One that is not there any more is known by its name alone; as a figure it is nan.
    """
    for figure in table():
        if name in (figure.name, EARLIER.get(figure.name)):
            return figure
    return Figure(name, name.replace("_", " "), lambda counts: np.full(counts.shape[:-2], np.nan), shown_in=())


def shown(surface: Surface, *, ordinal: bool | None = None) -> tuple[Figure, ...]:
    """The figures of a surface in order: all, or those that are for ordinal attributes alone, or those that are not."""
    return tuple(f for f in table() if surface in f.shown_in and ordinal in (None, f.ordinal))


def is_ordinal(held: Mapping[str, Any]) -> bool:
    """Whether a cell's figures, fresh or stored, are those of an ordinal attribute."""
    return any(figure.value(held) is not None for figure in table() if figure.ordinal)

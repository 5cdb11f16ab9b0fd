"""Whether intervals hold what they should and tests err as rarely as they say: simulated where the truth is known.

    python -m benchmarks.simulate [--rounds 1000] [--seed 0] [--processes 2] [--only WORD]

Coverage of every interval that is printed, and how often every printed p is 0.05 or less where there is nothing to
find: 2, 5, 7 and 14 groups of 30, 100 and 200 faces, and groups that grow from there to six times as many, at rates of
0.5, 0.8 and 0.97; 2 and 5 groups of 20 and 60 clusters of faces; macro figures of 2, 5 and 7 labels, and with one that
is true of 1 % of faces. Intervals have to hold the truth in 93 to 97 % of samples, those of several groups or of
clusters in 93 % at least, and tests may err in 5.5 %, each give or take three standard errors of the simulation. What
falls short is named, and the exit status is then 1. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import stats
from tabulate import tabulate

from benchmarks.timing import machine, tell
from facevlm.evaluation import clusters, comparison, figures, gaps, metrics, published, thresholds
from facevlm.evaluation.intervals import bootstrap, worthy
from facevlm.evaluation.metrics import Counts, Floats

GROUPS = (2, 5, 7, 14)
FACES = (30, 100, 200)
RATES = (0.5, 0.8, 0.97)
LABELS = (2, 5, 7)
RARE = 0.01
STEP = 0.1
"""Between the best-served and the worst-served group, and between two runs, where there is a difference."""
GROWTH = 6
"""The largest of unequal groups over the smallest."""
DRAWS = 400
"""Bootstrap draws of a sample."""
TABLES = 399
"""Tables by chance of a sample; the p-value of any number of them is right."""
ALPHA = 0.05
LIMITS = {"interval": (0.93, 0.97), "simultaneous": (0.93, 1.0), "conservative": (0.93, 1.0), "test": (0.0, 0.055)}
FEW = 5
"""Errors, of fewer of which an interval may hold in more than 97 %: in all samples without any it is the same."""
ERRORS = 3
"""Standard errors of the simulation that are allowed for."""
PEOPLE = (20, 60)
"""Clusters of a group, such as persons, of 1 to ``PICTURES`` faces each."""
PICTURES = 8
SLOWER = 5
AGREEING = (0.1, 0.5)
"""How far the faces of a cluster are right and wrong together: the correlation between two of them."""
FEWEST = 20
"""Samples with an interval, of fewer of which nothing is said."""
PUBLISHED = (4000, 24_000)
"""Faces behind a published figure."""


@dataclass(frozen=True)
class Cell:
    """One setting of one figure: in what share of samples its interval held the truth, or its test erred.

    ``samples`` is 0 where the share is exact. ``expected`` is how many errors, or hits where these are rarer, the
    smallest part of the figure has on average: of fewer than ``FEW`` counts are too coarse for an interval to hold in
    97 % at most, so that only 93 % are asked for.
    """

    what: str
    kind: str
    setting: str
    share: float
    samples: int
    expected: float = math.inf

    @property
    def falls_short(self) -> bool:
        """Whether the share is outside its limits by more than the simulation may be off."""
        allowed = LIMITS[self.kind] if self.expected >= FEW or self.kind != "interval" else LIMITS["conservative"]
        low, high = (
            limit + side * ERRORS * math.sqrt(limit * (1 - limit) / self.samples) if self.samples else limit
            for limit, side in zip(allowed, (-1, 1), strict=True)
        )
        return not low - 1e-12 <= self.share <= high + 1e-12


@dataclass(frozen=True)
class Plan:
    """How many samples of every setting, and the seed."""

    rounds: int
    seed: int

    def rng(self, setting: str) -> np.random.Generator:
        """Draws of its own for every setting, the same again for the same seed."""
        return np.random.default_rng([self.seed, zlib.crc32(setting.encode())])


Part = Callable[[Plan], list[Cell]]


def inside(low: Floats, high: Floats, true: Floats | float) -> float:
    """The share of intervals that hold the truth, but for rounding."""
    return float(np.mean((low <= np.asarray(true) + 1e-9) & (np.asarray(true) <= high + 1e-9)))


def shares(plan: Plan) -> list[Cell]:
    """Wilson's interval of a share, exactly: the probabilities of all counts of hits that hold it."""
    cells = []
    for n in FACES:
        low, high = np.array([metrics.wilson(hits, n) for hits in range(n + 1)]).T
        for rate in (*RATES, RARE):
            likely = stats.binom.pmf(np.arange(n + 1), n, rate)
            held = float(likely[(low <= rate) & (rate <= high)].sum())
            cells.append(Cell("share (Wilson)", "interval", f"n {n}, rate {rate:g}", held, 0, n * min(rate, 1 - rate)))
    return cells


def population(labels: int, rate: float, *, rare: bool) -> Floats:
    """Shares (labels, labels + 1) of faces by truth and answer: labels are true and mistaken equally often, with
    ``rare`` the last one is true of 1 %."""
    true = np.full(labels, (1 - RARE) / (labels - 1) if rare else 1 / labels)
    true[-1] = RARE if rare else true[-1]
    said = np.full((labels, labels + 1), (1 - rate) / (labels - 1))
    said[:, -1] = 0
    said[np.arange(labels), np.arange(labels)] = rate
    whole: Floats = true[:, None] * said
    return whole


def macro(plan: Plan, labels: int, *, rare: bool) -> list[Cell]:
    """Bootstrap intervals of macro figures over the labels that a sample has, where they have one: of other labels it
    cannot know."""
    cells = []
    for n in FACES:
        for rate in RATES:
            setting = f"{labels} labels{f', one of {100 * RARE:g} %' if rare else ''}, n {n}, rate {rate:g}"
            whole = population(labels, rate, rare=rare)
            flat = plan.rng(setting).multinomial(n, whole.ravel(), size=plan.rounds)
            counts = flat.reshape(plan.rounds, *whole.shape)
            _, recall, f1 = metrics.per_class(np.rint(whole * 10**12).astype(np.int64))
            for name, figure, each, over in (
                ("macro F1 (bootstrap)", figures.find("f1"), f1, metrics.occurring(counts)),
                ("balanced accuracy (bootstrap)", figures.find("balanced_accuracy"), recall, counts.sum(-1) > 0),
            ):
                low, high = figure.bounds(counts, DRAWS, plan.seed)
                true = (each * over).sum(-1) / over.sum(-1)
                expected = n * whole.sum(-1).min() * min(rate, 1 - rate)
                cells.append(_where_there_is_one(name, setting, low, high, true, expected))
    return [cell for cell in cells if cell is not None]


def _where_there_is_one(
    name: str, setting: str, low: Floats, high: Floats, true: Floats, expected: float
) -> Cell | None:
    """A cell of the samples for which an interval is printed; None of fewer than ``FEWEST``."""
    given = np.isfinite(low)
    if given.sum() < min(FEWEST, len(given)):
        return None
    held = inside(low[given], high[given], true[given])
    return Cell(name, "interval", setting, held, int(given.sum()), expected)


def sizes(groups: int, n: int) -> dict[str, Counts]:
    """Groups of one size, and groups that grow."""
    return {
        f"{groups} groups of {n}": np.full(groups, n),
        f"{groups} groups of {n} to {GROWTH * n}": np.rint(np.linspace(n, GROWTH * n, groups)).astype(np.int64),
    }


def alike(plan: Plan, groups: int) -> list[Cell]:
    """Tests of groups that are all served equally well: of the gap, of any difference, and of each against the others.

    Of the last the share of samples in which any of them errs.
    """
    cells = []
    for n, rate in ((n, rate) for n in FACES for rate in RATES):
        for named, size in sizes(groups, n).items():
            setting = f"{named}, rate {rate:g}"
            rng = plan.rng(f"alike {setting}")
            drawn = rng.binomial(size, rate, size=(plan.rounds, groups))
            found = [gaps.by_chance(hits, size, TABLES, seed=k) for k, hits in enumerate(drawn)]
            least = [np.min(gaps.against_the_others(hits, size)) for hits in drawn]
            for name, p_values in (
                ("p of the gap", [f.p_gap for f in found]),
                ("p of any difference", [f.p_any for f in found]),
                ("p of each group against the others", least),
            ):
                erred = float(np.mean(np.array(p_values) <= ALPHA + 1e-12))
                cells.append(Cell(name, "test", setting, erred, plan.rounds))
    return cells


def apart(plan: Plan, groups: int) -> list[Cell]:
    """Intervals of the largest difference, and of each group against all, with and without a difference.

    Of unequal groups the smallest and the largest are told apart; with a difference the smallest is served worst.
    """
    cells = []
    for n, rate, step in ((n, rate, step) for n in FACES for rate in RATES for step in (0.0, STEP)):
        for named, size in sizes(groups, n).items():
            rates = rate - step * np.linspace(1, 0, groups)
            setting = f"{named}, rate {rate:g}{f', {step:g} apart' if step else ''}"
            drawn = plan.rng(f"apart {setting}").binomial(size, rates, size=(plan.rounds, groups))
            low, high = np.array([gaps.spread(hits, size) for hits in drawn]).T
            held = inside(low, high, step)
            cells.append(Cell("gap between any two groups", "simultaneous", setting, held, plan.rounds))
            cells += _standings(drawn, size, rates, setting)
    return cells


def _standings(drawn: Counts, size: Counts, rates: Floats, setting: str) -> list[Cell]:
    """A group and the rest of all faces are what its standing is made of, so the rest may as well be one group."""
    whole = float((rates * size).sum() / size.sum())
    cells = []
    for name, k in (("smallest", 0), ("largest", len(size) - 1)):
        two = np.array([size[k], size.sum() - size[k]])
        found = [gaps.standings(np.array([hits[k], hits.sum() - hits[k]]), two)[0] for hits in drawn]
        ends = np.array([(one.low, one.high, one.ratio_low, one.ratio_high) for one in found]).T
        ratio = (1 - rates[k]) / (1 - whole)
        which = f"{setting}, {name if size[0] != size[-1] else 'first' if k == 0 else 'last'}"
        expected = float(min(size[k] * _rarer(rates[k]), (size.sum() - size[k]) * _rarer(_of_the_rest(rates, size, k))))
        for what, held in (
            ("difference of a group from all", inside(ends[0], ends[1], rates[k] - whole)),
            ("ratio of a group's errors to all's", inside(ends[2], ends[3], ratio)),
        ):
            cells.append(Cell(what, "interval", which, held, len(drawn), expected))
    return cells


def drawn_together(
    rng: np.random.Generator, people: int, rate: float, agreeing: float
) -> tuple[metrics.Codes, list[clusters.Flags]]:
    """The cluster of each face, and which faces each of two runs is right about: each cluster has a rate of its own, a
    half of them another one for the second run."""
    sizes = rng.integers(1, PICTURES + 1, people)
    spread = (1 - agreeing) / agreeing
    of = np.repeat(np.arange(people), sizes)
    first, other = rng.beta(rate * spread, (1 - rate) * spread, (2, people))
    second = np.where(rng.random(people) < 0.5, first, other)
    return of, [rng.random(len(of)) < own[of] for own in (first, second)]


def together(
    plan: Plan, groups: int, people: Sequence[int] = PEOPLE, agreeing: Sequence[float] = AGREEING
) -> list[Cell]:
    """Intervals and tests of groups of faces in clusters, which are all served equally well.

    Clusters lie in one group each, or (``within``) each has faces of all groups. Intervals lean to the wide side for
    few clusters, so that they are asked to hold in 93 % at least. One sample for ``SLOWER`` of other parts.
    """
    cells, rounds = [], math.ceil(plan.rounds / SLOWER)
    for size, rate, close, within in itertools.product(people, RATES, agreeing, (False, True)):
        setting = (
            f"{groups} groups, {size} clusters{' of all groups' if within else ' each'}, {close:g} alike, {rate:g}"
        )
        rng = plan.rng(setting)
        found = np.array([_together(rng, groups, size, rate, close, within) for _ in range(rounds)])
        for (name, kind), share in zip(TOGETHER.items(), found.mean(0).tolist(), strict=True):
            cells.append(Cell(f"{name}, clusters", kind, setting, share, rounds))
    return cells


TOGETHER = {
    "share (Wilson)": "conservative",
    "gap between any two groups": "simultaneous",
    "difference of a group from all": "conservative",
    "ratio of a group's errors to all's": "conservative",
    "p of the gap": "test",
    "p of any difference": "test",
    "p of each group against the others": "test",
    "difference of two runs (bootstrap)": "conservative",
    "p of two runs (signs)": "test",
    "macro F1 (bootstrap)": "conservative",
}
"""What is simulated of faces in clusters, and its kind."""


def _together(
    rng: np.random.Generator, groups: int, people: int, rate: float, agreeing: float, within: bool
) -> list[bool]:
    """Of one sample whether each interval holds, and whether each test errs."""
    of, (right, other) = drawn_together(rng, people if within else people * groups, rate, agreeing)
    part = rng.integers(0, groups, len(of)) if within else of % groups
    held = clusters.clustered(part, of, right)
    n, hits = np.bincount(part, minlength=groups), np.bincount(part, right, groups).astype(np.int64)
    worth, seed = held.worth(groups), int(rng.integers(2**31))
    low, high = gaps.wilson(hits / n * worth, worth)
    apart, _ = gaps.spread(hits / n * worth, worth)
    first = gaps.standings(hits, n, held)[0]
    luck, each = gaps.by_chance_in(held, hits, n, seed, TABLES)
    truth = np.arange(len(of)) % 2
    said = np.where(right, truth, 1 - truth)
    pair = comparison.compare_two(
        "a", "b", truth, said, np.where(other, truth, 1 - truth), 2, draws=DRAWS, seed=seed, clusters=of
    )
    counts, none = metrics.confusion(truth, said, 2)[None], np.zeros(len(of), dtype=np.int64)
    as_many = clusters.worth_of(metrics.macro_f1, counts, truth, said, none, of)
    f1_low, f1_high = bootstrap(worthy(counts, as_many), metrics.macro_f1, DRAWS, seed)
    return [
        bool(low[0] <= rate <= high[0]),
        apart <= 1e-9,
        first.low <= 1e-9 and first.high >= -1e-9,
        first.ratio_low <= 1 <= first.ratio_high or all(right),
        luck.p_gap <= ALPHA,
        luck.p_any <= ALPHA,
        bool(np.min(each) <= ALPHA),
        pair.low <= 1e-9 and pair.high >= -1e-9,
        pair.p_value is not None and pair.p_value <= ALPHA,
        bool(f1_low[0] <= rate + 1e-9 and rate - 1e-9 <= f1_high[0]),
    ]


def _rarer(rate: float) -> float:
    return min(rate, 1 - rate)


def _of_the_rest(rates: Floats, size: Counts, k: int) -> float:
    others = np.arange(len(size)) != k
    return float((rates * size)[others].sum() / size[others].sum())


def two_runs(plan: Plan) -> list[Cell]:
    """The interval of the difference between two runs on the same faces, and McNemar's test where there is none.

    Runs are half as often right apart from each other as they would be by chance.
    """
    cells = []
    for n, rate, step in ((n, rate, step) for n in FACES for rate in RATES for step in (0.0, STEP)):
        setting = f"n {n}, rate {rate:g}{f', {step:g} apart' if step else ''}"
        other = rate - step
        only_b = other * (1 - rate) / 2
        only_a = only_b + step
        chances = [rate - only_a, only_a, only_b, 1 - rate - only_b]
        pairs = [_pair(cells_of, plan.seed) for cells_of in plan.rng(setting).multinomial(n, chances, plan.rounds)]
        low, high = (np.array([getattr(pair, end) for pair in pairs]) for end in ("low", "high"))
        held = inside(low, high, step)
        cells.append(
            Cell("difference of two runs (bootstrap)", "interval", setting, held, plan.rounds, n * min(only_a, only_b))
        )
        if not step:
            erred = float(np.mean([pair.p_value is not None and pair.p_value <= ALPHA for pair in pairs]))
            cells.append(Cell("p of two runs (McNemar)", "test", setting, erred, plan.rounds))
    return cells


def _pair(cells: Counts, seed: int) -> comparison.Pair:
    first, second = np.repeat([0, 0, 1, 1], cells), np.repeat([0, 1, 0, 1], cells)
    return comparison.compare_two("a", "b", np.zeros(len(first), dtype=np.int64), first, second, 2, seed=seed)


def flips(plan: Plan) -> list[Cell]:
    """The mean flip rate over four wordings, where up to two answers of a face differ from the most frequent one."""
    cells, values = [], np.array([0.0, 0.25, 0.5])
    for n, rate in ((n, rate) for n in FACES for rate in RATES):
        setting = f"n {n}, {100 * rate:g} % of faces without a flip"
        likely = np.array([rate, 2 * (1 - rate) / 3, (1 - rate) / 3])
        drawn = plan.rng(setting).multinomial(n, likely, plan.rounds)
        found = [comparison.summarise("all", np.repeat(values, row), draws=DRAWS, seed=plan.seed) for row in drawn]
        low, high = (np.array([getattr(one, end) for one in found]) for end in ("mean_low", "mean_high"))
        held = inside(low, high, values @ likely)
        cells.append(Cell("mean flip rate (bootstrap)", "interval", setting, held, plan.rounds, n * (1 - rate)))
    return cells


def promised(plan: Plan) -> list[Cell]:
    """How often a threshold that is promised falls short on new faces; confidences are even from 0.5 to 1 and right as
    often as they say."""
    cells = []
    for n, wanted in ((n, wanted) for n in FACES for wanted in (0.9, 0.95)):
        setting = f"n {n}, promised for {100 * wanted:g} %"
        rng = plan.rng(setting)
        confidence = rng.uniform(0.5, 1, (plan.rounds, n))
        right = rng.random((plan.rounds, n)) < confidence
        found = [thresholds.promises(*row, n, [wanted])[0].threshold for row in zip(confidence, right, strict=True)]
        short = [one is not None and (1 + max(0.5, one.threshold)) / 2 < wanted for one in found]
        shortfall = float(np.mean(short))
        cells.append(Cell("threshold that falls short of its promise", "test", setting, shortfall, plan.rounds))
    return cells


def against_published(plan: Plan) -> list[Cell]:
    """The test of one's own accuracy against a published one, where both are of the same system."""
    cells = []
    for n, theirs, rate in (
        (n, theirs, rate) for n in (*FACES, PUBLISHED[0]) for theirs in PUBLISHED for rate in RATES
    ):
        setting = f"n {n} against {theirs}, rate {rate:g}"
        rng = plan.rng(setting)
        own, told = rng.binomial(n, rate, plan.rounds).tolist(), rng.binomial(theirs, rate, plan.rounds) / theirs
        p_values = [
            published.compare(right, n, share, theirs).p_value for right, share in zip(own, told.tolist(), strict=True)
        ]
        erred = float(np.mean(np.array(p_values) < published.ALPHA))
        cells.append(Cell("p against a published accuracy", "test", setting, erred, plan.rounds))
    return cells


@dataclass(frozen=True)
class OfLabels:
    """Macro figures of so many labels."""

    labels: int
    rare: bool

    def __call__(self, plan: Plan) -> list[Cell]:
        return macro(plan, self.labels, rare=self.rare)


@dataclass(frozen=True)
class OfGroups:
    """A part of the simulation for so many groups."""

    part: Callable[[Plan, int], list[Cell]]
    groups: int

    def __call__(self, plan: Plan) -> list[Cell]:
        return self.part(plan, self.groups)


def parts() -> dict[str, Part]:
    """All of it by name, the slowest first."""
    of_groups: dict[str, Part] = {
        f"{name}, {groups} groups": OfGroups(part, groups)
        for groups in reversed(GROUPS)
        for name, part in (("tests", alike), ("intervals", apart), ("clusters", together))
        if part is not together or groups in (2, 5)
    }
    of_labels: dict[str, Part] = {
        f"macro figures, {labels} labels{', one rare' if rare else ''}": OfLabels(labels, rare)
        for labels in reversed(LABELS)
        for rare in (False, True)
    }
    rest: dict[str, Part] = {
        "thresholds": promised,
        "two runs": two_runs,
        "flips": flips,
        "published": against_published,
        "shares": shares,
    }
    return {**of_groups, **of_labels, **rest}


def simulated(plan: Plan, chosen: Mapping[str, Part], processes: int = 1) -> list[Cell]:
    """The cells of these parts; in the order of their names, whichever is done first."""
    if processes == 1:
        return [cell for name in chosen for cell in _timed(plan, name, chosen[name])]
    with ProcessPoolExecutor(processes) as pool:
        done = pool.map(_timed, [plan] * len(chosen), chosen, chosen.values())
        return [cell for cells in done for cell in cells]


def _timed(plan: Plan, name: str, part: Part) -> list[Cell]:
    start = time.perf_counter()
    cells = part(plan)
    tell(f"{name}: {time.perf_counter() - start:.0f} s")
    return cells


def table(cells: Sequence[Cell]) -> str:
    """A line for each figure: how many settings, the lowest and the highest share, how many fall short."""
    rows = []
    for what in dict.fromkeys(cell.what for cell in cells):
        of = [cell for cell in cells if cell.what == what]
        low, high = LIMITS[of[0].kind]
        limits = f"at most {100 * high:g}" if of[0].kind == "test" else f"{100 * low:g} to {100 * high:g}"
        ordered = sorted(of, key=lambda cell: cell.share)
        short = sum(cell.falls_short for cell in of)
        ends = [f"{100 * ordered[k].share:.1f}" for k in (0, len(of) // 2, -1)]
        rows.append([what, "errs" if of[0].kind == "test" else "holds", limits, len(of), *ends, short])
    header = ["figure", "", "allowed, %", "settings", "lowest", "median", "highest", "fall short"]
    return tabulate(rows, header, disable_numparse=True)


def named(cells: Sequence[Cell]) -> Iterator[str]:
    """What falls short, a line each."""
    for cell in cells:
        if cell.falls_short:
            yield f"falls short: {cell.what}: {cell.setting}: {100 * cell.share:.1f} %"


def result(cells: Sequence[Cell], plan: Plan, seconds: float) -> dict[str, object]:
    """All shares by figure and setting, and what falls short, as plain data."""
    whats = dict.fromkeys(cell.what for cell in cells)
    return {
        "name": "simulate",
        "machine": machine(),
        "rounds": plan.rounds,
        "seed": plan.seed,
        "seconds": round(seconds),
        "limits": {kind: list(limits) for kind, limits in LIMITS.items()},
        "kinds": {what: next(cell.kind for cell in cells if cell.what == what) for what in whats},
        "shares": {what: {c.setting: round(c.share, 4) for c in cells if c.what == what} for what in whats},
        "falls short": [f"{cell.what}: {cell.setting}" for cell in cells if cell.falls_short],
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000, help="samples of every setting (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", metavar="WORD", help="the parts with this word in their names")
    args = parser.parse_args(argv)
    chosen = {name: part for name, part in parts().items() if args.only in name}
    if args.rounds < 1 or args.processes < 1 or not chosen:
        parser.error(f"expected rounds and processes from 1 on, and a part of {', '.join(parts())}")
    plan, start = Plan(args.rounds, args.seed), time.perf_counter()
    cells = simulated(plan, chosen, args.processes)
    print(table(cells))
    print("\n".join(named(cells)))
    print(json.dumps(result(cells, plan, time.perf_counter() - start)))
    return int(any(cell.falls_short for cell in cells))


if __name__ == "__main__":
    raise SystemExit(main())

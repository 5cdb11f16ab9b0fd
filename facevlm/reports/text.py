"""Evaluations as text tables for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tabulate import tabulate

from facevlm.evaluation import figures
from facevlm.evaluation.comparison import Comparison, Flips, Pair
from facevlm.evaluation.evaluate import SMALL, AttributeEvaluation, Cell, GroupTable, to_plain
from facevlm.evaluation.figures import INTERVALS
from facevlm.evaluation.gaps import Gap
from facevlm.reports import adjusting, calibrated, verdict
from facevlm.reports.structure import (
    DASH,
    Table,
    TableCell,
    amount,
    ends,
    explained,
    figure_cells,
    headings,
    number,
    of_clusters,
    probability,
    share,
    telling,
    ungrouped,
)

__all__ = ["INTERVAL", "comparison_text", "flip_cells", "number", "pair_table", "probability", "share", "text"]

INTERVAL = INTERVALS["wilson"]
WIDTH = 110
"""Letters of a line of sentences."""


def text(evaluations: Sequence[AttributeEvaluation], *, pairs: bool = True) -> str:
    """All evaluations as text: what they come to, a summary, then classes, groups and, with ``pairs``, combinations of
    groups of each."""
    said = verdict.text([evaluation.to_dict() for evaluation in evaluations])
    parts = [_filled(said), _summary(evaluations)]
    for evaluation in evaluations:
        parts.append(_heading(evaluation))
        parts.append(_classes(evaluation))
        parts += [_groups(table, evaluation.overall.n) for table in evaluation.groups if pairs or len(table.by) == 1]
    if any(row.shrunk is not None for e in evaluations for table in e.groups for row in table.rows):
        parts.append(_filled(explained(figures.SHRUNK)))
    bare = [f.heading("text") for f in figures.shown("text", ordinal=False) if f.unit != "share"]
    units = f", {', '.join(bare)} as {'it is' if len(bare) == 1 else 'they are'}" if bare else ""
    parts.append(
        f"Figures in per cent{units}. Accuracy counts faces without an answer as wrong. "
        f"Intervals: {INTERVAL}; of a gap,\nthat of the largest true difference between any two groups. p: a gap as "
        f"large by chance alone. * fewer than {SMALL} faces."
    )
    return "\n\n".join(parts) + "\n"


def _filled(sentences: str) -> str:
    return textwrap.fill(sentences, WIDTH, break_long_words=False, break_on_hyphens=False)


def _summary(evaluations: Sequence[AttributeEvaluation]) -> str:
    shown = figures.shown("text", ordinal=False)
    rows = [
        [e.attribute, counted(e.overall), *_words(figure_cells("text", shown, e.overall.figures)), _outcomes(e)]
        for e in evaluations
    ]
    header = ["attribute", "n", *headings("text", shown), "not ok"]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def counted(cell: Cell) -> str:
    """How many faces, with a star where they are few."""
    return f"{cell.n}{'*' if cell.small else ''}"


def _words(cells: Sequence[TableCell]) -> list[str]:
    return [cell.shown for cell in cells]


def _outcomes(evaluation: AttributeEvaluation) -> str:
    counts = {k: v for k, v in evaluation.overall.outcomes.items() if k != "ok"}
    counts |= {
        "not asked": evaluation.not_asked,
        "no ground truth": evaluation.no_truth,
        "of no face": evaluation.extra,
    }
    return ", ".join(f"{v} {k}" for k, v in counts.items() if v) or "-"


def _heading(evaluation: AttributeEvaluation) -> str:
    line = f"{evaluation.attribute}"
    if evaluation.alignment:
        line += f"  ({evaluation.alignment})"
    line += f"\n{'=' * len(line)}"
    together = of_clusters(to_plain(evaluation))
    line += f"\n\n{_filled(together)}" if together else ""
    ordinal = _ordinal(evaluation.overall)
    line += f"\n\n{ordinal}" if ordinal else ""
    sure = evaluation.confidence
    if sure is not None:
        plain = to_plain(sure)
        told = [
            *calibrated.words(plain, evaluation.overall.outcomes.get("ok", 0)),
            *calibrated.promises_told(plain),
            *calibrated.sets_told(plain),
        ]
        line += "\n\n" + "\n".join(map(_filled, told))
        sets = calibrated.label_sets(plain)
        line += "\n" + "\n".join(_table(sets)) if sets is not None else ""
    return line


def _ordinal(cell: Cell) -> str:
    """Figures along the order of the labels in a sentence; empty for an attribute whose labels have none."""
    shown = figures.shown("text", ordinal=True) if figures.is_ordinal(cell.figures) else ()
    parts = [
        f"{f.heading('text')}: {amount(f, f.value(cell.figures)).shown}{' groups' if f.unit == 'groups' else ''}"
        for f in shown
    ]
    line = ", ".join(parts)
    return line[:1].upper() + line[1:]


def _classes(evaluation: AttributeEvaluation) -> str:
    rows = [
        [c.label, c.n, c.said, share(c.precision), share(c.recall), f"{share(c.low)} - {share(c.high)}", share(c.f1)]
        for c in evaluation.classes
    ]
    header = ["class", "n", "said", "precision", "recall", INTERVAL, "F1"]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def _groups(table: GroupTable, judged: int) -> str:
    ordinal = any(figures.is_ordinal(row.cell.figures) for row in table.rows)
    shown = figures.shown("text groups", ordinal=None if ordinal else False)
    rows = [
        [
            *row.values,
            counted(row.cell),
            *_words(figure_cells("text groups", shown, telling(row.cell.figures, row.cell.n_labels))),
            share(row.shrunk),
        ]
        for row in table.rows
    ]
    header = [*table.by, "n", *headings("text groups", shown), figures.SHRUNK.title]
    if any(row.cell.clusters for row in table.rows):
        header.insert(len(table.by) + 1, "clusters")
        for line, row in zip(rows, table.rows, strict=True):
            line.insert(len(table.by) + 1, str(row.cell.clusters.n if row.cell.clusters else DASH))
    lines = [tabulate(rows, header, tablefmt="simple", disable_numparse=True)]
    lines += ungrouped(table.by, judged, sum(row.cell.n for row in table.rows))
    lines += map(_gap, table.gaps)
    lines += map(_gap, (gap for gap in table.labels if gap.is_found))
    if table.adjusted is not None:
        lines += _adjusted(adjusting.table_of(to_plain(table)), adjusting.sentences(to_plain(table)))
    return "\n".join(lines)


def _adjusted(table: Table, sentences: Sequence[str]) -> list[str]:
    return [*_table(table), *(textwrap.fill(s, WIDTH, break_on_hyphens=False) for s in sentences)]


def _table(table: Table) -> list[str]:
    rows = [_words(row.cells) for row in table.rows]
    shown = [tabulate(rows, table.header, tablefmt="simple", disable_numparse=True)] if rows else []
    return ["", f"{table.title}:", *shown]


def _gap(gap: Gap) -> str:
    figure, worst, best = figures.find(gap.figure), " / ".join(gap.worst), " / ".join(gap.best)
    low, high, difference, chance, least = (
        amount(figure, v).shown for v in (gap.low_value, gap.high_value, gap.difference, gap.chance, gap.detectable)
    )
    of = f"{figure.title} of {gap.label}" if gap.label else figure.title
    ends_shown = ends(figure, (gap.difference_low, gap.difference_high)).shown
    if not gap.difference:
        return f"No gap in {of}"
    luck = f", p {probability(gap.p_value)}; chance alone gives {chance}" if chance != DASH else ""
    could = f", and {least} would have been found in 4 of 5 samples" if least != DASH else ""
    is_one = "Gap" if gap.is_found else "No clear gap"
    return f"{is_one} in {of}: {worst} {low}, {best} {high}, difference {difference} ({ends_shown}){luck}{could}"


def comparison_text(comparisons: Sequence[Comparison]) -> str:
    """Runs side by side: who is right where the other is wrong, and how often answers flip."""
    parts = []
    for comparison in comparisons:
        parts.append(f"{comparison.attribute}\n{'=' * len(comparison.attribute)}")
        parts.append(_pairs(comparison))
        parts.append(_flips("all runs", [comparison.flips]))
        parts += [_flips(name, rows) for name, rows in comparison.flips_by.items()]
        parts += comparison.notes
        parts += [f"Saved views: {', '.join(comparison.views)}"] if comparison.views else []
    test = "whole clusters turned at random" if any(c.cluster for c in comparisons) else "McNemar's exact test"
    right = f"difference: accuracy of a minus that of b, with its 95 % bootstrap interval.\np: {test}. "
    parts.append(
        f"Figures in per cent. {right if any(c.judged for c in comparisons) else ''}flips: faces with more than one "
        f"answer over the runs. * fewer than {SMALL} faces."
    )
    return "\n\n".join(parts) + "\n"


def _pairs(comparison: Comparison) -> str:
    header, rows = pair_table(comparison)
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def pair_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the pairs of runs; without ground truth only how often they agree."""
    rows = [_pair(pair) for pair in comparison.pairs]
    right = ["both right", "only a", "only b", "neither"]
    header = ["a", "b", "n", *right, "difference", "95 % bootstrap", "p", "same answer"]
    if not comparison.judged:
        header, *rows = ([*row[:3], row[-1]] for row in (header, *rows))
    return header, rows


def _pair(pair: Pair) -> list[str]:
    counts = [DASH if n is None else str(n) for n in (pair.both_right, pair.only_a, pair.only_b, pair.neither)]
    return [
        pair.a,
        pair.b,
        str(pair.n),
        *counts,
        share(pair.difference),
        f"{share(pair.low)} - {share(pair.high)}",
        probability(pair.p_value),
        share(pair.agreement),
    ]


def _flips(name: str, flips: Sequence[Flips]) -> str:
    rows = [flip_cells(f, f.group) for f in flips]
    return tabulate(rows, [name, "n", "flips", INTERVAL], tablefmt="simple", disable_numparse=True)


def flip_cells(flips: Flips, name: str) -> list[str]:
    """A row of a table of flips: name, n, share, interval."""
    count = f"{flips.n}{'*' if flips.small else ''}"
    return [name, count, share(flips.rate), f"{share(flips.low)} - {share(flips.high)}"]

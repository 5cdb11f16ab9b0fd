"""Evaluations as text tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from facevlm.evaluation import figures
from facevlm.evaluation.comparison import Comparison, Flips, Pair
from facevlm.evaluation.evaluate import SMALL, AttributeEvaluation, Cell, GroupTable
from facevlm.evaluation.figures import INTERVALS
from facevlm.evaluation.groups import Gap
from facevlm.reports.structure import (
    DASH,
    TableCell,
    amount,
    ends,
    figure_cells,
    headings,
    number,
    probability,
    share,
    telling,
)

__all__ = ["INTERVAL", "comparison_text", "flip_cells", "number", "probability", "share", "text"]

INTERVAL = INTERVALS["wilson"]


def text(evaluations: Sequence[AttributeEvaluation], *, pairs: bool = True) -> str:
    """All evaluations as text: a summary, then classes, groups and, with ``pairs``, combinations of groups of each."""
    parts = [_summary(evaluations)]
    for evaluation in evaluations:
        parts.append(_heading(evaluation))
        parts.append(_classes(evaluation))
        parts += [_groups(table) for table in evaluation.groups if pairs or len(table.by) == 1]
    bare = [f.heading("text") for f in figures.shown("text", ordinal=False) if f.unit != "share"]
    units = f", {', '.join(bare)} as {'it is' if len(bare) == 1 else 'they are'}" if bare else ""
    parts.append(
        f"Figures in per cent{units}. Accuracy counts faces without an answer as wrong. "
        f"Intervals: {INTERVAL}; of gaps,\n95 % bootstrap. p: Fisher's exact test of a group against the others, Holm. "
        f"* fewer than {SMALL} faces."
    )
    return "\n\n".join(parts) + "\n"


def _summary(evaluations: Sequence[AttributeEvaluation]) -> str:
    shown = figures.shown("text", ordinal=False)
    rows = [
        [e.attribute, _count(e.overall), *_words(figure_cells("text", shown, e.overall.figures)), _outcomes(e)]
        for e in evaluations
    ]
    header = ["attribute", "n", *headings("text", shown), "not ok"]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def _count(cell: Cell) -> str:
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
    ordinal = _ordinal(evaluation.overall)
    line += f"\n\n{ordinal}" if ordinal else ""
    sure = evaluation.confidence
    if sure is not None:
        line += (
            f"\n\nCalibration error: {share(sure.ece)}, Brier score: {number(sure.brier)}; temperature "
            f"{number(sure.temperature)}, fitted on one half, takes the\nerror on the other "
            f"from {share(sure.ece_before)} to {share(sure.ece_after)}"
        )
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


def _groups(table: GroupTable) -> str:
    ordinal = any(figures.is_ordinal(row.cell.figures) for row in table.rows)
    shown = figures.shown("text groups", ordinal=None if ordinal else False)
    rows = [
        [
            *row.values,
            _count(row.cell),
            *_words(figure_cells("text groups", shown, telling(row.cell.figures, row.cell.n_labels))),
        ]
        for row in table.rows
    ]
    header = [*table.by, "n", *headings("text groups", shown)]
    lines = [tabulate(rows, header, tablefmt="simple", disable_numparse=True), *map(_gap, filter(_is_gap, table.gaps))]
    even = [figures.find(gap.figure).title for gap in table.gaps if not _is_gap(gap)]
    lines += [f"No gap in {', '.join(even)}"] if even else []
    return "\n".join(lines)


def _is_gap(gap: Gap) -> bool:
    return gap.difference > 0


def _gap(gap: Gap) -> str:
    figure, worst, best = figures.find(gap.figure), " / ".join(gap.worst), " / ".join(gap.best)
    low, high, difference = (amount(figure, v).shown for v in (gap.low_value, gap.high_value, gap.difference))
    line = (
        f"Gap in {figure.title}: {worst} {low}, {best} {high}, "
        f"difference {difference} ({ends(figure, (gap.difference_low, gap.difference_high)).shown})"
    )
    return f"{line}, p {probability(gap.p_values[worst])}" if worst in gap.p_values else line


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
    right = "difference: accuracy of a minus that of b, with its 95 % bootstrap interval.\np: McNemar's exact test. "
    parts.append(
        f"Figures in per cent. {right if any(c.judged for c in comparisons) else ''}flips: faces with more than one "
        f"answer over the runs. * fewer than {SMALL} faces."
    )
    return "\n\n".join(parts) + "\n"


def _pairs(comparison: Comparison) -> str:
    rows = [_pair(pair) for pair in comparison.pairs]
    right = ["both right", "only a", "only b", "neither"]
    header = ["a", "b", "n", *right, "difference", "95 % bootstrap", "p", "same answer"]
    if not comparison.judged:
        header, *rows = ([*row[:3], row[-1]] for row in (header, *rows))
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


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

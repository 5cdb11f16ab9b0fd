"""Evaluations as text tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from facevlm.evaluation.comparison import Comparison, Flips, Pair
from facevlm.evaluation.evaluate import SMALL, AttributeEvaluation, Cell, GroupTable
from facevlm.evaluation.groups import Gap
from facevlm.reports.structure import DASH, number, probability, share

__all__ = ["INTERVAL", "comparison_text", "flip_cells", "number", "probability", "share", "text"]

INTERVAL = "95 % Wilson"
FIGURES = {"accuracy": "accuracy", "macro_f1": "macro F1", "coverage": "answered"}


def text(evaluations: Sequence[AttributeEvaluation], *, pairs: bool = True) -> str:
    """All evaluations as text: a summary, then classes, groups and, with ``pairs``, combinations of groups of each."""
    parts = [_summary(evaluations)]
    for evaluation in evaluations:
        parts.append(_heading(evaluation))
        parts.append(_classes(evaluation))
        parts += [_groups(table) for table in evaluation.groups if pairs or len(table.by) == 1]
    parts.append(
        "Figures in per cent, kappa as it is. Accuracy counts faces without an answer as wrong. "
        f"Intervals: {INTERVAL}; of gaps,\n95 % bootstrap. p: Fisher's exact test of a group against the others, Holm. "
        f"* fewer than {SMALL} faces."
    )
    return "\n\n".join(parts) + "\n"


def _summary(evaluations: Sequence[AttributeEvaluation]) -> str:
    rows = [[e.attribute, *_figures(e.overall), number(e.overall.kappa), _outcomes(e)] for e in evaluations]
    header = [
        "attribute",
        "n",
        "answered",
        "accuracy",
        INTERVAL,
        "balanced",
        "macro P",
        "macro R",
        "macro F1",
        "kappa",
        "not ok",
    ]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def _figures(cell: Cell) -> list[str]:
    return [
        f"{cell.n}{'*' if cell.small else ''}",
        share(cell.coverage),
        share(cell.accuracy),
        f"{share(cell.low)} - {share(cell.high)}",
        share(cell.balanced_accuracy),
        share(cell.precision),
        share(cell.recall),
        share(cell.f1),
    ]


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
    cell = evaluation.overall
    if cell.off_by_one is not None and cell.mean_bin_error is not None:
        line += f"\n\nOff by one at most: {share(cell.off_by_one)}, mean error: {number(cell.mean_bin_error)} groups"
    sure = evaluation.confidence
    if sure is not None:
        line += (
            f"\n\nCalibration error: {share(sure.ece)}, Brier score: {number(sure.brier)}; temperature "
            f"{number(sure.temperature)}, fitted on one half, takes the\nerror on the other "
            f"from {share(sure.ece_before)} to {share(sure.ece_after)}"
        )
    return line


def _classes(evaluation: AttributeEvaluation) -> str:
    rows = [
        [c.label, c.n, c.said, share(c.precision), share(c.recall), f"{share(c.low)} - {share(c.high)}", share(c.f1)]
        for c in evaluation.classes
    ]
    header = ["class", "n", "said", "precision", "recall", INTERVAL, "F1"]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def _groups(table: GroupTable) -> str:
    rows = [
        [*row.values, *_figures(row.cell)[:5], share(row.cell.f1) if row.cell.n_labels > 1 else "-"]
        for row in table.rows
    ]
    header = [*table.by, "n", "answered", "accuracy", INTERVAL, "balanced", "macro F1"]
    lines = [tabulate(rows, header, tablefmt="simple", disable_numparse=True), *map(_gap, filter(_is_gap, table.gaps))]
    even = [FIGURES[gap.figure] for gap in table.gaps if not _is_gap(gap)]
    lines += [f"No gap in {', '.join(even)}"] if even else []
    return "\n".join(lines)


def _is_gap(gap: Gap) -> bool:
    return gap.difference > 0


def _gap(gap: Gap) -> str:
    worst, best = " / ".join(gap.worst), " / ".join(gap.best)
    line = (
        f"Gap in {FIGURES[gap.figure]}: {worst} {share(gap.low_value)}, {best} {share(gap.high_value)}, "
        f"difference {share(gap.difference)} ({share(gap.difference_low)} - {share(gap.difference_high)})"
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

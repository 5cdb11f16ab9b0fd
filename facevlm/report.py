"""Evaluations as text tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tabulate import tabulate

from facevlm.evaluation import SMALL, AttributeEvaluation, Cell, GroupTable

INTERVAL = "95 % Wilson"


def text(evaluations: Sequence[AttributeEvaluation], *, pairs: bool = True) -> str:
    """All evaluations as text: a summary of attributes, then classes, groups and pairs of each."""
    parts = [_summary(evaluations)]
    for evaluation in evaluations:
        parts.append(_heading(evaluation))
        parts.append(_classes(evaluation))
        parts += [_groups(table) for table in evaluation.groups if pairs or len(table.by) == 1]
    parts.append(
        "Figures in per cent. Accuracy counts faces without an answer as wrong. "
        f"Intervals: {INTERVAL}. * fewer than {SMALL} faces."
    )
    return "\n\n".join(parts) + "\n"


def _summary(evaluations: Sequence[AttributeEvaluation]) -> str:
    rows = [[e.attribute, *_figures(e.overall), _outcomes(e)] for e in evaluations]
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
    counts |= {"not asked": evaluation.not_asked, "no ground truth": evaluation.no_truth}
    return ", ".join(f"{v} {k}" for k, v in counts.items() if v) or "-"


def _heading(evaluation: AttributeEvaluation) -> str:
    line = f"{evaluation.attribute}"
    if evaluation.alignment:
        line += f"  ({evaluation.alignment})"
    line += f"\n{'=' * len(line)}"
    cell = evaluation.overall
    if cell.off_by_one is not None and cell.mean_bin_error is not None:
        line += f"\n\nOff by one at most: {share(cell.off_by_one)}, mean error: {number(cell.mean_bin_error)} groups"
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
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def number(value: float) -> str:
    """A number with two decimals, or a dash where it is undefined."""
    return f"{value:.2f}" if math.isfinite(value) else "-"


def share(value: float) -> str:
    """A share as per cent with one decimal, or a dash where it is undefined."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"

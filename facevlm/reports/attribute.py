"""The part of a report about one attribute: figures, groups, gaps, confidence, errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from facevlm.evaluation import figures
from facevlm.evaluation.groups import SMALL
from facevlm.evaluation.intervals import against_the_rest, holm
from facevlm.evaluation.metrics import wilson
from facevlm.reports import worst
from facevlm.reports.structure import (
    DASH,
    Bars,
    Block,
    Curve,
    Heatmap,
    Plain,
    Section,
    Spot,
    Table,
    TableCell,
    TableRow,
    Text,
    amount,
    chance,
    count,
    decimal,
    ends,
    facts,
    figure_cells,
    group_name,
    headings,
    interval,
    percent,
    ratio_interval,
    share_bar,
    telling,
    word,
)
from facevlm.types import OUTCOMES

KEPT = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.25)


def section(evaluation: Plain, title: str, more: Sequence[Block] = ()) -> Section:
    """Everything about one attribute; ``more`` blocks come last."""
    parts = [_classes(evaluation), _groups(evaluation), _gaps(evaluation), _answers(evaluation)]
    if evaluation["confidence"]:
        parts.append(_confidence(evaluation["confidence"], evaluation["overall"]["n"]))
    if more:
        parts.append(Section("Sample errors", tuple(more)))
    return Section(title, (_overall(evaluation), *_ordinal(evaluation)), tuple(p for p in parts if p is not None))


def _overall(evaluation: Plain) -> Table:
    cell, counts = evaluation["overall"], evaluation["confusion"]
    given = sum(sum(row[:-1]) for row in counts)
    shown = figures.shown("report", ordinal=False)
    over = dict(cell["answered"])
    for figure in shown:
        value = figure.value(over)
        if figure.interval == "wilson" and value is not None:
            over |= zip(figure.ends, wilson(round(value * given), given), strict=True)
    rows = tuple(
        TableRow((word(which), count(n, few=n < SMALL), *figure_cells("report", shown, held)))
        for which, n, held in (("all faces", cell["n"], cell), ("answered faces", given, over))
    )
    header = ("over", "n", *headings("report", shown))
    return Table("Overall", header, rows, "Over all faces, a face without an answer counts as wrong.")


def _ordinal(evaluation: Plain) -> list[Table]:
    cell, ages, tables = evaluation["overall"], evaluation["ages"], []
    if figures.is_ordinal(cell):
        pairs = [
            (f.title + (", groups" if f.unit == "groups" else ""), amount(f, f.value(cell)))
            for f in figures.shown("report", ordinal=True)
        ]
        note = "Of answered faces. Above 0, apparent ages are said too high."
        tables.append(facts("Errors along the order of the labels", pairs, note))
    if ages:
        pairs = [
            ("answered faces with an age in years", count(ages["n"])),
            ("mean years outside of the said group", decimal(ages["mean_years"])),
            ("faces under 18", count(ages["n_minors"])),
            ("of these said to be adults", percent(ages["minors_as_adults"])),
            ("faces from 18 on", count(ages["n_adults"])),
            ("of these said to be minors", percent(ages["adults_as_minors"])),
        ]
        tables.append(facts("Errors in years", pairs))
    return tables


def _classes(evaluation: Plain) -> Section:
    labels = [row["label"] for row in evaluation["classes"]]
    rows = tuple(
        TableRow(
            (
                word(row["label"]),
                count(row["n"], few=row["n"] < SMALL),
                count(row["said"]),
                percent(row["precision"]),
                percent(row["recall"]),
                interval(row["low"], row["high"]),
                percent(row["f1"]),
            ),
            row["n"] < SMALL,
        )
        for row in evaluation["classes"]
    )
    table = Table("", ("label", "n", "said", "precision", "recall", "95 % Wilson", "F1"), rows)
    every = evaluation["labels"]
    kept = [every.index(label) for label in labels]
    columns = (*labels, "no answer")
    counts = tuple(tuple(evaluation["confusion"][k][j] for j in (*kept, -1)) for k in kept)
    body = tuple(TableRow((word(label), *map(count, row))) for label, row in zip(labels, counts, strict=True))
    matrix = Table("", ("true label, said:", *columns), body, "Counts of faces; a row is a true label.")
    below = Section("Confusion matrix as a table", (matrix,), folded=True)
    return Section("Classes", (table, Heatmap("Confusion matrix", tuple(labels), columns, counts)), (below,))


def _group_table(table: Plain, ordinal: bool) -> Table:
    by, rows = table["by"], []
    shown = figures.shown("report groups", ordinal=None if ordinal else False)
    for row in table["rows"]:
        cell = row["cell"]
        few = cell["n"] < SMALL
        cells = figure_cells("report groups", shown, telling(cell, cell["n_labels"]))
        rows.append(TableRow((*map(word, row["values"]), count(cell["n"], few=few), *cells), few))
    return Table(f"By {_and(by)}", (*by, "n", *headings("report groups", shown)), tuple(rows))


def _groups(evaluation: Plain) -> Section | None:
    ordinal = figures.is_ordinal(evaluation["overall"])
    tables = [table for table in evaluation["groups"] if table["rows"]]
    if not tables:
        return None
    blocks: list[Block] = []
    whole = evaluation["overall"].get("accuracy")
    for table in tables:
        if len(table["by"]) == 1:
            bars = tuple(share_bar(group_name(row["values"]), row["cell"]) for row in table["rows"])
            blocks.append(Bars(f"Accuracy by {_and(table['by'])} (dashed: all faces)", bars, whole))
            blocks.append(_group_table(table, ordinal))
    pairs = tuple(_group_table(table, ordinal) for table in tables if len(table["by"]) == 2)
    below = (Section("Pairs of groups", pairs, folded=True),) if pairs else ()
    note = f"Groups of fewer than {SMALL} faces have a star, are grey, and are left out of comparisons."
    if any(len(table["by"]) > 2 for table in tables):
        note += " Of groups by three and more fields together the worst are shown; report.json holds all of them."
    return Section("Groups", (Text(note), *blocks, *worst.crossed(evaluation)), below)


def _gaps(evaluation: Plain) -> Section:
    rows = [_gap(gap) for table in evaluation["groups"] for gap in table["gaps"]]
    blocks: list[Block] = []
    if rows:
        header = (
            "groups by",
            "figure",
            "worst group",
            "its value",
            "Holm p",
            "best group",
            "its value",
            "difference",
            "95 % bootstrap",
            "ratio",
            "95 % bootstrap",
            "groups compared",
            "left out",
        )
        note = (
            "p: Fisher's exact test of the worst group's accuracy against all other compared groups together, "
            "corrected by Holm's method over the groups of its line. The intervals do not know that the two groups "
            "were picked as the extremes. Ratio is worst over best."
        )
        blocks.append(Table("Worst against best group", header, tuple(rows), note))
    else:
        blocks.append(Text(f"No grouping has two groups of {SMALL} faces or more, so that nothing can be compared."))
    odds = [table for table in evaluation["groups"] if any(v is not None for v in table["odds"].values())]
    if odds:
        label = evaluation["labels"][0]
        rates = ("selection", "tpr", "fpr", "equalised_odds")
        body = tuple(TableRow((word(_and(t["by"])), *(percent(t["odds"].get(name)) for name in rates))) for t in odds)
        columns = ("groups by", "demographic parity", "true positive rate", "false positive rate", "equalised odds")
        note = (
            f"Largest differences between groups in how often '{label}' is said: at all, where it is true, where it is "
            "not; the last is the larger of these two."
        )
        blocks.append(Table(f"Differences for the label '{label}'", columns, body, note))
    return Section("Gaps between groups", tuple(blocks))


def _gap(gap: Plain) -> TableRow:
    worst, best = group_name(gap["worst"]), group_name(gap["best"])
    # Where all groups are alike, neither stands out.
    names = (worst, best) if worst != best else (DASH, DASH)
    figure = figures.find(gap["figure"])
    return TableRow(
        (
            word(_and(gap["by"])),
            word(figure.title),
            word(names[0]),
            amount(figure, gap["low_value"]),
            chance(gap["p_values"].get(worst)),
            word(names[1]),
            amount(figure, gap["high_value"]),
            amount(figure, gap["difference"]),
            ends(figure, (gap["difference_low"], gap["difference_high"])),
            decimal(gap["ratio"]),
            ratio_interval(gap["ratio_low"], gap["ratio_high"]),
            count(gap["compared"]),
            count(gap["left_out"]),
        )
    )


def unanswered(table: Plain) -> list[tuple[Plain, int, float | None]]:
    """Rows of a group table with how many faces have no answer, and Holm's p that the share differs from the rest.

    Groups too small to compare have no p-value.
    """
    rows = table["rows"]
    lost = np.array([row["cell"]["n"] - row["cell"]["outcomes"].get("ok", 0) for row in rows], dtype=np.int64)
    sizes = np.array([row["cell"]["n"] for row in rows], dtype=np.int64)
    p_values = np.full(len(rows), math.nan)
    large = sizes >= SMALL
    if large.sum() > 1:
        p_values[large] = holm(against_the_rest(lost[large], sizes[large]))
    plain = [p if math.isfinite(p) else None for p in p_values.tolist()]
    return list(zip(rows, lost.tolist(), plain, strict=True))


def _answers(evaluation: Plain) -> Section:
    cell = evaluation["overall"]
    pairs: list[tuple[str, TableCell]] = [(name, count(cell["outcomes"].get(name, 0))) for name in OUTCOMES]
    pairs += [("not asked", count(evaluation["not_asked"])), ("no ground truth", count(evaluation["no_truth"]))]
    pairs += [("predictions of no face", count(evaluation["extra"]))] if evaluation["extra"] else []
    blocks: list[Block] = [facts("Outcomes", pairs)]
    if cell["outcomes"].get("ok", 0) == cell["n"]:
        blocks.append(Text("Every face with ground truth that was asked got an answer, in every group."))
        return Section("Answers and refusals", tuple(blocks))
    for table in evaluation["groups"]:
        if len(table["by"]) == 1 and table["rows"]:
            blocks.append(_outcome_table(table))
    return Section("Answers and refusals", tuple(blocks))


def _outcome_table(table: Plain) -> Table:
    rows = []
    for row, lost, p_value in unanswered(table):
        n, few = row["cell"]["n"], row["cell"]["n"] < SMALL
        counts = [count(row["cell"]["outcomes"].get(name, 0)) for name in OUTCOMES]
        shares = (percent(lost / n if n else None), interval(*wilson(lost, n)), chance(p_value))
        rows.append(TableRow((*map(word, row["values"]), count(n, few=few), *counts, *shares), few))
    header = (*table["by"], "n", *OUTCOMES, "without answer", "95 % Wilson", "Holm p")
    note = "p: Fisher's exact test of a group's share without an answer against all other compared groups together."
    return Table(f"Outcomes by {_and(table['by'])}", header, tuple(rows), note)


def _confidence(confidence: Plain, total: int) -> Section:
    pairs = [
        ("faces with scores", count(confidence["n"])),
        ("expected calibration error, bins of equal width", percent(confidence["ece"])),
        ("expected calibration error, bins of equal mass", percent(confidence["ece_mass"])),
        ("Brier score, 0 to 2", decimal(confidence["brier"])),
        ("true label among the two likeliest", percent(confidence["top2"])),
        ("temperature fitted on one half", decimal(confidence["temperature"])),
        ("calibration error on the other half, as it is", percent(confidence["ece_before"])),
        ("calibration error on the other half, with that temperature", percent(confidence["ece_after"])),
    ]
    bins = confidence["bins"]
    spots = tuple(Spot(b["confidence"], b["accuracy"], b["accuracy_low"], b["accuracy_high"], b["n"]) for b in bins)
    body = tuple(
        TableRow(
            (
                interval(b["low"], b["high"]),
                count(b["n"], few=b["n"] < SMALL),
                percent(b["confidence"]),
                percent(b["accuracy"]),
                interval(b["accuracy_low"], b["accuracy_high"]),
            ),
            b["n"] < SMALL,
        )
        for b in bins
    )
    header = ("confidence from - to", "n", "mean confidence", "accuracy", "95 % Wilson")
    curve = confidence["selective"]
    bottom = math.floor(10 * min((p["accuracy"] for p in curve), default=0.0)) / 10
    return Section(
        "Confidence",
        (
            facts("Calibration", pairs, "Temperatures are searched from 0.05 to 20."),
            Curve("Reliability", "confidence", "accuracy", spots),
            Table("Reliability in figures", header, body),
            Curve(
                "Accuracy if only the surest answers are kept",
                "share of faces kept",
                "accuracy",
                tuple(Spot(p["coverage"], p["accuracy"], n=p["n"]) for p in curve),
                joined=True,
                bottom=min(bottom, 0.9),
            ),
            _kept(curve, total),
        ),
    )


def _kept(curve: Sequence[Plain], total: int) -> Table:
    """The points of the curve nearest to round shares."""
    nearest = {k: min(range(len(curve)), key=lambda i: abs(curve[i]["coverage"] - k)) for k in KEPT} if curve else {}
    rows = tuple(
        TableRow(
            (
                percent(curve[i]["threshold"]),
                count(curve[i]["n"], few=curve[i]["n"] < SMALL),
                percent(curve[i]["coverage"]),
                percent(curve[i]["accuracy"]),
                interval(*wilson(round(curve[i]["accuracy"] * curve[i]["n"]), curve[i]["n"])),
            ),
            curve[i]["n"] < SMALL,
        )
        for i in dict.fromkeys(nearest.values())
    )
    header = ("confidence from", "n kept", "share kept", "accuracy", "95 % Wilson")
    return Table("Surest answers in figures", header, rows, f"Shares of all {total} faces.")


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)

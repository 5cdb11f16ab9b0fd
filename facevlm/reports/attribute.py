"""The part of a report about one attribute: figures, groups, gaps, confidence, errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from facevlm.evaluation import figures
from facevlm.evaluation.gaps import against_the_others
from facevlm.evaluation.groups import SMALL
from facevlm.evaluation.metrics import FEWEST
from facevlm.reports import adjusting, calibrated, worst
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
    explained,
    facts,
    figure_cells,
    group_name,
    headings,
    interval,
    of_clusters,
    percent,
    ratio_interval,
    share_bar,
    share_ends,
    telling,
    ungrouped,
    without_interval,
    word,
    worth,
)
from facevlm.types import OUTCOMES

SEEN_NOTE = f"Accuracies are {calibrated.SEEN}: nothing is promised of others."
KEPT = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.25)


def section(evaluation: Plain, title: str, more: Sequence[Block] = ()) -> Section:
    """Everything about one attribute; ``more`` blocks come last."""
    parts = [_classes(evaluation), _groups(evaluation), _gaps(evaluation), _answers(evaluation)]
    if evaluation["confidence"]:
        parts.append(_confidence(evaluation["confidence"], evaluation["overall"]))
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
            many = worth(cell, "accuracy_answered", given)
            over |= zip(figure.ends, share_ends(round(value * given), given, many), strict=True)
    rows = tuple(
        TableRow((word(which), count(n, few=n < SMALL), *figure_cells("report", shown, held)))
        for which, n, held in (("all faces", cell["n"], cell), ("answered faces", given, over))
    )
    header = ("over", "n", *headings("report", shown))
    note = [
        "Over all faces, a face without an answer counts as wrong.",
        without_interval(evaluation),
        of_clusters(evaluation),
    ]
    return Table("Overall", header, rows, " ".join(filter(None, note)))


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


def _group_table(table: Plain, ordinal: bool, judged: int) -> Table:
    by, rows = table["by"], []
    shown = figures.shown("report groups", ordinal=None if ordinal else False)
    for row in table["rows"]:
        cell = row["cell"]
        few = cell["n"] < SMALL
        cells = figure_cells("report groups", shown, telling(cell, cell["n_labels"]))
        of = [count(cell["clusters"]["n"])] if cell.get("clusters") else []
        drawn = [percent(row["shrunk"])] if "shrunk" in row else []
        rows.append(TableRow((*map(word, row["values"]), count(cell["n"], few=few), *of, *cells, *drawn), few))
    lines = ungrouped(by, judged, sum(row["cell"]["n"] for row in table["rows"]))
    if any(map(_lacks_interval, table["rows"])):
        lines.append(
            f"Macro F1 has no interval where fewer than {FEWEST} faces of a group truly have one of its labels."
        )
    note = " ".join(lines)
    counted = ["clusters"] if any(row["cell"].get("clusters") for row in table["rows"]) else []
    last = [figures.SHRUNK.title] if any("shrunk" in row for row in table["rows"]) else []
    header = (*by, "n", *counted, *headings("report groups", shown), *last)
    return Table(f"By {_and(by)}", header, tuple(rows), note)


def _lacks_interval(row: Plain) -> bool:
    """Whether a group has a macro F1 that is shown, and no interval of it."""
    cell = row["cell"]
    return bool(cell["n_labels"] > 1 and cell.get("f1") is not None and cell.get("f1_low") is None)


def _groups(evaluation: Plain) -> Section | None:
    ordinal = figures.is_ordinal(evaluation["overall"])
    tables = [table for table in evaluation["groups"] if table["rows"]]
    if not tables:
        return None
    blocks: list[Block] = []
    whole, judged = evaluation["overall"].get("accuracy"), evaluation["overall"]["n"]
    for table in tables:
        if len(table["by"]) == 1:
            bars = tuple(share_bar(group_name(row["values"]), row["cell"]) for row in table["rows"])
            blocks.append(Bars(f"Accuracy by {_and(table['by'])} (dashed: all faces)", bars, whole))
            blocks.append(_group_table(table, ordinal, judged))
    pairs = tuple(_group_table(table, ordinal, judged) for table in tables if len(table["by"]) == 2)
    below = (Section("Pairs of groups", pairs, folded=True),) if pairs else ()
    note = f"Groups of fewer than {SMALL} faces have a star, are grey, and are left out of comparisons."
    if any("shrunk" in row for table in tables for row in table["rows"]):
        note += f" {explained(figures.SHRUNK)}"
    if any(len(table["by"]) > 2 for table in tables):
        note += " Of groups by three and more fields together the worst are shown; report.json holds all of them."
    return Section("Groups", (Text(note), *blocks, *worst.crossed(evaluation)), below)


GAPS = (
    *("groups by", "figure", "worst group", "its value", "best group", "its value", "difference"),
    *("95 %, any two groups", "by chance", "p", "could be found", "groups compared", "left out"),
)
GAP_NOTE = (
    "The interval is that of the largest true difference between any two of the compared groups, so it knows that the "
    "two shown were picked as the extremes (Newcombe's intervals with Tukey's critical value). By chance: the mean "
    "difference that groups of these sizes show when all are served equally well; p: how often it is as large as "
    "here. Could be found: the difference that such groups show in 4 of 5 samples."
)
STANDINGS = ("groups by", "group", "against all", "95 %", "errors per error of all", "95 %", "p")
STANDING_NOTE = (
    "Accuracy of each compared group minus that of all of them, in points, and its error rate over theirs: 2.00 is "
    "twice as many errors. Each interval is for itself. p: Fisher's exact test against all other groups together, by "
    "Holm's method where there are three or more."
)
LABEL_NOTE = (
    "Recall within the faces of one true label: macro averages of groups are not compared, since groups hold different "
    "labels. " + GAP_NOTE.partition(". ")[0] + "."
)
ODDS = {"selection": "said at all (demographic parity)", "tpr": "said where true", "fpr": "said where not true"}


def _gaps(evaluation: Plain) -> Section:
    tables = evaluation["groups"]
    rows = [_gap(gap) for table in tables for gap in table["gaps"]]
    blocks: list[Block] = []
    if rows:
        blocks.append(Table("Worst against best group", GAPS, tuple(rows), GAP_NOTE))
        blocks += _standings(tables)
    else:
        blocks.append(Text(f"No grouping has two groups of {SMALL} faces or more, so that nothing can be compared."))
    labels = [_gap(gap) for table in tables for gap in table.get("labels", ()) if len(table["by"]) == 1]
    if labels:
        blocks.append(Table("Worst against best group, by true label", GAPS, tuple(labels), LABEL_NOTE))
    blocks += [block for table in tables for block in adjusting.blocks(table)]
    odds = [_gap(gap) for table in tables for gap in table["odds"]] if not _has_old_odds(tables) else []
    if odds:
        label = evaluation["labels"][0]
        note = (
            f"How often '{label}' is said in each group, of at least {SMALL} faces: of all, of those of whom it is "
            "true, of the others. The larger difference of the last two is that of equalised odds."
        )
        blocks.append(Table(f"Differences for the label '{label}'", GAPS, tuple(odds), note))
    return Section("Gaps between groups", tuple(blocks))


def _standings(tables: Sequence[Plain]) -> list[Block]:
    """Each group by one field against all faces, by accuracy."""
    rows = [
        TableRow(
            (
                word(_and(table["by"])),
                word(name),
                percent(one["difference"]),
                interval(one["low"], one["high"]),
                decimal(one["ratio"]),
                ratio_interval(one["ratio_low"], one["ratio_high"]),
                chance(gap["p_values"].get(name)),
            )
        )
        for table in tables
        for gap in table["gaps"]
        if gap["figure"] == "accuracy" and len(table["by"]) == 1
        for name, one in (gap.get("standings") or {}).items()
    ]
    return [Table("Groups against all faces", STANDINGS, tuple(rows), STANDING_NOTE)] if rows else []


def _has_old_odds(tables: Sequence[Plain]) -> bool:
    """Of evaluations that were stored before odds had denominators."""
    return any(isinstance(table["odds"], dict) for table in tables)


def _gap(gap: Plain) -> TableRow:
    worst, best = group_name(gap["worst"]), group_name(gap["best"])
    # Where all groups are alike, neither stands out.
    names = (worst, best) if worst != best else (DASH, DASH)
    figure = figures.find(gap["figure"] if gap["figure"] not in ODDS else "accuracy")
    what = ODDS.get(gap["figure"], figure.title) + (f" of {gap['label']}" if gap.get("label") else "")
    return TableRow(
        (
            word(_and(gap["by"])),
            word(what),
            word(names[0]),
            amount(figure, gap["low_value"]),
            word(names[1]),
            amount(figure, gap["high_value"]),
            amount(figure, gap["difference"]),
            ends(figure, (gap["difference_low"], gap["difference_high"])),
            amount(figure, gap.get("chance")),
            chance(gap.get("p_value")),
            amount(figure, gap.get("detectable")),
            count(gap["compared"]),
            count(gap["left_out"]),
        )
    )


def unanswered(table: Plain) -> list[tuple[Plain, int, float | None]]:
    """Rows of a group table with how many faces have no answer, and the p that the share differs from the others.

    Groups too small to compare have no p-value.
    """
    rows = table["rows"]
    lost = np.array([row["cell"]["n"] - row["cell"]["outcomes"].get("ok", 0) for row in rows], dtype=np.int64)
    sizes = np.array([row["cell"]["n"] for row in rows], dtype=np.int64)
    p_values = np.full(len(rows), math.nan)
    large = sizes >= SMALL
    if any(row["cell"].get("clusters") for row in rows):
        # Tests that know of clusters are made where the faces are.
        known: Plain = next((gap["p_values"] for gap in table["gaps"] if gap["figure"] == "coverage"), {})
        return [(row, n, known.get(group_name(row["values"]))) for row, n in zip(rows, lost.tolist(), strict=True)]
    if large.sum() > 1:
        p_values[large] = against_the_others(lost[large], sizes[large])
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
            blocks.append(_outcome_table(table, cell["n"]))
    return Section("Answers and refusals", tuple(blocks))


def _outcome_table(table: Plain, judged: int) -> Table:
    rows = []
    for row, lost, p_value in unanswered(table):
        n, few = row["cell"]["n"], row["cell"]["n"] < SMALL
        counts = [count(row["cell"]["outcomes"].get(name, 0)) for name in OUTCOMES]
        shares = (
            percent(lost / n if n else None),
            interval(*share_ends(lost, n, worth(row["cell"], "coverage", n))),
            chance(p_value),
        )
        rows.append(TableRow((*map(word, row["values"]), count(n, few=few), *counts, *shares), few))
    header = (*table["by"], "n", *OUTCOMES, "without answer", "95 % Wilson", "Holm p")
    test = "p: Fisher's exact test of a group's share without an answer against all other compared groups together."
    note = " ".join([test, *ungrouped(table["by"], judged, sum(row["cell"]["n"] for row in table["rows"]))])
    return Table(f"Outcomes by {_and(table['by'])}", header, tuple(rows), note)


def _confidence(confidence: Plain, overall: Plain) -> Section:
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
    told = Text(" ".join(calibrated.words(confidence, overall["outcomes"].get("ok", 0))))
    promised, by_groups = calibrated.promised(confidence), calibrated.by_groups(confidence)
    label_sets = calibrated.label_sets(confidence)
    return Section(
        "Confidence",
        (
            told,
            facts("Calibration", calibrated.facts_of(confidence)),
            *([by_groups] if by_groups else []),
            Curve("Reliability", "confidence", "accuracy", spots),
            Table("Reliability in figures", header, body),
            *([promised] if promised else []),
            *map(Text, calibrated.sets_told(confidence)),
            *([label_sets] if label_sets else []),
            Curve(
                "Accuracy if only the surest answers are kept",
                "share of faces kept",
                "accuracy",
                tuple(Spot(p["coverage"], p["accuracy"], n=p["n"]) for p in curve),
                joined=True,
                bottom=min(bottom, 0.9),
            ),
            _kept(curve, overall["n"]),
        ),
    )


def _kept(curve: Sequence[Plain], total: int) -> Table:
    """The points of the curve nearest to round shares."""
    nearest = {k: min(range(len(curve)), key=lambda i: abs(curve[i]["coverage"] - k)) for k in KEPT} if curve else {}
    rows = tuple(
        TableRow(
            (
                TableCell(calibrated.threshold(curve[i]["threshold"]), curve[i]["threshold"]),
                count(curve[i]["n"], few=curve[i]["n"] < SMALL),
                percent(curve[i]["coverage"]),
                percent(curve[i]["accuracy"]),
                interval(
                    *share_ends(
                        round(curve[i]["accuracy"] * curve[i]["n"]),
                        curve[i]["n"],
                        curve[i].get("worth") or curve[i]["n"],
                    )
                ),
            ),
            curve[i]["n"] < SMALL,
        )
        for i in dict.fromkeys(nearest.values())
    )
    header = ("confidence from", "n kept", "share kept", "accuracy", "95 % Wilson")
    return Table("Surest answers in figures", header, rows, f"Shares of all {total} faces. {SEEN_NOTE}")


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)

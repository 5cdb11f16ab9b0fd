"""An evaluation on one screen: how well, between which groups it differs, and which faces are not in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import fill

from tabulate import tabulate

from facevlm.evaluation import figures
from facevlm.evaluation.evaluate import SMALL, AttributeEvaluation, to_plain
from facevlm.evaluation.gaps import Gap
from facevlm.reports import calibrated, verdict
from facevlm.reports.structure import amount, ends, figure_cells, headings, of_clusters, probability, ungrouped
from facevlm.reports.text import WIDTH, counted

WORDS = (
    "Accuracy: the share of faces whose answer is the label that annotators gave; a face without an answer counts as "
    "wrong. Balanced: the mean of that over the labels, so that a frequent one counts no more than a rare one. "
    f"Intervals made in this way hold the true figure in 95 of 100 samples. * fewer than {SMALL} faces."
)


def brief(evaluations: Sequence[AttributeEvaluation]) -> str:
    """What a reader needs first, in some thirty lines."""
    shown = figures.shown("brief", ordinal=False)
    rows = [[e.attribute, counted(e.overall), *_figures(e, shown)] for e in evaluations]
    table = tabulate(rows, ["attribute", "n", *headings("brief", shown)], tablefmt="simple", disable_numparse=True)
    said = [
        verdict.text([evaluation.to_dict() for evaluation in evaluations]),
        table,
        *_clustered(evaluations),
        *_mapped(evaluations),
        "Between groups, the largest difference in accuracy:",
        *map(_between, evaluations),
        *_sets(evaluations),
        *_left_out(evaluations),
        WORDS,
    ]
    return "\n\n".join(_lines(said)) + "\n"


def _figures(evaluation: AttributeEvaluation, shown: Sequence[figures.Figure]) -> list[str]:
    return [cell.shown for cell in figure_cells("brief", shown, evaluation.overall.figures)]


def _lines(said: Iterable[str]) -> Iterator[str]:
    """Paragraphs, of which those that belong together stand without a line between them."""
    listed: list[str] = []
    for text in said:
        if text.startswith("- "):
            listed.append(_wrapped(text, "  "))
            continue
        if listed:
            yield "\n".join(listed)
            listed = []
        yield text if "\n" in text else _wrapped(text)


def _wrapped(text: str, indent: str = "") -> str:
    return fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _between(evaluation: AttributeEvaluation) -> str:
    """The largest gap of an attribute that is one; else that there is none, and which would have been found."""
    gaps = [
        gap
        for table in evaluation.groups
        if len(table.by) == 1
        for gap in table.gaps
        if gap.figure == figures.find("accuracy").name
    ]
    found = max((gap for gap in gaps if gap.is_found), key=lambda gap: gap.difference, default=None)
    if found is not None:
        return f"- {evaluation.attribute}: {_found(found)}"
    if not gaps:
        return f"- {evaluation.attribute}: not compared, since no two groups have {SMALL} faces or more."
    by = ", ".join(dict.fromkeys(" x ".join(gap.by) for gap in gaps))
    could = min((gap.detectable for gap in gaps if gap.detectable == gap.detectable), default=None)
    words = (
        ""
        if could is None
        else f"; {amount(figures.find('accuracy'), could).shown} points would have been found in 4 of 5 samples"
    )
    return f"- {evaluation.attribute}: none that chance would not explain, by {by}{words}."


def _found(gap: Gap) -> str:
    figure = figures.find(gap.figure)
    low, high, apart = (amount(figure, value).shown for value in (gap.low_value, gap.high_value, gap.difference))
    span = ends(figure, (gap.difference_low, gap.difference_high)).shown
    return (
        f"by {' x '.join(gap.by)}, {' / '.join(gap.worst)} {low} and {' / '.join(gap.best)} {high}, "
        f"{apart} points apart ({span}), p {probability(gap.p_value)}."
    )


def _sets(evaluations: Sequence[AttributeEvaluation]) -> Iterator[str]:
    said = {e.attribute: calibrated.sets_told(to_plain(e.confidence)) for e in evaluations if e.confidence is not None}
    if any(said.values()):
        yield "Which labels are still possible:"
        yield from (f"- {name}: {' '.join(sentences)}" for name, sentences in said.items() if sentences)


def _clustered(evaluations: Sequence[AttributeEvaluation]) -> Iterator[str]:
    if any(e.clusters for e in evaluations):
        yield "Faces belong together:"
        yield from (f"- {e.attribute}: {of_clusters(to_plain(e))}" for e in evaluations if e.clusters)


def _mapped(evaluations: Sequence[AttributeEvaluation]) -> Iterator[str]:
    mapped = [e for e in evaluations if "->" in e.alignment]
    if mapped:
        yield "Labels were brought to one label set:"
        yield from (f"- {e.attribute}: {e.alignment}." for e in mapped)


def _left_out(evaluations: Sequence[AttributeEvaluation]) -> Iterator[str]:
    yield "Not in these figures:"
    lines = [*map(_without, evaluations), _small(evaluations), *_of_no_group(evaluations)]
    yield from (f"- {line}" for line in lines if line) if any(lines) else ("- nothing: every face was judged.",)


def _without(evaluation: AttributeEvaluation) -> str:
    """Faces that could not be judged, of an attribute."""
    counts = {
        "without ground truth": evaluation.no_truth,
        "not asked": evaluation.not_asked,
        "boxes of no true face": evaluation.extra,
    }
    told = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)
    return f"{evaluation.attribute}: {told}." if told else ""


def _of_no_group(evaluations: Sequence[AttributeEvaluation]) -> list[str]:
    """Faces that are in the figures and in no group of a grouping; the same for several attributes once."""
    said = [
        line
        for evaluation in evaluations
        for table in evaluation.groups
        if len(table.by) == 1
        for line in ungrouped(table.by, evaluation.overall.n, sum(row.cell.n for row in table.rows))
    ]
    return list(dict.fromkeys(said))


def _small(evaluations: Sequence[AttributeEvaluation]) -> str:
    """Groups that are too small to be compared; the same for several attributes once."""
    few = {
        f"{table.by[0]} '{row.values[0]}'": row.cell.n
        for evaluation in evaluations
        for table in evaluation.groups
        if len(table.by) == 1
        for row in table.rows
        if row.cell.small
    }
    told = ", ".join(f"{name} ({n})" for name, n in few.items())
    return f"groups of fewer than {SMALL} faces, which are not compared: {told}." if told else ""

"""A report's content out of a stored evaluation: a model card of one run on one data set.

Mitchell, M. et al. (2018), Model cards for model reporting, arXiv 1810.03993.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from facevlm import attributes as registry
from facevlm.evaluation import figures
from facevlm.evaluation.groups import SMALL
from facevlm.evaluation.metrics import FEWEST
from facevlm.reports import attribute, pictures, verdict, worst
from facevlm.reports.attribute import unanswered
from facevlm.reports.source import Mistake, Source
from facevlm.reports.structure import (
    DASH,
    Bars,
    Block,
    Gallery,
    Plain,
    Points,
    Report,
    Section,
    Table,
    TableCell,
    TableRow,
    Text,
    count,
    decimal,
    facts,
    figure_cells,
    group_name,
    headings,
    of_clusters,
    percent,
    probability,
    share,
    share_bar,
    without_interval,
    word,
)
from facevlm.types import GREEDY, PROBABLE

LEVEL = 0.05
DECIDED = {GREEDY: "the model's own greedy decoding", PROBABLE: "the most probable label"}
CARD = {"data": "training data", "licence": "licence", "languages": "languages"}
NOT_STATED = "not stated"
FACES = (
    "This file holds pictures of people's faces: treat it as you treat the pictures themselves, and pass it on "
    "only where they may be passed on."
)
INTENDED = (
    "To see how well a model's answers agree with annotators' labels on this data, and whether it serves some groups "
    "of faces worse than others.",
    "To find pictures and groups where a model errs, or where labels should be looked at again.",
)
NOT_FOR = (
    "Deciding about people: hiring, housing, credit, insurance, education, policing, borders, health.",
    "Finding out who somebody is, watching or sorting people, or judging their character, intent or origin.",
    "Checking ages: an apparent age group is a guess from a picture, and no proof of age.",
)
LIMITS = (
    "All labels are perceived or apparent: what a model or an annotator sees in a picture, not what a person is. "
    "Gender identity, ethnicity, age and feelings cannot be read off a face.",
    "Ground truth is itself such a judgement and has errors and a culture of its own; agreement with it is not truth.",
    "The figures hold for this data, this checkpoint, these prompts and this framing of faces; others give others.",
    f"Groups of fewer than {SMALL} faces say little: their intervals are wide, and they are left out of comparisons.",
    "A gap that is not seen here may be there: with few faces per group only large gaps stand out.",
    "Many groups are compared. Holm's correction covers the groups of one table, not all tables of this report.",
    "Bootstrap intervals know the faces of this data as they are; they do not know of faces that it lacks.",
)


def build(source: Source) -> Report:
    """The whole report; thumbnails are read now where the source holds mistakes."""
    evaluations: list[Plain] = list(source.evaluation["evaluations"])
    shown = [_attribute(source, e) for e in evaluations]
    sections = (
        Section("At a glance", tuple(_glance(source, evaluations))),
        Section("The run", tuple(_run(source))),
        Section("The data", tuple(_data(source, evaluations))),
        *shown,
        Section(
            "Limits and intended use",
            (
                Text("What it is for:"),
                Points(INTENDED),
                Text("What not to use it for:", warning=True),
                Points(NOT_FOR),
                Text("Limits:"),
                Points(LIMITS),
            ),
        ),
        Section("How the figures were found", (Points(_methods()),)),
    )
    subtitle = (
        f"Predictions with the prefix '{source.prefix}' on the dataset '{source.dataset}', evaluation "
        f"'{source.evaluation['eval_key']}'. Labels are perceived or apparent, not facts about a person."
    )
    return Report(
        f"Perceived face attributes: {source.prefix} on {source.dataset}", subtitle, sections, source.evaluation
    )


def _methods() -> tuple[str, ...]:
    return (
        "Figures are per cent unless a heading says otherwise; a dash stands where a figure is undefined.",
        "Accuracy over all faces counts refused, unparsed, missing and failed answers as wrong.",
        "Intervals are 95 %: Wilson score intervals for shares (Wilson 1927; of one to three errors or hits with the "
        "end of a Poisson count, Brown, Cai and DasGupta 2001), for macro F1 bootstrap over faces with one face more "
        f"per label, missed as often as all are (Efron 1979), where each label has {FEWEST} true faces, for gaps "
        "Newcombe's method 10 (1998) with Tukey's critical value.",
        "Macro figures are means over the labels that occur; weighted F1 counts each label as often as it is true. "
        "Kappa: Cohen 1960. MCC: Gorodkin 2004.",
        *(f"{f.title}: {f.meaning}" for f in figures.table() if f not in figures.SHIPPED and f.meaning),
        "p-values of groups: Fisher's exact test, by Holm's method (1979) where there are three groups or more; of a "
        "gap: tables with the same margins drawn by chance.",
        "Where faces belong together (clusters): shares count as many faces as they are worth by leaving out one "
        "cluster at a time (Rao and Scott 1992), with Student's t; p-values of gaps deal whole clusters out to the "
        "groups, or faces within clusters that lie in several.",
        "Calibration: negative log-likelihood; Brier 1950; expected calibration error in 15 bins and temperature as in "
        "Guo et al. 2017, beside the error that confidences show by chance when each is exactly right.",
        "Thresholds: fixed-sequence tests (Wiens 2003) with exact binomial bounds (Clopper and Pearson 1934).",
        "Equalised odds: Hardt, Price, Srebro 2016.",
        "The form of this report: Mitchell et al. 2018, Model cards for model reporting, arXiv 1810.03993.",
    )


def _glance(source: Source, evaluations: Sequence[Plain]) -> Iterator[Block]:
    bars, rows = [], []
    ordinal = any(figures.is_ordinal(e["overall"]) for e in evaluations)
    shown = figures.shown("glance", ordinal=None if ordinal else False)
    for e in evaluations:
        cell, name = e["overall"], e["predicted_attribute"]
        few = cell["n"] < SMALL
        bars.append(share_bar(name, cell))
        rows.append(TableRow((word(name), count(cell["n"], few=few), *figure_cells("glance", shown, cell)), few))
    header = ("attribute", "n", *headings("glance", shown))
    truths = source.evaluation["ground_truth"]
    yield Text(verdict.text(evaluations))
    together = [f"{e['predicted_attribute']}: {of_clusters(e)}" for e in evaluations if e.get("clusters")]
    if together:
        yield Points(tuple(together))
    for warning in (*source.changed, *(source.evaluation.get("warnings") or ())):
        yield Text(str(warning), warning=True)
    yield Bars("Accuracy by attribute", tuple(bars))
    lacking = [f"{e['predicted_attribute']}, {why}" for e in evaluations if (why := without_interval(e))]
    yield Table("Attributes", header, tuple(rows), " ".join(lacking))
    yield worst.of_all(evaluations, truths)
    yield from worst.of_few(evaluations, truths)
    found = tuple(_silent(evaluations))
    if found:
        yield Text("Some groups get no answer more often than others:", warning=True)
        yield Points(found)


def _silent(evaluations: Sequence[Plain]) -> Iterator[str]:
    """Groups whose share without an answer differs from the others."""
    for e in evaluations:
        for table in e["groups"]:
            for row, lost, p_value in unanswered(table):
                if p_value is not None and p_value < LEVEL:
                    n = row["cell"]["n"]
                    where = f"{' and '.join(table['by'])} {group_name(row['values'])}"
                    yield (
                        f"{e['predicted_attribute']}, {where}: {share(lost / n)} % of {n} faces without an answer "
                        f"(Holm p {probability(p_value)})."
                    )


def _run(source: Source) -> Iterator[Block]:
    record = source.record
    if not record:
        yield Text(f"No record of a run with the prefix '{source.prefix}' is kept in this dataset.", warning=True)
        return
    yield from _record(record, "Run")
    for other in source.others:
        yield from _record(other, f"Run of {', '.join(other.get('questions') or ())}")


def _record(record: Plain, title: str) -> Iterator[Block]:
    backend = record.get("backend") or {}
    checkpoints = [f"{i.get('checkpoint')} at {i.get('revision')}" for i in record.get("identity") or ()]
    versions = [f"{name} {version}" for name, version in (backend.get("versions") or {}).items()]
    pairs = [
        ("model", word(backend.get("model", DASH))),
        ("checkpoints", word("; ".join(checkpoints) or DASH)),
        ("way of answering", word(backend.get("decode", DASH))),
        ("scores decided by", word(DECIDED.get(str(backend.get("decision")), DASH))),
        ("answers that the other way decides differently", word(_differing(record))),
        ("device", word(backend.get("device", DASH))),
        ("dtype", word(backend.get("dtype", DASH))),
        ("versions", word(", ".join(versions) or DASH)),
        ("date", word(record.get("time", DASH))),
        ("status", word(record.get("status", DASH))),
        ("faces of the target", _counted(record.get("faces"))),
        ("faces asked in the last call", _counted(record.get("asked"))),
        ("seconds of the last call", decimal(record.get("seconds"))),
        ("seconds of it in the model", decimal(record.get("model_seconds"))),
        ("view", word(stages(record.get("view")) or ("whole dataset" if "view" in record else DASH))),
    ]
    yield facts(title, pairs)
    yield _card(record)
    for note in backend.get("notes") or ():
        yield Text(str(note), warning=True)
    outcomes: Mapping[str, Mapping[str, int]] = record.get("outcomes") or {}
    questions: Mapping[str, Plain] = record.get("questions") or {}
    if questions:
        rows = tuple(
            TableRow(
                (word(name), word(q.get("context") or q.get("text") or DASH), word(", ".join(q.get("labels") or [])))
            )
            for name, q in questions.items()
        )
        yield Table("Prompts", ("attribute", "prompt", "labels"), rows)
    if outcomes:
        kinds = list(dict.fromkeys(k for counts in outcomes.values() for k in counts))
        coverage: Mapping[str, float | None] = record.get("coverage") or {}
        body = tuple(
            TableRow((word(name), *(count(counts.get(k, 0)) for k in kinds), percent(coverage.get(name))))
            for name, counts in outcomes.items()
        )
        note = (
            "The last column is how much of the model's probability lay on the labels, on average over the last call."
        )
        yield Table("Outcomes of all faces asked", ("attribute", *kinds, "probability on labels"), body, note)


def _card(record: Plain) -> Table:
    """What the model's card said of every checkpoint when it was asked."""
    said = {s.get("checkpoint"): s for s in (record.get("backend") or {}).get("stated") or ()}
    names = dict.fromkeys([*(i.get("checkpoint") for i in record.get("identity") or ()), *said])
    rows = tuple(
        TableRow((word(name), *(word(said.get(name, {}).get(part) or NOT_STATED) for part in CARD))) for name in names
    )
    note = "In the words of the model's makers, as they stood when it was asked; nobody has checked them here."
    return Table("The model's card", ("checkpoint", *CARD.values()), rows, note)


def _differing(record: Plain) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in (record.get("differing") or {}).items()) or DASH


def _counted(n: int | None) -> TableCell:
    return word(DASH) if n is None else count(n)


def stages(view: object) -> str:
    """The stages of a recorded view by name: their arguments may hold ids or paths of pictures."""
    try:
        read = json.loads(view) if isinstance(view, str) and view else []
    except ValueError:
        return ""
    return ", ".join(str(stage.get("_cls", "")).rsplit(".", 1)[-1] for stage in read if isinstance(stage, dict))


def _data(source: Source, evaluations: Sequence[Plain]) -> Iterator[Block]:
    truths: Mapping[str, str] = source.evaluation["ground_truth"]
    yield facts(
        "Data",
        [
            ("dataset", word(source.dataset)),
            ("view", word(source.view or "whole dataset")),
            ("date of the evaluation", word(source.evaluated or DASH)),
        ],
    )
    rows = tuple(
        TableRow(
            (
                word(e["predicted_attribute"]),
                word(truths.get(e["predicted_attribute"]) or DASH),
                word(e["alignment"] or DASH),
                count(e["overall"]["n"], few=e["overall"]["n"] < SMALL),
                count(e["not_asked"]),
                count(e["no_truth"]),
            )
        )
        for e in evaluations
    )
    header = ("attribute", "ground-truth field", "how labels were mapped", "n", "not asked", "no ground truth")
    yield Table("Ground truth", header, rows, "n are the faces with ground truth that were asked.")


def _attribute(source: Source, evaluation: Plain) -> Section:
    name = evaluation["predicted_attribute"]
    known = registry.shipped().attributes.get(name)
    title = (known.title if known and known.title else f"Perceived {name}") + f" ({name})"
    more = [] if source.mistakes is None else _mistakes(source.mistakes.get(name, ()), evaluation)
    return attribute.section(evaluation, title, more)


def _mistakes(mistakes: Sequence[Mistake], evaluation: Plain) -> list[Block]:
    if not mistakes and _has_errors(evaluation):
        return [Text("The errors that the figures count cannot be shown any more. Evaluate again.", warning=True)]
    if not mistakes:
        return [Text("There is no error with an answer.")]
    rows = tuple(TableRow((word(m.true), word(m.predicted), percent(m.confidence))) for m in mistakes)
    return [
        Text(FACES, warning=True),
        Gallery("The most confident errors", tuple(pictures.thumbnail(m) for m in mistakes)),
        Table("The most confident errors", ("true label", "said", "confidence"), rows),
    ]


def _has_errors(evaluation: Plain) -> bool:
    """Whether the figures count wrong answers; the last column of a confusion matrix is no answer."""
    return any(n for k, row in enumerate(evaluation["confusion"]) for at, n in enumerate(row[:-1]) if at != k)

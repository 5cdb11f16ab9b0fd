"""A report's content out of a stored evaluation: a model card of one run on one data set.

Mitchell, M. et al. (2018), Model cards for model reporting, arXiv 1810.03993.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from facevlm import attributes as registry
from facevlm.evaluation import figures
from facevlm.evaluation.groups import SMALL
from facevlm.reports import attribute, pictures, worst
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
    TableRow,
    Text,
    count,
    decimal,
    facts,
    figure_cells,
    group_name,
    headings,
    percent,
    probability,
    share,
    share_bar,
    word,
)

LEVEL = 0.05
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
        "Intervals are 95 %: Wilson score intervals for shares (Wilson 1927), percentile bootstrap over faces for "
        "macro F1, differences and ratios (Efron 1979).",
        "Macro figures are means over the labels that occur; weighted F1 counts each label as often as it is true. "
        "Kappa: Cohen 1960. MCC: Gorodkin 2004.",
        *(f"{f.title}: {f.meaning}" for f in figures.table() if f not in figures.SHIPPED and f.meaning),
        "p-values: Fisher's exact test, corrected by Holm's method (1979).",
        "Calibration: expected calibration error in 15 bins, temperature as in Guo et al. 2017. Score: Brier 1950.",
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
    yield Bars("Accuracy by attribute", tuple(bars))
    yield Table("Attributes", header, tuple(rows))
    yield worst.of_all(evaluations, source.evaluation["ground_truth"])
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
    backend = record.get("backend") or {}
    faces, seconds = record.get("asked") or 0, record.get("seconds") or 0
    checkpoints = [f"{i.get('checkpoint')} at {i.get('revision')}" for i in record.get("identity") or ()]
    versions = [f"{name} {version}" for name, version in (backend.get("versions") or {}).items()]
    pairs = [
        ("model", word(backend.get("model", DASH))),
        ("checkpoints", word("; ".join(checkpoints) or DASH)),
        ("way of answering", word(backend.get("decode", DASH))),
        ("device", word(backend.get("device", DASH))),
        ("dtype", word(backend.get("dtype", DASH))),
        ("versions", word(", ".join(versions) or DASH)),
        ("date", word(record.get("time", DASH))),
        ("status", word(record.get("status", DASH))),
        ("faces of the target", count(record.get("faces") or 0)),
        ("faces asked in the last call", count(faces)),
        ("seconds of the last call", decimal(seconds)),
        ("seconds of it in the model", decimal(record.get("model_seconds"))),
        ("view", word(stages(record.get("view")) or "whole dataset")),
    ]
    yield facts("Run", pairs)
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
    more = [] if source.mistakes is None else _mistakes(source.mistakes.get(name, ()))
    return attribute.section(evaluation, title, more)


def _mistakes(mistakes: Sequence[Mistake]) -> list[Block]:
    if not mistakes:
        return [Text("There is no error with an answer.")]
    rows = tuple(TableRow((word(m.true), word(m.predicted), percent(m.confidence))) for m in mistakes)
    return [
        Text(FACES, warning=True),
        Gallery("The most confident errors", tuple(pictures.thumbnail(m) for m in mistakes)),
        Table("The most confident errors", ("true label", "said", "confidence"), rows),
    ]

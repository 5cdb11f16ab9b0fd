"""The paper's protocol on your models and data: its splits, label sets, prompts and metrics, beside its figures.

The published figures are in assets/paper.yaml (arXiv 2410.24148; Scientific Reports, s41598-026-39584-3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from typing_extensions import Unpack

from facevlm.attributes import Registry, label_map
from facevlm.backends import Backend
from facevlm.backends.briefings import Confirm
from facevlm.backends.cards import Card, shipped
from facevlm.backends.choice import card_of, prefix_of
from facevlm.errors import FacevlmError, InputError, lookup
from facevlm.evaluation import published
from facevlm.evaluation.evaluate import AttributeEvaluation, ClassRow, to_plain
from facevlm.evaluation.figures import HoldsFigures, Number
from facevlm.evaluation.published import Difference, Paper, PublishedTable
from facevlm.store import database, rows, targets
from facevlm.store.targets import Collection
from facevlm.tasks._options import RunOptions, Settings, settings, takes_options
from facevlm.tasks._run import carry_out
from facevlm.tasks._verb import verb
from facevlm.tasks.apply import ApplyRun, selected
from facevlm.tasks.evaluate import evaluate


@dataclass(frozen=True)
class PaperRow(HoldsFigures):
    """Figures of one model on one table's faces, as shares of 1. An unanswered face is wrong.

    ``asked`` is the label set in which the model answered, brought onto the table's. ``figures`` are those of the
    evaluation, each to be had as an attribute, too: ``row.accuracy`` with ``row.low`` to ``row.high``. ``system`` is
    the published system that the model is, with the ``difference`` from it; None for a model of no published figures.
    ``warnings`` are those of the run, such as answers that do not fit the labels.
    """

    model: str
    asked: str
    n: int
    figures: Mapping[str, Number]
    eval_key: str
    classes: tuple[ClassRow, ...] = ()
    system: str | None = None
    difference: Difference | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """One published table, and the rows of one's own beside it.

    ``dataset``, ``view`` and ``split`` say what the rows are of; ``missing`` says in words what was not run and why.
    """

    table: PublishedTable
    dataset: str | None = None
    view: str | None = None
    split: str | None = None
    rows: tuple[PaperRow, ...] = ()
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data; what is undefined is None."""
        plain: dict[str, Any] = to_plain(self)
        for row, own in zip(plain["rows"], self.rows, strict=True):
            if own.difference is not None:
                row["difference"]["within_noise"] = own.difference.within_noise
        return plain


@dataclass(frozen=True)
class Reproduction:
    """What a reproduction works on, by name of the paper's data set, and how."""

    targets: Mapping[str, Collection]
    views: Mapping[str, str]
    models: Sequence[str | Backend]
    ground_truth: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    settings: Settings = field(default_factory=Settings)
    confirm: Confirm | None = None
    paper: Paper = field(default_factory=published.shipped)


@verb
@takes_options(RunOptions)
def reproduce(
    datasets: Mapping[str, str | Collection],
    models: Sequence[str | Backend] | None = None,
    tables: Sequence[str] | None = None,
    *,
    views: Mapping[str, str] | None = None,
    ground_truth: Mapping[str, str] | None = None,
    prefix: str = "",
    confirm: Confirm | None = None,
    **options: Unpack[RunOptions],
) -> list[Result]:
    """Run the paper's comparisons on the data sets and models that are here; one result per table.

    Every model is asked about the test split in the table's label set or in a finer one that maps onto it, answers are
    stored and resumed as by :func:`facevlm.apply`, and each table is stored as by :func:`facevlm.evaluate`. What cannot
    be run is said in ``missing`` and stops nothing else.

    Args:
        datasets: the paper's data set (``fairface``, ``utkface``, ``affectnet``, ``diversefaces``) -> name of a
            FiftyOne dataset, or a dataset or view.
        models: by default those of the paper's systems whose weights are on this machine.
        tables: names such as ``utkface-gender``, label sets such as ``gender``, or data sets; by default all.
        views: data set -> saved view; only its faces count.
        ground_truth: label set -> field; by default found by name.
        prefix: put before the field prefix of every model's predictions.
        confirm: as of :func:`facevlm.apply`, for every model behind an API; where it says no the table says so.
        {options}

    Raises:
        FacevlmError: for names that are not there, before anything is run.
    """
    paper = published.shipped()
    chosen = paper.select(tables)
    known = {table.dataset: table for table in paper.tables.values()}
    for name in [*datasets, *(views or {})]:
        lookup("data set of the paper", known, name)
    strange = sorted(set(views or {}) - set(datasets))
    if strange:
        raise InputError(f"Got views of {', '.join(strange)}, expected views of a dataset that is named, too.")
    chosen_targets = {name: _target(given, (views or {}).get(name)) for name, given in datasets.items()}
    named = {name: view for name, target in chosen_targets.items() if (view := targets.view_name(target)) is not None}
    plan = Reproduction(
        targets=chosen_targets,
        views=named,
        models=models if models is not None else here(paper),
        ground_truth=ground_truth or {},
        prefix=prefix,
        settings=settings(options),
        confirm=confirm,
    )
    for model in plan.models:
        card_of(model, plan.settings.options)
    rows: dict[str, Result] = {table.name: _unrun(plan, table) for table in chosen}
    for results in _parts(plan, chosen):
        rows.update((result.table.name, result) for result in results)
    return list(rows.values())


def here(paper: Paper) -> list[str]:
    """Models of the paper's systems whose weights are on this machine."""
    return [name for name in paper.models if shipped()[name].is_here()]


def _target(given: str | Collection, view: str | None) -> Collection:
    if isinstance(given, str):
        return targets.with_all_fields(database.load_target(given, view))
    dataset = targets.opened(given)
    return targets.with_all_fields(given if view is None else database.load_target(dataset.name, view))


def _unrun(plan: Reproduction, table: PublishedTable) -> Result:
    if table.dataset not in plan.targets:
        return Result(table, missing=(f"no dataset is named for {table.dataset}",))
    dataset, view = plan.targets[table.dataset]._dataset.name, plan.views.get(table.dataset)
    return Result(table, dataset, view, missing=() if plan.models else ("no model is here",))


def _parts(plan: Reproduction, tables: Sequence[PublishedTable]) -> Iterator[list[Result]]:
    """Tables of the same data set and split share their answers: a model is asked once for all of them."""
    parts: dict[tuple[str, tuple[str, ...]], list[PublishedTable]] = defaultdict(list)
    for table in tables:
        if table.dataset in plan.targets and plan.models:
            parts[table.dataset, table.split].append(table)
    for (name, split), members in parts.items():
        yield _part(plan, name, split, members)


def _part(plan: Reproduction, name: str, split: Sequence[str], tables: Sequence[PublishedTable]) -> list[Result]:
    target, view = plan.targets[name], plan.views.get(name)
    dataset = target._dataset.name
    tag = next((tag for tag in split if tag in target.distinct("tags")), None)
    if split and tag is None:
        why = f"no sample has the tag {' or '.join(split)}, which marks the published test split"
        return [Result(table, dataset, view, missing=(why,)) for table in tables]
    shown = target if tag is None else target.match_tags(tag)
    try:
        boxes = rows.choose_faces(shown) if tables[0].boxes else None
    except FacevlmError as error:
        return [Result(table, dataset, view, tag, missing=(str(error),)) for table in tables]
    rows_of_table: dict[str, list[PaperRow]] = defaultdict(list)
    missing: dict[str, list[str]] = defaultdict(list)
    for model in plan.models:
        for table, row in _one_model(plan, model, shown, tables, boxes):
            if isinstance(row, PaperRow):
                rows_of_table[table.name].append(row)
            else:
                missing[table.name].append(f"{card_of(model).name}: {row}")
    return [Result(t, dataset, view, tag, tuple(rows_of_table[t.name]), tuple(missing[t.name])) for t in tables]


def _one_model(
    plan: Reproduction, model: str | Backend, shown: Collection, tables: Sequence[PublishedTable], boxes: str | None
) -> Iterator[tuple[PublishedTable, PaperRow | str]]:
    """A row for each table, or the reason why there is none; ``boxes`` is the field of faces, if they are counted."""
    card = card_of(model, plan.settings.options)
    asked = {table.name: _asked(card, table.attribute, plan.settings.registry) for table in tables}
    names = list(dict.fromkeys(name for name in asked.values() if name is not None))
    why = _trained(plan, card, tables[0].dataset)
    prefix = plan.prefix + prefix_of(card)
    warnings: tuple[str, ...] = ()
    if names and not why:
        try:
            run = ApplyRun(shown, model, names, prefix=prefix, faces=selected(boxes), settings=plan.settings)
            applied = carry_out(run, plan.confirm, progress=plan.settings.progress)
            if applied.left:
                why = f"{applied.left} faces were not asked: it was not agreed to, or the budget is used up"
            warnings = tuple(applied.warnings)
        except FacevlmError as error:
            why = str(error)
    for table in tables:
        name = asked[table.name]
        if why or name is None:
            yield table, why or f"it answers {', '.join(card.questions)}, none of which maps onto {table.attribute}"
        else:
            row = _evaluated(plan, card, shown, table, name, prefix, boxes)
            yield table, replace(row, warnings=warnings) if isinstance(row, PaperRow) else row


def _asked(card: Card, wanted: str, registry: Registry) -> str | None:
    """The label set to ask a model in: the wanted one, or the finest that it answers and that maps onto it."""
    if card.answers(wanted):
        return wanted
    target = registry.get(wanted)
    family = [a for a in registry.family(target.family) if card.answers(a.name)]
    maps = [a for a in family if label_map(a, target, registry) is not None]
    return max(maps, key=lambda a: len(a.labels)).name if maps else None


def _trained(plan: Reproduction, card: Card, dataset: str) -> str:
    """Why all faces of a data set cannot be asked: the model has seen them. A named view is the caller's word."""
    warning = plan.paper.trained_on.get(card.name, {}).get(dataset, "")
    return "" if dataset in plan.views else warning


def _evaluated(
    plan: Reproduction, card: Card, shown: Collection, table: PublishedTable, asked: str, prefix: str, boxes: str | None
) -> PaperRow | str:
    field_of = {asked: plan.ground_truth[table.attribute]} if table.attribute in plan.ground_truth else None
    key = f"paper_{prefix}_{table.name.replace('-', '_')}"
    onto = {asked: table.attribute}
    try:
        result = evaluate(
            shown,
            [asked],
            prefix=prefix,
            faces=boxes,
            ground_truth=field_of,
            onto=onto,
            groups=[],
            eval_key=key,
            registry=plan.settings.registry,
        )
    except FacevlmError as error:
        return str(error)
    return _row(plan.paper, card.name, table, asked, key, result.evaluations[0])


def _row(
    paper: Paper, model: str, table: PublishedTable, asked: str, key: str, evaluation: AttributeEvaluation
) -> PaperRow:
    cell, system = evaluation.overall, paper.models.get(model)
    told = table.figures.get(system) if system else None
    right = sum(row[k] for k, row in enumerate(evaluation.confusion))
    return PaperRow(
        model=model,
        asked=asked,
        n=cell.n,
        figures=cell.figures,
        eval_key=key,
        classes=evaluation.classes,
        system=system if told else None,
        difference=published.compare(right, cell.n, told.accuracy, table.n, told.rounding) if told else None,
    )

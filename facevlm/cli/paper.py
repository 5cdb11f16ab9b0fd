"""facevlm paper: the published comparison, and your own figures beside it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from facevlm.cli import _options
from facevlm.errors import DatabaseError, InputError
from facevlm.evaluation import figures
from facevlm.reports import text as report
from facevlm.reports.structure import DASH, figure_cells, headings

if TYPE_CHECKING:
    from facevlm.evaluation.published import PublishedFigures
    from facevlm.tasks.paper import PaperRow, Result

CLASS_HEADER = ["class", "n", "precision", "published", "recall", "published", "F1", "published"]
LEGEND = (
    "\nFigures in per cent; accuracy counts faces without an answer as wrong. difference: own accuracy minus the\n"
    "published one of the same system; p: two-sided test of two independent proportions. 'within noise' is p of 0.05\n"
    "or more; 'in interval' says that the own 95 % interval holds the published figure. That is rounded: of what may\n"
    "have been printed so, both take the value nearest to the own one."
)


def add(commands: Any) -> None:
    paper = commands.add_parser(
        "paper",
        help="the published comparison (arXiv 2410.24148), and your own figures beside it",
        description="Reruns the protocol of the paper behind FaceScanPaliGemma (test splits, label sets, prompts, "
        "metrics) for the models and data sets that you have, and prints your figures beside the published ones. "
        "Without --dataset it prints the published tables and what is here.",
    )
    paper.add_argument(
        "--dataset",
        type=_options.pair,
        action="append",
        default=[],
        metavar="NAME=DATASET",
        help="fairface, utkface, affectnet or diversefaces, and the FiftyOne dataset that holds it",
    )
    paper.add_argument(
        "--view", action="append", default=[], metavar="[NAME=]VIEW", help="only the samples of this saved view"
    )
    paper.add_argument(
        "--model", action="append", metavar="NAME", help="see 'facevlm models' (default: the paper's that are here)"
    )
    paper.add_argument(
        "--tables",
        type=_options.names,
        default=None,
        help="comma-separated: label sets (gender), data sets (utkface), tables (utkface-gender) (default: all)",
    )
    paper.add_argument(
        "--truth", type=_options.pair, action="append", default=[], metavar="ATTRIBUTE=FIELD", help="ground-truth field"
    )
    paper.add_argument("--prefix", default="", help="put before the field prefix of every model's predictions")
    _options.add_running(paper)
    _options.add_model(paper)
    _options.add_json(paper, "everything")
    paper.set_defaults(run=_paper)


def _paper(args: argparse.Namespace) -> None:
    # Imported here: it loads FiftyOne, which building the parser has no need of.
    from facevlm.evaluation import published
    from facevlm.tasks import paper

    _options.check_json(args.json)
    if args.dataset:
        results = paper.reproduce(
            dict(args.dataset),
            args.model,
            args.tables,
            views=_views(args.view, [name for name, _ in args.dataset]),
            ground_truth=dict(args.truth),
            prefix=args.prefix,
            confirm=_options.confirmation(args),
            options=_options.options(args),
            progress=_options.seen(),
            **_options.running(args),
        )
    else:
        _need_dataset(args)
        results = [paper.Result(table) for table in published.shipped().select(args.tables)]
    for result in results:
        _show(result)
    print(LEGEND)
    print("\n".join(["Sources:", *(f"  {source}" for source in published.shipped().sources)]))
    if not args.dataset:
        _show_state([result.table.dataset for result in results])
    if args.json:
        plain = {"sources": list(published.shipped().sources), "tables": [r.to_dict() for r in results]}
        _options.write_json(args.json, plain)


def _need_dataset(args: argparse.Namespace) -> None:
    """What says how models are run is of no use without a dataset to run them on."""
    for name in ("view", "model", "truth"):
        if getattr(args, name):
            raise InputError(f"Got --{name} without --dataset NAME=DATASET, expected the dataset to run models on.")


def _views(given: Sequence[str], datasets: Sequence[str]) -> dict[str, str]:
    """NAME=VIEW, or a view alone where one dataset is named."""
    views = {}
    for text in given:
        name, equals, view = text.partition("=")
        if not equals and len(datasets) != 1:
            raise InputError(
                f"Got --view {text} with {len(datasets)} datasets, expected NAME=VIEW to say of which one."
            )
        views[name if equals else datasets[0]] = view if equals else text
    return views


def _show(result: Result) -> None:
    table = result.table
    print(f"\n{table.title}   [{table.name}]")
    rows = [(one.accuracy, _published(system, one, table.n)) for system, one in table.figures.items()]
    rows += [(row.accuracy, _own(row)) for row in result.rows]
    rows.sort(key=lambda row: row[0] if math.isfinite(row[0]) else -1, reverse=True)
    header = ["system", "n", *headings("paper", figures.shown("paper")), "difference", "p"]
    print(tabulate([row for _, row in rows], header, tablefmt="simple", disable_numparse=True))
    if result.rows:
        of = [f"dataset '{result.dataset}'", f"view '{result.view}'" if result.view else "no view, all samples"]
        of += [f"tag '{result.split}'"] if result.split else []
        print(f"'here' is of {', '.join(of)}; FiftyOne evaluations: {', '.join(r.eval_key for r in result.rows)}")
    for row in result.rows:
        for warning in row.warnings:
            print(f"Warning: {row.model}: {warning}")
        if row.system is not None and row.system in table.classes:
            print(f"\n{row.model}, per class, own and published:")
            print(tabulate(_classes(row, table.classes[row.system]), CLASS_HEADER, disable_numparse=True))
    for reason in result.missing:
        print(f"Not run: {reason}")


def _published(system: str, one: PublishedFigures, n: int) -> list[str]:
    """What is published, under the headings of one's own figures; empty where it is not given."""
    given = {name: value for name, value in asdict(one).items() if value is not None}
    cells = [c.shown for c in figure_cells("paper", figures.shown("paper"), given)]
    return [f"{system} (published)", f"{n:,}", *("" if cell == DASH else cell for cell in cells), "", ""]


def _own(row: PaperRow) -> list[str]:
    noise = ["", ""]
    if row.difference is not None and row.difference.within_noise is None:
        noise = [DASH, "no face to judge by"]
    elif row.difference is not None:
        verdict = "within noise" if row.difference.within_noise else "beyond noise"
        inside = "in interval" if row.difference.contains else "outside of interval"
        noise = [
            f"{100 * row.difference.difference:+.1f}",
            f"{report.probability(row.difference.p_value)} {verdict}, {inside}",
        ]
    named = f" = {row.system}" if row.system else ""
    return [
        f"> {row.model}{named} (here)",
        f"{row.n:,}",
        *(cell.shown for cell in figure_cells("paper", figures.shown("paper"), row.figures)),
        *noise,
    ]


def _classes(row: PaperRow, told: Mapping[str, tuple[float, float, float]]) -> list[list[str]]:
    """A row per published label; one that is true of no own face and never said has nothing but the published ones."""
    own, rows = {one.label: one for one in row.classes}, []
    for label, published in told.items():
        one = own.get(label)
        shown = [report.share(v) for v in (one.precision, one.recall, one.f1)] if one else ["no face"] * 3
        pairs = zip(shown, map(report.share, published), strict=True)
        rows.append([label, f"{one.n:,}" if one else "0", *(text for pair in pairs for text in pair)])
    return rows


def _show_state(wanted: Sequence[str]) -> None:
    """Which data sets are loaded, and which models are here."""
    from facevlm.backends import cards
    from facevlm.evaluation import published
    from facevlm.store import database

    try:
        loaded = database.loaded_from()
    except DatabaseError as error:
        loaded = {}
        print(f"\n{error}")
    print("\nWhat is here:")
    for name in dict.fromkeys(wanted):
        datasets = [*loaded.get(name, ()), *loaded.get(f"{name}-hub", ())]
        there = ", ".join(f"--dataset {name}={dataset}" for dataset in datasets)
        print(f"  {name}: {there or f'not loaded; load it with: facevlm load {name} FOLDER'}")
    for model, system in published.shipped().models.items():
        state = "weights are here" if cards.find(model).is_here() else "weights are not here; see 'facevlm models'"
        print(f"  --model {model} ({system}): {state}")

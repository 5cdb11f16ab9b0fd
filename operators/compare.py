"""Compare face attribute runs."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from typing import Any

import fiftyone.operators as foo

from facevlm import attributes as registry
from facevlm.errors import FieldError
from facevlm.evaluation.comparison import Comparison
from facevlm.evaluation.groups import SMALL
from facevlm.reports import text
from facevlm.store import evaluations, runs, targets
from facevlm.store.predictions import field_name
from facevlm.store.rows import rows_of
from facevlm.tasks.compare import compare
from facevlm.tasks.evaluate import predicted_attributes

from . import _forms, _operator, keep
from ._marks import Marked, code, joined, marked, plain, table

NAME = "compare_face_attribute_runs"
LABEL = "Compare face attribute runs"
LEGEND = (
    "Figures in per cent, of the faces that all of these runs were asked about. Difference: accuracy of a minus that "
    "of b, with its 95 % bootstrap interval. p: that both err equally often, by McNemar's exact test, with clusters by "
    "turning whole clusters from one to the other. Flips: faces with "
    f"more than one answer over the runs. * fewer than {SMALL} faces."
)


class CompareFaceAttributeRuns(_operator.Operator):
    """Tells on the same faces who is right where the other is wrong, and how often answers differ."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Compare two or more models or prompts on the same faces. Takes the prefixes of their predictions; gives a "
        "table for each attribute (n, who is right where the other is wrong, difference with its interval, McNemar's "
        "p, agreement, flips) and, if wanted, saved views of the faces behind it.",
        "compare_arrows",
    )

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        _forms.notice(inputs, "perceived", _forms.PERCEIVED)
        known = runs.prefixes(ctx.dataset)
        if len(known) < 2:
            _forms.refuse(inputs, "nothing", _too_few(known))
            return
        chosen = _forms.several(inputs, "prefixes", known, "Predictions", "At least two", default=known[-2:])
        shared = _forms.attempt(chosen, lambda: _shared(ctx, known))
        if not shared:
            return
        _forms.several(inputs, "attributes", shared, "Attributes", "Empty: all that each of these runs was asked about")
        _forms.several(inputs, "groups", _group_fields(ctx, known, shared), "Groups", "Fields by which flips are shown")
        text = "Faces with the same value belong together, such as pictures of one person: intervals and tests know it"
        together = {name: name for name in _group_fields(ctx, known, shared)}
        cluster = _forms.dropdown(
            inputs, "cluster", together, label="Clusters", description=plain(text), required=False
        )
        if name := ctx.params.get("cluster"):
            _forms.attempt(cluster, partial(evaluations.cluster_values, _rows(ctx, known, shared), name))
        inputs.bool(
            "save_views",
            label="Save views of the faces behind the figures",
            description="Those that only one of two is right about, and those with unequal answers",
            default=False,
        )
        for name in ctx.params.get("groups") or []:
            _forms.attempt(chosen, partial(evaluations.group_values, _rows(ctx, known, shared), name))
        what = ", ".join(ctx.params.get("attributes") or shared)
        _forms.notice(inputs, "plan", f"Compared: {', '.join(_prefixes(ctx, known))} on {what}. No model is asked.")

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        yield ctx.ops.set_progress(progress=0.0, label="Comparing")
        known = runs.prefixes(ctx.dataset)
        if len(known) < 2:
            raise FieldError(_too_few(known))
        saves = bool(ctx.params.get("save_views"))
        results = compare(
            _target(ctx),
            _prefixes(ctx, known),
            ctx.params.get("attributes") or None,
            groups=ctx.params.get("groups") or (),
            save_views=saves,
            cluster=ctx.params.get("cluster") or None,
        )
        yield from _forms.progress(ctx, 1, 1, "Compared")
        if saves:
            yield from keep.reloaded(ctx)
        yield _forms.output(ctx, "Comparison", _summary(results))


def _too_few(known: list[str]) -> str:
    return (
        f"Two runs are needed to compare, and this dataset holds {len(known)}. Run 'Apply VLM face attributes' with "
        "another model, or the same one under another prefix."
    )


def _target(ctx: foo.ExecutionContext) -> targets.Collection:
    return targets.with_all_fields(ctx.target_view())


def _prefixes(ctx: foo.ExecutionContext, known: list[str]) -> list[str]:
    """Those that are chosen, or the two newest."""
    return list(ctx.params.get("prefixes") or known[-2:])


def _shared(ctx: foo.ExecutionContext, known: list[str]) -> list[str]:
    """Attributes of which all chosen runs hold answers.

    Raises :class:`~facevlm.errors.FieldError` where there is none, or fewer than two runs.
    """
    chosen, target = _prefixes(ctx, known), _target(ctx)
    if len(chosen) < 2:
        raise FieldError("Choose at least two runs.")
    held = [set(predicted_attributes(target, prefix, registry.shipped())) for prefix in chosen]
    shared = [name for name in registry.shipped().attributes if all(name in names for names in held)]
    if not shared:
        raise FieldError(f"No attribute was asked about by all of {', '.join(chosen)}: choose others.")
    return shared


def _rows(ctx: foo.ExecutionContext, known: list[str], shared: Iterable[str]) -> Any:
    fields = [field_name(prefix, name) for prefix in _prefixes(ctx, known) for name in shared]
    return rows_of(_target(ctx), fields, None)


def _group_fields(ctx: foo.ExecutionContext, known: list[str], shared: Iterable[str]) -> list[str]:
    return evaluations.group_fields(_rows(ctx, known, shared))


def _summary(results: list[Comparison]) -> Marked:
    parts: list[Marked] = []
    for result in results:
        title = marked("**{}**", result.attribute)
        judged = [marked("ground truth {}", code(result.ground_truth))] if result.ground_truth else []
        parts += [joined(", ", [title, *judged]), _pairs(result), _flips("all runs", [result.flips])]
        parts += [_flips(name, rows) for name, rows in result.flips_by.items()]
        parts += [plain(note) for note in result.notes]
        views = joined("\n", [marked("- {}", code(name)) for name in result.views])
        parts += [joined("\n\n", ["Saved views:", views])] if views else []
    return joined("\n\n", [*parts, plain(LEGEND)])


def _pairs(result: Comparison) -> Marked:
    header, rows = text.pair_table(result)
    return table(header, rows)


def _flips(name: str, rows: Iterable[Any]) -> Marked:
    return table([name, "n", "flips", text.INTERVAL], [text.flip_cells(row, row.group) for row in rows])

"""The panel in the grid: which evaluation and attribute, and a tab for each way to look at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.errors import FacevlmError
from facevlm.store import inspection, results, runs
from facevlm.store.inspection import Inspected

from .. import _forms, _grid
from .._choice import EVERY, THIS, pick, strip_of, tab_of, visible_of
from .._marks import joined, marked, plain, say
from . import compare, confidence, errors, groups, review, unjudged
from .parts import PERCEIVED, Row, Shown, dropdown

Tab = Callable[[Any, foo.ExecutionContext, Any, Shown], None]
REVIEW = "review"
"""The tab that needs no evaluation."""
TABS: dict[str, tuple[str, Tab]] = {
    "errors": ("Errors", errors.draw),
    "groups": ("Groups", groups.draw),
    "confidence": ("Confidence", confidence.draw),
    "compare": ("Compare", compare.draw),
    REVIEW: ("Review", lambda self, ctx, panel, shown: review.draw(self, ctx, panel)),
}
"""Name -> title, and what draws it; the first is shown at first."""
VISIBLE = {THIS: "this attribute", EVERY: "all"}


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any) -> None:
    """Figures, and buttons for the faces behind them. ``self`` is the panel, whose methods are called on clicks."""
    say(panel, plain(PERCEIVED), "perceived")
    if tab_of(ctx, list(TABS)) == REVIEW:
        _header(self, ctx, panel)
        _tabs(self, ctx, panel, REVIEW)
        review.draw(self, ctx, panel)
        return
    keys = results.eval_keys(ctx.dataset)
    if not keys:
        _header(self, ctx, panel)
        unjudged.draw(self, ctx, panel)
        if runs.prefixes(ctx.dataset):
            _tabs(self, ctx, panel, tab_of(ctx, list(TABS)))
        return
    key = pick(ctx, "evaluation", keys) or keys[-1]
    row = panel.h_stack("choose", gap=2)
    dropdown(self, row, "evaluation", keys, key, "Evaluation")
    try:
        stored = results.load(ctx.dataset, key)
    except FacevlmError as error:
        _forms.notice(panel, "broken", str(error), types.Error)
        return
    names = list(stored["fields"])
    attribute = pick(ctx, "attribute", names) or ""
    dropdown(self, row, "attribute", names, attribute, "Attribute")
    shown = Shown(inspection.figures_of(stored, attribute), _reachable(panel, ctx, stored, attribute))
    _forms.dropdown(
        row, "fields", VISIBLE, label=plain("Labels on faces"), default=visible_of(ctx), on_change=self.on_choose
    )
    _header(self, ctx, panel, key, attribute)
    chosen = tab_of(ctx, list(TABS))
    _tabs(self, ctx, panel, chosen)
    _, draw_tab = TABS[chosen]
    draw_tab(self, ctx, panel, shown)


def _header(self: Any, ctx: foo.ExecutionContext, panel: Any, key: str = "", attribute: str = "") -> None:
    """Which evaluation and attribute, what the grid shows now, and the way back."""
    now = _grid.shown(ctx)
    if now is None:
        words = "your own view" if ctx.request_params.get("view") else "all of the dataset"
    elif key and now.get("of", [key, attribute]) != [key, attribute]:
        words = f"of {now['of'][1]} ({now['of'][0]}), {now['words']}"
    else:
        words = now["words"]
    what = marked("**{}** · **{}**", key, attribute) if key else ""
    say(panel, joined(" · ", [what, marked("In the grid: **{}**", words)]), "header")
    Row(panel, "way_back").button("all", "Show all", self.on_show_all)


def _tabs(self: Any, ctx: foo.ExecutionContext, panel: Any, chosen: str) -> None:
    view = _forms.choices(types.TabsView(), {name: title for name, (title, _) in TABS.items()})
    panel.enum(strip_of(ctx), list(TABS), default=chosen, view=view, on_change=self.on_tab)


def _reachable(panel: Any, ctx: foo.ExecutionContext, stored: Mapping[str, Any], attribute: str) -> Inspected | None:
    """Where the faces are; where they are not any more, that is said and the figures stay."""
    try:
        inspected = inspection.inspect(ctx.dataset, stored, attribute)
    except FacevlmError as error:
        _forms.notice(panel, "unreachable", f"{error} Until then a click cannot show faces.", types.Warning)
        return None
    if inspected.outdated:
        text = f"A model was applied under '{inspected.prefix}' after this evaluation: evaluate again."
        _forms.notice(panel, "outdated", text, types.Warning)
    return inspected

"""What the views of the panel share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fiftyone.operators import types

from facevlm.evaluation.figures import Figure, Number
from facevlm.reports.structure import DASH, amount, ends
from facevlm.store.inspection import Inspected

from .. import _forms
from .._marks import plain

PERCEIVED = "All labels are perceived or apparent: what a model or an annotator sees in a picture, not what someone is."
PLOT = {"displayModeBar": False, "scrollZoom": False}


@dataclass(frozen=True)
class Shown:
    """The attribute of an evaluation that is chosen: its figures, and where its faces are if they are there still."""

    figures: Mapping[str, Any]
    inspected: Inspected | None


class Row:
    """Buttons beside each other, which go on below where the panel is narrow."""

    def __init__(self, panel: Any, name: str) -> None:
        self._row = panel.grid(name, gap=1)

    def button(self, name: str, label: str, on_click: Callable[..., None], **params: str) -> None:
        narrow = {"item": {"sx": {"width": "auto"}}}
        self._row.btn(name, label, on_click=on_click, params=params, variant="outlined", componentsProps=narrow)


def dropdown(self: Any, row: Any, name: str, options: list[str], value: str, label: str) -> None:
    """A choice that the panel remembers."""
    _forms.dropdown(row, name, {o: o for o in options}, label=plain(label), default=value, on_change=self.on_choose)


def slider(self: Any, panel: Any, path: str, value: float, label: str) -> None:
    """A confidence that the panel remembers. The knob shows it while it is moved, and else covers no words."""
    stack, _, name = path.partition(".")
    view = types.SliderView(label=plain(label), label_position="top", value_precision=2, value_label_display="auto")
    column = panel.v_stack(stack, gap=1)
    column.float(name, min=0.0, max=1.0, default=value, view=view, on_change=self.on_choose)


def plot(panel: Any, name: str, figure: Mapping[str, Any], on_click: Callable[..., None] | None = None) -> None:
    """A Plotly figure; ``on_click`` is a method of the panel."""
    click = {"on_click": on_click} if on_click else {}
    # A plot has a width in pixels once it is drawn: without this no panel that is made narrower would shrink.
    yielding = {"item": {"sx": {"minWidth": 0}}}
    panel.plot(name, data=figure["data"], layout=figure["layout"], config=PLOT, componentsProps=yielding, **click)


def title_of(figure: Figure) -> str:
    """The name of a figure; that of the share answered says of what it is a share."""
    return "share answered" if figure.name == "coverage" else figure.title


def measured(figure: Figure, value: Number) -> str:
    """The value of a figure with its unit; a dash where it is undefined or was not known when it was stored."""
    shown = amount(figure, value).shown
    return f"{shown} %" if figure.unit == "share" and shown != DASH else shown


def between(figure: Figure, bounds: tuple[Number, Number]) -> str:
    """An interval in words."""
    return ends(figure, bounds).shown.replace(" - ", " to ")

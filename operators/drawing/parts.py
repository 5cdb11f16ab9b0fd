"""What the views of the panel share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from facevlm.evaluation.figures import Figure, Number
from facevlm.reports.structure import DASH, amount, ends

from .. import _forms

PERCEIVED = "All labels are perceived or apparent: what a model or an annotator sees in a picture, not what someone is."
PLOT = {"displayModeBar": False, "scrollZoom": False}


class Row:
    """Buttons beside each other, which go on below where the panel is narrow."""

    def __init__(self, panel: Any, name: str) -> None:
        self._row = panel.grid(name, gap=1)

    def button(self, name: str, label: str, on_click: Callable[..., None], **params: str) -> None:
        narrow = {"item": {"sx": {"width": "auto"}}}
        self._row.btn(name, label, on_click=on_click, params=params, variant="outlined", componentsProps=narrow)


def dropdown(self: Any, row: Any, name: str, options: list[str], value: str, label: str) -> None:
    """A choice that the panel remembers."""
    _forms.dropdown(row, name, {o: o for o in options}, label=label, default=value, on_change=self.on_choose)


def plot(panel: Any, name: str, figure: Mapping[str, Any], on_click: Callable[..., None] | None = None) -> None:
    """A Plotly figure; ``on_click`` is a method of the panel."""
    click = {"on_click": on_click} if on_click else {}
    panel.plot(name, data=figure["data"], layout=figure["layout"], config=PLOT, **click)


def measured(figure: Figure, value: Number) -> str:
    """The value of a figure with its unit; a dash where it is undefined or was not known when it was stored."""
    shown = amount(figure, value).shown
    return f"{shown} %" if figure.unit == "share" and shown != DASH else shown


def between(figure: Figure, bounds: tuple[Number, Number]) -> str:
    """An interval in words."""
    return ends(figure, bounds).shown.replace(" - ", " to ")

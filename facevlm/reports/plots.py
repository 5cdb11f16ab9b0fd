"""Figures of a stored evaluation as plain Plotly dicts, ``{"data": [...], "layout": {...}}``.

They take the plain data that ``AttributeEvaluation.to_dict`` gives and that is kept with a dataset, show what stands in
it and compute nothing new. No width is set: a figure fills the place it is given. Colours of text and background are
left to the page, so that figures can be read on light and on dark ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from facevlm.evaluation.groups import SMALL

NO_ANSWER = "no answer"
ACCENT = "#ff6d04"
SECOND = "#4c9be8"
GREEN = "#3a9a5b"
GREY = "rgba(140, 140, 140, 0.75)"
WHISKER = "rgba(160, 160, 160, 0.95)"
SHADES = [[0, "#303030"], [0.001, "#4a3a2e"], [1, "#d95b00"]]
ON_SHADES = "#f5f5f5"
"""Cells are opaque, so that their numbers can be read whatever the page's background."""
ON_BARS = "#111111"
"""Read on all colours of bars, whatever the page's background shines through."""
ROW = 30
BAR = 24
HEADROOM = 90
SQUARE = 300
MOST_NAMED = 28
"""Longer labels are cut on axes; hovering shows them in full."""

Plot = dict[str, Any]


def confusion(evaluation: Mapping[str, Any], outlined: tuple[str, str] | None = None) -> Plot:
    """Rows truth, columns answer, the last column no answer; shaded by the share of the row.

    ``outlined`` is the cell that is being looked at, by its truth and its answer.
    """
    labels, counts = list(evaluation["labels"]), evaluation["confusion"]
    shares = [[n / sum(row) if sum(row) else 0.0 for n in row] for row in counts]
    trace = {
        "type": "heatmap",
        "name": "confusion",
        "x": [*labels, NO_ANSWER],
        "y": labels,
        "z": shares,
        "text": [[f"{n:,}" for n in row] for row in counts],
        "texttemplate": "%{text}",
        "textfont": {"size": 13, "color": ON_SHADES},
        "customdata": counts,
        "hovertemplate": "truth %{y}<br>said %{x}<br>%{customdata:,} faces, %{z:.1%} of the row<extra></extra>",
        "colorscale": SHADES,
        "zmin": 0,
        "zmax": 1,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
    }
    layout = _layout(HEADROOM + ROW * len(labels))
    layout["margin"]["b"] = 4
    layout["xaxis"] = {"type": "category", "side": "top", "showgrid": False, **_named("said", [*labels, NO_ANSWER])}
    layout["yaxis"] = {"type": "category", "autorange": "reversed", "showgrid": False, **_named("truth", labels)}
    truth, said = outlined or (None, None)
    if truth in labels and said in (columns := [*labels, NO_ANSWER]):
        layout["shapes"] = [_box(columns.index(said), labels.index(truth))]
    return {"data": [trace], "layout": layout}


def _box(column: int, row: int) -> Plot:
    """Around a cell of a heatmap."""
    ends = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", **ends, "line": {"color": SECOND, "width": 3}}


def groups(table: Mapping[str, Any]) -> Plot:
    """Accuracy of every group with its interval and n; groups of few faces in grey."""
    cells = [row["cell"] for row in table["rows"]]
    names = [" / ".join(row["values"]) for row in table["rows"]]
    shown = [cell.get("accuracy") for cell in cells]
    lows, highs = ([cell.get(end) for cell in cells] for end in ("low", "high"))
    trace = {
        "type": "bar",
        "orientation": "h",
        "name": "accuracy",
        "x": shown,
        "y": names,
        "customdata": [[c["n"], _number(low), _number(high)] for c, low, high in zip(cells, lows, highs, strict=True)],
        "hovertemplate": "%{y}<br>%{x:.1%} of %{customdata[0]:,} faces right<br>"
        "95 % Wilson %{customdata[1]:.1%} to %{customdata[2]:.1%}<extra></extra>",
        "error_x": _whiskers(shown, lows, highs),
        "marker": {"color": [GREY if cell["n"] < SMALL else ACCENT for cell in cells]},
    }
    layout = _layout(HEADROOM + BAR * len(cells))
    layout["xaxis"] = {"range": [0, 1.02], "tickformat": ".0%", "title": {"text": "accuracy"}}
    layout["yaxis"] = {
        "type": "category",
        "autorange": "reversed",
        "showgrid": False,
        "tickvals": names,
        "ticktext": [f"{_cut(name)}  (n = {cell['n']:,})" for name, cell in zip(names, cells, strict=True)],
    }
    return {"data": [trace], "layout": layout}


def sides(rows: Sequence[tuple[str, Mapping[str, Any]]], titles: Mapping[str, str]) -> Plot:
    """Shares of faces by who of two runs is right, a bar a group; ``titles`` names the parts of a row's counts."""
    names = [f"{name}  (n = {side['n']:,})" for name, side in rows]
    colours = dict(zip(titles, (GREEN, ACCENT, SECOND, GREY), strict=True))
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": title,
            "x": [side[part] / side["n"] if side["n"] else 0.0 for _, side in rows],
            "y": [name for name, _ in rows],
            "customdata": [side[part] for _, side in rows],
            "text": [f"{side[part]:,}" if side[part] else "" for _, side in rows],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
            "insidetextfont": {"color": ON_BARS},
            "hovertemplate": "%{y}<br>%{customdata:,} faces, %{x:.1%}",
            "marker": {"color": colours[part]},
        }
        for part, title in titles.items()
    ]
    layout = _layout(HEADROOM + ROW * len(rows))
    layout |= {"barmode": "stack", "showlegend": True}
    layout["legend"] = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}
    layout["margin"]["t"] = 40
    layout["xaxis"] = {"range": [0, 1.0], "tickformat": ".0%"}
    layout["yaxis"] = {
        "type": "category",
        "autorange": "reversed",
        "showgrid": False,
        "tickvals": [name for name, _ in rows],
        "ticktext": [_cut(name) for name in names],
    }
    return {"data": traces, "layout": layout}


def counts(values: Mapping[str, int]) -> Plot:
    """How many faces have each label, most first, where there is no ground truth to judge by."""
    labels, total = sorted(values, key=lambda label: -values[label]), max(1, sum(values.values()))
    trace = {
        "type": "bar",
        "orientation": "h",
        "name": "labels",
        "x": [values[label] for label in labels],
        "y": labels,
        "text": [f"{values[label]:,} ({values[label] / total:.1%})" for label in labels],
        "textposition": "auto",
        "hovertemplate": "%{y}: %{x:,} faces<extra></extra>",
        "marker": {"color": ACCENT},
    }
    layout = _layout(HEADROOM // 2 + ROW * len(labels))
    layout["xaxis"] = {"title": {"text": "faces"}}
    layout["yaxis"] = {"type": "category", "autorange": "reversed", "showgrid": False, **_named("", labels)}
    return {"data": [trace], "layout": layout}


def reliability(confidence: Mapping[str, Any]) -> Plot:
    """Accuracy against mean confidence per bin, with intervals; the diagonal is perfect calibration."""
    bins = confidence["bins"]
    right = [b["accuracy"] for b in bins]
    most = max((b["n"] for b in bins), default=1)
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "reliability",
        "x": [b["confidence"] for b in bins],
        "y": right,
        "customdata": [[b["n"], b["low"], b["high"]] for b in bins],
        "hovertemplate": "confidence %{customdata[1]:.2f} to %{customdata[2]:.2f}: %{customdata[0]:,} faces<br>"
        "mean confidence %{x:.1%}, right %{y:.1%}<extra></extra>",
        "error_y": _whiskers(right, [b["accuracy_low"] for b in bins], [b["accuracy_high"] for b in bins]),
        # Area, not diameter, is what the eye takes for a count.
        "marker": {"color": ACCENT, "size": [8 + 14 * math.sqrt(b["n"] / most) for b in bins]},
        "line": {"color": ACCENT, "width": 1},
    }
    layout = _layout(SQUARE)
    layout["xaxis"] = {"range": [-0.02, 1.02], "tickformat": ".0%", "title": {"text": "confidence"}}
    layout["yaxis"] = {"range": [-0.02, 1.05], "tickformat": ".0%", "title": {"text": "accuracy"}}
    layout["shapes"] = [
        {"type": "line", "x0": 0, "y0": 0, "x1": 1, "y1": 1, "line": {"color": GREY, "dash": "dot"}, "layer": "below"}
    ]
    return {"data": [trace], "layout": layout}


def selective(confidence: Mapping[str, Any], threshold: float = 0.0) -> Plot:
    """Accuracy of the kept answers against the share of faces that is kept, the surest first.

    The point of a ``threshold`` above 0 on the confidence is marked.
    """
    points = confidence["selective"]
    trace = {
        "type": "scatter",
        "mode": "lines",
        "name": "selective",
        "x": [p["coverage"] for p in points],
        "y": [p["accuracy"] for p in points],
        "customdata": [[p["threshold"], p["n"]] for p in points],
        "hovertemplate": "keeping confidence from %{customdata[0]} on: %{customdata[1]:,} faces<br>"
        "%{x:.1%} of all, right %{y:.1%}<extra></extra>",
        "line": {"color": SECOND, "width": 2},
    }
    layout = _layout(SQUARE)
    lowest = min((p["accuracy"] for p in points), default=0.0)
    layout["xaxis"] = {"range": [0, 1.02], "tickformat": ".0%", "title": {"text": "share kept"}}
    layout["yaxis"] = {"range": [max(0.0, lowest - 0.05), 1.01], "tickformat": ".0%", "title": {"text": "accuracy"}}
    kept = [p for p in points if p["threshold"] >= threshold > 0]
    chosen = max(kept, key=lambda p: p["n"], default=None)
    data = [trace, _marker(chosen["coverage"], chosen["accuracy"])] if chosen else [trace]
    return {"data": data, "layout": layout}


def _marker(x: float, y: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "kept",
        "x": [x],
        "y": [y],
        "hoverinfo": "skip",
        "marker": {"color": ACCENT, "size": 10},
    }


def probabilities(
    labels: Sequence[str], shares: Sequence[float], chosen: str | None, true: Collection[str] = ()
) -> Plot:
    """The probability of every label for one face, the answer in colour and the ground truth outlined and named."""
    is_true = [label in true for label in labels]
    trace = {
        "type": "bar",
        "orientation": "h",
        "name": "probability",
        "x": list(shares),
        "y": list(labels),
        "text": [f"{share:.1%}" for share in shares],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": "%{y}: %{x:.2%}<extra></extra>",
        "marker": {
            "color": [ACCENT if label == chosen else GREY for label in labels],
            "line": {"color": SECOND, "width": [3 if truth else 0 for truth in is_true]},
        },
    }
    layout = _layout(40 + BAR * len(labels))
    layout["xaxis"] = {"range": [0, 1.1], "tickformat": ".0%"}
    layout["yaxis"] = {"type": "category", "autorange": "reversed", "showgrid": False, **_named("", labels)}
    named = zip(layout["yaxis"]["ticktext"], is_true, strict=True)
    layout["yaxis"]["ticktext"] = [f"{name} (truth)" if truth else name for name, truth in named]
    return {"data": [trace], "layout": layout}


def _layout(height: int) -> Plot:
    return {"height": height, "autosize": True, "margin": {"t": 12, "b": 36, "l": 40, "r": 16}, "bargap": 0.25}


def _named(title: str, labels: Sequence[str]) -> Plot:
    """An axis whose ticks are labels, long ones cut; the values behind them stay whole for clicks."""
    return {"title": {"text": title}, "tickvals": list(labels), "ticktext": [_cut(label) for label in labels]}


def _cut(text: str) -> str:
    return text if len(text) <= MOST_NAMED else f"{text[: MOST_NAMED - 1]}…"


def _number(value: float | None) -> float:
    return 0.0 if value is None else value


def _whiskers(values: Sequence[float | None], lows: Sequence[float | None], highs: Sequence[float | None]) -> Plot:
    """Error bars from low to high; none where the figure is undefined."""
    above = [0.0 if v is None or h is None else max(0.0, h - v) for v, h in zip(values, highs, strict=True)]
    below = [0.0 if v is None or low is None else max(0.0, v - low) for v, low in zip(values, lows, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "color": WHISKER,
        "thickness": 1.5,
        "width": 3,
    }

"""Plots as inline SVG, drawn from the figures. Colours are CSS variables of the page: dark, light and print work.

All are drawn about as wide as a phone, so that their text stays readable there.
"""

from __future__ import annotations

from collections.abc import Sequence

from facevlm.evaluation.figures import Number
from facevlm.reports.structure import Bars, Curve, Heatmap, escape, share

WIDTH = 440
LABEL, VALUE, ROW = 132, 52, 26
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
LONGEST = 21


def bars(plot: Bars, ident: str) -> str:
    """Horizontal bars from 0 to 100 per cent, with intervals; a dashed line at the share over all."""
    left, right = LABEL, WIDTH - VALUE
    span = right - left
    bottom = 8 + ROW * len(plot.bars)
    body = []
    for tick in TICKS:
        x = left + span * tick
        body.append(_line(x, 4, x, bottom, "grid"))
        body.append(_text(x, bottom + 15, f"{100 * tick:g}", "tick", "middle"))
    for k, bar in enumerate(plot.bars):
        y = 8 + ROW * k
        muted = " muted" if bar.muted else ""
        tip = f"{bar.label}: {share(bar.value)} % ({share(bar.low)} - {share(bar.high)}), n = {bar.n}"
        body.append(f"<g><title>{escape(tip)}</title>")
        body.append(_text(left - 8, y + 16, _short(bar.label), f"label{muted}", "end"))
        if bar.value is not None:
            body.append(
                f'<rect class="bar{muted}" x="{left}" y="{y + 4}" width="{span * bar.value:.1f}" height="15" rx="2"/>'
            )
        body += _whisker(left, span, y + 11.5, bar.low, bar.high)
        body.append(_text(right + 8, y + 16, share(bar.value), f"value{muted}", "start"))
        body.append("</g>")
    if plot.reference is not None:
        x = left + span * plot.reference
        body.append(_line(x, 2, x, bottom, "reference"))
    description = "; ".join(f"{b.label} {share(b.value)} per cent of {b.n}" for b in plot.bars)
    return _svg(WIDTH, bottom + 22, plot.title, description, body, ident)


def _whisker(left: float, span: float, y: float, low: Number, high: Number) -> list[str]:
    if low is None or high is None:
        return []
    a, b = left + span * low, left + span * high
    return [_line(a, y, b, y, "whisker"), *(_line(x, y - 4, x, y + 4, "whisker") for x in (a, b))]


def heatmap(plot: Heatmap, ident: str) -> str:
    """Counts in cells, coloured by their share of the row."""
    side = max(34.0, min(56.0, (WIDTH - LABEL) / max(1, len(plot.columns))))
    top, width = 74, LABEL + side * len(plot.columns) + 30
    body = []
    for j, name in enumerate(plot.columns):
        x = LABEL + side * (j + 0.5)
        turned = f'transform="rotate(-40 {x:.1f} {top - 8})"'
        body.append(f'<text class="tick" x="{x:.1f}" y="{top - 8}" {turned}>{escape(_short(name, 14))}</text>')
    for k, (name, row) in enumerate(zip(plot.rows, plot.counts, strict=True)):
        y, total = top + 30 * k, sum(row)
        body.append(_text(LABEL - 8, y + 19, _short(name), "label", "end"))
        for j, n in enumerate(row):
            part, x = n / total if total else 0.0, LABEL + side * j
            right = " right" if j < len(plot.rows) and plot.columns[j] == name else ""
            dark = " strong" if part > 0.55 else ""
            tip = escape(f"true {name}, said {plot.columns[j]}: {n} of {total}")
            body.append(
                f'<g><title>{tip}</title><rect class="cell{right}" x="{x + 1:.1f}" y="{y + 1}" width="{side - 2:.1f}" '
                f'height="28" rx="2"/><rect class="heat" x="{x + 1:.1f}" y="{y + 1}" width="{side - 2:.1f}" '
                f'height="28" rx="2" fill-opacity="{part:.3f}"/>'
            )
            body.append(
                _text(x + side / 2, y + 20, str(n), f"count{dark}{' zero' if not n else ''}", "middle") + "</g>"
            )
    description = "rows are true labels, columns what was said; " + "; ".join(
        f"{name}: {', '.join(f'{n} {c}' for n, c in zip(row, plot.columns, strict=True) if n)}"
        for name, row in zip(plot.rows, plot.counts, strict=True)
    )
    return _svg(width, top + 30 * len(plot.rows) + 4, plot.title, description, body, ident)


def curve(plot: Curve, ident: str) -> str:
    """Points over shares from 0 to 100 per cent; joined by a line, or each with its interval beside the diagonal."""
    left, top, side, height = 52.0, 10.0, 360.0, 250.0
    reach = 1 - plot.bottom

    def place(x: float, y: float) -> tuple[float, float]:
        return left + side * x, top + height * (1 - (min(max(y, plot.bottom), 1) - plot.bottom) / reach)

    body = []
    for tick in TICKS:
        x, y = left + side * tick, top + height * (1 - tick)
        level = plot.bottom + reach * tick
        body += [_line(left, y, left + side, y, "grid"), _line(x, top, x, top + height, "grid")]
        body.append(_text(left - 8, y + 4, f"{100 * level:.3g}", "tick", "end"))
        body.append(_text(x, top + height + 17, f"{100 * tick:g}", "tick", "middle"))
    body.append(_text(left + side / 2, top + height + 36, f"{plot.x_label}, %", "axis", "middle"))
    middle = top + height / 2
    body.append(
        f'<text class="axis" x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
        f"{escape(plot.y_label)}, %</text>"
    )
    if plot.joined:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(s.x, s.y) for s in plot.spots))
        body.append(f'<polyline class="curve" points="{points}"/>')
    else:
        body.append(_line(*place(plot.bottom, plot.bottom), *place(1, 1), "reference"))
    most = max((s.n for s in plot.spots), default=1) or 1
    for spot in plot.spots:
        x, y = place(spot.x, spot.y)
        if spot.low is not None and spot.high is not None:
            body.append(_line(x, place(0, spot.low)[1], x, place(0, spot.high)[1], "whisker"))
        radius = 1.6 if plot.joined else 2.5 + 4.5 * (spot.n / most) ** 0.5
        tip = f"{plot.x_label} {share(spot.x)} %, {plot.y_label} {share(spot.y)} %, n = {spot.n}"
        body.append(
            f'<circle class="spot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{escape(tip)}</title></circle>'
        )
    ends = [plot.spots[0], plot.spots[-1]] if plot.spots else []
    description = f"{len(plot.spots)} points; " + " to ".join(
        f"{plot.x_label} {share(s.x)}, {plot.y_label} {share(s.y)}" for s in ends
    )
    return _svg(WIDTH, top + height + 44, plot.title, description, body, ident)


def _svg(width: float, height: float, title: str, description: str, body: Sequence[str], ident: str) -> str:
    return (
        f'<svg class="plot" role="img" aria-labelledby="{ident}-t {ident}-d" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="max-width:{width * 1.25:.0f}px"><title id="{ident}-t">{escape(title)}</title>'
        f'<desc id="{ident}-d">{escape(description)}</desc>{"".join(body)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

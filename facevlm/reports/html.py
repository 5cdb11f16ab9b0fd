"""A report as one HTML file: styles and plots inside, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from facevlm.reports import svg
from facevlm.reports.structure import (
    Bars,
    Block,
    Curve,
    Gallery,
    Heatmap,
    Points,
    Report,
    Section,
    Table,
    Text,
    escape,
    numbers_alone,
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LONG = 8
"""Tables of more rows may go on to the next page in print."""
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #5a6370; --rule: #d9dee5; --band: #f5f7f9;
  --accent: #2f6fb0; --grey: #a9b1bb; --warn: #fff4dc; --warn-rule: #d08a00; --on-accent: #fff; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e6e9ed; --soft: #9aa4b0; --rule: #323941;
  --band: #1c2127; --accent: #5b9bd9; --grey: #5d6671; --warn: #33280f; --warn-rule: #c98a1a; --on-accent: #0d1014; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 2px solid var(--rule); }
h3 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; }
h4, caption { font-size: 1rem; font-weight: 600; text-align: left; margin: 1rem 0 .3rem; }
caption { padding: .2rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; }
ul { max-width: 46rem; padding-left: 1.2rem; }
a { color: var(--accent); }
.lead, .note { color: var(--soft); }
.note { font-size: .85rem; margin-top: .3rem; }
.warning { background: var(--warn); border-left: 4px solid var(--warn-rule); padding: .5rem .8rem; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; max-width: none; }
.scroll { overflow-x: auto; margin: .8rem 0 0; max-width: 100%; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
thead th { background: var(--band); vertical-align: bottom; max-width: 8.5rem; font-weight: 600; }
tbody th { font-weight: 400; }
.num { text-align: right; white-space: nowrap; }
thead th.num { white-space: normal; }
td.word, tbody th { min-width: 4rem; max-width: 34rem; overflow-wrap: break-word; }
tr.muted > * { color: var(--soft); font-style: italic; }
figure { margin: 1rem 0 .4rem; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
svg.plot { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); }
svg .tick, svg .axis { fill: var(--soft); font-size: 11px; }
svg text.muted { fill: var(--soft); font-style: italic; }
svg .grid { stroke: var(--rule); }
svg .bar, svg .heat, svg .spot { fill: var(--accent); }
svg .bar.muted { fill: var(--grey); }
svg .whisker { stroke: var(--ink); stroke-width: 1.4; }
svg .reference { stroke: var(--soft); stroke-dasharray: 4 3; stroke-width: 1.4; }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 2; }
svg .cell { fill: var(--band); }
svg .cell.right { stroke: var(--soft); stroke-width: 1.5; }
svg text.strong { fill: var(--on-accent); }
svg text.zero { fill: var(--soft); }
details { margin: 1rem 0; border: 1px solid var(--rule); border-radius: .4rem; padding: .5rem .8rem; }
summary { cursor: pointer; font-weight: 600; }
.gallery { display: flex; flex-wrap: wrap; gap: .8rem; padding: 0; list-style: none; max-width: none; }
.gallery li { width: 128px; font-size: .8rem; }
.gallery img { display: block; border-radius: .3rem; max-width: 100%; }
@media (max-width: 40rem) { body { padding: 1rem .9rem 3rem; } h1 { font-size: 1.4rem; }
  th, td { padding: .25rem .5rem; } td.word { max-width: 16rem; } }
@media screen { wbr { display: none; } }
@page { margin: 15mm 14mm; }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --band: #f2f2f2;
  --accent: #2f6fb0; --grey: #b5b5b5; --warn: #fff; --warn-rule: #000; --on-accent: #fff; font-size: 9.5pt; }
  body { max-width: none; padding: 0; font-size: 1rem; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav { display: none; } h2 { margin-top: 1.6rem; } h3 { margin-top: 1.2rem; } .scroll { overflow: visible; }
  p, ul { max-width: none; } table { font-size: 7.5pt; min-width: 6cm; } th, td { padding: .15rem .3rem; }
  td.word, tbody th { min-width: 0; } thead { display: table-header-group; }
  .scroll:not(.long), tr, figure, .gallery li { break-inside: avoid; }
  h2, h3, h4, figcaption, caption, summary, thead { break-after: avoid; } .note { break-before: avoid; }
  tbody tr:nth-child(-n+3) { break-before: avoid; } tbody tr:nth-last-child(-n+2) { break-before: avoid; }
  svg.plot { max-width: 9.5cm !important; } .gallery { gap: .5rem; } .gallery li { width: 2.7cm; }
  details { border: 0; padding: 0; } summary { list-style: none; font-size: 1.1rem; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


def render(report: Report) -> str:
    """The whole page."""
    numbers = count(1)
    links = "".join(f'<li><a href="#s{k}">{escape(s.title)}</a></li>' for k, s in enumerate(report.sections))
    body = "".join(
        f'<section id="s{k}">{"".join(_section(s, 2, numbers))}</section>\n' for k, s in enumerate(report.sections)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>"
        f"<h1>{escape(report.title)}</h1>\n"
        f'<p class="lead">{escape(report.subtitle)}</p>\n<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _section(section: Section, level: int, numbers: count[int]) -> Iterator[str]:
    if section.folded:
        yield f"<details><summary>{escape(section.title)}</summary>"
    else:
        yield f"<h{level}>{escape(section.title)}</h{level}>\n"
    for block in section.blocks:
        yield _block(block, numbers)
    for part in section.sections:
        yield from _section(part, min(level + 1, 6), numbers)
    if section.folded:
        yield "</details>\n"


def _block(block: Block, numbers: count[int]) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Text):
        return f"<p{' class=warning' if block.warning else ''}>{escape(block.text)}</p>\n"
    if isinstance(block, Points):
        return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in block.items)}</ul>\n"
    if isinstance(block, Gallery):
        return _gallery(block)
    return f"<figure><figcaption>{escape(block.title)}</figcaption>{_plot(block, f'p{next(numbers)}')}</figure>\n"


def _plot(block: Bars | Heatmap | Curve, ident: str) -> str:
    if isinstance(block, Bars):
        return svg.bars(block, ident)
    return svg.heatmap(block, ident) if isinstance(block, Heatmap) else svg.curve(block, ident)


def _table(table: Table) -> str:
    numeric = numbers_alone(table)
    kinds = ["num" if n else "word" for n in numeric]
    head = "".join(
        f'<th scope="col"{" class=num" if n else ""}>{_breakable(name)}</th>'
        for name, n in zip(table.header, numeric, strict=True)
    )
    lines = []
    for row in table.rows:
        first = f'<th scope="row">{_breakable(row.cells[0].shown)}</th>' if not numeric[0] else ""
        rest = "".join(
            f'<td class="{kinds[k]}">{_breakable(cell.shown)}</td>'
            for k, cell in enumerate(row.cells)
            if k or not first
        )
        lines.append(f"<tr{' class=muted' if row.muted else ''}>{first}{rest}</tr>\n")
    caption = f"<caption>{_breakable(table.title)}</caption>" if table.title else ""
    note = f'<p class="note">{escape(table.note)}</p>\n' if table.note else ""
    label = escape(table.title or "table")
    kind = "scroll long" if len(table.rows) > LONG else "scroll"
    return (
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{label}"><table>{caption}'
        f"<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{''.join(lines)}</tbody></table></div>\n{note}"
    )


def _breakable(text: str) -> str:
    """Text whose long names may, in print, go on in the next line after an underscore, so that no table is cut."""
    return escape(text).replace("_", "_<wbr>")


def _gallery(gallery: Gallery) -> str:
    items = []
    for picture in gallery.pictures:
        caption = escape(picture.caption)
        image = f'<img src="{escape(picture.url)}" alt="{caption}">' if picture.url else ""
        items.append(f"<li>{image}{caption}</li>")
    return f'<h4>{escape(gallery.title)}</h4><ul class="gallery">{"".join(items)}</ul>\n'

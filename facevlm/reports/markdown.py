"""A report as Markdown: every table of it; plots stand in the HTML, their figures in the tables here."""

from __future__ import annotations

import re
from collections.abc import Iterator

from facevlm.errors import visible
from facevlm.reports.structure import Block, Points, Report, Section, Table, Text, numbers_alone

SPECIAL = re.compile(r"([\\|*`\[\]])")


def render(report: Report) -> str:
    """The whole report as text."""
    parts = [f"# {plain(report.title)}", plain(report.subtitle)]
    for section in report.sections:
        parts += _section(section, 2)
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text in which nothing is read as Markdown or HTML, on one line, with its control characters written out."""
    line = " ".join(visible(text).split())
    return SPECIAL.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def table(data: Table) -> str:
    """A table with its heading and note."""
    marks = ["---:" if numeric else "---" for numeric in numbers_alone(data)]
    lines = [[plain(name) for name in data.header], marks]
    lines += [[plain(cell.shown) for cell in row.cells] for row in data.rows]
    parts = [f"**{plain(data.title)}**"] if data.title else []
    parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "\n\n".join([*parts, *([plain(data.note)] if data.note else [])])


def _section(section: Section, level: int) -> Iterator[str]:
    yield f"{'#' * level} {plain(section.title)}"
    for block in section.blocks:
        yield from _block(block)
    for part in section.sections:
        yield from _section(part, min(level + 1, 6))


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Table):
        yield table(block)
    elif isinstance(block, Text):
        yield f"**{plain(block.text)}**" if block.warning else plain(block.text)
    elif isinstance(block, Points):
        yield "\n".join(f"- {plain(item)}" for item in block.items)

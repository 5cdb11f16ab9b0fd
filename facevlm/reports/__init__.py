"""Reports of a stored evaluation as HTML, Markdown and JSON, all three written from one structure."""

from __future__ import annotations

import json
from pathlib import Path

from facevlm.errors import InputError
from facevlm.reports import html, markdown
from facevlm.reports.content import build
from facevlm.reports.source import Mistake, Source
from facevlm.reports.structure import Report

__all__ = ["Mistake", "Report", "Source", "build", "check_folder", "write"]


def check_folder(folder: Path) -> None:
    """Raise :class:`~facevlm.errors.InputError` where no folder can be made at this path."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not existing.is_dir():
        raise InputError(f"Cannot write a report to '{folder}', expected a folder: '{existing}' is a file.")


def write(report: Report, folder: Path) -> list[Path]:
    """Write ``report.html``, ``report.md`` and ``report.json`` into a folder, which is made; returns their paths.

    Raises :class:`~facevlm.errors.InputError` where they cannot be written.
    """
    check_folder(folder)
    texts = {
        "report.html": html.render(report),
        "report.md": markdown.render(report),
        "report.json": json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write a report to '{folder}': {error.strerror or error}.") from error
    return [folder / name for name in texts]

"""Reports of a stored evaluation as HTML, Markdown and JSON, all three written from one structure."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from facevlm import folders
from facevlm.errors import InputError
from facevlm.reports import html, markdown
from facevlm.reports.content import build
from facevlm.reports.source import Mistake, Source
from facevlm.reports.structure import Report

__all__ = ["Mistake", "Report", "Source", "build", "check_folder", "page_in", "write"]


HTML, MARKDOWN, DATA = NAMES = ("report.html", "report.md", "report.json")
PARTS = {"title", "subtitle", "sections", "evaluation"}
"""What is in the ``report.json`` of a report."""


def check_folder(folder: Path) -> None:
    """Raise :class:`~facevlm.errors.InputError` where no folder can be made at this path, or files in it would be lost.

    An earlier report is overwritten; a link, or a file of that name which is no report, is not.
    """
    try:
        existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
        if not existing.is_dir():
            raise InputError(f"Cannot write a report to '{folder}', expected a folder: '{existing}' is a file.")
        # What may be written is known to the file system alone: rights, mounts and quotas all have a say.
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise InputError(
            f"Cannot write a report to '{folder}': {error.strerror or error}. Expected a folder that may be written to."
        ) from error
    there = [folder / name for name in NAMES if os.path.lexists(folder / name)]
    if there and (any(path.is_symlink() for path in there) or not _is_report(folder / DATA)):
        names = ", ".join(path.name for path in there)
        raise InputError(
            f"Cannot write a report to '{folder}': it holds {names} of something else, which is left as it is. "
            "Expected a new folder, or one of an earlier report."
        )


def _is_report(path: Path) -> bool:
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and set(data) >= PARTS


def page_in(folder: Path) -> Path | None:
    """The page of an earlier report in a folder; None where there is none."""
    page = folder / HTML
    return page if page.is_file() and not page.is_symlink() and _is_report(folder / DATA) else None


def write(report: Report, folder: Path) -> list[Path]:
    """Write ``report.html``, ``report.md`` and ``report.json`` into a folder, which is made; returns their paths.

    Raises :class:`~facevlm.errors.InputError` where they cannot be written.
    """
    check_folder(folder)
    texts = {
        HTML: html.render(report),
        MARKDOWN: markdown.render(report),
        DATA: json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The one by which a report is known comes first, whole or not at all.
        for name in (DATA, HTML, MARKDOWN):
            folders.write_whole(folder / name, texts[name].encode())
    except OSError as error:
        raise InputError(f"Cannot write a report to '{folder}': {error.strerror or error}.") from error
    return [folder / name for name in NAMES]

"""What the card of a checkpoint says of it: training data, licence, languages. Its makers' word; nothing of it is
checked, but that it is short text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from facevlm.backends import cards
from facevlm.backends.cards import ELSEWHERE, Card
from facevlm.errors import visible
from facevlm.folders import opened

README = "README.md"
MOST_BYTES = 2**16
"""Bytes of a README that are looked at: the facts stand at its head."""
MOST_LETTERS, MOST_NAMES = 200, 20
FENCE = "---"
OTHER = "other"


def stated(card: Card) -> tuple[dict[str, str], ...]:
    """For every checkpoint of a card: ``checkpoint``, and ``data``, ``licence``, ``languages`` as far as they are said.

    By the card itself, else by the metadata at the head of the README in the checkpoint's folder, as hubs write them;
    of an adapter by its own README alone.
    """
    licence = card.licence if card.licence != ELSEWHERE else ""
    own = {"data": card.data, "licence": licence, "languages": card.languages}
    told = {name: _text(value) for name, value in own.items() if value}
    names = dict.fromkeys(card.checkpoints.values())
    adapter = [{"checkpoint": card.adapter.source, **_of_readme(card.adapter.source)}] if card.adapter else []
    return (*({"checkpoint": n, **({} if card.hosted else _of_readme(n)), **told} for n in names), *adapter)


def _of_readme(checkpoint: str) -> dict[str, str]:
    path = cards.file_here(checkpoint, README)
    data = _head(path) if path else {}
    licence = _texts(data.get("license"))
    if licence in ("", OTHER):
        licence = _texts(data.get("license_name")) or licence
    said = {"data": _texts(data.get("datasets")), "licence": licence, "languages": _texts(data.get("language"))}
    return {name: text for name, text in said.items() if text}


def _head(path: Path) -> dict[str, Any]:
    """The metadata at the head of a README; empty where there are none that can be read."""
    try:
        with opened(path) as handle:
            text = handle.read(MOST_BYTES).decode(errors="replace")
        first, *lines = text.splitlines()
        # As texts, all of them: the language 'no' is Norwegian.
        data = yaml.load("\n".join(lines[: lines.index(FENCE)]), yaml.BaseLoader) if first == FENCE else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _texts(value: object) -> str:
    """A text, or several in a list, as one; empty for anything else."""
    names = [n for n in (value if isinstance(value, list) else [value]) if isinstance(n, str) and n.strip()]
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join([*map(_text, names[:MOST_NAMES]), *more])


def _text(value: str) -> str:
    line = " ".join(visible(value).split())
    return line if len(line) <= MOST_LETTERS else f"{line[:MOST_LETTERS]}..."

"""What a command printed, taken apart; and what several of these tests speak of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import fiftyone as fo

JUDGED = "test-cli-judged"
COUNT = 24


@dataclass(frozen=True)
class Ran:
    """What a command printed and its exit status."""

    status: int
    out: str
    err: str

    def rows(self, first: str) -> list[list[str]]:
        """Cells of the table lines that begin with this cell."""
        cells = [re.split(r"\s{2,}", line.strip()) for line in self.out.splitlines()]
        return [row for row in cells if row[0] == first and len(row) > 1]

    def tables(self, *header: str) -> list[list[list[str]]]:
        """The tables whose header begins with these cells, each a list of rows, without the gaps below it."""
        blocks = [block.strip().splitlines() for block in self.out.split("\n\n")]
        cells = [[re.split(r"\s{2,}", line.strip()) for line in block] for block in blocks]
        found = [rows[2:] for rows in cells if rows and tuple(rows[0][: len(header)]) == header]
        return [
            [row for row in rows if not row[0].startswith(("Gap in", "No gap in", "No clear gap in"))] for rows in found
        ]


Run = Callable[..., Ran]


def drop(*names: str) -> None:
    for name in names:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"

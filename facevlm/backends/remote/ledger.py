"""Money: what a run will cost at most, what it has cost, and whether the next request still fits into the budget."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from facevlm import doors, folders
from facevlm.backends.remote import services
from facevlm.backends.remote.exchange import Usage
from facevlm.errors import InputError
from facevlm.faces.images import fitted
from facevlm.folders import ASSETS

DATA = ASSETS / "prices.yaml"
VARIABLE = "FACEVLM_PRICES"
LETTERS_PER_TOKEN = 3.5
TOKENS_PER_ANSWER = 14
"""Of one attribute: its key, a label, and punctuation."""
TOKENS_OF_CHAT = 40
PER = 1e6


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens and the rule for pictures; ``date`` is when the table was read."""

    input: float
    output: float
    image: Mapping[str, Any]
    date: str

    def of(self, usage: Usage) -> float:
        """US dollars."""
        return (usage.input * self.input + usage.output * self.output) / PER


FREE = Price(0.0, 0.0, {}, "")
"""Of a server on one's own machine or network."""


@dataclass(frozen=True)
class Estimate:
    """What a run takes: requests, tokens of one request, and US dollars in all; None where no price is known."""

    requests: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    date: str = ""

    @property
    def usage(self) -> Usage:
        """Tokens of one request."""
        return Usage(self.input_tokens, self.output_tokens)

    def __str__(self) -> str:
        tokens = f"about {self.input_tokens:,} + {self.output_tokens:,} tokens each"
        if self.dollars is None:
            return f"{self.requests:,} requests of {tokens}; no price is known for this model"
        if not self.date:
            return f"{self.requests:,} requests of {tokens}, at no price"
        return f"{self.requests:,} requests of {tokens}, about ${self.dollars:,.2f} at prices of {self.date}"


def price_of(model: str, path: str | None = None) -> Price | None:
    """The price of a model, by the longest name in the table that its own begins with; None for an unknown one.

    The user's own table goes before that of facevlm, and that before those of installed packages. Raises
    :class:`~facevlm.errors.InputError` for a table of the user's own that cannot be read.
    """
    own = path or os.environ.get(VARIABLE)
    for table in [_read(Path(own))] if own else []:
        if (found := _find(model, table)) is not None:
            return found
    tables = (_read(DATA), *_added())
    return next((price for table in tables if (price := _find(model, table)) is not None), None)


@functools.cache
def _added() -> tuple[Mapping[str, Any], ...]:
    """The price tables of installed packages; one that cannot be read is left out with a warning."""
    tables = []
    for addition in services.added().values():
        try:
            tables += [_checked(addition.value.prices, "'prices'")] if addition.value.prices else []
        except InputError as error:
            doors.refuse(addition, str(error))
    return tuple(tables)


def _find(model: str, table: Mapping[str, Any]) -> Price | None:
    bare = model.rpartition("/")[2]
    names = [n for n in table["models"] if bare == n or bare.startswith((f"{n}-", f"{n}:", f"{n}@"))]
    if not names:
        return None
    raw = table["models"][max(names, key=len)]
    return Price(float(raw["input"]), float(raw["output"]), raw.get("image") or {}, str(table.get("date", "")))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data = folders.read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unreadable(str(path), error) from error
    return _checked(data, str(path))


def _checked(data: Any, where: str) -> Mapping[str, Any]:
    """The table, with a price of at least 0 and a rule for pictures that is known for each of its models."""
    try:
        for raw in data["models"].values():
            if not (float(raw["input"]) >= 0 and float(raw["output"]) >= 0):
                raise ValueError(f"a price is below 0: {raw}")
            picture_tokens(raw.get("image") or {}, 512, 512, "low")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(where, error) from error
    table: Mapping[str, Any] = data
    return table


def _unreadable(where: str, error: Exception) -> InputError:
    return InputError(
        f"Cannot read the price table {where}: {error!r}. Expected the form of facevlm/assets/prices.yaml."
    )


def picture_tokens(rule: Mapping[str, Any], width: int, height: int, detail: str) -> int:
    """Tokens that a picture counts as; by default one for every 750 pixels. Rules: see ``assets/prices.yaml``."""
    kind = rule.get("rule")
    if kind == "tiles":
        return _tiles(width, height, rule["base"], rule["tile"], detail)
    if kind == "patches":
        patches = min(1536, math.ceil(width / 32) * math.ceil(height / 32))
        return math.ceil(patches * float(rule["factor"]))
    if kind == "gemini":
        if max(width, height) <= 384:
            return 258
        side = min(768, max(256, min(width, height) * 2 // 3))
        return 258 * math.ceil(width / side) * math.ceil(height / side)
    if kind is None:
        return math.ceil(width * height / 750)
    raise ValueError(f"unknown image rule {kind!r}")


def _tiles(width: int, height: int, base: int, tile: int, detail: str) -> int:
    if detail == "low":
        return base
    width, height = fitted(width, height, 2048)
    scale = min(1.0, 768 / min(width, height))
    return base + tile * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def estimate(
    price: Price | None, texts: Sequence[str], attributes: int, requests: int, side: int, detail: str, pictures: int = 1
) -> Estimate:
    """For requests with these texts and so many square pictures of ``side`` pixels, the largest that are sent."""
    letters = sum(map(len, texts))
    seen = picture_tokens(price.image if price else {}, side, side, detail) * pictures
    asked = TOKENS_OF_CHAT + math.ceil(letters / LETTERS_PER_TOKEN) + seen
    said = 4 + TOKENS_PER_ANSWER * attributes
    dollars = price.of(Usage(asked, said)) * requests if price else None
    return Estimate(requests, asked, said, dollars, price.date if price else "")


class Ledger:
    """Tokens and dollars of a run. A request is reserved before it is sent, at the largest that was paid so far.

    ``guess`` stands for a request before the first is paid, and for one whose tokens the server does not count.
    """

    def __init__(self, price: Price | None, budget: float | None, guess: Usage) -> None:
        self.price, self.budget = price, budget
        self.input_tokens = self.output_tokens = self.paid = self.uncounted = 0
        self._reserved = 0
        self._guess, self._largest = guess, Usage()

    @property
    def dollars(self) -> float | None:
        """US dollars so far; None where no price is known."""
        return self.price.of(Usage(self.input_tokens, self.output_tokens)) if self.price else None

    def typical(self) -> Usage:
        """Tokens of one request: the largest that was paid, before that the estimate."""
        return self._largest if self.paid else self._guess

    def reserve(self) -> bool:
        """Whether one more request fits into the budget; if so, it is reserved."""
        if self.budget is not None and self.price is not None:
            ahead = self.price.of(self.typical()) * (self._reserved + 1)
            if (self.dollars or 0.0) + ahead > self.budget:
                return False
        self._reserved += 1
        return True

    def settle(self, usage: Usage | None) -> None:
        """A reserved request has ended; ``usage`` is None where nothing was charged."""
        self._reserved -= 1
        if usage is None:
            return
        counted = usage if usage.input or usage.output else self._guess
        self.uncounted += counted is not usage
        self.paid += 1
        self.input_tokens += counted.input
        self.output_tokens += counted.output
        self._largest = Usage(max(self._largest.input, counted.input), max(self._largest.output, counted.output))

"""Prices, image tokens by the providers' documented examples, estimates, and a budget that is not overspent."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevlm.backends.remote import ledger
from facevlm.backends.remote.exchange import Usage
from facevlm.backends.remote.ledger import Ledger, Price, picture_tokens
from facevlm.errors import InputError

TILES = {"rule": "tiles", "base": 85, "tile": 170}
PATCHES = {"rule": "patches", "factor": 1.62}
GEMINI = {"rule": "gemini"}


@pytest.mark.parametrize(
    ("rule", "width", "height", "detail", "tokens"),
    [
        (TILES, 1024, 1024, "high", 765),
        (TILES, 2048, 4096, "high", 1105),
        (TILES, 4096, 8192, "low", 85),
        (TILES, 512, 512, "high", 255),
        (PATCHES, 1024, 1024, "high", 1659),
        (GEMINI, 384, 384, "low", 258),
        (GEMINI, 960, 540, "low", 6 * 258),
        ({}, 750, 100, "low", 100),
    ],
)
def test_image_tokens_of_the_providers_examples(
    rule: dict[str, object], width: int, height: int, detail: str, tokens: int
) -> None:
    assert picture_tokens(rule, width, height, detail) == tokens


@pytest.mark.parametrize(
    ("model", "input_price"),
    [
        ("gpt-4o", 2.5),
        ("gpt-4o-2024-08-06", 2.5),
        ("gpt-4o-mini", 0.15),
        ("gpt-4o-mini-2024-07-18", 0.15),
        ("gemini-2.5-flash", 0.3),
        ("models/gemini-2.5-flash-lite", 0.1),
        ("gpt-4omni", None),
        ("llava", None),
    ],
)
def test_a_price_is_found_by_the_longest_name(model: str, input_price: float | None) -> None:
    found = ledger.price_of(model)
    assert (found.input if found else None) == input_price


def test_a_table_of_ones_own_wins_and_the_shipped_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text("date: 2031-01-01\nmodels:\n  gpt-4o: {input: 9, output: 9}\n  mine: {input: 1, output: 2}\n")
    assert ledger.price_of("mine", str(own)) == Price(1, 2, {}, "2031-01-01")
    monkeypatch.setenv("FACEVLM_PRICES", str(own))
    assert ledger.price_of("gpt-4o") == Price(9, 9, {}, "2031-01-01")
    assert ledger.price_of("gpt-4o-mini") is not None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "models: 3",
        "models: {a: {input: x, output: 1}}",
        "models: {a: {input: -1, output: 1}}",
        "models: {a: {input: 1}}",
        "{",
        "models: {a: {input: 1, output: 1, image: {rule: odd}}}",
        "models: {a: {input: 1, output: 1, image: {rule: tiles}}}",
    ],
)
def test_what_is_no_table_of_prices(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(InputError, match="Cannot read the price table"):
        ledger.price_of("m", str(tmp_path / "p.yaml"))


def test_the_estimate_is_tokens_times_price() -> None:
    price = Price(2.0, 8.0, TILES, "2025-08-01")
    found = ledger.estimate(price, ["x" * 350], 4, 1000, 512, "low")
    assert (found.requests, found.input_tokens, found.output_tokens) == (1000, 40 + 100 + 85, 4 + 4 * 14)
    assert found.dollars == pytest.approx(1000 * (225 * 2 + 60 * 8) / 1e6)
    assert "about $0.93 at prices of 2025-08-01" in str(found)
    assert "no price is known" in str(ledger.estimate(None, [""], 1, 10, 512, "low"))
    assert "at no price" in str(ledger.estimate(ledger.FREE, [""], 1, 10, 512, "low"))


@given(
    st.floats(0.0001, 0.05),
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 50)), min_size=1, max_size=60),
    st.integers(1, 8),
)
def test_a_budget_is_not_exceeded_by_requests_no_larger_than_foreseen(
    budget: float, requests: list[tuple[int, int]], in_flight: int
) -> None:
    books = Ledger(Price(2.0, 8.0, {}, ""), budget, Usage(500, 50))
    waiting: list[Usage] = []
    largest = Usage(500, 50)
    for asked, said in requests:
        if len(waiting) == in_flight:
            books.settle(waiting.pop(0))
        usage = (
            largest if not books.paid else Usage(min(asked, books.typical().input), min(said, books.typical().output))
        )
        if books.reserve():
            waiting.append(usage)
    for usage in waiting:
        books.settle(usage)
    assert (books.dollars or 0.0) <= budget + 1e-12


def test_without_a_budget_or_price_everything_fits() -> None:
    for books in (Ledger(None, None, Usage(1, 1)), Ledger(ledger.FREE, 0.01, Usage(1, 1))):
        assert all(books.reserve() for _ in range(1000))
    assert Ledger(None, None, Usage()).dollars is None


def test_requests_whose_tokens_are_not_counted_are_guessed_and_said() -> None:
    books = Ledger(Price(1.0, 1.0, {}, ""), None, Usage(300, 20))
    for usage in (Usage(), Usage(100, 10), None):
        assert books.reserve()
        books.settle(usage)
    assert (books.input_tokens, books.output_tokens, books.paid, books.uncounted) == (400, 30, 2, 1)

"""Numbers of a server: whatever it sends, what comes out is finite and within bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest

from facevlm.backends.remote import limits, numbers
from facevlm.backends.remote.dialects.chat import ChatCompletions
from tests.servers.server import completion, token

ODD: tuple[Any, ...] = (10**400, -(10**400), math.inf, -math.inf, math.nan, True, "12", None, [], {}, 1.5, -1)


@pytest.mark.parametrize("value", ODD)
def test_a_count_is_whole_and_bounded(value: Any) -> None:
    assert numbers.count(value, 100) == 0
    assert numbers.count(100, 100) == 100
    assert numbers.count(101, 100) == 0


@pytest.mark.parametrize("value", ODD)
def test_a_log_probability_is_finite_and_at_most_0_or_none(value: Any) -> None:
    found = numbers.log_prob(value)
    assert found is None or -9999.0 <= found <= 0.0
    assert (numbers.log_prob(-0.25), numbers.log_prob(0.0005), numbers.log_prob(0)) == (-0.25, 0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "found"),
    [("²", None), ("٣", None), ("-5", None), ("1e400", None), ("nan", None), ("1_0", None), (" 1.5 ", 1.5), ("", None)],
)
def test_seconds_are_plain_decimals(text: str, found: float | None) -> None:
    assert numbers.seconds(text) == found


@pytest.mark.parametrize("text", ["9" * 25, "9" * 25 + "h", "9" * 5000, "9" * 5000 + "s", "inf", "-1s", "²s", "1e999"])
def test_waits_are_no_longer_than_a_year(text: str) -> None:
    wait = numbers.retry_after({"retry-after": text})
    assert wait is None or 0 <= wait <= numbers.LONGEST
    assert 0 <= numbers.duration(text) <= numbers.LONGEST
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": text}
    assert 0 <= limits.quota_pause(spent) <= limits.LONGEST_PAUSE


@pytest.mark.parametrize(
    "date",
    [
        "31 Dec 9999999999999 00:00:00 GMT",
        "Wed, 99 Foo 2020",
        "1 Jan 2020 1:²:3",
        "0 0 0 0 0",
        ",",
        "1 2 3 4:²:6",
    ],
)
def test_dates_that_there_are_not_are_no_wait(date: str) -> None:
    assert numbers.retry_after({"retry-after": date}) is None


@pytest.mark.parametrize("value", ODD)
def test_an_answer_with_odd_numbers_is_read(value: Any) -> None:
    body = completion('{"gender": "Male"}', logprobs=[token("x", value, y=value)])
    body["usage"] = {"prompt_tokens": value, "completion_tokens": value}
    read = ChatCompletions().read(body)
    assert read.content == '{"gender": "Male"}'
    assert (read.usage.input, read.usage.output) == (0, 0)
    assert all(math.isfinite(t.log_prob) and t.log_prob <= 0 for t in read.tokens)

"""Numbers that a server sends, read in one place: whatever is sent, what comes out is finite and within bounds."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping

MOST_TOKENS = 10_000_000
"""Of one request; no model has room for more."""
MOST_REQUESTS = 100_000_000
"""Of one batch."""
LONGEST = 366 * 86_400.0
"""Seconds. A server that asks for more asks for this."""
LEAST_LOG_PROB = -9999.0
"""What OpenAI sends for a probability of nothing; less than that is not told apart."""
ROUNDING = 1e-3
"""A log-probability that is above 0 by no more is one of 0."""
DECIMAL = re.compile(r"\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}", re.ASCII)
PARTS = re.compile(r"(\d{1,30}(?:\.\d{1,30})?)(ms|h|m|s)", re.ASCII)
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def count(value: object, most: int) -> int:
    """How many, from 0 to ``most``; 0, for nothing said, where the value is no such whole number."""
    return value if type(value) is int and 0 <= value <= most else 0


def log_prob(value: object) -> float | None:
    """A natural-log probability, at most 0 and finite; None for what is none, or above 0 by more than rounding."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value <= ROUNDING:
        return None
    # Compared before it is converted: a whole number may be larger than any float.
    return float(max(LEAST_LOG_PROB, min(0.0, value)))


def seconds(text: str) -> float | None:
    """Seconds in a text such as ``30`` or ``1.5``; None for anything else, signs and other digits included."""
    return min(LONGEST, float(text)) if DECIMAL.fullmatch(text := text.strip()) else None


def duration(text: str) -> float:
    """Seconds in a text such as ``6m0s``, ``20ms``, ``1.5`` or ``1h2m``; 0 for anything else."""
    if (plain := seconds(text)) is not None:
        return plain
    return min(LONGEST, sum(float(number) * SECONDS[unit] for number, unit in PARTS.findall(text)))


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a server asks to wait, by ``retry-after-ms`` or ``retry-after`` (seconds or date); else None."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (found := seconds(headers.get(name, ""))) is not None:
            return found * scale
    return _until(headers.get("retry-after", ""), time.time() if now is None else now)


def _until(date: str, now: float) -> float | None:
    try:
        parsed = email.utils.parsedate_tz(date)
        moment = email.utils.mktime_tz(parsed) if parsed else None
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return None if moment is None else min(LONGEST, max(0.0, moment - now))

"""What can be chosen about a model behind an API. No key is ever in here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from facevlm.errors import InputError

ORDERS = ("given", "reversed", "shuffled")
DETAILS = ("low", "high", "auto")
CACHES = ("on", "off", "refresh")
CHOICES = {"order": ORDERS, "detail": DETAILS, "cache": CACHES}
MAX_SIDE = 512


@dataclass(frozen=True)
class Remote:
    """How a model behind an API is asked.

    ``base_url`` names the server, by default that of the model's own service. ``key_name`` is the name under which
    the key is kept (App secret, environment variable, keyring), never the key. ``concurrency`` is the most requests
    in flight; ``timeout`` is in seconds for one request as a whole; ``attempts`` is how often a face is asked at
    most. The run stops when more than the share ``max_failures`` of the faces failed, and before ``budget`` US
    dollars are exceeded. ``samples`` asks so often and takes the vote. ``max_side`` is the longest side of a sent
    picture in pixels. ``template`` is one of ``assets/prompts.yaml`` or a file of that form; ``wording`` another set
    of questions there; ``order`` that of the labels in the prompt. ``cache`` is ``on``, ``off`` or ``refresh`` (ask
    anew, keep the answer). ``prices`` is a file in the form of ``assets/prices.yaml``.
    """

    base_url: str | None = None
    key_name: str | None = None
    concurrency: int = 64
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 60.0
    attempts: int = 6
    max_failures: float = 0.5
    budget: float | None = None
    samples: int = 1
    temperature: float | None = None
    max_tokens: int = 1024
    max_side: int | None = None
    quality: int = 90
    detail: str = "low"
    template: str = "face"
    wording: str = "plain"
    order: str = "given"
    cache: str = "on"
    prices: str | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"Got {name}='{getattr(self, name)}', expected one of {', '.join(choices)}.")
        for name, least, most in (
            ("concurrency", 1, 4096),
            ("attempts", 1, 100),
            ("samples", 1, 100),
            ("max_tokens", 1, 1_000_000),
            ("quality", 1, 100),
            ("max_side", 32, 8192),
        ):
            self._whole(name, least, most)
        for name in ("timeout", "requests_per_minute", "tokens_per_minute", "budget"):
            self._above_zero(name)
        if not 0 <= self.max_failures <= 1:
            raise InputError(f"Got max_failures={self.max_failures}, expected a share between 0 and 1.")

    def _whole(self, name: str, least: int, most: int) -> None:
        got = getattr(self, name)
        if got is not None and (type(got) is not int or not least <= got <= most):
            raise InputError(f"Got {name}={got!r}, expected a whole number from {least} to {most}.")

    def _above_zero(self, name: str) -> None:
        got = getattr(self, name)
        if got is not None and not (isinstance(got, (int, float)) and math.isfinite(got) and got > 0):
            raise InputError(f"Got {name}={got!r}, expected a number above 0.")

    @property
    def heat(self) -> float:
        """The temperature of a request: 0, or 1 where several samples are to differ."""
        return self.temperature if self.temperature is not None else float(self.samples > 1)

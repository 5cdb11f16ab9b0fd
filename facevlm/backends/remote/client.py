"""Requests to one server: paced, retried a bounded number of times, stopped for good where all will fail.

The client library's own retries are off: they know neither the limit on requests in flight nor that a used-up quota
stays used up. Redirects are not followed, so that a picture goes to no host that the user did not name.
"""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import json
import math
import os
import random
import re
import ssl
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
import openai

from facevlm.backends.options import Remote
from facevlm.backends.remote import dialects, limits, replies
from facevlm.backends.remote.exchange import Completion, Usage
from facevlm.backends.remote.keys import Secret
from facevlm.backends.remote.ledger import Ledger
from facevlm.backends.remote.services import Endpoint, service_of
from facevlm.errors import ModelError

AnyClient = TypeVar("AnyClient", openai.OpenAI, openai.AsyncOpenAI)
RETRIED = (408, 409, 429)
FATAL = (402, 404)
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
PATIENCE = 300.0
"""A server that asks to wait longer than this, in seconds, stops the run instead."""
CONNECT = 10.0
RETRY_DELAY = re.compile(r'"retryDelay": "([^"]+)"')
PER_POOL = 8
"""Requests in flight per pool of connections."""


class Stopped(ModelError):
    """The run cannot go on: every further request would fail, or cost more than was allowed."""


class BudgetReached(Stopped):
    """The next request would not fit into the budget. What is in flight may end."""


@dataclass(frozen=True)
class Trouble:
    """What went wrong with one attempt. ``wait`` is what the server asked for, in seconds."""

    reason: str
    retry: bool = False
    fatal: bool = False
    wait: float | None = None


class Client:
    """Sends requests to one endpoint, in its dialect. Made and used in one event loop."""

    def __init__(self, endpoint: Endpoint, secret: Secret, options: Remote, ledger: Ledger) -> None:
        self.endpoint, self._secret, self._options, self.ledger = endpoint, secret, options, ledger
        self.concurrency, self._dialect = limits.Concurrency(options.concurrency), dialects.find(endpoint.dialect)
        self.counts: Counter[str] = Counter()
        self._requests = limits.Pace(options.requests_per_minute)
        self._tokens = limits.Pace(options.tokens_per_minute)
        self._pause = limits.Pause()
        self.loop = asyncio.get_running_loop()
        self._clients = _clients(endpoint, secret, options)
        self._turn = itertools.cycle(self._clients)

    async def close(self) -> None:
        """Close all connections. One that does not close is left to the operating system."""
        await asyncio.gather(*(client.close() for client in self._clients), return_exceptions=True)

    async def complete(self, body: Mapping[str, Any]) -> tuple[Completion, Any]:
        """The completion of a request, and its body as plain data where the server sent one.

        A request that fails for good comes back as a completion with ``error``. Raises :class:`Stopped` where all
        further requests would fail, or do not fit into the budget.
        """
        reason = ""
        for attempt in range(self._options.attempts):
            if attempt:
                self.counts["retries"] += 1
            outcome = await self._attempt(body)
            if not isinstance(outcome, Trouble):
                return outcome
            if outcome.fatal:
                raise Stopped(f"{self.endpoint.host} will not answer: {outcome.reason}")
            if not outcome.retry:
                return Completion(error=outcome.reason), None
            reason = outcome.reason
            if attempt + 1 < self._options.attempts:
                await asyncio.sleep(_backoff(attempt, outcome.wait))
        return Completion(error=f"{reason} (asked {self._options.attempts} times)"), None

    async def _attempt(self, body: Mapping[str, Any]) -> tuple[Completion, Any] | Trouble:
        started = await self._enter()
        charged: Usage | None = None
        outcome: tuple[Completion, Any] | Trouble
        try:
            sent = next(self._turn).post(self._dialect.path, cast_to=httpx2.Response, body=body)
            response = await asyncio.wait_for(sent, self._options.timeout)
            outcome = self._read(response)
            charged = outcome[0].usage
            self.concurrency.succeeded(started)
        except (openai.APITimeoutError, asyncio.TimeoutError):
            outcome = Trouble(f"no answer within {self._options.timeout:g} s", retry=True)
        except openai.APIStatusError as error:
            outcome = self._refused(error, started)
        except (openai.APIConnectionError, httpx2.TransportError) as error:
            outcome = Trouble(f"connection lost: {_cause(error)}", retry=True)
        finally:
            self.concurrency.release()
            self._settle(charged)
        return outcome

    async def _enter(self) -> float:
        """Wait for the server's pause, the rates, and room; returns the time of the start."""
        started = await self.concurrency.acquire()
        try:
            typical = self.ledger.typical()
            wait = max(self._requests.reserve(), self._tokens.reserve(typical.input + typical.output))
            if wait:
                await asyncio.sleep(wait)
            await self._pause.wait()
            if not self.ledger.reserve():
                raise BudgetReached(f"the budget of ${self._options.budget:g} is used up")
        except BaseException:
            self.concurrency.release()
            raise
        self.counts["requests"] += 1
        return max(started, time.monotonic())

    def _settle(self, charged: Usage | None) -> None:
        typical = self.ledger.typical()
        self.ledger.settle(charged)
        if charged is not None and charged.input:
            self._tokens.correct(charged.input + charged.output - typical.input - typical.output)

    def _read(self, response: httpx2.Response) -> tuple[Completion, Any]:
        """The body as plain data, in which the key is blacked out, should the server repeat it."""
        self._hold(response)
        text = self._secret.redact(response.content.decode("utf-8", "replace"))
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            kind = response.headers.get("content-type", "no content type")
            return Completion(error=f"the server's answer is no JSON ({kind}): {' '.join(text[:120].split())}"), None
        return self._dialect.read(body), body

    def _hold(self, response: httpx2.Response) -> None:
        if (pause := limits.quota_pause(response.headers)) > 0:
            self.counts["pauses"] += 1
            self._pause.hold(pause)

    def _refused(self, error: openai.APIStatusError, started: float) -> tuple[Completion, Any] | Trouble:
        """What an HTTP status above 299 means for this request and for the run."""
        status = error.status_code
        said = json.loads(self._secret.redact(json.dumps(error.body or error.message, default=str)))
        text = replies.error_text(said)
        reason = f"HTTP {status}: {text}"
        if status in (400, 403, 422) and replies.declines(said):
            return Completion(refusal=f"the provider declined: {text}"), None
        bad_key = status in (401, 403) or replies.says(said, "key_errors")
        if bad_key or status in FATAL or 300 <= status < 400 or replies.says(said, "quota_errors"):
            return Trouble(reason + _remedy(status, bad_key, self.endpoint), fatal=True)
        if status not in RETRIED and status < 500:
            return Trouble(reason)
        wait = retry_after(error.response.headers)
        if status == 429:
            self.counts["rate_limited"] += 1
            self.concurrency.too_many(started)
            wait = wait or limits.quota_pause(error.response.headers) or _retry_delay(said)
        if wait and wait > PATIENCE:
            return Trouble(f"{reason} The server asks to wait {wait / 60:.0f} minutes; go on later.", fatal=True)
        if wait:
            self._pause.hold(wait)
        return Trouble(reason, retry=True, wait=wait)


def _clients(endpoint: Endpoint, secret: Secret, options: Remote) -> list[openai.AsyncOpenAI]:
    """As many clients as the requests in flight need: a pool looks through all its connections at every request."""
    context = httpx2.create_ssl_context()
    return [_openai(endpoint, secret, options, context) for _ in range(math.ceil(options.concurrency / PER_POOL))]


def _openai(endpoint: Endpoint, secret: Secret, options: Remote, context: ssl.SSLContext) -> openai.AsyncOpenAI:
    """The library's client without retries and redirects, and without what the environment holds for OpenAI alone."""
    http = httpx2.AsyncClient(
        verify=context,
        # A proxy named by the environment has no part in what goes to this machine or its network.
        trust_env=not endpoint.is_local,
        timeout=httpx2.Timeout(options.timeout, connect=CONNECT, pool=None),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        follow_redirects=False,
    )
    settings = _settings(endpoint, secret, options)
    return _bare(endpoint, openai.AsyncOpenAI(http_client=http, max_retries=0, **settings))


def waiting_client(endpoint: Endpoint, secret: Secret, options: Remote) -> openai.OpenAI:
    """The same for a few calls that are waited for, with the library's own retries."""
    http = httpx2.Client(
        trust_env=not endpoint.is_local,
        timeout=httpx2.Timeout(options.timeout, connect=CONNECT),
        follow_redirects=False,
    )
    settings = _settings(endpoint, secret, options)
    return _bare(endpoint, openai.OpenAI(http_client=http, max_retries=options.attempts - 1, **settings))


def _settings(endpoint: Endpoint, secret: Secret, options: Remote) -> dict[str, Any]:
    """What both kinds of clients are made with: the key goes to the endpoint alone, nothing ambient goes along."""
    ambient = [] if _at_openai(endpoint) else [line.partition(":")[0].strip() for line in _custom_headers()]
    headers: dict[str, Any] = {name: openai.Omit() for name in ambient if name.lower() != "authorization"}
    return {
        "api_key": secret.reveal(),
        "base_url": endpoint.base_url,
        "timeout": options.timeout,
        "default_headers": headers | {"Authorization": f"Bearer {secret.reveal()}"},
    }


def _bare(endpoint: Endpoint, client: AnyClient) -> AnyClient:
    if not _at_openai(endpoint):
        client.organization = client.project = None
    client.admin_api_key = client.webhook_secret = None
    return client


def _at_openai(endpoint: Endpoint) -> bool:
    service = service_of(endpoint.base_url)
    return service is not None and service["keys"] == ["OPENAI_API_KEY"]


def _custom_headers() -> list[str]:
    return [line for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n") if ":" in line]


def _backoff(attempt: int, asked: float | None) -> float:
    """Seconds before the next attempt: what the server asked for, or a random share of a doubling wait."""
    if asked:
        return asked * random.uniform(1.0, 1.1)
    return random.uniform(0.25, 1.0) * min(LONGEST_WAIT, FIRST_WAIT * 2.0**attempt)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a server asks to wait, by ``retry-after-ms`` or ``retry-after`` (seconds or date); else None."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if text.replace(".", "", 1).isdigit():
            return float(text) * scale
    return _until(headers.get("retry-after", ""), time.time() if now is None else now)


def _until(date: str, now: float) -> float | None:
    parsed = email.utils.parsedate_tz(date)
    return max(0.0, email.utils.mktime_tz(parsed) - now) if parsed else None


def _retry_delay(said: object) -> float | None:
    """Seconds to wait by the details of Gemini's error, which come in the body and not as a header."""
    found = RETRY_DELAY.search(json.dumps(said, default=str))
    return limits.duration(found.group(1)) if found else None


def _remedy(status: int, bad_key: bool, endpoint: Endpoint) -> str:
    names = " or ".join(endpoint.key_names)
    if bad_key:
        return f" Check the key ({names}) and what it is allowed to do."
    if status == 404:
        return f" Check the model '{endpoint.model}' and the base_url {endpoint.base_url}, which usually ends in /v1."
    if 300 <= status < 400:
        return " The server sends requests on to another address, which is not followed: name that one as base_url."
    return " Check plan and billing at the provider."


def _cause(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__

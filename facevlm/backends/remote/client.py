"""Requests to one server: paced, retried a bounded number of times, stopped for good where all will fail.

The client library's own retries are off: they know neither the limit on requests in flight nor that a used-up quota
stays used up. Redirects are not followed, so that a picture goes to no host that the user did not name.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import random
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx2
import openai

from facevlm.backends.options import Remote
from facevlm.backends.remote import arrivals, dialects, limits, meanings, numbers, plain, replies, surroundings
from facevlm.backends.remote.exchange import Completion, Fault, Usage
from facevlm.backends.remote.keys import Secret
from facevlm.backends.remote.ledger import Ledger
from facevlm.backends.remote.replicas import Replica, Replicas
from facevlm.backends.remote.services import Endpoint, service_of
from facevlm.errors import ModelError

AnyClient = TypeVar("AnyClient", openai.OpenAI, openai.AsyncOpenAI)
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
PATIENCE = 300.0
"""A server that asks to wait longer than this, in seconds, stops the run instead."""
CONNECT = 10.0
RETRY_DELAY = re.compile(r'"retryDelay": "([^"]+)"')
PER_POOL = 8
"""Requests in flight per pool of connections."""
MOST_MOVES = 64
"""How often a request goes on to another server at most."""


class Stopped(ModelError):
    """The run cannot go on: every further request would fail, or cost more than was allowed.

    ``fault`` is what the server said, where it was the server.
    """

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message)
        self.fault = fault


class BudgetReached(Stopped):
    """The next request would not fit into the budget. What is in flight may end."""


class Outdated(Exception):
    """A request that is no longer to be sent as it is; it was not."""


@dataclass(frozen=True)
class Trouble:
    """What went wrong with one attempt. ``wait`` is what the server asked for, in seconds; ``elsewhere`` is set where
    another server can be asked at once."""

    reason: str
    retry: bool = False
    fatal: bool = False
    wait: float | None = None
    fault: Fault | None = None
    elsewhere: bool = False


class Client:
    """Sends requests to one endpoint, or to ``others`` of the same model as well, in its dialect. Made and used in one
    event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        secret: Secret,
        options: Remote,
        ledger: Ledger,
        others: Sequence[tuple[Endpoint, Secret]] = (),
    ) -> None:
        self.endpoint, self._options, self.ledger = endpoint, options, ledger
        self.concurrency, self._dialect = limits.Concurrency(options.concurrency), dialects.find(endpoint.dialect)
        self.counts: Counter[str] = Counter()
        self._requests = limits.Pace(options.requests_per_minute)
        self._tokens = limits.Pace(options.tokens_per_minute)
        self._pause = limits.Pause()
        self.loop = asyncio.get_running_loop()
        own = [(endpoint, secret), *others]
        self._replicas = Replicas([Replica(one, key, _clients(one, key, options)) for one, key in own])
        self._clients = [client for one in self._replicas.members for client in one.clients]
        self.is_stopping = False

    def stop(self) -> None:
        """Send nothing more; what is in flight may end. From any thread."""
        self.is_stopping = True

    async def close(self) -> None:
        """Close all connections. One that does not close is left to the operating system."""
        await asyncio.gather(*(client.close() for client in self._clients), return_exceptions=True)

    async def complete(
        self, body: Mapping[str, Any], is_current: Callable[[], bool] = lambda: True
    ) -> tuple[Completion, Any]:
        """The completion of a request, and its body as plain data where the server sent one.

        A request that fails for good comes back as a completion with ``error``. Raises :class:`Stopped` where all
        further requests would fail, or do not fit into the budget, and :class:`Outdated` where the request has waited
        for its turn until ``is_current`` became false.
        """
        reason, fault, asked, last = "", None, 0, None
        # A server that cannot be reached costs a request no attempt as long as there is another one.
        for moves in itertools.count():
            if moves:
                self.counts["retries"] += 1
            outcome, last = await self._attempt(body, is_current, last)
            if not isinstance(outcome, Trouble):
                return outcome
            if outcome.elsewhere and moves < MOST_MOVES:
                continue
            if outcome.fatal:
                raise Stopped(f"{last.endpoint.host} will not answer: {outcome.reason}", outcome.fault)
            if not outcome.retry:
                return Completion(error=outcome.reason, fault=outcome.fault), None
            reason, fault, asked = outcome.reason, outcome.fault, asked + 1
            if asked >= self._options.attempts:
                break
            await asyncio.sleep(_backoff(asked - 1, outcome.wait))
        return Completion(error=f"{reason} (asked {self._options.attempts} times)", fault=fault), None

    async def _attempt(
        self, body: Mapping[str, Any], is_current: Callable[[], bool], avoid: Replica | None
    ) -> tuple[tuple[Completion, Any] | Trouble, Replica]:
        started = await self._enter(is_current)
        replica = self._replicas.pick(avoid)
        with replica.busy():
            return await self._asked(replica, body, started), replica

    async def _asked(
        self, replica: Replica, body: Mapping[str, Any], started: float
    ) -> tuple[Completion, Any] | Trouble:
        charged: Usage | None = None
        outcome: tuple[Completion, Any] | Trouble
        try:
            sent = replica.client().post(self._dialect.path, cast_to=httpx2.Response, body=body)
            response = await asyncio.wait_for(sent, self._options.timeout)
            replica.answered()
            outcome = self._read(response, replica.secret)
            charged = outcome[0].usage
            if outcome[0].fault is None:
                self.concurrency.succeeded(started)
            else:
                outcome = self._judged(replica, outcome[0].fault, response.headers, started, outcome[1])
        except (openai.APITimeoutError, asyncio.TimeoutError) as error:
            outcome = Trouble(f"no answer within {self._options.timeout:g} s", retry=True)
            if isinstance(error.__cause__, httpx2.ConnectTimeout):
                outcome = self._set_aside(replica, outcome)
        except openai.APIStatusError as error:
            replica.answered()
            outcome = self._refused(replica, error, started)
        except (openai.APIConnectionError, httpx2.TransportError) as error:
            outcome, charged = self._lost(replica, error)
        finally:
            self.concurrency.release()
            self._settle(charged)
        return outcome

    async def _enter(self, is_current: Callable[[], bool]) -> float:
        """Wait for the server's pause, the rates, and room; returns the time of the start."""
        started = await self.concurrency.acquire()
        try:
            typical = self.ledger.typical()
            wait = max(self._requests.reserve(), self._tokens.reserve(typical.input + typical.output))
            if wait:
                await asyncio.sleep(wait)
            await self._pause.wait()
            if self.is_stopping:
                raise Stopped(f"not sent: the run with {self.endpoint.host} is ending")
            if not is_current():
                raise Outdated
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

    def _set_aside(self, replica: Replica, trouble: Trouble) -> Trouble:
        """What is to be done about a server that cannot be reached: another one is asked, where there is one."""
        replica.unreached()
        return replace(trouble, elsewhere=self._replicas.others(replica))

    def _lost(self, replica: Replica, error: Exception) -> tuple[Trouble, Usage | None]:
        """No answer, or none that is read to its end, which would come again and was paid for all the same."""
        cause = error.__cause__ or error
        said = replica.secret.redact(replies.one_line(str(cause) or type(cause).__name__))
        if isinstance(cause, arrivals.TooLong):
            return Trouble(said), Usage()
        trouble = Trouble(f"connection lost: {said}{surroundings.through(replica.endpoint)}", retry=True)
        return self._set_aside(replica, trouble), None

    def _read(self, response: httpx2.Response, secret: Secret) -> tuple[Completion, Any]:
        """The body as plain data, in which the key is blacked out, should the server repeat it."""
        self._hold(response)
        text = response.content.decode("utf-8", "replace")
        try:
            body = secret.redact(plain.body(text))
        except plain.Doubled as error:
            return Completion(error=f"the server's answer says two things: {secret.redact(str(error))}"), None
        except (ValueError, RecursionError):
            kind = response.headers.get("content-type", "no content type")
            said = replies.one_line(secret.redact(text[: replies.LONGEST]))[:120]
            return Completion(error=f"the server's answer is no JSON ({kind}): {said}"), None
        completion = self._dialect.read(body)
        # Of a key in pieces the body still holds them all: such a body is not kept.
        return secret.redact_completion(completion), None if secret.is_in(completion) else body

    def _hold(self, response: httpx2.Response) -> None:
        if (pause := limits.quota_pause(response.headers)) > 0:
            self.counts["pauses"] += 1
            self._pause.hold(pause)

    def _refused(
        self, replica: Replica, error: openai.APIStatusError, started: float
    ) -> tuple[Completion, Any] | Trouble:
        """What an HTTP status above 299 means for this request and for the run."""
        said = replica.secret.redact(_sent(error))
        return self._judged(replica, meanings.of_status(said, error.status_code), error.response.headers, started, said)

    def _judged(
        self, replica: Replica, fault: Fault, headers: Mapping[str, str], started: float, said: object
    ) -> tuple[Completion, Any] | Trouble:
        """What an error means for this request and for the run, whether it came as a status or inside an answer."""
        if fault.means == "declined":
            return Completion(refusal=f"the provider declined: {fault.text}"), None
        if fault.is_fatal:
            told = remedy(fault, replica.endpoint)
            said = f"{fault.reason.rstrip('.')}.{told}" if told else fault.reason
            return Trouble(said, fatal=True, fault=fault, elsewhere=self._replicas.drop(replica))
        if fault.means == "request":
            return Trouble(fault.reason, fault=fault)
        wait = numbers.retry_after(headers)
        if fault.means == "busy":
            self.counts["rate_limited"] += 1
            self.concurrency.too_many(started)
            wait = wait or limits.quota_pause(headers) or _retry_delay(said)
        if wait and wait > PATIENCE:
            reason = f"{fault.reason} The server asks to wait {wait / 60:.0f} minutes; go on later."
            return Trouble(reason, fatal=True, fault=fault, elsewhere=self._replicas.drop(replica))
        if wait:
            self._pause.hold(wait)
        return Trouble(fault.reason, retry=True, wait=wait, fault=fault)


def _clients(endpoint: Endpoint, secret: Secret, options: Remote) -> list[openai.AsyncOpenAI]:
    """As many clients as the requests in flight need: a pool looks through all its connections at every request."""
    surroundings.check(endpoint)
    context = surroundings.certificates(endpoint)
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
        event_hooks=arrivals.hooks(secret, waits=False),
    )
    settings = _settings(endpoint, secret, options)
    return _bare(endpoint, openai.AsyncOpenAI(http_client=http, max_retries=0, **settings))


def waiting_client(endpoint: Endpoint, secret: Secret, options: Remote) -> openai.OpenAI:
    """The same for a few calls that are waited for, with the library's own retries."""
    surroundings.check(endpoint)
    http = httpx2.Client(
        verify=surroundings.certificates(endpoint),
        trust_env=not endpoint.is_local,
        timeout=httpx2.Timeout(options.timeout, connect=CONNECT),
        follow_redirects=False,
        event_hooks=arrivals.hooks(secret, waits=True),
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


def _sent(error: openai.APIStatusError) -> object:
    """All that a server sent with an error: the library keeps what is under ``error`` and drops what stands beside."""
    try:
        return json.loads(error.response.content) or error.message
    except (ValueError, RecursionError):
        return error.body or error.message


def _backoff(attempt: int, asked: float | None) -> float:
    """Seconds before the next attempt: what the server asked for, or a random share of a doubling wait."""
    if asked:
        return asked * random.uniform(1.0, 1.1)
    return random.uniform(0.25, 1.0) * min(LONGEST_WAIT, FIRST_WAIT * 2.0**attempt)


def _retry_delay(said: object) -> float | None:
    """Seconds to wait by the details of Gemini's error, which come in the body and not as a header."""
    found = RETRY_DELAY.search(json.dumps(said, default=str))
    return numbers.duration(found.group(1)) if found else None


def remedy(fault: Fault, endpoint: Endpoint) -> str:
    """What a user can do about an error by which all requests would fail; begins with a blank."""
    if fault.means in ("key", "forbidden"):
        return f" Check the key ({' or '.join(endpoint.key_names)}) and what it is allowed to do."
    if fault.means == "missing":
        return f" Check the model '{endpoint.model}' and the base_url {endpoint.base_url}, which usually ends in /v1."
    if fault.means == "moved":
        return " The server sends requests on to another address, which is not followed: name that one as base_url."
    if fault.means == "day":
        return " Waiting a minute does not help: go on when the limit begins anew, or raise it at the provider."
    return " Check plan and billing at the provider."

"""The Batch API of a provider: files of requests, answered within a day for about half the price.

Files and batches are few, so this client waits for each call; what is in a file is streamed both ways.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx2
import openai

from facevlm.backends.remote import replies
from facevlm.backends.remote.keys import Secret
from facevlm.backends.remote.services import Endpoint, data
from facevlm.errors import ModelError

T = TypeVar("T")
URL: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MARK = "facevlm"
"""Key of a batch's metadata by which a batch of ours is found again."""
OVER = ("completed", "expired", "cancelled", "failed")
TRANSFER = 600.0
"""Seconds for a file."""


@dataclass(frozen=True)
class Limits:
    """What a provider takes in one file, and the share of the usual price that it charges."""

    requests: int
    bytes: int
    share: float
    window: str


def limits() -> Limits:
    """The limits of ``assets/remote.yaml``."""
    return Limits(**data()["batch"])


@dataclass(frozen=True)
class State:
    """How far a batch is: ``status`` in the provider's words; files of answers and of errors once there are any."""

    id: str
    status: str
    total: int = 0
    done: int = 0
    failed: int = 0
    input_file: str = ""
    output_file: str | None = None
    error_file: str | None = None
    problem: str = ""

    @property
    def is_over(self) -> bool:
        return self.status in OVER


@dataclass(frozen=True)
class Line:
    """What came of one request: the body of a chat completion, or the reason why there is none."""

    custom_id: str
    body: Any = None
    error: str | None = None
    refused: bool = False


class BatchService:
    """Files and batches at one endpoint.

    Raises :class:`~facevlm.errors.ModelError` where a call fails; it names the host and never holds the key.
    """

    def __init__(self, endpoint: Endpoint, secret: Secret, client: openai.OpenAI) -> None:
        self._endpoint, self._secret, self._client = endpoint, secret, client

    def close(self) -> None:
        self._client.close()

    def check(self) -> None:
        """Ask for the list of batches, before anything large is sent."""
        self._asked(lambda: self._client.batches.list(limit=1))

    def submit(self, path: Path, mark: str) -> State:
        """Send a file of requests and begin its batch."""
        with path.open("rb") as handle:
            sent = self._asked(
                lambda: self._client.files.create(file=(path.name, handle), purpose="batch", timeout=TRANSFER)
            )
        made = self._asked(
            lambda: self._client.batches.create(
                input_file_id=sent.id,
                endpoint=URL,
                completion_window=limits().window,  # type: ignore[arg-type]
                metadata={MARK: mark},
            )
        )
        return _state(made)

    def state(self, batch: str) -> State:
        return _state(self._asked(lambda: self._client.batches.retrieve(batch)))

    def cancel(self, batch: str) -> State:
        return _state(self._asked(lambda: self._client.batches.cancel(batch)))

    def marked(self, mark: str) -> list[State]:
        """The batches that carry a mark, whoever noted their ids."""
        found = self._asked(lambda: list(self._client.batches.list(limit=100)))
        return [_state(batch) for batch in found if (batch.metadata or {}).get(MARK) == mark]

    def lines(self, state: State) -> Iterator[Line]:
        """The answers and errors of a batch that is over, one per request that has one."""
        for file in (state.output_file, state.error_file):
            for raw in self._content(file) if file else ():
                yield _line(raw)

    def custom_ids(self, state: State) -> Iterator[str]:
        """The ids of all requests that were sent in a batch."""
        return (str(raw["custom_id"]) for raw in self._content(state.input_file) if "custom_id" in raw)

    def _content(self, file: str) -> Iterator[Mapping[str, Any]]:
        """The objects of a file line by line; a line that is cut off or no object is left out."""
        content = self._client.files.with_streaming_response.content(file, timeout=TRANSFER)
        with _Entered(content, self._asked) as response:
            lines = response.iter_lines()
            while (text := self._asked(lambda: next(lines, None))) is not None:
                found = _parsed(self._secret.redact(text))
                if found is not None:
                    yield found

    def _asked(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except openai.APIStatusError as error:
            raise ModelError(self._refused(error)) from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise ModelError(f"{self._endpoint.host} cannot be reached: {error.__cause__ or error}") from None

    def _refused(self, error: openai.APIStatusError) -> str:
        said = replies.error_text(json.loads(self._secret.redact(json.dumps(error.body or error.message, default=str))))
        host, status = self._endpoint.host, error.status_code
        if status in (404, 405, 501):
            return f"{host} has no Batch API (HTTP {status}: {said}). Ask it without a batch: facevlm predict."
        if status in (401, 403):
            return f"{host}: HTTP {status}: {said} Check the key ({' or '.join(self._endpoint.key_names)})."
        return f"{host}: HTTP {status}: {said}"


class _Entered:
    """A context whose opening fails as every other call does."""

    def __init__(self, content: Any, asked: Callable[[Callable[[], Any]], Any]) -> None:
        self._content, self._asked = content, asked

    def __enter__(self) -> Any:
        return self._asked(self._content.__enter__)

    def __exit__(self, *exc: object) -> None:
        self._content.__exit__(*exc)


def _state(batch: Any) -> State:
    counts = batch.request_counts
    errors = getattr(batch.errors, "data", None) or []
    return State(
        batch.id,
        str(batch.status),
        counts.total if counts else 0,
        counts.completed if counts else 0,
        counts.failed if counts else 0,
        batch.input_file_id,
        batch.output_file_id,
        batch.error_file_id,
        "; ".join(str(e.message) for e in errors[:3] if e.message),
    )


def _parsed(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _line(raw: Mapping[str, Any]) -> Line:
    name = str(raw.get("custom_id", ""))
    response, error = raw.get("response"), raw.get("error")
    body = response.get("body") if isinstance(response, Mapping) else None
    status = response.get("status_code") if isinstance(response, Mapping) else None
    if isinstance(body, Mapping) and status == 200:
        return Line(name, body)
    said = error or body or "the batch gave neither an answer nor a reason"
    return Line(name, None, replies.error_text(said), replies.declines(said))

"""The Batch API of a provider: files of requests, answered within a day for about half the price.

Files and batches are few, so this client waits for each call; what is in a file is streamed both ways.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx2
import openai

from facevlm.backends.remote import arrivals, meanings, numbers, plain, replies, surroundings
from facevlm.backends.remote.client import remedy
from facevlm.backends.remote.exchange import Fault
from facevlm.backends.remote.keys import Secret
from facevlm.backends.remote.services import Endpoint, data
from facevlm.errors import GoneError, ModelError

T = TypeVar("T")
Named = TypeVar("Named", openai.types.Batch, openai.types.FileObject)
URL: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MARK = "facevlm"
"""Key of a batch's metadata by which a batch of ours is found again."""
PASSING = (408, 409, 429)
"""Statuses below 500 after which a batch is worth beginning again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before a batch is begun again; they double."""
OVER = ("completed", "expired", "cancelled", "failed")
TRANSFER = 600.0
"""Seconds for a file."""
MOST_LISTED = 10_000
"""Batches that are looked through; a list may go on for ever."""
HEAD = 4096
CUSTOM_ID = re.compile(r'"custom_id"\s*:\s*"([0-9a-zA-Z.]+)"')
"""The id in the first letters (``HEAD``) of a line that is too long to be read."""


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

    @property
    def answer_files(self) -> list[str]:
        """The files of answers and of errors that it has."""
        return [file for file in (self.output_file, self.error_file) if file]


@dataclass(frozen=True)
class Line:
    """What came of one request: the body of a chat completion, or the reason why there is none."""

    custom_id: str
    body: Any = None
    error: str | None = None
    refused: bool = False


class BatchService:
    """Files and batches at one endpoint. ``client`` repeats a call that fails; ``once`` does not.

    Raises :class:`~facevlm.errors.ModelError` where a call fails; it names the host and never holds the key.
    """

    def __init__(self, endpoint: Endpoint, secret: Secret, client: openai.OpenAI, once: openai.OpenAI) -> None:
        self._endpoint, self._secret, self._client, self._once = endpoint, secret, client, once

    def close(self) -> None:
        self._client.close()
        self._once.close()

    def check(self) -> None:
        """Ask for the list of batches, before anything large is sent."""
        self._listed(1)

    def submit(self, path: Path, mark: str) -> State:
        """Send a file of requests and begin its batch, under a mark that no other batch has."""
        with path.open("rb") as handle:
            sent = self._asked(
                lambda: self._client.files.create(file=(path.name, handle), purpose="batch", timeout=TRANSFER)
            )
        return self._begun(self._whole(sent).id, mark)

    def _begun(self, file: str, mark: str) -> State:
        """Begin a batch. An error may hide that it was made: it is looked for by its mark before it is begun again."""
        pause = FIRST_PAUSE
        for _ in range(self._client.max_retries):
            trouble = None
            try:
                return self._create(file, mark)
            except openai.APIError as error:
                trouble = None if _passes(error) else ModelError(self._refused(error))
            except (ValueError, RecursionError):
                # An answer that cannot be read may be that of a batch that was made.
                pass
            if trouble is not None:
                raise trouble
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
            if made := self.marked(mark):
                return made[0]
        return self._asked(lambda: self._create(file, mark))

    def _create(self, file: str, mark: str) -> State:
        made = self._once.batches.create(
            input_file_id=file,
            endpoint=URL,
            completion_window=limits().window,  # type: ignore[arg-type]
            metadata={MARK: mark},
        )
        return self._state(self._whole(made))

    def state(self, batch: str) -> State:
        return self._state(self._whole(self._asked(lambda: self._client.batches.retrieve(batch), gone="batch")))

    def cancel(self, batch: str) -> State:
        return self._state(self._whole(self._asked(lambda: self._client.batches.cancel(batch), gone="batch")))

    def marked(self, mark: str) -> list[State]:
        """The batches that carry a mark, or one that goes on from it (``<mark>-<n>``), whoever noted their ids."""
        named = ((_mark(batch), batch) for batch in self._listed(100))
        return [self._state(batch) for name, batch in named if name == mark or name.startswith(f"{mark}-")]

    def _listed(self, page: int) -> list[openai.types.Batch]:
        """The batches of this key; of a page of one, the first alone."""
        try:
            found = self._asked(lambda: self._client.batches.list(limit=page))
            listed = found.data if page == 1 else self._asked(lambda: list(itertools.islice(found, MOST_LISTED)))
        except (AttributeError, TypeError):
            # The library takes any text for a page and stumbles over it.
            raise ModelError(self._no_batch()) from None
        return [self._whole(batch) for batch in (listed if isinstance(listed, list) else [])]

    def lines(self, file: str) -> Iterator[Line]:
        """What came of requests, by a file of answers or of errors.

        Raises :class:`~facevlm.errors.GoneError` for a file that is no longer there.
        """
        return map(_line, self._content(file))

    def custom_ids(self, file: str) -> Iterator[str]:
        """The ids of all requests in a file that was sent; raises as :meth:`lines`."""
        return (str(raw["custom_id"]) for raw in self._content(file) if "custom_id" in raw)

    def _content(self, file: str) -> Iterator[Mapping[str, Any]]:
        """The objects of a file line by line; a line that is cut off or no object is left out, of one that is too long
        there is its id."""
        content = self._client.files.with_streaming_response.content(file, timeout=TRANSFER)
        with _Entered(content, partial(self._asked, gone="file")) as response:
            if "html" in response.headers.get("content-type", ""):
                raise ModelError(self._no_batch())
            lines = _lines(response.iter_bytes())
            while (line := self._asked(lambda: next(lines, None))) is not None:
                found = _parsed(line)
                if found is not None:
                    yield self._secret.redact(found)

    def _whole(self, found: Named) -> Named:
        """What was answered, which must be an object with an id."""
        if not isinstance(getattr(found, "id", None), str):
            raise ModelError(self._no_batch())
        return found

    def _no_batch(self) -> str:
        return (
            f"{self._endpoint.host} answered with a page or something else that is no batch, expected a Batch API at "
            f"{self._endpoint.base_url}. Check base_url, or ask it without a batch: facevlm apply."
        )

    def _asked(self, call: Callable[[], T], gone: str = "") -> T:
        """The result of a call; ``gone`` names what a 404 is about, where it is not about the API itself."""
        try:
            return call()
        except openai.APIError as error:
            trouble = self._trouble(error, gone)
        except (ValueError, RecursionError):
            trouble = ModelError(self._no_batch())
        except httpx2.HTTPError as error:
            trouble = ModelError(self._unreached(error))
        # Outside of the handler: the error would hold on to the library's own, and with it to what the server said.
        raise trouble

    def _trouble(self, error: openai.APIError, gone: str) -> ModelError:
        if gone and isinstance(error, openai.APIStatusError) and error.status_code in (404, 410):
            said = self._said(error)
            return GoneError(f"{self._endpoint.host} has that {gone} no more (HTTP {error.status_code}: {said})")
        return ModelError(self._refused(error))

    def _said(self, error: openai.APIError) -> str:
        """A server's own words, without the key."""
        return replies.error_text(self._said_by(error))

    def _unreached(self, error: Exception) -> str:
        cause = error.__cause__ or error
        said = self._secret.redact(replies.one_line(str(cause) or type(cause).__name__))
        if isinstance(cause, arrivals.TooLong):
            return f"{self._endpoint.host}: {said}"
        return f"{self._endpoint.host} cannot be reached: {said}{surroundings.through(self._endpoint)}"

    def _said_by(self, error: openai.APIError) -> object:
        return self._secret.redact(error.body or error.message)

    def _refused(self, error: openai.APIError) -> str:
        host = self._endpoint.host
        if not isinstance(error, openai.APIStatusError):
            return self._unreached(error)
        said, status = self._said(error), error.status_code
        fault = meanings.of_status(self._said_by(error), status)
        if status in (404, 405, 501):
            return f"{host} has no Batch API (HTTP {status}: {said}). Ask it without a batch: facevlm apply."
        return f"{host}: {fault.reason}" + (remedy(fault, self._endpoint) if fault.is_fatal else "")

    def _state(self, batch: openai.types.Batch) -> State:
        """What a provider says about a batch, whatever it holds: the library checks nothing of it."""
        said = self._secret.redact(self._asked(lambda: batch.to_dict(warnings=False)))
        counts = _object(said.get("request_counts"))
        return State(
            id=str(said["id"]),
            status=str(said.get("status")),
            total=numbers.count(counts.get("total"), numbers.MOST_REQUESTS),
            done=numbers.count(counts.get("completed"), numbers.MOST_REQUESTS),
            failed=numbers.count(counts.get("failed"), numbers.MOST_REQUESTS),
            input_file=str(said.get("input_file_id") or ""),
            output_file=_text(said.get("output_file_id")),
            error_file=_text(said.get("error_file_id")),
            problem=_problem(said.get("errors")),
        )


class _Entered:
    """A context whose opening fails as every other call does."""

    def __init__(self, content: Any, asked: Callable[[Callable[[], Any]], Any]) -> None:
        self._content, self._asked = content, asked

    def __enter__(self) -> Any:
        return self._asked(self._content.__enter__)

    def __exit__(self, *exc: object) -> None:
        self._content.__exit__(*exc)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _mark(batch: openai.types.Batch) -> str:
    return str(_object(batch.metadata).get(MARK))


def _problem(errors: object) -> str:
    """Why a batch was not let in, in the provider's words."""
    listed = _object(errors).get("data")
    said = [_text(_object(one).get("message")) for one in (listed if isinstance(listed, list) else [])[:3]]
    return "; ".join(replies.error_text(one) for one in said if one)


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of a file that comes in pieces; of a line that is longer than an answer may be, as much as that."""
    line, room = bytearray(), arrivals.MOST + 1
    for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            yield bytes(line + part[: room - len(line)])
            line.clear()
        line += rest[: room - len(line)]
    if line:
        yield bytes(line)


def _passes(error: openai.APIError) -> bool:
    """Whether the same call may succeed later, or have succeeded unheard."""
    return not isinstance(error, openai.APIStatusError) or error.status_code in PASSING or error.status_code >= 500


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    if len(line) > arrivals.MOST:
        named = CUSTOM_ID.search(line[:HEAD].decode("utf-8", "replace"))
        return {"custom_id": named.group(1), "error": str(arrivals.TooLong())} if named else None
    try:
        found = plain.body(line.decode("utf-8", "replace"))
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
    fault = _fault(said, status if isinstance(status, int) else 0)
    return Line(name, None, fault.text, fault.means == "declined")


def _fault(said: object, status: int) -> Fault:
    """What the error of a line means. Providers wrap its status in various ways, or leave it out."""
    return meanings.of_status(said, status) if status >= 300 else meanings.of_error(said)

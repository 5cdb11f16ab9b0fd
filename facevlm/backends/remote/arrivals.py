"""What comes off the wire, made harmless before the client library reads it: bodies bounded, headers made readable."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

import httpx2

from facevlm.backends.remote import numbers
from facevlm.backends.remote.keys import Secret

MIB = 2**20
MOST = 16 * MIB
"""Bytes of an answer, or of a line of a file of answers, counted unpacked."""
MOST_OF_ERROR = MIB // 4
"""Bytes of a body with an error status; the rest of it is not read."""
FILE = re.compile(r"/files/[^/]+/content$")
"""Path of a file of a batch, which is read line by line and may be of any length."""
WAITS = ("retry-after", "retry-after-ms")


class TooLong(httpx2.TransportError):
    """A body that goes on behind the bound."""

    def __init__(self) -> None:
        super().__init__(f"the answer is longer than {MOST // MIB} MiB and was cut off")


def hooks(secret: Secret, *, waits: bool) -> dict[str, list[Any]]:
    """Event hooks of an HTTP client, of one that ``waits`` for its calls or of one in an event loop."""

    def now(response: httpx2.Response) -> None:
        _guard(response, secret)

    async def later(response: httpx2.Response) -> None:
        _guard(response, secret)

    return {"response": [now if waits else later]}


def _guard(response: httpx2.Response, secret: Secret) -> None:
    path = response.request.url.path
    unbounded = response.is_success and FILE.search(path)
    response.stream = _Bounded(response, None if unbounded else MOST if response.is_success else MOST_OF_ERROR)
    _tidy(response.headers, secret)


def _tidy(headers: httpx2.Headers, secret: Secret) -> None:
    """Without what was unpacked already, without waits and alphabets that the library stumbles over, without key."""
    for name in ("content-encoding", "content-length"):
        headers.pop(name, None)
    if numbers.retry_after(headers) is None:
        for name in WAITS:
            headers.pop(name, None)
    if "content-type" in headers:
        headers["content-type"] = headers["content-type"].partition(";")[0].strip()
    for name, value in list(headers.items()):
        if (hidden := secret.redact(value)) != value:
            headers[name] = hidden


class _Bounded(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    """A body as it is unpacked, up to ``most`` bytes. That of an error ends there, any other raises."""

    def __init__(self, response: httpx2.Response, most: int | None) -> None:
        self._source = httpx2.Response(response.status_code, headers=response.headers, stream=response.stream)
        self._most, self._ends = most, not response.is_success
        self._taken = 0

    def _fits(self, piece: bytes) -> bool:
        self._taken += len(piece)
        if self._most is None or self._taken <= self._most:
            return True
        if not self._ends:
            raise TooLong
        return False

    def __iter__(self) -> Iterator[bytes]:
        with contextlib.closing(_opened(self._source.iter_bytes())) as pieces:
            for piece in pieces:
                if not self._fits(piece):
                    return
                yield piece

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        async with contextlib.aclosing(self._source.aiter_bytes()) as pieces:
            async for piece in pieces:
                if not self._fits(piece):
                    return
                yield piece

    def close(self) -> None:
        self._source.close()

    async def aclose(self) -> None:
        await self._source.aclose()


def _opened(pieces: Iterator[bytes]) -> Generator[bytes]:
    yield from pieces

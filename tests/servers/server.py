"""A chat completion server on real sockets that behaves as badly as it is told to.

It stands in for providers, which cannot be had here, and answers in the shape of OpenAI's documented chat completions.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

CODES = ("amber-17", "violet-42")


@dataclass(frozen=True)
class Act:
    """What the server does with a request: wait, then send status, headers and body, whole, slowly, cut, or never."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    cut_at: int | None = None
    hang: bool = False


@dataclass(frozen=True)
class Request:
    """What arrived: headers in lower case, the JSON body, and which request about this picture it is, from 0 on."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]
    path: str
    times: int

    @property
    def is_probe(self) -> bool:
        return "This tests whether" in json.dumps(self.body["messages"][-1])

    @property
    def url(self) -> str:
        part = self.body["messages"][-1]["content"][0]
        return str(part["image_url"]["url"])

    @property
    def jpeg(self) -> bytes:
        return base64.b64decode(self.url.partition("base64,")[2])

    @property
    def picture(self) -> Image.Image:
        return Image.open(io.BytesIO(self.jpeg))

    @property
    def level(self) -> int:
        """The grey level in the middle of the picture, that is which picture it is."""
        picture = self.picture.convert("L")
        value = picture.getpixel((picture.width // 2, picture.height // 2))
        assert isinstance(value, int)
        return value

    @property
    def enums(self) -> dict[str, list[str]]:
        """The label sets of the schema."""
        form = self.body.get("response_format") or {}
        properties = form.get("json_schema", {}).get("schema", {}).get("properties", {})
        return {name: p["enum"] for name, p in properties.items()}


Answer = Callable[[Request], Act]


def completion(content: str | None, *, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion with this content; ``logprobs`` goes to the choice, everything else to the message."""
    logprobs = message.pop("logprobs", None)
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    if logprobs is not None:
        choice["logprobs"] = {"content": logprobs}
    usage = {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}


def token(text: str, log_prob: float, **others: float) -> dict[str, Any]:
    """A token with its alternatives as keywords."""
    top = [{"token": text, "logprob": log_prob}, *({"token": t, "logprob": p} for t, p in others.items())]
    return {"token": text, "logprob": log_prob, "bytes": list(text.encode()), "top_logprobs": top}


def obedient(request: Request) -> Act:
    """A label by the picture's grey level for every attribute; schema and log-probabilities are honoured."""
    if request.is_probe:
        code = json.dumps({"code": CODES[0]})
        return Act(completion(code, logprobs=[token(code, -0.1)]))
    level = request.level
    chosen = {name: labels[level // 20 % len(labels)] for name, labels in request.enums.items()}
    return Act(completion(json.dumps(chosen)))


def after_probe(answer: Answer) -> Answer:
    """Obedient when probed, else as given."""
    return lambda request: obedient(request) if request.is_probe else answer(request)


class Server:
    """Counts what it is asked. ``answer`` may be changed while it runs."""

    def __init__(self, answer: Answer = obedient) -> None:
        self.answer = answer
        self.times: Counter[bytes] = Counter()
        self.requests: list[Request] = []
        self.keep = True
        self.served = self.in_flight = self.most_in_flight = 0
        self.port = 0
        self.writers: set[asyncio.StreamWriter] = set()
        self.listening: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def asked(self) -> list[Request]:
        """Requests about the user's pictures."""
        return [r for r in self.requests if not r.is_probe]

    def kill(self) -> None:
        """Be gone as a process that was killed: from its own thread, as ``answer`` is called in."""
        assert self.listening is not None
        self.listening.close()
        for writer in self.writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) and await self._one(head, reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _one(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._act(self._request(first, headers, raw), writer)
        finally:
            self.in_flight -= 1

    def _request(self, first: str, headers: dict[str, str], raw: bytes) -> Request:
        body = json.loads(raw) if raw else {"messages": [{"content": ""}]}
        mark = json.dumps(body["messages"][-1]).encode()
        request = Request(headers, body, first.split(" ")[1], self.times[mark])
        self.served += 1
        if self.keep:
            self.times[mark] += 1
            self.requests.append(request)
        return request

    async def _act(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        act = self.answer(request)
        if act.delay:
            await asyncio.sleep(act.delay)
        if act.hang:
            await asyncio.sleep(3600)
        raw = act.body if isinstance(act.body, bytes) else json.dumps(act.body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(raw)), **act.headers}
        head = f"HTTP/1.1 {act.status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
        writer.write(head.encode("latin-1"))
        if act.drip:
            for k in range(len(raw)):
                writer.write(raw[k : k + 1])
                await writer.drain()
                await asyncio.sleep(act.drip)
            return True
        writer.write(raw[: act.cut_at])
        await writer.drain()
        return act.cut_at is None


@contextmanager
def running(answer: Answer = obedient) -> Iterator[Server]:
    """A server in a thread of its own, on a free port of this machine."""
    server, loop, started = Server(answer), asyncio.new_event_loop(), threading.Event()

    async def main() -> None:
        server.listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1024)
        server.port = server.listening.sockets[0].getsockname()[1]
        started.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(main()), loop.run_forever()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:

        async def end() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

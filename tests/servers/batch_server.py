"""Files and batches on real sockets, in the shape of OpenAI's documented Batch API; requests are answered as told."""

from __future__ import annotations

import base64
import email
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from PIL import Image

from tests.ports import free_port
from tests.servers.server import CODES, completion, token
from tests.waiting import until

KEY = "sk-batch-0123456789abcdef"
Answer = Callable[[dict[str, Any]], "dict[str, Any] | None"]
"""Takes a request's body and returns its line's ``response`` and ``error``; None for no line at all."""
PAGE = HTMLResponse("<html><body>Welcome</body></html>")
LOST = JSONResponse({"error": {"message": "bad gateway"}}, 502)


def level_of(body: dict[str, Any]) -> int:
    """The grey level in the middle of the picture."""
    [url] = [p["image_url"]["url"] for p in body["messages"][-1]["content"] if p["type"] == "image_url"]
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))).convert("L")
    return int(picture.getpixel((picture.width // 2, picture.height // 2)))  # type: ignore[arg-type]


def by_level(body: dict[str, Any]) -> dict[str, Any]:
    """A label by the picture's grey level for every attribute of the schema."""
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    said = {name: p["enum"][level_of(body) // 20 % len(p["enum"])] for name, p in properties.items()}
    return {"response": {"status_code": 200, "body": completion(json.dumps(said))}, "error": None}


@dataclass
class Provider:
    """What is kept of files and batches. ``ready`` lets batches end; ``fate`` is how they end then.

    So many batches fail to be made by ``fail_create``; of one that is made ``told`` says what is answered. Files in
    ``gone`` are no longer there, and ``listing`` is answered in place of the list of batches.
    """

    answer: Answer = by_level
    ready: bool = True
    fate: str = "completed"
    has_batches: bool = True
    fail_create: int = 0
    told: Callable[[dict[str, Any]], Any] = lambda made: made
    gone: set[str] = field(default_factory=set)
    listing: Any = None
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    base_url: str = ""

    def app(self) -> FastAPI:
        app = FastAPI()
        app.middleware("http")(self._guard)
        app.post("/v1/chat/completions")(self._chat)
        app.post("/v1/files")(self._upload)
        app.get("/v1/files/{file}/content")(self._content)
        app.post("/v1/batches")(self._create)
        app.get("/v1/batches")(self._list)
        app.get("/v1/batches/{batch}")(self._retrieve)
        app.post("/v1/batches/{batch}/cancel")(self._cancel)
        return app

    async def _guard(self, request: Request, handle: Any) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            said = f"Incorrect API key provided: {request.headers.get('authorization')}"
            return JSONResponse({"error": {"message": said, "code": "invalid_api_key"}}, 401)
        if not self.has_batches and not request.url.path.endswith("completions"):
            return JSONResponse({"detail": "Not Found"}, 404)
        return await handle(request)  # type: ignore[no-any-return]

    async def _chat(self, request: Request) -> Any:
        body = await request.json()
        if "gender" in json.dumps(body.get("response_format", "")):
            return by_level(body)["response"]["body"]
        code = json.dumps({"code": CODES[0]})
        return completion(code, logprobs=[token(code, -0.1)])

    async def _upload(self, request: Request) -> Any:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        form = email.message_from_bytes(head + await request.body())
        [data] = [part.get_payload(decode=True) for part in form.walk() if part.get_filename()]
        name = f"file-{len(self.files)}"
        self.files[name] = bytes(data)
        said = {"object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "batch"}
        return {"id": name, "status": "processed", **said}

    async def _content(self, file: str) -> Response:
        if file in self.gone:
            return JSONResponse({"error": {"message": f"No such File object: {file}"}}, 404)
        return Response(self.files[file], media_type="application/jsonl")

    async def _create(self, request: Request) -> Any:
        body = await request.json()
        if self.fail_create:
            self.fail_create -= 1
            return JSONResponse({"error": {"message": "try later"}}, 500)
        name = f"batch_{len(self.batches)}"
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        self.asked += lines
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": body["endpoint"],
            "completion_window": body["completion_window"],
            "created_at": int(time.time()),
            "input_file_id": body["input_file_id"],
            "metadata": body.get("metadata"),
            "status": "validating",
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }
        return self.told(self.batches[name])

    async def _list(self) -> Any:
        if self.listing is not None:
            return self.listing
        data = list(self.batches.values())[::-1]
        return {"object": "list", "data": data, "first_id": None, "last_id": None, "has_more": False}

    async def _retrieve(self, batch: str) -> Any:
        found = self.batches[batch]
        if self.ready and found["status"] in ("validating", "in_progress"):
            self._finish(found)
        return found

    async def _cancel(self, batch: str) -> Any:
        self.batches[batch]["status"] = "cancelled"
        return self.batches[batch]

    def refuse(self, batch: str, why: str) -> None:
        """End a batch before any of its requests is counted, as one over a limit ends."""
        self.batches[batch] |= {
            "status": "failed",
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "errors": {"object": "list", "data": [{"code": "limit", "message": why, "line": None, "param": None}]},
        }

    def _finish(self, batch: dict[str, Any]) -> None:
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for raw in self.files[batch["input_file_id"]].splitlines():
            line = json.loads(raw)
            said = self.answer(line["body"])
            if said is not None:
                right = said.get("response") and said["response"]["status_code"] == 200
                (good if right else bad).append({"id": "r", "custom_id": line["custom_id"], **said})
        for kind, lines in (("output", good), ("error", bad)):
            if lines:
                name = f"file-{len(self.files)}"
                # Not in the order of the requests, as the provider says of its own.
                self.files[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines[::-1])
                batch[f"{kind}_file_id"] = name
        batch["status"] = self.fate
        batch["request_counts"] = {
            "total": batch["request_counts"]["total"],
            "completed": len(good),
            "failed": len(bad),
        }


@contextmanager
def serving(provider: Provider) -> Iterator[Provider]:
    """The provider in a thread of its own, on a free port of this machine."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(provider.app(), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the provider's server started")
    provider.base_url = f"http://127.0.0.1:{port}/v1"
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(10)

"""Asking a model behind an API: how near the ideal rate, at what CPU cost, against waiting for batches, and memory.

    python -m benchmarks.remote [--faces 3000] [--memory-faces 10000]

The server (``remote_server``) is a process of its own and waits 200 ms. Ideal is the number in flight over the
latency; plain sockets show what the machine allows at the moment. "Batches of 8" sends 8 requests at once through the
same client library, on pictures that lie ready as JPEG, and waits for all of them before the next 8. Ours decodes,
encodes, asks for four attributes, parses and hands over for writing. CPU is that of this process alone. The last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openai
import psutil

from facevlm.attributes import get
from facevlm.backends import Options, Remote, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.remote.backend import RemoteBackend
from facevlm.datasets import samples
from facevlm.engines import local
from facevlm.types import Face, Prediction

from .timing import machine

ATTRIBUTES = ("gender", "race5", "age5", "emotion7")
LATENCY = 0.2
IN_FLIGHT = 64
BATCH = 8
MIB = 2**20


@contextlib.contextmanager
def server(latency: float, tail: bool) -> Iterator[str]:
    """The base_url of a waiting server."""
    command = [sys.executable, "-m", "benchmarks.remote_server", str(latency), str(int(tail))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def faces(count: int) -> list[Face]:
    """References to the shipped sample faces, over and over."""
    paths = [record.filepath for record in samples.read("single")]
    return [Face(str(k), str(paths[k % len(paths)])) for k in range(count)]


def ours(url: str, count: int, in_flight: int) -> dict[str, float]:
    """Rate, CPU per request, and resident memory in MiB after every 250 faces."""
    questions = questions_for(find("openai:m"), [get(name) for name in ATTRIBUTES])
    remote = Remote(base_url=url, concurrency=in_flight, cache="off")
    backend = open_backend("openai:m", Options(remote=remote))
    assert isinstance(backend, RemoteBackend)
    backend.check(questions)
    counted, memory, process = 0, [], psutil.Process()

    def write(predictions: Sequence[Prediction]) -> None:
        nonlocal counted
        counted += sum(p.outcome == "ok" for p in predictions)
        memory.append((counted / len(ATTRIBUTES), process.memory_info().rss / MIB))

    start, cpu = time.perf_counter(), time.process_time()
    for _ in local.run(faces(count), backend, questions, write, batch_size=16, chunk_size=250):
        pass
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    backend.close()
    assert counted == count * len(ATTRIBUTES)
    half = memory[len(memory) // 2 :]
    done, mib = np.array(half).T
    slope = float(np.polyfit(done, mib, 1)[0]) if len(half) > 2 else float("nan")
    return {
        "rate": count / seconds,
        "cpu_ms": 1000 * cpu / count,
        "mib_at_half": half[0][1],
        "mib_at_end": half[-1][1],
        "mib_per_100000": 100_000 * slope,
    }


def batches_of(url: str, count: int, size: int) -> float:
    """Faces a second when every batch is waited for."""
    jpegs = [base64.b64encode(Path(face.filepath).read_bytes()).decode() for face in faces(96)]

    async def ask(client: openai.AsyncOpenAI, k: int) -> Any:
        picture = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{jpegs[k % 96]}"}}
        chat: Any = [{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]
        return await client.chat.completions.create(model="m", messages=chat)

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
            for first in range(0, count, size):
                await asyncio.gather(*(ask(client, k) for k in range(first, min(count, first + size))))

    start = time.perf_counter()
    asyncio.run(run())
    return count / (time.perf_counter() - start)


def bare(url: str, count: int, in_flight: int) -> float:
    """Requests a second over plain sockets with nothing else to do: what server and machine allow at the moment."""
    host, port = url.split("/")[2].split(":")
    body = b'{"picture": "' + b"x" * 12_000 + b'"}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def one(numbers: Iterator[int]) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in numbers:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        writer.close()

    async def run() -> None:
        numbers = iter(range(count))
        await asyncio.gather(*(one(numbers) for _ in range(in_flight)))

    start = time.perf_counter()
    asyncio.run(run())
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=3000)
    parser.add_argument("--memory-faces", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    result: dict[str, Any] = {"name": "remote", "machine": machine(), "faces": args.faces, "rounds": args.rounds}
    steady, plain, fewer = [], [], []
    with server(LATENCY, tail=False) as url:
        for _ in range(args.rounds):
            steady.append(ours(url, args.faces, IN_FLIGHT))
            plain.append(bare(url, args.faces, IN_FLIGHT))
            fewer.append(ours(url, args.faces // 4, IN_FLIGHT // 4)["rate"])
    rates_now = [r["rate"] for r in steady]
    result["of ideal rate"] = round(statistics.median(rates_now) / (IN_FLIGHT / LATENCY), 3)
    result["plain sockets of ideal rate"] = round(statistics.median(plain) / (IN_FLIGHT / LATENCY), 3)
    result["best of ideal rate"] = round(max(rates_now) / (IN_FLIGHT / LATENCY), 3)
    result["of ideal rate, 16 in flight"] = round(statistics.median(fewer) / (IN_FLIGHT // 4 / LATENCY), 3)
    result["CPU ms per request"] = round(statistics.median(r["cpu_ms"] for r in steady), 2)
    with server(LATENCY, tail=True) as url:
        rates: dict[str, list[float]] = {"ours, 64 in flight": [], "ours, 8 in flight": [], "batches of 8": []}
        for _ in range(args.rounds):
            rates["ours, 64 in flight"].append(ours(url, args.faces // 2, IN_FLIGHT)["rate"])
            rates["ours, 8 in flight"].append(ours(url, args.faces // 10, BATCH)["rate"])
            rates["batches of 8"].append(batches_of(url, args.faces // 10, BATCH))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    result["faces/s, heavy tail"] = {name: round(value, 1) for name, value in middle.items()}
    result["against batches of 8"] = round(middle["ours, 64 in flight"] / middle["batches of 8"], 2)
    result["against batches of 8, 8 in flight"] = round(middle["ours, 8 in flight"] / middle["batches of 8"], 2)
    with server(0.02, tail=False) as url:
        long = ours(url, args.memory_faces, IN_FLIGHT)
    result["memory"] = {"faces": args.memory_faces, **{k: round(v, 1) for k, v in long.items() if k.startswith("mib")}}
    for name, value in result.items():
        print(f"{name}: {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""A chat completion server that does nothing but wait: how fast the other side can be is what is measured.

    python -m benchmarks.remote_server LATENCY TAIL

Prints its port. Latency in seconds; with TAIL 1 the waits are lognormal with that mean and sigma 1.2 (1 in 100 is above
eight times the mean), drawn anew from one seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import sys

SIGMA = 1.2
ANSWER = json.dumps({"gender": "Male", "race5": "White", "age5": "20-39", "emotion7": "happy"})
PROBED = json.dumps({"code": "amber-17"})


def response(content: str) -> bytes:
    """A whole HTTP response with a chat completion."""
    token = {"token": content, "logprob": -0.1, "top_logprobs": []}
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": content},
        "logprobs": {"content": [token]},
    }
    usage = {"prompt_tokens": 300, "completion_tokens": 30, "total_tokens": 330}
    body = json.dumps(
        {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def main(latency: float, tail: bool) -> None:
    """Serve until the process is ended."""
    draw = random.Random(0)
    answers = {False: response(ANSWER), True: response(PROBED)}

    def wait() -> float:
        return draw.lognormvariate(math.log(latency) - SIGMA**2 / 2, SIGMA) if tail else latency

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
                )
                body = await reader.readexactly(length)
                await asyncio.sleep(wait())
                writer.write(answers[b"This tests whether" in body])
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2] == "1"))

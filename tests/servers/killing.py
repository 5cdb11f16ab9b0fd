"""A run in a process of its own that is killed in its midst and started again, over pictures that all differ."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path

from PIL import Image

from tests.servers import warm
from tests.servers.server import Act, Request, Server
from tests.waiting import until


def distinct_pictures(folder: Path, total: int, side: int = 8) -> list[str]:
    """Paths of pictures of one colour each."""
    paths = [str(folder / f"{k}.png") for k in range(total)]
    for k, path in enumerate(paths):
        colour = (16 * (k % 16) + 8, 16 * (k // 16) % 256 + 8, 16 * (k // 256) + 8)
        Image.new("RGB", (side, side), colour).save(path)
    return paths


def killed_and_run_again(code: str, dataset_name: str, server: Server, after: int) -> int:
    """Kill the code once the server was asked ``after`` times, run it again; how often it was asked until the kill.

    The code gets the dataset's name and the server's address as arguments. Until the kill the server leaves all later
    requests without an answer, so that the run cannot end before it is killed.
    """
    usual, asked = server.answer, itertools.count()

    def answer_some(request: Request) -> Act:
        return usual(request) if request.is_probe or next(asked) < after else Act(hang=True)

    server.answer = answer_some
    first = warm.start(code, dataset_name, server.base_url)

    def reached() -> bool:
        assert first.poll() is None, "the run ended before it could be killed"
        return len(server.asked) >= after

    until(reached, f"{after} requests")
    first.send_signal(signal.SIGKILL)
    first.wait()
    server.answer = usual
    before = len(server.asked)
    warm.run(code, dataset_name, server.base_url, check=True)
    return before

"""``transformers serve`` on the shipped demo model: a server that nobody here wrote, deaf to much of a request."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facevlm.folders import ASSETS
from tests.ports import free_port

CHAT = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
TEMPLATE = "templates: {bare: {text: '{questions}', line: '{question}'}}\n"
"""The question and nothing else: what the demo model was tuned on."""


def checkpoint(folder: Path) -> Path:
    """A copy of the demo model with a chat template, which a server needs, and a template of requests beside it."""
    shutil.copytree(ASSETS / "demo_model", folder, dirs_exist_ok=True)
    (folder / "chat_template.jinja").write_text(CHAT)
    (folder / "bare.yaml").write_text(TEMPLATE)
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The base_url of a server of this checkpoint."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--device", "cpu"]
    with open(folder / "serve.log", "wb") as log:
        offline = os.environ | {"HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=subprocess.STDOUT, env=offline)
        try:
            _wait(process, port, folder / "serve.log")
            yield f"http://localhost:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])

"""``transformers serve`` on the shipped demo model: a server that nobody here wrote, deaf to much of a request."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facevlm.folders import ASSETS
from tests.ports import free_port
from tests.servers import tied
from tests.waiting import until

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
    log = folder / "serve.log"
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://localhost:{port}/health", timeout=2):
            return True
        return False

    with (
        open(log, "wb") as out,
        tied.running([*command, "--port", str(port)], stdout=out, stderr=subprocess.STDOUT, env=offline) as process,
    ):
        until(answers, "transformers serve answers")
        yield f"http://localhost:{port}/v1"

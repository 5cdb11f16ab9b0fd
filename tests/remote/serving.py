"""``transformers serve`` on a tiny random LLaVA: nobody here wrote it, and it ignores much of what it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import transformers as tf
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.backends import tiny
from tests.ports import free_port


def checkpoint(folder: Path) -> Path:
    """A tiny LLaVA with the composite processor that a server needs."""
    tiny.llava(folder)
    config = tf.AutoConfig.from_pretrained(folder)
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    processor = tf.LlavaProcessor(
        CLIPImageProcessorPil.from_pretrained(folder),
        tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        image_token=tokenizer.convert_ids_to_tokens(config.image_token_id),
        chat_template=(folder / "chat_template.jinja").read_text().replace("PICTURE", "<image>"),
    )
    processor.save_pretrained(folder)
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

"""What the loading options cost and change, on the shipped demo model and its sample faces.

    python -m benchmarks.options [--rounds 5]

Four attributes of 96 faces by the shared prompt. Per option: speed against float32 (alternating rounds, medians),
decisions that equal float32's, and the largest move of a label's log-probability. 8bit and 4bit need
"facevlm[quantize]" and are left out without it. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import platform
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import Backend, Options
from facevlm.backends.cards import find, questions_for
from facevlm.backends.local import LocalBackend
from facevlm.datasets import samples
from facevlm.types import Question

ATTRIBUTES = ("gender", "race5", "age5", "emotion7")
BASE = "float32"
CHOICES = {
    BASE: Options(dtype="float32"),
    "bfloat16": Options(dtype="bfloat16"),
    "eager attention": Options(dtype="float32", attention="eager"),
    "compiled": Options(dtype="float32", compile="default"),
    "8bit": Options(quantize="8bit"),
    "4bit": Options(quantize="4bit"),
}


def scores(backend: Backend, pictures: Sequence[Image.Image], questions: Sequence[Question]) -> tuple[Any, list[Any]]:
    """Log-probabilities of all labels in a row, and the decisions."""
    replies = [reply for row in backend.answer(pictures, questions) for reply in row]
    return torch.tensor([p for reply in replies for p in reply.log_probs or ()]), [reply.choice for reply in replies]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    quantized = all(importlib.util.find_spec(p) for p in ("bitsandbytes", "accelerate"))
    chosen = {name: o for name, o in CHOICES.items() if quantized or not o.quantize}
    pictures = [Image.open(record.filepath).convert("RGB") for record in samples.read("single")]
    card = find("demo")
    questions = questions_for(card, [get(name) for name in ATTRIBUTES])
    backends = {name: LocalBackend(card, options) for name, options in chosen.items()}
    answers = {name: scores(backend, pictures, questions) for name, backend in backends.items()}
    seconds: dict[str, list[float]] = {name: [] for name in backends}
    for number in range(args.rounds):
        for name in list(backends)[:: 1 if number % 2 == 0 else -1]:
            start = time.perf_counter()
            backends[name].answer(pictures, questions)
            seconds[name].append(time.perf_counter() - start)
    base, decided = answers[BASE]
    rows = {
        name: {
            "speed against float32": round(statistics.median(seconds[BASE]) / statistics.median(seconds[name]), 2),
            "equal decisions": sum(a == b for a, b in zip(choices, decided, strict=True)),
            "largest move, nat": round(float((table - base).abs().max()), 3),
        }
        for name, (table, choices) in answers.items()
    }
    for name, row in rows.items():
        print(name, row)
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, cuda {torch.cuda.is_available()}"
    result = {"name": "options", "machine": machine, "n": len(decided), "rounds": args.rounds, "ratios": rows}
    print(json.dumps(result))


if __name__ == "__main__":
    main()

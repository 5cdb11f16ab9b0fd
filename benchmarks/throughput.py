"""Pictures per second of facevlm.apply against the model card's loop and against the bare forward pass.

    python -m benchmarks.throughput [--pictures 512] [--large-pictures 24] [--rounds 5] [--settings]

All in one run, alternating, medians. Two models: the shipped demo model, and one of random weights large enough
for the forward pass to dominate (ViT of 86 M parameters at 224 px, as PaliGemma's input), for which no answer is
generated since random weights never stop. Under five minutes on two CPU cores; what runs is told on stderr. The last
line is one JSON object.

With ``--settings`` something else: the seconds of whole processes that apply the demo model, by how threads are set and
in how many processes, alone on the machine and beside a neighbour that keeps one core busy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fiftyone as fo
import torch
from PIL import Image
from transformers import SiglipVisionConfig

import facevlm
from benchmarks.systems import checkpoint_of, plain_of
from benchmarks.timing import alternate, machine, tell
from facevlm.attributes import get
from facevlm.backends import Options, cards, open_backend
from facevlm.backends.families.base import edge_log_probs
from facevlm.datasets import samples
from facevlm.faces import images
from facevlm.types import Question
from tools.demo_model.model import CUES, build, processor, save

ATTRIBUTES = ["gender", "race5", "age5", "emotion7"]
BATCH = 32
CARD_LOOP = 12
SETTINGS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "as it is": ({}, "None"),
    "one thread": ({"OMP_NUM_THREADS": "1"}, "None"),
    "threads that spin": ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    "two processes": ({}, "2"),
}
"""Environment of a process, and its ``devices``."""
PROCESS = """
import sys, fiftyone as fo, facevlm
name, attributes, devices = sys.argv[1:]
options = {"prefix": "bench", "overwrite": True, "progress": False, "devices": eval(devices)}
facevlm.apply(fo.load_dataset(name), "demo", attributes.split(","), **options)
"""


def card_loop(model: str, paths: Sequence[str]) -> Callable[[], int]:
    """The model card's way: one picture and one question at a time, generate, cut the prompt off, decode."""
    plain = plain_of(checkpoint_of(open_backend(model), ATTRIBUTES[0]))
    network, proc = plain.network, plain.processor
    prompts = [cards.find(model).questions[name] for name in ATTRIBUTES]

    def run() -> int:
        for path in paths:
            for prompt in prompts:
                picture = Image.open(path).convert("RGB")
                inputs = proc(text="<image>" + prompt, images=picture, return_tensors="pt")
                inputs = {k: v.to(network.device) for k, v in inputs.items() if k != "labels"}
                with torch.inference_mode():
                    out = network.generate(**inputs, max_length=500)
                proc.decode(out[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return len(paths)

    return run


def bare_forward(model: str, questions: Sequence[Question], pictures: Sequence[Image.Image]) -> Callable[[], int]:
    """The same forward passes on pixels that lie ready: no decoding, no parsing, no database."""
    checkpoint = checkpoint_of(open_backend(model), ATTRIBUTES[0])
    family = checkpoint.family
    prepared = checkpoint.prepare(pictures)
    batches = [family.collate(prepared[i : i + BATCH]) for i in range(0, len(prepared), BATCH)]
    prompts: dict[str, list[Question]] = {}
    for question in questions:
        prompts.setdefault(question.context or question.text, []).append(question)

    def run() -> int:
        with torch.inference_mode():
            for pixels in batches:
                seen = family.see(pixels)
                for text, group in prompts.items():
                    trie, ids = checkpoint.trie(prepared[0], group), checkpoint.ids(prepared[0], text)
                    keep = trie.scored_positions()
                    prefixes = [family.split(ids)[0]] * len(seen["features"])
                    edge_log_probs(family.logits(seen, prefixes, trie, keep), trie, keep).cpu()
        return len(pictures)

    return run


def application(
    model: str, dataset: fo.Dataset, outside: list[float], *, joint: bool = True, attributes: Sequence[str] = ATTRIBUTES
) -> Callable[[], int]:
    """facevlm.apply as a user calls it: decode, ask, parse, write."""

    def run() -> int:
        result = facevlm.apply(
            dataset, model, attributes, prefix="bench", batch_size=BATCH, overwrite=True, joint=joint, progress=False
        )
        outside.append(1 - result.tally.model_seconds / result.tally.seconds)
        return result.asked

    return run


def large_model(folder: Path) -> str:
    """A PaliGemma of random weights whose forward pass dominates; tied to the same prompts as the demo model."""
    vision = SiglipVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=224,
        patch_size=16,
        vision_use_head=False,
        projection_dim=256,
    )
    proc = processor(224, 16)
    save(build(vision, 4, 256, 1024, proc), proc, folder)
    return f"hf:{folder}"


def questions_of(model: str, joint: bool) -> list[Question]:
    return cards.questions_for(cards.find(model), [get(name) for name in ATTRIBUTES], joint=joint)


def made_dataset(paths: Sequence[str], count: int) -> fo.Dataset:
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=paths[k % len(paths)]) for k in range(count)], progress=False)
    return dataset


def measure(model: str, paths: Sequence[str], count: int, rounds: int, *, generate: bool) -> dict[str, Any]:
    dataset = made_dataset(paths, count)
    spec = open_backend(model, Options()).info.picture
    assert spec is not None
    size = (spec.width, spec.height)
    pictures = [images.load(path, size, spec.resample) for path in dataset.values("filepath")]
    outside: dict[str, list[float]] = {"joint": [], "separate": [], "one": []}
    systems = {
        "apply, 4 attributes, joint prompt": application(model, dataset, outside["joint"]),
        "bare forward, joint prompt": bare_forward(model, questions_of(model, True), pictures),
        "apply, 4 attributes, separate prompts": application(model, dataset, outside["separate"], joint=False),
        "apply, 1 attribute": application(model, dataset, outside["one"], attributes=ATTRIBUTES[:1]),
    }
    if generate:
        systems["model-card loop, 4 attributes"] = card_loop(model, list(dict.fromkeys(paths))[:CARD_LOOP])
    rates = {name: statistics.median(found) for name, found in alternate(systems, rounds).items()}
    dataset.delete()
    applied = rates["apply, 4 attributes, joint prompt"]
    ratios = {"apply / bare forward": applied / rates["bare forward, joint prompt"]}
    if generate:
        loop = rates["model-card loop, 4 attributes"]
        ratios["apply joint / model-card loop"] = applied / loop
        ratios["apply separate / model-card loop"] = rates["apply, 4 attributes, separate prompts"] / loop
    shares = {name: round(statistics.median(values[1:]), 4) for name, values in outside.items()}
    return {
        "n": count,
        "pictures per second": {name: round(rate, 2) for name, rate in rates.items()},
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
        "share of time outside the model": shares,
    }


def processes(paths: Sequence[str], count: int, rounds: int) -> dict[str, Any]:
    """Median seconds of a process from its start to its end, by setting; alone, and beside a busy neighbour."""
    dataset = made_dataset(paths, count)
    dataset.persistent = True
    told = [dataset.name, ",".join(ATTRIBUTES)]
    usual = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}

    def process(environment: Mapping[str, str], devices: str) -> Callable[[], int]:
        def run() -> int:
            command = [sys.executable, "-c", PROCESS, *told, devices]
            subprocess.run(command, env={**usual, **environment}, check=True, stdout=subprocess.DEVNULL)
            return 1

        return run

    systems = {name: process(*setting) for name, setting in SETTINGS.items()}
    found: dict[str, Any] = {"n": count}
    try:
        for name, busy in (("alone", 0), ("beside a busy neighbour", 1)):
            with neighbours(busy):
                rates = alternate(systems, rounds)
            found[name] = {setting: round(1 / statistics.median(each), 1) for setting, each in rates.items()}
    finally:
        dataset.delete()
    return found


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that keep a core busy each."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--large-pictures", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settings", action="store_true", help="whole processes by setting, and nothing else")
    args = parser.parse_args()
    assert set(CUES) == set(ATTRIBUTES)
    paths = [record.filepath for record in samples.read("single")]
    if args.settings:
        found = processes(paths, args.pictures, args.rounds)
        print(json.dumps({"name": "settings", "machine": machine(), "rounds": args.rounds, "seconds": found}))
        return
    tell(f"The demo model, {args.pictures} pictures")
    result: dict[str, Any] = {
        "name": "throughput",
        "machine": machine(),
        "rounds": args.rounds,
        "demo model": measure("demo", paths, args.pictures, args.rounds, generate=True),
    }
    with tempfile.TemporaryDirectory() as folder:
        tell(f"A large model, {args.large_pictures} pictures")
        model = large_model(Path(folder))
        result["large model"] = measure(model, paths, args.large_pictures, min(3, args.rounds), generate=False)
    for name in ("demo model", "large model"):
        print(name)
        for title, part in result[name].items():
            print(f"  {title}: {part}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

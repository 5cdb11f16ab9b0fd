"""Small faces in large pictures: what searching in tiles finds more, and what it costs.

    python -m benchmarks.crowds [--weights YUNET.onnx] [--people 300] [--rounds 3]

Pictures of 5120 x 3840 pixels show people of ``../shared/data/utkface.tar`` that the demo model was not trained on (it
is required), all at one size, on unsharp noise. A person counts as found where the middle of a found box lies on them,
once; a box on nobody is false. The three ways of searching take turns; medians. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from benchmarks.timing import machine
from facevlm.detection import Detector, FoundFace, Search, open_detector
from tools.demo_model.measure import held_out_pictures

WIDTH, HEIGHT = 5120, 3840
SIDES = (24, 32, 48, 96)
"""Sides of a person's picture in pixels; the face takes about two thirds of it."""
WAYS = ("off", "auto", "on")


Box = tuple[float, float, float, float]


def crowd(people: Sequence[Image.Image], side: int, count: int) -> tuple[Image.Image, list[Box]]:
    """A picture with at most ``count`` people in it, and where they are, as shares of the picture."""
    noise = np.random.default_rng(side).integers(90, 130, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    canvas = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    room = round(1.2 * side)
    places = list(itertools.product(range(0, WIDTH - room, room), range(0, HEIGHT - room, room)))
    boxes = []
    for k, (x, y) in enumerate(random.Random(side).sample(places, min(count, len(places)))):
        canvas.paste(people[k % len(people)].resize((side, side), Image.Resampling.LANCZOS), (x, y))
        boxes.append((x / WIDTH, y / HEIGHT, side / WIDTH, side / HEIGHT))
    return canvas, boxes


def met(true: Sequence[Box], found: Sequence[FoundFace]) -> tuple[int, int]:
    """People on whom the middle of a found box lies, and boxes on nobody."""
    places = np.array(true)
    hit, false = set(), 0
    for face in found:
        x, y, w, h = face.box_xywh_rel
        middle = np.array([x + w / 2, y + h / 2])
        on = np.flatnonzero(((places[:, :2] <= middle) & (middle <= places[:, :2] + places[:, 2:])).all(1))
        false += not len(on)
        hit.update(on[:1].tolist())
    return len(hit), false


def measure(
    detectors: dict[str, Detector], picture: Image.Image, true: Sequence[Box], rounds: int
) -> dict[str, object]:
    seconds: dict[str, list[float]] = {way: [] for way in detectors}
    figures: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for way, detector in detectors.items():
            start = time.perf_counter()
            [looked] = detector.detect([picture])
            seconds[way].append(time.perf_counter() - start)
            hits, false = met(true, looked)
            figures[way] = {"recall": round(hits / len(true), 3), "false": false}
    return {way: found | {"seconds": round(statistics.median(seconds[way]), 2)} for way, found in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="YuNet's weights (default: FACEVLM_YUNET, or fetched)")
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    people = [image for image, _ in itertools.islice(held_out_pictures("utkface"), args.people)]
    detectors = {way: open_detector("yunet", Search(weights=args.weights, tiles=way)) for way in WAYS}
    results: dict[str, object] = {"name": "crowds", "machine": machine(), "n": args.people}
    for side in SIDES:
        figures = measure(detectors, *crowd(people, side, args.people), args.rounds)
        results[f"{side} px"] = figures
        print(side, figures, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()

"""Faces found per second and how many are missed; whether attributes on found faces are as right as on true boxes.

    python -m benchmarks.detection [--weights YUNET.onnx] [--pictures 549] [--rounds 3]

Pictures of four people each are composed of UTKFace's pictures that the demo model was not trained on
(``../shared/data/utkface.tar``; without it, the shipped group pictures). UTKFace is cut to the face, so the true box of
a person is their quarter of the picture. Detectors take turns on pictures in memory; medians. The demo model is asked
about the true boxes and about the found ones, and judged on the same people; who was not found counts as wrong. Last,
all faces of a picture are cut out with the picture decoded once, and once for each face. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
from PIL import Image

import facevlm
from benchmarks.timing import alternate, machine
from facevlm.backends import open_backend
from facevlm.datasets import diversefaces
from facevlm.detection import Search, open_detector, weights
from facevlm.engines.reading import Cutter, Loader
from facevlm.errors import ModelError
from facevlm.faces.matching import match_faces
from facevlm.faces.selection import Selection
from facevlm.store.asking import Boxes
from facevlm.tasks import sources as sources_task
from tools.demo_model.faces import SHARED
from tools.demo_model.measure import held_out_pictures

PEOPLE, HEIGHT, IOU = 4, 200, 0.5
ATTRIBUTES = ("gender", "race5", "age5")
NAME = "benchmark-detection"


def composed(folder: Path, count: int) -> fo.Dataset:
    """Pictures of four held-out people each, with the labels at their boxes."""
    people = list(held_out_pictures("utkface"))
    dataset = fo.Dataset(NAME, overwrite=True)
    samples = []
    for k, group in enumerate(diversefaces.plan(len(people), PEOPLE, seed=0, pictures=count)):
        chosen = [people[i] for i in group]
        picture, boxes = diversefaces.compose([image for image, _ in chosen], HEIGHT)
        picture.save(folder / f"{k}.png")
        faces = [_detection(labels, box) for (_, labels), box in zip(chosen, boxes, strict=True)]
        samples.append(fo.Sample(filepath=folder / f"{k}.png", faces=fo.Detections(detections=faces)))
    dataset.add_samples(samples, dynamic=True, progress=False)
    return dataset


def _detection(labels: dict[str, Any], box: Sequence[float]) -> fo.Detection:
    return fo.Detection(label="face", bounding_box=list(box), **labels)


def found(dataset: fo.Dataset, field: str) -> tuple[float, float, int]:
    """Recall and precision at ``IOU``, each true face met by one found face at most, and the number of true faces."""
    hits = true = said = 0
    for mine, theirs in zip(*dataset.values([f"{f}.detections.bounding_box" for f in ("faces", field)]), strict=True):
        matched = match_faces([""] * len(mine), mine, [], theirs or [])
        hits, true, said = hits + sum(k >= 0 for k in matched), true + len(mine), said + len(theirs or [])
    return hits / true, hits / said, true


def accuracies(dataset: fo.Dataset, field: str) -> dict[str, float]:
    """Of the demo model about the boxes of a field, judged on the true ones; a face that was missed is wrong."""
    names = [a for a in ATTRIBUTES if dataset.get_field(f"faces.detections.{a}") is not None]
    facevlm.apply(dataset, "demo", names or ["gender"], faces=field, prefix=field, progress=False)
    truth = {a: f"faces.detections.{a}" for a in names} or {"gender": "faces.detections.gender"}
    result = facevlm.evaluate(dataset, list(truth), prefix=field, faces="faces", ground_truth=truth, draws=1)
    return {name: round(100 * result[name].overall.accuracy, 2) for name in truth}


def systems(search: Search) -> Iterator[tuple[str, Any]]:
    try:
        weights.yunet(search.weights)
        yield "yunet", open_detector("yunet", search)
    except ModelError as error:
        print(f"without YuNet: {error}")
    yield "haar", open_detector("haar", search)


def cutting(dataset: fo.Dataset) -> dict[str, Any]:
    """Faces cut out in the order of pictures, and in an order in which every face costs a decode of its picture."""
    cutter = Cutter(open_backend("demo").info)
    together = Boxes(dataset, Selection("faces")).faces
    apart = sorted(together, key=lambda face: random.Random(str(face.label_id)).random())

    def run(faces: Sequence[Any]) -> float:
        with Loader(faces, cutter, 64) as loader:
            return float(sum(1 for _ in loader))

    return {"one decode a picture": lambda: run(together), "one decode a face": lambda: run(apart)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="YuNet's weights (default: FACEVLM_YUNET, or fetched)")
    parser.add_argument("--pictures", type=int, help="at most so many (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        has_utkface = (SHARED / "utkface.tar").is_file()
        dataset = composed(Path(folder), args.pictures) if has_utkface else sources_task.sample_groups(NAME)
        pictures = [Image.open(path).convert("RGB") for path in dataset.values("filepath")]
        detectors = dict(systems(Search(weights=args.weights)))
        runs = {name: lambda d=d: float(len(pictures) if d.detect(pictures) else 0) for name, d in detectors.items()}
        rates = {name: statistics.median(got) for name, got in alternate(runs, args.rounds).items()}
        true = accuracies(dataset, "faces")
        results: dict[str, Any] = {"name": "detection", "machine": machine(), "pictures": len(pictures)}
        results["accuracy on true boxes"] = true
        for name, detector in detectors.items():
            facevlm.detect(dataset, name, detector=detector, progress=False)
            recall, precision, n = found(dataset, name)
            judged = accuracies(dataset, name)
            worst = max(true[a] - judged[a] for a in true)
            results |= {
                "n": n,
                name: {"pictures/s": round(rates[name], 1), "faces/s": round(rates[name] * n / len(pictures), 1)},
            }
            results[name] |= {"recall": round(recall, 4), "precision": round(precision, 4), "accuracy": judged}
            results[name]["most points below true boxes"] = round(worst, 2)
            print(name, results[name], flush=True)
        speeds = {k: statistics.median(v) for k, v in alternate(cutting(dataset), args.rounds).items()}
        once, each = speeds.values()
        results["faces/s cut out"] = {k: round(v, 1) for k, v in speeds.items()}
        results["ratios"] = {"decode once / decode for each face": round(once / each, 2)}
        if len(rates) == 2:
            results["ratios"]["yunet / haar"] = round(rates["yunet"] / rates["haar"], 2)
        dataset.delete()
    print(json.dumps(results))


if __name__ == "__main__":
    main()

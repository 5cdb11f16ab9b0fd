"""How fast data sets become FiftyOne datasets, and labels other labels.

    python -m benchmarks.loading [--utkface FOLDER] [--rounds 5] [--labels 1000000]

UTKFace's records loaded by ``facevlm.datasets.load`` against bare ``dataset.add_samples`` of samples with the same
fields, once made of values that lie in memory, once made before the clock starts; all take turns, medians. Without
--utkface it reads ``../shared/data/utkface.tar``, or makes empty files of such names: pictures are not opened.
Then a million labels and ages are mapped. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo

from benchmarks.timing import alternate, machine
from facevlm import datasets
from facevlm.attributes import YEARS, get, translate
from facevlm.datasets import catalog
from facevlm.datasets.records import Log, Record

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "utkface.tar"
PICTURES = 22_426
NAME = "benchmark-loading"


def folder(given: Path | None, work: Path) -> Path:
    """A folder of UTKFace: as given, from the archive, or of empty files."""
    if given:
        return given
    if SHARED.is_file():
        with tarfile.open(SHARED) as archive:
            archive.extractall(work, filter="data")
        return work / "UTKFace"
    for k in range(PICTURES):
        (work / f"{k % 117}_{k % 2}_{k % 5}_{20170100000000000 + k}.jpg.chip.jpg").touch()
    return work


def sample(record: Record) -> fo.Sample:
    """What one would write by hand."""
    labels = {name: fo.Classification(label=label) for name, label in record.labels.items()}
    return fo.Sample(filepath=record.filepath, tags=[record.split], age=record.age, **labels)


def added(make: Callable[[], list[fo.Sample]]) -> Callable[[], float]:
    """A bare ``add_samples`` of what ``make`` makes."""

    def run() -> float:
        dataset = fo.Dataset(f"{NAME}-bare", overwrite=True, persistent=True)
        return len(dataset.add_samples(make(), progress=False))

    return run


def loading(root: Path, rounds: int) -> dict[str, Any]:
    """Records a second of the three ways."""
    records = list(catalog.reader("utkface").read(root, Log()))
    ready = {k: [sample(record) for record in records] for k in range(rounds + 1)}
    stock = iter(ready.values())
    # So many samples that wait for their turn would slow every collection of garbage, and with it all three.
    gc.freeze()

    def ours() -> float:
        return len(datasets.load("utkface", root, dataset_name=NAME, overwrite=True, progress=False))

    ways = {
        "facevlm.datasets.load": ours,
        "samples made, then add_samples": added(lambda: [sample(record) for record in records]),
        "add_samples of ready samples": added(lambda: next(stock)),
    }
    rates = alternate(ways, rounds)
    first, second = fo.load_dataset(NAME), fo.load_dataset(f"{NAME}-bare")
    fields = ["filepath", "age", "tags", "gender.label", "race.label", "age_group.label"]
    if first.values(fields) != second.values(fields):
        raise SystemExit("Both ways must give the same dataset")
    for dataset in (first, second):
        dataset.delete()
    ours_rates, *others = rates.values()
    ratios = [statistics.median(a / b for a, b in zip(ours_rates, other, strict=True)) for other in others]
    return {
        "n": len(records),
        "records/s": {name: round(statistics.median(found)) for name, found in rates.items()},
        "ratios": {f"of {name}": round(ratio, 2) for name, ratio in zip(list(rates)[1:], ratios, strict=True)},
    }


def mapping(count: int, rounds: int) -> dict[str, float]:
    """Median seconds for so many labels and ages."""
    chance = random.Random(0)
    spelled = [s for label in get("race7").labels for s in get("race7").spellings(label)]
    races = [chance.choice(spelled) for _ in range(count)]
    ages = [chance.randrange(117) for _ in range(count)]
    work: dict[str, Callable[[], object]] = {
        "race7 -> race5": lambda: translate(races, get("race7"), get("race5")),
        "years -> age5": lambda: translate(ages, YEARS, get("age5")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(found), 3) for name, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utkface", type=Path, help="a folder of UTKFace")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--labels", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        loaded = loading(folder(args.utkface, Path(work)), args.rounds)
    print(json.dumps(loaded, indent=1), flush=True)
    seconds = mapping(args.labels, args.rounds)
    result = {
        "name": "loading",
        "machine": machine(),
        "rounds": args.rounds,
        **loaded,
        "labels": args.labels,
        "seconds of mapping": seconds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Pictures fingerprinted per second, and seconds and memory of the search for near copies as looks become more.

    python -m benchmarks.hygiene [--pictures 2000] [--looks 10000,30000,100000] [--rounds 3]

Pictures are the shipped faces, resized to 200 px and to 640 px JPEGs. Looks are random 256-bit hashes, one in ten of
them a copy of another with up to 24 bits turned; every pair is compared, and each planted pair has to be found. In the
same run, FiftyOne's ``compute_near_duplicates`` on 256 numbers a picture, up to ``--most`` pictures. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.brain as fob
import numpy as np
from PIL import Image

from benchmarks.timing import machine
from facevlm.checks.fingerprints import BITS, NEAR, Bytes, gather, near_pairs
from facevlm.datasets import samples

PLANTED, TURNED = 10, 24
MIB = 2**20


def pictures(folder: Path, count: int, side: int) -> list[str]:
    """JPEGs of the shipped faces, over and over, under names of their own."""
    faces = [Image.open(record.filepath).convert("RGB").resize((side, side)) for record in samples.read("single")]
    paths = [str(folder / f"{side}-{k}.jpg") for k in range(count)]
    for k, path in enumerate(paths):
        faces[k % len(faces)].save(path, quality=90)
    return paths


def looks(count: int, seed: int = 0) -> tuple[Bytes, set[tuple[int, int]]]:
    """Random looks, and the pairs of which one is the other with a few bits turned."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, BITS), dtype=np.uint8)
    order = rng.permutation(count)
    planted = set()
    for a, b in zip(order[: count // PLANTED], order[-(count // PLANTED) :], strict=True):
        bits[b] = bits[a]
        bits[b, rng.choice(BITS, rng.integers(0, TURNED + 1), replace=False)] ^= 1
        planted.add((int(min(a, b)), int(max(a, b))))
    return np.packbits(bits, axis=1), planted


def search(hashes: Bytes, planted: set[tuple[int, int]]) -> None:
    found = {pair for pairs in near_pairs(hashes, NEAR) for pair in zip(*pairs[:2].tolist(), strict=True)}
    assert found == planted, f"{len(found)} pairs found, {len(planted)} planted"


def fiftyones(hashes: Bytes) -> Callable[[], None]:
    """FiftyOne's own search by the distance of vectors: the bits as numbers, and the same threshold."""
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=f"/{k}.jpg") for k in range(len(hashes))], progress=False)
    vectors = np.unpackbits(hashes, axis=1).astype(np.float32)
    limit = float(np.sqrt(NEAR))

    def run() -> None:
        index = fob.compute_similarity(dataset, embeddings=vectors, backend="sklearn", metric="euclidean")
        index.find_duplicates(thresh=limit)

    return run


def seconds(work: Callable[[], Any], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--looks", default="10000,30000,100000")
    parser.add_argument("--most", type=int, default=30_000, help="looks for FiftyOne's search")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "fingerprints": {}, "search": {}}
    with tempfile.TemporaryDirectory() as folder:
        for side in (200, 640):
            paths = pictures(Path(folder), args.pictures, side)
            results["fingerprints"][side] = round(len(paths) / seconds(partial(gather, paths), args.rounds))
            print(f"{side} px: {results['fingerprints'][side]:,} pictures/s", flush=True)
    counts = [int(count) for count in args.looks.split(",")]
    for count in counts:
        hashes, planted = looks(count)
        took = seconds(partial(search, hashes, planted), args.rounds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
        results["search"][count] = {"facevlm": round(took, 3), "peak_mib": round(peak)}
        print(f"{count:,} looks: {took:.2f} s, peak {peak:.0f} MiB", flush=True)
    # Last, since its memory would count in the peaks above.
    for count in (count for count in counts if count <= args.most):
        took = seconds(fiftyones(looks(count)[0]), 1)
        results["search"][count]["fiftyone"] = round(took, 3)
        print(f"{count:,} looks, FiftyOne's search: {took:.2f} s", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()

"""Seconds and memory of facevlm.evaluate on many faces, and our groups against fairlearn's.

    python -m benchmarks.evaluation [--faces 100000] [--rounds 3]

Four attributes of synthetic faces in a real FiftyOne dataset, three grouping fields with all their intersections and
1,000 bootstrap draws: reading, computing, and FiftyOne's own evaluation with saving, apart. Then accuracy and macro F1
of the same groups, without bootstrap, by us and by fairlearn's MetricFrame, alternating, medians. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import fiftyone as fo
import numpy as np
import psutil
from bson import ObjectId
from fairlearn.metrics import MetricFrame
from sklearn.metrics import accuracy_score, f1_score

import facevlm
from benchmarks.profiling import Stopwatch
from benchmarks.timing import alternate, machine
from facevlm.attributes import get, shipped
from facevlm.evaluation import metrics
from facevlm.evaluation.groups import Grouping, cross, grouping
from facevlm.evaluation.metrics import Codes, Counts
from facevlm.store import evaluations, model_evaluation, results
from facevlm.store.rows import PictureRows
from facevlm.tasks import evaluate as evaluate_task

ATTRIBUTES = ("gender", "race5", "age5", "emotion7")
GROUPS = {"place": 4, "light": 3, "camera": 6}
"""Grouping fields and how many values each has: 3 + 3 + 1 tables, 72 groups where all three meet."""

DRAWS = 1000
SKILL = 0.7
MIB = 2**20
REST = "checks and the rest"
PARTS = {
    "reading": (
        (PictureRows, "load"),
        (evaluations, "read_truth"),
        (evaluations, "read"),
        (evaluations, "group_values"),
    ),
    "computing": ((evaluate_task, "evaluate_records"),),
    "FiftyOne's evaluation and saving": ((model_evaluation, "save"), (results, "save")),
}
"""Functions of evaluate, by the part of the work they belong to."""


def make(dataset_name: str, faces: int) -> None:
    """A dataset of synthetic faces with truth, scored predictions and groups; no pictures are read.

    One sample declares the fields, the others are written past FiftyOne, which would take minutes to make them.
    """
    dataset, rng = fo.Dataset(dataset_name, persistent=True), np.random.default_rng(0)
    columns: dict[str, list[Any]] = {
        name: [f"{name}{k}" for k in rng.integers(0, size, faces).tolist()] for name, size in GROUPS.items()
    }
    for name in ATTRIBUTES:
        labels = get(name).labels
        truth = rng.integers(0, len(labels), faces)
        scores = rng.normal(size=(faces, len(labels)))
        scores[np.arange(faces), truth] += 4 * (rng.random(faces) < SKILL)
        log_probs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        answered = rng.random(faces) < 0.98
        answered[0] = True
        rows = zip(log_probs, log_probs.argmax(1).tolist(), answered.tolist(), strict=True)
        columns[name] = [fo.Classification(label=labels[k]) for k in truth.tolist()]
        columns[f"demo_{name}"] = [prediction(labels, *row) for row in rows]
    first = {name: column[0] for name, column in columns.items()}
    dataset.add_sample(fo.Sample(filepath="/synthetic/0.png", **first), dynamic=True)
    pattern = dataset._sample_collection.find_one()
    plain = {name: [v if isinstance(v, str) else v.to_dict() for v in column] for name, column in columns.items()}
    for start in range(1, faces, 5000):
        dataset._sample_collection.insert_many(
            pattern
            | {"_id": ObjectId(), "filepath": f"/synthetic/{k}.png"}
            | {name: column[k] for name, column in plain.items()}
            for k in range(start, min(start + 5000, faces))
        )


@contextmanager
def made(faces: int) -> Iterator[fo.Dataset]:
    """The dataset, made in a process of its own: memory taken before would hide what an evaluation takes."""
    name = f"benchmark-evaluation-{time.time_ns()}"
    fo.list_datasets()
    maker = multiprocessing.get_context("spawn").Process(target=make, args=(name, faces))
    maker.start()
    maker.join()
    dataset = fo.load_dataset(name)
    try:
        yield dataset
    finally:
        dataset.delete()


def prediction(labels: Sequence[str], log_probs: metrics.Floats, best: int, answered: bool) -> fo.Classification:
    """As facevlm.apply writes it."""
    common = {"coverage": 1.0, "run": "synthetic"}
    if not answered:
        return fo.Classification(outcome="refused", reason="the model declined to answer", **common)
    return fo.Classification(
        label=labels[best], confidence=float(np.exp(log_probs[best])), logits=log_probs, outcome="ok", **common
    )


class Peak:
    """The most memory that the process holds while it is watched, above what it held before, in MiB.

    ``ru_maxrss`` alone would hide a peak below an earlier one, so the process is also looked at often.
    """

    def __enter__(self) -> Peak:
        self._process, self._done = psutil.Process(), threading.Event()
        self._before = self._most = self._process.memory_info().rss
        self._maxrss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.seen = round((self._most - self._before) / MIB)
        self.maxrss = round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._maxrss) * 1024 / MIB)


def once(dataset: fo.Dataset) -> dict[str, float]:
    """Seconds of one evaluation, by part and in all."""
    watch = Stopwatch(lambda: None)
    with ExitStack() as stack:
        for part, functions in PARTS.items():
            for module, name in functions:
                original = getattr(module, name)
                stack.callback(setattr, module, name, original)
                setattr(module, name, timed(watch, part, original))
        start = time.perf_counter()
        with watch.part(REST):
            facevlm.evaluate(dataset, ATTRIBUTES, groups=list(GROUPS), draws=DRAWS)
        return {**watch.seconds, "all": time.perf_counter() - start}


def timed(watch: Stopwatch, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with watch.part(part):
            return function(*args, **kwargs)

    return run


def measured(dataset: fo.Dataset, rounds: int) -> tuple[dict[str, float], dict[str, int]]:
    """Median seconds by part, and memory of the first evaluation, which has nothing in the cache."""
    with Peak() as peak:
        rows = [once(dataset)]
    rows += [once(dataset) for _ in range(rounds - 1)]
    seconds = {part: round(statistics.median(row[part] for row in rows), 3) for part in rows[0]}
    return seconds, {"growth of ru_maxrss": peak.maxrss, "growth of resident memory": peak.seen}


Figures = tuple[metrics.Floats, metrics.Floats]


Arrays = tuple[Codes, Codes, dict[str, list[str]]]


def by_us(truth: Codes, said: Codes, values: Mapping[str, Sequence[str]], labels: int) -> tuple[Grouping, Figures]:
    """Accuracy and macro F1 of every group where all fields meet, from the same lists of names as fairlearn."""
    part = cross([grouping(name, column) for name, column in values.items()])
    counts: Counts = metrics.confusions(truth, said, labels, part.codes, len(part.keys))
    return part, (metrics.accuracy(counts), metrics.macro_f1(counts))


def by_fairlearn(truth: Codes, said: Codes, values: Mapping[str, Sequence[str]]) -> Any:
    """The same by fairlearn, with scikit-learn's metrics as they are."""
    return MetricFrame(
        metrics={"accuracy": accuracy_score, "macro_f1": functools.partial(f1_score, average="macro", zero_division=0)},
        y_true=truth,
        y_pred=said,
        sensitive_features=dict(values),
    ).by_group


def answered(dataset: fo.Dataset, name: str) -> Arrays:
    """Truth, answers and groups of the answered faces: scikit-learn would take no answer for a label of its own."""
    rows = PictureRows(dataset)
    truth = evaluations.read_truth(rows, name, get(name), shipped())
    fields = {field: evaluations.group_values(rows, field) for field in GROUPS}
    reading, _ = evaluations.read(rows, "demo", get(name), truth)
    records = reading.records(fields)
    index = {label: k for k, label in enumerate(get(name).labels)}
    kept = [k for k, label in enumerate(records.predicted) if label is not None]
    codes = [np.array([index[str(column[k])] for k in kept]) for column in (records.truth, records.predicted)]
    return codes[0], codes[1], {field: [str(column[k]) for k in kept] for field, column in records.groups.items()}


def against_fairlearn(dataset: fo.Dataset, rounds: int) -> dict[str, Any]:
    """Both from the same arrays and lists, alternating; first it is checked that they agree."""
    arrays = {name: answered(dataset, name) for name in ATTRIBUTES}

    def ours() -> float:
        for name, case in arrays.items():
            by_us(*case, len(get(name).labels))
        return 1.0

    def theirs() -> float:
        for case in arrays.values():
            by_fairlearn(*case)
        return 1.0

    for name, case in arrays.items():
        part, figures = by_us(*case, len(get(name).labels))
        table = by_fairlearn(*case).loc[list(part.keys)]
        for found, column in zip(figures, ("accuracy", "macro_f1"), strict=True):
            np.testing.assert_allclose(found, table[column].to_numpy(dtype=float))
    rates = alternate({"ours": ours, "fairlearn": theirs}, rounds)
    seconds = {name: statistics.median(1 / rate for rate in found) for name, found in rates.items()}
    ratios = [ours_rate / theirs_rate for ours_rate, theirs_rate in zip(rates["ours"], rates["fairlearn"], strict=True)]
    return {"seconds": {k: round(v, 4) for k, v in seconds.items()}, "ratio": round(statistics.median(ratios), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with made(args.faces) as dataset:
        seconds, memory = measured(dataset, args.rounds)
        print("seconds of evaluate:", seconds, flush=True)
        print("MiB:", memory, flush=True)
        groups = against_fairlearn(dataset, args.rounds)
    print("groups:", groups)
    result = {
        "name": "evaluation",
        "machine": machine(),
        "n": args.faces,
        "rounds": args.rounds,
        "ratios": {"speed of groups against fairlearn": groups["ratio"]},
        "seconds": {"evaluate": seconds, "groups": groups["seconds"]},
        "MiB": memory,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

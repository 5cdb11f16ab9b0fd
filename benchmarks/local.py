"""Pictures per second of a PaliGemma on this machine: the usual ways of asking it about faces, and ours.

    python -m benchmarks.local [--size small|mid|paligemma-3b] [--device cpu|cuda] [--compile default] [--profile]

All in one run: the systems take turns, medians over the rounds, the last line is one JSON object. Gender alone, and
gender, race5, age5 and emotion7 together, are asked about RGB pictures of 224 px in memory:

- model-card loop: one picture and one question at a time, processor, generate, decode.
- batched generate: the same in batches.
- teacher forcing: for every label a sequence [picture | prompt | label]; pixels and vision tower once for each picture.
- ours, four checkpoints: one for each attribute, as the published ones are.
- ours, separate prompts: one checkpoint, a prompt for each attribute, the vision tower once for each picture.
- ours, joint prompt: one checkpoint, one prompt for all attributes.
- apply_model (FiftyOne's loop over a wrapper around batched generate) and facevlm.apply: one dataset of the same files.

Sizes: small is the shipped demo model; mid has 68 M parameters; paligemma-3b has the shape of PaliGemma-3B-224. Weights
beside the demo's are random. Random weights never stop, so every generated answer has the length that a trained model's
would have: the mean of the labels' tokens, rounded, and the end token. All use the demo model's tokenizer, which was
learned from the labels and spells most in one token; Gemma's own needs more for some, which only generation pays for.
Model-card loop and teacher forcing get an eighth of the pictures. Before the clock starts, ours and teacher forcing
must give the same log-probabilities.

The roofline is the FLOPs of ours for a picture (see benchmarks/flops.py) against the rate of large matrix products in
the same type of numbers, measured in the same rounds.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.flops import decoder_flops, vision_flops
from benchmarks.profiling import shares
from benchmarks.shapes import ATTRIBUTES, SIZES, Checkpoints, configuration, make
from benchmarks.systems import Plain, answer, checkpoint_of, disagreement, plain_of, work_of
from benchmarks.timing import alternate, finisher, machine, matrix_product
from facevlm.attributes import get
from facevlm.backends import COMPILE, Backend, Options, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.local import LocalBackend
from facevlm.backends.weights import pick_device, pick_dtype
from facevlm.datasets import samples
from facevlm.faces import images
from facevlm.types import Question
from tools.demo_model.model import processor

GROUPS = {"1 attribute": ATTRIBUTES[:1], "4 attributes": ATTRIBUTES}
LOOP, BATCHED, FORCED = "model-card loop", "batched generate", "teacher forcing"
FOUR, SEPARATE, JOINT = "ours, four checkpoints", "ours, separate prompts", "ours, joint prompt"
APPLY_MODEL, APPLY_SEPARATE, APPLY_JOINT = (
    "apply_model",
    "facevlm.apply, separate prompts",
    "facevlm.apply, joint prompt",
)
PICTURES = {"small": 192, "mid": 8, "paligemma-3b": 256}
ROUNDS = {"small": 5, "mid": 3, "paligemma-3b": 5}
SLOW_SHARE = 8
TOLERANCE = 1e-3
PEAK = "matrix product"

Key = tuple[str, str]
Systems = dict[Key, Callable[[], float]]


@dataclass(frozen=True)
class Ours:
    """One of our ways: who is asked what."""

    backend: Backend
    questions: Sequence[Question]


@dataclass(frozen=True)
class Bench:
    """What is measured, on what. ``slow`` is how many of the pictures the slow systems get."""

    device: torch.device
    options: Options
    checkpoints: Checkpoints
    paths: Sequence[str]
    pictures: Sequence[Image.Image]
    batch: int
    compile: Sequence[str] = ()

    @functools.cached_property
    def one(self) -> Backend:
        """Opened as :func:`facevlm.apply` does, which so finds it loaded."""
        return open_backend(self.checkpoints.model, self.options)

    @functools.cached_property
    def plain(self) -> Plain:
        return plain_of(checkpoint_of(self.one, ATTRIBUTES[0]))

    @functools.cached_property
    def _others(self) -> dict[str, Backend]:
        card = find(self.checkpoints.model)
        compiled = {m: LocalBackend(card, replace(self.options, compile=m)) for m in self.compile}
        return {FOUR: LocalBackend(self.checkpoints.four, self.options), **compiled}

    @property
    def slow(self) -> int:
        return max(2, len(self.pictures) // SLOW_SHARE)

    def asked(self, group: str, *, joint: bool) -> list[Question]:
        return questions_for(find(self.checkpoints.model), [get(name) for name in GROUPS[group]], joint=joint)

    def ours(self, group: str) -> dict[str, Ours]:
        """Our ways by name. For one attribute, four checkpoints and separate prompts are the same."""
        apart, shared = self.asked(group, joint=False), self.asked(group, joint=True)
        ways = {SEPARATE: Ours(self.one, apart), JOINT: Ours(self.one, shared)}
        if len(apart) > 1:
            ways = {FOUR: Ours(self._others[FOUR], apart), **ways}
        for mode in self.compile:
            ways[f"{SEPARATE}, compile={mode}"] = Ours(self._others[mode], apart)
            ways[f"{JOINT}, compile={mode}"] = Ours(self._others[mode], shared)
        return ways

    def systems(self, group: str) -> Systems:
        """Everything that takes turns on pictures in memory."""
        apart, few = self.asked(group, joint=False), self.pictures[: self.slow]
        ways: dict[str, Callable[[], None]] = {
            LOOP: functools.partial(generate, self.plain, few, apart, 1),
            BATCHED: functools.partial(generate, self.plain, self.pictures, apart, self.batch),
            FORCED: functools.partial(force, self.plain, few, apart, self.batch),
        }
        for name, way in self.ours(group).items():
            ways[name] = functools.partial(answer, way.backend, self.pictures, way.questions, self.batch)
        seen = {LOOP: len(few), FORCED: len(few)}
        return {(group, name): counted(run, seen.get(name, len(self.pictures))) for name, run in ways.items()}

    def check(self) -> dict[str, float]:
        """The largest difference of a label's log-probability between each of our ways and teacher forcing.

        Raises RuntimeError where one does not compute the same. In bfloat16, rounding alone moves log-probabilities of
        random weights by tenths, so there the difference is only told.
        """
        found = {}
        for name, way in self.ours(list(GROUPS)[-1]).items():
            # Compiled ways hold the same weights, and their networks shall meet no shapes but those they are timed on.
            plains = [self.plain] * len(way.questions)
            if name == FOUR:
                plains = [plain_of(checkpoint_of(way.backend, question.attribute.name)) for question in way.questions]
            found[name] = disagreement(way.backend, plains, self.pictures[: self.slow], way.questions)
        if self.plain.network.dtype == torch.float32 and max(found.values()) > TOLERANCE:
            raise RuntimeError(
                f"Not the same is computed: log-probabilities differ by {found}, expected at most {TOLERANCE}."
            )
        return found


def counted(run: Callable[[], None], pictures: int) -> Callable[[], float]:
    """The same, returning how many pictures it does."""

    def counting() -> float:
        run()
        return float(pictures)

    return counting


def generate(plain: Plain, pictures: Sequence[Image.Image], questions: Sequence[Question], batch: int) -> None:
    """By transformers alone, free text for each question."""
    for first in range(0, len(pictures), batch):
        for question in questions:
            plain.generate(pictures[first : first + batch], question)


def force(plain: Plain, pictures: Sequence[Image.Image], questions: Sequence[Question], batch: int) -> None:
    """By transformers alone, every label for itself."""
    for first in range(0, len(pictures), batch):
        plain.forced(pictures[first : first + batch], questions)


def fiftyone_systems(bench: Bench, stack: ExitStack) -> Systems:
    """FiftyOne's loop and ours on one dataset, deleted in the end. FiftyOne is imported for this alone."""
    from benchmarks import fiftyone_pair as pair

    dataset = pair.made(bench.paths, len(bench.pictures))
    stack.callback(dataset.delete)
    systems: Systems = {}
    for group, names in GROUPS.items():
        apart = bench.asked(group, joint=False)
        ours = functools.partial(pair.apply_ours, dataset, bench.checkpoints.model, names, bench.options, bench.batch)
        systems[group, APPLY_MODEL] = functools.partial(pair.apply_model, dataset, bench.plain, apart, bench.batch)
        systems[group, APPLY_SEPARATE] = functools.partial(ours, joint=False)
        systems[group, APPLY_JOINT] = functools.partial(ours, joint=True)
    return systems


def nested(values: Mapping[Key, float], digits: int) -> dict[str, dict[str, float]]:
    """By group and name, rounded."""
    table: dict[str, dict[str, float]] = {}
    for (group, name), value in values.items():
        table.setdefault(group, {})[name] = round(value, digits)
    return table


def ratios(rates: Mapping[Key, float]) -> dict[Key, float]:
    """Each of ours against each of the others; what reads files against what reads files."""
    memory, files = (LOOP, BATCHED, FORCED), (APPLY_MODEL,)
    found: dict[Key, float] = {}
    for (group, name), rate in rates.items():
        others = memory if name.startswith("ours") else files if name.startswith("facevlm") else ()
        for other in others:
            found[group, f"{name} / {other}"] = rate / rates[group, other]
    return found


def roofline(bench: Bench, rates: Mapping[Key, float], products: Sequence[float]) -> dict[str, Any]:
    """FLOPs for a picture, what the device could do at the rate of its matrix products, and how much of it is done."""
    work: dict[Key, float] = {}
    for group in GROUPS:
        for name, way in bench.ours(group).items():
            work[group, name] = work_of(way.backend, way.questions, bench.pictures[0])
        for name, like in ((APPLY_SEPARATE, SEPARATE), (APPLY_JOINT, JOINT)):
            if (group, name) in rates:
                work[group, name] = work[group, like]
    peak = statistics.median(products)
    bound = {key: peak / flops for key, flops in work.items()}
    return {
        "matrix product, TFLOP/s": round(peak / 1e12, 4),
        "fastest matrix product, TFLOP/s": round(max(products) / 1e12, 4),
        "GFLOP per picture": nested({key: flops / 1e9 for key, flops in work.items()}, 3),
        "bound, pictures/s": nested(bound, 2),
        "share of the bound": nested({key: rates[key] / most for key, most in bound.items()}, 3),
    }


def shape_check() -> dict[str, float]:
    """TFLOP of PaliGemma-3B-224 for a picture, all layers: known to be 0.22 and 1.08 for a prefix of 269 tokens."""
    config = configuration("paligemma-3b", processor())
    vision, prefix = vision_flops(config.vision_config) / 1e12, decoder_flops(config.text_config, 269) / 1e12
    return {"vision": round(vision, 3), "prefix of 269 tokens": round(prefix, 3), "together": round(vision + prefix, 3)}


def measure(args: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """The whole run as one JSON-able object."""
    device = pick_device(args.device)
    if args.compile:
        # Modes share the code to compile, and so one allowance of recompilations, past which nothing is compiled.
        torch._dynamo.config.recompile_limit *= len(args.compile)
    options = Options(device=args.device, dtype=args.dtype)
    checkpoints = make(args.size, Path(stack.enter_context(tempfile.TemporaryDirectory())), device, args.layers)
    files = [record.filepath for record in samples.read("single")]
    pictures = [images.load(files[k % len(files)]) for k in range(args.pictures or PICTURES[args.size])]
    bench = Bench(device, options, checkpoints, files, pictures, args.batch, args.compile)
    differences = bench.check()
    product = matrix_product(device, pick_dtype(options, device))
    systems: Systems = {}
    for group in GROUPS:
        systems |= {**bench.systems(group), (PEAK, group): product}
    if not args.no_fiftyone:
        systems |= {**fiftyone_systems(bench, stack), (PEAK, "files"): product}
    rounds = args.rounds or ROUNDS[args.size]
    measured = alternate(systems, rounds, finisher(device))
    products = [rate for key in list(measured) if key[0] == PEAK for rate in measured.pop(key)]
    rates = {key: statistics.median(values) for key, values in measured.items()}
    network = bench.plain.network
    result: dict[str, Any] = {
        "name": "local",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "device": str(device),
        "dtype": str(network.dtype).removeprefix("torch."),
        "size": args.size,
        "layers": args.layers,
        "parameters": sum(p.numel() for p in network.parameters()),
        "n": len(pictures),
        "n of slow systems": {LOOP: bench.slow, FORCED: bench.slow},
        "batch": args.batch,
        "rounds": rounds,
        "tokens generated": {
            q.attribute.name: bench.plain.answer_length(q) for q in bench.asked("4 attributes", joint=False)
        },
        "four checkpoints": "the same weights, loaded four times" if checkpoints.alike else "four sets of weights",
        "largest difference to teacher forcing": {name: round(gap, 6) for name, gap in differences.items()},
        "pictures per second": nested(rates, 3),
        "slowest round": nested({key: min(values) for key, values in measured.items()}, 3),
        "fastest round": nested({key: max(values) for key, values in measured.items()}, 3),
        "ratios": nested(ratios(rates), 2),
        "roofline": roofline(bench, rates, products),
    }
    if args.size == "paligemma-3b":
        result["roofline"]["TFLOP of all layers"] = shape_check()
    if args.profile:
        joint = functools.partial(answer, bench.one, pictures, bench.asked("4 attributes", joint=True), args.batch)
        result["profile"] = shares(checkpoint_of(bench.one, ATTRIBUTES[0]), joint, finisher(device))
    return result


def show(result: Mapping[str, Any]) -> None:
    """The figures as tables, and the JSON object as the last line."""
    print(f"{result['size']}, {result['parameters'] / 1e6:.1f} M parameters, {result['dtype']}, {result['machine']}")
    bound = result["roofline"]["share of the bound"]
    for group, rates in result["pictures per second"].items():
        print(f"\n{group:50}{'pictures/s':>12}{'rounds':>20}{'/ loop':>9}{'of bound':>10}")
        for name, rate in rates.items():
            lowest, highest = result["slowest round"][group][name], result["fastest round"][group][name]
            share = f"{bound[group][name]:.0%}" if name in bound[group] else ""
            print(f"{name:50}{rate:12.2f}{f'{lowest:.2f}-{highest:.2f}':>20}{rate / rates[LOOP]:9.1f}{share:>10}")
    print()
    for part in (
        "roofline",
        "largest difference to teacher forcing",
        "tokens generated",
        "four checkpoints",
        "profile",
    ):
        if part in result:
            print(f"{part}: {result[part]}")
    print(json.dumps(result))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default=SIZES[0])
    parser.add_argument("--device", help="cpu or cuda; by default the best there is")
    parser.add_argument("--dtype", help="by default float32 on a CPU, else bfloat16")
    parser.add_argument("--rounds", type=int, help=f"by default {ROUNDS}")
    parser.add_argument("--pictures", type=int, help=f"by default {PICTURES}")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--layers", type=int, help="cut tower and decoder to so many layers, to try a size out")
    parser.add_argument("--compile", nargs="+", choices=COMPILE, default=[], help="ours once more, compiled")
    parser.add_argument("--profile", action="store_true", help="where the time of 'ours, joint prompt' goes")
    parser.add_argument("--no-fiftyone", action="store_true", help="leave out what needs FiftyOne and its database")
    with ExitStack() as stack:
        show(measure(parser.parse_args(argv), stack))


if __name__ == "__main__":
    main()

"""What holds on a GPU, and how fast it is, in one command of at most eight minutes.

    python -m benchmarks.gpu [--seconds 450] [--only demo families ...]   # in a checkout, on a machine with a GPU
    python -m benchmarks.gpu --device cpu --tiny                          # tries every part without one

It needs torch, transformers and what they need; bitsandbytes and accelerate for the quantised part alone. FiftyOne and
its database are not touched. Each part stands for itself: one that breaks is a FAIL, one for which no time is left
says so, and the others go on. Lines that begin with FAIL name what does not hold, and then the exit status is 1. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import gc
import importlib.util
import json
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers as tf
from numpy.typing import NDArray
from PIL import Image

from benchmarks.shapes import ATTRIBUTES, PATCH, SIDE, configuration, write
from benchmarks.systems import answer, work_of
from benchmarks.timing import finisher, machine, matrix_product, tell
from facevlm.attributes import get
from facevlm.backends import Options
from facevlm.backends.cards import find, questions_for
from facevlm.backends.checkpoint import Checkpoint
from facevlm.backends.families.base import Family
from facevlm.backends.local import LocalBackend
from facevlm.datasets import samples
from facevlm.engines import local as engine
from facevlm.errors import FacevlmError
from facevlm.types import Face, Prediction, Question, Reply
from tests.backends import tiny
from tools.demo_model.model import processor

DEMO_MOVES = {"float32": 2e-3, "bfloat16": 0.3, "float16": 0.1}
"""How far log-probabilities of the demo model may move from those in float32 on the CPU, in nats."""
FAMILY_MOVES = {"float32": 5e-3, "bfloat16": 0.5}
"""The same of the small checkpoints: their random weights answer hardly better than chance, and rounding moves more."""
LARGE_MOVES = {"float32": 5e-3, "bfloat16": 1.0}
SAME = 0.98
"""Share of the demo model's decisions that stay the same."""
WAITS = 3
"""Times that the host may wait for the device in one batch of a PaliGemma; once a picture for Qwen-VL."""
WRITER_MS = 0.7
"""What writing the labels of a picture costs the writer's thread in FiftyOne."""
GIB = 2**30
TINY_FAMILIES = ("paligemma", "qwen3_vl", "florence2")
QWEN_VISION = {
    "hidden_size": 1024,
    "depth": 24,
    "num_heads": 16,
    "intermediate_size": 4096,
    "out_hidden_size": 2560,
    "patch_size": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}
QWEN_TEXT = {
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9728,
    "vocab_size": 151936,
    "max_position_embeddings": 4096,
}
"""The shape of Qwen3-VL-4B."""
Pictures = Sequence[Image.Image]
Work = Callable[[], object]


@dataclass
class Bench:
    """What is measured on: a device, sizes, the time that is left, and what failed so far."""

    device: torch.device
    tiny: bool
    root: Path
    fails: list[str] = field(default_factory=list)
    peak: float | None = None
    began: float = field(default_factory=time.perf_counter)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @functools.cached_property
    def faces(self) -> list[Image.Image]:
        records = list(samples.read("single"))[:: 9 if self.tiny else 1]
        return [Image.open(record.filepath).convert("RGB") for record in records]

    @functools.cached_property
    def large(self) -> str:
        """A checkpoint of the shape of PaliGemma-3B-224, of random weights; a small one for a try."""
        proc = processor(SIDE, PATCH)
        size, layers = ("mid", 1) if self.tiny else ("paligemma-3b", None)
        write(configuration(size, proc, layers), proc, 0, self.root / "large", self.device)
        return f"hf:{self.root / 'large'}"

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.fails.append(what)
            print(f"FAIL {what}", flush=True)

    def open(self, model: str, **options: Any) -> LocalBackend:
        return LocalBackend(find(model), Options(**{"device": str(self.device), **options}))

    def sized(self, count: int, side: int = SIDE) -> list[Image.Image]:
        """Faces of one size, over and over."""
        return [self.faces[k % len(self.faces)].resize((side, side)) for k in range(count)]

    def finish(self) -> None:
        finisher(self.device)()

    def rate(self, work: Work, pictures: int, seconds: float = 2.0) -> float:
        """Pictures a second, after a run before the clock starts."""
        work()
        self.finish()
        done, start = 0, time.perf_counter()
        while not done or time.perf_counter() - start < (0 if self.tiny else seconds):
            work()
            done += 1
        self.finish()
        return round(done * pictures / (time.perf_counter() - start), 2)

    def memory(self, work: Work) -> float | None:
        """The most GiB that a run takes beside what is held."""
        if not self.cuda:
            work()
            return None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return round((torch.cuda.max_memory_allocated() - before) / GIB, 3)

    def waits(self, work: Work) -> dict[str, Any] | None:
        """How often the host waits for the device, and where most."""
        if not self.cuda:
            return None
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        where = Counter(f"{Path(w.filename).name}:{w.lineno}" for w in seen if "synchroniz" in str(w.message))
        return {"total": where.total(), "where": dict(where.most_common(8))}

    def kernels(self, work: Work) -> dict[str, Any]:
        """How many kernels a run starts, the share of the time in which one runs, and the dearest ones."""
        activity = torch.profiler.ProfilerActivity
        start = time.perf_counter()
        with torch.profiler.profile(activities=[activity.CPU, *([activity.CUDA] if self.cuda else [])]) as profile:
            work()
            self.finish()
        wall = time.perf_counter() - start
        ran = [e for e in profile.events() if e.device_type.name == "CUDA"]
        if not self.cuda:
            return {"operations": len(profile.events())}
        busy: Counter[str] = Counter()
        for event in ran:
            busy[event.name[:70]] += event.device_time / 1e6
        spent = busy.total()
        top = {name: round(seconds / spent, 3) for name, seconds in busy.most_common(8)}
        return {"kernels": len(ran), "share busy under the profiler": round(spent / wall, 3), "dearest": top}


def asked(model: str, names: Sequence[str] = ATTRIBUTES, *, joint: bool = True) -> list[Question]:
    """Questions of a model; of one that is tuned for tasks, prompts of some kind."""
    card, attributes = find(model), [get(name) for name in names]
    tuned = {name: get(name).question for name in names} if model.endswith("florence2") else None
    return questions_for(card, attributes, tuned, joint=joint)


def table(rows: Sequence[Sequence[Reply]]) -> tuple[NDArray[np.float64], list[int | None]]:
    """All log-probabilities, nan where there are none, and what was chosen."""
    replies = [reply for row in rows for reply in row]
    return np.array([p for r in replies for p in r.log_probs or (np.nan,)]), [r.choice for r in replies]


def moved(got: NDArray[np.float64], want: NDArray[np.float64]) -> float:
    """The largest difference; nan where one of both lacks scores."""
    return float(np.abs(got - want).max()) if got.shape == want.shape else float("nan")


def same(got: Sequence[object], want: Sequence[object]) -> float:
    return round(sum(one == other for one, other in zip(got, want, strict=True)) / len(want), 4)


# Parts


def ceilings(bench: Bench) -> dict[str, Any]:
    """What the device does at most: matrix products in bfloat16, copies."""
    # A CPU may multiply large matrices in bfloat16 one number at a time.
    product = matrix_product(bench.device, torch.bfloat16 if bench.cuda else torch.float32)
    bench.peak = bench.rate(product, 1, 1.0) * product()
    source = torch.empty(2**22 if bench.tiny else 2**30, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * bench.rate(lambda: target.copy_(source), 1, 0.5)
    return {"matrix products, TFLOP/s": round(bench.peak / 1e12, 2), "copies, TB/s": round(copied / 1e12, 3)}


def demo(bench: Bench) -> dict[str, Any]:
    """The demo model, trained as it is: float32 on the CPU against each type of numbers on the device."""
    questions, found = asked("demo"), {}
    want, decided = table(bench.open("demo", device="cpu", dtype="float32").answer(bench.faces, questions))
    for dtype, most in DEMO_MOVES.items():
        if dtype == "float16" and not bench.cuda:
            continue
        backend = bench.open("demo", dtype=dtype)
        got, choice = table(backend.answer(bench.faces, questions))
        move, alike = moved(got, want), same(choice, decided)
        found[dtype] = {"moves, nat": round(move, 6), "same decisions": alike, "batch": backend.info.batch_size}
        bench.check(backend.info.decode == "score", f"demo, {dtype}: {' '.join(backend.info.notes)}")
        bench.check(move <= most, f"demo, {dtype}: a log-probability moves by {move:.3g}, at most {most} are fine")
        bench.check(alike >= SAME, f"demo, {dtype}: {alike:.1%} of the decisions stay, expected {SAME:.0%}")
    return found


def families(bench: Bench) -> dict[str, Any]:
    """Every family, by small checkpoints of random weights, on pictures of two sizes."""
    pictures = [f.resize((96 + 32 * (k % 2), 96)) for k, f in enumerate(bench.faces[:6])]
    found: dict[str, Any] = {}
    for name in TINY_FAMILIES if bench.tiny else tiny.BUILDERS:
        try:
            found[name] = _family(bench, f"hf:{tiny.BUILDERS[name](bench.root / name)}", name, pictures)
        except Exception as error:  # noqa: BLE001  one family must not cost the others
            bench.check(False, f"{name}: {_said(error)}")
    return found


def _family(bench: Bench, model: str, name: str, pictures: Pictures) -> dict[str, Any]:
    questions, found = asked(model, ("gender", "age5")), {}
    want, _ = table(bench.open(model, device="cpu").answer(pictures, questions))
    for dtype, most in FAMILY_MOVES.items():
        backend = bench.open(model, dtype=dtype)
        move = moved(table(backend.answer(pictures, questions))[0], want)
        waits = bench.waits(functools.partial(backend.answer, pictures, questions))
        found[dtype] = {"moves, nat": round(move, 6), "decode": backend.info.decode, "waits": waits and waits["total"]}
        bench.check(move <= most, f"{name}, {dtype}: moves by {move:.3g}. {' '.join(backend.info.notes)}")
    return found


def paligemma(bench: Bench) -> dict[str, Any]:
    """The shape of PaliGemma-3B-224 by batch size, with joint and with separate prompts."""
    start = time.perf_counter()
    backend = bench.open(bench.large, dtype="bfloat16")
    found: dict[str, Any] = {"made and loaded, s": round(time.perf_counter() - start, 1)}
    found["batch"] = backend.info.batch_size
    bench.check(backend.info.decode == "score", f"PaliGemma-3B: {' '.join(backend.info.notes)}")
    for joint in (True, False):
        found["joint" if joint else "separate"] = _by_batch(bench, backend, asked(bench.large, joint=joint))
    waits = found["joint"]["waits"]
    bench.check(not waits or waits["total"] <= WAITS, f"PaliGemma-3B: the host waits {waits} times a batch")
    return found


def _by_batch(bench: Bench, backend: LocalBackend, questions: Sequence[Question]) -> dict[str, Any]:
    pictures = bench.sized(4 if bench.tiny else 64)
    work = work_of(backend, questions, pictures[0])
    found: dict[str, Any] = {"TFLOP a picture": round(work / 1e12, 4)}
    for size in (2,) if bench.tiny else (1, 8, 16, 32, 64):
        few = pictures[: max(8, size)]
        run = functools.partial(answer, backend, few, questions, size)
        took, rate = bench.memory(run), bench.rate(run, len(few), 1.0)
        share = round(rate * work / bench.peak, 3) if bench.peak else None
        found[str(size)] = {"pictures/s": rate, "share of the roofline": share, "peak, GiB": took}
    batch = functools.partial(backend.answer, pictures[:32], questions)
    return {**found, "waits": bench.waits(batch), "kernels": bench.kernels(batch)}


def exact(bench: Bench) -> dict[str, Any]:
    """The large shape: bfloat16 against float32 on the device, and that against float32 on the CPU."""
    pictures, questions, tables = bench.sized(2), asked(bench.large), {}
    for name, options in {
        "bfloat16": {"dtype": "bfloat16"},
        "float32": {"dtype": "float32"},
        "float32 on the CPU": {"device": "cpu", "dtype": "float32"},
    }.items():
        tables[name], _ = table(bench.open(bench.large, **options).answer(pictures, questions))
        clean(bench)
    found = {}
    for dtype, most in LARGE_MOVES.items():
        found[dtype] = move = moved(tables[dtype], tables["float32 on the CPU"])
        bench.check(move <= most, f"PaliGemma-3B, {dtype}: moves by {move:.3g} nat from float32 on the CPU")
    return found


def loop(bench: Bench) -> dict[str, Any]:
    """The loop of apply from files to predictions, with a writer that costs as much as FiftyOne's."""
    backend, questions = bench.open(bench.large, dtype="bfloat16"), asked(bench.large)
    count, size = (8, 4) if bench.tiny else (384, 32)
    pictures = bench.sized(min(count, len(bench.faces)))
    for k, picture in enumerate(pictures):
        picture.save(bench.root / f"{k}.jpg", quality=92)
    faces = [Face(str(k), str(bench.root / f"{k % len(pictures)}.jpg")) for k in range(count)]
    written: Counter[str] = Counter()

    def write(predictions: Sequence[Prediction], cost_ms: float) -> None:
        end = time.thread_time() + cost_ms / 1000 * len(predictions) / len(questions)
        written.update(p.outcome for p in predictions)
        while time.thread_time() < end:
            pass

    def run(cost_ms: float) -> None:
        for _ in engine.run(faces, backend, questions, functools.partial(write, cost_ms=cost_ms), batch_size=size):
            pass

    bare = functools.partial(answer, backend, bench.sized(count), questions, size)
    found: dict[str, Any] = {"passes alone, pictures/s": bench.rate(bare, count)}
    found["loop, pictures/s"] = bench.rate(lambda: run(0), count)
    found[f"loop, writer takes {WRITER_MS} ms a picture, pictures/s"] = bench.rate(lambda: run(WRITER_MS), count)
    bench.check(set(written) == {"ok"}, f"loop: not every face was answered: {dict(written)}")
    return found


def backoff(bench: Bench) -> dict[str, Any]:
    """Where memory runs out: the same answers, tried in vain once and not in every batch; and a sentence."""
    backend, questions, pictures = bench.open("demo"), asked("demo"), bench.sized(64, 64)
    want, decided = table(backend.answer(pictures, questions))
    with _short(bench, backend, questions, pictures) as sizes:
        rows = [table(backend.answer(pictures, questions)) for _ in range(3)]
    vain = sum(size > 16 for size in sizes)
    move, alike = max(moved(got, want) for got, _ in rows), min(same(choice, decided) for _, choice in rows)
    bench.check(move <= 0.1 and alike >= SAME, f"back-off: answers move by {move:.3g}, {alike:.1%} decisions stay")
    bench.check(0 < vain <= 2, f"back-off: {vain} passes in vain over three batches, expected 1 or 2: {sizes}")
    said = _told(bench)
    bench.check(said is not None, "back-off: a model that does not fit at all does not say so in a sentence")
    return {"passes": sizes, "in vain": vain, "moves, nat": move, "same decisions": alike, "said": said}


@contextmanager
def _short(
    bench: Bench, backend: LocalBackend, questions: Sequence[Question], pictures: Pictures
) -> Iterator[list[int]]:
    """Memory for about 16 pictures: taken away on a GPU, played elsewhere. Yields how many were tried in each pass."""
    sizes: list[int] = []
    score = Checkpoint.score

    def counted(self: Checkpoint, images: Pictures, questions: Sequence[Question]) -> list[list[Reply]]:
        sizes.append(len(images))
        if not bench.cuda and len(images) > 16:
            raise torch.OutOfMemoryError("out of memory, played")
        return score(self, images, questions)

    if bench.cuda:
        clean(bench)
        backend.answer(pictures[:16], questions)
        need, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(bench.device).total_memory
        clean(bench)
        torch.cuda.set_per_process_memory_fraction(min(1.0, 1.3 * need / total))
    try:
        with mock.patch.object(Checkpoint, "score", counted):
            yield sizes
    finally:
        if bench.cuda:
            torch.cuda.set_per_process_memory_fraction(1.0)


def _told(bench: Bench) -> str | None:
    """The sentence where not a single picture fits when a model is opened; None for a bare error."""
    nothing = mock.Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory, played"))
    try:
        with mock.patch.object(Family, "generate_ids", nothing):
            bench.open("demo")
    except FacevlmError as error:
        return str(error).split(". ")[0]
    except torch.OutOfMemoryError:
        return None
    return None


def quantised(bench: Bench) -> dict[str, Any] | str:
    """8 and 4 bits: decisions of the demo model that stay; speed and memory of the large shape."""
    missing = [name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        return f"left out: {' and '.join(missing)} not installed"
    found: dict[str, Any] = {}
    _, decided = table(bench.open("demo", device="cpu").answer(bench.faces, asked("demo")))
    for bits in ("8bit", "4bit"):
        backend = bench.open("demo", quantize=bits)
        _, choice = table(backend.answer(bench.faces, asked("demo")))
        bench.check(backend.info.decode == "score", f"demo, {bits}: {' '.join(backend.info.notes)}")
        found[bits] = {"same decisions": same(choice, decided)}
        if bench.cuda and not bench.tiny:
            found[bits] |= _packed(bench, bits)
    return found


def _packed(bench: Bench, bits: str) -> dict[str, Any]:
    clean(bench)
    before = torch.cuda.memory_allocated()
    backend = bench.open(bench.large, quantize=bits)
    weights = round((torch.cuda.memory_allocated() - before) / GIB, 2)
    run = functools.partial(answer, backend, bench.sized(64), asked(bench.large), 32)
    return {"large, GiB": weights, "large, pictures/s": bench.rate(run, 64, 1.0)}


def qwen(bench: Bench) -> dict[str, Any]:
    """The shape of Qwen3-VL-4B, of random weights: pictures of one size, and of many."""
    model, questions = _qwen(bench), asked(_qwen_name(bench))
    backend = bench.open(model, dtype="bfloat16")
    found: dict[str, Any] = {"decode": backend.info.decode, "notes": backend.info.notes}
    count = 4 if bench.tiny else 32
    alike = bench.sized(count)
    unlike = [f.resize((224 + 32 * (k % 4), 224 - 32 * (k % 3))) for k, f in enumerate(alike)]
    for name, pictures in {"of one size": alike, "of many sizes": unlike}.items():
        run = functools.partial(backend.answer, pictures, questions)
        waits = bench.waits(run)
        found[name] = {"pictures/s": bench.rate(run, count), "waits": waits, "kernels": bench.kernels(run)}
        bench.check(not waits or waits["total"] <= count, f"Qwen3-VL-4B, {name}: the host waits {waits} times a batch")
    return found


def _qwen_name(bench: Bench) -> str:
    return f"hf:{bench.root / 'qwen'}"


def _qwen(bench: Bench) -> str:
    """The small checkpoint's words and template around weights of the large shape."""
    folder = tiny.qwen3_vl(bench.root / "qwen")
    if not bench.tiny:
        config = tf.AutoConfig.from_pretrained(folder)
        for part, shape in ((config.vision_config, QWEN_VISION), (config.text_config, QWEN_TEXT)):
            for name, value in shape.items():
                setattr(part, name, value)
        rope = dict(config.text_config.rope_parameters)
        config.text_config.rope_parameters = {**rope, "rope_theta": 5e6, "mrope_section": [24, 20, 20]}
        config.text_config.layer_types = None
        with bench.device:
            network = tf.AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
        network.generation_config = tf.GenerationConfig.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        network.save_pretrained(folder)
        sizes = json.loads((folder / "preprocessor_config.json").read_text())
        sizes |= {"patch_size": 16, "size": {"shortest_edge": 64 * 64, "longest_edge": 1024 * 1024}}
        (folder / "preprocessor_config.json").write_text(json.dumps(sizes))
    return _qwen_name(bench)


def compiled(bench: Bench) -> dict[str, Any]:
    """The large shape compiled: how long that takes, what it brings, and whether it answers the same."""
    from torch._dynamo.utils import counters

    questions, size = asked(bench.large), 2 if bench.tiny else 32
    pictures = bench.sized(2 * size)
    want, _ = table(bench.open(bench.large, dtype="bfloat16").answer(pictures, questions))
    counters.clear()
    start = time.perf_counter()
    with _quickly(bench):
        backend = bench.open(bench.large, dtype="bfloat16", compile="default")
        got, _ = table(backend.answer(pictures[:size], questions) + backend.answer(pictures[size:], questions))
        bench.finish()
        found: dict[str, Any] = {"loaded and compiled, s": round(time.perf_counter() - start, 1)}
        found["pictures/s"] = bench.rate(functools.partial(answer, backend, pictures, questions, size), 2 * size)
    found |= {"graphs": counters["stats"]["unique_graphs"], "breaks": counters["graph_break"].total()}
    found |= {"moves, nat": moved(got, want), "notes": backend.info.notes}
    bench.check(found["moves, nat"] <= LARGE_MOVES["bfloat16"], f"compiled: answers move by {found['moves, nat']:.3g}")
    return found


@contextmanager
def _quickly(bench: Bench) -> Iterator[None]:
    """Without a GPU graphs are made, but no code for them, which takes minutes on two cores."""
    whole = torch.nn.Module.compile

    def traced(self: torch.nn.Module, **options: Any) -> None:
        whole(self, **{**options, "backend": "eager"})

    with mock.patch.object(torch.nn.Module, "compile", traced) if bench.tiny else contextlib.nullcontext():
        yield


PARTS: dict[str, tuple[Callable[[Bench], Any], int]] = {
    "ceilings": (ceilings, 10),
    "demo": (demo, 20),
    "families": (families, 40),
    "paligemma": (paligemma, 60),
    "backoff": (backoff, 20),
    "loop": (loop, 40),
    "exact": (exact, 60),
    "qwen": (qwen, 60),
    "quantised": (quantised, 50),
    "compiled": (compiled, 90),
}
"""What is done, in this order, and the seconds that must be left for it to begin."""


def clean(bench: Bench) -> None:
    gc.collect()
    if bench.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def done(bench: Bench, name: str, until: float) -> dict[str, Any] | str:
    """One part's figures, or why there are none."""
    part, seconds = PARTS[name]
    if not bench.tiny and time.perf_counter() + seconds > until:
        return "left out: no time is left for it"
    start = time.perf_counter()
    try:
        found = part(bench)
    except Exception as error:  # noqa: BLE001  one part must not cost the others
        found = f"broke: {_said(error)}"
        bench.check(False, f"{name} {found}")
    clean(bench)
    tell(f"{name}, {time.perf_counter() - start:.1f} s: {json.dumps(found, default=str)}")
    return found  # type: ignore[no-any-return]


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def measure(args: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """The whole run as one JSON-able object."""
    torch.backends.cuda.matmul.allow_tf32 = False
    root = Path(tempfile.mkdtemp())
    stack.callback(shutil.rmtree, root, ignore_errors=True)
    bench = Bench(torch.device(args.device), args.tiny, root)
    names = [name for name in PARTS if not args.only or name in args.only]
    parts = {name: done(bench, name, bench.began + args.seconds) for name in names}
    return {
        "name": "gpu",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "device": args.device,
        "torch": torch.__version__,
        "transformers": tf.__version__,
        "tiny": args.tiny,
        **parts,
        "fails": bench.fails,
        "seconds": round(time.perf_counter() - bench.began, 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="few pictures and small shapes, to try every part out")
    parser.add_argument("--seconds", type=float, default=450, help="no part begins that would last longer")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[], help="some parts")
    with ExitStack() as stack:
        result = measure(parser.parse_args(argv), stack)
    print(json.dumps(result, default=str))
    return int(bool(result["fails"]))


if __name__ == "__main__":
    sys.exit(main())

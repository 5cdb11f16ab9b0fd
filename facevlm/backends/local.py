"""Local vision-language models through transformers: load, batch, score, halve on out of memory."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch
from huggingface_hub.constants import ENDPOINT
from PIL.Image import Image, Resampling
from PIL.Image import new as new_image
from torch import Tensor

from facevlm.backends import BackendInfo, Options, PictureSpec
from facevlm.backends.cards import Card, is_here, location
from facevlm.backends.paligemma import PaliGemma
from facevlm.backends.trie import Branch, LabelTrie
from facevlm.errors import ModelError, lookup
from facevlm.types import Question, Reply

FAMILIES = {"paligemma": PaliGemma}
MAX_NEW_TOKENS = 24
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.05}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(wanted: str | None) -> torch.device:
    """The wanted device, else the first of cuda, mps, cpu that is there."""
    if wanted:
        try:
            return torch.empty(0, device=wanted).device
        except (RuntimeError, AssertionError) as error:
            raise ModelError(
                f"Got device '{wanted}', which cannot be used here: {str(error).splitlines()[0]}"
            ) from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class Checkpoint:
    """One loaded checkpoint with its family and its way of turning a picture into numbers."""

    def __init__(self, card: Card, checkpoint: str, options: Options) -> None:
        self.device = pick_device(options.device)
        default = "float32" if self.device.type == "cpu" else "bfloat16"
        self.dtype = lookup("dtype", DTYPES, options.dtype or default)
        path = location(checkpoint)
        check_reachable(card, path)
        with _load_errors(card, path):
            self.family, self.revision = _load(card, path, options, self.dtype)
        self.family.model.to(self.device).eval()
        processor = self.family.processor.image_processor
        size = processor.size
        self.picture = PictureSpec(size["height"], size["width"], Resampling(int(processor.resample)))
        mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
        self._scale = (processor.rescale_factor / std)[:, None, None].to(self.device)
        self._shift = (mean / std)[:, None, None].to(self.device)
        self._tries: dict[tuple[str, ...], LabelTrie] = {}
        if options.decode == "score":
            self.check_scoring()

    def check_scoring(self) -> None:
        """Score one answer with the trie and with the model's own forward pass; they must agree.

        Raises :class:`~facevlm.errors.ModelError` where they do not: wrong masks or positions are silent otherwise.
        """
        family = self.family
        prompt, answer = family.prompt_ids("what is this?"), family.answer_ids("a picture")
        trie = LabelTrie([Branch((), ((answer,), (answer[:1],)))], family.end_token)
        with torch.inference_mode():
            pixels = self.pixels([new_image("RGB", (self.picture.width, self.picture.height), (200, 90, 30))])
            scored = trie.read(family.edge_log_probs(family.features(pixels), prompt, trie).cpu().numpy())[0].log_probs
            plain = float(family.plain_log_prob(pixels, prompt, answer)[0])
        if not abs(scored[0, 0] - plain) <= TOLERANCE[self.dtype] * max(1.0, abs(plain)):
            raise ModelError(
                "The label scores of this checkpoint do not agree with its own forward pass "
                f"({scored[0, 0]:.4f} against {plain:.4f}), so they cannot be trusted here. "
                "Use decode='generate', or another version of transformers."
            )

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """Normalised pictures (batch, 3, height, width) on the device; bytes travel, not floats."""
        size = (self.picture.width, self.picture.height)
        rows = [np.asarray(i if i.size == size else i.resize(size, self.picture.resample)) for i in images]
        raw = torch.from_numpy(np.stack(rows)).to(self.device).permute(0, 3, 1, 2).contiguous()
        pixels: Tensor = raw.mul(self._scale).sub_(self._shift).to(self.dtype)
        return pixels

    def score(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Exact log-probabilities of every label; questions with one prompt share one pass."""
        with torch.inference_mode():
            features = self.family.features(self.pixels(images))
            table: list[list[Reply]] = [[Reply()] * len(questions) for _ in images]
            for text, members in _by_prompt(questions).items():
                group = [questions[k] for k in members]
                trie = self.trie(group)
                edges = self.family.edge_log_probs(features, self.family.prompt_ids(text), trie)
                for k, scores in zip(members, trie.read(edges.cpu().numpy()), strict=True):
                    for row, log_probs, choice in zip(table, scores.log_probs, scores.choice, strict=True):
                        row[k] = Reply(log_probs=tuple(log_probs.tolist()), choice=int(choice))
        return table

    def generate(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Free greedy answers, one generation per distinct prompt."""
        with torch.inference_mode():
            pixels = self.pixels(images)
            said = {q.text: self.family.generate(pixels, q.text, MAX_NEW_TOKENS) for q in questions}
        return [[Reply(text=said[q.text][row]) for q in questions] for row in range(len(images))]

    def trie(self, questions: Sequence[Question]) -> LabelTrie:
        """The label trie of questions that share a prompt, built once."""
        key = tuple(q.fingerprint() for q in questions)
        if key not in self._tries:
            branches = [self._branch(question) for question in questions]
            self._tries[key] = LabelTrie(branches, self.family.end_token)
        return self._tries[key]

    def _branch(self, question: Question) -> Branch:
        cue = self.family.answer_ids(question.cue) if question.cue else ()
        owners: dict[tuple[int, ...], str] = {}
        forms = []
        for label, strings in zip(question.attribute.labels, question.surface_forms, strict=True):
            ids = tuple(dict.fromkeys(self.family.answer_ids(s) for s in strings))
            for form in ids:
                other = owners.setdefault(form, label)
                if other != label:
                    raise ModelError(
                        f"{question.attribute.name}: '{other}' and '{label}' have the same tokens {form} for this "
                        "model, so it cannot tell them apart. Give them different answer strings."
                    )
            forms.append(ids)
        return Branch(cue, tuple(forms))


def _by_prompt(questions: Sequence[Question]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for k, question in enumerate(questions):
        groups.setdefault(question.context or question.text, []).append(k)
    return groups


def _load(card: Card, path: str, options: Options, dtype: torch.dtype) -> tuple[PaliGemma, str]:
    import transformers

    config = transformers.AutoConfig.from_pretrained(
        path, revision=options.revision, trust_remote_code=options.trust_remote_code
    )
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ModelError(
            f"Model '{card.name}' is of type '{config.model_type}', expected one of {', '.join(FAMILIES)}. "
            "Choose a checkpoint of a supported family."
        )
    with _quiet(transformers):
        processor = transformers.AutoProcessor.from_pretrained(
            card.processor or path,
            revision=None if card.processor else options.revision,
            trust_remote_code=options.trust_remote_code,
            backend="pil",
        )
        model = transformers.AutoModelForImageTextToText.from_pretrained(
            path, revision=options.revision, dtype=dtype, trust_remote_code=options.trust_remote_code
        )
    revision = getattr(config, "_commit_hash", None) or _weights_digest(Path(path))
    return family(model, processor), revision


def check_reachable(card: Card, checkpoint: str) -> None:
    """Fail at once, not after the hub client's retries, where a checkpoint is not here and the hub is out of reach."""
    if is_here(checkpoint):
        return
    if checkpoint.count("/") != 1 or checkpoint[0] in "./~":
        raise ModelError(_gated(card, checkpoint, "there is no such folder"))
    if getproxies():
        return
    hub = urlsplit(ENDPOINT)
    try:
        socket.create_connection((hub.hostname or "", hub.port or 443), timeout=5).close()
    except OSError as error:
        raise ModelError(_gated(card, checkpoint, "it is not on this machine and the hub cannot be reached")) from error


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bar of the loader between ours."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def _weights_digest(folder: Path) -> str:
    """Digest of a folder's weight files: names, sizes, and their first and last 64 KiB."""
    seen = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        seen.update(f"{path.name}:{size}".encode())
        with open(path, "rb") as handle:
            seen.update(handle.read(65536))
            handle.seek(max(0, size - 65536))
            seen.update(handle.read())
    return seen.hexdigest()[:12]


@contextlib.contextmanager
def _load_errors(card: Card, path: str) -> Iterator[None]:
    """transformers' and the hub's errors as one sentence with the remedy."""
    from huggingface_hub import errors as hub
    from safetensors import SafetensorError

    try:
        yield
    except (hub.GatedRepoError, hub.RepositoryNotFoundError) as error:
        raise ModelError(_gated(card, path, "the hub refused it")) from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, ConnectionError) as error:
        raise ModelError(_gated(card, path, "it is not on this machine and the hub cannot be reached")) from error
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        if not Path(path).is_dir():
            raise ModelError(_gated(card, path, "it is not on this machine and could not be fetched")) from error
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"Cannot load model '{card.name}' from {path}: {first} "
            "Expected a folder written by save_pretrained, with config.json, weights and processor files."
        ) from error


def _gated(card: Card, path: str, what: str) -> str:
    accept = f"Licence: {card.licence}. Then run 'hf auth login'" if card.gated else "Check the name"
    return (
        f"Cannot load model '{card.name}': {path}: {what}. {accept}, "
        "or give a folder that holds the checkpoint as hf:/path/to/folder."
    )


class LocalBackend:
    """The :class:`~facevlm.backends.Backend` of a card: one checkpoint for all attributes, or one for each."""

    def __init__(self, card: Card, options: Options) -> None:
        self.card, self.options = card, options
        self._checkpoints: dict[str, Checkpoint] = {}
        self._lock = threading.Lock()
        first = self._checkpoint(next(iter(card.checkpoints.values())))
        self._picture, self._dtype, self._device = first.picture, first.dtype, first.device

    def _checkpoint(self, name: str) -> Checkpoint:
        if name not in self._checkpoints:
            self._checkpoints[name] = Checkpoint(self.card, name, self.options)
        return self._checkpoints[name]

    @property
    def info(self) -> BackendInfo:
        return BackendInfo(
            model=self.card.name,
            identity={name: self._checkpoint(name).revision for name in sorted(set(self.card.checkpoints.values()))},
            device=str(self._device),
            dtype=str(self._dtype).removeprefix("torch."),
            decode=self.options.decode,
            picture=self._picture,
            versions={name: version(name) for name in ("facevlm", "torch", "transformers") if _has(name)},
        )

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        table: list[list[Reply]] = [[Reply()] * len(questions) for _ in images]
        with self._lock:
            for name, members in self._by_checkpoint(questions).items():
                checkpoint = self._checkpoint(name)
                ask = checkpoint.generate if self.options.decode == "generate" else checkpoint.score
                group = [questions[k] for k in members]
                answered = halving(functools.partial(_ask, ask, group), images)
                for row, replies in zip(table, answered, strict=True):
                    for k, reply in zip(members, replies, strict=True):
                        row[k] = reply
        return table

    def _by_checkpoint(self, questions: Sequence[Question]) -> dict[str, list[int]]:
        groups: dict[str, list[int]] = {}
        for k, question in enumerate(questions):
            groups.setdefault(self.card.checkpoint(question.attribute.name), []).append(k)
        return groups


Ask = Callable[[Sequence[Image], Sequence[Question]], list[list[Reply]]]


def _ask(ask: Ask, questions: Sequence[Question], images: Sequence[Image]) -> list[list[Reply]]:
    return ask(images, questions)


def halving(call: Callable[[Sequence[Image]], list[list[Reply]]], images: Sequence[Image]) -> list[list[Reply]]:
    """Call on all pictures; where memory runs out, on halves, keeping what is done.

    Raises :class:`~facevlm.errors.ModelError` when not even one picture fits.
    """
    done: list[list[Reply]] = []
    size = len(images)
    while len(done) < len(images):
        result = _attempt(call, images[len(done) : len(done) + size])
        if result is not None:
            done += result
            continue
        if size == 1:
            raise ModelError("Out of memory with a single picture. Use a smaller model, bfloat16, or another device.")
        size //= 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return done


def _attempt(call: Callable[[Sequence[Image]], list[list[Reply]]], images: Sequence[Image]) -> list[list[Reply]] | None:
    try:
        return call(images)
    except (torch.OutOfMemoryError, MemoryError):
        return None
    except RuntimeError as error:
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        return None


def _has(package: str) -> bool:
    try:
        return bool(version(package))
    except ModuleNotFoundError:
        return False


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

"""From a name to a model in memory: device, type of numbers, quantisation, attention; failures as one sentence each."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
import transformers
from huggingface_hub import errors as hub
from huggingface_hub import snapshot_download
from huggingface_hub.constants import ENDPOINT
from safetensors import SafetensorError

from facevlm.backends import Options, load_class
from facevlm.backends.cards import Card, is_here, location
from facevlm.backends.families import GENERIC, FamilyInfo, family_of, titles
from facevlm.backends.families.base import Family, Tools
from facevlm.errors import ModelError, lookup

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FLASH = "flash_attention_2"
WEIGHTS = "*.safetensors"


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


def pick_dtype(options: Options, device: torch.device) -> torch.dtype:
    """The wanted type of numbers, else float32 on a CPU and bfloat16 elsewhere.

    bitsandbytes multiplies 8-bit weights in float16 and would convert, and warn, at every layer.
    """
    usual = "float32" if device.type == "cpu" else "bfloat16"
    return lookup(
        "dtype", DTYPES, options.dtype or {"8bit": "float16", "4bit": "bfloat16"}.get(options.quantize or "", usual)
    )


def load(card: Card, name: str, options: Options) -> tuple[Family, str]:
    """A checkpoint on its device, and its revision on the hub or a digest of its weights.

    Raises :class:`~facevlm.errors.ModelError` with the reason and the remedy.
    """
    device = pick_device(options.device)
    dtype = pick_dtype(options, device)
    path = location(name)
    check_reachable(card, path)
    with _load_errors(card, path, options), _quiet():
        config = _config(path, options)
        tools = _tools(card, path, options, config)
        model = transformers.AutoModelForImageTextToText.from_pretrained(
            path,
            revision=options.revision,
            dtype=dtype,
            trust_remote_code=options.trust_remote_code,
            **_attention(options),
            **_quantized(options, dtype, device),
        )
        if not options.quantize:
            model.to(device)
        family: Family = load_class(_family(config).path)(model.eval(), tools)
    if options.compile:
        _compile(model, options.compile)
    return family, _revision(config, path)


def revision(name: str, options: Options) -> str:
    """The revision of a checkpoint without loading it: the hub's commit, or a digest of the folder's weights."""
    path = location(name)
    return _revision(_config(path, options), path)


def _config(path: str, options: Options) -> Any:
    return transformers.AutoConfig.from_pretrained(
        path, revision=options.revision, trust_remote_code=options.trust_remote_code
    )


def _family(config: Any) -> FamilyInfo:
    """The family of a config; Pixtral calls itself a LLaVA but takes pictures of any shape."""
    tower = getattr(getattr(config, "vision_config", None), "model_type", "")
    return GENERIC if tower == "pixtral" else family_of(config.model_type)


def _revision(config: Any, path: str) -> str:
    return getattr(config, "_commit_hash", None) or _weights_digest(Path(path))


def _tools(card: Card, path: str, options: Options, config: Any) -> Tools:
    """Image processor and tokenizer apart from each other: composite processors may want packages for video."""
    if not hasattr(config, "vision_config") and not options.trust_remote_code:
        raise ModelError(
            f"Model '{card.name}' is of type '{config.model_type}', which takes no pictures. Expected an "
            f"image-text-to-text model: {'; '.join(titles())}."
        )
    source = card.processor or path
    common: dict[str, Any] = {
        "revision": None if card.processor else options.revision,
        "trust_remote_code": options.trust_remote_code,
    }
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, **common)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise ModelError(
            f"Cannot load model '{card.name}' from {path}: its tokenizer has no words. Expected tokenizer.json "
            "or another tokenizer file in its folder."
        )
    described, _ = transformers.ProcessorMixin.get_processor_dict(source, revision=common["revision"])
    whole = None
    if _family(config) is GENERIC:
        whole = transformers.AutoProcessor.from_pretrained(source, backend="pil", **common)
        images = whole.image_processor
    else:
        images = transformers.AutoImageProcessor.from_pretrained(source, backend="pil", **common)
    template = described.get("chat_template") or tokenizer.chat_template
    return Tools(images, tokenizer, template, whole, dict(card.images))


def _attention(options: Options) -> dict[str, Any]:
    """FlashAttention takes no mask of ours, so with it the decoder keeps PyTorch's own kernels."""
    if options.attention == FLASH:
        return {"attn_implementation": {"vision_config": FLASH}}
    return {"attn_implementation": options.attention} if options.attention else {}


def _quantized(options: Options, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    if not options.quantize:
        return {}
    missing = [p for p in ("bitsandbytes", "accelerate") if importlib.util.find_spec(p) is None]
    if missing:
        raise ModelError(
            f"quantize='{options.quantize}' needs {' and '.join(missing)}, not installed here. "
            "Run: pip install 'facevlm[quantize]'"
        )
    wanted = (
        transformers.BitsAndBytesConfig(load_in_8bit=True)
        if options.quantize == "8bit"
        else transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    )
    return {"quantization_config": wanted, "device_map": {"": str(device)}}


def _compile(model: Any, mode: str) -> None:
    """Compile tower, projector and decoder where they stand, each for itself."""
    for part in model.model.children():
        part.compile(mode=None if mode == "default" else mode, dynamic=None)


def weight_bytes(name: str, dtype: torch.dtype) -> int:
    """Bytes that a checkpoint's weights take in memory, counted from its files; 0 where they are not here yet."""
    folder = Path(location(name))
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(name, local_files_only=True))
        except (hub.LocalEntryNotFoundError, hub.HFValidationError, OSError):
            return 0
    stored = sum(path.stat().st_size for path in folder.glob(WEIGHTS))
    config = transformers.AutoConfig.from_pretrained(folder)
    kept = getattr(config, "dtype", None) or torch.float32
    return stored * dtype.itemsize // kept.itemsize


def check_reachable(card: Card, checkpoint: str) -> None:
    """Fail at once, not after the hub client's retries, where a checkpoint is not here and the hub is out of reach."""
    if is_here(checkpoint):
        return
    if checkpoint.count("/") != 1 or checkpoint[0] in "./~":
        raise ModelError(_gated(card, checkpoint, "there is no such folder"))
    if getproxies():
        return
    address = urlsplit(ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=5).close()
    except OSError as error:
        raise ModelError(_gated(card, checkpoint, "it is not on this machine and the hub cannot be reached")) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
    for path in sorted(folder.glob(WEIGHTS)):
        size = path.stat().st_size
        seen.update(f"{path.name}:{size}".encode())
        with open(path, "rb") as handle:
            seen.update(handle.read(65536))
            handle.seek(max(0, size - 65536))
            seen.update(handle.read())
    return seen.hexdigest()[:12]


@contextlib.contextmanager
def _load_errors(card: Card, path: str, options: Options) -> Iterator[None]:
    """transformers' and the hub's errors as one sentence with the remedy."""
    try:
        yield
    except (hub.GatedRepoError, hub.RepositoryNotFoundError) as error:
        raise ModelError(_gated(card, path, "the hub refused it")) from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, ConnectionError) as error:
        raise ModelError(_gated(card, path, "it is not on this machine and the hub cannot be reached")) from error
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError, ImportError, AttributeError) as error:
        if options.attention and "attention" in str(error).lower():
            raise ModelError(
                f"Got attention='{options.attention}', which model '{card.name}' cannot use: {_first_line(error)}. "
                "Leave it out, or choose another."
            ) from error
        if not Path(path).is_dir() and isinstance(error, OSError):
            raise ModelError(_gated(card, path, "it is not on this machine and could not be fetched")) from error
        raise ModelError(
            f"Cannot load model '{card.name}' from {path}: {_first_line(error)}. "
            "Expected a folder written by save_pretrained, with config.json, weights and processor files."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .:")


def _gated(card: Card, path: str, what: str) -> str:
    accept = f"Licence: {card.licence}. Then run 'hf auth login'" if card.gated else "Check the name"
    return (
        f"Cannot load model '{card.name}': {path}: {what}. {accept}, "
        "or give a folder that holds the checkpoint as hf:/path/to/folder."
    )


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

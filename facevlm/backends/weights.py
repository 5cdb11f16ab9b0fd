"""From a name to a model in memory: device, type of numbers, quantisation, attention; failures as one sentence each."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import math
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import errors as hub_errors
from huggingface_hub import snapshot_download
from safetensors import SafetensorError

from facevlm import folders
from facevlm.backends import Options, adapters, adapting, hub, inventory, load_class
from facevlm.backends.cards import CONFIG, Card, adapter_is_here, is_folder, is_here, location
from facevlm.backends.families import GENERIC, FamilyInfo, family_of, titles
from facevlm.backends.families.base import Family, Tools
from facevlm.backends.memory import is_short
from facevlm.errors import ModelError, first_line, lookup

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FLASH = "flash_attention_2"


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
    """The wanted type of numbers, else float32 on a CPU and bfloat16 elsewhere, and for quantised weights.

    Not float16 for 8 bits, in which bitsandbytes multiplies: a model that was trained in bfloat16 may overflow in it.
    """
    usual = "float32" if device.type == "cpu" and not options.quantize else "bfloat16"
    return lookup("dtype", DTYPES, options.dtype or usual)


def _dtype(config: Any, options: Options, device: torch.device) -> torch.dtype:
    """As :func:`pick_dtype`; for a checkpoint that is stored quantised the type that its config names."""
    stored = _stored_quantised(config)
    if stored is None or options.dtype:
        return pick_dtype(options, device)
    named = getattr(config, "dtype", None) or stored.get("bnb_4bit_compute_dtype")
    if isinstance(named, str):
        named = DTYPES.get(named.removeprefix("torch."))
    return named if isinstance(named, torch.dtype) and named.is_floating_point else torch.bfloat16


def _stored_quantised(config: Any) -> Mapping[str, Any] | None:
    """How the weights of a checkpoint are stored quantised, as its config says; None where they are not."""
    told: Any = getattr(config, "quantization_config", None)
    stored: Mapping[str, Any] | None = told.to_dict() if hasattr(told, "to_dict") else told
    return stored


def load(card: Card, name: str, options: Options) -> tuple[Family, str]:
    """A checkpoint on its device, and its revision on the hub or a digest of its weights; with an adapter, those of
    both with a plus between.

    Raises :class:`~facevlm.errors.ModelError` with the reason and the remedy.
    """
    device = pick_device(options.device)
    path = location(name)
    check_reachable(card, path)
    adapter = _adapter(card, options, path)
    options = _of_base(card, options)
    with _load_errors(card, path, options), quiet():
        config = _config(path, options)
        dtype = _dtype(config, options, device)
        if _is_quantised(options, config):
            logging.getLogger("bitsandbytes.autograd._functions").addFilter(_tells_something)
        tools = _tools(card, path, options, config)
        model, loading = transformers.AutoModelForImageTextToText.from_pretrained(
            path,
            revision=options.revision,
            dtype=dtype,
            trust_remote_code=options.trust_remote_code,
            # Weights that are pickled may run anything while they are read; tensors alone may not.
            weights_only=True,
            output_loading_info=True,
            **_attention(options),
            **_quantized(options, dtype),
            **_placed(options, config, device),
        )
        _check_whole(card, path, loading)
        if _is_quantised(options, config):
            _unpack_uneven(model)
        else:
            model.to(device)
        if adapter:
            merge = options.merge_adapter and not _is_quantised(options, config)
            model = adapting.adapt(model, adapter, path, merge=merge)
        family: Family = load_class(_family(config).path)(model.eval(), tools)
    return family, _revision(config, path, adapter)


def _adapter(card: Card, options: Options, base: str) -> Path | None:
    """The folder of a card's adapter, its files looked at; None for a card without one."""
    if not card.adapter:
        return None
    adapting.require()
    source, revision = card.adapter.source, card.adapter.revisions(options.revision)[1]
    if not adapter_is_here(card.adapter):
        check_reachable(card, source)
    with _load_errors(card, source, options):
        folder = hub.adapter_folder(card.adapter, revision)
    adapters.check(folder)
    if Path(base).is_dir():
        adapters.check_fit(folder, Path(base))
    return folder


def _check_whole(card: Card, path: str, loading: Mapping[str, Any]) -> None:
    """Raise :class:`~facevlm.errors.ModelError` where tensors were not in the files: they would be random numbers."""
    missing = sorted(loading.get("missing_keys") or ())
    if missing:
        raise ModelError(
            f"Cannot load model '{card.name}' from {path}: its weights lack {len(missing)} tensors of the model, such "
            f"as {missing[0]}. Expected weights that belong to its {CONFIG}."
        )


def revision(card: Card, name: str, options: Options) -> str:
    """The revision of a checkpoint without loading it, as :func:`load` gives it."""
    path = location(name)
    adapter = _adapter(card, options, path)
    return _revision(_config(path, _of_base(card, options)), path, adapter)


def _of_base(card: Card, options: Options) -> Options:
    """The options with the revision of the base, where the one that the user told is that of an adapter."""
    return replace(options, revision=card.adapter.revisions(options.revision)[0]) if card.adapter else options


def _config(path: str, options: Options) -> Any:
    if Path(path).is_dir():
        inventory.check(path)
    return transformers.AutoConfig.from_pretrained(
        path, revision=options.revision, trust_remote_code=options.trust_remote_code
    )


def _family(config: Any) -> FamilyInfo:
    """The family of a config; Pixtral calls itself a LLaVA but takes pictures of any shape."""
    tower = getattr(getattr(config, "vision_config", None), "model_type", "")
    return GENERIC if tower == "pixtral" else family_of(config.model_type)


def _revision(config: Any, path: str, adapter: Path | None = None) -> str:
    known = getattr(config, "_commit_hash", None) or _weights_digest(Path(path))
    return f"{known}+{adapters.digest(adapter)}" if adapter else known


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
    tokenizer = _tokenizer(source, common)
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


def _tokenizer(source: str, common: Mapping[str, Any]) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(source, **common)
    except Exception as error:
        # The tokenizers library raises a bare Exception for a file that it cannot read, and others name no file.
        if type(error) is Exception or isinstance(error, (LookupError, TypeError, AttributeError)):
            raise ValueError(f"its tokenizer's files cannot be used ({first_line(error)})") from error
        raise


def _attention(options: Options) -> dict[str, Any]:
    """FlashAttention takes no mask of ours, so with it the decoder keeps PyTorch's own kernels."""
    if options.attention == FLASH:
        return {"attn_implementation": {"vision_config": FLASH}}
    return {"attn_implementation": options.attention} if options.attention else {}


def _is_quantised(options: Options, config: Any) -> bool:
    return bool(options.quantize) or _stored_quantised(config) is not None


def _unpack_uneven(model: torch.nn.Module) -> None:
    """Let layers be multiplied as they lie whose rows are no whole blocks of 64, or not 32 to a block.

    CPUs with bfloat16 instructions repack 4 bits, which bitsandbytes 0.50 does for whole blocks alone: the tower of
    PaliGemma, whose inner layers are 4,304 wide, would not answer there.
    """
    layer: Any
    for layer in model.modules():
        packs = getattr(layer, "support_avx512bf16_for_cpu", False)
        if packs and (layer.in_features % 64 or layer.out_features % 32):
            layer.support_avx512bf16_for_cpu = False


def _tells_something(record: logging.LogRecord) -> bool:
    """bitsandbytes says of each layer, at each pass, that it multiplies 8 bits in float16."""
    return "inputs will be cast" not in str(record.msg)


def _placed(options: Options, config: Any, device: torch.device) -> dict[str, Any]:
    """Quantised weights are put on their device while they are read, and do not move from it."""
    return {"device_map": {"": str(device)}} if _is_quantised(options, config) else {}


def _quantized(options: Options, dtype: torch.dtype) -> dict[str, Any]:
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
    return {"quantization_config": wanted}


def weight_bytes(name: str, dtype: torch.dtype, quantize: str | None) -> int:
    """Bytes that a checkpoint's weights take in memory, counted from its files; 0 where these are not here yet, or
    cannot be read, which loading says."""
    try:
        folder = Path(location(name))
        return _counted(
            folder if folder.is_dir() else Path(snapshot_download(name, local_files_only=True)), dtype, quantize
        )
    except (hub_errors.LocalEntryNotFoundError, hub_errors.HFValidationError, *FAILURES):
        return 0


def _counted(folder: Path, dtype: torch.dtype, quantize: str | None) -> int:
    files = inventory.weight_files(folder)
    if all(path.suffix == ".safetensors" for path in files):
        return math.ceil(sum(_bytes_of(entry, dtype, quantize) for entry in inventory.entries(folder)))
    kept = getattr(transformers.AutoConfig.from_pretrained(folder), "dtype", None) or torch.float32
    stored = sum(path.stat().st_size for path in files)
    return math.ceil(stored / kept.itemsize * PACKED_BYTES.get(quantize or "", dtype.itemsize))


PACKED_BYTES = {"8bit": 1.0, "4bit": 0.5625}
"""Bytes a number of a quantised matrix; of 4 bits with a scale of 32 for each 64."""


def _bytes_of(entry: inventory.StoredTensor, dtype: torch.dtype, quantize: str | None) -> float:
    """What a stored tensor takes in memory: embeddings and heads are not quantised, and what is so already stays."""
    if entry.kind not in inventory.FLOATS:
        return entry.bytes
    matrix = entry.name.endswith("weight") and len(entry.shape) == 2
    kept = "embed" in entry.name or "lm_head" in entry.name
    packed = PACKED_BYTES.get(quantize or "") if matrix and not kept else None
    return math.prod(entry.shape) * (packed or dtype.itemsize)


def check_reachable(card: Card, checkpoint: str) -> None:
    """Fail at once, not after the hub client's retries, where a checkpoint is not here and the hub is out of reach."""
    if is_here(checkpoint) or Path(checkpoint).is_dir():
        return
    if is_folder(checkpoint):
        raise ModelError(_gated(card, checkpoint, "there is no such folder"))
    if error := hub.why_unreachable():
        raise ModelError(_gated(card, checkpoint, "it is not on this machine and the hub cannot be reached")) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
    for path in inventory.weight_files(folder):
        size = path.stat().st_size
        seen.update(f"{path.name}:{size}".encode())
        with folders.opened(path) as handle:
            seen.update(handle.read(65536))
            handle.seek(max(0, size - 65536))
            seen.update(handle.read())
    return seen.hexdigest()[:12]


FAILURES = (
    *(OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, EOFError),
    *(RuntimeError, ImportError, SafetensorError),
)
"""What transformers raises for files that are damaged or do not belong together."""


@contextlib.contextmanager
def _load_errors(card: Card, path: str, options: Options) -> Iterator[None]:
    """transformers' and the hub's errors as one sentence with the remedy."""
    try:
        yield
    except (hub_errors.GatedRepoError, hub_errors.RepositoryNotFoundError) as error:
        raise ModelError(_gated(card, path, "the hub refused it")) from error
    except (hub_errors.LocalEntryNotFoundError, hub_errors.OfflineModeIsEnabled, ConnectionError) as error:
        raise ModelError(_gated(card, path, "it is not on this machine and the hub cannot be reached")) from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"Cannot load model '{card.name}' from {path}: its weights are pickled objects, which may run anything "
            "while they are read. Expected safetensors, or a .bin file of tensors alone; save them anew by "
            "save_pretrained where you trust them."
        ) from error
    except FAILURES as error:
        if is_short(error):
            raise
        if options.attention and "attention" in str(error).lower():
            raise ModelError(
                f"Got attention='{options.attention}', which model '{card.name}' cannot use: {first_line(error)}. "
                "Leave it out, or choose another."
            ) from error
        if not Path(path).is_dir() and isinstance(error, OSError):
            raise ModelError(_gated(card, path, "it is not on this machine and could not be fetched")) from error
        raise ModelError(
            f"Cannot load model '{card.name}' from {path}: {first_line(error)}. "
            "Expected a folder written by save_pretrained, with config.json, weights and processor files."
        ) from error


def _gated(card: Card, path: str, what: str) -> str:
    accept = f"Licence: {card.licence}. Then run 'hf auth login'" if card.gated else "Check the name"
    return (
        f"Cannot load model '{card.name}': {path}: {what}. {accept}, "
        "or give a folder that holds the checkpoint as hf:/path/to/folder."
    )


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

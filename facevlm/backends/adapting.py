"""An adapter put on its base model by PEFT, and merged into it where the weights can be added to."""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from facevlm.backends import adapters
from facevlm.backends.memory import is_short
from facevlm.errors import ModelError, first_line

NAME = "default"
FAILURES = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError, SafetensorError)


def require() -> None:
    """Raise :class:`~facevlm.errors.ModelError` where PEFT is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise ModelError('An adapter needs peft, which is not installed here. Run: pip install "facevlm[train]"')


def adapt(model: Any, folder: Path, base: str, *, merge: bool) -> Any:
    """The model with an adapter in it, whose files were checked.

    It is the same object, and its layers are changed in place. Raises :class:`~facevlm.errors.ModelError` for an
    adapter of another model: matrices of other sizes, or of modules that this one does not have.
    """
    require()
    from peft import PeftConfig, PeftModel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = PeftConfig.from_pretrained(str(folder))
            config.inference_mode = True
            adapted = PeftModel(model, config, NAME, autocast_adapter_dtype=False)
            keys = adapted.load_adapter(
                str(folder),
                NAME,
                torch_device=str(model.device),
                autocast_adapter_dtype=False,
                # What transformers calls a model's parts changed: older adapters name them as they were.
                key_mapping=getattr(model, "_checkpoint_conversion_mapping", None),
            )
            if wrong := [*keys.unexpected_keys, *keys.missing_keys]:
                raise LookupError(f"{len(wrong)} of its matrices have no counterpart, such as {wrong[0]}")
            return adapted.merge_and_unload(safe_merge=True) if merge else adapted.get_base_model()
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"Cannot load the adapter {folder}: its weights are pickled objects, which may run anything while they are "
            f"read. Expected {adapters.WEIGHTS[0]}; save it anew by save_pretrained where you trust it."
        ) from error
    except FAILURES as error:
        if is_short(error):
            raise
        raise adapters.misfit(str(folder), base, first_line(error)) from error

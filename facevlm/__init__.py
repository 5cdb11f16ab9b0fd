"""facevlm: perceived face attributes by vision-language models, in FiftyOne, checked against ground truth.

import facevlm
facevlm.apply(dataset, model="demo", attributes=["gender", "age5"])
print(facevlm.evaluate(dataset, prefix="demo")["gender"].overall)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facevlm import attributes as attributes
    from facevlm import batching as batching
    from facevlm import datasets as datasets
    from facevlm import paper as paper
    from facevlm import sources as sources
    from facevlm.api import apply as apply
    from facevlm.asking import ask as ask
    from facevlm.backends import open_backend as open_backend
    from facevlm.checking import check as check
    from facevlm.comparing import compare as compare
    from facevlm.crops import Crop as Crop
    from facevlm.describing import describe as describe
    from facevlm.detecting import detect as detect
    from facevlm.evaluating import evaluate as evaluate
    from facevlm.probing import probe as probe
    from facevlm.rewording import sensitivity as sensitivity
    from facevlm.types import Attribute as Attribute

__version__ = "0.1.0"
__all__ = [
    "Attribute",
    "Crop",
    "apply",
    "ask",
    "attributes",
    "batching",
    "check",
    "compare",
    "datasets",
    "describe",
    "detect",
    "evaluate",
    "open_backend",
    "paper",
    "probe",
    "sensitivity",
    "sources",
]

_SUBMODULES = ("attributes", "batching", "datasets", "paper", "sources")
_LAZY = {
    "apply": "facevlm.api",
    "ask": "facevlm.asking",
    "evaluate": "facevlm.evaluating",
    "open_backend": "facevlm.backends",
    "check": "facevlm.checking",
    "compare": "facevlm.comparing",
    "describe": "facevlm.describing",
    "detect": "facevlm.detecting",
    "probe": "facevlm.probing",
    "sensitivity": "facevlm.rewording",
    "Attribute": "facevlm.types",
    "Crop": "facevlm.crops",
}


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for: importing facevlm stays light."""
    if name in _SUBMODULES:
        return importlib.import_module(f"facevlm.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'facevlm' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)

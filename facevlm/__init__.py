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
    from facevlm import datasets as datasets
    from facevlm.attributes import Registry as Registry
    from facevlm.backends import Backend as Backend
    from facevlm.backends import BackendInfo as BackendInfo
    from facevlm.backends import Options as Options
    from facevlm.backends import Remote as Remote
    from facevlm.backends import open_backend as open_backend
    from facevlm.backends import unload as unload
    from facevlm.errors import FacevlmError as FacevlmError
    from facevlm.errors import FacevlmWarning as FacevlmWarning
    from facevlm.faces.crops import Crop as Crop
    from facevlm.tasks import batch as batch
    from facevlm.tasks import paper as paper
    from facevlm.tasks import plugin as plugin
    from facevlm.tasks import sources as sources
    from facevlm.tasks.apply import ApplyResult as ApplyResult
    from facevlm.tasks.apply import apply as apply
    from facevlm.tasks.ask import AskResult as AskResult
    from facevlm.tasks.ask import ask as ask
    from facevlm.tasks.check import CheckResult as CheckResult
    from facevlm.tasks.check import check as check
    from facevlm.tasks.compare import compare as compare
    from facevlm.tasks.describe import DescribeResult as DescribeResult
    from facevlm.tasks.describe import describe as describe
    from facevlm.tasks.detect import DetectResult as DetectResult
    from facevlm.tasks.detect import detect as detect
    from facevlm.tasks.evaluate import EvaluationResult as EvaluationResult
    from facevlm.tasks.evaluate import evaluate as evaluate
    from facevlm.tasks.power import Power as Power
    from facevlm.tasks.power import power as power
    from facevlm.tasks.probe import probe as probe
    from facevlm.tasks.report import report as report
    from facevlm.tasks.review import Review as Review
    from facevlm.tasks.review import review as review
    from facevlm.tasks.sensitivity import sensitivity as sensitivity
    from facevlm.tasks.train import TrainResult as TrainResult
    from facevlm.tasks.train import train as train
    from facevlm.tasks.truth import TruthResult as TruthResult
    from facevlm.tasks.truth import truth as truth
    from facevlm.tasks.try_one import Trial as Trial
    from facevlm.tasks.try_one import try_one as try_one
    from facevlm.types import Attribute as Attribute
    from facevlm.types import Prediction as Prediction
    from facevlm.types import Reply as Reply

__version__ = "0.1.0"

_NAMES = {
    "ApplyResult": "tasks.apply",
    "AskResult": "tasks.ask",
    "Attribute": "types",
    "Backend": "backends",
    "BackendInfo": "backends",
    "CheckResult": "tasks.check",
    "Crop": "faces.crops",
    "DescribeResult": "tasks.describe",
    "DetectResult": "tasks.detect",
    "EvaluationResult": "tasks.evaluate",
    "FacevlmError": "errors",
    "FacevlmWarning": "errors",
    "Options": "backends",
    "Power": "tasks.power",
    "Prediction": "types",
    "Registry": "attributes",
    "Remote": "backends",
    "Reply": "types",
    "Review": "tasks.review",
    "TrainResult": "tasks.train",
    "Trial": "tasks.try_one",
    "TruthResult": "tasks.truth",
    "apply": "tasks.apply",
    "ask": "tasks.ask",
    "check": "tasks.check",
    "compare": "tasks.compare",
    "describe": "tasks.describe",
    "detect": "tasks.detect",
    "evaluate": "tasks.evaluate",
    "open_backend": "backends",
    "power": "tasks.power",
    "probe": "tasks.probe",
    "report": "tasks.report",
    "review": "tasks.review",
    "sensitivity": "tasks.sensitivity",
    "train": "tasks.train",
    "truth": "tasks.truth",
    "try_one": "tasks.try_one",
    "unload": "backends",
}
_MODULES = {
    "attributes": "attributes",
    "batch": "tasks.batch",
    "datasets": "datasets",
    "paper": "tasks.paper",
    "plugin": "tasks.plugin",
    "sources": "tasks.sources",
}
_EARLIER = {"batching": "tasks.batch", "images": "faces.images", "pipeline": "engines.local"}
"""Modules that code was written against before they moved into rooms."""

__all__ = sorted([*_NAMES, *_MODULES])


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for: importing facevlm stays light."""
    module = _MODULES.get(name) or _EARLIER.get(name)
    if module is not None:
        return importlib.import_module(f"facevlm.{module}")
    if name not in _NAMES:
        from facevlm.errors import meant

        raise AttributeError(f"module 'facevlm' has no attribute '{name}'.{meant(name, __all__)}".removesuffix("."))
    return getattr(importlib.import_module(f"facevlm.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})

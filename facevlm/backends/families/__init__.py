"""Families of vision-language models: which class reads which ``model_type``, and how an untuned model is asked.

The table is made of strings, so that looking a family up loads no model library. Adding a family is one
small file with a subclass of :class:`~facevlm.backends.families.base.Family`, and one line here; a package of somebody
else adds one by an entry point of the group ``facevlm.families``, named as the ``model_type``, that is a
:class:`FamilyInfo`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from facevlm import doors
from facevlm.doors import Addition

CHOICES = "{question} Choose from: {labels}. Answer with the chosen words only."


@dataclass(frozen=True)
class FamilyInfo:
    """``prompt`` words a question for a checkpoint that was not tuned for it; fields: ``{question}``, ``{labels}``.

    A family that is not ``zero_shot`` answers only what it was tuned for.
    """

    path: str
    title: str
    prompt: str = CHOICES
    zero_shot: bool = True


_HERE = "facevlm.backends.families"
_QWEN = FamilyInfo(f"{_HERE}.qwen_vl:QwenVL", "Qwen2-VL, Qwen2.5-VL, Qwen3-VL")
_IDEFICS = FamilyInfo(f"{_HERE}.idefics3:Idefics3", "Idefics3, SmolVLM")
FAMILIES = {
    "paligemma": FamilyInfo(f"{_HERE}.paligemma:PaliGemma", "PaliGemma, PaliGemma 2", prompt="{question}"),
    "llava": FamilyInfo(f"{_HERE}.llava:Llava", "LLaVA 1.5"),
    "llava_next": FamilyInfo(f"{_HERE}.llava:LlavaNext", "LLaVA-NeXT"),
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
    "gemma3": FamilyInfo(f"{_HERE}.gemma3:Gemma3", "Gemma 3"),
    "internvl": FamilyInfo(f"{_HERE}.internvl:InternVL", "InternVL"),
    "florence2": FamilyInfo(f"{_HERE}.florence2:Florence2", "Florence-2", prompt="{question}", zero_shot=False),
}
GENERIC = FamilyInfo(f"{_HERE}.chat:Chat", "any other image-text-to-text model with a chat template")


@functools.cache
def added() -> Mapping[str, Addition[FamilyInfo]]:
    """The families of installed packages by ``model_type``."""
    return doors.admit("families", _family_info, FAMILIES)


def _family_info(addition: Addition[object]) -> FamilyInfo:
    info = addition.value
    if not isinstance(info, FamilyInfo) or info.path.count(":") != 1:
        raise TypeError(f"got {info!r}, expected a FamilyInfo whose path is 'module:Class'")
    return info


def family_of(model_type: str) -> FamilyInfo:
    """The family that reads a ``model_type`` of a config.json."""
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    return added()[model_type].value if model_type in added() else GENERIC


def titles() -> list[str]:
    """What the supported families are called, each once; those of installed packages with where they come from."""
    others = [f"{addition.value.title} (from {addition.package})" for addition in added().values()]
    return list(dict.fromkeys([*(info.title for info in FAMILIES.values()), *others, GENERIC.title]))

"""The keywords that every verb takes, read once: what a model is told, and how a run goes about it.

A verb takes them flat, as ``**options``; :func:`takes_options` refuses unknown ones, and shows all of them to
``help()``, to notebooks and in the verb's own docstring. Inside, they are one :class:`Settings`.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from facevlm.attributes import Registry
from facevlm.attributes import shipped as shipped_registry
from facevlm.backends import Options, Secrets
from facevlm.backends.options import ModelOptions, Remote, described, merged
from facevlm.errors import check_sizes, refuse_unknown

Verb = TypeVar("Verb", bound=Callable[..., Any])


class TaskOptions(ModelOptions, total=False):
    """What every verb that asks a model takes."""

    registry: Registry | None
    progress: bool


class RunOptions(TaskOptions, total=False):
    """What a verb takes that shows faces to a model in batches."""

    batch_size: int | None
    chunk_size: int
    threads: int | None
    joint: bool


TEXTS = {
    "options": "an :class:`~facevlm.Options` with all that is told to a model; single keywords win over it",
    "remote": "a :class:`~facevlm.Remote` with all that is told to a service; single keywords win over it",
    "registry": "attributes of your own, from :func:`facevlm.attributes.load`",
    "progress": "show a progress bar (default: True)",
    "batch_size": "pictures per forward pass; halved where memory runs out (default: what fits)",
    "chunk_size": "faces per database write (default: 256)",
    "threads": "decoding threads (default: one per core)",
    "joint": "use the model's shared prompt where it has one (default: True)",
}
"""What the keywords mean that are no option of a model or a service."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keywords of a verb as they were given, or as usual. ``secrets`` finds keys by their names."""

    options: Options = field(default_factory=Options)
    registry: Registry = field(default_factory=shipped_registry)
    progress: bool = True
    batch_size: int | None = None
    chunk_size: int = 256
    threads: int | None = None
    joint: bool = True
    secrets: Secrets | None = None

    def __post_init__(self) -> None:
        check_sizes(batch_size=self.batch_size, chunk_size=self.chunk_size, threads=self.threads)

    @property
    def sizes(self) -> dict[str, int | None]:
        return {"batch_size": self.batch_size, "chunk_size": self.chunk_size, "threads": self.threads}

    @property
    def shares_prompts(self) -> bool:
        """Whether attributes are asked in one prompt: free text can only answer one question."""
        return self.joint and self.options.decode == "score"


def settings(given: Mapping[str, Any], usual: Remote | None = None) -> Settings:
    """The keywords as one object; ``usual`` is what the verb tells a service that the caller said nothing about.

    Raises :class:`~facevlm.errors.InputError` for a value that cannot be.
    """
    own = {name: given[name] for name in Settings.__dataclass_fields__ if name in given and name != "options"}
    if own.get("registry") is None:
        own.pop("registry", None)
    return Settings(options=merged(given, None if usual is None else Options(remote=usual)), **own)


def takes_options(kind: type) -> Callable[[Verb], Verb]:
    """A verb whose ``**options`` are of this kind: unknown ones are refused, and all are shown as its parameters."""

    def decorate(verb: Verb) -> Verb:
        named = [p for p in inspect.signature(verb).parameters.values() if p.kind is not p.VAR_KEYWORD]
        flat = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_default(name), annotation=kind_of)
            for name, kind_of in _annotations(kind).items()
        ]

        @functools.wraps(verb)
        def checked(*args: Any, **kwargs: Any) -> Any:
            refuse_unknown(verb.__name__, kwargs, [p.name for p in (*named, *flat)])
            return verb(*args, **kwargs)

        checked.__signature__ = inspect.Signature([*named, *flat])  # type: ignore[attr-defined]
        checked.__doc__ = (inspect.getdoc(verb) or "").replace("{options}", _documented(kind))
        return checked  # type: ignore[return-value]

    return decorate


@functools.cache
def _annotations(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _default(name: str) -> Any:
    """None says: as in ``options`` or ``remote``, or as usual."""
    own = Settings.__dataclass_fields__
    return own[name].default if name in own and name not in ("options", "registry") else None


def _documented(kind: type) -> str:
    """A line per keyword, for the docstring of a verb."""
    texts = dict(TEXTS)
    for row in (*described(Options), *described(Remote)):
        texts[row.name] = "; ".join(
            [row.help(row.default), *([f"one of {', '.join(row.choices)}"] if row.choices else [])]
        )
    lines = [textwrap.wrap(f"{name}: {texts[name]}.", 110, subsequent_indent="    ") for name in _annotations(kind)]
    return "\n    ".join(itertools.chain(*lines))

"""The keywords that every verb takes, read once: what a model is told, and how a run goes about it.

A verb takes them flat, as ``**options``; :func:`takes_options` refuses unknown ones, and shows all of them to
``help()``, to notebooks and in the verb's own docstring. Inside, they are one :class:`Settings`.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar, get_type_hints

from facevlm import arguments
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


class DesignOptions(TypedDict, total=False):
    """What a verb is told about the faces that it compares."""

    adjust: Sequence[str] | None
    sets: float | None
    cluster: str | None


TEXTS = {
    "options": "an :class:`~facevlm.Options` with all that is told to a model; single keywords win over it",
    "remote": "a :class:`~facevlm.Remote` with all that is told to a service; single keywords win over it",
    "registry": "attributes of your own, from :func:`facevlm.attributes.load`",
    "progress": "show a progress bar (default: True)",
    "batch_size": "pictures per forward pass; halved where memory runs out (default: what fits)",
    "chunk_size": "faces per database write (default: 256)",
    "threads": "decoding threads (default: one per core)",
    "adjust": "fields, or evaluated attributes, that explain a part of the differences between groups, such as "
    "``['age5']``: accuracy per group also with the same mix of their values for all groups, and each group against "
    "the others within them",
    "sets": "a share such as 0.9, for sets of the labels that are still possible: they hold the true label of 90 % of "
    "faces, chosen on one half and read on the other (default: no sets)",
    "cluster": "a field that says which faces belong together, such as ``'subject'`` where several pictures show one "
    "person: intervals and tests then know that such faces are right or wrong together; one without a value is a "
    "cluster of its own",
    "joint": "use the model's shared prompt where it has one (default: True)",
    "recipe": "numbers by name: ``paligemma``, ``facescan`` or ``lora`` (default: the method's)",
    "batch": "faces shown together (default: the recipe's)",
    "epochs": "how often every face is shown (default: the recipe's)",
    "accumulate": "batches to a step (default: the recipe's)",
    "learning_rate": "of all parts (default: the recipe's)",
    "label_smoothing": "share of an answer's weight that all others get, 0 to 0.2 (default: the recipe's)",
    "rank": "of low-rank adapters (default: the recipe's)",
    "alpha": "by which low-rank adapters are scaled, over their rank (default: the recipe's)",
    "patience": "epochs without a better balanced accuracy on the validation faces that end the run (default: 3)",
    "objective": "``tokens``, the answer's probability among all texts, or ``labels``, the label's among the "
    "attribute's (default: tokens)",
    "balance": "show every label (``labels``), or every label in every group (``groups``), equally often (default: "
    "every face equally often)",
    "class_weights": "let answers count the more the rarer their label is (default: False)",
    "augment": "flip, turn, cut, colour, compress and blur pictures a little (default: True)",
    "validation": "share of the faces that choose the best epoch (default: 0.15)",
    "test": "share of the faces that judge, 0 for none of their own (default: 0.15)",
    "splits": "in place of shares, tags by part: ``{'train': 'train', 'validation': 'val', 'test': 'test'}``",
    "subject": "a field that says which faces are of one person, who is then in one part alone",
    "prompts": "other wordings by attribute name",
    "merge": "with ``lora``: write a whole checkpoint, and not adapters beside the base (default: False)",
    "mixed_precision": "multiply in bfloat16, with weights in float32 (default: True on a GPU)",
    "checkpointing": "make activations again on the way back, for less memory at a third more time (default: False)",
    "save_steps": "steps between two saves, from which a killed run goes on (default: an epoch)",
    "workers": "processes that read pictures (default: up to 8 on a GPU, none on a CPU)",
    "seed": "of splits, order and augmentation (default: 0)",
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
        arguments.check_fields(self)

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


def takes_names(verb: Verb) -> Verb:
    """A verb that takes one name alone where several may be given, and reads it as a whole and not letter by letter."""
    signature = inspect.signature(verb)
    several = [p.name for p in signature.parameters.values() if str(p.annotation).startswith("Sequence[str")]
    by_name = [p.name for p in signature.parameters.values() if "Mapping[str, Sequence[str]]" in str(p.annotation)]

    @functools.wraps(verb)
    def whole(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        for name in {*several, *by_name} & set(given.arguments):
            value = given.arguments[name]
            if value is not None and (isinstance(value, str) or not isinstance(value, Collection)):
                given.arguments[name] = [value]
            elif name in by_name and isinstance(value, Mapping):
                given.arguments[name] = {k: [v] if isinstance(v, str) else v for k, v in value.items()}
        return verb(*given.args, **given.kwargs)

    return whole  # type: ignore[return-value]


def takes_options(kind: type) -> Callable[[Verb], Verb]:
    """A verb whose ``**options`` are of this kind: unknown ones are refused, and all are shown as its parameters."""

    def decorate(verb: Verb) -> Verb:
        whole = takes_names(verb)
        named = [p for p in inspect.signature(verb).parameters.values() if p.kind is not p.VAR_KEYWORD]
        flat = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_default(name), annotation=kind_of)
            for name, kind_of in _annotations(kind).items()
        ]

        @functools.wraps(verb)
        def checked(*args: Any, **kwargs: Any) -> Any:
            refuse_unknown(verb.__name__, kwargs, [p.name for p in (*named, *flat)])
            return whole(*args, **kwargs)

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

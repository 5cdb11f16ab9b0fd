"""Arguments against their annotations: what cannot be meant is refused where it enters, before anything is done.

The annotations of a function or of a dataclass are the one place that says what it takes. ``overwrite="no"`` is no
True, and a number is no list of names. What a value of the right type may be, is checked by whoever uses it.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from typing_extensions import ParamSpec

from facevlm.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")
LONGEST = 80
"""Letters of a value that a message shows."""
WORDS: Mapping[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    type(None): "None",
}
"""What an annotation is in a message."""
SEVERAL = (Sequence, tuple, list)


def checked(work: Callable[P, T]) -> Callable[P, T]:
    """A function that refuses arguments which are not of their annotations' kinds."""

    @functools.wraps(work)
    def strict(*args: P.args, **kwargs: P.kwargs) -> T:
        check_call(work, args, kwargs)
        return work(*args, **kwargs)

    return strict


def check_call(work: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise :class:`~facevlm.errors.InputError` for the first argument of a call that is not of its kind.

    What is missing, or unknown by name, is left to the function itself.
    """
    signature, kinds = _kinds(work)
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:
        return
    for name, value in given.items():
        if name in kinds:
            check(name, value, kinds[name])


def check_fields(told: Any) -> None:
    """Raise :class:`~facevlm.errors.InputError` for the first field of a dataclass that is not of its kind."""
    kind: Any = type(told)
    hints: dict[str, Any] = _hints(kind)
    for name, of in hints.items():
        check(name, getattr(told, name), of)


def check(name: str, value: Any, kind: Any) -> None:
    """Raise :class:`~facevlm.errors.InputError` unless a value is of the kind that an annotation names."""
    if not fits(value, kind):
        got = repr(value)
        got = got if len(got) <= LONGEST else f"{got[:LONGEST]}..."
        raise InputError(f"Got {name}={got} ({type(value).__name__}), expected {in_words(kind)}.")


@functools.cache
def _kinds(work: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """The signature as it is shown, and the types of its parameters."""
    signature, hints = inspect.signature(work), typing.get_type_hints(work)
    flat = [p for p in signature.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    # Keywords that a verb takes as **options are shown by their types; all else stands there as text.
    kinds = {p.name: hints.get(p.name, p.empty) if isinstance(p.annotation, str) else p.annotation for p in flat}
    return signature, {name: kind for name, kind in kinds.items() if kind is not inspect.Parameter.empty}


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind that an annotation names.

    A name alone stands for a list of it. Kinds that are not known here, such as FiftyOne's, fit everything.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) for part in parts)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            fits(key, parts[0]) and fits(one, parts[1]) for key, one in value.items()
        )
    if origin in SEVERAL:
        return _is_several(value, parts[0])
    if origin is Callable:
        return callable(value)
    return not isinstance(kind, type) or _is_one(value, kind)


def _is_several(value: Any, kind: Any) -> bool:
    if isinstance(value, str) or not isinstance(value, Collection):
        return is_of_names(kind) and fits(value, kind)
    return not isinstance(value, (Mapping, bytes)) and all(fits(one, kind) for one in value)


def is_of_names(kind: Any) -> bool:
    """Whether what is listed may be given by name."""
    return kind is str or str in get_args(kind)


def _is_one(value: Any, kind: type) -> bool:
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real)
        return number and not isinstance(value, bool)
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, type) and all(_has(value, name, one) for name, one in _members(kind).items())
    return kind is object or kind.__module__.startswith("fiftyone") or isinstance(value, kind)


def _members(kind: type) -> dict[str, Any]:
    """What a protocol asks for, by name."""
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


def _has(value: Any, name: str, member: Any) -> bool:
    """Whether something has a member of a protocol, of the kind that is said there where it is no method."""
    if not isinstance(member, property):
        return callable(getattr(value, name, None))
    return hasattr(value, name) and fits(getattr(value, name), typing.get_type_hints(member.fget)["return"])


def in_words(kind: Any) -> str:
    """What an annotation takes, for a message."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        # A name first, as users give it, and None last.
        named = dict.fromkeys(in_words(part) for part in sorted(parts, key=lambda part: part is type(None)))
        words = f"{', '.join([*named][:-1])} or {[*named][-1]}" if len(named) > 1 else next(iter(named))
        return words.replace("True or False or", "True, False or")
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is Mapping:
        each = "a list of texts" if get_args(parts[1]) == (str,) else in_words(parts[1])
        return f"a dict by name, of which each is {each}"
    if origin in SEVERAL:
        return _listed(parts[0])
    if origin is Callable:
        return "a function"
    if getattr(kind, "_is_protocol", False):
        return f"a {kind.__name__}, which has {' and '.join(_members(kind))}"
    return WORDS.get(kind) or f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"


def _listed(kind: Any) -> str:
    if is_of_names(kind):
        return "a list of names such as ['gender']"
    return "a list of numbers" if kind in (int, float) else f"a list, of which each is {in_words(kind)}"

"""What a server honours of what it is asked, found out by asking: schema, JSON mode, log-probabilities, parameters.

Servers ignore what they do not know, with status 200; so the request contradicts the schema, and the answer shows which
was obeyed. No picture of the user is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from PIL import Image

from facevlm.backends.remote import pictures, replies
from facevlm.backends.remote.dialects import Dialect
from facevlm.backends.remote.exchange import STRUCTURES, TOPS, Abilities, Asked, Completion, Turn
from facevlm.errors import ModelError

CODES = ("amber-17", "violet-42")
OPTIONAL = ("temperature", "max_completion_tokens", "max_tokens", "detail", "reasoning_effort")
TRIES = 10
MAX_AGE = 7 * 24 * 3600.0
"""Seconds for which a finding is believed."""
BUSY = ("HTTP 408", "HTTP 409", "HTTP 429")
TROUBLE = "HTTP 5"
CONTRARY = "Reply with the one word hello in plain text. This tests whether a schema or JSON mode is honoured."
NAMES_OF_STRUCTURE = ("response_format", "json_schema", "json_object", "schema", "structured")
Ask = Callable[[Mapping[str, Any]], Awaitable["tuple[Completion, Any]"]]


async def find_out(ask: Ask, dialect: Dialect, model: str, extra: Mapping[str, Any], max_tokens: int) -> Abilities:
    """Ask until an answer shows what is honoured.

    A server's trouble (a status of 500 and above) may mean that it cannot do what it was asked, or come and go; what
    was refused so is asked once more at the end.

    Raises :class:`~facevlm.errors.ModelError` where the server answers no request, however plain, or is too busy.
    """

    async def answer(abilities: Abilities) -> Completion:
        completion, _ = await ask(_body(abilities, dialect, model, extra, max_tokens))
        return completion

    found, doubted = await _search(answer, Abilities())
    if doubted is not None:
        again = await answer(doubted)
        if again.error is None and _honoured(doubted, again):
            found, _ = await _search(answer, doubted)
    return found


async def _search(
    answer: Callable[[Abilities], Awaitable[Completion]], abilities: Abilities
) -> tuple[Abilities, Abilities | None]:
    """What is honoured, and the first form of request that met with trouble of the server, if any."""
    doubted = None
    for _ in range(TRIES):
        completion = await answer(abilities)
        if completion.error is not None and completion.finish == "":
            if completion.error.startswith(TROUBLE):
                doubted = doubted or abilities
            abilities = _without(abilities, completion.error)
        elif abilities.structure == "text" or _honoured(abilities, completion):
            return (abilities if completion.tokens else _replaced(abilities, top=0)), doubted
        else:
            top = abilities.top if completion.tokens else 0
            abilities = _replaced(abilities, structure=_next(STRUCTURES, abilities.structure), top=top)
    raise ModelError("The server refuses every form of request that was tried; see its log.")


def _body(
    abilities: Abilities, dialect: Dialect, model: str, extra: Mapping[str, Any], max_tokens: int
) -> dict[str, Any]:
    jpeg = pictures.encode(Image.new("RGB", (64, 64), (128, 128, 128)), 64, 90)
    detail = "" if "detail" in abilities.dropped else "low"
    code = {"type": "object", "properties": {"code": {"type": "string", "enum": list(CODES)}}}
    schema = code | {"required": ["code"], "additionalProperties": False}
    turns = (Turn("user", CONTRARY, ()),)
    asked = Asked(model, turns, schema, abilities, temperature=0.0, max_tokens=max_tokens, detail=detail, extra=extra)
    return dialect.with_pictures(dialect.skeleton(asked), [jpeg], detail)


def _honoured(abilities: Abilities, completion: Completion) -> bool:
    found = replies.json_object(completion.content or "")
    if found is None:
        return False
    return abilities.structure == "json" or found.get("code") in CODES


def _without(abilities: Abilities, error: str) -> Abilities:
    """Ask for less: whatever the server's error names, else the log-probabilities, then the structure."""
    if error.startswith(BUSY):
        raise ModelError(f"The server is too busy to be asked what it honours: {error} Go on later.")
    if not error.startswith(("HTTP 4", TROUBLE, "the server reports")):
        raise ModelError(f"The server does not answer: {error}")
    named = next((n for n in OPTIONAL if n in error and n not in abilities.dropped), None)
    if "logprobs" in error and abilities.top:
        return _replaced(abilities, top=_next(TOPS, abilities.top))
    if any(n in error for n in NAMES_OF_STRUCTURE) and abilities.structure != "text":
        return _replaced(abilities, structure=_next(STRUCTURES, abilities.structure))
    if named:
        return _replaced(abilities, dropped=(*abilities.dropped, named))
    if abilities.top:
        return _replaced(abilities, top=0)
    if abilities.structure != "text":
        return _replaced(abilities, structure=_next(STRUCTURES, abilities.structure))
    raise ModelError(f"The server refuses a plain request with a picture: {error}")


def _next(steps: tuple[Any, ...], at: Any) -> Any:
    return steps[steps.index(at) + 1]


def _replaced(abilities: Abilities, **changes: Any) -> Abilities:
    return Abilities(**{**abilities.to_dict(), **changes})

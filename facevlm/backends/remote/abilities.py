"""What a server honours of what it is asked, found out by asking: schema, JSON mode, log-probabilities, parameters.

Servers ignore what they do not know, with status 200; so the request contradicts the schema, and the answer shows which
was obeyed. No picture of the user is sent. A form that is refused later, in mid-run, gives way to a lesser one by the
same steps. A refusal to answer about a picture is no refusal of the form, and nothing is tried around it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from PIL import Image

from facevlm.backends.remote import meanings, pictures, replies
from facevlm.backends.remote.client import Stopped
from facevlm.backends.remote.dialects import Dialect
from facevlm.backends.remote.exchange import ABOUT_THE_FORM, STRUCTURES, TOPS, Abilities, Asked, Completion, Fault, Turn
from facevlm.errors import ModelError

CODES = ("amber-17", "violet-42")
OPTIONAL = ("temperature", "max_tokens", "detail")
"""Parameters of every request that may be left out; those that a service adds may be, too."""
TRIES = 12
MAX_AGE = 7 * 24 * 3600.0
"""Seconds for which a finding is believed."""
CONTRARY = "Reply with the one word hello in plain text. This tests whether a schema or JSON mode is honoured."
Ask = Callable[[Mapping[str, Any]], Awaitable["tuple[Completion, Any]"]]


async def find_out(ask: Ask, dialect: Dialect, model: str, extra: Mapping[str, Any], max_tokens: int) -> Abilities:
    """Ask until an answer shows what is honoured.

    A server's trouble (a status of 500 and above) may mean that it cannot do what it was asked, or come and go; what
    was refused so is asked once more at the end.

    Raises :class:`~facevlm.errors.ModelError` where the server answers no request, however plain, or is too busy.
    """

    async def answer(abilities: Abilities) -> Completion:
        completion, _ = await asked(ask, _body(abilities, dialect, model, extra, max_tokens), abilities, extra)
        return completion

    found, doubted = await _search(answer, Abilities(), extra)
    if doubted is not None:
        again = await answer(doubted)
        if again.error is None and _honoured(doubted, again):
            found, _ = await _search(answer, doubted, extra)
    if found == plainest(extra):
        # What went wrong was a parameter, perhaps: the structure is asked for once more without any.
        found, _ = await _search(answer, Abilities(dropped=found.dropped), extra)
    return found


async def asked(
    ask: Ask, body: Mapping[str, Any], abilities: Abilities, extra: Mapping[str, Any]
) -> tuple[Completion, Any]:
    """The answer to a request in this form. While a lesser form is left, an error that ends all is an answer, too."""
    try:
        return await ask(body)
    except Stopped as stop:
        if stop.fault is None or lesser(abilities, stop.fault, extra) is None:
            raise
        return Completion(error=str(stop), fault=stop.fault), None


async def _search(
    answer: Callable[[Abilities], Awaitable[Completion]], abilities: Abilities, extra: Mapping[str, Any]
) -> tuple[Abilities, Abilities | None]:
    """What is honoured, and the first form of request that met with trouble of the server, if any."""
    doubted = None
    for _ in range(TRIES):
        completion = await answer(abilities)
        if completion.error is not None and completion.finish == "":
            if completion.fault is not None and completion.fault.means == "trouble":
                doubted = doubted or abilities
            abilities = _without(abilities, completion, extra)
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


def _without(abilities: Abilities, completion: Completion, extra: Mapping[str, Any]) -> Abilities:
    """Ask for less: whatever the server's error names, else the log-probabilities, the structure, all parameters."""
    fault = completion.fault
    if fault is None:
        raise ModelError(f"The server does not answer: {completion.error}")
    if fault.means == "busy":
        raise ModelError(f"The server is too busy to be asked what it honours: {completion.error} Go on later.")
    less = lesser(abilities, fault, extra)
    if less is None:
        raise ModelError(f"The server refuses a plain request with a picture: {completion.error}")
    return less


def lesser(abilities: Abilities, fault: Fault, extra: Mapping[str, Any]) -> Abilities | None:
    """The next form to ask in after an error; None where it is not about the form, or nothing is left to leave out."""
    if fault.means not in ABOUT_THE_FORM or meanings.is_sure(fault):
        return None
    return named(abilities, fault, extra) or _plainer(abilities, extra)


def named(abilities: Abilities, fault: Fault, extra: Mapping[str, Any]) -> Abilities | None:
    """The form without what an error names of it; None where it names nothing that is asked for."""
    if fault.means not in ABOUT_THE_FORM:
        return None
    if abilities.top and meanings.names(fault, "logprobs"):
        return _replaced(abilities, top=_next(TOPS, abilities.top))
    if abilities.structure != "text" and meanings.names(fault, "structure"):
        return _replaced(abilities, structure=_next(STRUCTURES, abilities.structure))
    name = next((n for n in _sent(abilities, extra) if meanings.names(fault, n)), None)
    return _replaced(abilities, dropped=(*abilities.dropped, name)) if name else None


def _plainer(abilities: Abilities, extra: Mapping[str, Any]) -> Abilities | None:
    if abilities.top:
        return _replaced(abilities, top=0)
    if abilities.structure != "text":
        return _replaced(abilities, structure=_next(STRUCTURES, abilities.structure))
    bare = plainest(extra)
    return bare if set(_sent(abilities, extra)) - set(_sent(bare, extra)) else None


def plainest(extra: Mapping[str, Any]) -> Abilities:
    """A request of model and messages alone."""
    return Abilities("text", 0, (*OPTIONAL, "max_completion_tokens", *extra))


def _sent(abilities: Abilities, extra: Mapping[str, Any]) -> list[str]:
    """The parameters that go along. The length of an answer goes by its newer name once the older one was refused."""
    length = ["max_completion_tokens"] if "max_tokens" in abilities.dropped else []
    return [name for name in (*length, *OPTIONAL, *extra) if name not in abilities.dropped]


def _next(steps: tuple[Any, ...], at: Any) -> Any:
    return steps[steps.index(at) + 1]


def _replaced(abilities: Abilities, **changes: Any) -> Abilities:
    return Abilities(**{**abilities.to_dict(), **changes})

"""Requests that the grammar cannot read, read by a chat model that sees the words alone; what it says is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from facevlm.attributes import canonical
from facevlm.backends.remote.exchange import Turn
from facevlm.errors import InputError
from facevlm.language.phrases import Condition, Place, Plan, Vocabulary, words

NOWHERE = "none"
TASK = (
    "You turn a request about the faces in photographs into a plan. Name only what the request says. 'attributes': "
    "what is to be asked about the faces that are meant. 'conditions': which faces are meant, by labels of attributes. "
    "'place': which face of each picture by its position, or 'none'. 'who': words about the people meant that no label "
    "says, such as 'person wearing glasses', or an empty string. 'readable': false if the request is none about faces, "
    "asks who somebody is, or cannot be said in this form.\nAttributes and their labels:\n{labels}"
)


@runtime_checkable
class Talking(Protocol):
    """A backend that answers a conversation without pictures."""

    def tell(self, turns: Sequence[Turn], schema: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that answers; raises :class:`~facevlm.errors.ModelError` where there is none."""


def read(request: str, vocabulary: Vocabulary, model: Talking, name: str) -> Plan:
    """The plan that a chat model reads in a request.

    Raises :class:`~facevlm.errors.InputError` where it reads none, or one that names what is not there.
    """
    known = vocabulary.deciding
    labels = "\n".join(f"{a.name} ({a.title}): {', '.join(a.labels)}" for a in known)
    reply = model.tell([Turn("system", TASK.format(labels=labels)), Turn("user", request, ())], schema(vocabulary))
    if reply.get("readable") is not True:
        raise InputError(
            f"{name} cannot read '{request}' as a request about faces, such as '{words()['examples'][0]}'."
        )
    note = f"Read by {name}, which saw the words alone."
    plan = Plan(
        request, _attributes(reply, vocabulary), _conditions(reply, vocabulary), _who(reply), _place(reply), (note,)
    )
    if not (plan.attributes or plan.conditions or plan.who or plan.place):
        raise _wrong("an empty plan", "an attribute, or which faces are meant")
    return plan


def schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """JSON schema of a plan, whose enums are the attributes, labels and places that there are."""
    names = [a.name for a in vocabulary.deciding]
    every = list(dict.fromkeys(label for a in vocabulary.deciding for label in a.labels))
    condition = _object(
        {"attribute": {"type": "string", "enum": names}, "labels": _list({"type": "string", "enum": every})}
    )
    return _object(
        {
            "attributes": _list({"type": "string", "enum": list(vocabulary.offered)}),
            "conditions": _list(condition),
            "place": {"type": "string", "enum": [NOWHERE, *words()["places"]]},
            "who": {"type": "string"},
            "readable": {"type": "boolean"},
        }
    )


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _attributes(reply: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[str, ...]:
    names = _strings(reply.get("attributes"))
    for name in names:
        if name not in vocabulary.offered:
            raise _wrong(f"the attribute '{name}'", ", ".join(vocabulary.offered))
    return tuple(dict.fromkeys(names))


def _conditions(reply: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[Condition, ...]:
    raw = reply.get("conditions") or []
    if not isinstance(raw, list) or not all(isinstance(one, Mapping) for one in raw):
        raise _wrong("conditions that are none", "a list of attributes with labels")
    known, conditions = {a.name: a for a in vocabulary.deciding}, []
    for one in raw:
        attribute = known.get(str(one.get("attribute")))
        if attribute is None:
            raise _wrong(f"a condition on '{one.get('attribute')}'", ", ".join(known))
        labels = [canonical(attribute, label) for label in _strings(one.get("labels"))]
        if not labels or None in labels:
            raise _wrong(f"{one.get('labels')} of {attribute.name}", ", ".join(attribute.labels))
        conditions.append(Condition(attribute.name, tuple(dict.fromkeys(label for label in labels if label))))
    return tuple(conditions)


def _who(reply: Mapping[str, Any]) -> str | None:
    who = reply.get("who")
    return " ".join(who.split()) or None if isinstance(who, str) else None


def _place(reply: Mapping[str, Any]) -> Place | None:
    name = reply.get("place")
    if name in (None, "", NOWHERE):
        return None
    if not isinstance(name, str) or name not in words()["places"]:
        raise _wrong(f"the place '{name}'", ", ".join(words()["places"]))
    by, which = words()["places"][name]
    return Place(by, which)


def _strings(raw: object) -> list[str]:
    if not isinstance(raw, list) or not all(isinstance(value, str) for value in raw):
        raise _wrong(f"{raw!r}", "a list of words")
    return raw


def _wrong(got: str, expected: str) -> InputError:
    return InputError(f"The planner named {got}, expected {expected}. Say it in other words, or without a planner.")

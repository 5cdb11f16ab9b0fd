"""What a run would meet, told before it is made: for forms, which are drawn anew at every letter that is typed.

No model is opened. What its answers are known by is taken from the record of the last run under the prefix.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from facevlm.backends import BackendInfo
from facevlm.backends.cards import Card, questions_for
from facevlm.backends.choice import fingerprint, resolve_attributes
from facevlm.engines.facts import machine
from facevlm.faces.crops import Crop
from facevlm.faces.selection import Selection
from facevlm.store import asking, predictions, runs, targets
from facevlm.tasks._options import Settings
from facevlm.types import GREEDY, Attribute, Question

T = TypeVar("T")
SHORTLY = 10.0
"""Seconds for which a count stands."""
MOST = 64
"""Counts that are kept."""
_kept: dict[object, tuple[float, Any]] = {}


@dataclass(frozen=True)
class Outlook:
    """``lacking`` of ``faces`` would be asked. ``changed`` attributes have answers of another model or wording under
    the prefix, which only an overwriting run replaces. ``rate`` is how many faces a second the last run of this model
    on this machine did, None where none is known."""

    faces: int
    lacking: int
    changed: tuple[str, ...] = ()
    rate: float | None = None

    @property
    def seconds(self) -> float | None:
        """How long the run would take."""
        return None if self.rate is None else self.lacking / self.rate


def outlook(
    target: targets.Collection,
    card: Card,
    attributes: Sequence[str | Attribute],
    *,
    faces: Selection | None = None,
    crop: Crop | None = None,
    prefix: str,
    prompts: Mapping[str, str] | None = None,
    overwrite: bool = False,
    settings: Settings | None = None,
) -> Outlook:
    """What :func:`facevlm.apply` with these arguments would meet.

    Raises :class:`~facevlm.errors.FacevlmError` as the run would, as far as that is known without the model.
    """
    told, dataset = settings or Settings(), target._root_dataset
    chosen = resolve_attributes(attributes, card, told.registry)
    questions = questions_for(card, chosen, prompts, joint=told.shares_prompts)
    record = runs.read(dataset, runs.run_key(prefix))
    framed = {} if faces is None else {"faces": faces.field, "crop": asdict(crop or card.crop())}
    marks = {q.attribute.name: _mark(record, card, q, framed, told) for q in questions}
    before = record.get("fingerprints") or {}
    changed = tuple(sorted(name for name, mark in marks.items() if name in before and before[name] != mark))
    fields = {name: predictions.field_name(prefix, name) for name in marks}
    stamps = {name: runs.stamp(runs.run_key(prefix), mark) for name, mark in marks.items() if mark is not None}
    key = (dataset._doc.id, targets.describe(target), faces, tuple(fields.items()), tuple(stamps.items()))
    version = (record.get("time"), record.get("asked"), record.get("status"))
    total, lacking = _shortly((key, version), lambda: asking.progress(target, faces, fields, stamps))
    rate = _shortly((dataset._doc.id, card.name, version), lambda: runs.rate(dataset, card.name, machine()))
    return Outlook(total, total if overwrite else lacking, () if overwrite else changed, rate)


def _mark(
    record: Mapping[str, Any], card: Card, question: Question, framed: Mapping[str, Any], told: Settings
) -> str | None:
    """What would tell the answers to a question, if the model is the one that was asked last; None for a new one."""
    name = question.attribute.name
    known = (record.get("fingerprints") or {}).get(name)
    if known is None:
        return None
    way = (record.get("answered_by") or {}).get(known) or record
    identity = {entry["checkpoint"]: entry["revision"] for entry in way.get("identity") or ()}
    decode = str((way.get("backend") or {}).get("decode"))
    if decode == "score" and told.options.decode == "generate":
        # Not the other way round: a model that cannot be scored is read by its words, whatever is asked for.
        decode = "generate"
    decision = GREEDY if card.hosted or card.scheme else card.decision(told.options)
    info = BackendInfo(card.name, identity, "", "", decode, decision=decision)
    return fingerprint(info, card, question, framed)


def _shortly(key: object, make: Callable[[], T]) -> T:
    """What was made under a key in the last seconds, else what is made now."""
    now = time.monotonic()
    until, value = _kept.get(key, (0.0, None))
    if now < until:
        return value  # type: ignore[no-any-return]
    for old in [k for k, (end, _) in _kept.items() if end <= now or len(_kept) > MOST]:
        _kept.pop(old, None)
    made = make()
    _kept[key] = (now + SHORTLY, made)
    return made

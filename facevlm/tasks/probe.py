"""What a checkpoint really answers: free answers tallied, strings that look like a label proposed, coverage reported.

Model cards seldom list the exact answer strings. A probe over some of the user's own pictures does; nothing is stored
in the dataset, and a proposal is only printed: whether it means the label is for a person to say.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from typing_extensions import Unpack

from facevlm.attributes import fold
from facevlm.backends import Backend, Hosted, Speaker
from facevlm.backends.briefings import Confirm, may_begin
from facevlm.backends.cards import questions_for
from facevlm.backends.choice import backend_of, card_of, resolve_attributes
from facevlm.engines.local import run
from facevlm.errors import InputError, check_sizes
from facevlm.faces.crops import Crop
from facevlm.store import targets
from facevlm.store.asking import PictureSubjects
from facevlm.tasks._options import TaskOptions, settings, takes_options
from facevlm.tasks._run import announce
from facevlm.tasks._verb import verb
from facevlm.types import Attribute, Prediction, Question


class Spoken:
    """The free answers of a backend that speaks, as if it gave no others."""

    def __init__(self, backend: Any) -> None:
        self.info, self.answer = backend.info, backend.say


@dataclass(frozen=True)
class ProbedAnswer:
    """One string and how often it was said. ``label`` is what it is read as; ``proposal`` what it might be read as."""

    text: str
    count: int
    label: str | None
    proposal: str | None


@dataclass(frozen=True)
class AttributeProbe:
    """What was said to one question about ``n`` faces.

    ``readable`` is the share of free answers that are read as a label. ``coverage`` is the mean share of probability
    that lies on the labels' answer strings, and ``agreement`` how often the label so scored is the one that was said,
    of the ``n_compared`` faces that have both; these are None for a model that gives no scores.
    """

    attribute: str
    prompt: str
    n: int
    readable: float
    answers: tuple[ProbedAnswer, ...]
    outcomes: Mapping[str, int]
    coverage: float | None = None
    agreement: float | None = None
    n_compared: int = 0

    def proposed_forms(self) -> dict[str, list[str]]:
        """Label -> strings that were said for it, read and proposed, as the ``forms`` of a facevlm.json."""
        forms: dict[str, list[str]] = {}
        for answer in self.answers:
            label = answer.label or answer.proposal
            if label is not None:
                forms.setdefault(label, []).append(answer.text)
        return forms

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        return {
            "attribute": self.attribute,
            "prompt": self.prompt,
            "n": self.n,
            "readable": self.readable,
            "coverage": self.coverage,
            "agreement": self.agreement,
            "n_compared": self.n_compared,
            "outcomes": dict(self.outcomes),
            "answers": [vars(a) for a in self.answers],
            "forms": self.proposed_forms(),
        }


@verb
@takes_options(TaskOptions)
def probe(
    target: targets.Collection,
    model: str | Backend,
    attributes: Sequence[str | Attribute],
    *,
    faces: int = 50,
    seed: int = 0,
    prompts: Mapping[str, str] | None = None,
    batch_size: int = 16,
    confirm: Confirm | None = None,
    **options: Unpack[TaskOptions],
) -> list[AttributeProbe]:
    """Ask freely about some faces, and score the labels about the same faces; one result per attribute.

    Args:
        target, model, attributes, prompts: those of :func:`facevlm.apply`; every attribute is asked by a prompt of its
            own.
        faces: how many, drawn at random by ``seed``.
        seed: of the drawing.
        batch_size: pictures per forward pass.
        confirm: as of :func:`facevlm.apply`; where it says no there is no result.
        {options}

    Raises:
        FacevlmError: before anything is asked, as :func:`facevlm.apply` does.
    """
    told = settings(options)
    check_sizes(faces=faces, batch_size=batch_size)
    target = targets.check(target)
    card = card_of(model, told.options)
    if card.network:
        raise InputError(f"'{card.name}' is a plain network, which says nothing in words; expected a model that does.")
    chosen = resolve_attributes(attributes, card, told.registry)
    backend = backend_of(model, told.options, chosen)
    card = card_of(model, told.options)
    questions = questions_for(card, chosen, prompts, joint=False)
    every = PictureSubjects(target).faces
    drawn = random.Random(seed).sample(every, min(faces, len(every)))
    with ExitStack() as after:
        if isinstance(model, str) and isinstance(backend, Hosted):
            after.callback(backend.close)
        briefing = backend.briefing(len(drawn), questions) if isinstance(backend, Hosted) else None
        if not may_begin(confirm or announce, briefing, len(drawn)):
            return []
        scored = ask_all(drawn, backend, questions, batch_size)
        # One that cannot answer freely is not asked, and paid, twice for the same.
        spoken = scored
        if isinstance(backend, Speaker):
            spoken = ask_all(drawn, Spoken(backend), questions, batch_size)
    return [_result(q, spoken[q.attribute.name], scored[q.attribute.name]) for q in questions]


def ask_all(
    faces: Sequence[Any], backend: Any, questions: Sequence[Question], batch_size: int, crop: Crop | None = None
) -> dict[str, list[Prediction]]:
    """What comes of every face, by attribute; nothing is stored."""
    rows: dict[str, list[Prediction]] = {q.attribute.name: [] for q in questions}

    def keep(predictions: Sequence[Prediction]) -> None:
        for prediction in predictions:
            rows[prediction.attribute].append(prediction)

    with closing(run(faces, backend, questions, keep, batch_size=batch_size, crop=crop)) as steps:
        for _ in steps:
            pass
    return rows


def _result(question: Question, spoken: Sequence[Prediction], scored: Sequence[Prediction]) -> AttributeProbe:
    texts = Counter(p.text for p in spoken if p.text is not None)
    read = {p.text: p.label for p in spoken if p.text is not None}
    answers = tuple(
        ProbedAnswer(text, count, read[text], None if read[text] else propose(question.attribute, text))
        for text, count in texts.most_common()
    )
    covered = [p.coverage for p in scored if p.coverage is not None]
    pairs = [(a.label, b.label) for a, b in zip(spoken, scored, strict=True) if a.label and b.coverage is not None]
    return AttributeProbe(
        attribute=question.attribute.name,
        prompt=question.text,
        n=len(spoken),
        readable=sum(p.outcome == "ok" for p in spoken) / len(spoken) if spoken else 0.0,
        answers=answers,
        outcomes=Counter(p.outcome for p in spoken),
        coverage=sum(covered) / len(covered) if covered else None,
        agreement=sum(a == b for a, b in pairs) / len(pairs) if pairs else None,
        n_compared=len(pairs),
    )


def propose(attribute: Attribute, text: str) -> str | None:
    """The one label of which a spelling stands in the text as whole words; None where none does, or several do."""
    words = f" {_words(text)} "
    labels = [label for label in attribute.labels if any(f" {_words(s)} " in words for s in attribute.spellings(label))]
    return labels[0] if len(labels) == 1 else None


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+|[^\w\s]", fold(text)))

"""Ways of putting one question: paraphrases, and the order in which a prompt lists the answers to choose from."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from facevlm.backends.cards import Card, questions_for, template
from facevlm.errors import InputError, is_blank
from facevlm.folders import ASSETS
from facevlm.types import Attribute

LABELS = "{labels}"


@dataclass(frozen=True)
class Wording:
    """One way of asking about an attribute.

    ``paraphrase`` 0 is the model's own wording and ``order`` 0 the labels' own order. ``prompt`` is what the model is
    asked, without the marks of its chat template; ``given`` is the same, or None where the model is left to its own
    prompt. ``labels`` are the answers in the order in which the prompt lists them, or None where it lists none.
    """

    paraphrase: int
    order: int
    prompt: str
    given: str | None
    labels: tuple[str, ...] | None

    @property
    def ending(self) -> str:
        """What a prefix ends with for this wording: ``w1``, or ``w1o2`` in another than the labels' own order."""
        return f"w{self.paraphrase}" + (f"o{self.order}" if self.order else "")


@functools.cache
def shipped() -> Mapping[str, tuple[str, ...]]:
    """The paraphrases of ``assets/paraphrases.yaml`` by attribute, or by family where they fit all its label sets."""
    raw: dict[str, list[str]] = yaml.safe_load((ASSETS / "paraphrases.yaml").read_text(encoding="utf-8"))
    return {name: tuple(texts) for name, texts in raw.items()}


def wordings(
    card: Card,
    attribute: Attribute,
    paraphrases: Sequence[str] | None = None,
    *,
    orders: int = 1,
    seed: int = 0,
    joint: bool = True,
) -> list[Wording]:
    """The model's own wording, then the paraphrases (by default the shipped ones), each in so many orders of labels.

    A paraphrase goes into the model's template as its question; with ``{labels}`` in it, it is the whole prompt.
    Orders are the labels' own and random ones, each once; prompts without ``{labels}`` list no answers, and have one.
    Raises :class:`~facevlm.errors.InputError` where there is only one way to ask.
    """
    chosen = (
        shipped().get(attribute.name) or shipped().get(attribute.family, ()) if paraphrases is None else paraphrases
    )
    if any(map(is_blank, chosen)):
        raise InputError(
            f"Got paraphrases={{'{attribute.name}': {list(chosen)}}}, of which one asks nothing; expected questions."
        )
    pattern = template(card, attribute)
    patterns = [pattern.replace("{question}", attribute.question)]
    patterns += [text if LABELS in text else pattern.replace("{question}", text) for text in chosen]
    listed = permutations(attribute.labels, orders, seed)
    (question,) = questions_for(card, [attribute], joint=joint)
    own = Wording(0, 0, question.context or question.text, None, attribute.labels if LABELS in patterns[0] else None)
    by_prompt = {own.prompt: own}
    for number, text in enumerate(patterns):
        for k, labels in enumerate(listed if LABELS in text else listed[:1]):
            prompt = text.replace(LABELS, ", ".join(labels))
            if number or k:
                by_prompt.setdefault(prompt, Wording(number, k, prompt, prompt, labels if LABELS in text else None))
    if len(by_prompt) < 2:
        raise InputError(_only_one(card, attribute, own))
    return list(by_prompt.values())


def _only_one(card: Card, attribute: Attribute, own: Wording) -> str:
    orders = "lists no labels whose order could be changed" if own.labels is None else "is asked in one order of labels"
    return (
        f"There is only one way to ask '{card.name}' about {attribute.name}: there is no paraphrase, and the prompt "
        f"{orders}. Give other wordings as paraphrases={{'{attribute.name}': [...]}}."
    )


def permutations(labels: tuple[str, ...], orders: int, seed: int) -> list[tuple[str, ...]]:
    """The labels' own order and random ones, ``orders`` in all or as many as there are, the same for a seed."""
    rng, permuted = random.Random(seed), [labels]
    while len(permuted) < min(orders, math.factorial(len(labels))):
        shuffled = tuple(rng.sample(labels, len(labels)))
        if shuffled not in permuted:
            permuted.append(shuffled)
    return permuted

"""Tries of questions: those that a checkpoint scores by are those that the demo model was taught by."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import Options, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.checkpoint import Checkpoint
from facevlm.backends.families.paligemma import PaliGemma
from facevlm.backends.trie import Branch, LabelTrie
from facevlm.types import Question
from tools.demo_model.answers import Asker
from tools.demo_model.faces import ATTRIBUTES
from tools.demo_model.model import CARD, CUES

ASKED = [get(name) for name in ATTRIBUTES]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint(find("demo"), "package:demo_model", Options())


def same(one: LabelTrie, other: LabelTrie, branches: int) -> bool:
    paths = all(one.paths(k) == other.paths(k) for k in range(branches))
    return paths and (list(one.tokens), list(one.depths)) == (list(other.tokens), list(other.depths))


def trie_of(checkpoint: Checkpoint, questions: Sequence[Question]) -> LabelTrie:
    [picture] = checkpoint.prepare([Image.new("RGB", (90, 60))])
    return checkpoint.trie(picture, questions)


def test_a_checkpoint_offers_the_tries_that_training_uses(checkpoint: Checkpoint) -> None:
    family = checkpoint.family
    assert isinstance(family, PaliGemma)
    asker = Asker(family)
    joint = trie_of(checkpoint, questions_for(find("demo"), ASKED))
    assert same(asker.joint, joint, len(ASKED))
    for trie, question in zip(asker.single, questions_for(find("demo"), ASKED, joint=False), strict=True):
        assert same(trie, trie_of(checkpoint, [question]), 1)


def test_a_trie_has_a_branch_per_question_and_a_path_per_label(checkpoint: Checkpoint) -> None:
    family = checkpoint.family
    answers = [tuple((family.answer_ids(label),) for label in ATTRIBUTES[name]) for name in ATTRIBUTES]
    branches = [Branch(family.answer_ids(CUES[n]), forms) for n, forms in zip(ATTRIBUTES, answers, strict=True)]
    questions = questions_for(CARD, ASKED)
    assert same(LabelTrie(branches, family.ends), trie_of(checkpoint, questions), len(ASKED))
    assert [len(trie_of(checkpoint, questions).paths(k)) for k in range(len(ASKED))] == [
        len(attribute.labels) for attribute in ASKED
    ]


def test_a_trie_is_made_once(checkpoint: Checkpoint) -> None:
    questions = questions_for(find("demo"), ASKED[:1])
    assert trie_of(checkpoint, questions) is trie_of(checkpoint, questions)
    assert trie_of(checkpoint, questions) is not trie_of(checkpoint, questions_for(find("demo"), ASKED[1:2]))


def test_the_card_of_the_training_is_the_shipped_one() -> None:
    shipped = find("demo")
    assert (CARD.questions, CARD.forms, CARD.joint) == (shipped.questions, shipped.forms, shipped.joint)
    assert open_backend("demo").info.decode == "score"

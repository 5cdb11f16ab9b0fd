"""The label trie against brute force: every form scored on its own, greedy decoding step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facevlm.backends.families import base
from facevlm.backends.families.base import edge_log_probs
from facevlm.backends.trie import Branch, LabelTrie

END = 0
VOCABULARY = 5
BATCH = 3
Tokens = tuple[int, ...]
checked = settings(deadline=None, max_examples=60)

tokens = st.integers(1, VOCABULARY - 1)
forms = st.lists(tokens, min_size=1, max_size=4).map(tuple)


@st.composite
def branches(draw: st.DrawFn) -> Branch:
    """A few labels of one to three forms each; with four tokens, prefixes are often shared."""
    every = draw(st.lists(forms, min_size=2, max_size=8, unique=True))
    labels = draw(st.integers(2, min(4, len(every))))
    return Branch(draw(st.lists(tokens, max_size=2).map(tuple)), tuple(tuple(every[k::labels]) for k in range(labels)))


many = st.lists(branches(), min_size=1, max_size=3)


@dataclass(frozen=True)
class Model:
    """A language model of five tokens: another random distribution after every history."""

    seed: int

    def log_probs(self, history: Tokens) -> NDArray[np.float64]:
        logits = np.random.default_rng([self.seed, len(history), *history]).normal(0, 2, VOCABULARY)
        return np.asarray(logits - np.logaddexp.reduce(logits))

    def form(self, cue: Tokens, form: Tokens) -> float:
        answer = (*form, END)
        return sum(float(self.log_probs(cue + answer[:k])[token]) for k, token in enumerate(answer))

    def greedy(self, branch: Branch) -> int:
        """The label that is decoded if only tokens that lead to a label may be taken."""
        owners = {(*form, END): label for label, forms in enumerate(branch.forms) for form in forms}
        said: Tokens = ()
        while said not in owners:
            allowed = sorted({answer[len(said)] for answer in owners if answer[: len(said)] == said})
            scores = self.log_probs(branch.cue + said)
            said = (*said, max(allowed, key=lambda token: scores[token]))
        return owners[said]


def history(trie: LabelTrie, node: int) -> Tokens:
    """The tokens that lead to a node; of the prefix itself for -1."""
    return () if node < 0 else (*history(trie, trie.parents[node]), trie.tokens[node])


def edges(trie: LabelTrie, model: Model) -> NDArray[np.float32]:
    """What one forward pass would give, shape (BATCH, n_edges)."""
    rows = []
    for picture in range(BATCH):
        seen = Model(model.seed * BATCH + picture)
        pairs = zip(trie.edge_position.tolist(), trie.edge_token.tolist(), strict=True)
        rows.append([seen.log_probs(history(trie, at - 1))[token] for at, token in pairs])
    return np.array(rows, dtype=np.float32)


@given(many, st.integers(0, 10**6))
@checked
def test_scores_are_those_of_every_form_on_its_own(asked: list[Branch], seed: int) -> None:
    trie = LabelTrie(asked, (END,))
    scores = trie.read(edges(trie, Model(seed)))
    for branch, read in zip(asked, scores, strict=True):
        models = [Model(seed * BATCH + k) for k in range(BATCH)]
        expected = [
            [np.logaddexp.reduce([m.form(branch.cue, f) for f in label]) for label in branch.forms] for m in models
        ]
        np.testing.assert_allclose(read.log_probs, expected, rtol=1e-5)
        assert (np.exp(read.log_probs).sum(1) <= 1 + 1e-6).all()


@given(many, st.integers(0, 10**6))
@checked
def test_the_choice_is_that_of_decoding_step_by_step(asked: list[Branch], seed: int) -> None:
    trie = LabelTrie(asked, (END,))
    scores = trie.read(edges(trie, Model(seed)))
    for branch, read in zip(asked, scores, strict=True):
        assert read.choice.tolist() == [Model(seed * BATCH + k).greedy(branch) for k in range(BATCH)]


@given(many)
@checked
def test_every_beginning_is_fed_once(asked: list[Branch]) -> None:
    trie = LabelTrie(asked, (END,))
    answers = [(branch.cue, (*form, END)) for branch in asked for label in branch.forms for form in label]
    fed = {(cue + answer)[:k] for cue, answer in answers for k in range(1, len(cue + answer))}
    read = {cue + answer[:k] for cue, answer in answers for k in range(1, len(answer) + 1)}
    assert sorted(history(trie, node) for node in range(trie.n_nodes)) == sorted(fed)
    assert trie.n_edges == len(read) == len(trie.edge_position) == len(trie.edge_token)


@given(many)
@checked
def test_a_node_sees_itself_and_its_ancestors_alone(asked: list[Branch]) -> None:
    trie = LabelTrie(asked, (END,))
    paths = [history(trie, node) for node in range(trie.n_nodes)]
    expected = [[other == path[: len(other)] for other in paths] for path in paths]
    assert trie.visible().tolist() == expected
    assert trie.depths == [len(path) - 1 for path in paths]


@given(many)
@checked
def test_a_path_spells_its_form(asked: list[Branch]) -> None:
    trie = LabelTrie(asked, (END,))
    for number, branch in enumerate(asked):
        spelled = [[tuple(trie.edge_token[path].tolist()) for path in label] for label in trie.paths(number)]
        assert spelled == [[(*form, END) for form in label] for label in branch.forms]


def test_a_form_may_be_the_beginning_of_another() -> None:
    trie = LabelTrie([Branch((), (((1,),), ((1, 2),)))], (END,))
    assert (trie.n_nodes, trie.n_edges) == (2, 4)
    order = list(zip(trie.edge_position.tolist(), trie.edge_token.tolist(), strict=True))
    shares = {(0, 1): 0.5, (1, END): 0.6, (1, 2): 0.4, (2, END): 0.9}
    [scores] = trie.read(np.log([[shares[edge] for edge in order]]).astype(np.float32))
    assert np.exp(scores.log_probs[0]) == pytest.approx([0.3, 0.18], rel=1e-5)
    assert scores.choice.tolist() == [0]


def test_greedy_decoding_may_miss_the_likeliest_label() -> None:
    trie = LabelTrie([Branch((), (((1,),), ((2, 1), (2, 2))))], (END,))
    shares = {(): {1: 0.45, 2: 0.55}, (1,): {END: 1.0}, (2,): {1: 0.4, 2: 0.3}, (2, 1): {END: 1.0}, (2, 2): {END: 1.0}}
    pairs = zip(trie.edge_position.tolist(), trie.edge_token.tolist(), strict=True)
    table = np.log([[shares[history(trie, at - 1)][token] for at, token in pairs]]).astype(np.float32)
    [scores] = trie.read(table)
    assert np.exp(scores.log_probs[0]) == pytest.approx([0.45, 0.385], rel=1e-5)
    assert scores.choice.tolist() == [1]


def test_questions_behind_other_cues_do_not_see_each_other() -> None:
    trie = LabelTrie([Branch((1,), (((3,),), ((4,),))), Branch((2,), (((3,),), ((4,),)))], (END,))
    seen = trie.visible()
    for node in range(trie.n_nodes):
        assert {history(trie, other)[0] for other in np.flatnonzero(seen[node]).tolist()} == {history(trie, node)[0]}


def test_an_impossible_form_leaves_the_others_alone() -> None:
    trie = LabelTrie([Branch((), (((1,), (2,)), ((3,),)))], (END,))
    table = np.where(trie.edge_token == 2, -np.inf, math.log(0.5)).astype(np.float32)[None]
    [scores] = trie.read(table)
    assert np.exp(scores.log_probs[0]) == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probabilities_summed_in_slices_are_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    trie = LabelTrie([Branch((), (((1, 2),), ((3,),)))], (0,))
    keep = trie.scored_positions()
    logits = torch.randn(5, len(keep), 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    whole = edge_log_probs(logits, trie, keep)
    monkeypatch.setattr(base, "SLICE", 100)
    assert torch.equal(edge_log_probs(logits, trie, keep), whole)
    table = logits.float().log_softmax(-1)[:, np.searchsorted(keep, trie.edge_position), trie.edge_token]
    assert torch.allclose(whole, table, atol=1e-5)

"""Closed-set scoring as data: which tokens are fed, who sees whom, which log-probabilities make a label.

All labels of one or several questions stand behind one shared prefix (picture and prompt). Every
label's surface forms are token sequences; common beginnings are shared, so they form a trie. Fed in one
forward pass, with a mask under which a node sees the prefix and its own ancestors alone, the trie
yields the exact log-probability of every full answer, end token included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Branch:
    """One question: tokens that open it (may be none), and per label the token lists that say it."""

    cue: tuple[int, ...]
    forms: tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True)
class LabelScores:
    """Per picture and label: natural-log probability, and the index that constrained greedy takes.

    Shapes (batch, labels) and (batch,).
    """

    log_probs: NDArray[np.float64]
    choice: IntArray


class LabelTrie:
    """The tokens behind a prefix and how to read the scores off. An answer may end with any of ``end_tokens``.

    Position 0 is the prefix's last token, position n + 1 is node n. ``edge_position`` and
    ``edge_token`` (both of length ``n_edges``) name the log-probabilities to gather: the token that follows
    a position. A form's log-probability is the sum over its edges.
    """

    def __init__(self, branches: Sequence[Branch], end_tokens: Sequence[int]) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._child: dict[tuple[int, int], int] = {}
        self._edge: dict[tuple[int, int], int] = {}
        self._forms: list[list[list[list[int]]]] = []
        self._starts: list[int] = []
        self.end_tokens = tuple(end_tokens)
        for branch in branches:
            start = -1
            for token in branch.cue:
                start = self._node(start, token)
            self._starts.append(start)
            self._forms.append([[p for form in forms for p in self._paths(start, form)] for forms in branch.forms])
        edges = sorted(self._edge.items(), key=lambda item: item[1])
        self.edge_position: IntArray = np.array([parent + 1 for (parent, _), _ in edges], dtype=np.int64)
        self.edge_token: IntArray = np.array([token for (_, token), _ in edges], dtype=np.int64)

    def _node(self, parent: int, token: int) -> int:
        key = (parent, token)
        if key not in self._child:
            self._child[key] = len(self.tokens)
            self.tokens.append(token)
            self.parents.append(parent)
            self.depths.append(self.depths[parent] + 1 if parent >= 0 else 0)
        return self._child[key]

    def _paths(self, start: int, form: Sequence[int]) -> list[list[int]]:
        """Edge numbers of a form with each of the end tokens; nodes are made for all the form's tokens."""
        path, at = [], start
        for token in form:
            path.append(self._edge.setdefault((at, token), len(self._edge)))
            at = self._node(at, token)
        return [[*path, self._edge.setdefault((at, end), len(self._edge))] for end in self.end_tokens]

    @property
    def n_nodes(self) -> int:
        return len(self.tokens)

    @property
    def n_edges(self) -> int:
        return len(self._edge)

    def scored_positions(self) -> IntArray:
        """Positions whose logits are needed, in order."""
        return np.unique(self.edge_position)

    def visible(self) -> NDArray[np.bool_]:
        """Who sees whom among the nodes, shape (n_nodes, n_nodes): itself and its ancestors."""
        seen = np.eye(self.n_nodes, dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen

    def paths(self, branch: int) -> list[list[list[int]]]:
        """Edge numbers per label of a branch: one list for each form and end token."""
        return self._forms[branch]

    def read(self, edge_log_probs: FloatArray) -> list[LabelScores]:
        """Scores per branch from the gathered log-probabilities of shape (batch, n_edges)."""
        table = np.asarray(edge_log_probs, dtype=np.float64)
        return [
            LabelScores(
                np.stack([np.logaddexp.reduce([table[:, path].sum(1) for path in forms]) for forms in labels], axis=1),
                self._greedy(number, table),
            )
            for number, labels in enumerate(self._forms)
        ]

    def _greedy(self, branch: int, table: NDArray[np.float64]) -> IntArray:
        """Follow the likeliest child from node to node, as greedy generation restricted to the labels would."""
        owner = {path[-1]: label for label, forms in enumerate(self._forms[branch]) for path in forms}
        out_edges: dict[int, list[tuple[int, int]]] = {}
        for edge in sorted({edge for forms in self._forms[branch] for path in forms for edge in path}):
            parent, token = int(self.edge_position[edge]) - 1, int(self.edge_token[edge])
            out_edges.setdefault(parent, []).append((edge, self._child.get((parent, token), -1)))
        choice = np.empty(len(table), dtype=np.int64)
        pending = [(self._starts[branch], np.arange(len(table)))]
        while pending:
            at, rows = pending.pop()
            edges = [edge for edge, _ in out_edges[at]]
            taken = table[rows][:, edges].argmax(1)
            for k, (edge, child) in enumerate(out_edges[at]):
                chosen = rows[taken == k]
                if len(chosen) and edge in owner:
                    choice[chosen] = owner[edge]
                elif len(chosen):
                    pending.append((child, chosen))
        return choice

"""What questions become for the model of one family: the tokens of their prompts, and label tries, each made once."""

from __future__ import annotations

from collections.abc import Sequence

from facevlm.backends.families.base import Family, Ids, Prepared
from facevlm.backends.spelling import spellings
from facevlm.backends.trie import Branch, LabelTrie
from facevlm.errors import ModelError
from facevlm.types import Question

MOST_PROMPTS = 4096
"""So many prompts are remembered; each size of picture has prompts of its own."""


class Tries:
    """Prompts and label tries of a family, for inference and for training alike."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._tries: dict[object, LabelTrie] = {}
        self._ids: dict[tuple[str, str], Ids] = {}
        self.only: dict[str, int | None] = {}
        """By a question's fingerprint which spelling of its answers suffices; see :func:`.spelling.only_spelling`."""

    def ids(self, picture: Prepared, text: str) -> Ids:
        """All tokens of a prompt; pictures that are written alike share them."""
        key = (picture.text or str(picture.image.size), text)
        if key not in self._ids:
            if len(self._ids) > MOST_PROMPTS:
                self._ids.clear()
            self._ids[key] = self.family.ids(picture, text)
        return self._ids[key]

    def trie(self, picture: Prepared, questions: Sequence[Question]) -> LabelTrie:
        """The label trie of questions whose prompts share all tokens up to where the family splits them: a branch per
        question, in order, and in each the labels in theirs.

        It is that of every picture behind which the prompts go on alike. Raises :class:`~facevlm.errors.ModelError`
        where an answer has no tokens, or those of another label.
        """
        key = tuple((self.family.split(self.ids(picture, q.context or q.text))[1], q.fingerprint()) for q in questions)
        if key not in self._tries:
            branches = [self.branch(tail, question) for (tail, _), question in zip(key, questions, strict=True)]
            self._tries[key] = LabelTrie(branches, self.family.ends)
        return self._tries[key]

    def branch(self, tail: Ids, question: Question) -> Branch:
        """One question's branch, behind the tokens ``tail`` of its prompt; raises as :meth:`trie`."""
        cue = self.family.answer_ids(question.cue) if question.cue else ()
        only = self.only.get(question.fingerprint())
        owners: dict[Ids, str] = {}
        forms = []
        for label, spelt in zip(question.attribute.labels, spellings(self.family, question), strict=True):
            ids = tuple(dict.fromkeys(form for both in spelt for form in (both if only is None else [both[only]])))
            for form in ids:
                other = owners.setdefault(form, label)
                if other != label:
                    raise ModelError(
                        f"{question.attribute.name}: '{other}' and '{label}' have the same tokens {form} for this "
                        "model, so it cannot tell them apart. Give them different answer strings."
                    )
            forms.append(ids)
        return Branch((*tail, *cue), tuple(forms))

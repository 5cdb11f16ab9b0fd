"""What a training run would do, checked, with nothing loaded or written yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facevlm.backends import Options, load_class
from facevlm.backends.cards import Card
from facevlm.errors import ModelError
from facevlm.faces.crops import Crop
from facevlm.training import splits
from facevlm.training.examples import Examples, LabelledFace, counts
from facevlm.training.recipes import Recipe
from facevlm.training.splits import FaceSplit
from facevlm.types import Attribute, Question, digest

PAGES = 3
DECIDING = ("objective", "balance", "class_weights", "augment", "seed", "mixed_precision")
"""Options that change what is learnt and are no numbers of a recipe."""


@dataclass(frozen=True)
class TrainPlan:
    """What a run would do, checked, with nothing loaded or written yet."""

    base: str
    card: Card
    checkpoint: str
    attributes: tuple[Attribute, ...]
    questions: tuple[Question, ...]
    examples: Examples
    split: FaceSplit
    out: Path
    method: str
    recipe: Recipe
    crop: Crop
    options: Options
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Faces by part, attribute and label."""
        return {
            part: {a.name: counts(some, a) for a in self.attributes} for part, some in self.split.parts.items() if some
        }

    @property
    def by_group(self) -> dict[str, dict[str, int]]:
        """Faces that are learnt from by field and group."""
        found: dict[str, dict[str, int]] = {}
        for example in self.split.train:
            for name, value in example.groups.items():
                groups = found.setdefault(name, {})
                groups[value or "not known"] = groups.get(value or "not known", 0) + 1
        return found

    @property
    def left_out(self) -> dict[str, int]:
        """Faces that are not used, by the reason."""
        across = {splits.ACROSS: self.split.across} if self.split.across else {}
        return {**self.examples.left_out, **across}

    @property
    def judges(self) -> tuple[LabelledFace, ...]:
        """The faces that judge; those that choose the epoch where there are no others."""
        return self.split.test or self.split.validation

    @property
    def mark(self) -> str:
        """Eight hex digits of all that decides what is learnt."""
        shown = {
            part: [(e.face.filepath, e.face.box_xywh_rel, sorted(e.labels.items())) for e in some]
            for part, some in self.split.parts.items()
        }
        told = {name: self.told.get(name) for name in DECIDING}
        asked = [q.fingerprint() for q in self.questions]
        of_base = [self.checkpoint, self.options.revision]
        return digest([of_base, asked, self.method, asdict(self.recipe), asdict(self.crop), told, shown])

    def budget(self) -> Any:
        """What it will take, as :func:`facevlm.training.budget.estimate` tells."""
        budget = load_class("facevlm.training.budget:estimate")
        device = load_class("facevlm.backends.weights:pick_device")(self.options.device)
        answers = sum(len(e.labels) for e in self.split.train)
        checkpointing = bool(self.told.get("checkpointing"))
        return budget(self.checkpoint, self.recipe, self.method, device, answers, checkpointing=checkpointing)

    def pages(self, most: int = PAGES) -> list[tuple[LabelledFace, str, Any]]:
        """The first examples as the model sees them: example, attribute, and its
        :class:`~facevlm.training.pages.Page`. The base is loaded for it."""
        page = load_class("facevlm.training.pages:page")
        shown_of, checkpoint = load_class("facevlm.training.loop:ShownFaces"), self.opened()
        some = self.split.train[:most]
        shown = shown_of(some, self.questions, checkpoint, self.crop)
        return [
            (example, q.attribute.name, page(checkpoint, shown[at][0], q, example.labels[q.attribute.name]))
            for at, example in enumerate(some)
            for q in self.questions
            if q.attribute.name in example.labels and shown[at] is not None
        ]

    def opened(self) -> Any:
        """The base, loaded to be tuned.

        Raises :class:`~facevlm.errors.ModelError` for one whose answers cannot be scored.
        """
        checkpoint = load_class("facevlm.backends.checkpoint:Checkpoint")(self.card, self.checkpoint, self.options)
        if checkpoint.decode != "score":
            notes = " ".join(checkpoint.notes)
            raise ModelError(f"Model '{self.base}' cannot be tuned: what it learns is read off its scores. {notes}")
        checkpoint.check(self.questions)
        return checkpoint

"""Review a run's predictions by eye: the sure ones approved at once, the rest one by one, and every decision kept."""

from __future__ import annotations

import dataclasses
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from PIL import Image

from facevlm import attributes as registry_module
from facevlm.attributes import Registry
from facevlm.backends.choice import resolve_attributes
from facevlm.errors import ImageError, InputError, check_sizes, lookup
from facevlm.evaluation import sampling
from facevlm.faces import crops, images
from facevlm.faces.crops import Crop
from facevlm.store import evaluations, predictions, provenance, reviews, targets, views
from facevlm.store.reviews import (
    APPROVED,
    BULK,
    CHANGED,
    DISCARDED,
    EDITED,
    LABELLED,
    RANDOM,
    SKIPPED,
    UNCLEAR,
    Decision,
    Standing,
)
from facevlm.store.rows import PictureRows, rows_of
from facevlm.store.schema import (
    ACT,
    CHOSEN,
    DECISION,
    REVIEWED_AT,
    REVIEWED_BY,
    SHOWN,
    SHOWN_CONFIDENCE,
    SHOWN_RUN,
    THRESHOLD,
)
from facevlm.store.updates import told
from facevlm.tasks._verb import verb
from facevlm.types import Attribute

UNSURE, GROUPS, PICKED = "unsure", "groups", "picked"
ORDERS = {
    UNSURE: "least sure first",
    GROUPS: "unsure faces of the groups that lack most",
    RANDOM: "drawn at random, as many of each group as its interval takes",
}
"""Orders of a queue, by which the record says how a face came to be decided about."""
WORDS = {"approve": APPROVED, "unclear": UNCLEAR, "discard": DISCARDED, "skip": SKIPPED}
"""Words for decisions; any label of the attribute is one, too."""
EVERYBODY = "all"
ROUNDING = 1e-9
"""What a confidence of 0.9 may lack of it: it is a sum of exponentials."""


@dataclass(frozen=True)
class Split:
    """What a threshold on the confidence would do: of ``waiting`` faces so many are ``sure`` enough, so many below, and
    so many have no answer or no confidence. ``decided`` faces are no longer asked about."""

    threshold: float
    sure: int
    below: int
    without: int
    decided: int

    @property
    def waiting(self) -> int:
        return self.sure + self.below + self.without


@dataclass(frozen=True)
class Kept:
    """A face that was left as it is, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Decided:
    """What came of an act: how many decisions were written under its mark, and the faces that were left as they are."""

    act: str
    field: str
    written: int
    kept: tuple[Kept, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReviewProgress:
    """How far the review of one group is.

    ``n`` faces were asked about. ``seen`` of them got a label from somebody who looked, ``bulk`` were approved by a
    threshold alone, ``labelled`` have a label that no review made; ``unclear``, ``discarded``, ``skipped`` and
    ``left`` are those without. ``needed`` is how many should be seen for an interval of the wanted width.
    """

    group: str
    n: int
    seen: int
    bulk: int
    labelled: int
    unclear: int
    discarded: int
    skipped: int
    left: int
    needed: int

    @property
    def lacking(self) -> int:
        return max(0, self.needed - self.seen)


@verb
def review(
    target: targets.Collection,
    attribute: str | Attribute,
    *,
    prefix: str = "demo",
    field: str | None = None,
    faces: str | None = None,
    runs: Sequence[str] = (),
    by: str | None = None,
    agreed: bool = False,
    registry: Registry | None = None,
) -> Review:
    """Open the review of a run's predictions; nothing is written before something is decided.

    Labels go to ``field``: of pictures a Classification, of faces an attribute of their Detections. Each keeps who
    decided, when, how the face was chosen, and what was shown: label, confidence, run, and in bulk the threshold.

    Args:
        target: a FiftyOne dataset or view.
        attribute: whose predictions are reviewed.
        prefix: the field prefix of the predictions.
        field: where reviewed labels go; by default ``<attribute>_reviewed``.
        faces: for predictions on faces, the Detections field that they are about; by default the only one.
        runs: where the field of predictions holds those of several runs: whose are reviewed, by the model's name or
            the run's stamp.
        by: who decides, kept as ``reviewed_by``.
        agreed: that labels are written into a ``field`` that no review made. Those that are there stay, unless
            somebody decides about just that face.
        registry: attributes of your own, from :func:`facevlm.attributes.load`.

    Raises:
        FacevlmError: for missing fields, answers of several runs, and a field that is not to be written to.
    """
    known = registry or registry_module.shipped()
    [wanted] = resolve_attributes([attribute], registry=known)
    return Review(
        targets.check(target), wanted, prefix, field, faces, [runs] if isinstance(runs, str) else runs, by, agreed
    )


class Review:
    """A review of one attribute under a prefix, as it stood when it was opened or last :meth:`refresh` was called.

    Decisions go by what was seen: where somebody else decided about a face meanwhile, or a model answered anew, the
    face is left as it is, and :class:`Decided` names it. ``predicted`` is the field of predictions, ``faces`` are those
    that its run was asked about.
    """

    def __init__(
        self,
        target: targets.Collection,
        attribute: Attribute,
        prefix: str,
        field: str | None,
        faces: str | None,
        runs: Sequence[str],
        by: str | None,
        agreed: bool,
    ) -> None:
        self.target, self.attribute, self.by = target, attribute, by
        self.predicted, self._faces, self._runs = predictions.field_name(prefix, attribute.name), faces, tuple(runs)
        predictions.require(target, self.predicted)
        self._rows = rows_of(target, [self.predicted], faces)
        self.place = reviews.place_of(self._rows, attribute.name, field, agreed=agreed)
        self._chosen: dict[str, str] = {}
        self._read()

    def __repr__(self) -> str:
        waiting = sum(face.waits for face in self.faces)
        return f"<Review of {self.predicted} into {self.field}: {waiting:,} of {len(self.faces):,} faces wait>"

    @property
    def field(self) -> str:
        """The path of the reviewed labels, as :func:`facevlm.evaluate` takes it for ground truth."""
        return self.place.field

    @verb
    def refresh(self) -> Review:
        """Read anew what was answered and decided."""
        self._rows = rows_of(targets.check(self.target), [self.predicted], self._faces)
        self._read()
        return self

    def _read(self) -> None:
        self._standing = reviews.read(self._rows, self.predicted, self.place)
        stamps = [None if face is None else face.run for face in self._standing]
        outcomes = [None if face is None else face.outcome for face in self._standing]
        self.run = provenance.of_one_run(self.place.dataset, self.predicted, stamps, outcomes, self._runs)
        ours = self.run.run if self.run else None
        # Of another run of the prefix; a face that is in no answer's box carries no stamp.
        self._at = [k for k, f in enumerate(self._standing) if f is not None and f.run in (ours, None)]
        self.faces = [face for k in self._at if (face := self._standing[k]) is not None]
        self._by_id = {face.id: face for face in self.faces}

    def split(self, threshold: float) -> Split:
        """How many faces an approval from this confidence on would take.

        Raises :class:`~facevlm.errors.InputError` for a threshold that is no share.
        """
        waiting = [face for face in self.faces if face.waits]
        sure = len(self._sure(threshold))
        scored = sum(face.said is not None and face.confidence is not None for face in waiting)
        return Split(threshold, sure, scored - sure, len(waiting) - scored, len(self.faces) - len(waiting))

    def _sure(self, threshold: float) -> list[Standing]:
        if not (isinstance(threshold, (int, float)) and 0 <= threshold <= 1):
            raise InputError(f"Got threshold={threshold!r}, expected a share from 0 to 1, such as 0.9.")
        return [
            face
            for face in self.faces
            if face.decision is None
            and face.said is not None
            and face.confidence is not None
            and face.confidence >= threshold - ROUNDING
        ]

    @verb
    def approve(self, threshold: float) -> Decided:
        """Approve all waiting predictions of at least this confidence at once; each record says that nobody looked.

        A face that was skipped by somebody is not among them. Called again, or after it was stopped, it goes on with
        what is left.
        """
        sure = self._sure(threshold)
        return self._write([(face, APPROVED, face.said) for face in sure], dict.fromkeys(sure, BULK), float(threshold))

    @verb
    def queue(
        self,
        order: str = UNSURE,
        *,
        label: str | None = None,
        groups: str | None = None,
        half_width: float = sampling.HALF_WIDTH,
        seed: int = 0,
        limit: int | None = None,
    ) -> list[Standing]:
        """Faces to decide about next; those that were skipped come last.

        Args:
            order: ``unsure``, the least sure first; ``groups``, unsure faces of those groups first that lack most of
                what they need; ``random``, drawn at random, of each group as many as it needs. Only the latter is a
                sample by which a model can be judged: a face of it that was decided about otherwise is asked again.
            label: only faces about which this was said.
            groups: a field to group by, ``tag:NAME`` for a tag; needed for ``groups``.
            half_width: half the width that the 95 % interval of a group's accuracy is to have, as a share.
            seed: of the random draw.
            limit: at most so many.

        Raises:
            FacevlmError: for an unknown order or label, or a field that makes no groups.
        """
        lookup("order", ORDERS, order)
        check_sizes(limit=limit)
        if label is not None:
            self._check_label(label)
        if order == GROUPS and groups is None:
            raise InputError("Got no groups, expected a field to group by, such as groups='race'.")
        found = [f for f in self._ordered(order, groups, half_width, seed) if label is None or f.said == label]
        found = sorted(found, key=lambda face: face.decision == SKIPPED)[:limit]
        self._chosen.update({face.id: order for face in found})
        return found

    def _ordered(self, order: str, groups: str | None, half_width: float, seed: int) -> list[Standing]:
        named = self._groups(groups)
        needed = _needed(named, half_width)
        if order == RANDOM:
            drawn = sampling.at_random([face.id for face in self.faces], named, needed, seed)
            return [f for f in map(self.faces.__getitem__, drawn) if f.waits or f.chosen != RANDOM]
        waiting = [k for k, face in enumerate(self.faces) if face.waits]
        sure = [face.confidence if face.said is not None else None for face in self.faces]
        if order == UNSURE:
            return [self.faces[k] for k in sampling.least_sure(waiting, sure)]
        seen = Counter(group for group, face in zip(named, self.faces, strict=True) if group and face.looked_at)
        return [self.faces[k] for k in sampling.of_small_groups(waiting, sure, named, seen, needed)]

    def group_fields(self) -> list[str]:
        """Fields by whose values faces can be grouped."""
        return evaluations.group_fields(self._rows)

    def _groups(self, field: str | None) -> list[str | None]:
        """The group of every face; one of all without a field."""
        if field is None:
            return [EVERYBODY] * len(self.faces)
        # Read anew and put together by ids: samples may have been deleted since the faces were read.
        rows = self._opened()
        values = dict(zip(reviews.face_ids(rows), evaluations.group_values(rows, field), strict=True))
        return [values.get(face.id) for face in self.faces]

    def _opened(self) -> PictureRows:
        """The target as it stands now; raises where it, or its predictions, were deleted."""
        targets.opened(self.target)
        predictions.require(self.target, self.predicted)
        return rows_of(self.target, [self.predicted], self._faces)

    @verb
    def decide(
        self,
        decisions: Mapping[str, str],
        *,
        chosen: str | None = None,
        seen: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> Decided:
        """Write what was decided about faces: their ids -> ``approve``, a label, ``unclear``, ``discard`` or ``skip``.

        The latter three leave the face without a label: it is no ground truth.

        Args:
            decisions: by id of the picture, or of the Detection where faces are reviewed.
            chosen: how these faces came to be decided about: an order of the queue, or ``picked``; by default the
                order of the queue that gave them.
            seen: what was seen of a face, its :attr:`~facevlm.store.reviews.Standing.token`, where it was shown
                elsewhere than by this object.
            overwrite: decide also about faces that somebody else decided about after they were seen.

        Raises:
            FacevlmError: for an id or a decision that is none, and for approving a face without an answer.
        """
        if chosen is not None:
            lookup("way to choose", dict.fromkeys((*ORDERS, PICKED)), chosen)
        made = [self._decision(face_id, word) for face_id, word in decisions.items()]
        if overwrite:
            self._read_again()
            # One whose picture was deleted is told as such below.
            made = [(self._by_id.get(face.id, face), decision, label) for face, decision, label in made]
        changed = [] if overwrite else [f for f, *_ in made if (seen or {}).get(f.id, f.token) != f.token]
        kept = [Kept(face.id, self._meanwhile(face)) for face in changed]
        stale = {face.id for face in changed}
        standing = [one for one in made if one[0].id not in stale]
        by_order = {f: chosen or self._chosen.get(f.id, PICKED) for f, *_ in standing}
        done = self._write(standing, by_order, None)
        return dataclasses.replace(done, kept=(*kept, *done.kept))

    def _read_again(self) -> None:
        self._rows = self._opened()
        self._read()

    def _decision(self, face_id: str, word: str) -> tuple[Standing, str, str | None]:
        if face_id not in self._by_id:
            raise InputError(
                f"Got the face '{face_id}', expected one that '{self.predicted}' has an answer or an outcome about."
            )
        face = self._by_id[face_id]
        if word in self.attribute.labels:
            return face, APPROVED if word == face.said else CHANGED, word
        decision = WORDS.get(word)
        if decision is None:
            known = ", ".join([*WORDS, *self.attribute.labels])
            raise InputError(f"Got the decision '{word}', expected one of: {known}.")
        if decision == APPROVED and face.said is None:
            raise InputError(
                f"Face '{face_id}' has no answer to approve ({face.outcome}). Give it a label, or discard it."
            )
        return face, decision, face.said if decision == APPROVED else None

    def _check_label(self, label: str) -> None:
        if label not in self.attribute.labels:
            raise InputError(f"Got the label '{label}', expected one of {', '.join(self.attribute.labels)}.")

    def _write(
        self,
        made: Sequence[tuple[Standing, str, str | None]],
        chosen: Mapping[Standing, str],
        threshold: float | None,
    ) -> Decided:
        act, at = uuid.uuid4().hex[:12], reviews.now()
        if not made:
            return Decided(act, self.field, 0)
        reviews.declare(self.place, self.attribute)
        decisions = [
            Decision(face, label, self._parts(face, decision, chosen[face], at, threshold))
            for face, decision, label in made
        ]
        gone = reviews.write(self.place, decisions, act)
        if RANDOM in chosen.values():
            self._save_sample()
        return self._done(act, [face for face, *_ in made], gone)

    def _parts(
        self, face: Standing, decision: str, chosen: str, at: datetime, threshold: float | None
    ) -> dict[str, Any]:
        return {
            DECISION: decision,
            REVIEWED_BY: self.by,
            REVIEWED_AT: at,
            SHOWN: face.said,
            SHOWN_CONFIDENCE: face.confidence,
            SHOWN_RUN: face.run,
            CHOSEN: chosen,
            THRESHOLD: threshold,
        }

    def _done(self, act: str, faces: Sequence[Standing], gone: set[str]) -> Decided:
        """What became of an act, as the database holds it now."""
        records = reviews.standing_of(self.place, faces)
        kept = [
            Kept(face.id, _left(records[face.id]))
            for face in faces
            if face.id in records and records[face.id].get(ACT) != act
        ]
        lost = len({face.id for face in faces if face.id not in records} | (gone & {face.id for face in faces}))
        self._read_again()
        return Decided(act, self.field, len(faces) - len(kept) - lost, tuple(kept), tuple(told(lost)))

    def _meanwhile(self, face: Standing) -> str:
        if face.act is None:
            return "the model's answer, or the label, is another by now"
        return _left({REVIEWED_BY: face.by, REVIEWED_AT: face.at, DECISION: face.decision})

    def _save_sample(self) -> None:
        name = f"{self.place.name}_{RANDOM}"
        description = f"Faces drawn at random for the review of {self.attribute.name}"
        views.keep(self.place.dataset, name, self.sample(), description)

    @verb
    def sample(self) -> targets.Collection:
        """A view of the faces that were decided about because they were drawn at random: evaluate on these.

        Raises :class:`~facevlm.errors.TargetError` for a dataset that was deleted.
        """
        targets.opened(self.target)
        return reviews.drawn_view(self.place, self.target)

    @verb
    def undo(self, act: str | None = None) -> Decided:
        """Bring back what stood there before an act, by default the last one of ``by``.

        Faces that somebody decided about since stay as they are. Raises :class:`~facevlm.errors.InputError` where there
        is no such act.
        """
        self._read_again()
        own = [face for face in self.faces if face.act is not None and face.by == self.by and face.decision != EDITED]
        if act is None and own:
            act = max(own, key=lambda face: (face.at or datetime.min, str(face.act))).act
        undone = [face for face in self.faces if face.act == act and act is not None]
        if not undone:
            who = f" by {self.by}" if self.by else ""
            raise InputError(f"There is nothing to undo in '{self.field}'{who}.")
        edited = [Kept(face.id, "its label was edited since") for face in undone if face.decision == EDITED]
        faces = [face for face in undone if face.decision != EDITED]
        gone = reviews.undo(self.place, faces)
        self._read_again()
        still = [face.id for face in faces if self._by_id.get(face.id, face).act == act]
        kept = [*edited, *(Kept(i, "somebody changed it meanwhile") for i in still)]
        return Decided(str(act), self.field, len(undone) - len(kept), tuple(kept), tuple(told(len(gone))))

    @verb
    def progress(self, groups: str | None = None, *, half_width: float = sampling.HALF_WIDTH) -> list[ReviewProgress]:
        """How far the review is, by the values of a field, the group that lacks most first; one row of all without."""
        named = self._groups(groups)
        needed = _needed(named, half_width)
        table = [
            self._row(group, [f for f, g in zip(self.faces, named, strict=True) if g == group], n)
            for group, n in needed.items()
        ]
        return sorted(table, key=lambda row: (-row.lacking / max(1, row.needed), row.n, row.group))

    def _row(self, group: str, faces: Sequence[Standing], needed: int) -> ReviewProgress:
        counts = Counter(face.decision for face in faces)
        return ReviewProgress(
            group=group,
            n=len(faces),
            seen=sum(face.looked_at for face in faces),
            bulk=sum(face.chosen == BULK and face.decision == APPROVED for face in faces),
            labelled=counts[LABELLED],
            unclear=counts[UNCLEAR],
            discarded=counts[DISCARDED],
            skipped=counts[SKIPPED],
            left=counts[None],
            needed=needed,
        )

    @verb
    def view(self, faces: Iterable[Standing]) -> targets.Collection:
        """A view of just these faces in their order: pictures, or patches of their boxes; without those deleted since.

        Raises :class:`~facevlm.errors.TargetError` for a dataset that was deleted.
        """
        targets.opened(self.target)
        return reviews.view_of(self.place, self.target, [face.id for face in faces])

    @verb
    def picture(self, face: Standing, side_px: int = 320) -> Image.Image:
        """The face as it is to be judged, RGB: the picture, or what is around the box; its longer side is at most
        ``side_px`` pixels.

        Raises :class:`~facevlm.errors.ImageError` for a picture that cannot be read, or is no longer there.
        """
        where = reviews.whereabouts(self.place, face)
        if where is None:
            raise ImageError("The face was deleted from the dataset meanwhile.")
        path, box = where
        whole = images.load(path)
        return images.shrunk(whole if box is None else crops.cut(whole, box, Crop(margin=0.5)), side_px)

    def to_dict(self, groups: str | None = None, *, half_width: float = sampling.HALF_WIDTH) -> dict[str, Any]:
        """Plain JSON-able data: field, run, and the progress, of all or by groups."""
        run = None if self.run is None else {"run": self.run.run, "model": self.run.model, "n": self.run.n}
        progress = [asdict(row) | {"lacking": row.lacking} for row in self.progress(groups, half_width=half_width)]
        return {"field": self.field, "predictions": self.predicted, "run": run, "progress": progress}


def _needed(groups: Sequence[str | None], half_width: float) -> dict[str, int]:
    """Faces that should be seen of every group: all of one that has no more."""
    enough = sampling.faces_needed(half_width)
    return {group: min(n, enough) for group, n in Counter(groups).items() if group is not None}


def warning_of(field: str, counts: Mapping[tuple[str, str | None, str | None], int], run: str | None) -> str | None:
    """What figures against reviewed labels are not, in a sentence; None where all were drawn at random.

    ``counts`` are those of :func:`facevlm.store.reviews.reviews_in`, ``run`` is the stamp of the judged answers.
    """
    total, by_order = sum(counts.values()), Counter[str | None]()
    for (_, chosen, _), n in counts.items():
        by_order[chosen] += n
    bulk = by_order[BULK]
    own = sum(n for (_, chosen, shown), n in counts.items() if chosen == BULK and shown == run and run is not None)
    picked = sum(n for chosen, n in by_order.items() if chosen in (UNSURE, GROUPS, PICKED))
    parts = []
    if bulk:
        agree = f"; {own:,} of them repeat the answers that are judged here, and agree by construction" if own else ""
        parts.append(f"{bulk:,} were approved by a threshold alone, nobody looked at them{agree}")
    if picked:
        parts.append(f"{picked:,} were chosen for the model's own doubt, or by hand")
    if not parts:
        return None
    drawn = by_order[RANDOM]
    remedy = (
        f"{drawn:,} were drawn at random: evaluate the view '{field.rpartition('.')[2]}_{RANDOM}' for figures of these."
        if drawn
        else "None was drawn at random: review some in the order 'random', and evaluate these alone."
    )
    return (
        f"Of the {total:,} labels of '{field}', {'; '.join(parts)}. Figures over all of them are not the model's "
        f"accuracy on this dataset. {remedy}"
    )


def _left(record: Mapping[str, Any]) -> str:
    """That somebody decided about a face meanwhile, in words."""
    if not record.get(DECISION):
        return "what stood there was changed or undone meanwhile"
    who, at = record.get(REVIEWED_BY) or "somebody", record.get(REVIEWED_AT)
    when = f" at {at:%Y-%m-%d %H:%M:%S} UTC" if isinstance(at, datetime) else ""
    return f"{who} decided '{record[DECISION]}'{when}; overwrite=True decides all the same"

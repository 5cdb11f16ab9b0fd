"""Whom a phrase fits: faces in whole pictures, picked by a model that sees these. Nothing is stored."""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from PIL.Image import Image

from facevlm.backends import Backend, Briefing, Describing, Shot
from facevlm.detection import Looked
from facevlm.engines.tally import Progress, Tally
from facevlm.errors import ImageError
from facevlm.faces import images
from facevlm.faces.assign import assign
from facevlm.faces.images import BOX
from facevlm.faces.matching import match_faces
from facevlm.faces.people import PeoplePicture
from facevlm.tasks import describe as describe_task
from facevlm.tasks._run import Run
from facevlm.types import Inquiry

EVIDENCE = {"evidence": "in a few words, what shows that the words fit?"}
FACE_OF = "face of the {who}"


@runtime_checkable
class Grounding(Protocol):
    """Answers with the boxes of what a phrase names."""

    def look_for(self, images: Sequence[Image], phrase: str) -> list[Looked]:
        """What came of every picture."""


@dataclass
class Fitting:
    """Ids of faces whom the phrase fits, and reasons for which faces could not be decided, by id."""

    fit: set[str] = field(default_factory=set)
    undecided: dict[str, str] = field(default_factory=dict)

    def fail(self, picture: PeoplePicture, reason: str) -> None:
        """Decide nothing about a picture's faces."""
        for face in picture.faces or ():
            if face.label_id:
                self.fit.discard(face.label_id)
                self.undecided[face.label_id] = reason


class LookRun(Run[Fitting]):
    """A run over pictures with known faces; ``fitting`` fills as it goes on. Nothing is stored."""

    prefix = "looking"
    what = "pictures"

    def __init__(self, pictures: Sequence[PeoplePicture], who: str) -> None:
        self._pictures, self._who = pictures, who
        self.total = len(pictures)
        self.fitting = Fitting()
        for picture in pictures:
            self.fitting.fail(picture, "the model was not asked")

    def result(self) -> Fitting:
        return self.fitting

    def _decide(self, picture: PeoplePicture, fit: Sequence[str]) -> None:
        for face in picture.faces or ():
            self.fitting.undecided.pop(str(face.label_id), None)
        self.fitting.fit.update(fit)


def brief(counts: Sequence[int], who: str, backend: Backend) -> Briefing:
    """Where pictures with so many faces each go, and at what cost, for a model to say whom a phrase fits."""
    return describe_task.describing(backend).briefing_of(counts, _inquiry(who))


def _inquiry(who: str) -> Inquiry:
    return Inquiry((), EVIDENCE, who, "numbers")


class ByNumber(LookRun):
    """A model behind an API says which of the numbered faces a phrase fits."""

    def __init__(self, pictures: Sequence[PeoplePicture], who: str, backend: Backend) -> None:
        super().__init__(pictures, who)
        self.backend = backend
        self._describing: Describing = describe_task.describing(backend)
        self._inquiry = _inquiry(who)
        self.briefing = brief([len(p.faces or ()) for p in pictures], who, backend)

    def work(self) -> Generator[Progress, None, None]:
        done, side = 0, self.backend.info.max_side
        shots = (
            Shot(functools.partial(describe_task.shown, p, "numbers", side), len(p.faces or ())) for p in self._pictures
        )
        with closing(self._describing.scenes(shots, self._inquiry)) as answered:
            for ready in answered:
                for number, scene in ready:
                    picture = self._pictures[number]
                    described = assign(picture, scene, self._inquiry)
                    if described.outcome == "ok":
                        self._decide(picture, [str(one.face.label_id) for one in described.people])
                    else:
                        self.fitting.fail(picture, f"the model's answer is {described.outcome}: {described.reason}")
                done += len(ready)
                yield Progress(done, self.total, Tally())


class ByPlace(LookRun):
    """A model that answers with places boxes the faces whom a phrase fits; they are met with the known ones."""

    def __init__(self, pictures: Sequence[PeoplePicture], who: str, grounding: Grounding) -> None:
        super().__init__(pictures, who)
        self._grounding, self._phrase = grounding, FACE_OF.format(who=who)

    def work(self) -> Generator[Progress, None, None]:
        for number, picture in enumerate(self._pictures, 1):
            try:
                [seen] = self._grounding.look_for([images.load(picture.filepath)], self._phrase)
            except ImageError as error:
                self.fitting.fail(picture, str(error))
            else:
                self._read(picture, seen)
            yield Progress(number, self.total, Tally())

    def _read(self, picture: PeoplePicture, seen: Looked) -> None:
        if seen.outcome not in ("ok", "no_face"):
            self.fitting.fail(picture, f"the model's answer is {seen.outcome}: {seen.reason}")
            return
        faces = picture.faces or ()
        boxes = [box.box_xywh_rel for box in seen.faces]
        known: list[BOX] = [face.box_xywh_rel or (0.0, 0.0, 0.0, 0.0) for face in faces]
        at = match_faces([str(face.label_id) for face in faces], known, [None] * len(boxes), boxes)
        met = {str(face.label_id) for face, k in zip(faces, at, strict=True) if k >= 0}
        strangers = len(boxes) - len(met)
        self._decide(picture, sorted(met))
        if strangers or (seen.outcome == "ok" and seen.reason):
            # What meets no known face, or was not readable, may have meant any of the others.
            why = f"{strangers} of the model's boxes meet no known face" if strangers else str(seen.reason)
            self.fitting.undecided.update({str(f.label_id): why for f in faces if str(f.label_id) not in met})

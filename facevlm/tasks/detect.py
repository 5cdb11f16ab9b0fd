"""Find the faces of pictures and store their boxes."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass

from PIL.Image import Image

from facevlm.backends import BackendInfo
from facevlm.detection import AUTO, FIELD, Detector, DetectorInfo, Looked, Search, Searched, look, open_detector
from facevlm.engines.reading import Cutter, Loaded, Loader, batches
from facevlm.engines.tally import Progress, Tally
from facevlm.engines.writing import ChunkWriter
from facevlm.errors import ImageError
from facevlm.faces import quality
from facevlm.store import detections, runs, targets
from facevlm.store.asking import PictureSubjects
from facevlm.tasks._run import Run, carry_out
from facevlm.types import Face, digest

BATCH, CHUNK = 8, 64
WHOLE = BackendInfo("", {}, "", "", "")
"""Pictures are read as they are."""


@dataclass(frozen=True)
class DetectResult:
    """What a run did: ``faces`` found in ``asked`` pictures, ``skipped`` ones had been searched before.

    ``outcomes`` counts the pictures that were searched: ``ok``, ``no_face``, ``unparsed``, ``failed``;
    ``reasons`` why there is no answer.
    """

    field: str
    run_key: str
    detector: DetectorInfo
    asked: int
    skipped: int
    faces: int
    seconds: float
    outcomes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    reasons: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """What a user should read about the detector."""
        return list(self.detector.notes)


class DetectRun(Run[DetectResult]):
    """A checked run that has not begun. See :func:`detect` for the arguments.

    Raises :class:`~facevlm.errors.FacevlmError` while nothing is written yet.
    """

    def __init__(
        self,
        target: targets.Collection,
        field: str = FIELD,
        detector: str | Detector = AUTO,
        *,
        search: Search | None = None,
        quality: bool = False,
        overwrite: bool = False,
    ) -> None:
        targets.check(target)
        detections.check_field(target._dataset, field)
        self.prefix, self._quality = field, quality
        self.detector = open_detector(detector, search) if isinstance(detector, str) else detector
        self._dataset, self._target = target._dataset, target
        self.run_key = f"facevlm_detect_{field}"
        info = self.detector.info
        self._stamp = runs.stamp(self.run_key, digest([info.name, info.identity, quality]))
        self._pictures = PictureSubjects(target).faces
        every = self._pictures
        self._pending = every if overwrite else detections.pending(target, every, field, self._stamp)
        self.total = len(self._pending)
        self._outcomes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._faces, self._seconds = 0, 0.0

    def work(self) -> Generator[Progress, None, None]:
        write = detections.DetectionWriter(self._dataset, self.prefix, self._stamp, quality=self._quality)
        start, cutter = time.perf_counter(), Cutter(WHOLE)
        with ChunkWriter(write, CHUNK) as writer, Loader(self._pending, cutter, BATCH) as loader:
            for batch in batches(loader, BATCH):
                searched = self._search(batch)
                writer.add(searched)
                self._count(searched)
                self._seconds = time.perf_counter() - start
                yield Progress(sum(self._outcomes.values()), self.total, Tally())

    def _search(self, batch: Sequence[Loaded]) -> list[Searched]:
        pictures = [picture for _, picture in batch if not isinstance(picture, ImageError)]
        rows = iter(look(self.detector, pictures))
        return [
            Searched(face, (), "failed", str(picture))
            if isinstance(picture, ImageError)
            else self._judged(face, picture, next(rows))
            for face, picture in batch
        ]

    def _judged(self, face: Face, picture: Image, seen: Looked) -> Searched:
        faces = seen.faces if self._quality else ()
        measured = tuple(quality.measure(picture, f.box_xywh_rel, f.landmarks_xy_rel) for f in faces)
        return Searched(face, seen.faces, seen.outcome, seen.reason, measured)

    def _count(self, searched: Sequence[Searched]) -> None:
        for one in searched:
            self._outcomes[one.outcome] += 1
            self._faces += len(one.faces)
            if one.outcome in ("failed", "unparsed") and one.reason:
                self._reasons[one.reason] += 1

    def result(self) -> DetectResult:
        asked = sum(self._outcomes.values())
        skipped = len(self._pictures) - self.total
        return DetectResult(
            field=self.prefix,
            run_key=self.run_key,
            detector=self.detector.info,
            asked=asked,
            skipped=skipped,
            faces=self._faces,
            seconds=self._seconds,
            outcomes=dict(self._outcomes),
            reasons=dict(self._reasons),
        )

    def record(self, status: str) -> None:
        record = {
            "status": status,
            "field": self.prefix,
            "detector": asdict(self.detector.info),
            "quality": self._quality,
            "outcomes": detections.outcome_counts(self._target, self.prefix),
            "faces": self._faces,
            "asked": sum(self._outcomes.values()),
            "seconds": round(self._seconds, 3),
            "view": targets.describe(self._target),
        }
        runs.write(self._dataset, self.run_key, record, detections.METHOD)


def detect(
    target: targets.Collection,
    field: str = FIELD,
    *,
    detector: str | Detector = AUTO,
    min_confidence: float | None = None,
    min_face_px: int | None = None,
    max_faces: int | None = None,
    tiles: str = "auto",
    weights: str | None = None,
    quality: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> DetectResult:
    """Find the faces of every picture and store their boxes as Detections with the label ``face``.

    A picture without a face ends as ``no_face``, one that cannot be read as ``failed``, both told at the field.

    Args:
        target: a FiftyOne dataset or view of pictures.
        field: where the faces go.
        detector: ``auto`` (YuNet if its weights can be had, else Haar), ``yunet``, ``haar``, ``paligemma``,
            ``florence-2`` (both without confidences), or a
            :class:`~facevlm.detection.Detector` of your own.
        min_confidence: faces of at least this confidence; by default the detector's own line (0.8 of YuNet).
        min_face_px: faces whose shorter side has at least so many pixels.
        max_faces: at most so many faces of a picture, the most confident ones.
        tiles: look at large pictures piece by piece, too: ``on``, ``off``, or ``auto`` where there is a crowd,
            or nobody in a very large picture.
        weights: the file with YuNet's weights, by default that of ``FACEVLM_YUNET``, or fetched once; or the
            vision-language model, as ``hf:ID-or-folder``.
        quality: measure every face: size, sharpness, brightness, contrast, and the pose where there are landmarks.
        overwrite: search every picture again; else those that were searched in this way are skipped.
        progress: show a progress bar.

    Raises:
        FacevlmError: before anything is written, saying what was got, what was expected, and what to do.
    """
    search = Search(min_confidence, min_face_px, max_faces, tiles, weights)
    run = DetectRun(target, field, detector, search=search, quality=quality, overwrite=overwrite)
    return carry_out(run, progress=progress, unit="picture")

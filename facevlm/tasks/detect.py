"""Find the faces of pictures and store their boxes."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass

from PIL.Image import Image

from facevlm.arguments import checked
from facevlm.backends import BackendInfo
from facevlm.detection import AUTO, FIELD, Detector, DetectorInfo, Looked, Search, Searched, look, open_detector
from facevlm.engines.reading import Cutter, Loaded, Loader, batches
from facevlm.engines.tally import Progress, Tally
from facevlm.engines.writing import ChunkWriter
from facevlm.errors import FieldError, ImageError
from facevlm.faces import quality
from facevlm.store import detections, runs, targets, updates
from facevlm.store.asking import PictureSubjects
from facevlm.tasks._run import Run, carry_out
from facevlm.tasks._verb import verb
from facevlm.types import Face, digest

BATCH, CHUNK = 8, 64
WHOLE = BackendInfo("", {}, "", "", "")
"""Pictures are read as they are."""


@dataclass(frozen=True)
class DetectResult:
    """What a run did: ``faces`` found in ``asked`` pictures, ``skipped`` ones had been searched before.

    ``outcomes`` counts the pictures that were searched: ``ok``, ``no_face``, ``unparsed``, ``failed``;
    ``reasons`` why there is no answer. Of the boxes in these pictures ``added`` are new, ``replaced`` were found again
    and keep their ids, ``removed`` were not found again, and ``kept`` stayed as they were, such as those that somebody
    drew or changed. ``measured`` boxes that were there got numbers of quality. ``gone`` pictures were deleted from
    the dataset meanwhile.
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
    added: int = 0
    replaced: int = 0
    removed: int = 0
    kept: int = 0
    measured: int = 0
    gone: int = 0
    notes: Sequence[str] = ()

    @property
    def warnings(self) -> list[str]:
        """What a user should read about the detector, and about the boxes that are there."""
        return [*self.detector.notes, *self.notes, *updates.told(self.gone)]

    @property
    def boxes(self) -> str:
        """What became of the boxes, in words."""
        said = {
            "added": self.added,
            "found again, under the ids they had": self.replaced,
            "kept as they were": self.kept,
            "removed": self.removed,
            "measured": self.measured,
        }
        return ", ".join(f"{n:,} {what}" for what, n in said.items() if n or what == "added")


class DetectRun(Run[DetectResult]):
    """A checked run that has not begun. See :func:`detect` for the arguments.

    Raises :class:`~facevlm.errors.FacevlmError` while nothing is written yet.
    """

    @checked
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
        target = targets.check(target)
        detections.check_field(target._dataset, field)
        self.prefix, self._quality, self._overwrite = field, quality, overwrite
        self.detector = open_detector(detector, search) if isinstance(detector, str) else detector
        self._dataset, self._target = target._dataset, target
        self.run_key = f"facevlm_detect_{field}"
        self._stamp, *self._earlier = self._stamps()
        self._pictures = PictureSubjects(target).faces
        every = self._pictures
        self._pending = every if overwrite else detections.pending(target, every, field)
        self._notes = [] if overwrite else self._others(isinstance(detector, str) and detector == AUTO)
        searched = {picture.sample_id for picture in self._pending}
        lacking = detections.unmeasured(target, field) if quality else {}
        self.total = len(searched) + len(lacking.keys() - searched)
        self._outcomes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._boxes: Counter[str] = Counter()
        self._faces, self._measured, self._seconds = 0, 0, 0.0
        self._gone: set[str] = set()

    def _stamps(self) -> list[str]:
        """That of this run; after it those of runs that found the same and measured the faces or not."""
        info = self.detector.info
        return [runs.stamp(self.run_key, digest([info.name, info.identity, measured])) for measured in (False, True)]

    def _others(self, auto: bool) -> list[str]:
        """What to say where all pictures were searched by another detector than the one that ``auto`` stands for now.

        Raises :class:`~facevlm.errors.FieldError` where this run would mix two detectors, or was told to use another.
        """
        known = targets.all_pictures(self._dataset) if self._pending else self._target
        others = detections.stamps(known, self.prefix) - {self._stamp, *self._earlier}
        if not others:
            return []
        own = self.detector.info.name
        by = " and ".join(dict.fromkeys(self._named(stamp) for stamp in sorted(others)))
        now = f"{own}, with other weights or options" if by == own else own
        if auto and not self._pending:
            return [f"The faces in '{self.prefix}' were found by {by}; 'auto' stands for {now} by now."]
        raise FieldError(
            f"Field '{self.prefix}' holds faces that were found by {by}, and this run would search by {now}. Nothing "
            "was changed. Choose another field, search in the same way, or overwrite: boxes that somebody drew or "
            "changed stay then, too."
        )

    def _named(self, stamp: str) -> str:
        record = runs.read(self._dataset, self.run_key)
        last = (record.get("detector") or {}).get("name")
        return str((record.get("detectors") or {}).get(stamp) or last or "another detector")

    def work(self) -> Generator[Progress, None, None]:
        write = detections.DetectionWriter(
            self._dataset, self.prefix, self._stamp, quality=self._quality, replace=self._overwrite
        )
        self._boxes, self._gone, start = write.counts, write.gone, time.perf_counter()
        with ChunkWriter(write, CHUNK) as writer:
            for batch in _read(self._pending):
                searched = self._search(batch)
                writer.add(searched)
                self._count(searched)
                self._seconds = time.perf_counter() - start
                yield Progress(sum(self._outcomes.values()), self.total, Tally())
        if self._quality:
            yield from self._measure(write, start)

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

    def _measure(self, write: detections.DetectionWriter, start: float) -> Generator[Progress, None, None]:
        """Numbers of the boxes that have none: of earlier searches, and those that somebody drew."""
        lacking = detections.unmeasured(self._target, self.prefix)
        done = sum(self._outcomes.values())
        for batch in _read([picture for picture in self._pictures if picture.sample_id in lacking]):
            write.measured({face.sample_id: self._numbers(picture, lacking[face.sample_id]) for face, picture in batch})
            done += len(batch)
            self._seconds = time.perf_counter() - start
            yield Progress(min(done, self.total), self.total, Tally())

    def _numbers(self, picture: Image | ImageError, boxes: Sequence[detections.KnownBox]) -> dict[str, quality.Quality]:
        numbers = {}
        for box in boxes:
            try:
                if isinstance(picture, ImageError):
                    raise picture
                numbers[box.label_id] = quality.measure(picture, box.box_xywh_rel, box.landmarks_xy_rel)
            except ImageError as error:
                self._reasons[str(error)] += 1
        self._measured += len(numbers)
        return numbers

    def result(self) -> DetectResult:
        return DetectResult(
            field=self.prefix,
            run_key=self.run_key,
            detector=self.detector.info,
            asked=sum(self._outcomes.values()),
            skipped=len(self._pictures) - len(self._pending),
            faces=self._faces,
            seconds=self._seconds,
            outcomes=dict(self._outcomes),
            reasons=dict(self._reasons),
            measured=self._measured,
            notes=self._notes,
            **self._boxes,
            gone=len(self._gone),
        )

    def is_record_due(self) -> bool:
        record = runs.read(self._dataset, self.run_key)
        unnamed = {self._stamp, *self._earlier}.isdisjoint(record.get("detectors") or ())
        return record.get("status") in ("running", "stopped") or (unnamed and self._notes == [])

    def record(self, status: str) -> None:
        updates.require_dataset(self._dataset)
        info = self.detector.info
        before = runs.read(self._dataset, self.run_key).get("detectors") or {}
        record = {
            "status": status,
            "error": self.error,
            "field": self.prefix,
            "detector": asdict(info),
            "detectors": {**before, self._stamp: info.name},
            "quality": self._quality,
            "outcomes": detections.outcome_counts(self._target, self.prefix),
            "faces": self._faces,
            "boxes": dict(self._boxes),
            "asked": sum(self._outcomes.values()),
            "seconds": round(self._seconds, 3),
            "view": targets.describe(self._target),
        }
        runs.write(self._dataset, self.run_key, record, detections.METHOD)


def _read(pictures: Sequence[Face]) -> Generator[list[Loaded], None, None]:
    """Whole pictures, a batch at a time."""
    with Loader(pictures, Cutter(WHOLE), BATCH) as loader:
        yield from batches(loader, BATCH)


@verb
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
            Boxes that are there get the numbers, too, and stay as they are.
        overwrite: search every picture again; else those that were searched are skipped, and a search in another way
            is refused. A box that is found again keeps its id, on which answers hang; one that is not is removed. Boxes
            that somebody drew, moved, tagged or labelled stay.
        progress: show a progress bar.

    Raises:
        FacevlmError: before anything is written, saying what was got, what was expected, and what to do.
    """
    search = Search(min_confidence, min_face_px, max_faces, tiles, weights)
    run = DetectRun(target, field, detector, search=search, quality=quality, overwrite=overwrite)
    return carry_out(run, progress=progress, unit="picture")

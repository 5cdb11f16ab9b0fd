"""Pictures read and faces cut out of them by threads, ahead of the model that is shown them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from PIL.Image import Image, Resampling

from facevlm.backends import BackendInfo, cores
from facevlm.errors import ImageError, SmallFaceError
from facevlm.faces import crops, images
from facevlm.faces.crops import Crop
from facevlm.types import Face

Item = TypeVar("Item")
AHEAD = 3
AT_ONCE = 64
"""Most faces that are cut out of one decoded picture before the next is begun: a crowd must not fill the memory."""
Loaded = tuple[Face, "Image | ImageError"]


@dataclass(frozen=True)
class Framing:
    """How faces are read: cut out as ``crop`` says, those below ``min_face_px`` left out, by so many ``threads``."""

    crop: Crop | None = None
    min_face_px: int | None = None
    threads: int | None = None


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


class Loader:
    """Pictures in order, decoded by threads a few batches ahead; an unreadable one comes as its error."""

    def __init__(self, faces: Sequence[Face], cutter: Cutter, batch_size: int, threads: int | None = None) -> None:
        self._faces, self._ahead, self._cutter = faces, AHEAD * batch_size, cutter
        self._pool = ThreadPoolExecutor(cores.reading(threads), "facevlm-load", initializer=cores.step_back)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Loaded]:
        waiting: deque[tuple[int, Future[list[Loaded]]]] = deque()
        queued = 0
        for together in by_picture(self._faces):
            waiting.append((len(together), self._pool.submit(self._cutter, together)))
            queued += len(together)
            while queued >= self._ahead:
                count, oldest = waiting.popleft()
                queued -= count
                yield from oldest.result()
        for _, rest in waiting:
            yield from rest.result()


def by_picture(faces: Sequence[Face]) -> Iterator[list[Face]]:
    """Faces that stand together and are of one picture, ``AT_ONCE`` at most."""
    for _, group in itertools.groupby(faces, key=lambda face: (face.filepath, face.box_xywh_rel is None)):
        while together := list(itertools.islice(group, AT_ONCE)):
            yield together


class Cutter:
    """The faces of one picture, cut out of it as a model takes them; the picture is decoded once."""

    def __init__(self, info: BackendInfo, crop: Crop | None = None, min_face_px: int | None = None) -> None:
        spec = info.picture
        self._size = (spec.width, spec.height) if spec else None
        self._resample = spec.resample if spec else Resampling.BICUBIC
        self._max_side, self._crop, self._least = info.max_side, crop or Crop(), min_face_px

    def __call__(self, faces: Sequence[Face]) -> list[Loaded]:
        try:
            if faces[0].box_xywh_rel is None:
                size, resample, side = self._size, self._resample, self._max_side
                whole = images.load(faces[0].filepath, size, resample, max_side=side)
                return [(face, whole) for face in faces]
            picture = images.load(faces[0].filepath)
        except ImageError as error:
            return [(face, error) for face in faces]
        return [self._cut(picture, face, face.box_xywh_rel) for face in faces if face.box_xywh_rel is not None]

    def _cut(self, picture: Image, face: Face, box: images.BOX) -> Loaded:
        try:
            face = replace(face, side_px=images.side_px(box, picture.width, picture.height))
            self._check_size(face)
            cut = crops.cut(picture, box, self._crop, face.eyes_xy_rel, self._size, self._resample)
            return face, cut if self._max_side is None else images.shrunk(cut, self._max_side)
        except ImageError as error:
            return face, error

    def _check_size(self, face: Face) -> None:
        if self._least is not None and face.side_px is not None and face.side_px < self._least:
            raise SmallFaceError(f"small: the face has less than min_face_px={self._least} pixels")

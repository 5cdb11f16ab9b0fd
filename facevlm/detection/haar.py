"""The cascade of Haar features that comes with OpenCV (Viola and Jones 2001; Lienhart and Maydt 2002).

Works without any download. It finds upright frontal faces, no landmarks, and its scores are no probabilities.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL.Image import Image

from facevlm.detection import DetectorInfo, FoundFace, Search
from facevlm.detection.scan import Pixels, _Spotted, scan
from facevlm.errors import ModelError
from facevlm.types import digest

FILE = "haarcascade_frontalface_alt2.xml"
SIDE, STEP, NEIGHBOURS, LEAST = 1280, 1.1, 4, 20
"""Longer side at which pictures are searched, factor between sizes, votes for a face, least face; sizes in pixels."""
NOTE = "Haar cascade: frontal, upright faces; it misses more than YuNet, and gives neither confidence nor landmarks."


class Haar:
    """Finds frontal faces; threads share the work, each with a cascade of its own."""

    def __init__(self, search: Search, notes: tuple[str, ...] = ()) -> None:
        self._search, self._own = search, threading.local()
        settings = [FILE, SIDE, STEP, NEIGHBOURS, LEAST, search.min_face_px, search.max_faces, search.tiles]
        versions = {"opencv": cv2.__version__}
        self.info = DetectorInfo("haar", digest(settings), "Intel (OpenCV)", (*notes, NOTE), versions)
        self._cascade()

    def detect(self, images: Sequence[Image]) -> list[list[FoundFace]]:
        """The faces of every picture, those with most votes first."""
        with ThreadPoolExecutor(min(len(images), os.cpu_count() or 1) or 1) as pool:
            return list(pool.map(lambda picture: scan(picture, self._find, SIDE, self._search, scored=False), images))

    def _find(self, pixels: Pixels) -> _Spotted:
        grey = cv2.equalizeHist(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
        boxes, _, levels = self._cascade().detectMultiScale3(
            grey, STEP, NEIGHBOURS, minSize=(LEAST, LEAST), outputRejectLevels=True
        )
        table = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        return _Spotted(table, np.asarray(levels, dtype=np.float64).reshape(-1))

    def _cascade(self) -> cv2.CascadeClassifier:
        if not hasattr(self._own, "cascade"):
            opened = getattr(cv2, "CascadeClassifier", None)
            if opened is None:
                raise ModelError(
                    f"OpenCV {cv2.__version__} has no cascades: pip install 'opencv-python-headless<5', or use YuNet."
                )
            self._own.cascade = opened(str(Path(cv2.__file__).parent / "data" / FILE))
        cascade: cv2.CascadeClassifier = self._own.cascade
        return cascade


def open_haar(search: Search, notes: tuple[str, ...] = ()) -> Haar:
    """The cascade; a least confidence is left out of account, as it gives none.

    Raises :class:`~facevlm.errors.ModelError` where OpenCV has none.
    """
    if search.min_confidence is not None:
        notes = (*notes, "min_confidence is left out of account: a Haar cascade gives no confidence.")
    return Haar(search, notes)

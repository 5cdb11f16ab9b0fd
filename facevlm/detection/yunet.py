"""YuNet: a small face detector with landmarks, by OpenCV (Wu, Peng and Yu, Machine Intelligence Research 2023)."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from PIL.Image import Image

from facevlm.detection import DetectorInfo, FoundFace, Search, weights
from facevlm.detection.scan import Pixels, _Spotted, scan
from facevlm.types import digest

SIDE = 1280
"""Pixels of the longer side at which pictures are searched."""
LEAST_SIDE = 64
"""Pixels to which shorter sides are filled up: of 32 or fewer, OpenCV 4.14 answers from memory that nobody wrote."""
CONFIDENCE = 0.8
NMS_IOU, MOST = 0.3, 5000


class YuNet:
    """Finds faces with five landmarks; threads share the work, each with a network of its own."""

    def __init__(self, path: str, file_digest: str, search: Search, notes: tuple[str, ...] = ()) -> None:
        self._path, self._search = path, search
        self._confidence = CONFIDENCE if search.min_confidence is None else search.min_confidence
        self._own = threading.local()
        settings = [file_digest, self._confidence, search.min_face_px, search.max_faces, search.tiles]
        settings += [SIDE, LEAST_SIDE]
        versions = {"opencv": cv2.__version__}
        self.info = DetectorInfo("yunet", digest(settings), "MIT (OpenCV Zoo)", notes, versions)

    def detect(self, images: Sequence[Image]) -> list[list[FoundFace]]:
        """The faces of every picture, the most confident first."""
        with ThreadPoolExecutor(min(len(images), os.cpu_count() or 1) or 1) as pool:
            return list(pool.map(lambda picture: scan(picture, self._find, SIDE, self._search), images))

    def _find(self, pixels: Pixels) -> _Spotted:
        network = self._network()
        below, right = (max(0, LEAST_SIDE - side) for side in pixels.shape[:2])
        # Filled up below and at the right, boxes stay where they are.
        filled = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_CONSTANT)
        network.setInputSize((filled.shape[1], filled.shape[0]))
        _, rows = network.detect(cv2.cvtColor(filled, cv2.COLOR_RGB2BGR))
        table = np.zeros((0, 15)) if rows is None else np.asarray(rows, dtype=np.float64)
        return _Spotted(table[:, :4], table[:, 14], table[:, 4:14].reshape(-1, 5, 2))

    def _network(self) -> cv2.FaceDetectorYN:
        if not hasattr(self._own, "network"):
            self._own.network = cv2.FaceDetectorYN.create(self._path, "", (32, 32), self._confidence, NMS_IOU, MOST)
        network: cv2.FaceDetectorYN = self._own.network
        return network


def open_yunet(search: Search, notes: tuple[str, ...] = ()) -> YuNet:
    """YuNet with the weights of a file, of ``FACEVLM_YUNET``, of the cache, or fetched once.

    Raises :class:`~facevlm.errors.ModelError` where they cannot be had.
    """
    path, file_digest = weights.yunet(search.weights)
    return YuNet(str(path), file_digest, search, notes)

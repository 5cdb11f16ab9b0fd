"""YuNet's weights for tests: of ``FACEVLM_YUNET``, or of the shared data; tests that need them skip without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facevlm.detection.weights import YUNET

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "detector" / "yunet_s_640_640.onnx"
WEIGHTS = os.environ.get(YUNET) or str(SHARED)
needs_yunet = pytest.mark.skipif(not Path(WEIGHTS).is_file(), reason=f"no weights of YuNet: set {YUNET}")

"""Pictures of one fixed size as a tensor: resized in threads, shipped as bytes, normalised on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Image, Resampling, fromarray
from torch import Tensor

from facevlm.backends import PictureSpec

ROUNDING = 1e-5


def fixed_size(image_processor: Any) -> PictureSpec | None:
    """The one size a processor brings every picture to, or None where it crops, pads, tiles, or keeps aspect ratios."""
    size = getattr(image_processor, "size", None) or {}
    if not size.get("height") or not size.get("width") or not getattr(image_processor, "do_resize", False):
        return None
    if getattr(image_processor, "do_center_crop", False) or getattr(image_processor, "do_pan_and_scan", False):
        return None
    return PictureSpec(int(size["height"]), int(size["width"]), Resampling(int(image_processor.resample)))


def placed(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; to a GPU from pinned memory, without waiting for the copy."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    # MPS reads from where a tensor lay, which may be gone by then.
    return tensor.to(device, non_blocking=device.type not in ("cpu", "mps"))


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """As :func:`placed`, and floats in the model's type."""
    moved = placed(tensor, device)
    return moved.to(dtype) if moved.is_floating_point() else moved


class Pixels:
    """What an image processor does after resizing, as one multiplication and one subtraction."""

    def __init__(self, image_processor: Any, spec: PictureSpec, dtype: torch.dtype) -> None:
        self.spec, self._dtype, self._processor = spec, dtype, image_processor
        mean, std = torch.tensor(image_processor.image_mean), torch.tensor(image_processor.image_std)
        self._scale = (image_processor.rescale_factor / std)[:, None, None]
        self._shift = (mean / std)[:, None, None]
        self._there: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def fit(self, image: Image) -> Image:
        """The picture at the model's size, resized by the processor's own method."""
        size = (self.spec.width, self.spec.height)
        return image if image.size == size else image.resize(size, self.spec.resample)

    def stack(self, images: Sequence[Image], device: torch.device) -> Tensor:
        """Normalised pictures (batch, 3, height, width) on the device; they travel as bytes."""
        rows = np.stack([np.asarray(self.fit(image)) for image in images])
        raw = placed(torch.from_numpy(rows), device).permute(0, 3, 1, 2).contiguous()
        if device not in self._there:
            self._there[device] = placed(self._scale, device), placed(self._shift, device)
        scale, shift = self._there[device]
        return raw.mul(scale).sub_(shift).to(self._dtype)

    def agree(self) -> bool:
        """Whether this is what the processor itself does, on noise of another size."""
        noise = fromarray(np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8))
        want = self._processor(images=[noise], return_tensors="pt")["pixel_values"]
        got = self.stack([noise], torch.device("cpu")).to(want.dtype)
        tolerance = ROUNDING if self._dtype == torch.float32 else 0.05
        return want.shape == got.shape and bool((want - got).abs().max() <= tolerance)

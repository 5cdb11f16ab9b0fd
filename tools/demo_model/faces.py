"""UTKFace and FER2013 as tensors, split by picture hash, with augmentation on whole batches.

Reads the two archives described in ``../shared/data/README.md``. Nothing read here is written into
the repository: only weights leave these scripts.
"""

from __future__ import annotations

import io
import math
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SIZE = 64
STORED = {"utkface": 80, "fer2013": 48}

GENDER = ("Male", "Female")
RACE5 = ("White", "Black", "Asian", "Indian", "Others")
AGE5 = ("0-9", "10-19", "20-39", "40-59", "More than 60")
EMOTION7 = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")
ATTRIBUTES = {"gender": GENDER, "race5": RACE5, "age5": AGE5, "emotion7": EMOTION7}
AGE_EDGES = (10, 20, 40, 60)
FER_EMOTION = {"angry": "anger"}


@dataclass(frozen=True)
class Faces:
    """Pictures uint8 (n, channels, side, side) and label indices int64 (n, 4); -1 is unlabelled."""

    pictures: Tensor
    labels: Tensor
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def take(self, index: Tensor) -> Faces:
        return Faces(self.pictures[index], self.labels[index], tuple(self.files[i] for i in index.tolist()))


def held_out(sha256: str) -> bool:
    """One picture in ten, by its pixels: the same split on every machine."""
    return int(sha256[:8], 16) % 10 == 0


def _labels_utkface(row: pd.Series) -> list[int]:
    age = int(np.searchsorted(AGE_EDGES, row["age"], side="right"))
    return [GENDER.index(row["gender"]), RACE5.index(row["race"]), age, -1]


def _labels_fer2013(row: pd.Series) -> list[int]:
    return [-1, -1, -1, EMOTION7.index(FER_EMOTION.get(row["emotion"], row["emotion"]))]


def usable(name: str, table: pd.DataFrame) -> pd.DataFrame:
    duplicate = "dup_index" if name == "utkface" else "dup_of_train"
    return table[(table[duplicate] == 0) & (table["label_conflict"] == 0)]


def read(name: str, *, side: int | None = None) -> dict[str, Faces]:
    """The usable pictures of ``utkface`` or ``fer2013`` as {"train": Faces, "held_out": Faces}."""
    side = side or STORED[name]
    mode = "RGB" if name == "utkface" else "L"
    to_labels = _labels_utkface if name == "utkface" else _labels_fer2013
    blobs: dict[str, bytes] = {}
    with tarfile.open(SHARED / f"{name}.tar") as archive:
        for member in archive:
            handle = archive.extractfile(member) if member.isfile() else None
            if handle is not None:
                blobs[member.name.split("/", 1)[-1] if "/" in member.name else member.name] = handle.read()
    import pandas as pd

    table = usable(name, pd.read_csv(io.BytesIO(blobs["labels.csv"])))
    parts: dict[str, list[tuple[np.ndarray, list[int], str]]] = {"train": [], "held_out": []}
    for _, row in table.iterrows():
        picture = Image.open(io.BytesIO(blobs[row["file"]])).convert(mode)
        if picture.size != (side, side):
            picture = picture.resize((side, side), Image.Resampling.BICUBIC)
        part = "held_out" if held_out(row["pixel_sha256"]) else "train"
        parts[part].append((np.asarray(picture), to_labels(row), row["file"]))
    return {part: _stack(rows) for part, rows in parts.items()}


def _stack(rows: list[tuple[np.ndarray, list[int], str]]) -> Faces:
    pictures = torch.from_numpy(np.stack([r[0] for r in rows]))
    pictures = pictures[:, None] if pictures.dim() == 3 else pictures.permute(0, 3, 1, 2)
    return Faces(pictures.contiguous(), torch.tensor([r[1] for r in rows]), tuple(r[2] for r in rows))


def plain(pictures: Tensor) -> Tensor:
    """Float pictures (n, 3, 64, 64) in [-1, 1], only resized."""
    x = pictures.float()
    if x.shape[-1] != SIZE:
        x = F.interpolate(x, (SIZE, SIZE), mode="bicubic", antialias=True, align_corners=False)
    return x.clamp(0, 255).expand(-1, 3, -1, -1) / 127.5 - 1


def augment(pictures: Tensor, generator: torch.Generator, *, strength: float = 1.0) -> Tensor:
    """Random crops, turns, flips, light, colour, blur and erased boxes; (n, 3, 64, 64) in [-1, 1]."""
    n = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator) * (high - low) + low

    def chance(p: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator) < p

    s = strength
    scale, aspect = uniform(1 - 0.22 * s, 1 + 0.12 * s), uniform(-0.08 * s, 0.08 * s)
    angle, flip = uniform(-1, 1) * s * math.radians(14), torch.where(chance(0.5).flatten(), -1.0, 1.0)
    shift = uniform(-0.12 * s, 0.12 * s, 2)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [
            torch.stack([cos * (1 + aspect) * flip, -sin, shift[:, 0]], 1),
            torch.stack([sin * flip, cos * (1 - aspect), shift[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, [n, 3, SIZE, SIZE], align_corners=False)
    x = F.grid_sample(pictures.float() / 255, grid, mode="bilinear", padding_mode="border", align_corners=False).expand(
        -1, 3, -1, -1
    )
    small = F.interpolate(x, (40, 40), mode="bilinear", antialias=True, align_corners=False)
    blurred = F.interpolate(small, (SIZE, SIZE), mode="bilinear", align_corners=False)
    x = torch.where(chance(0.2 * s), blurred, x)
    grey = x.mean(1, keepdim=True)
    x = torch.where(chance(0.2 * s), grey, grey + (x - grey) * uniform(0.6, 1.4, 1, 1, 1))
    x = x * (1 + torch.where(chance(0.3 * s), 1.0, 0.15) * uniform(-0.3, 0.3, 3, 1, 1))
    x = x.clamp(0, None) ** torch.exp(uniform(-0.45 * s, 0.45 * s, 1, 1, 1))
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * uniform(1 - 0.35 * s, 1 + 0.35 * s, 1, 1, 1) + mean
    x = x + uniform(-0.12 * s, 0.12 * s, 1, 1, 1)
    return _erase(x.clamp(0, 1), generator, 0.25 * s) * 2 - 1


def loosen(x: Tensor, generator: torch.Generator, share: float = 0.4, most: float = 1.7) -> Tensor:
    """Some pictures shrunk into a wider frame, as looser crops have them: smeared edges or a plain wall around."""
    n = len(x)
    zoom = 1 + torch.rand(n, generator=generator) * (most - 1)
    zoom = torch.where(torch.rand(n, generator=generator) < share, zoom, 1.0)
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * 0.3 * (zoom - 1)[:, None]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = shift
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    smeared = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    inside = F.grid_sample(torch.ones_like(x[:, :1]), grid, padding_mode="zeros", align_corners=False)
    wall = torch.rand(n, 3, 1, 1, generator=generator) * 2 - 1
    plain_wall = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    return torch.where(plain_wall, inside * smeared + (1 - inside) * wall, smeared)


def _erase(x: Tensor, generator: torch.Generator, p: float) -> Tensor:
    n = len(x)
    at, box = torch.rand(n, 2, generator=generator), torch.rand(n, 2, generator=generator) * 0.25 + 0.1
    line = (torch.arange(SIZE) + 0.5) / SIZE
    inside = [(line[None] - at[:, i : i + 1]).abs() < box[:, i : i + 1] / 2 for i in (0, 1)]
    hit = (inside[0][:, :, None] & inside[1][:, None]) & (torch.rand(n, 1, 1, generator=generator) < p)
    return torch.where(hit[:, None], torch.rand(n, 3, 1, 1, generator=generator), x)


class Batches:
    """Endless training batches, half UTKFace and half FER2013: (pictures, labels)."""

    def __init__(self, sets: dict[str, Faces], batch: int, seed: int, strength: float = 1.0) -> None:
        self.sets, self.half, self.strength = list(sets.values()), batch // 2, strength
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        pictures, labels = [], []
        for faces in self.sets:
            index = torch.randint(len(faces), (self.half,), generator=self.generator)
            pictures.append(augment(faces.pictures[index], self.generator, strength=self.strength))
            labels.append(faces.labels[index])
        return torch.cat(pictures), torch.cat(labels)


def accuracy(logits: list[Tensor], labels: Tensor) -> dict[str, float]:
    """Share right per attribute, over the pictures that carry its label."""
    out = {}
    for k, (name, scores) in enumerate(zip(ATTRIBUTES, logits, strict=True)):
        known = labels[:, k] >= 0
        out[name] = float((scores[known].argmax(1) == labels[known, k]).float().mean())
    return out

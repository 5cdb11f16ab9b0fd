"""Make the sample faces: averages of 3 or 4 consenting volunteers, photo-like and of nobody.

    python -m tools.make_sample_faces [--source ../shared/data/london] [--out facevlm/assets/faces]

People of the same gender and self-reported ethnicity are warped to their mean shape (piecewise affine over 189
landmarks and the frame) and averaged. Smiling photographs carry no landmarks; dense optical
flow moves the neutral ones of the same person there. Needs scikit-image, scipy, opencv, pandas.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import map_coordinates
from skimage.registration import optical_flow_tvl1

Array = NDArray[np.float64]

SIDE = 640
FLOW_SIDE = 320
OUT_SIDE = 224
MARGIN = 0.25
LOOSE_MARGIN = 0.6
SEED = 7
AGE_GROUPS = ((10, "0-9"), (20, "10-19"), (40, "20-39"), (60, "40-59"), (200, "More than 60"))


@dataclass(frozen=True)
class Pool:
    """Who is averaged with whom, what the averages are labelled, and how many are made."""

    gender: str
    ethnicity: str
    race: str
    count: int
    without: tuple[str, ...] = ()
    extremes: bool = False


# west_asian is the source's word for people of two different looks. The five women average to faces
# that look South Asian (Indian); four of the five men to faces that look Middle Eastern; the fifth,
# 008, looks South Asian and is left out.
POOLS = (
    Pool("Female", "white", "White", 15, extremes=True),
    Pool("Male", "white", "White", 15, extremes=True),
    Pool("Female", "black", "Black", 14),
    Pool("Male", "black", "Black", 15),
    Pool("Female", "east_asian", "East Asian", 5),
    Pool("Male", "east_asian", "East Asian", 14),
    Pool("Female", "west_asian", "Indian", 13),
    Pool("Male", "west_asian", "Middle Eastern", 5, without=("london_008",)),
)
# Landmark numbers: 115-124 are the ears, 134-157 the hairline and the hair.
FACE_POINTS = ((0, 115), (125, 134), (158, 189))
INNER_POINTS = ((0, 104),)
HAIRLINE = 139
GROUP_SIZES = (2, 3, 4, 5, 2, 3, 4, 5)


class Volunteers:
    """The photographs and landmarks of the source set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        table = pd.read_csv(folder / "labels.csv")
        self.table = table[table["emotion"] == "neutral"].set_index("subject")
        self.picture = functools.cache(self._read_picture)
        self.landmarks = functools.cache(self._find_landmarks)

    def pool(self, pool: Pool) -> list[str]:
        rows = self.table[(self.table.gender == pool.gender) & (self.table.race == pool.ethnicity)]
        return sorted(set(rows.index) - set(pool.without))

    def _read_picture(self, subject: str, emotion: str) -> NDArray[np.uint8]:
        """RGB picture of shape (640, 640, 3)."""
        name = {"neutral": "neutral", "happy": "smiling"}[emotion]
        picture = cv2.imread(str(self.folder / "images" / f"{subject}_{name}.jpg"))
        if picture is None or picture.shape != (SIDE, SIDE, 3):
            raise ValueError(f"{subject} {name}: expected a {SIDE} px square picture")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)

    def _find_landmarks(self, subject: str, emotion: str) -> Array:
        """Points (189, 2), x and y in pixels of the 640 px picture."""
        points = pd.read_csv(self.folder / "landmarks" / f"{subject}_neutral.csv")[["x", "y"]].to_numpy(float)
        if emotion == "neutral":
            return points
        grey = [
            cv2.resize(cv2.cvtColor(self.picture(subject, e), cv2.COLOR_RGB2GRAY), (FLOW_SIDE,) * 2) / 255.0
            for e in ("neutral", emotion)
        ]
        flow = optical_flow_tvl1(grey[0], grey[1], attachment=8)
        at = points[:, ::-1].T * FLOW_SIDE / SIDE
        moved = [map_coordinates(flow[axis], at, order=1, mode="nearest") for axis in (1, 0)]
        return points + np.stack(moved, 1) * SIDE / FLOW_SIDE


def with_frame(points: Array) -> Array:
    """Landmarks plus the frame's corners and edge midpoints, which stay where they are."""
    line = (0.0, (SIDE - 1) / 2, SIDE - 1.0)
    frame = [(x, y) for x in line for y in line if (x, y) != (line[1], line[1])]
    return np.concatenate([points, np.array(frame)])


def warp(picture: NDArray[np.uint8], source: Array, target: Array) -> Array:
    """Move ``source`` points of the picture onto ``target``, piecewise affine; float RGB."""
    inverse = LinearNDInterpolator(with_frame(target), with_frame(source))
    ys, xs = np.mgrid[0:SIDE, 0:SIDE]
    grid = inverse(np.stack([xs, ys], -1)).astype(np.float32)
    return cv2.remap(picture, grid[..., 0], grid[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(
        float
    )


def composite(people: Volunteers, subjects: Sequence[str], emotion: str) -> tuple[NDArray[np.uint8], Array]:
    """The average face (640 px RGB) and its mean shape (189, 2)."""
    shapes = [people.landmarks(s, emotion) for s in subjects]
    mean = np.mean(shapes, axis=0)
    layers = [warp(people.picture(s, emotion), shape, mean) for s, shape in zip(subjects, shapes, strict=True)]
    return np.clip(np.mean(layers, axis=0).round(), 0, 255).astype(np.uint8), mean


def face_box(shape: Array) -> tuple[float, float, float, float]:
    """x, y, width, height in pixels, as detectors draw it: jaw to jaw, chin to half way up the forehead."""
    face = np.concatenate([shape[a:b] for a, b in FACE_POINTS])
    low, high = face.min(0), face.max(0)
    low[1] = (low[1] + shape[HAIRLINE, 1]) / 2
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def inner_square(shape: Array) -> tuple[float, float, float]:
    """Centre and side of the square around brows, eyes, nose and mouth: what dlib's face chips, and so FairFace's
    crops, take their margin from."""
    inner = np.concatenate([shape[a:b] for a, b in INNER_POINTS])
    low, high = inner.min(0), inner.max(0)
    x, y = (low + high) / 2
    return float(x), float(y), float((high - low).max())


def crop(picture: NDArray[np.uint8], shape: Array, margin: float) -> tuple[NDArray[np.uint8], list[float]]:
    """Square crop with the margin on each side, 224 px, and the face box in it as shares of its side."""
    x, y, inner = inner_square(shape)
    side = inner * (1 + 2 * margin)
    left, top = x - side / 2, y - side / 2
    scale = OUT_SIDE / side
    big = cv2.GaussianBlur(picture, (0, 0), max(0.01, 0.35 / scale)) if scale < 1 else picture
    move = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    small = cv2.warpAffine(big, move, (OUT_SIDE, OUT_SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    x, y, w, h = face_box(shape)
    x0, y0 = max(0.0, (x - left) / side), max(0.0, (y - top) / side)
    x1, y1 = min(1.0, (x + w - left) / side), min(1.0, (y + h - top) / side)
    return small, [x0, y0, x1 - x0, y1 - y0]


def extreme_sets(people: Volunteers, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The three youngest, and two sets of the oldest: so that not all averages are of one age group."""
    ages = people.table.loc[list(names), "age"].dropna().sort_values(kind="stable")
    youngest, oldest = list(ages.index[:3]), list(ages.index[::-1][:4])
    sets = (youngest, oldest[:3], [*oldest[:2], oldest[3]])
    return [tuple(sorted(people)) for people in sets]


def subject_sets(
    pool: Pool, names: Sequence[str], first: Sequence[tuple[str, ...]], rng: random.Random
) -> list[tuple[str, ...]]:
    """``count`` different sets of 3 or 4 people: the given first ones, then sets that use everybody equally often."""
    every = [c for size in (3, 4) for c in itertools.combinations(names, size)]
    if len(every) > 4000:
        every = rng.sample(every, 4000)
    rng.shuffle(every)
    every = [c for c in every if c not in first]
    used = dict.fromkeys(names, 0)
    chosen = list(first)
    while len(chosen) < pool.count:
        best = min(every, key=lambda c: sum(used[n] for n in c) / len(c))
        every.remove(best)
        chosen.append(best)
        for name in best:
            used[name] += 1
    return chosen


def age_group(age: float) -> str:
    return next(label for edge, label in AGE_GROUPS if age < edge)


Loose = tuple[NDArray[np.uint8], list[float]]


def make_singles(people: Volunteers, out: Path, rng: random.Random) -> tuple[list[dict[str, object]], dict[str, Loose]]:
    """The rows of the single faces, and a looser crop of each, with its box, for the group pictures."""
    rows: list[dict[str, object]] = []
    loose: dict[str, Loose] = {}
    for pool in POOLS:
        names = people.pool(pool)
        first = extreme_sets(people, names) if pool.extremes else []
        for subjects in subject_sets(pool, names, first, rng):
            emotion = ("neutral", "happy")[len(rows) % 2]
            picture, shape = composite(people, subjects, emotion)
            small, box = crop(picture, shape, MARGIN)
            file = f"single/face_{len(rows):03d}.jpg"
            loose[file] = crop(picture, shape, LOOSE_MARGIN)
            save(out / file, small)
            age = float(people.table.loc[list(subjects), "age"].mean())
            rows.append(
                dict(zip("xywh", (round(v, 4) for v in box), strict=True))
                | {
                    "file": file,
                    "gender": pool.gender,
                    "race": pool.race,
                    "emotion": emotion,
                    "age": round(age, 1),
                    "age_group": age_group(age),
                    "source_ethnicity": pool.ethnicity,
                    "source": "+".join(s.removeprefix("london_") for s in subjects),
                }
            )
            print(file, pool.race, pool.gender, emotion, flush=True)
    return rows, loose


def make_groups(
    singles: list[dict[str, object]], loose: dict[str, Loose], out: Path, rng: random.Random
) -> list[dict[str, object]]:
    """Composites side by side at different sizes on a plain wall; one row per face."""
    rows: list[dict[str, object]] = []
    deck = rng.sample(singles, sum(GROUP_SIZES))
    for number, size in enumerate(GROUP_SIZES):
        file = f"group/group_{number:02d}.jpg"
        width, height = size * 240 + 40, 360
        canvas = np.full((height, width, 3), (196, 200, 201), np.uint8)
        for slot in range(size):
            face = deck.pop()
            side = rng.randrange(150, 225)
            left = 40 + slot * 240 + rng.randrange(0, 241 - side - 15)
            top = rng.randrange(20, height - side - 19)
            tile, (x, y, w, h) = loose[str(face["file"])]
            canvas[top : top + side, left : left + side] = cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA)
            box = ((left + x * side) / width, (top + y * side) / height, w * side / width, h * side / height)
            rows.append(face | {"file": file} | dict(zip("xywh", (round(v, 4) for v in box), strict=True)))
        save(out / file, canvas)
    return rows


def save(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=root.parent / "shared" / "data" / "london")
    parser.add_argument("--out", type=Path, default=root / "facevlm" / "assets" / "faces")
    args = parser.parse_args()
    rng = random.Random(SEED)
    singles, loose = make_singles(Volunteers(args.source), args.out, rng)
    rows = singles + make_groups(singles, loose, args.out, rng)
    columns = ["file", *"xywh", "gender", "race", "emotion", "age", "age_group", "source_ethnicity", "source"]
    with open(args.out / "labels.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(singles)} faces, {len(rows) - len(singles)} faces in {len(GROUP_SIZES)} group pictures")


if __name__ == "__main__":
    main()

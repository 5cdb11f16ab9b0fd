"""What identifies a picture: its bytes, its pixels, and how it looks; and which pictures look alike.

The look is ``imagehash.phash`` with 16 x 16 coefficients: 256 bits, of which re-encoding and resizing change a few, and
another photograph of another person about half (see docs/decisions/012-near-copies-by-phash.md).
"""

from __future__ import annotations

import collections
import functools
import hashlib
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facevlm import folders
from facevlm.errors import ImageError
from facevlm.faces import images

SIDE = 16
BITS = SIDE * SIDE
NEAR = 32
"""Bits of 256 in which two pictures of the same look may differ."""

DIGEST = 16
"""Bytes kept of each SHA-256: two of 2**64 pictures would share them by chance."""

PLAIN = 2.0
"""Standard deviation, in grey levels, under which a picture is of one colour and has no look to compare."""

CHUNK, ROWS, COLUMNS, HELD_PAIRS = 512, 64, 4096, 1_000_000
Bytes = NDArray[np.uint8]
Groups = NDArray[np.int64]


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 of the file and of the upright RGB pixels, 32 bytes each, the look (32 bytes), and width and height.

    ``look`` is None for a picture of one colour.
    """

    file: bytes
    pixels: bytes
    look: bytes | None
    size_wh: tuple[int, int]


def fingerprint(filepath: str) -> Fingerprint:
    """The fingerprint of a picture.

    Raises :class:`~facevlm.errors.ImageError` with the reason why it cannot be read.
    """
    picture = images.load(filepath)
    return Fingerprint(_file_digest(filepath), hashlib.sha256(picture.tobytes()).digest(), look(picture), picture.size)


def _file_digest(filepath: str) -> bytes:
    digest = hashlib.sha256()
    with folders.opened(filepath) as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.digest()


def look(picture: Image.Image) -> bytes | None:
    """256 bits of a picture's look as 32 bytes; None for a picture of one colour."""
    grey = picture.convert("L")
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
    if small.std() < PLAIN:
        return None
    return np.packbits(imagehash.phash(grey, SIDE).hash.ravel()).tobytes()


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of n pictures as columns, about 80 bytes a picture.

    ``files`` and ``pixels`` are digests, (n, 16) bytes; ``looks`` (n, 32) bytes; ``sizes_wh`` (n, 2) pixels, 0 for a
    picture that cannot be read; ``has_look`` (n,). ``errors`` maps positions of unreadable pictures to the reason.
    """

    files: Bytes
    pixels: Bytes
    looks: Bytes
    sizes_wh: NDArray[np.int64]
    has_look: NDArray[np.bool_]
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def readable(self) -> NDArray[np.bool_]:
        shown: NDArray[np.bool_] = self.sizes_wh[:, 0] > 0
        return shown


def gather(paths: Sequence[str], *, threads: int | None = None) -> Fingerprints:
    """Fingerprints of all pictures, in order, read by ``threads`` threads (by default one per core).

    A picture that cannot be read is noted with its reason and stops nothing.
    """
    table = empty(len(paths))
    collections.deque(fill(table, paths, threads=threads), maxlen=0)
    return table


def fill(table: Fingerprints, paths: Sequence[str], *, threads: int | None = None) -> Generator[int, None, None]:
    """As :func:`gather`, into a table of that length; yields after every chunk how many pictures are read."""
    workers = threads or min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="facevlm-check") as pool:
        # A chunk at a time, so that results never pile up.
        for first in range(0, len(paths), CHUNK):
            for at, fingerprint in enumerate(pool.map(_attempt, paths[first : first + CHUNK]), first):
                _put(table, at, fingerprint)
            yield min(first + CHUNK, len(paths))


def _attempt(filepath: str) -> Fingerprint | str:
    try:
        return fingerprint(filepath)
    except (ImageError, OSError) as error:
        return str(error)


def empty(n: int) -> Fingerprints:
    """A table of n pictures none of which is read."""
    return Fingerprints(
        files=np.zeros((n, DIGEST), np.uint8),
        pixels=np.zeros((n, DIGEST), np.uint8),
        looks=np.zeros((n, BITS // 8), np.uint8),
        sizes_wh=np.zeros((n, 2), np.int64),
        has_look=np.zeros(n, bool),
        errors={},
    )


def _put(table: Fingerprints, at: int, fingerprint: Fingerprint | str) -> None:
    if isinstance(fingerprint, str):
        table.errors[at] = fingerprint
        return
    table.files[at] = np.frombuffer(fingerprint.file, np.uint8, DIGEST)
    table.pixels[at] = np.frombuffer(fingerprint.pixels, np.uint8, DIGEST)
    table.sizes_wh[at] = fingerprint.size_wh
    if fingerprint.look is not None:
        table.looks[at] = np.frombuffer(fingerprint.look, np.uint8)
        table.has_look[at] = True


def same(prints: Fingerprints) -> Groups:
    """A number per picture, equal for pictures of the same pixels and size; an unreadable one is alone, (n,)."""
    alone = np.where(prints.readable, 0, np.arange(1, len(prints) + 1))
    keys = np.column_stack([prints.pixels.view(np.int64), prints.sizes_wh, alone])
    numbers: Groups = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers


def alike(prints: Fingerprints, bits: int = NEAR, *, threads: int | None = None) -> tuple[Groups, NDArray[np.int64]]:
    """Group numbers of pictures that look alike, and for each picture the bits to its nearest other look, (n,) each.

    Groups are chained: a picture belongs to a group if it is within ``bits`` of any member. Pictures of the same look
    are 0 bits apart; -1 stands for a picture with no other within reach. Every pair of different looks is compared, in
    blocks, so time grows with the square of their number (benchmarks/hygiene.py) and memory with the number.
    """
    at = np.flatnonzero(prints.has_look)
    groups, nearest = np.arange(len(prints), dtype=np.int64), np.full(len(prints), -1, dtype=np.int64)
    if not len(at):
        return groups, nearest
    looks, numbers, counts = np.unique(prints.looks[at], axis=0, return_inverse=True, return_counts=True)
    of, distance = _chained(looks, bits, threads)
    numbers = numbers.reshape(-1)
    distance[counts > 1] = 0
    nearest[at] = np.where(distance <= bits, distance, -1)[numbers]
    # Every group is named by the first of its pictures, so that the numbers differ from those of pictures without look.
    _, first, inverse = np.unique(of[numbers], return_index=True, return_inverse=True)
    groups[at] = at[first][inverse.reshape(-1)]
    return groups, nearest


def _chained(looks: Bytes, bits: int, threads: int | None) -> tuple[Groups, NDArray[np.int64]]:
    n = len(looks)
    of, nearest = np.arange(n, dtype=np.int64), np.full(n, BITS + 1, dtype=np.int64)
    held: list[NDArray[np.int64]] = []
    for pairs in near_pairs(looks, bits, threads=threads):
        for end in (0, 1):
            np.minimum.at(nearest, pairs[end], pairs[2])
        held.append(pairs)
        # Pairs are folded into groups before they fill memory: pictures of one video are all alike.
        if sum(p.shape[1] for p in held) > HELD_PAIRS:
            of, held = _joined(of, held), []
    return _joined(of, held), nearest


def _joined(of: Groups, held: Sequence[NDArray[np.int64]]) -> Groups:
    if not held:
        return of
    pairs = np.concatenate(held, axis=1)
    links = (np.ones(pairs.shape[1], bool), (of[pairs[0]], of[pairs[1]]))
    parts = connected_components(coo_array(links, shape=(len(of), len(of))), directed=False)[1]
    joined: Groups = parts[of].astype(np.int64)
    return joined


def merged(a: Groups, b: Groups) -> Groups:
    """Groups of pictures that are together in ``a`` or in ``b``, chained, (n,)."""
    n = len(a)
    links = (np.ones(n, bool), (np.unique(a, return_inverse=True)[1], np.unique(b, return_inverse=True)[1] + n))
    parts = connected_components(coo_array(links, shape=(2 * n, 2 * n)), directed=False)[1] if n else a
    chained: Groups = parts[links[1][0]].astype(np.int64)
    return chained


def near_pairs(looks: Bytes, bits: int, *, threads: int | None = None) -> Iterator[NDArray[np.int64]]:
    """Pairs of rows of (n, 32) bytes that differ in at most ``bits`` bits, as arrays of (3, pairs): i < j, bits."""
    words = np.ascontiguousarray(np.ascontiguousarray(looks).view(np.uint64).T)
    work = functools.partial(_block, words, bits)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="facevlm-near") as pool:
        for pairs in pool.map(work, range(0, words.shape[1], ROWS)):
            if pairs.shape[1]:
                yield pairs


def _block(words: NDArray[np.uint64], bits: int, first: int) -> NDArray[np.int64]:
    """Near pairs of ROWS rows with all that come after; half of the bits rule nearly all others out."""
    rows = words[:, first : first + ROWS, None]
    pairs = [np.empty((3, 0), np.int64)]
    for start in range(first, words.shape[1], COLUMNS):
        columns = words[:, None, start : start + COLUMNS]
        apart = _differ(rows[0], columns[0])
        apart += _differ(rows[1], columns[1])
        i, j = np.nonzero(apart <= bits)
        i, j = i + first, j + start
        exact = np.bitwise_count(words[:, i] ^ words[:, j]).sum(axis=0, dtype=np.int64)
        kept = (exact <= bits) & (i < j)
        pairs.append(np.stack([i[kept], j[kept], exact[kept]]))
    return np.concatenate(pairs, axis=1)


def _differ(a: NDArray[Any], b: NDArray[Any]) -> Bytes:
    counts: Bytes = np.bitwise_count(a ^ b)
    return counts

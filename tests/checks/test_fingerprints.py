"""Fingerprints of real faces: what changes them and what does not; the search for like ones against plain counting."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from facevlm.checks import fingerprints
from facevlm.checks.fingerprints import BITS, NEAR, Bytes, alike, fingerprint, gather, look, merged, near_pairs, same
from facevlm.datasets import samples
from facevlm.errors import ImageError
from facevlm.faces import images

FACES = [record.filepath for record in samples.read("single")]


def apart(a: Image.Image, b: Image.Image) -> int:
    """Bits in which two looks differ."""
    looks = [one for picture in (a, b) if (one := look(picture)) is not None]
    assert len(looks) == 2
    first, second = (np.unpackbits(np.frombuffer(one, np.uint8)) for one in looks)
    return int((first != second).sum())


@pytest.fixture
def face() -> Image.Image:
    return images.load(FACES[0])


# One picture


def test_a_fingerprint_is_of_the_file_the_pixels_and_the_size(face: Image.Image) -> None:
    found = fingerprint(FACES[0])
    assert found.file == hashlib.sha256(Path(FACES[0]).read_bytes()).digest()
    assert found.pixels == hashlib.sha256(face.tobytes()).digest()
    assert found.size_wh == face.size
    assert found.look is not None
    assert len(found.look) * 8 == BITS


def test_another_file_format_has_the_same_pixels(tmp_path: Path, face: Image.Image) -> None:
    for name in ("a.png", "a.bmp"):
        face.save(tmp_path / name)
    png, bmp = fingerprint(str(tmp_path / "a.png")), fingerprint(str(tmp_path / "a.bmp"))
    assert (png.pixels, png.look, png.size_wh) == (bmp.pixels, bmp.look, bmp.size_wh)
    assert png.file != bmp.file


def test_a_picture_is_compared_upright(tmp_path: Path, face: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    face.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert fingerprint(str(tmp_path / "turned.png")).pixels == fingerprint(FACES[0]).pixels


@pytest.mark.parametrize("quality", [90, 40])
def test_reencoding_and_resizing_keep_the_look(tmp_path: Path, face: Image.Image, quality: int) -> None:
    face.save(tmp_path / "a.jpg", quality=quality)
    assert apart(face, Image.open(tmp_path / "a.jpg")) <= NEAR
    assert apart(face, face.resize((face.width // 3, face.height // 3))) <= NEAR
    assert apart(face, ImageEnhance.Brightness(face).enhance(0.8)) <= NEAR
    assert apart(face, face.convert("L").convert("RGB")) <= NEAR


def test_other_faces_and_a_mirrored_one_look_different(face: Image.Image) -> None:
    assert apart(face, face.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > NEAR
    others = [apart(face, images.load(path)) for path in FACES[40:60]]
    assert min(others) > NEAR


def test_a_picture_of_one_colour_has_no_look() -> None:
    assert look(Image.new("RGB", (50, 50), (9, 99, 200))) is None
    assert look(Image.linear_gradient("L")) is not None


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="file not found"):
        fingerprint(str(tmp_path / "none.jpg"))


# Many pictures


def test_pictures_come_in_order_and_bad_ones_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "CHUNK", 4)
    broken, missing = tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    broken.write_bytes(Path(FACES[0]).read_bytes()[:400])
    paths = [*FACES[:5], str(broken), *FACES[5:9], str(missing), FACES[0]]
    prints = gather(paths, threads=3)
    assert len(prints) == 12
    assert prints.errors.keys() == {5, 10}
    assert prints.errors[10] == "file not found: missing.jpg"
    assert prints.errors[5].startswith("cannot read broken.jpg")
    assert prints.readable.tolist() == [at not in (5, 10) for at in range(12)]
    for at in (0, 4, 6, 9, 11):
        alone = fingerprint(paths[at])
        assert prints.pixels[at].tobytes() == alone.pixels[:16]
        assert prints.files[at].tobytes() == alone.file[:16]
        assert prints.looks[at].tobytes() == alone.look
        assert tuple(prints.sizes_wh[at]) == alone.size_wh
    one = gather(paths, threads=1)
    assert (one.looks == prints.looks).all()


def test_no_pictures_have_no_fingerprints() -> None:
    prints = gather([])
    assert len(prints) == 0
    assert same(prints).tolist() == alike(prints)[0].tolist() == []
    assert merged(same(prints), same(prints)).tolist() == []


def test_the_same_pixels_in_another_shape_are_another_picture(tmp_path: Path) -> None:
    """A picture of one grey level has the same bytes whether it lies or stands."""
    for name, size in (("wide.png", (40, 20)), ("tall.png", (20, 40)), ("again.png", (40, 20))):
        Image.new("RGB", size, (7, 7, 7)).save(tmp_path / name)
    prints = gather([str(tmp_path / name) for name in ("wide.png", "tall.png", "again.png", "none.png", "nor.png")])
    first, second, third, *unreadable = same(prints).tolist()
    assert first == third
    assert len({first, second, *unreadable}) == 4


# Which look alike


def hashes(rng: np.random.Generator, n: int, flips: int) -> Bytes:
    """n looks: few independent ones, and copies of them with up to ``flips`` bits turned."""
    roots = rng.integers(0, 2, (max(1, n // 4), BITS), dtype=np.uint8)
    bits = roots[rng.integers(0, len(roots), n)]
    for row in bits:
        row[rng.choice(BITS, rng.integers(0, flips + 1), replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def counted(looks: Bytes, limit: int) -> set[tuple[int, int, int]]:
    """Near pairs, one by one."""
    bits = np.unpackbits(looks, axis=1)
    rows = itertools.combinations(range(len(looks)), 2)
    found = ((i, j, int((bits[i] != bits[j]).sum())) for i, j in rows)
    return {(i, j, distance) for i, j, distance in found if distance <= limit}


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(0, 64))
@settings(deadline=None, max_examples=40)
def test_near_pairs_are_those_that_counting_finds(seed: int, n: int, limit: int) -> None:
    looks = hashes(np.random.default_rng(seed), n, 40)
    found = [tuple(pair) for pairs in near_pairs(looks, limit, threads=1) for pair in pairs.T.tolist()]
    assert len(found) == len(set(found))
    assert set(found) == counted(looks, limit)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (7, 2), (64, 4096)])
def test_blocks_of_any_size_find_the_same(monkeypatch: pytest.MonkeyPatch, rows: int, columns: int) -> None:
    monkeypatch.setattr(fingerprints, "ROWS", rows)
    monkeypatch.setattr(fingerprints, "COLUMNS", columns)
    looks = hashes(np.random.default_rng(1), 50, 30)
    found = {tuple(pair) for pairs in near_pairs(looks, 40, threads=2) for pair in pairs.T.tolist()}
    assert found == counted(looks, 40)


def prints_of(looks: Bytes) -> fingerprints.Fingerprints:
    n = len(looks)
    nothing = np.zeros((n, 16), np.uint8)
    return fingerprints.Fingerprints(nothing, nothing, looks, np.ones((n, 2), np.int64), np.ones(n, bool), {})


def parts(numbers: list[int]) -> set[frozenset[int]]:
    return {frozenset(at for at, number in enumerate(numbers) if number == k) for k in set(numbers)}


def chained(n: int, pairs: set[tuple[int, int, int]]) -> set[frozenset[int]]:
    """Groups by walking from picture to picture."""
    groups = [{k} for k in range(n)]
    for i, j, _ in pairs:
        together = groups[i] | groups[j]
        for k in together:
            groups[k] = together
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize("held", [1, 10, 1_000_000])
@pytest.mark.parametrize("seed", range(4))
def test_groups_are_chained_and_memory_does_not_matter(monkeypatch: pytest.MonkeyPatch, seed: int, held: int) -> None:
    monkeypatch.setattr(fingerprints, "HELD_PAIRS", held)
    monkeypatch.setattr(fingerprints, "ROWS", 4)
    looks = hashes(np.random.default_rng(seed), 60, 26)
    looks[50:53] = looks[7]
    groups, nearest = alike(prints_of(looks), 32, threads=1)
    pairs = counted(looks, 32)
    assert parts(groups.tolist()) == chained(60, pairs)
    for at in range(60):
        reach = [distance for i, j, distance in pairs if at in (i, j)]
        assert nearest[at] == min(reach, default=-1)


def test_a_chain_joins_what_is_not_near_itself() -> None:
    bits = np.zeros((3, BITS), np.uint8)
    bits[1, :20] = 1
    bits[2, :40] = 1
    groups, nearest = alike(prints_of(np.packbits(bits, axis=1)), 20)
    assert len(set(groups.tolist())) == 1
    assert nearest.tolist() == [20, 20, 20]


def test_pictures_without_look_are_alike_to_none() -> None:
    prints = prints_of(np.zeros((3, 32), np.uint8))
    prints.has_look[0] = False
    groups, nearest = alike(prints)
    assert groups[0] not in groups[1:]
    assert groups[1] == groups[2]
    assert nearest.tolist() == [-1, 0, 0]
    prints.has_look[:] = False
    assert alike(prints)[0].tolist() == [0, 1, 2]


def test_merged_groups_hold_together_what_either_does() -> None:
    a, b = np.array([0, 0, 2, 3, 9]), np.array([5, 6, 6, 7, 8])
    assert parts(merged(a, np.arange(5)).tolist()) == parts(a.tolist())
    assert parts(merged(a, b).tolist()) == {frozenset({0, 1, 2}), frozenset({3}), frozenset({4})}

"""The detectors on real pictures, and where their weights come from."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_httpserver import HTTPServer

from facevlm import folders
from facevlm.datasets import samples
from facevlm.detection import Detector, Search, open_detector, weights
from facevlm.detection.yunet import open_yunet
from facevlm.errors import ModelError
from facevlm.faces import images
from facevlm.faces.matching import match_faces
from tests.detection.yunet import WEIGHTS, needs_yunet
from tests.ports import free_port

GROUPS = sorted({record.filepath for record in samples.read("group")})


def true_boxes(path: str) -> list[tuple[float, ...]]:
    return [record.box_xywh_rel for record in samples.read("group") if record.filepath == path]


def found(detector: Detector) -> tuple[int, int, int]:
    """True faces, found ones, and true ones that were found (IoU 0.5), on the group pictures."""
    hits = true = said = 0
    for path, faces in zip(GROUPS, detector.detect([images.load(path) for path in GROUPS]), strict=True):
        mine = true_boxes(path)
        hits += sum(k >= 0 for k in match_faces([""] * len(mine), mine, [], [f.box_xywh_rel for f in faces]))
        true, said = true + len(mine), said + len(faces)
    return true, said, hits


@needs_yunet
def test_yunet_finds_every_face_of_the_group_pictures() -> None:
    detector = open_detector("yunet", Search(weights=WEIGHTS))
    assert found(detector) == (28, 28, 28)
    assert detector.info.notes == ()
    for face in detector.detect([images.load(GROUPS[0])])[0]:
        x, y, w, h = face.box_xywh_rel
        assert face.confidence is not None
        assert 0.8 <= face.confidence <= 1
        points = np.array(face.landmarks_xy_rel)
        assert points.shape == (5, 2)
        assert ((points > (x, y)) & (points < (x + w, y + h))).all(), "landmarks lie in the face"
        right_eye, left_eye, nose, right_mouth, left_mouth = points
        assert right_eye[0] < nose[0] < left_eye[0]
        assert right_mouth[0] < left_mouth[0]
        assert right_eye[1] < nose[1] < right_mouth[1]


def test_the_cascade_finds_every_face_of_the_group_pictures() -> None:
    detector = open_detector("haar")
    assert found(detector) == (28, 28, 28)
    assert "misses more than YuNet" in detector.info.notes[0]
    face = detector.detect([images.load(GROUPS[0])])[0][0]
    assert face.confidence is None
    assert face.landmarks_xy_rel is None


@pytest.mark.parametrize("name", ["haar", pytest.param("yunet", marks=needs_yunet)])
def test_where_nobody_is_nobody_is_found(name: str) -> None:
    detector = open_detector(name, Search(weights=WEIGHTS if name == "yunet" else None))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    plain = [Image.new("RGB", size, (120, 130, 140)) for size in ((1, 1), (3000, 2), (640, 640))]
    assert detector.detect([*plain, noise]) == [[], [], [], []]
    assert detector.detect([]) == []


@needs_yunet
@pytest.mark.parametrize("size", [(1280, 1), (1280, 32), (1280, 16)])
def test_nobody_is_seen_in_a_strip_whatever_memory_held_before(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for level in range(0, 250, 10):
        detector = open_yunet(Search(weights=WEIGHTS))
        # Memory that a thread gives back still holds these, and the same thread's network gets it next.
        junk = [(10.0**k * rng.standard_normal(int(rng.integers(100, 300_000)))).astype(np.float32) for k in range(30)]
        del junk
        assert len(detector._find(np.full((size[1], size[0], 3), level, dtype=np.uint8)).boxes) == 0


@needs_yunet
def test_a_small_face_at_the_end_of_a_small_picture_is_boxed_where_it_is() -> None:
    """The first group picture's first face, cut out and shrunk until it is filled up."""
    x, y, w, h = true_boxes(GROUPS[0])[0]
    group = images.load(GROUPS[0])
    left, top = (x - 0.2 * w) * group.width, (y - 0.2 * h) * group.height
    face = group.crop(
        (round(left), round(top), round(left + 1.4 * w * group.width), round(top + 1.4 * h * group.height))
    )
    small = face.resize((48, round(48 * face.height / face.width)), Image.Resampling.LANCZOS)
    boxes = [f.box_xywh_rel for f in open_detector("yunet", Search(weights=WEIGHTS)).detect([small])[0]]
    assert match_faces([""], [(1 / 7, 1 / 7, 5 / 7, 5 / 7)], [], boxes) == [0]


@needs_yunet
def test_a_crowd_in_a_large_picture_is_searched_in_tiles() -> None:
    """The group pictures side by side, small, in one picture of 6000 pixels: 140 faces of about 40 pixels."""
    wall = Image.new("RGB", (6000, 2600), (90, 90, 90))
    small = [images.load(path) for path in GROUPS] * 5
    true = 0
    for k, group in enumerate(small):
        scale = 0.36
        group = group.resize((round(group.width * scale), round(group.height * scale)))
        wall.paste(group, (20 + 740 * (k % 8), 20 + 500 * (k // 8)))
        true += len(true_boxes(GROUPS[k % len(GROUPS)]))
    counts = {
        tiles: len(open_detector("yunet", Search(weights=WEIGHTS, tiles=tiles)).detect([wall])[0])
        for tiles in ("off", "on", "auto")
    }
    assert true == 140
    assert counts["on"] == true
    assert counts["off"] < true / 2


@needs_yunet
def test_confidence_is_a_choice_and_part_of_the_identity() -> None:
    picture = images.load(GROUPS[0])
    strict, loose = (open_detector("yunet", Search(min_confidence=c, weights=WEIGHTS)) for c in (0.99, 0.5))
    assert strict.detect([picture]) == [[]]
    assert len(loose.detect([picture])[0]) >= 2
    assert strict.info.identity != loose.info.identity


def test_auto_says_when_it_is_the_simple_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(weights.YUNET, raising=False)
    monkeypatch.setenv("FACEVLM_CACHE", str(tmp_path))
    monkeypatch.setenv(weights.OFFLINE, "1")
    detector = open_detector()
    assert detector.info.name == "haar"
    assert "HF_HUB_OFFLINE=1 forbids to fetch them. Download https://huggingface.co" in detector.info.notes[0]
    with pytest.raises(ModelError, match="not on this machine"):
        open_detector("yunet")
    with pytest.raises(ModelError, match="cannot be read"):
        open_detector("auto", Search(weights=str(tmp_path / "nothing.onnx")))


@needs_yunet
def test_auto_is_yunet_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.YUNET, str(WEIGHTS))
    assert open_detector().info.name == "yunet"


class Shelf:
    """A server with a file, pinned in a list of sources of its own."""

    def __init__(self, server: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data, self.server = b"weights" * 1000, server
        self._asset = tmp_path / "detectors.yaml"
        self.pin(server.url_for("").rstrip("/"))
        monkeypatch.setattr(weights, "ASSET", self._asset)
        monkeypatch.setenv("FACEVLM_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv(weights.YUNET, raising=False)
        monkeypatch.delenv(weights.OFFLINE, raising=False)

    def pin(self, address: str) -> None:
        sha256 = hashlib.sha256(self.data).hexdigest()
        urls = f"[{address}/first, {address}/second]"
        self._asset.write_text(f"yunet:\n  file: w.onnx\n  sha256: {sha256}\n  urls: {urls}\n")


@pytest.fixture
def shelf(httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    return Shelf(httpserver, tmp_path, monkeypatch)


def test_weights_are_fetched_once_and_checked(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    shelf.server.expect_ordered_request("/first").respond_with_data(b"an error page", status=404)
    shelf.server.expect_ordered_request("/second").respond_with_data(shelf.data)
    path, digest = weights.yunet()
    assert path == folders.cache() / "w.onnx"
    assert path.read_bytes() == shelf.data
    said = [record.getMessage() for record in caplog.records if record.name == "facevlm"]
    assert len(said) == 2
    assert shelf.server.url_for("/first") in said[0]
    assert shelf.server.url_for("/second") in said[1]
    caplog.clear()
    assert weights.yunet() == (path, digest)
    assert caplog.records == [], "nothing is said where nothing is fetched"
    assert [p.name for p in path.parent.iterdir()] == ["w.onnx"]
    shelf.server.check_assertions()


def test_another_file_is_not_taken_for_the_weights(shelf: Shelf, tmp_path: Path) -> None:
    shelf.server.expect_request("/first").respond_with_data(shelf.data[:-1])
    shelf.server.expect_request("/second").respond_with_data(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match=r"could not be fetched .*SHA-256.*SHA-256.*FACEVLM_YUNET"):
        weights.yunet()
    assert not (tmp_path / "cache").exists()
    other = tmp_path / "other.onnx"
    other.write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"has the SHA-256 .* expected"):
        weights.yunet(str(other))


def test_without_a_server_it_says_what_to_do(shelf: Shelf) -> None:
    shelf.pin(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ModelError, match=r"could not be fetched.*Download .*name the file in FACEVLM_YUNET"):
        weights.yunet()


@pytest.mark.parametrize("proxy", ["http:/nowhere", f"http://{'a' * 70}.example:1", "http://host:port"])
def test_weights_are_not_fetched_by_a_proxy_that_is_none(
    proxy: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.pin("http://models.example")
    # Python reads the environment once, and goes on with what it read.
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ModelError, match=r"could not be fetched.*name the file in FACEVLM_YUNET"):
        weights.yunet()


def test_weights_that_cannot_be_kept_are_said(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.server.expect_request("/first").respond_with_data(shelf.data)
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACEVLM_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(ModelError, match=r"cannot be kept as .*Not a directory.*another folder by FACEVLM_CACHE"):
        weights.yunet()

"""What is shipped: sample faces, their labels and licences, and the demo model's figures."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from facevlm.attributes import align, canonical, get, shipped
from facevlm.datasets import samples
from facevlm.folders import ASSETS
from tests import real
from tools.demo_model import measure

LEAST = {"gender": 0.85, "race5": 0.65, "age5": 0.60, "emotion7": 0.45}
EVERY = 4


def rows() -> list[dict[str, str]]:
    with open(samples.FOLDER / "labels.csv", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_picture_is_labelled_and_every_label_has_its_picture() -> None:
    files = {str(p.relative_to(samples.FOLDER)) for p in samples.FOLDER.glob("*/*.jpg")}
    assert files == {row["file"] for row in rows()}
    assert len(samples.read("single")) == 96
    assert len({r.filepath for r in samples.read("group")}) == 8


def test_singles_are_balanced_and_never_of_the_same_people() -> None:
    singles = [row for row in rows() if row["file"].startswith("single/")]
    assert len({frozenset(row["source"].split("+")) for row in singles}) == 96
    assert {len(row["source"].split("+")) for row in singles} == {3, 4}
    assert Counter(row["emotion"] for row in singles) == {"neutral": 48, "happy": 48}
    assert abs(Counter(row["gender"] for row in singles)["Female"] - 48) <= 2
    for _, group in itertools.groupby(sorted(singles, key=lambda r: r["race"]), key=lambda r: r["race"]):
        counts = Counter(row["emotion"] for row in group)
        assert abs(counts["neutral"] - counts["happy"]) <= 1


def test_labels_are_those_of_the_taxonomies() -> None:
    for row in rows():
        assert row["gender"] in get("gender").labels
        assert row["race"] in get("race7").labels
        assert canonical(get("emotion7"), row["emotion"])
        assert align(get("age5"), [float(row["age"])], shipped()).to_truth(float(row["age"])) == row["age_group"]


def test_boxes_lie_in_their_pictures() -> None:
    for record in [*samples.read("single"), *samples.read("group")]:
        x, y, w, h = record.box_xywh_rel
        assert 0 <= x < x + w <= 1.0001
        assert 0 <= y < y + h <= 1.0001
    assert {Image.open(r.filepath).size for r in samples.read("single")} == {(224, 224)}


def test_faces_in_group_pictures_do_not_overlap() -> None:
    by_picture: dict[str, list[tuple[float, ...]]] = {}
    for record in samples.read("group"):
        by_picture.setdefault(record.filepath, []).append(record.box_xywh_rel)
    assert sorted(len(boxes) for boxes in by_picture.values()) == [2, 2, 3, 3, 4, 4, 5, 5]
    for boxes in by_picture.values():
        for left, right in itertools.pairwise(sorted(boxes)):
            assert left[0] + left[2] < right[0]


def test_what_is_shipped_is_small_and_has_its_licences() -> None:
    weights = list((ASSETS / "demo_model").glob("*.safetensors"))
    assert sum(p.stat().st_size for p in weights) <= 12_000_000
    assert sum(p.stat().st_size for p in samples.FOLDER.rglob("*.jpg")) <= 2_000_000
    assert "10.6084/m9.figshare.5047666.v5" in (samples.FOLDER / "LICENSE").read_text()
    assert "non-commercial" in (ASSETS / "demo_model" / "README.md").read_text()
    assert list(ASSETS.rglob("*.bin")) == list(ASSETS.rglob("*.pt")) == []


def test_the_demo_model_sees_the_sample_faces() -> None:
    found = {e.attribute: e.overall.accuracy for e in measure.measure(list(measure.sample_pictures()), joint=True)}
    assert {name: found[name] >= LEAST[name] for name in LEAST} == dict.fromkeys(LEAST, True), found


@real.needed
@pytest.mark.parametrize(("name", "attributes"), [("utkface", ("gender", "race5", "age5")), ("fer2013", ("emotion7",))])
def test_the_demo_model_on_pictures_it_was_not_trained_on(name: str, attributes: tuple[str, ...]) -> None:
    pictures = list(measure.held_out_pictures(name))[::EVERY]
    for joint in (True, False):
        found = {e.attribute: e.overall.accuracy for e in measure.measure(pictures, joint=joint)}
        assert set(found) == set(attributes)
        assert all(found[a] >= LEAST[a] for a in attributes), found


def test_no_machine_path_is_in_what_is_shipped() -> None:
    for path in ASSETS.rglob("*"):
        if path.suffix in {".json", ".yaml", ".md", ".csv"}:
            text = path.read_text(encoding="utf-8")
            assert str(Path.home()) not in text
            assert "/tmp/" not in text


def test_the_model_card_stands_in_the_docs_and_next_to_the_weights() -> None:
    root = Path(__file__).resolve().parents[1]
    assert (root / "docs" / "demo_model.md").read_text() == (ASSETS / "demo_model" / "README.md").read_text()

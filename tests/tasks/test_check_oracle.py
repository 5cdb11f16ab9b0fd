"""Random datasets of real faces, checked against rules that are written out one pair at a time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import fiftyone as fo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import facevlm
from facevlm.checks.faults import KINDS
from facevlm.datasets import samples
from facevlm.store.faults import FIELD
from facevlm.tasks.check import CheckResult

FACES = [record.filepath for record in samples.read("single")][::16]
LABELS = ("Male", "Female", None)
SPLITS = ("train", "val", None)
NAME = "test-checking-oracle"


@dataclass(frozen=True)
class Picture:
    """A face in one of the forms that lie on disk, and what is said about it."""

    face: int
    form: str
    gender: str | None
    split: str | None
    age: float | None

    @property
    def readable(self) -> bool:
        return self.form != "broken"

    @property
    def pixels(self) -> tuple[int, str]:
        """Equal for pictures of equal pixels: the file format does not matter, the size does."""
        return self.face, "small" if self.form == "small" else "full"


FORMS = ("png", "bmp", "small", "broken")
PICTURES = st.builds(
    Picture,
    st.integers(0, len(FACES) - 1),
    st.sampled_from(FORMS),
    st.sampled_from(LABELS),
    st.sampled_from(SPLITS),
    st.sampled_from([None, 30.0, -1.0, 121.0, float("nan")]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every face in every form."""
    made = tmp_path_factory.mktemp("forms")
    for k, source in enumerate(FACES):
        picture = Image.open(source).convert("RGB")
        picture.save(made / f"{k}.png")
        picture.save(made / f"{k}.bmp")
        picture.resize((130, 130)).save(made / f"{k}.small.png")
        (made / f"{k}.broken.png").write_bytes((made / f"{k}.png").read_bytes()[:900])
    return made


def path_of(folder: Path, picture: Picture) -> str:
    name = f"{picture.face}.{picture.form}"
    return str(folder / (name if picture.form in ("png", "bmp") else f"{name}.png"))


def build(folder: Path, pictures: list[Picture]) -> fo.Dataset:
    made = fo.Dataset(NAME, overwrite=True)
    made.add_sample_field("gender", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    made.add_sample_field("age", fo.FloatField)
    made.add_samples(
        [
            fo.Sample(
                filepath=path_of(folder, p),
                tags=[p.split] if p.split else [],
                age=p.age,
                **({"gender": fo.Classification(label=p.gender)} if p.gender else {}),
            )
            for p in pictures
        ],
        progress=False,
        validate=False,
    )
    return made


def expected(pictures: list[Picture]) -> dict[str, set[int]]:
    """Which pictures are at fault, by looking at every pair."""
    found: dict[str, set[int]] = {kind: set() for kind in KINDS}
    for k, one in enumerate(pictures):
        if not one.readable:
            found["unreadable"].add(k)
        if one.age is not None and one.age != 30:
            found["implausible_age"].add(k)
    readable = [k for k, one in enumerate(pictures) if one.readable]
    for i, j in itertools.combinations(readable, 2):
        a, b = pictures[i], pictures[j]
        if a.pixels == b.pixels:
            found["duplicate"].add(j)
            if {a.gender, b.gender} == {"Male", "Female"}:
                found["label_conflict"] |= {k for k in readable if pictures[k].pixels == a.pixels}
        if a.face == b.face:
            group = {k for k in readable if pictures[k].face == a.face}
            if a.pixels != b.pixels:
                found["near_duplicate"] |= group
            if {a.split, b.split} == {"train", "val"}:
                found["split_leak"] |= group
    return found


def at_fault(dataset: fo.Dataset, result: CheckResult) -> dict[str, set[int]]:
    place = {one: k for k, one in enumerate(dataset.values("id"))}
    return {kind: {place[one] for case in result.of(kind) for one in case.flagged} for kind in KINDS}


@given(st.lists(PICTURES, min_size=1, max_size=16))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_check_finds_what_pairs_tell(folder: Path, pictures: list[Picture]) -> None:
    dataset = build(folder, pictures)
    result = facevlm.check(dataset, progress=False)
    wanted = expected(pictures)
    assert at_fault(dataset, result) == wanted
    assert {kind: n for kind, n in dataset.count_sample_tags().items() if kind in KINDS} == {
        kind: len(some) for kind, some in wanted.items() if some
    }
    assert result.readable == sum(p.readable for p in pictures)
    assert set(dataset.list_saved_views()) == {f"check_{kind}" for kind, some in wanted.items() if some}
    groups: dict[str, set[int]] = {}
    for picture, group in zip(pictures, dataset.values(f"{FIELD}.group"), strict=True):
        if group:
            groups.setdefault(group, set()).add(picture.face)
    assert all(len(faces) == 1 for faces in groups.values())
    fo.delete_dataset(NAME)


@given(st.lists(PICTURES, min_size=2, max_size=8), st.data())
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_second_check_of_other_data_leaves_no_trace_of_the_first(
    folder: Path, pictures: list[Picture], data: st.DataObject
) -> None:
    dataset = build(folder, pictures)
    facevlm.check(dataset, progress=False)
    kept = data.draw(st.integers(1, len(pictures) - 1))
    dataset.delete_samples(dataset.values("id")[kept:])
    result = facevlm.check(dataset, progress=False)
    assert at_fault(dataset, result) == expected(pictures[:kept])
    fo.delete_dataset(NAME)


def test_the_faces_look_different_from_each_other(folder: Path) -> None:
    """What the oracle takes for granted."""
    dataset = build(folder, [Picture(k, "png", None, None, None) for k in range(len(FACES))])
    assert facevlm.check(dataset, progress=False).cases == ()
    fo.delete_dataset(NAME)

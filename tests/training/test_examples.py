"""Which faces are learnt from: what is left out, splits, weights, and pictures of the same face."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facevlm.datasets import samples
from facevlm.errors import InputError
from facevlm.training.augment import augmented
from facevlm.training.examples import CONFLICTING, REPEATED, UNLABELLED, UNREADABLE, LabelledFace, chosen
from facevlm.training.sampling import class_weights, weights
from facevlm.training.splits import by_share, by_tag, together
from facevlm.types import Face


def face(path: str, number: int = 0) -> Face:
    return Face(str(number), path)


def test_what_teaches_nothing_is_left_out_and_counted(tmp_path: Path, pictures: list[str]) -> None:
    copy, other = tmp_path / "copy.png", tmp_path / "other.png"
    shutil.copyfile(pictures[0], copy)
    shutil.copyfile(pictures[1], other)
    (tmp_path / "none.png").write_text("no picture")
    found = chosen(
        [
            LabelledFace(face(pictures[0]), {"gender": "Male"}),
            LabelledFace(face(str(copy)), {"gender": "Male", "age5": "0-9"}),
            LabelledFace(face(pictures[1]), {"gender": "Male"}),
            LabelledFace(face(str(other)), {"gender": "Female"}),
            LabelledFace(face(pictures[2]), {}),
            LabelledFace(face(str(tmp_path / "none.png")), {"gender": "Male"}),
            LabelledFace(face(str(tmp_path / "gone.png")), {"gender": "Male"}),
            LabelledFace(face(pictures[3]), {"gender": "Male"}, copy_of="a"),
            LabelledFace(face(pictures[4]), {"gender": "Male"}, copy_of="a"),
        ]
    )
    assert found.left_out == {UNLABELLED: 1, UNREADABLE: 2, CONFLICTING: 2, REPEATED: 2}
    assert [e.face.filepath for e in found.kept] == [pictures[0], pictures[3]]
    assert found.kept[0].labels == {"gender": "Male", "age5": "0-9"}


def many(n: int, **more: object) -> list[LabelledFace]:
    return [
        LabelledFace(face(f"{k}.png", k), {"gender": "Female" if k % 5 else "Male"}, **more)  # type: ignore[arg-type]
        for k in range(n)
    ]


def test_shares_have_each_labels_share() -> None:
    split = by_share(many(200), 0.2, 0.2, 0)
    assert [len(part) for part in split.parts.values()] == [120, 40, 40]
    assert [Counter(e.labels["gender"] for e in part)["Male"] for part in split.parts.values()] == [24, 8, 8]
    assert split == by_share(many(200), 0.2, 0.2, 0)
    assert split != by_share(many(200), 0.2, 0.2, 1)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.booleans()), min_size=3, max_size=60), st.integers(0, 5)
)
def test_nobody_is_in_two_parts(people: list[tuple[int, int, bool]], seed: int) -> None:
    examples = [
        LabelledFace(
            face(f"{k}.png", k), {"gender": "Male" if male else "Female"}, subject=who or None, near=str(near) or None
        )
        for k, (who, near, male) in enumerate(people)
    ]
    split = by_share(examples, 0.2, 0.3, seed)
    place = {e.face.sample_id: part for part, some in split.parts.items() for e in some}
    assert len(place) == len(examples)
    for group in together(examples):
        assert len({place[e.face.sample_id] for e in group}) == 1
    for name in ("subject", "near"):
        for value in {getattr(e, name) for e in examples} - {None}:
            assert len({place[e.face.sample_id] for e in examples if getattr(e, name) == value}) == 1


def test_tags_split_and_what_is_alike_leaves_the_part_that_learns() -> None:
    examples = many(9)
    tags = ["train"] * 4 + ["val"] * 2 + ["test"] * 2 + ["other"]
    tagged = [replace(e, tags=frozenset({tag})) for e, tag in zip(examples, tags, strict=True)]
    tagged[0], tagged[6] = replace(tagged[0], near="x"), replace(tagged[6], near="x")
    tagged[4], tagged[7] = replace(tagged[4], subject=1), replace(tagged[7], subject=1)
    split = by_tag(tagged, {"train": "train", "validation": "val", "test": "test"})
    assert [[e.face.sample_id for e in part] for part in split.parts.values()] == [["1", "2", "3"], ["5"], ["6", "7"]]
    assert split.across == 2


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.1), (0.5, 0.5), (0.2, -0.1), (1.0, 0.0)])
def test_shares_that_leave_nothing_are_refused(validation: float, test: float) -> None:
    with pytest.raises(InputError, match="expected shares of the faces that leave some to learn from"):
        by_share(many(10), validation, test, 0)


def test_rare_labels_and_groups_are_shown_as_often_and_weigh_more() -> None:
    examples = [replace(e, groups={"place": "a" if k < 20 else "b"}) for k, e in enumerate(many(50))]
    assert weights(examples, None) == pytest.approx(np.full(50, 0.02))
    by_label = weights(examples, "labels")
    assert sum(w for w, e in zip(by_label, examples, strict=True) if e.labels["gender"] == "Male") == pytest.approx(0.5)
    by_group = weights(examples, "groups")
    for place in "ab":
        assert sum(w for w, e in zip(by_group, examples, strict=True) if e.groups["place"] == place) == pytest.approx(
            0.5
        )
    assert class_weights(examples, {"gender": ["Male", "Female", "Other"]}) == {"gender": [2.5, 0.625, 0.0]}


def test_pictures_of_the_same_face_are_of_its_size_and_look_like_it() -> None:
    picture = Image.open(samples.read("single")[0].filepath).convert("RGB").resize((64, 48))
    made = [augmented(picture, seed) for seed in range(20)]
    assert all(one.size == picture.size and one.mode == "RGB" for one in made)
    assert len({one.tobytes() for one in made}) == 20
    assert augmented(picture, 3).tobytes() == made[3].tobytes()
    flipped = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for one in made:
        far = min(np.abs(np.asarray(one, float) - np.asarray(want, float)).mean() for want in (picture, flipped))
        assert far < 45, "no colour or part of the face is lost"

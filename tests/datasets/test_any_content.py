"""Whatever stands in a file, a reader yields good records, reports the rest, or refuses the file: it never breaks."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facevlm import attributes
from facevlm.attributes import canonical
from facevlm.datasets import catalog, celeba, files
from facevlm.datasets.files import inside
from facevlm.datasets.records import BrokenRow, Log, Record
from facevlm.errors import LayoutError
from facevlm.faces import images
from tests.datasets import layouts
from tests.datasets.layouts import FACET_HEAD, FORTY, read

CELL = st.text(alphabet=st.sampled_from("019-. ;,'\"{}:xyaM\x00²é"), max_size=12) | st.sampled_from(
    ["train/1.jpg", "Male", "White", "3-9", "9-Mar", "True", "nan", "1e999", "-1", "0", "7", "10", "../1.jpg", ""]
)
KNOWN = attributes.load("celeba")
COMMON = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(name: str, root: Path, **options: Any) -> tuple[list[Record], Log]:
    """What a reader makes of a folder, once it is seen to be sound."""
    records, log = read(name, root, **options)
    fields = catalog.reader(name, options).fields(root)
    for record in records:
        assert Path(record.filepath).is_file()
        assert name == "csv" or Path(record.filepath).is_relative_to(root)
        assert record.age is None or (math.isfinite(record.age) and record.age >= 0)
        for labels in (record.labels, *(face.labels for face in record.faces)):
            assert all(canonical(KNOWN.get(fields[field]), value) == value for field, value in labels.items())
        for face in record.faces:
            x, y, width, height = face.box_xywh_rel
            assert 0 <= x < x + width <= 1 + 1e-9
            assert 0 <= y < y + height <= 1 + 1e-9
    return records, log


@given(rows=st.lists(st.lists(CELL, min_size=3, max_size=6), max_size=8))
@COMMON
def test_fairface_of_any_rows(rows: list[list[str]], tmp_path: Path) -> None:
    layouts.picture(tmp_path / "train" / "1.jpg")
    path = layouts.table(tmp_path / "fairface_label_train.csv", ("file", "age", "gender", "race", "service_test"), rows)
    records, log = check("fairface", tmp_path)
    assert len(records) + log.count <= len(rows)
    assert all(row.startswith(f"{path}:") for row in log.rows)


@given(content=st.binary(max_size=200))
@COMMON
def test_a_table_of_any_bytes(content: bytes, tmp_path: Path) -> None:
    layouts.picture(tmp_path / "1.jpg")
    (tmp_path / "t.csv").write_bytes(b"file,gender,age\n1.jpg,Male,3\n" + content)
    records, _ = check("csv", tmp_path)
    assert len(records) <= 1 + content.count(b"\n") + content.count(b"\r") + 1


@given(rows=st.lists(st.lists(CELL, min_size=9, max_size=9), max_size=6))
@COMMON
def test_affectnet_of_any_rows(rows: list[list[str]], tmp_path: Path) -> None:
    layouts.picture(tmp_path / "images" / "train" / "1.jpg")
    head = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height")
    layouts.table(tmp_path / "training.csv", (*head, "facial_landmarks", "expression", "valence", "arousal"), rows)
    check("affectnet", tmp_path)


@given(boxes=st.lists(CELL | st.builds(str, st.dictionaries(st.sampled_from(["x", "y", "width", "height"]), CELL))))
@COMMON
def test_facet_of_any_boxes(boxes: list[str], tmp_path: Path) -> None:
    layouts.picture(tmp_path / "images" / "1.jpg")
    rows = [[k, "1.jpg", "singer", "", box, *("1" * (len(FACET_HEAD) - 5))] for k, box in enumerate(boxes)]
    layouts.table(tmp_path / "annotations.csv", FACET_HEAD, rows)
    check("facet", tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 200) | CELL,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["files", "dark_files", "label", "age", "gender", "skin-type"]), inner)
    ),
    max_leaves=12,
)


@given(people=st.dictionaries(CELL, JSON, max_size=4))
@COMMON
def test_casual_conversations_of_any_json(people: dict[str, Any], tmp_path: Path) -> None:
    layouts.picture(tmp_path / "train" / "1.jpg")
    (tmp_path / "CasualConversations.json").write_text(json.dumps(people), encoding="utf-8")
    check("casual-conversations", tmp_path)


@given(names=st.lists(st.text(alphabet="0123456789_²aé .", min_size=1, max_size=24), max_size=8, unique=True))
@COMMON
def test_utkface_of_any_names(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("names")
    kept = [name for name in names if not name.startswith(".")]
    for name in names:
        (root / f"{name}.jpg").touch()
    (root / "1_0_0_20170109150557335.jpg").touch()
    records, log = check("utkface", root)
    assert len(records) + log.count == len({f"{name}.jpg" for name in kept} | {"1_0_0_20170109150557335.jpg"})


@given(lines=st.lists(st.lists(CELL, max_size=4).map(" ".join), max_size=8))
@COMMON
def test_rafdb_and_celeba_of_any_lines(lines: list[str], tmp_path: Path) -> None:
    layouts.picture(tmp_path / "Image" / "aligned" / "train_1_aligned.jpg")
    layouts.text(tmp_path / "EmoLabel" / "list_patition_label.txt", [*lines, "train_1.jpg 3"])
    assert len(check("rafdb", tmp_path)[0]) >= 1
    layouts.picture(tmp_path / "img_celeba" / "1.jpg")
    rows = [f"1.jpg {' '.join(['1'] * 40)}", *(f"1.jpg {' '.join([line[:2] or '0'] * 40)}" for line in lines)]
    layouts.text(tmp_path / "list_attr_celeba.txt", ["9", " ".join(FORTY), *rows])
    layouts.text(tmp_path / "list_eval_partition.txt", [*lines, "1.jpg 0"])
    assert len(check("celeba", tmp_path)[0]) >= 1


@given(values=st.lists(CELL, min_size=40, max_size=40))
@COMMON
def test_each_of_forty_answers_is_yes_or_no_or_reported(values: list[str]) -> None:
    log, right = Log(), sum(v in celeba.ANSWERS for v in values)
    try:
        said = celeba.answers(values, celeba.columns(), log)
    except BrokenRow:
        assert right == 0
        return
    assert right == len(said.keys() - {"gender"})
    assert len(said) + log.cells.total() == 41
    assert set(said.values()) <= {"yes", "no", "Male", "Female"}


@given(name=st.text(alphabet="a./\\ ", max_size=12))
@COMMON
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    try:
        found = inside(tmp_path, name)
    except BrokenRow:
        return
    assert Path(found).is_relative_to(tmp_path)
    assert ".." not in Path(found).parts


@given(x=st.floats(), y=st.floats(), width=st.floats(), height=st.floats())
@COMMON
def test_a_box_lies_in_the_picture_or_is_refused(x: float, y: float, width: float, height: float) -> None:
    try:
        left, top, wide, high = files.relative_box(x, y, width, height, (64, 48))
    except BrokenRow:
        return
    assert 0 <= left < left + wide <= 1 + 1e-9
    assert 0 <= top < top + high <= 1 + 1e-9


# Twice the same


READABLE: list[tuple[str, Callable[[Path], Path], dict[str, object]]] = [
    ("fairface", layouts.fairface, {}),
    ("affectnet", layouts.affectnet_npy, {}),
    ("celeba", layouts.celeba, {}),
    ("mufac", layouts.mufac, {}),
    ("mucac", layouts.mucac, {}),
    ("rafdb", layouts.rafdb, {}),
    ("facet", layouts.facet, {}),
    ("casual-conversations", layouts.casual_conversations, {}),
]


@pytest.mark.parametrize(("name", "make", "options"), READABLE, ids=[name for name, *_ in READABLE])
def test_reading_again_gives_the_same_and_changes_no_file(
    name: str, make: Callable[[Path], Path], options: dict[str, Any], tmp_path: Path
) -> None:
    root = make(tmp_path)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    first, second = read(name, root, **options), read(name, root, **options)
    assert first[0] == second[0]
    assert (first[1].kinds, first[1].rows) == (second[1].kinds, second[1].rows)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("name", "make", "options"), READABLE, ids=[name for name, *_ in READABLE])
def test_nothing_that_tells_who_somebody_is_is_kept(
    name: str, make: Callable[[Path], Path], options: dict[str, Any], tmp_path: Path
) -> None:
    for record in read(name, make(tmp_path), **options)[0]:
        kept = {*record.labels, *record.values, *record.tags, *(v for face in record.faces for v in face.values)}
        assert not {
            k for k in kept if any(word in k for word in ("identity", "subject", "person_id", "family", "name"))
        }


def test_pictures_that_went_away_leave_the_table_readable(tmp_path: Path) -> None:
    root = layouts.mufac(tmp_path)
    for path in (root / "train_images").iterdir():
        path.unlink()
    records, log = read("mufac", root)
    assert [r.split for r in records] == ["val", "test"]
    assert log.kinds["picture not there"] == 2


def test_a_header_alone_yields_nothing(tmp_path: Path) -> None:
    layouts.table(tmp_path / "custom_val_dataset.csv", ("image_path", "age_class"), [])
    assert read("mufac", tmp_path) == ([], Log())
    layouts.text(tmp_path / "custom_val_dataset.csv", [])
    with pytest.raises(LayoutError, match="missing"):
        read("mufac", tmp_path)


# Files that were not copied to their end


def broken(whole: bytes) -> list[bytes]:
    """What may be left of a file: nothing, the mark of an encoding, a line or two, half of it, zeros."""
    first, _, rest = whole.partition(b"\n")
    second = rest.partition(b"\n")[0]
    return [b"", b"\xff\xfe", first, first + b"\n" + second, whole[: len(whole) // 2], bytes(len(whole))]


@pytest.mark.parametrize(
    ("name", "make", "options"),
    [
        *READABLE,
        ("affectnet", layouts.affectnet_lists, {}),
        ("celeba", lambda root: layouts.celeba(root, as_csv=True), {}),
        ("fer2013", layouts.fer2013, {"extract_to": "out"}),
    ],
)
def test_what_is_left_of_a_file_is_read_or_refused(
    name: str,
    make: Callable[[Path], Path],
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    root = make(tmp_path / "in")
    tables = [path for path in root.rglob("*") if path.is_file() and not images.is_named_so(path.name)]
    assert tables
    for path in tables:
        whole = path.read_bytes()
        for left in broken(whole):
            path.write_bytes(left)
            # Whatever else is raised ends the test.
            with contextlib.suppress(LayoutError):
                read(name, root, **options)
        path.write_bytes(whole)

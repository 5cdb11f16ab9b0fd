"""Labels from a table of one's own: met by path, name or id, never guessed, and nothing that is there is lost."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from fiftyone import ViewField as F
from PIL import Image

import facevlm
from facevlm import cli
from facevlm.errors import FacevlmError, FieldError, InputError, UnknownName
from tests.scripted import ScriptedBackend, certain


@pytest.fixture
def dataset(dataset_name: str, tmp_path: Path) -> fo.Dataset:
    """Pictures a/0.png, a/1.png, a/2.png, b/0.png, b/3.png: one name twice."""
    made = fo.Dataset(dataset_name)
    for k, name in enumerate(("a/0", "a/1", "a/2", "b/0", "b/3")):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (40 * k,) * 3).save(path)
        made.add_sample(fo.Sample(filepath=str(path)))
    return made


def table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def labels(dataset: fo.Dataset, field: str) -> list[str | None]:
    dataset.reload()
    return list(dataset.values(f"{field}.label"))


def state(dataset: fo.Dataset) -> Any:
    dataset.reload()
    return [sample.to_dict(include_private=True) for sample in dataset], list(dataset.get_field_schema())


def test_rows_meet_by_path_by_name_and_by_id(dataset: fo.Dataset, tmp_path: Path) -> None:
    paths, ids = dataset.values("filepath"), dataset.values("id")
    names = [paths[0], "1.png", ids[2], "pictures/b/0.png", "3"]
    rows = [
        {"file": name, "sex": sex, "years": age}
        for name, sex, age in zip(names, ["Male", "Female"] * 2 + ["Male"], range(20, 70, 10), strict=True)
    ]
    result = facevlm.truth(dataset, table(tmp_path / "labels.csv", rows), map={"sex": "gender", "years": "age"})
    assert (result.matched, result.rows_unmatched, result.rows_ambiguous, result.samples_unmatched) == (5, (), (), ())
    assert labels(dataset, "gender") == ["Male", "Female", "Male", "Female", "Male"]
    assert dataset.values("age") == [20.0, 30.0, 40.0, 50.0, 60.0]
    assert result.fields == {"gender": {"Male": 3, "Female": 2}, "age": {"n": 5, "least": 20.0, "largest": 60.0}}


def test_what_is_written_is_ground_truth(dataset: fo.Dataset, tmp_path: Path) -> None:
    rows = [{"path": p, "gender": "Female", "age": 25} for p in dataset.values("filepath")]
    facevlm.truth(dataset, table(tmp_path / "labels.csv", rows))
    model = ScriptedBackend(lambda image, question: certain(question.attribute.labels[-1], question))
    facevlm.apply(dataset, model, ["gender", "age5"], prefix="m", progress=False)
    result = facevlm.evaluate(dataset, prefix="m", ground_truth={"gender": "gender", "age5": "age"}, draws=20)
    assert (result["gender"].overall.n, result["age5"].overall.n) == (5, 5)


def test_names_that_several_have_and_names_of_nobody_are_listed_and_left_out(
    dataset: fo.Dataset, tmp_path: Path
) -> None:
    rows = [
        {"file": "0.png", "gender": "Male"},
        {"file": "nobody.png", "gender": "Male"},
        {"file": "1.png", "gender": "Male"},
        {"file": "a/2.png", "gender": "Male"},
        {"file": "2.png", "gender": "Female"},
        {"file": "3.png", "gender": ""},
        {"file": "", "gender": "Male"},
    ]
    result = facevlm.truth(dataset, table(tmp_path / "labels.csv", rows))
    assert result.rows_ambiguous == (
        "labels.csv:2: 0.png is the name of 2 pictures",
        "labels.csv:5: a/2.png is one of 2 rows about one picture",
        "labels.csv:6: 2.png is one of 2 rows about one picture",
    )
    assert result.rows_unmatched == ("labels.csv:3: nobody.png", "labels.csv:8: (empty)")
    paths = dataset.values("filepath")
    assert result.samples_unmatched == (paths[0], paths[2], paths[3])
    assert labels(dataset, "gender") == [None, "Male", None, None, None]


def test_paths_start_at_the_folder_of_the_table(dataset: fo.Dataset, tmp_path: Path) -> None:
    rows = [{"file": "0.png", "gender": "Male"}, {"file": "../b/0.png", "gender": "Female"}]
    result = facevlm.truth(dataset, table(tmp_path / "pictures" / "a" / "labels.csv", rows))
    assert (result.matched, result.rows_ambiguous) == (2, ())
    assert labels(dataset, "gender") == ["Male", None, None, "Female", None]


def test_only_samples_of_a_view_get_values(dataset: fo.Dataset, tmp_path: Path) -> None:
    rows = [{"file": p, "gender": "Male"} for p in dataset.values("filepath")]
    result = facevlm.truth(dataset.limit(2), table(tmp_path / "labels.csv", rows))
    assert (result.matched, len(result.rows_unmatched)) == (2, 3)
    assert labels(dataset, "gender") == ["Male", "Male", None, None, None]


def test_values_that_are_there_stay_unless_it_is_said(dataset: fo.Dataset, tmp_path: Path) -> None:
    first = dataset.first()
    first["gender"] = fo.Classification(label="Female", tags=["mine"])
    first.save()
    kept = first["gender"].id
    file = table(tmp_path / "labels.csv", [{"file": p, "gender": "Male"} for p in dataset.values("filepath")])
    before = state(dataset)
    with pytest.raises(FieldError, match="holds other values than the table for 1 samples, such as 'Female'"):
        facevlm.truth(dataset, file)
    assert state(dataset) == before
    facevlm.truth(dataset, table(tmp_path / "same.csv", [{"file": first.filepath, "gender": "Female"}]))
    dataset.reload()
    assert (dataset.first()["gender"].id, dataset.first()["gender"].tags) == (kept, ["mine"])
    facevlm.truth(dataset, file, overwrite=True)
    assert labels(dataset, "gender") == ["Male"] * 5
    assert facevlm.truth(dataset, file).matched == 5, "a second time there is nothing to lose"


def in_part(dataset: fo.Dataset) -> dict[str, fo.DatasetView]:
    """Views that show other labels, ages and paths than the dataset holds, or none."""
    return {
        "hidden": dataset.filter_labels("gender", F("label") == "Male", only_matches=False),
        "mapped": dataset.map_labels("gender", {"Female": "Male"}),
        "set": dataset.set_field("age", 30.0),
        "moved": dataset.set_field("filepath", F("filepath").concat("/moved")),
    }


def test_values_that_a_view_hides_or_shows_as_others_stay_unless_it_is_said(
    dataset: fo.Dataset, tmp_path: Path
) -> None:
    first, *_ = paths = dataset.values("filepath")
    other = table(tmp_path / "a.csv", [{"path": first, "gender": "Female", "age": 20}])
    facevlm.truth(dataset, other)
    rows = [{"path": path, "gender": "Male", "age": 30} for path in paths]
    named = table(tmp_path / "b.csv", rows)
    before = state(dataset)
    for name, view in in_part(dataset).items():
        for field, value in {"gender": "'Female'", "age": "'20.0'"}.items():
            with pytest.raises(FieldError, match=f"Field '{field}' holds other values .* 1 samples, such as {value}"):
                facevlm.truth(view, named, map={field: field})
            assert state(dataset) == before, name
    for name, view in in_part(dataset).items():
        facevlm.truth(view, named, overwrite=True)
        assert (labels(dataset, "gender"), dataset.values("age")) == (["Male"] * 5, [30.0] * 5), name
        facevlm.truth(dataset, other, overwrite=True)


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"path_column": "fiel"}, UnknownName, "Did you mean 'file'"),
        ({"map": {"sexx": "gender"}}, UnknownName, "Did you mean 'sex'"),
        ({"map": {"sex": "filepath"}}, FieldError, "Field 'filepath' is there"),
        ({"map": {"sex": "tags"}}, FieldError, "Field 'tags' is there"),
        ({"map": {"sex": "no name"}}, FieldError, "expected letters, digits and underscores"),
        ({"map": {"sex": "g", "years": "g"}}, InputError, "more than one column for the field 'g'"),
        ({"map": {"sex": "m_gender"}, "overwrite": True}, FieldError, "holds answers of a model"),
        ({"map": {"sex": "locked"}, "overwrite": True}, FieldError, "read-only"),
        ({"map": {"sex": "number"}, "overwrite": True}, FieldError, "the table has labels for it"),
        ({"path_column": "sex"}, InputError, "None of the 5 rows of labels.csv is about one sample"),
        ({"map": {}}, InputError, "expected at least one of labels"),
        ({"map": "sex"}, InputError, "Got map='sex'"),
    ],
)
def test_all_is_checked_before_anything_is_written(
    given: dict[str, Any], kind: type[FacevlmError], said: str, dataset: fo.Dataset, tmp_path: Path
) -> None:
    model = ScriptedBackend(lambda image, question: certain("Male", question))
    facevlm.apply(dataset, model, ["gender"], prefix="m", progress=False)
    dataset.add_sample_field("number", fo.FloatField)
    dataset.add_sample_field("locked", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    locked = dataset.get_field("locked")
    locked.read_only = True
    locked.save()
    rows = [{"file": p, "sex": "Male", "years": 30} for p in dataset.values("filepath")]
    before = state(dataset)
    with pytest.raises(kind, match=said.replace("(", r"\(")):
        facevlm.truth(dataset, table(tmp_path / "labels.csv", rows), **given)
    assert state(dataset) == before


def test_cells_of_a_column_of_numbers_that_are_none_are_listed(dataset: fo.Dataset, tmp_path: Path) -> None:
    ages = ["31", "old", "nan", "4,5", ""]
    rows = [{"file": p, "age": age} for p, age in zip(dataset.values("filepath"), ages, strict=True)]
    result = facevlm.truth(dataset, table(tmp_path / "labels.csv", rows))
    assert result.cells == ("age: old", "age: nan")
    assert dataset.values("age") == [31.0, None, None, 4.5, None]


def test_parquet_is_read_as_csv_is(dataset: fo.Dataset, tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    held = {"file": dataset.values("filepath"), "gender": ["Male", None] * 2 + ["Female"], "age": [20, 30, None, 4, 5]}
    parquet.write_table(pyarrow.table(held), tmp_path / "labels.parquet")
    facevlm.truth(dataset, tmp_path / "labels.parquet")
    assert labels(dataset, "gender") == held["gender"]
    assert dataset.values("age") == [20.0, 30.0, None, 4.0, 5.0]


@pytest.mark.parametrize("name", ["no.csv", "labels.txt", "broken.parquet"])
def test_a_file_that_is_no_table_is_said(name: str, dataset: fo.Dataset, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("file,gender\n")
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"Got the table|Cannot read the table"):
        facevlm.truth(dataset, tmp_path / name)


def test_the_command_tells_what_met_and_what_did_not(
    dataset: fo.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"name": "1.png", "sex": "Male", "years": 30}, {"name": "0.png", "sex": "Male", "years": 30}]
    words = [dataset.name, str(table(tmp_path / "labels.csv", rows)), "--path-column", "name"]
    assert cli.main(["truth", *words, "--map", "sex=gender", "--map", "years=age"]) == 0
    told = capsys.readouterr().out
    assert "gender: Male 1" in told
    assert "1 samples have a row, 4 have none." in told
    assert "labels.csv:3: 0.png is the name of 2 pictures" in told
    assert cli.main(["truth", *words, "--map", "sex=gender", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["matched"] == 1

"""Every published layout all the way into FiftyOne: the same by load and by from_dir, and ready to be evaluated."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm import attributes, datasets
from facevlm.attributes import canonical
from facevlm.datasets import diversefaces
from facevlm.datasets.records import Record
from facevlm.errors import TaxonomyError
from facevlm.store import importers
from tests import real
from tests.datasets import layouts

SETS: dict[str, tuple[Callable[[Path], Path], type[Any], int, set[str]]] = {
    "fairface": (layouts.fairface, importers.FairFaceDataset, 4, {"gender", "race", "age_group", "service_test"}),
    "affectnet": (
        layouts.affectnet_lists,
        importers.AffectNetDataset,
        3,
        {"emotion", "valence", "arousal", "faces", "landmarks"},
    ),
    "mufac": (layouts.mufac, importers.MUFACDataset, 4, {"age_group", "age"}),
    "mucac": (layouts.mucac, importers.MUCACDataset, 4, {"gender", "celeba_smiling", "celeba_young"}),
    "rafdb": (layouts.rafdb, importers.RAFDBDataset, 3, {"emotion", "gender", "race", "age_group"}),
    "facet": (
        layouts.facet,
        importers.FACETDataset,
        2,
        {"faces", "gender", "hair_color", "hair_type", "lighting"},
    ),
    "casual-conversations": (
        layouts.casual_conversations,
        importers.CasualConversationsDataset,
        4,
        {"gender", "age_group", "age", "skin_tone", "lighting"},
    ),
}
STANDARD = {"id", "filepath", "tags", "metadata", "created_at", "last_modified_at"}
KNOWN = attributes.load("celeba")


def flat(dataset: fo.Dataset) -> dict[str, Any]:
    """All values of a dataset but ids and times."""
    names = [n for n in dataset.get_field_schema(flat=True) if not n.endswith(("id", "_at")) and "." not in n]
    labels = [n for n in names if isinstance(dataset.get_field(n), fo.EmbeddedDocumentField)]
    paths = [f"{n}.label" for n in labels if dataset.get_field(n).document_type is fo.Classification]
    plain = [n for n in names if n not in labels]
    boxes = [n for n in dataset.get_field_schema(flat=True) if n.startswith("faces.detections.") and "id" not in n]
    return {path: dataset.values(path) for path in (*plain, *paths, *boxes)}


@pytest.mark.parametrize("name", SETS)
def test_fields_are_those_that_are_promised(name: str, tmp_path: Path, dataset_name: str) -> None:
    make, _, count, fields = SETS[name]
    dataset = datasets.load(name, make(tmp_path), dataset_name=dataset_name)
    assert len(dataset) == count
    assert set(dataset.get_field_schema()) - STANDARD == fields
    promised = dataset.info["facevlm"]["attributes"]
    for field in fields & set(promised):
        found = set(dataset.distinct(f"{field}.label"))
        attribute = KNOWN.get(promised[field])
        assert found
        assert all(canonical(attribute, value) == value for value in found)
    assert all(Path(p).is_file() for p in dataset.values("filepath"))
    counts = dataset.info["facevlm"]["counts"]
    assert counts["samples"] == count
    tags = Counter(itertools.chain(*dataset.values("tags")))
    assert all(tags[split] == n for split, n in counts["splits"].items())


@pytest.mark.parametrize("name", SETS)
def test_from_dir_gives_the_same_dataset(name: str, tmp_path: Path, dataset_name: str) -> None:
    make, kind, *_ = SETS[name]
    root = make(tmp_path)
    loaded = datasets.load(name, root, dataset_name=f"{dataset_name}-loaded")
    try:
        mine = fo.Dataset.from_dir(dataset_dir=str(root), dataset_type=kind, name=dataset_name, dynamic=True)
        assert flat(mine) == flat(loaded)
        assert mine.info["facevlm"] == loaded.info["facevlm"]
    finally:
        loaded.delete()


@pytest.mark.parametrize("name", SETS)
def test_a_limit_takes_the_first(name: str, tmp_path: Path, dataset_name: str) -> None:
    root = SETS[name][0](tmp_path)
    whole = datasets.load(name, root, dataset_name=f"{dataset_name}-whole")
    try:
        some = datasets.load(name, root, dataset_name=dataset_name, limit=2)
        assert some.values("filepath") == whole.values("filepath")[:2]
        assert some.info["facevlm"]["counts"]["samples"] == 2
    finally:
        whole.delete()


def test_celeba_in_full_and_in_part(tmp_path: Path, dataset_name: str) -> None:
    root = layouts.celeba(tmp_path)
    dataset = datasets.load("celeba", root, dataset_name=dataset_name)
    fields = [n for n in dataset.get_field_schema() if n.startswith("celeba_")]
    assert len(fields) == 40
    assert dataset.values("celeba_smiling.label") == ["yes", "no", "no"]
    assert dataset.values("tags") == [["train"], ["val"], ["test"]]
    part = datasets.load("celeba", root, dataset_name=dataset_name, overwrite=True, only="smiling")
    assert [n for n in part.get_field_schema() if n.startswith("celeba_")] == ["celeba_smiling"]


def test_fairface_truth_meets_predictions_of_fewer_races(tmp_path: Path, dataset_name: str) -> None:
    dataset = datasets.load("fairface", layouts.fairface(tmp_path), dataset_name=dataset_name)
    facevlm.apply(dataset, "demo", ["gender", "race5", "age5"])
    result = facevlm.evaluate(dataset, ["gender", "race5", "age5"], prefix="demo", draws=20)
    assert [result[name].overall.n for name in ("gender", "race5", "age5")] == [4, 4, 4]
    groups = (
        {row.label for row in result["race5"].per_class if row.n} if hasattr(result["race5"], "per_class") else None
    )
    assert groups is None or groups <= {"Asian", "Others", "Black"}


def test_truth_without_a_map_is_refused_with_the_reason(tmp_path: Path, dataset_name: str) -> None:
    dataset = datasets.load("fairface", layouts.fairface(tmp_path), dataset_name=dataset_name)
    truth = dataset.values("race.label")
    with pytest.raises(TaxonomyError, match="race4 has no place for Latinx or Hispanic and Middle Eastern"):
        attributes.align(attributes.get("race4"), truth, attributes.shipped())


@real.needed
def test_real_utkface_agrees_with_its_names_one_by_one(tmp_path: Path, dataset_name: str) -> None:
    members = real.extract("utkface", tmp_path, lambda pictures: pictures[:4000])
    dataset = datasets.load("utkface", tmp_path, dataset_name=dataset_name)
    assert len(dataset) == len(members)
    races = ("White", "Black", "Asian", "Indian", "Others")
    rows = zip(*dataset.values(["filepath", "age", "gender.label", "race.label", "age_group.label"]), strict=True)
    for path, age, gender, race, group in rows:
        parts = Path(path).name.split("_")
        assert (age, gender, race) == (int(parts[0]), ("Male", "Female")[int(parts[1])], races[int(parts[2])])
        low, _, high = group.partition("-")
        assert (int(low) <= age <= int(high)) if high else age >= 70


@real.needed
def test_real_fer2013_agrees_with_its_folders(tmp_path: Path, dataset_name: str) -> None:
    chosen = real.extract("fer2013", tmp_path, lambda pictures: pictures[::40])
    dataset = datasets.load("fer2013", tmp_path, dataset_name=dataset_name)
    parts = [Path(name).parts for name in chosen]
    names = {"angry": "anger"}
    assert dataset.count_values("emotion.label") == Counter(names.get(p[-2], p[-2]) for p in parts)
    assert dataset.count_values("tags") == Counter({"train": "train", "validation": "val"}[p[-3]] for p in parts)


# FiftyOne's own way, for what the table above does not hold


def named_faces(root: Path) -> Path:
    for k in range(3):
        layouts.picture(root / f"{30 + k}_{k % 2}_{k}_2017010{k}.jpg")
    return root


def by_class(root: Path) -> Path:
    for name in ("train/angry/1.jpg", "test/happy/2.jpg"):
        layouts.picture(root / name)
    return root


def by_table(root: Path) -> Path:
    for k in range(2):
        layouts.picture(root / f"{k}.jpg")
    layouts.table(root / "t.csv", ("file", "race", "age"), [("0.jpg", "Others", 3), ("1.jpg", "Asian", 70)])
    return root


def composed(root: Path) -> Path:
    people = [
        Record(str(layouts.picture(root / "in" / f"{k}.png", (16, 16))), {"gender": "Male"}, 20.0 + k) for k in range(4)
    ]
    diversefaces.build(people, {"gender": "gender"}, root / "out", per_picture=2, height=16)
    return root / "out"


@pytest.mark.parametrize(
    ("make", "kind", "options", "field", "values"),
    [
        (named_faces, importers.UTKFaceDataset, {}, "race.label", ["White", "Black", "Asian"]),
        (by_class, importers.FER2013Dataset, {}, "emotion.label", ["happy", "anger"]),
        (by_class, importers.FaceFoldersDataset, {"attribute": "emotion8"}, "emotion.label", ["happy", "anger"]),
        (by_table, importers.FaceTableDataset, {}, "race.label", ["Others", "Asian"]),
        (by_table, importers.FaceTableDataset, {"columns": "race=race5"}, "age", [None, None]),
        (layouts.celeba, importers.CelebADataset, {"only": "young"}, "celeba_young.label", ["no", "yes", "no"]),
        (composed, importers.DiverseFacesDataset, {}, "faces.detections.gender", [["Male"] * 2] * 2),
    ],
)
def test_the_other_types(
    make: Callable[[Path], Path],
    kind: type[Any],
    options: dict[str, object],
    field: str,
    values: list[object],
    tmp_path: Path,
    dataset_name: str,
) -> None:
    dataset = fo.Dataset.from_dir(
        dataset_dir=str(make(tmp_path)), dataset_type=kind, name=dataset_name, options=options or None, dynamic=True
    )
    assert (dataset.values(field) if dataset.has_field(field.split(".")[0]) else [None] * len(dataset)) == values
    assert dataset.info["facevlm"]["name"] == kind.source
    assert dataset.info["facevlm"]["counts"]["samples"] == len(values)


def test_a_type_may_be_named_by_its_path(tmp_path: Path, dataset_name: str) -> None:
    dataset = fo.Dataset.from_dir(
        dataset_dir=str(layouts.mufac(tmp_path)),
        dataset_type="facevlm.store.importers.MUFACDataset",
        name=dataset_name,
        split="test",
    )
    assert dataset.values("age_group.label") == ["0-6"]
    assert dataset.values("tags") == [["test"]]

"""Data sets on disk as FiftyOne datasets: fields, tags, info, limits, nothing half done; by load and by importers."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm import datasets
from facevlm.datasets import catalog
from facevlm.datasets.records import FaceBox, Log, Record
from facevlm.errors import FieldError, InputError, LayoutError, TargetError, TaxonomyError, UnknownName
from facevlm.store import importers, importing, samples
from tests.datasets import layouts

ROOT = Path(__file__).resolve().parents[2]


def utkface(root: Path, count: int = 6) -> Path:
    for k in range(count):
        layouts.picture(root / f"{10 * k}_{k % 2}_{k % 5}_2017010{k}.jpg", grey=40 * (k % 6))
    return root


# load()


def test_samples_have_classifications_years_tags_and_a_source(tmp_path: Path, dataset_name: str) -> None:
    layouts.picture(utkface(tmp_path) / "61_1_20170109142408075.jpg")
    dataset = datasets.load("utkface", tmp_path, dataset_name=dataset_name)
    assert dataset.persistent
    assert dataset.name == dataset_name
    schema = dataset.get_field_schema()
    assert isinstance(schema["age"], fo.FloatField)
    assert all(schema[name].document_type is fo.Classification for name in ("gender", "race", "age_group"))
    assert dataset.values("age") == [0, 10, 20, 30, 40, 50]
    assert dataset.values("race.label") == ["White", "Black", "Asian", "Indian", "Others", "White"]
    assert dataset.values("tags") == [["wild"]] * 6
    assert all(Path(p).parent == tmp_path for p in dataset.values("filepath"))
    info = dataset.info["facevlm"]
    assert info["source"] == "UTKFace"
    assert info["licence"] == "non-commercial research only"
    assert info["split"] is None
    assert {"url", "citation", "name"} <= set(info)
    assert info["attributes"] == {"gender": "gender", "race": "race5", "age_group": "age9"}
    assert info["counts"]["samples"] == 6
    assert info["counts"]["splits"] == {"wild": 6}
    assert info["counts"]["ages"] == {"count": 6, "youngest": 0, "oldest": 50}
    assert info["counts"]["labels"]["gender"] == {"Male": 3, "Female": 3}
    assert info["skipped"]["count"] == 1
    assert "61_1_20170109142408075.jpg" in info["skipped"]["rows"][0]
    assert fo.load_dataset(dataset_name).info["facevlm"] == info


def test_a_split_names_the_dataset(tmp_path: Path) -> None:
    root = layouts.fairface(tmp_path)
    dataset = datasets.load("fairface", root, split="val")
    try:
        assert dataset.name == "fairface-val"
        assert dataset.values("tags") == [["val"]]
        assert dataset.values("service_test") == [True]
        assert dataset.info["facevlm"]["split"] == "val"
    finally:
        dataset.delete()


def test_boxes_and_landmarks_are_stored(tmp_path: Path, dataset_name: str) -> None:
    dataset = datasets.load("affectnet", layouts.affectnet_lists(tmp_path), dataset_name=dataset_name)
    first = dataset.first()
    assert first["faces"].detections[0].bounding_box == pytest.approx([0.1, 0.1, 0.5, 0.8])
    assert first["faces"].detections[0]["emotion"] == "happy"
    assert first["landmarks"].keypoints[0].points == [[0.1, 0.1], [0.6, 0.9]]
    assert (first["valence"], first["arousal"]) == (0.5, -0.25)
    assert dataset.count_values("faces.detections.emotion") == {"happy": 1, "contempt": 1, "anger": 1}
    assert "faces.detections.emotion" in dataset.get_field_schema(flat=True)
    assert dataset.info["facevlm"]["counts"]["faces"] == 3


def test_options_go_to_the_reader_and_a_limit_stops_it(tmp_path: Path, dataset_name: str) -> None:
    root = layouts.affectnet_lists(tmp_path)
    dataset = datasets.load("affectnet", root, dataset_name=dataset_name, classes=7, limit=1)
    assert dataset.values("emotion.label") == ["happy"]
    assert dataset.info["facevlm"]["attributes"] == {"emotion": "emotion7"}
    with pytest.raises(InputError, match="Got limit=0"):
        datasets.load("affectnet", root, dataset_name=f"{dataset_name}-x", limit=0)
    with pytest.raises(UnknownName, match="Unknown option of affectnet 'margin'"):
        datasets.load("affectnet", root, dataset_name=f"{dataset_name}-x", margin=1)
    assert not fo.dataset_exists(f"{dataset_name}-x")


def test_a_dataset_that_is_there_is_replaced_only_on_request(
    tmp_path: Path, dataset_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    mine = fo.Dataset(dataset_name)
    mine.add_samples([fo.Sample(filepath="/elsewhere/x.png")], progress=False)
    with pytest.raises(TargetError, match="is already there; expected a new name"):
        datasets.load("utkface", utkface(tmp_path), dataset_name=dataset_name)
    assert fo.load_dataset(dataset_name).values("filepath") == ["/elsewhere/x.png"]
    mine.tag_samples("mine")
    assert len(datasets.load("utkface", tmp_path, dataset_name=dataset_name, overwrite=True)) == 6
    assert f"Dataset '{dataset_name}' is replaced: 1 pictures, 1 with tags." in caplog.text


def grouped(name: str, fields: dict[str, dict[str, str]]) -> fo.Dataset:
    """A grouped dataset of one group, a picture for each slice; the last slice is the active one."""
    dataset, group = fo.Dataset(name), fo.Group()
    *_, active = fields
    dataset.add_group_field("group", default=active)
    samples = [
        fo.Sample(
            filepath=f"/elsewhere/{slice}.png",
            group=group.element(slice),
            tags=["mine"],
            **{field: fo.Classification(label=label) for field, label in labels.items()},
        )
        for slice, labels in fields.items()
    ]
    dataset.add_samples(samples, progress=False)
    return dataset


def test_every_slice_of_a_dataset_that_is_replaced_is_counted(
    tmp_path: Path, dataset_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(grouped(dataset_name, {"left": {}, "right": {}})) == 1
    datasets.load("utkface", utkface(tmp_path), dataset_name=dataset_name, overwrite=True)
    assert f"Dataset '{dataset_name}' is replaced: 2 pictures, 2 with tags." in caplog.text


def test_labels_of_people_are_told_by_those_of_every_slice(dataset_name: str) -> None:
    dataset = grouped(dataset_name, {"left": {"race": "Asian"}, "right": {}})
    records, fields = importing.people(dataset.select_group_slices("left"))
    assert ([record.labels for record in records], fields) == ([{"race": "Asian"}], {"race": "race6"})


def test_a_wrong_folder_makes_no_dataset_and_takes_none_away(tmp_path: Path, dataset_name: str) -> None:
    datasets.load("utkface", utkface(tmp_path / "good"), dataset_name=dataset_name)
    with pytest.raises(LayoutError, match="is not there; expected fairface_label_train"):
        datasets.load("fairface", tmp_path / "bad", dataset_name=dataset_name, overwrite=True)
    assert len(fo.load_dataset(dataset_name)) == 6


def test_nothing_usable_is_told_with_the_first_reasons(tmp_path: Path, dataset_name: str) -> None:
    layouts.table(tmp_path / "t.csv", ("file", "gender"), [(f"{k}.jpg", "Male") for k in range(5)])
    with pytest.raises(InputError, match=r"holds no usable picture of .* Left out: 5, such as .*t\.csv:2: picture not"):
        datasets.load("csv", tmp_path, dataset_name=dataset_name)
    layouts.picture(tmp_path / "in" / "Male" / "1.jpg")
    with pytest.raises(InputError, match="holds no picture of split 'test'"):
        datasets.load("folders", tmp_path / "in", split="test", dataset_name=dataset_name, attribute="gender")
    assert not fo.dataset_exists(dataset_name)


def test_a_stop_while_reading_leaves_nothing(dataset_name: str) -> None:
    def stopped() -> Iterator[Record]:
        for k in range(300):
            yield Record(f"/somewhere/{k}.jpg", {"gender": "Male"})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        importing.build(dataset_name, stopped(), overwrite=True)
    assert not [name for name in fo.list_datasets() if name.startswith(dataset_name)]


def test_a_stop_while_reading_leaves_the_dataset_that_was_there(dataset_name: str) -> None:
    importing.build(dataset_name, [Record("/somewhere/a.jpg", {"gender": "Male"})], overwrite=True)

    def stopped() -> Iterator[Record]:
        yield Record("/somewhere/b.jpg", {"gender": "Male"})
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        importing.build(dataset_name, stopped(), overwrite=True)
    assert fo.load_dataset(dataset_name).values("filepath") == ["/somewhere/a.jpg"]
    assert fo.list_datasets(f"{dataset_name}*") == [dataset_name]


def test_a_dataset_that_somebody_makes_meanwhile_is_not_replaced(dataset_name: str) -> None:
    def reading() -> Iterator[Record]:
        yield Record("/somewhere/b.jpg", {"gender": "Male"})
        importing.build(f"{dataset_name}-other", [Record("/somewhere/a.jpg")], overwrite=False).name = dataset_name

    with pytest.raises(TargetError, match=f"Dataset '{dataset_name}' is already there"):
        importing.build(dataset_name, reading(), overwrite=False)
    assert fo.load_dataset(dataset_name).values("filepath") == ["/somewhere/a.jpg"]
    assert fo.list_datasets(f"{dataset_name}*") == [dataset_name]


def begun(name: str) -> Generator[int, None, None]:
    """A load that wrote its first picture."""
    load = importing.building(name, [Record("/somewhere/a.jpg")], overwrite=False)
    assert next(load) == 1
    return load


def unfinished(name: str) -> list[str]:
    return [one for one in fo.list_datasets(f"{name}*") if importing.UNFINISHED in one]


def marked(name: str, **mark: Any) -> None:
    """Change what an unfinished dataset says of who works on it."""
    dataset = fo.load_dataset(name)
    dataset.info[importing.LOADING] = {**dataset.info[importing.LOADING], **mark}
    dataset.save()


def test_datasets_of_somebody_else_are_not_taken_for_what_a_load_left(dataset_name: str) -> None:
    mine = f"{dataset_name}{importing.UNFINISHED}"
    names = [mine, f"{mine}-mine", f"{mine}-{'a' * 32}"]
    for name in names:
        fo.Dataset(name, persistent=True).add_sample(fo.Sample(filepath="/elsewhere/x.png", tags=["mine"]))
    importing.build(dataset_name, [Record("/somewhere/a.jpg")], overwrite=True)
    importing.build(dataset_name, [Record("/somewhere/a.jpg")], overwrite=True)
    assert [fo.load_dataset(name).values("tags") for name in names] == [[["mine"]]] * 3


def test_two_loads_of_one_name_do_not_meet(dataset_name: str) -> None:
    first = begun(dataset_name)
    second = importing.build(dataset_name, [Record("/somewhere/b.jpg")], overwrite=False)
    assert importing.LOADING not in second.info
    with pytest.raises(TargetError, match=f"Dataset '{dataset_name}' is already there"):
        list(first)
    assert second.values("filepath") == ["/somewhere/b.jpg"]
    assert fo.list_datasets(f"{dataset_name}*") == [dataset_name]


def test_what_a_killed_load_left_goes_with_the_next_one(dataset_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    loads = [begun(dataset_name), begun(dataset_name)]
    killed, alive = unfinished(dataset_name)
    marked(killed, process=ended.pid)
    loads.append(begun(dataset_name))
    assert killed not in unfinished(dataset_name)
    # The process of another machine cannot be looked for.
    marked(alive, process=ended.pid, machine="another")
    loads.append(begun(dataset_name))
    assert alive in unfinished(dataset_name)
    monkeypatch.setattr(importing, "STILL", timedelta(seconds=-1))
    importing.build(dataset_name, [Record("/somewhere/b.jpg")], overwrite=False)
    assert (alive in unfinished(dataset_name), len(unfinished(dataset_name))) == (False, 2)
    for load in loads:
        load.close()
    assert fo.list_datasets(f"{dataset_name}*") == [dataset_name]


def test_fields_that_turn_up_late_are_added(dataset_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK", 2)
    told = [
        Record("/x/0.jpg", {"gender": "Male"}),
        Record("/x/1.jpg"),
        Record("/x/2.jpg", {"race": "White"}, 30.0, values={"service_test": True}),
        Record("/x/3.jpg", {"gender": "Female"}, 4.0),
        Record("/x/4.jpg", faces=(FaceBox((0, 0, 1, 1), {"emotion": "happy"}, 5.0),), points_xy_rel=((0.5, 0.5),)),
        Record("/x/5.jpg", split="val", tags=("more",)),
    ]
    dataset = fo.load_dataset(importing.build(dataset_name, told, overwrite=True).name)
    assert dataset.values("filepath") == [r.filepath for r in told]
    assert dataset.values("gender.label") == ["Male", None, None, "Female", None, None]
    assert dataset.values("race.label") == [None, None, "White", None, None, None]
    assert dataset.values("age") == [None, None, 30, 4, None, None]
    assert dataset.values("service_test")[2] is True
    assert dataset.count_values("faces.detections.emotion") == {"happy": 1}
    assert dataset.values("landmarks.keypoints.points")[4] == [[[0.5, 0.5]]]
    assert dataset.values("tags")[5] == ["val", "more"]
    schema = dataset.get_field_schema(flat=True)
    assert isinstance(schema["age"], fo.FloatField)
    assert isinstance(schema["service_test"], fo.BooleanField)
    assert isinstance(schema["faces.detections.age"], fo.FloatField)


def test_labels_with_full_stops_do_not_break_the_info(tmp_path: Path, dataset_name: str) -> None:
    layouts.picture(tmp_path / "1.jpg")
    layouts.table(tmp_path / "t.csv", ("file", "gender", "split"), [("1.jpg", "Male", "fold 0.1$")])
    dataset = datasets.load("csv", tmp_path, dataset_name=dataset_name)
    assert dataset.values("tags") == [["fold 0.1$"]]
    assert fo.load_dataset(dataset_name).info["facevlm"]["counts"]["splits"] == {"fold 0_1_": 1}


def test_memory_stays_flat_while_writing(dataset_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "CHUNK", 256)

    def peak(count: int) -> int:
        records = (Record(f"/somewhere/{k}.jpg", {"gender": "Male"}, 30.0) for k in range(count))
        tracemalloc.start()
        dataset = importing.build(dataset_name, records, overwrite=True)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(dataset) == count
        return most

    peak(100)
    assert peak(750) < 1.4 * peak(375)


def test_what_is_loaded_can_be_evaluated(tmp_path: Path, dataset_name: str) -> None:
    dataset = datasets.load("utkface", utkface(tmp_path), dataset_name=dataset_name)
    facevlm.apply(dataset, "demo", ["gender", "race5", "age5"])
    result = facevlm.evaluate(dataset, prefix="demo", draws=20)
    assert [result[name].overall.n for name in ("gender", "race5", "age5")] == [6, 6, 6]


def test_the_package_of_readers_does_not_load_fiftyone() -> None:
    code = "import sys; from facevlm.datasets import READERS; print('fiftyone' in sys.modules, len(READERS))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str(len(catalog.READERS))]


def test_names_that_are_not_there_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        datasets.laod  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'FunnyDataset'"):
        datasets.FunnyDataset  # noqa: B018


# DiverseFaces from a dataset


def test_diversefaces_are_composed_from_a_dataset(tmp_path: Path, dataset_name: str) -> None:
    people = datasets.load("utkface", utkface(tmp_path / "in", 9), dataset_name=f"{dataset_name}-in")
    try:
        built = datasets.build_diversefaces(
            people, tmp_path / "out", seed=2, height=16, dataset_name=dataset_name, pictures=2
        )
    finally:
        people.delete()
    assert len(built) == 2
    assert not built.has_field("race")
    boxes = built.values("faces.detections")
    assert [len(some) for some in boxes] == [4, 4]
    for face in (f for some in boxes for f in some):
        assert face["age_group"] == {0: "0-2", 10: "10-19", 70: "more than 70", 80: "more than 70"}.get(
            int(face["age"]), f"{int(face['age'])}-{int(face['age']) + 9}"
        )
    assert built.info["facevlm"]["attributes"]["race"] == "race5"
    assert built.info["facevlm"]["counts"]["faces"] == 8
    assert built.info["facevlm"]["composed_from"]["licence"] == "non-commercial research only"
    assert built.info["facevlm"]["composed_from"]["seed"] == 2


def test_diversefaces_are_composed_from_a_view(tmp_path: Path, dataset_name: str) -> None:
    people = datasets.load("utkface", utkface(tmp_path / "in", 9), dataset_name=f"{dataset_name}-in")
    try:
        people.limit(5).tag_samples("duplicate")
        people.save_view("each_once", people.match_tags("duplicate", bool=False))
        source = people.load_saved_view("each_once")
        built = datasets.build_diversefaces(
            source, tmp_path / "out", height=16, per_picture=2, dataset_name=dataset_name
        )
        assert sorted(age for ages in built.values("faces.detections.age") for age in ages) == source.values("age")
    finally:
        people.delete()
    assert built.info["facevlm"]["composed_from"]["dataset"] == f"{dataset_name}-in"
    assert built.info["facevlm"]["composed_from"]["view"] == "each_once"
    assert built.info["facevlm"]["attributes"]["race"] == "race5"


def test_somebody_unreadable_is_told_in_the_info(tmp_path: Path, dataset_name: str) -> None:
    source = fo.Dataset(f"{dataset_name}-in")
    for k in range(4):
        layouts.picture(tmp_path / f"{k}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    source.add_samples(
        [
            fo.Sample(filepath=str(tmp_path / f"{k}.png"), race=fo.Classification(label="Asian"), gender=None)
            for k in range(4)
        ],
        progress=False,
    )
    try:
        built = datasets.build_diversefaces(
            source, tmp_path / "out", per_picture=2, height=16, dataset_name=dataset_name, remove_background=lambda p: p
        )
    finally:
        source.delete()
    assert len(built) == 1
    assert built.info["facevlm"]["skipped"]["reasons"] == [{"reason": "person cannot be read", "count": 1}]
    assert built.info["facevlm"]["attributes"] == {"race": "race6"}, "told by the labels"


def test_a_dataset_without_labels_or_with_strange_ones_is_refused(dataset_name: str, tmp_path: Path) -> None:
    source = fo.Dataset(dataset_name)
    source.add_samples([fo.Sample(filepath="/x.png")], progress=False)
    with pytest.raises(FieldError, match="has none of the fields gender, race, emotion, age_group"):
        datasets.build_diversefaces(source, tmp_path / "out", dataset_name=f"{dataset_name}-out")
    source.add_samples([fo.Sample(filepath="/y.png", gender=fo.Classification(label="tall"))], progress=False)
    with pytest.raises(TaxonomyError, match="'tall'"):
        datasets.build_diversefaces(source, tmp_path / "out", dataset_name=f"{dataset_name}-out")


def test_ages_that_are_no_numbers_are_refused_before_anything_is_composed(dataset_name: str, tmp_path: Path) -> None:
    source, label = fo.Dataset(dataset_name), fo.Classification(label="20-29")
    paths = [str(layouts.picture(tmp_path / f"{k}.png")) for k in range(4)]
    source.add_samples(
        [fo.Sample(filepath=path, age=label.copy(), gender=fo.Classification(label="Male")) for path in paths],
        progress=False,
    )
    options: dict[str, Any] = {"per_picture": 2, "height": 16, "dataset_name": f"{dataset_name}-out"}
    with pytest.raises(FieldError, match=r"'age' of .* holds a Classification, expected years as numbers\. Rename it"):
        datasets.build_diversefaces(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    source.rename_sample_field("age", "age_group")
    built = datasets.build_diversefaces(source, tmp_path / "out", **options)
    assert built.values("faces.detections.age_group") == [["20-29"] * 2] * 2
    built.delete()


# FiftyOne's own way


def test_every_reader_has_a_dataset_type() -> None:
    types = {value.source for value in vars(importers).values() if hasattr(value, "source")}
    assert types == set(catalog.READERS)


def test_from_dir_reads_what_load_reads(tmp_path: Path, dataset_name: str) -> None:
    root = layouts.fairface(tmp_path)
    loaded = datasets.load("fairface", root, dataset_name=f"{dataset_name}-loaded")
    try:
        mine = fo.Dataset.from_dir(dataset_dir=str(root), dataset_type=datasets.FairFaceDataset, name=dataset_name)
        fields = ["filepath", "gender.label", "race.label", "age_group.label", "service_test", "tags"]
        assert mine.values(fields) == loaded.values(fields)
        assert mine.info["facevlm"] == loaded.info["facevlm"]
    finally:
        loaded.delete()


def test_from_dir_takes_a_split_options_and_fiftyones_own(tmp_path: Path, dataset_name: str) -> None:
    root = layouts.affectnet_lists(tmp_path)
    dataset = fo.Dataset.from_dir(
        dataset_dir=str(root),
        dataset_type=importers.AffectNetDataset,
        name=dataset_name,
        split="train",
        options={"classes": 8},
        max_samples=1,
        shuffle=True,
        seed=1,
    )
    assert len(dataset) == 1
    assert dataset.first().tags == ["train"]
    assert dataset.info["facevlm"]["split"] == "train"
    with pytest.raises(LayoutError, match="expected fairface_label_train"):
        fo.Dataset.from_dir(dataset_dir=str(root), dataset_type=datasets.FairFaceDataset)


def test_an_importer_counts_what_it_left_out(tmp_path: Path) -> None:
    importer = importers.importer("mufac")(dataset_dir=str(layouts.mufac(tmp_path)))
    with importer:
        samples = list(importer)
    assert [s["age_group"].label for s in samples] == ["13-19", "31-45", "67-80", "0-6"]
    assert importer.get_dataset_info()["facevlm"]["skipped"]["count"] == 1
    assert Log().count == 0


def test_a_folder_that_can_no_longer_be_read_is_told_and_leaves_nothing(tmp_path: Path, dataset_name: str) -> None:
    rows = [(emotion, " ".join(["7"] * 48 * 48), "Training") for emotion in (3, 4)]
    layouts.table(tmp_path / "fer2013.csv", ("emotion", "pixels", "Usage"), rows)
    out = tmp_path / "out"
    (out / "train").mkdir(parents=True)
    (out / "train" / "sad").write_text("a file where the second row's folder has to be", encoding="utf-8")
    with pytest.raises(LayoutError, match=r"Cannot read '.*': .*sad'"):
        datasets.load("fer2013", tmp_path, dataset_name=dataset_name, extract_to=str(out))
    assert not fo.list_datasets(f"{dataset_name}*")


@pytest.mark.parametrize("name", ["", "***", "é", "a" * 1552])
def test_a_name_that_no_dataset_can_have_is_refused_before_anything_is_read(name: str, tmp_path: Path) -> None:
    layouts.picture(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"Got the dataset name '.*expected one with letters or digits"):
        importing.check_name(name, overwrite=True)
    with pytest.raises(InputError, match="Got the dataset name"):
        samples.build_folder(name, tmp_path)
    assert not fo.dataset_exists(name)


def test_a_name_that_is_like_that_of_another_dataset_is_refused(dataset_name: str) -> None:
    fo.Dataset(dataset_name)
    with pytest.raises(InputError, match="Choose another name"):
        importing.check_name(dataset_name.replace("-", " "), overwrite=True)
    assert fo.dataset_exists(dataset_name)


def test_the_longest_name_is_taken(dataset_name: str) -> None:
    name = dataset_name.ljust(1551, "x")
    try:
        assert importing.build(name, [Record("/somewhere/a.jpg")], overwrite=False).name == name
    finally:
        fo.delete_dataset(name)

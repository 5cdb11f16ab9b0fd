"""The paper's tables on data as the readers load it, and the held-out part of UTKFace found by pixels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm import cli
from facevlm.attributes import canonical
from facevlm.store import database
from facevlm.store.rows import choose_faces
from facevlm.tasks.load import build_diversefaces, load
from facevlm.tasks.paper import reproduce
from facevlm.types import Question, Reply
from tests.datasets import layouts
from tests.scripted import ScriptedBackend, certain
from tools.demo_model import held_out

C = fo.Classification


def knowing(truth: dict[int, dict[str, str]], name: str = "scripted") -> ScriptedBackend:
    """Says of a picture what is written down for its grey level. Stands in for a large checkpoint."""

    def answer(image: Image.Image, question: Question) -> Reply:
        level = int(image.getpixel((image.width // 2, image.height // 2))[0])  # type: ignore[index]
        nearest = min(truth, key=lambda known: abs(known - level))
        said = canonical(question.attribute, truth[nearest][question.attribute.family])
        assert said is not None
        return certain(said, question)

    return ScriptedBackend(answer, name)


def fairface(root: Path) -> dict[int, dict[str, str]]:
    """FairFace as it is downloaded, a grey level for every picture; what is true of each validation picture."""
    rows: dict[str, list[tuple[str, ...]]] = {"train": [], "val": []}
    truth: dict[int, dict[str, str]] = {}
    people = [("East Asian", "0-2", "Male"), ("Southeast Asian", "9-Mar", "Female"), ("White", "more than 70", "Male")]
    people += [("Latino_Hispanic", "20-29", "Female"), ("Middle Eastern", "50-59", "Male")]
    for split, start in (("train", 10), ("val", 100)):
        for k, (race, age, gender) in enumerate(people):
            layouts.picture(root / split / f"{k}.jpg", (32, 32), start + 10 * k)
            rows[split].append((f"{split}/{k}.jpg", age, gender, race, "False"))
            truth[start + 10 * k] = {"race": race, "gender": gender, "age": {"9-Mar": "3-9"}.get(age, age)}
        layouts.table(
            root / f"fairface_label_{split}.csv", ("file", "age", "gender", "race", "service_test"), rows[split]
        )
    return {level: said for level, said in truth.items() if level >= 100}


def test_fairface_as_downloaded_becomes_the_papers_tables(dataset_name: str, tmp_path: Path) -> None:
    truth = fairface(tmp_path)
    dataset = load("fairface", tmp_path, dataset_name=dataset_name)
    assert len(dataset) == 10
    coarse = {"0-2": "0-9", "3-9": "0-9", "more than 70": "More than 60", "20-29": "20-39", "50-59": "40-59"}
    said = {level: {**row, "age": coarse[row["age"]]} for level, row in truth.items()}
    said[110] = {**said[110], "race": "East Asian"}

    model = knowing(said, "facescan")
    results = reproduce({"fairface": dataset_name}, [model], ["fairface-race7", "gender", "age5"], progress=False)
    found = {result.table.name: result for result in results}
    rows = {name: result.rows[0] for name, result in found.items() if result.rows}
    assert set(rows) == {"fairface-race7", "fairface-gender", "fairface-age5"}
    assert {name: row.n for name, row in rows.items()} == dict.fromkeys(rows, 5)
    assert rows["fairface-race7"].accuracy == pytest.approx(4 / 5)
    assert rows["fairface-gender"].accuracy == rows["fairface-age5"].accuracy == 1
    assert rows["fairface-race7"].system == "FaceScanPaliGemma"
    assert rows["fairface-race7"].difference.contains  # type: ignore[union-attr]
    six = facevlm.evaluate(
        dataset.match_tags("val"), ["race7"], prefix="facescan", onto={"race7": "race6"}, groups=[], draws=10
    )
    assert six["race7"].overall.accuracy == 1


def test_affectnets_validation_set_is_the_papers_test_set(dataset_name: str, tmp_path: Path) -> None:
    dataset = load("affectnet", layouts.affectnet_lists(tmp_path), dataset_name=dataset_name)
    (result,) = reproduce({"affectnet": dataset}, [], ["affectnet"], progress=False)
    assert result.missing == ("no model is here",)
    happy = ScriptedBackend(lambda image, question: certain("happy", question), "paligemma")
    (result,) = reproduce({"affectnet": dataset}, [happy], ["affectnet"], progress=False)
    validation = dataset.match_tags("val")
    labels = validation.values("emotion.label")
    assert result.split == "val"
    assert result.rows[0].n == len(validation)
    assert result.rows[0].accuracy == pytest.approx(labels.count("happy") / len(labels))
    assert result.rows[0].system == "PaliGemma, pre-trained"


def test_diversefaces_is_asked_face_by_face(dataset_name: str, tmp_path: Path) -> None:
    """Eight people in two pictures, one of whom is taken for another race; the third label set was not loaded."""
    races = ["White", "Black", "Indian", "Asian"]
    made = fo.Dataset(f"{dataset_name}-people")
    said = {}
    for k in range(8):
        person = {"race": races[k % 4], "gender": ["Male", "Female"][k % 2]}
        said[30 * k] = {**person, "age": "0-9"} | ({} if k else {"race": "Others"})
        path = layouts.picture(tmp_path / f"{k}.png", (40, 40), 30 * k)
        made.add_sample(fo.Sample(filepath=str(path), **{name: C(label=label) for name, label in person.items()}))
    dataset = build_diversefaces(made, tmp_path / "composed", dataset_name=dataset_name)
    made.delete()

    model = knowing(said)
    results = reproduce({"diversefaces": dataset}, [model], ["diversefaces"], progress=False)
    found = {result.table.attribute: result for result in results}
    assert [found[name].rows[0].n for name in ("race5", "gender")] == [8, 8]
    assert [found[name].rows[0].accuracy for name in ("race5", "gender")] == [7 / 8, 1]
    assert "No ground-truth field is known for age5" in found["age5"].missing[0]
    predicted = dataset.values("scripted_race5.detections.bounding_box")
    assert predicted == dataset.values(f"{choose_faces(dataset)}.detections.bounding_box")

    dataset.clone_sample_field(choose_faces(dataset), "others")
    (again,) = reproduce({"diversefaces": dataset}, [model], ["diversefaces-gender"], progress=False)
    assert "expected faces= one of" in again.missing[0]


def test_loaded_datasets_are_known_by_their_reader(dataset_name: str, tmp_path: Path) -> None:
    before = database.loaded_from().get("fairface", [])
    fairface(tmp_path)
    load("fairface", tmp_path, dataset_name=dataset_name)
    assert set(database.loaded_from()["fairface"]) == {*before, dataset_name}
    other = fo.Dataset(f"{dataset_name}-other", persistent=True)
    other.info["facevlm"] = {"something": "else"}
    other.save()
    assert not any(other.name in names for names in database.loaded_from().values())
    fo.delete_dataset(other.name)


# What the demo model was not trained on


def noise(path: Path, seed: int) -> str:
    """A picture of random pixels; returns the digest of its pixels by which the split is made."""
    pixels = hashlib.shake_128(str(seed).encode()).digest(3 * 12 * 12)
    Image.frombytes("RGB", (12, 12), pixels).save(path)
    return hashlib.sha256(pixels).hexdigest()


@pytest.fixture
def people(dataset_name: str, tmp_path: Path) -> tuple[fo.Dataset, list[str]]:
    """Sixty pictures; of the held-out ones, the first has a second copy and the second a copy labelled otherwise."""
    made = fo.Dataset(dataset_name, persistent=True)
    digests = [noise(tmp_path / f"{k:02d}.png", k) for k in range(60)]
    out = [k for k, digest in enumerate(digests) if int(digest[:8], 16) % 10 == 0]
    rows = [(f"{k:02d}.png", "Male") for k in range(60)]
    for name, gender, k in (("again.png", "Male", out[0]), ("otherwise.png", "Female", out[1])):
        noise(tmp_path / name, k)
        rows.append((name, gender))
    made.add_samples(
        [fo.Sample(filepath=str(tmp_path / name), gender=C(label=gender)) for name, gender in rows], progress=False
    )
    return made, [f"{k:02d}.png" for k in out if k != out[1]]


def test_held_out_pictures_are_tagged_once_and_without_conflicts(people: tuple[fo.Dataset, list[str]]) -> None:
    dataset, expected = people
    assert len(expected) > 2
    view = held_out.tag(dataset, progress=False)
    assert [Path(path).name for path in view.values("filepath")] == expected
    assert dataset.count_sample_tags() == {held_out.TAG: len(expected)}
    dataset.delete_samples(view.limit(1))
    assert len(held_out.tag(dataset, progress=False)) == len(expected)
    assert "again.png" in dataset.load_saved_view(held_out.TAG).values("filepath")[-1]


def test_tagging_leaves_the_findings_of_a_check_alone(people: tuple[fo.Dataset, list[str]]) -> None:
    dataset, _ = people
    facevlm.check(dataset, progress=False)
    before = dataset.values("facevlm_check.findings")
    held_out.tag(dataset, progress=False)
    assert dataset.values("facevlm_check.findings") == before


# The command line


def test_the_tables_can_be_had_as_data_without_any_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "paper.json"
    assert cli.main(["paper", "--json", str(path)]) == 0
    plain = json.loads(path.read_text())
    assert len(plain["tables"]) == 11
    assert all(table["rows"] == [] for table in plain["tables"])
    assert plain["tables"][0]["table"]["figures"]["FaceScanPaliGemma"]["accuracy"] == pytest.approx(0.757)
    assert capsys.readouterr().out.count("(published)") == sum(len(t["table"]["figures"]) for t in plain["tables"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tables", "race8"], "Unknown table 'race8'"),
        (["--dataset", "fairface=no-such"], "Unknown dataset 'no-such'"),
        (["--dataset", "celebs=x"], "Unknown data set of the paper 'celebs'"),
        (["--view", "held_out"], "Got --view without --dataset"),
        (["--model", "demo"], "Got --model without --dataset"),
        (["--truth", "gender=sex"], "Got --truth without --dataset"),
        (["--json", "/no/such/folder/x.json"], "expected a file in a folder that is there"),
    ],
)
def test_bad_input_to_the_command(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["paper", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_dataset_needs_a_name_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["paper", "--dataset", "fairface"])
    assert "expected NAME=VALUE" in capsys.readouterr().err

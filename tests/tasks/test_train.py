"""A labelled view into a folder that apply opens, with figures before and after; and what is refused before that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm.attributes import define
from facevlm.datasets import samples
from facevlm.errors import FacevlmError, InputError, ModelError
from facevlm.store import samples as records
from facevlm.tasks import train as tasks
from facevlm.training.output import STATE
from tests.backends import tiny

QUICK: dict[str, Any] = {
    "epochs": 2.0,
    "batch": 16,
    "learning_rate": 1e-3,
    "device": "cpu",
    "progress": False,
    "validation": 0.2,
    "test": 0.25,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{tiny.paligemma(tmp_path_factory.mktemp('train') / 'base')}"


@pytest.fixture(scope="module")
def faces() -> Iterator[fo.Dataset]:
    name = "test-train-faces"
    if fo.dataset_exists(name):
        fo.delete_dataset(name)
    dataset = records.build_singles(name, samples.read("single")[:40])
    dataset.set_values("person", [k // 2 for k in range(40)])
    yield dataset
    fo.delete_dataset(name)


@pytest.fixture(scope="module")
def tuned(faces: fo.Dataset, base: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("tuned") / "out"
    return facevlm.train(
        faces, base, ["gender", "age5"], out=out, truth={"age5": "age"}, groups=["race"], subject="person", **QUICK
    )


def test_the_folder_is_opened_by_apply_and_evaluated(tuned: Any, faces: fo.Dataset) -> None:
    applied = facevlm.apply(faces, tuned.model, ["gender", "age5"], prefix="tuned", device="cpu", progress=False)
    assert applied.outcomes == {"gender": {"ok": 40}, "age5": {"ok": 40}}
    evaluated = facevlm.evaluate(faces, prefix="tuned", ground_truth={"gender": "gender", "age5": "age"}, draws=50)
    assert evaluated["gender"].overall.n == 40
    judges = {name: n for name, n in tuned.counts["test"]["gender"].items() if n}
    assert tuned["gender"].after.overall.n == sum(judges.values())
    # The figures of the folder are those that apply comes to on the faces that judged.
    assert sum(tuned.counts[part]["gender"][label] for part in tuned.counts for label in ("Male", "Female")) == 40


def test_figures_stand_before_and_after_for_every_group(tuned: Any) -> None:
    one = tuned["age5"]
    assert [table.by for table in one.after.groups if len(table.by) == 1] == [("age5",), ("race",)]
    assert one.before.overall.n == one.after.overall.n == one.pair.n
    assert one.pair.difference == pytest.approx(one.after.overall.accuracy - one.before.overall.accuracy)
    card = (Path(tuned.out) / "README.md").read_text()
    for text in ("# Perceived gender, age5", "McNemar's p", "race: ", "big_vision", "not what a person is"):
        assert text in card
    json.dumps(tuned.to_dict(), allow_nan=False)
    assert not (Path(tuned.out) / STATE).exists()


def test_the_same_call_learns_nothing_anew(tuned: Any, faces: fo.Dataset, base: str) -> None:
    weights = Path(tuned.out) / "model.safetensors"
    before = weights.stat().st_mtime_ns
    given: dict[str, Any] = {"truth": {"age5": "age"}, "groups": ["race"], "subject": "person"}
    again = facevlm.train(faces, base, ["gender", "age5"], out=tuned.out, **given, **QUICK)
    assert weights.stat().st_mtime_ns == before
    assert again.to_dict()["judged"] == tuned.to_dict()["judged"]
    assert (again.losses, again.best_step) == (tuned.losses, tuned.best_step)
    with pytest.raises(InputError, match="which holds what was learnt from other faces, another base or by other"):
        facevlm.train(faces, base, ["gender"], out=tuned.out, **QUICK)


def test_a_run_that_was_broken_off_goes_on(faces: fo.Dataset, base: str, tmp_path: Path, monkeypatch: Any) -> None:
    def broken(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("facevlm.training.output.write", broken)
        with pytest.raises(KeyboardInterrupt):
            facevlm.train(faces, base, ["gender"], out=tmp_path / "out", **QUICK)
    state = tmp_path / "out" / STATE / "steps"
    [last] = [path.name for path in state.iterdir()]
    done = facevlm.train(faces, base, ["gender"], out=tmp_path / "out", **QUICK)
    assert last == f"checkpoint-{done.steps}"
    assert len(done.figures) == 2


def test_adapters_are_merged_into_a_whole_checkpoint(faces: fo.Dataset, base: str, tmp_path: Path) -> None:
    told = {**QUICK, "epochs": 1.0, "objective": "labels", "balance": "labels", "class_weights": True}
    done = facevlm.train(faces, base, "gender", out=tmp_path / "out", method="lora", merge=True, **told)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    asked = facevlm.apply(faces.limit(2), done.model, ["gender"], prefix="merged", device="cpu", progress=False)
    assert asked.outcomes == {"gender": {"ok": 2}}


def test_adapters_alone_are_judged_on_their_base_also_when_they_are_there(
    faces: fo.Dataset, base: str, tmp_path: Path
) -> None:
    told = {**QUICK, "learning_rate": 1e-2}
    done = facevlm.train(faces, base, "gender", out=tmp_path / "out", method="lora", **told)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    again = facevlm.train(faces, base, "gender", out=tmp_path / "out", method="lora", **told)
    assert again.to_dict()["judged"] == done.to_dict()["judged"]
    after, before = again["gender"].after.confidence, again["gender"].before.confidence
    assert after != before, "the adapters speak"


def test_a_linear_classifier_is_a_small_folder_that_apply_opens(faces: fo.Dataset, base: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = facevlm.train(faces, base, ["gender", "age5"], out=out, truth={"age5": "age"}, method="linear", **QUICK)
    assert sum(path.stat().st_size for path in out.iterdir()) < 100_000
    applied = facevlm.apply(faces, done.model, ["gender", "age5"], prefix="linear", device="cpu", progress=False)
    assert applied.outcomes == {"gender": {"ok": 40}, "age5": {"ok": 40}}
    assert all(0 < sure <= 1 for sure in faces.values("linear_gender.confidence"))
    train = tasks.plan(faces, base, ["gender"], out=tmp_path / "other", method="linear", **QUICK).split.train
    said = dict(zip(*faces.values(["id", "linear_gender.label"]), strict=True))
    right = [said[e.face.sample_id] == e.labels["gender"] for e in train]
    assert sum(right) > 0.8 * len(right)
    with pytest.raises(FacevlmError, match="answers gender, age5; got 'race5'"):
        facevlm.apply(faces, done.model, ["race5"], device="cpu")
    (out / "linear.safetensors").write_bytes(b"cut")
    facevlm.unload()
    with pytest.raises(ModelError, match="cannot be read: "):
        facevlm.apply(faces, done.model, ["gender"], prefix="other", device="cpu")


def test_what_the_base_does_not_answer_is_learnt_in_the_attributes_words(faces: fo.Dataset, tmp_path: Path) -> None:
    parity = define("side", ["left", "right"], "which side is lit?")
    registry = facevlm.attributes.Registry({**facevlm.attributes.shipped().attributes, "side": parity}, {}, {}, {})
    faces.set_values("side", ["left", "right"] * 20)
    told = {**QUICK, "epochs": 1.0, "batch": 32}
    done = facevlm.train(faces, "demo", ["side"], out=tmp_path / "out", registry=registry, **told)
    assert done["side"].before is None
    assert "The base does not answer this" in (tmp_path / "out" / "README.md").read_text()
    faces.delete_sample_field("side")


def test_faces_in_pictures_are_cut_out_and_learnt(base: str, dataset_name: str, tmp_path: Path) -> None:
    groups = records.build_groups(dataset_name, samples.read("group"))
    n = groups.count("faces.detections")
    truth = {"gender": "faces.detections.gender"}
    made = tasks.plan(groups, base, ["gender"], out=tmp_path / "out", truth=truth, faces="faces", **QUICK)
    assert sum(map(len, made.split.parts.values())) == n
    assert all(e.face.box_xywh_rel for e in made.split.train)
    pictures = [{e.face.filepath for e in part} for part in made.split.parts.values()]
    assert not any(a & b for k, a in enumerate(pictures) for b in pictures[k + 1 :]), "no picture is in two parts"


def test_a_plan_tells_costs_and_writes_nothing(faces: fo.Dataset, base: str, tmp_path: Path) -> None:
    made = tasks.plan(faces, base, ["gender"], out=tmp_path / "out", groups=["race"], **QUICK)
    budget = made.budget()
    assert budget.parameters == budget.learning == pytest.approx(190_000, rel=0.5)
    assert 0 < budget.bytes < budget.free
    assert sum(made.by_group["race"].values()) == len(made.split.train)
    [(example, name, page), *_] = made.pages()
    assert (name, "".join(page.answer[:-1])) == ("gender", example.labels["gender"])
    assert not (tmp_path / "out").exists()
    lora = tasks.plan(faces, base, ["gender"], out=tmp_path / "out", method="lora", **QUICK).budget()
    frozen = tasks.plan(faces, base, ["gender"], out=tmp_path / "out", method="frozen", **QUICK).budget()
    assert lora.learning < frozen.learning < budget.learning


HAT = define("hat", ["hat", "none"], "does the person wear a hat?")
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"base": "openai:gpt"}, "Got base='openai:gpt', which is not tuned here: its weights are elsewhere."),
    (
        {"base": "facescan", "attributes": ["gender", "age5"], "truth": {"age5": "age"}},
        "a checkpoint for each attribute",
    ),
    ({"method": "best"}, "Unknown method 'best'"),
    ({"recipe": "best"}, "Unknown recipe 'best'. Known: facescan, lora, paligemma"),
    ({"objective": "best"}, "Unknown objective 'best'. Known: labels, tokens"),
    ({"balance": "best"}, "Unknown balance 'best'"),
    ({"epochs": 0.0}, "Got epochs=0.0, expected a number above 0."),
    ({"learning_rate": -1.0}, "Got learning_rate=-1.0, expected a number above 0."),
    ({"label_smoothing": 0.5}, "Got label_smoothing=0.5, expected a share from 0 to 0.2"),
    ({"batch": 0}, "Got batch=0, expected a whole number from 1 on."),
    ({"seed": -1}, "Got seed=-1, expected a whole number from 0 on."),
    ({"validation": 0.6, "test": 0.5}, "Got validation=0.6 and test=0.5, expected shares"),
    ({"splits": {"train": "train"}}, "expected tags by part"),
    ({"splits": {"train": "no", "validation": "none"}}, "No labelled face is left for train by the tag 'no'"),
    ({"truth": {"gender": "nofield"}}, "Ground-truth field 'nofield' is not there"),
    ({"truth": {"race5": "race"}}, "Got truth for race5, expected only attributes that are learnt: gender."),
    ({"attributes": [HAT]}, "No field with true labels is known for hat."),
    ({"truth": {"gender": "race"}}, "Ground truth holds"),
    ({"attributes": []}, "Got no attribute, expected at least one"),
    ({"attributes": ["gendr"]}, "Did you mean 'gender'?"),
    ({"groups": ["filepath"]}, "Group field 'filepath' is not there or no label."),
    ({"subject": "nobody"}, "Field of clusters 'nobody' is not there"),
    ({"faces": "none"}, "expected faces= one of: none is there."),
    ({"base": "hf:/nowhere/at/all"}, "'/nowhere/at/all' is not found"),
]


@pytest.mark.parametrize(("changed", "said"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_meant_is_said_first(
    faces: fo.Dataset, base: str, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    given = {"base": base, "attributes": ["gender"], **QUICK, **changed}
    with pytest.raises(FacevlmError) as refused:
        facevlm.train(faces, out=tmp_path / "out", **given)
    assert said in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_labels_of_one_class_or_coarser_ones_teach_nothing(
    base: str, dataset_name: str, pictures: list[str], tmp_path: Path
) -> None:
    dataset = fo.Dataset(dataset_name)
    one = [fo.Sample(filepath=p, gender="Male", race=r) for p, r in zip(pictures, ["White", "Asian"] * 5, strict=True)]
    dataset.add_samples(one, progress=False)
    with pytest.raises(InputError, match="gender: got all of them Male among the 7 faces to learn from"):
        facevlm.train(dataset, base, ["gender"], out=tmp_path / "out", **{**QUICK, "test": 0.1})
    with pytest.raises(InputError, match="which are coarser than race7"):
        facevlm.train(dataset, base, ["race7"], out=tmp_path / "out", **QUICK)


def test_a_folder_of_other_files_is_left_alone(faces: fo.Dataset, base: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="which holds other files, expected a new folder"):
        facevlm.train(faces, base, ["gender"], out=tmp_path / "out", **QUICK)
    with pytest.raises(InputError, match="which is a file, expected a folder"):
        facevlm.train(faces, base, ["gender"], out=tmp_path / "out" / "mine.txt", **QUICK)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_near_copies_that_a_check_found_stand_together(base: str, dataset_name: str, tmp_path: Path) -> None:
    dataset = records.build_singles(dataset_name, samples.read("single")[::4])
    first = dataset.first()
    for k in range(4):
        path = tmp_path / f"near{k}.jpg"
        Image.open(first.filepath).convert("RGB").save(path, quality=60 + 5 * k)
        dataset.add_sample(fo.Sample(filepath=str(path), gender=fo.Classification(label=first.gender.label)))
    facevlm.check(dataset, progress=False)
    made = tasks.plan(dataset, base, ["gender"], out=tmp_path / "out", **QUICK)
    parts = [
        part
        for part, some in made.split.parts.items()
        for e in some
        if "near" in e.face.filepath or e.face.filepath == first.filepath
    ]
    assert (len(parts), len(set(parts))) == (5, 1)


def test_a_model_that_does_not_score_is_not_tuned(faces: fo.Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    base = tiny.paligemma(tmp_path / "base")
    monkeypatch.setattr("facevlm.backends.checkpoint.TOLERANCE", {})
    monkeypatch.setattr("facevlm.backends.checkpoint.Checkpoint._scoring_gap", lambda *given: 9.0)
    with pytest.raises(ModelError, match="cannot be tuned: what it learns is read off its scores"):
        facevlm.train(faces, f"hf:{base}", ["gender"], out=tmp_path / "out", **QUICK)


def test_a_launcher_of_several_processes_is_refused(
    faces: fo.Dataset, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"Got WORLD_SIZE=2, as torchrun .* Start it once"):
        tasks.plan(faces, base, ["gender"], out=tmp_path / "out", **QUICK)

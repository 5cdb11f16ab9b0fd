"""The model zoo's way in: registered as FiftyOne registers a source, applied as FiftyOne applies a model."""

from __future__ import annotations

import functools
import json
import logging
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fiftyone as fo
import fiftyone.zoo as foz
import numpy as np
import pytest
from fiftyone.operators import types
from PIL import Image

import facevlm
from facevlm.attributes import get
from facevlm.backends.cards import ANY, Card, questions_for, shipped
from facevlm.datasets import samples
from facevlm.errors import FacevlmError
from facevlm.store import samples as records
from facevlm.store import zoo
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain
from tests.servers import warm
from tools import make_manifest

ROOT = Path(__file__).resolve().parents[2]
TOP = "facevlm-main"
"""GitHub's archives have one folder at their top."""
NEEDED = ("__init__.py", "manifest.json", "fiftyone.yml", "requirements.txt", "facevlm", "operators")

UNINSTALLED = """
import importlib.util, json, sys
sys.path = [p for p in sys.path if p != {root!r}]
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
import fiftyone.zoo as foz, numpy as np
model = foz.load_zoo_model("facevlm/demo", attributes=["gender"])
label = model.predict(np.full((64, 48, 3), 128, np.uint8))
import facevlm.types
print(json.dumps([facevlm.types.__file__, label.outcome]))
"""

LIGHT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("anything", {root!r} + "/__init__.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(sorted({{"facevlm", "fiftyone", "numpy", "torch", "yaml"}} & set(sys.modules)))
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def archive(path: Path) -> None:
    """This repository as an archive, as far as the zoo needs it."""
    with zipfile.ZipFile(path, "w") as packed:
        for name in NEEDED:
            files = [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*"))
            for file in files:
                if file.is_file() and "__pycache__" not in file.parts:
                    packed.write(file, Path(TOP) / file.relative_to(ROOT))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an archive of this repository that is registered with the zoo."""
    folder = tmp_path_factory.mktemp("served")
    archive(folder / "facevlm.zip")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/facevlm.zip"
    try:
        foz.register_zoo_model_source(url)
        yield url
        foz.delete_zoo_model_source(url)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    """Twelve of the shipped faces with their labels."""
    return records.build_singles(dataset_name, samples.read("single")[::8])


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    return made


def scripted(backend: ScriptedBackend, *attributes: str) -> zoo.FaceAttributeModel:
    """A model of the zoo that answers as a test tells it to."""
    questions = questions_for(Card("scripted", {ANY: "scripted"}), [get(name) for name in attributes], joint=False)
    return zoo.FaceAttributeModel(zoo.FaceAttributeModelConfig(backend, tuple(questions)))


def sure(image: Image.Image, question: Question) -> Reply:
    return certain(question.attribute.labels[0], question)


# The source


def test_the_manifest_follows_the_model_cards() -> None:
    assert make_manifest.PATH.read_text(encoding="utf-8") == make_manifest.text(), "run python -m tools.make_manifest"
    listed = [model["base_name"] for model in json.loads(make_manifest.text())["models"]]
    assert listed == [f"facevlm/{name}" for name in shipped()]


def test_the_name_of_the_source_is_no_module_of_facevlm() -> None:
    assert make_manifest.NAME != "facevlm"
    assert not make_manifest.NAME.split("/")[-1].isidentifier()


def test_the_zoo_lists_every_model_with_licence_tags_and_size(source: str) -> None:
    assert source in foz.list_zoo_model_sources()
    assert foz.list_zoo_models(source=source) == sorted(f"facevlm/{name}" for name in shipped())
    assert "facevlm/facescan" in foz.list_zoo_models(license="gemma", tags=["faces", "classification"])
    facescan = foz.get_zoo_model("facevlm/facescan")
    assert facescan.size_bytes == 4 * round(shipped()["facescan"].download * 1e9)
    assert "race7, gender, age5, emotion8" in facescan.description
    assert (facescan.requirements.supports_cpu, facescan.requirements.supports_gpu) == (True, True)


def test_a_folder_is_a_source_by_a_link_in_the_zoo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Invalid GitHub URL"):
        foz.register_zoo_model_source(str(ROOT))
    link = tmp_path / make_manifest.NAME
    link.parent.mkdir()
    link.symlink_to(ROOT)
    monkeypatch.setattr(fo.config, "model_zoo_dir", str(tmp_path))
    assert {f"facevlm/{name}" for name in shipped()} <= set(foz.list_zoo_models())
    assert foz.get_zoo_model("facevlm/demo").resolve_input(None) is not None


def test_the_form_offers_what_the_model_answers(source: str) -> None:
    form = foz.get_zoo_model("facevlm/facescan").resolve_input(None)
    assert isinstance(form, types.Property)
    view = form.type.properties["attributes"].view
    assert {choice.value for choice in view.choices} == set(shipped()["facescan"].questions)


def test_importing_the_source_loads_nothing() -> None:
    command = [sys.executable, "-c", LIGHT.format(root=str(ROOT))]
    done = subprocess.run(command, cwd=ROOT.anchor, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.process
@pytest.mark.parametrize("where", ["in the zoo", "beside a plugin"])
def test_the_source_brings_the_core_where_it_is_not_installed(source: str, tmp_path: Path, where: str) -> None:
    """Also where the current folder holds a folder ``facevlm`` that is not the core."""
    (tmp_path / "facevlm").symlink_to(ROOT)
    folder = {"in the zoo": Path(fo.config.model_zoo_dir), "beside a plugin": tmp_path}
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = warm.run(UNINSTALLED.format(root=str(ROOT)), environment=kept, cwd=folder[where])
    assert done.returncode == 0, done.stderr
    file, outcome = json.loads(done.stdout.splitlines()[-1])
    assert file == str(Path(fo.config.model_zoo_dir) / make_manifest.NAME / "facevlm" / "types.py")
    assert outcome == "ok"


# Answers


@pytest.mark.parametrize("batch_size", [None, 5])
def test_labels_are_those_of_apply(source: str, faces: fo.Dataset, batch_size: int | None) -> None:
    model = foz.load_zoo_model("facevlm/demo", attributes=["gender"])
    assert "keeps its weights in the cache" in Path(foz.find_zoo_model("facevlm/demo")).read_text()
    assert isinstance(model, zoo.FaceAttributeModel)
    faces.apply_model(model, label_field="gender_vlm", batch_size=batch_size, skip_failures=False)
    facevlm.apply(faces, "demo", ["gender"], prefix="main", progress=False)
    for ours, main in zip(*faces.values(["gender_vlm", "main_gender"]), strict=True):
        assert isinstance(ours, fo.Classification)
        assert (ours.label, ours.outcome, ours.reason) == (main.label, "ok", None)
        assert ours.confidence == pytest.approx(main.confidence, abs=1e-3)
        assert ours.logits == pytest.approx(main.logits, abs=1e-2)
        assert ours.coverage == pytest.approx(main.coverage, abs=1e-3)
        assert ours.run is None


def test_several_attributes_become_several_fields(source: str, faces: fo.Dataset) -> None:
    model = foz.load_zoo_model(source, model_name="facevlm/demo", attributes=["gender", "age5"])
    faces.apply_model(model, label_field="vlm", batch_size=8, skip_failures=False)
    facevlm.apply(faces, "demo", ["gender", "age5"], prefix="main", progress=False)
    for name in ("gender", "age5"):
        assert faces.values(f"vlm_{name}.label") == faces.values(f"main_{name}.label")
        assert faces.count_values(f"vlm_{name}.outcome") == {"ok": len(faces)}


def test_labels_can_be_evaluated_once_their_attributes_are_declared(source: str, faces: fo.Dataset) -> None:
    model = foz.load_zoo_model("facevlm/demo", attributes=["gender", "age5"])
    faces.apply_model(model, label_field="vlm", batch_size=8, skip_failures=False)
    faces.add_dynamic_sample_fields()
    facevlm.apply(faces, "demo", ["gender", "age5"], prefix="main", progress=False)
    truths = {"gender": "gender", "age5": "age"}
    ours, main = (facevlm.evaluate(faces, prefix=p, ground_truth=truths) for p in ("vlm", "main"))
    assert ours["age5"].overall.accuracy == main["age5"].overall.accuracy
    assert ours["gender"].overall.n == len(faces)


def test_apply_leaves_the_fields_of_the_zoo_alone(source: str, faces: fo.Dataset) -> None:
    model = foz.load_zoo_model("facevlm/demo", attributes=["gender"])
    faces.apply_model(model, label_field="vlm_gender", skip_failures=False)
    faces.add_dynamic_sample_fields()
    with pytest.raises(FacevlmError, match="'vlm_gender' is already there and was not written by facevlm"):
        facevlm.apply(faces, "demo", ["gender"], prefix="vlm", overwrite=True, progress=False)


def test_prompts_and_options_reach_the_model(source: str) -> None:
    model = foz.load_zoo_model(
        "facevlm/demo", attributes=["gender"], prompts={"gender": "man or woman?"}, decode="generate"
    )
    assert model.config.questions[0].text == "man or woman?"
    assert not model.has_logits


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"attributes": ["gendr"]}, "Unknown attribute 'gendr'.*Did you mean 'gender'"),
        ({"attributes": ["race7"]}, "Model 'demo' answers gender, race5, age5, emotion7; got 'race7'"),
        ({"attributes": "gender"}, r"expected a list such as \['gender'\]"),
        ({"attributes": []}, "Got no attribute, expected at least one of gender, race5"),
        ({}, "Got no attribute, expected at least one of gender, race5"),
        ({"attributes": ["gender"], "decode": "guess"}, "Got decode='guess', expected one of score, generate"),
        ({"attributes": ["gender"], "prompts": {"age5": "how old?"}}, "Got prompts for age5"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(source: str, given: dict[str, object], said: str) -> None:
    with pytest.raises(FacevlmError, match=said):
        foz.load_zoo_model("facevlm/demo", **given)


# Faces without an answer


def test_faces_without_an_answer_come_out_as_in_apply(dataset: fo.Dataset) -> None:
    def answer(image: Image.Image, question: Question) -> Reply:
        level = image.getpixel((0, 0))[0]  # type: ignore[index]
        if level < 50:
            return Reply(text="I cannot say", refused=True)
        if level < 100:
            return Reply(text="I think that she is a woman.")
        return Reply(error="out of memory") if level < 150 else sure(image, question)

    dataset.apply_model(scripted(ScriptedBackend(answer), "gender"), label_field="zoo", batch_size=4)
    facevlm.apply(dataset, ScriptedBackend(answer), ["gender"], prefix="main", progress=False)
    parts = ("label", "confidence", "outcome", "reason", "text")
    for ours, main in zip(*dataset.values(["zoo", "main_gender"]), strict=True):
        assert [ours[part] for part in parts] == [main[part] for part in parts]
    assert dataset.values("zoo.outcome") == ["refused"] * 2 + ["unparsed"] * 3 + ["failed"] * 2 + ["ok"] * 3


@pytest.mark.parametrize(
    ("batch_size", "lost"), [(None, {5}), (1, {5}), (4, {4, 5, 6, 7})], ids=["single", "one by one", "by four"]
)
def test_fiftyone_drops_the_batch_of_a_bad_picture_without_a_label(
    dataset: fo.Dataset, pictures: list[str], batch_size: int | None, lost: set[int], caplog: pytest.LogCaptureFixture
) -> None:
    Path(pictures[5]).write_bytes(b"no picture")
    logging.getLogger("fiftyone").addHandler(caplog.handler)
    try:
        dataset.apply_model(scripted(ScriptedBackend(sure), "gender"), label_field="zoo", batch_size=batch_size)
    finally:
        logging.getLogger("fiftyone").removeHandler(caplog.handler)
    assert {k for k, label in enumerate(dataset.values("zoo")) if label is None} == lost
    assert "Image not found" in caplog.text
    facevlm.apply(dataset, ScriptedBackend(sure), ["gender"], prefix="main", progress=False)
    assert dataset.count_values("main_gender.outcome") == {"ok": 9, "failed": 1}


def test_a_bad_picture_can_stop_the_run(dataset: fo.Dataset, pictures: list[str]) -> None:
    Path(pictures[5]).unlink()
    with pytest.raises(OSError, match="Image not found"):
        dataset.apply_model(scripted(ScriptedBackend(sure), "gender"), label_field="zoo", skip_failures=False)


# FiftyOne's interface


def test_batches_are_as_large_as_asked(dataset: fo.Dataset) -> None:
    for batch_size, batches in ((None, [1] * 10), (4, [4, 4, 2])):
        backend = ScriptedBackend(sure)
        dataset.apply_model(scripted(backend, "gender"), label_field="zoo", batch_size=batch_size)
        assert backend.batches == batches


def test_pictures_of_any_size_may_come_together() -> None:
    seen = []

    def answer(image: Image.Image, question: Question) -> Reply:
        seen.append((image.mode, image.size))
        return sure(image, question)

    model = scripted(ScriptedBackend(answer), "gender")
    model.predict_all([np.zeros((8, 6, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), np.zeros((5, 7), np.uint8)])
    assert seen == [("RGB", (6, 8)), ("RGB", (4, 4)), ("RGB", (7, 5))]
    assert len(model.predict_all(np.zeros((3, 8, 6, 3), np.uint8))) == 3


def test_the_options_of_apply_model_are_understood(dataset: fo.Dataset) -> None:
    model = scripted(ScriptedBackend(sure), "gender", "age5")
    dataset.apply_model(model, label_field="all", store_logits=True, confidence_thresh=0.5, skip_failures=False)
    assert dataset.count("all_gender.logits") == dataset.count("all_age5.label") == 10
    dataset.apply_model(model, label_field="few", confidence_thresh=0.95, classes=["Female"], skip_failures=False)
    assert dataset.count("few_gender.label") == 0

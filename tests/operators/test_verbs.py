"""Loading, checking, comparing and measuring sensitivity through FiftyOne's executor, and the menu of all verbs."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor
from fiftyone.operators.registry import OperatorRegistry

import facevlm
from facevlm.datasets import samples
from facevlm.store import runs
from facevlm.tasks import sources as sources_task
from tests.datasets import layouts
from tests.servers.server import running

URI = "@facevlm/face-attributes/"
LOAD, CHECK = URI + "load_face_dataset", URI + "check_face_dataset"
COMPARE, SENSITIVITY = URI + "compare_face_attribute_runs", URI + "measure_wording_sensitivity"
MENU, STOP = URI + "face_attributes_menu", URI + "stop_face_attribute_runs"


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_faces(dataset_name)


@pytest.fixture
def few(faces: fo.Dataset) -> Iterator[fo.Dataset]:
    """Twelve of them, as a dataset of their own."""
    made = faces.limit(12).clone(f"{faces.name}-few")
    yield made
    made.delete()


def context(uri: str, dataset: fo.Dataset, **params: Any) -> ExecutionContext:
    """As the App asks for the work."""
    request = {"dataset_name": dataset.name, "operator_uri": uri, "params": params, "view": []}
    return ExecutionContext(request, executor=Executor(), operator_uri=uri)


def drawn(uri: str, dataset: fo.Dataset, **params: Any) -> dict[str, Any]:
    """The form, asked for as the App does while it is filled."""
    asked = context(uri, dataset, **params)
    asked.request_params["target"] = "inputs"
    shape: dict[str, Any] = foo.get_operator(uri).resolve_input(asked).to_json()
    return shape


def form(uri: str, dataset: fo.Dataset, **params: Any) -> dict[str, Any]:
    properties: dict[str, Any] = drawn(uri, dataset, **params)["type"]["properties"]
    json.dumps(properties)
    return properties


def errors(properties: dict[str, Any]) -> dict[str, str]:
    return {name: p["error_message"] for name, p in properties.items() if p.get("invalid")}


def says(prop: dict[str, Any]) -> str:
    return str(prop["view"]["label"]).replace("\\", "")


def execute(uri: str, dataset: fo.Dataset, **params: Any) -> str:
    """The words of a run that is called from Python."""
    done = foo.execute_operator(uri, ctx={"dataset": dataset, "params": params})
    dataset.reload()
    return str(done.result["summary"])


def sent(uri: str, dataset: fo.Dataset, on_step: Callable[[Any], object] = lambda step: None, **params: Any) -> Any:
    steps = []
    for step in foo.get_operator(uri).execute(context(uri, dataset, **params)):
        steps.append(step.to_json()["body"])
        on_step(steps[-1])
    return steps


# Load


def test_a_folder_is_loaded_and_opened(few: fo.Dataset, dataset_name: str, tmp_path: Path) -> None:
    folder, name = layouts.fairface(tmp_path), f"{dataset_name}-loaded"
    params: dict[str, Any] = {"data": "fairface", "data_folder": str(folder), "split": "val", "dataset_name": name}
    asked = form(LOAD, few, **params)
    assert errors(asked) == {}
    assert says(asked["plan"]).startswith(f"Dataset '{name}' is made, with the fields ")
    assert not fo.dataset_exists(name)
    try:
        steps = sent(LOAD, few, **params)
        assert [step["operator_uri"] for step in steps[-2:]] == ["open_dataset", "show_output"]
        assert steps[-2]["params"] == {"dataset": name}
        made = fo.load_dataset(name)
        assert made.persistent
        assert set(made.distinct("tags")) == {"val"}
        text = steps[-1]["params"]["results"]["summary"]
        assert f"`{name}`: {len(made):,} pictures" in text
        assert "| gender | gender |" in text
        assert "CC BY 4.0" in text
        again = errors(form(LOAD, few, **params))
        assert "is already there" in again["dataset_name"]
        with pytest.raises(ExecutionError, match="is already there"):
            execute(LOAD, few, **params)
        made.tag_samples("mine")
        execute(LOAD, few, **params, overwrite=True, limit=1)
        assert len(fo.load_dataset(name)) == 1
    finally:
        fo.delete_dataset(name)


@pytest.mark.parametrize(
    ("params", "where", "said"),
    [
        ({"data": "utkface", "data_folder": "/no/such"}, "data_folder", "is not there; expected"),
        ({"data": "utkface", "data_folder": "here"}, "data_folder", "expected a whole path"),
        ({"data": "folders", "data_folder": "/tmp"}, "data_folder", "Name the attribute"),
        ({"data": "fairface-hub", "data_folder": "/tmp"}, "data_folder", "name the folder to write them to"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_the_form(
    few: fo.Dataset, params: dict[str, Any], where: str, said: str
) -> None:
    assert said in errors(form(LOAD, few, **params))[where]
    with pytest.raises(ExecutionError):
        execute(LOAD, few, **params)


def test_a_load_that_is_stopped_leaves_nothing(few: fo.Dataset, dataset_name: str, tmp_path: Path) -> None:
    layouts.picture(tmp_path / "Female" / "0.png")
    for k in range(1, 2000):
        (tmp_path / "Female" / f"{k}.png").hardlink_to(tmp_path / "Female" / "0.png")
    told: list[Any] = []

    def stop_once(step: Any) -> None:
        if "pictures read" in str(step) and not told:
            thread = threading.Thread(target=lambda: told.append(sent(STOP, few)))
            thread.start()
            thread.join()

    name = f"{dataset_name}-loaded"
    params = {"data": "folders", "data_folder": str(tmp_path), "option_attribute": "gender", "dataset_name": name}
    last = sent(LOAD, few, stop_once, **params)[-1]
    assert last["params"]["outputs"]["view"]["label"] == "Load a data set of faces: stopped"
    assert "Stopped at 1,024 pictures. Nothing is made" in str(last)
    assert [found for found in fo.list_datasets() if found.startswith(name)] == []


# Check


@pytest.fixture
def faulty(few: fo.Dataset, tmp_path: Path) -> fo.Dataset:
    """Three copies, one of them of another gender, and a picture that is none."""
    for k, record in enumerate(samples.read("single")[:3]):
        shutil.copy(record.filepath, tmp_path / f"{k}.jpg")
        label = ("Female" if record.labels["gender"] == "Male" else "Male") if k == 0 else record.labels["gender"]
        few.add_sample(fo.Sample(filepath=str(tmp_path / f"{k}.jpg"), gender=fo.Classification(label=label)))
    (tmp_path / "none.jpg").write_text("no picture")
    few.add_sample(fo.Sample(filepath=str(tmp_path / "none.jpg")))
    return few


def test_a_check_says_what_it_looks_at_and_what_it_found(faulty: fo.Dataset) -> None:
    paths = set(faulty.values("filepath"))
    copies = len(faulty) - 1 - len({Path(path).read_bytes() for path in paths if Path(path).name != "none.jpg"})
    asked = form(CHECK, faulty)
    assert says(asked["plan"]).startswith("Pictures to read: 16. What is looked at: labels: ")
    assert "gender" in says(asked["plan"])
    text = execute(CHECK, faulty)
    assert "16 pictures, 15 of them readable" in text
    assert copies
    assert faulty.count_sample_tags()["duplicate"] == copies
    assert f"| duplicate | {copies} | " in text.replace("\\", "")
    assert faulty.count_sample_tags()["label_conflict"] == 2
    assert faulty.count_sample_tags()["unreadable"] == 1
    assert "`check_duplicate`" in text
    assert "check_duplicate" in faulty.list_saved_views()
    assert set(faulty.values("filepath")) == paths


def test_a_check_looks_only_at_what_is_chosen(faulty: fo.Dataset) -> None:
    params = {"near": False, "fields": ["race"]}
    assert "near_bits" not in form(CHECK, faulty, **params)
    assert "labels: race;" in says(form(CHECK, faulty, **params)["plan"])
    execute(CHECK, faulty, **params)
    assert "label_conflict" not in faulty.count_sample_tags()
    assert runs.read(faulty, "facevlm_check") or faulty.has_run("facevlm_check")
    faults = errors(form(CHECK, faulty, fields=["nowhere"]))
    assert "Field 'nowhere' is not there" in faults["fields"]


def test_a_check_that_is_stopped_changes_nothing(faulty: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facevlm.checks.fingerprints.CHUNK", 4)
    told: list[Any] = []

    def stop_once(step: Any) -> None:
        if " of 16 pictures" in str(step) and not told:
            assert "Nothing is changed then" in str(step)
            told.append(sent(STOP, faulty))

    last = sent(CHECK, faulty, stop_once)[-1]
    assert "Stopped at 4 of 16 pictures. Nothing is changed; run again, it begins anew." in str(last)
    faulty.reload()
    assert faulty.count_sample_tags() == {}
    assert not faulty.has_run("facevlm_check")


# Compare


@pytest.fixture
def twice(faces: fo.Dataset) -> fo.Dataset:
    facevlm.apply(faces, "demo", ["gender", "emotion7"], prefix="one", progress=False)
    facevlm.apply(faces, "demo", ["emotion7"], prefix="two", prompts={"emotion7": "Mood?"}, progress=False)
    return faces


def test_runs_are_compared_with_n_and_intervals(twice: fo.Dataset) -> None:
    asked = form(COMPARE, twice)
    assert asked["prefixes"]["default"] == ["one", "two"]
    assert says(asked["plan"]) == "Compared: one, two on emotion7. No model is asked."
    text = execute(COMPARE, twice, groups=["gender"], save_views=True).replace("\\", "")
    (pair,) = facevlm.compare(twice, ["one", "two"])[0].pairs
    row = f"| one | two | {pair.n} | {pair.both_right} | {pair.only_a} | {pair.only_b} | {pair.neither} |"
    assert row in text
    assert "| gender | n | flips | 95 % Wilson |" in text
    assert "ground truth `emotion`" in text
    assert "`one_vs_two_emotion7_disagree`" in text
    assert "one_vs_two_emotion7_disagree" in twice.list_saved_views()


def test_one_run_alone_is_not_compared(twice: fo.Dataset) -> None:
    assert "Choose at least two runs" in errors(form(COMPARE, twice, prefixes=["one"]))["prefixes"]
    with pytest.raises(ExecutionError):
        execute(COMPARE, twice, prefixes=["one"])


# Sensitivity


def test_wordings_are_told_asked_and_tabled(few: fo.Dataset) -> None:
    asked = form(SENSITIVITY, few, ask_emotion7=True)
    assert errors(asked) == {}
    assert "emotion7 in " in says(asked["plan"])
    text = execute(SENSITIVITY, few, ask_emotion7=True, prefix="w", groups=["gender"]).replace("\\", "")
    prefixes = [name for name in runs.prefixes(few) if name.startswith("w_w")]
    assert len(prefixes) > 1
    assert f"emotion7 in {len(prefixes)} wordings" in says(asked["plan"])
    assert f"{12 * len(prefixes)} questions at most" in says(asked["plan"])
    assert all(f"| {name} | " in text for name in prefixes)
    assert "| over | n | flipped | 95 % Wilson | flip rate | 95 % bootstrap |" in text
    assert "field `w_emotion7_flip_rate`" in text
    assert few.count("w_emotion7_flip_rate") == 12


def test_a_dear_sensitivity_is_agreed_to_once_for_all_wordings(
    few: fo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("date: 2031-01-01\nmodels: {m: {input: 5000, output: 100}}\n")
    monkeypatch.setenv("FACEVLM_PRICES", str(prices))
    with running() as server:
        params = {"model": "api", "api_model": "m", "base_url": server.base_url, "ask_gender": True, "prefix": "w"}
        asked = form(SENSITIVITY, few, **params)
        assert " times: " in says(asked["briefing"])
        assert "Agree to the cost" in errors(asked)["agreed"]
        with pytest.raises(ExecutionError):
            execute(SENSITIVITY, few, **params)
        assert server.asked == []
        assert "agreed" not in errors(form(SENSITIVITY, few, **params, agreed=True))


# Menu


def buttons(properties: dict[str, Any]) -> list[str]:
    return [p["view"]["operator"].removeprefix(URI) for p in properties.values() if p["view"]["name"] == "Button"]


def next_of(dataset: fo.Dataset) -> list[str]:
    dataset.reload()
    return [
        name.removeprefix("next_") for name in form(MENU, dataset) if name.startswith("next_") and "_line" not in name
    ]


def test_the_menu_is_the_one_button_above_the_grid(faces: fo.Dataset) -> None:
    registry = OperatorRegistry()
    ours = [one for one in registry.list_operators(builtin=False) if one.uri.startswith(URI)]
    placed = [one.uri for one in ours if one.resolve_placement(context(one.uri, faces)) is not None]
    assert placed == [MENU]
    told = [one for one in ours if one.config.execute_as_generator and not one.config.unlisted]
    verbs = {one.uri.removeprefix(URI): one for one in told if one.uri != MENU}
    listed = buttons(form(MENU, faces))
    assert set(listed) == set(verbs)
    icons = [one.config.icon for one in verbs.values()]
    assert len(set(icons)) == len(icons)
    assert all(one.config.description.count(". ") and one.config.description.endswith(".") for one in verbs.values())


def test_the_menu_begins_with_the_next_step(faces: fo.Dataset) -> None:
    assert next_of(faces) == ["detect_faces", "apply_vlm_face_attributes"]
    assert drawn(MENU, faces)["view"]["submit_button_label"] == "Detect faces"
    (step,) = sent(MENU, faces)
    assert step["params"]["operator_uri"] == URI + "detect_faces"
    facevlm.apply(faces, "demo", ["gender"], prefix="one", progress=False)
    assert next_of(faces) == ["evaluate_face_attributes"]
    facevlm.evaluate(faces, prefix="one", draws=20)
    assert next_of(faces) == ["write_face_attribute_report", "measure_wording_sensitivity"]
    facevlm.apply(faces, "demo", ["gender"], prefix="two", progress=False)
    assert next_of(faces) == ["compare_face_attribute_runs", "write_face_attribute_report"]
    assert next_of(fo.Dataset()) == ["load_face_dataset"]


def test_what_the_user_set_stays(faces: fo.Dataset) -> None:
    faces.app_config.plugins = {"mine": {"a": 1}}
    faces.save()
    before = faces.app_config.to_dict()
    asked: list[tuple[str, dict[str, Any]]] = [
        (MENU, {}),
        (CHECK, {}),
        (SENSITIVITY, {"ask_gender": True, "prefix": "w"}),
    ]
    for uri, params in asked:
        sent(uri, faces, **params)
        faces.reload()
        assert faces.app_config.to_dict() == before

"""The report operator through FiftyOne's executor: its form, the files it writes, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError

import facevlm
from facevlm.tasks import sources as sources_task

REPORT = "@facevlm/face-attributes/write_face_attribute_report"


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_faces(dataset_name)


@pytest.fixture
def judged(faces: fo.Dataset) -> fo.Dataset:
    facevlm.apply(faces, "demo", ["emotion7"], prefix="mine", progress=False)
    facevlm.evaluate(faces, prefix="mine", draws=20)
    return faces


def form(dataset: fo.Dataset, **params: Any) -> dict[str, Any]:
    context = ExecutionContext({"dataset_name": dataset.name, "params": params}, operator_uri=REPORT)
    shape: dict[str, Any] = foo.get_operator(REPORT).resolve_input(context).to_json()
    properties: dict[str, Any] = shape["type"]["properties"]
    json.dumps(properties)
    return properties


def execute(dataset: fo.Dataset, **params: Any) -> None:
    foo.execute_operator(REPORT, ctx={"dataset": dataset, "params": params})


def test_the_form_offers_evaluations_and_warns_of_pictures(judged: fo.Dataset, tmp_path: Path) -> None:
    properties = form(judged)
    assert properties["eval_key"]["default"] == "mine_eval"
    assert properties["pictures"]["default"] is False
    assert properties["folder"]["default"].endswith(f"{judged.name}-report")
    assert "faces" not in properties
    assert "pictures of people's faces" in json.dumps(form(judged, pictures=True)["faces"])
    assert "expected a whole path" in form(judged, folder="here")["folder"]["error_message"]
    (tmp_path / "file").write_text("x")
    assert "expected a folder" in form(judged, folder=str(tmp_path / "file"))["folder"]["error_message"]


def test_a_report_is_written(judged: fo.Dataset, tmp_path: Path) -> None:
    execute(judged, folder=str(tmp_path / "out"))
    texts = {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "out").iterdir()}
    assert sorted(texts) == ["report.html", "report.json", "report.md"]
    assert "evaluation 'mine_eval'" in texts["report.md"]
    assert "| faces asked in the last call | 96 |" in texts["report.md"]
    paths = judged.values("filepath")
    assert not [path for path in paths for text in texts.values() if Path(path).name in text]
    assert "data:image" not in "".join(texts.values())


def test_pictures_are_embedded_when_asked_for(judged: fo.Dataset, tmp_path: Path) -> None:
    execute(judged, folder=str(tmp_path), pictures=True)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 12
    assert "This file holds pictures" in page
    assert not [path for path in judged.values("filepath") if Path(path).name in page]


def test_a_scheduled_report_is_the_same(judged: fo.Dataset, tmp_path: Path) -> None:
    service = DelegatedOperationService()
    context = ExecutionContext({"dataset_name": judged.name, "params": {"folder": str(tmp_path)}}, operator_uri=REPORT)
    operation = service.queue_operation(operator=REPORT, context=context)
    service.execute_operation(operation)
    done = service.get(operation.id)
    assert done.run_state == "completed", done.result
    assert (tmp_path / "report.html").is_file()


def test_without_an_evaluation_there_is_no_report(faces: fo.Dataset, tmp_path: Path) -> None:
    assert "no evaluation" in form(faces)["nothing"]["error_message"]
    with pytest.raises(ExecutionError, match="holds no evaluation"):
        execute(faces, folder=str(tmp_path))


@pytest.mark.parametrize(
    ("params", "said"), [({"folder": "here"}, "expected a whole path"), ({"eval_key": "nope"}, "Invalid enum value")]
)
def test_bad_input_is_said_when_it_is_run(
    judged: fo.Dataset, params: dict[str, Any], tmp_path: Path, said: str
) -> None:
    with pytest.raises(ExecutionError, match=said):
        execute(judged, **{"folder": str(tmp_path), **params})
    assert list(tmp_path.iterdir()) == []

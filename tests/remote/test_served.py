"""A server that nobody here wrote: the probe finds out that it ignores schema and log-probabilities; form to fields."""

from __future__ import annotations

from collections.abc import Iterator

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from PIL import Image

from facevlm.backends import Options, Remote, open_backend
from facevlm.backends.remote.backend import RemoteBackend
from facevlm.errors import ModelError
from facevlm.types import Question
from tests.remote.serving import checkpoint, serving

pytest.importorskip("fastapi")
APPLY = "@facevlm/face-attributes/apply_vlm_face_attributes"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The model's name at the server, and the server's base_url."""
    folder = checkpoint(tmp_path_factory.mktemp("served"))
    with serving(folder) as url:
        yield str(folder), url


def test_the_probe_finds_out_what_is_ignored(served: tuple[str, str], questions: list[Question]) -> None:
    name, url = served
    backend = open_backend(f"openai:{name}", Options(remote=Remote(base_url=url, max_tokens=12)))
    assert isinstance(backend, RemoteBackend)
    backend.check(questions)
    assert backend.info.service["honours"] == {"structure": "text", "top": 0, "dropped": ()}
    assert "ignores schema and JSON mode" in backend.info.notes[0]
    table = backend.answer([Image.new("RGB", (64, 48), (90, 80, 70))] * 3, questions)
    backend.close()
    assert all(reply.text and reply.malformed and reply.error is None for row in table for reply in row)


def test_a_model_that_the_server_does_not_have_is_said(served: tuple[str, str], questions: list[Question]) -> None:
    backend = open_backend("openai:nobody/has-this", Options(remote=Remote(base_url=served[1], attempts=1)))
    assert isinstance(backend, RemoteBackend)
    with pytest.raises(ModelError):
        backend.check(questions)
    backend.close()


def test_from_the_apps_form_to_fields(served: tuple[str, str], dataset_name: str, pictures: list[str]) -> None:
    made = fo.Dataset(dataset_name)
    made.add_samples([fo.Sample(filepath=p) for p in pictures[:4]], progress=False)
    params = {"model": "api", "api_model": served[0], "base_url": served[1], "ask_gender": True, "prefix": "s"}
    foo.execute_operator(APPLY, ctx={"dataset": made, "params": params})
    made.reload()
    labels = made.values("s_gender")
    assert all(label.outcome in ("unparsed", "ok") and label.text for label in labels)
    record = made.get_run_info("facevlm_s").config
    assert record.backend["service"]["honours"]["structure"] == "text"
    assert record.backend["usage"]["input_tokens"] > 0

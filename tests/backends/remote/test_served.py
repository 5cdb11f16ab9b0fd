"""A server that nobody here wrote, with the demo model: what it ignores is found out, its labels are the same here."""

from __future__ import annotations

from collections.abc import Iterator

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import Options, Remote, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.remote.backend import RemoteBackend
from facevlm.datasets import samples
from facevlm.errors import ModelError
from facevlm.tasks import sources as sources_task
from facevlm.types import Question
from tests.servers.serving import checkpoint, serving

pytestmark = pytest.mark.process
APPLY = "@facevlm/face-attributes/apply_vlm_face_attributes"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The model's name at the server, and the server's base_url."""
    folder = checkpoint(tmp_path_factory.mktemp("served"))
    with serving(folder) as url:
        yield str(folder), url


def opened(served: tuple[str, str], **options: object) -> RemoteBackend:
    name, url = served
    given = {"base_url": url, "max_tokens": 12, "concurrency": 4} | options
    backend = open_backend(f"openai:{name}", Options(remote=Remote(**given)))  # type: ignore[arg-type]
    assert isinstance(backend, RemoteBackend)
    return backend


def test_the_probe_finds_out_what_is_ignored(served: tuple[str, str], questions: list[Question]) -> None:
    backend = opened(served)
    backend.check(questions)
    assert backend.info.service["honours"] == {"structure": "text", "top": 0, "dropped": ()}
    assert "ignores schema and JSON mode" in backend.info.notes[0]
    table = backend.answer([Image.new("RGB", (64, 48), (90, 80, 70))] * 3, questions)
    backend.close()
    assert all(reply.text and reply.malformed and reply.error is None for row in table for reply in row)


@pytest.mark.parametrize("name", ["gender", "age5"])
def test_the_served_model_answers_as_the_one_in_process(served: tuple[str, str], name: str) -> None:
    pictures = [Image.open(record.filepath).convert("RGB") for record in samples.read("single")[::4]]
    demo = find("demo")
    here = open_backend("demo", Options(decode="generate")).answer(
        pictures, questions_for(demo, [get(name)], joint=False)
    )
    backend = opened(served, template=f"{served[0]}/bare.yaml", quality=100)
    asked = questions_for(find("openai:m"), [get(name)], {name: demo.questions[name]})
    there = backend.answer(pictures, asked)
    backend.close()
    assert len(pictures) == 24
    assert sum(a[0].text == b[0].text for a, b in zip(here, there, strict=True)) >= 23
    assert {b[0].text for b in there} <= set(get(name).labels)


def test_a_model_that_the_server_does_not_have_is_said(served: tuple[str, str], questions: list[Question]) -> None:
    backend = opened(("nobody/has-this", served[1]), attempts=1)
    with pytest.raises(ModelError):
        backend.check(questions)
    backend.close()


def test_from_the_apps_form_to_fields(served: tuple[str, str], dataset_name: str) -> None:
    made = sources_task.sample_faces(dataset_name)
    name, url = served
    params = {"model": "api", "api_model": name, "base_url": url, "ask_gender": True, "prefix": "s", "concurrency": 4}
    foo.execute_operator(APPLY, ctx={"dataset": made, "params": {**params, "template": f"{name}/bare.yaml"}})
    made.reload()
    assert made.count_values("s_gender.outcome") == {"ok": 96}
    right = [a == b for a, b in zip(made.values("s_gender.label"), made.values("gender.label"), strict=True)]
    assert sum(right) >= 94
    record = made.get_run_info("facevlm_s").config
    assert record.backend["service"]["honours"]["structure"] == "text"
    assert record.backend["usage"]["requests"] >= 96


def test_a_view_is_all_that_is_sent(served: tuple[str, str], dataset_name: str) -> None:
    made = sources_task.sample_faces(dataset_name)
    params = {"model": "api", "api_model": served[0], "base_url": served[1], "ask_gender": True, "prefix": "v"}
    target = {"view": made.limit(3), "params": {**params, "view_target": "CURRENT_VIEW"}}
    foo.execute_operator(APPLY, ctx=target)
    made.reload()
    assert len(made.exists("v_gender")) == 3
    assert all(isinstance(label, fo.Classification) for label in made.exists("v_gender").values("v_gender"))

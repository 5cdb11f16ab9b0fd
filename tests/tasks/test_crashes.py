"""A process that is killed after any of its writes to the database leaves what the same call completes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import warm
from tests.servers.killing import distinct_pictures
from tests.servers.server import Act, Request, after_probe, completion, running
from tests.tasks.crashing import COUNT, KILLED

pytestmark = [pytest.mark.kill, pytest.mark.process]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    distinct_pictures(folder, COUNT, side=64)
    for label in ("Male", "Female"):
        (tmp_path / "classes" / label).mkdir(parents=True)
        distinct_pictures(tmp_path / "classes" / label, 3)
    return folder


def filled(schema: Any) -> Any:
    """Something that a JSON schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"][0] if isinstance(schema["type"], list) else schema["type"]
    if kind == "object":
        return {name: filled(part) for name, part in schema["properties"].items()}
    if kind == "array":
        return [filled(schema["items"])] * schema.get("minItems", 1)
    return {"string": "brown", "number": 0.5, "integer": 1, "boolean": True}[kind]


def somebody(request: Request) -> Act:
    """One person in every picture."""
    return Act(completion(json.dumps(filled(request.body["response_format"]["json_schema"]["schema"]))))


@pytest.fixture
def served(folder: Path) -> Iterator[None]:
    with running(after_probe(somebody)) as server:
        (folder / "url").write_text(server.base_url)
        yield


@pytest.mark.parametrize("case", KILLED)
@pytest.mark.usefixtures("served")
def test_killed_after_any_write_the_same_call_completes(case: str, folder: Path) -> None:
    done = warm.run("from tests.tasks import crashing; crashing.main()", case, str(folder))
    assert done.returncode == 0, done.stderr

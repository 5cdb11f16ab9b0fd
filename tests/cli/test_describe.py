"""facevlm describe, against a real server that looks at the group pictures."""

from __future__ import annotations

from collections.abc import Iterator

import fiftyone as fo
import pytest

from facevlm.tasks import sources as sources_task
from tests.cli.running import Run
from tests.servers.onlooker import Onlooker, text_of
from tests.servers.server import Server, running

NAME = "test-cli-describe"
PICTURES, FACES = 8, 28


@pytest.fixture
def groups() -> Iterator[fo.Dataset]:
    dataset = sources_task.sample_groups(NAME)
    yield dataset
    dataset.delete()


@pytest.fixture
def server(groups: fo.Dataset) -> Iterator[Server]:
    with running(Onlooker.of(groups, ["gender"])) as started:
        yield started


def test_describe_tells_what_it_did_and_goes_on(groups: fo.Dataset, server: Server, run: Run) -> None:
    arguments = ["describe", NAME, "--model", "openai:m", "--base-url", server.base_url, "--attributes", "gender"]
    arguments += [
        "--faces",
        "faces",
        "--mark",
        "numbers",
        "--prefix",
        "d",
        "--free",
        "clothing",
        "--ask",
        "hair=how long?",
    ]
    tried = run(*arguments, "--dry-run")
    assert (tried.status, tried.out, server.asked) == (0, "", [])
    assert tried.err.startswith(f"{PICTURES} pictures go to 127.0.0.1")
    done = run(*arguments)
    assert done.status == 0, done.err
    assert done.rows("gender") == [["gender", "d_gender", str(FACES), "0", "0", "0", "0", "-"]]
    assert f"{PICTURES} pictures asked, 0 skipped" in done.out
    assert f"{FACES} people in d_people; pictures: {PICTURES} ok; wrong counts: 0" in done.out
    assert all('"hair": how long?' in text_of(request) for request in server.asked)
    assert f"all {PICTURES} pictures have their answers" in run(*arguments).out
    judged = run("evaluate", NAME, "--prefix", "d", "--faces", "faces", "--draws", "20")
    assert judged.status == 0, judged.err
    assert judged.rows("gender")[0][1].rstrip("*") == str(FACES)


def test_bad_input_ends_with_status_two(groups: fo.Dataset, run: Run) -> None:
    done = run("describe", NAME, "--model", "openai:m", "--attributes", "gender", "--mark", "crops")
    assert (done.status, done.out) == (2, "")
    assert "without faces" in done.err
    done = run("describe", NAME, "--attributes", "gender")
    assert done.status == 2
    assert "Model 'demo' answers about one face" in done.err

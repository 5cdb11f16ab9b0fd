"""A script can tell by the exit status that nothing of what was asked was answered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import fiftyone as fo
import pytest
from PIL import Image

from facevlm.cli import main
from facevlm.tasks import sources
from tests.servers.server import Act, Server, after_probe, completion, running

NONE = "has an answer; the reasons are above."


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Two files that are named as pictures and are none, and one that is not even named so."""
    folder = tmp_path / "bad"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        (folder / name).write_bytes(b"no picture")
    (folder / "a.txt").write_text("words")
    return folder


@pytest.fixture
def prosing() -> Iterator[Server]:
    """A server whose model never names a label."""
    with running(after_probe(lambda request: Act(completion("I would rather talk about the weather.")))) as started:
        yield started


def test_of_pictures_that_cannot_be_read(bad: Path, dataset_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = [dataset_name, "--images", str(bad)]
    assert main(["apply", *given, "--attributes", "gender"]) == 1
    told = capsys.readouterr()
    assert f"None of the 2 faces asked about {NONE}" in told.err
    assert "1 file left out:" in told.out
    assert "a.txt" in told.out
    assert main(["detect", *given, "--detector", "haar"]) == 1
    assert f"None of the 2 pictures asked about {NONE}" in capsys.readouterr().err
    assert main(["sensitivity", *given, "--attributes", "gender"]) == 1
    assert main(["probe", *given, "--attributes", "gender"]) == 1
    Image.new("RGB", (32, 32)).save(bad / "c.png")
    assert main(["apply", *given, "--attributes", "gender"]) == 0, "one of three is answered"
    assert main(["detect", *given, "--detector", "haar"]) == 0, "nobody in a picture is an answer"
    assert main(["apply", *given, "--attributes", "gender"]) == 1, "what failed is asked again, and fails again"


def test_of_a_server_that_answers_something_else(
    prosing: Server, dataset_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = sources.sample_groups(dataset_name)
    service = ["--model", "openai:m", "--base-url", prosing.base_url]
    for command in (
        ["apply", groups.name, *service, "--attributes", "gender", "--prefix", "a"],
        ["apply", groups.name, *service, "--attributes", "gender", "--faces", "faces", "--prefix", "f"],
        ["describe", groups.name, *service, "--attributes", "gender", "--prefix", "d"],
        ["ask", groups.name, "gender of all", *service, "--prefix", "q", "--yes"],
    ):
        assert main(command) == 1, command
        assert NONE in capsys.readouterr().err
    assert main(["apply", groups.name, *service, "--attributes", "gender", "--prefix", "n", "--dry-run"]) == 0


@pytest.mark.parametrize(
    "command", [["apply"], ["detect"], ["describe"], ["ask"], ["sensitivity"], ["batch", "collect"]]
)
def test_the_help_tells_it(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    assert "Exit status: 0; 1 for a failure, or where something was asked" in " ".join(capsys.readouterr().out.split())


def test_nothing_asked_is_no_failure(dataset_name: str, pictures: list[str]) -> None:
    dataset = fo.Dataset(dataset_name, persistent=True)
    dataset.add_samples([fo.Sample(filepath=path) for path in pictures])
    assert main(["apply", dataset_name, "--attributes", "gender"]) == 0
    assert main(["apply", dataset_name, "--attributes", "gender"]) == 0


def ended(*arguments: str, out: int, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit status of a command in a process of its own, and what it said as an error."""
    command = [sys.executable, "-m", "facevlm.cli", *arguments]
    told = os.environ | (environment or {})
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, env=told, timeout=120, check=False)
    return done.returncode, done.stderr


@pytest.mark.process
def test_what_nobody_reads_or_a_disk_does_not_take_is_no_traceback() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    try:
        assert ended("models", out=writes) == (1, "")
    finally:
        os.close(writes)
    with open("/dev/full", "wb") as full:
        assert ended("models", out=full.fileno()) == (1, "facevlm: Cannot print: No space left on device.\n")


@pytest.mark.process
def test_letters_that_a_terminal_does_not_have_are_written_out(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("attributes: {size: {labels: [klein, groß], question: 'Wie groß?'}}\n", encoding="utf-8")
    with open(tmp_path / "out", "wb") as out:
        status, said = ended(
            *("attributes", "--attributes-file", str(mine)),
            out=out.fileno(),
            environment={"PYTHONIOENCODING": "ascii"},
        )
    assert (status, said) == (0, "")
    assert r"gro\xdf" in (tmp_path / "out").read_text(encoding="ascii")


@pytest.mark.process
def test_a_command_without_a_standard_output_does_its_work() -> None:
    shell = f"{sys.executable} -m facevlm.cli models >&-"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")

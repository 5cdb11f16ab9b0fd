"""predict and cache on the command line with a model behind an API."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import pytest
from PIL import Image

from facevlm import cli
from facevlm.backends import Options, Remote
from facevlm.backends.remote.cache import Cache
from facevlm.cli import _options
from tests.servers.server import Act, after_probe, obedient, running
from tests.waiting import PATIENCE, SOON, until

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command line's exit status, output and errors."""

    def started(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(arguments)
        return status, *capsys.readouterr()

    return started


@pytest.fixture
def prices(tmp_path: Path) -> str:
    """Half a cent for 200 + 20 tokens."""
    path = tmp_path / "prices.yaml"
    path.write_text("date: 2031-01-01\nmodels: {m: {input: 15, output: 100}}\n")
    return str(path)


PREDICT = ("--model", "openai:m", "--attributes", "gender", "--prefix", "p")


def test_predict_says_where_pictures_go_and_what_it_took(dataset: fo.Dataset, run: Run, prices: str) -> None:
    with running() as server:
        arguments = (*PREDICT, "--base-url", server.base_url, "--concurrency", "4", "--prices", prices)
        status, out, err = run("apply", dataset.name, *arguments)
        assert status == 0
        assert err.startswith(f"10 pictures of faces go to 127.0.0.1:{server.port} (on this machine or network)")
        assert "11 requests (0 again), 0 answers from the cache, 2,200 + 220 tokens, $0.0550" in out
        assert server.most_in_flight <= 4
    assert dataset.count_values("p_gender.outcome") == {"ok": 10}


def test_a_dry_run_asks_nothing(dataset: fo.Dataset, run: Run, prices: str) -> None:
    with running() as server:
        arguments = (*PREDICT, "--base-url", server.base_url, "--prices", prices, "--dry-run")
        status, out, err = run("apply", dataset.name, *arguments)
        assert (status, out, server.asked) == (0, "", [])
    assert "about $0.09 at prices of 2031-01-01" in err
    assert dataset.list_runs() == []


def test_a_budget_stops_and_says_so(dataset: fo.Dataset, run: Run, prices: str) -> None:
    with running() as server:
        arguments = (*PREDICT, "--base-url", server.base_url, "--prices", prices, "--concurrency", "1")
        status, out, _ = run("apply", dataset.name, *arguments, "--budget", "0.03")
        assert status == 0
        assert "Warning: Stopped early: the budget of $0.03 is used up" in out
        assert len(server.asked) < 6


def test_a_dear_run_is_asked_about(
    dataset: fo.Dataset, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dear.yaml").write_text("date: 2031-01-01\nmodels: {m: {input: 5000, output: 0}}\n")
    with running() as server:
        arguments = (*PREDICT, "--base-url", server.base_url, "--prices", str(tmp_path / "dear.yaml"))
        status, _, err = run("apply", dataset.name, *arguments)
        assert (status, server.asked) == (2, [])
        assert "may cost more than $5. Add --yes, or set a --budget." in err
        monkeypatch.setattr(sys, "stdin", None)
        assert run("apply", dataset.name, *arguments)[0] == 2
        for answer, asked in (("n\n", 0), ("\n", 0), ("", 0), ("y\n", 10)):
            monkeypatch.setattr(sys, "stdin", _Terminal(answer))
            assert run("apply", dataset.name, *arguments)[0] == 0
            assert len(server.asked) == asked
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert run("apply", dataset.name, *arguments, "--overwrite", "--yes")[0] == 0
        assert len(server.asked) == 20


class _Terminal(io.StringIO):
    """What is typed at a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_broken_key_is_one_line_and_status_1(dataset: fo.Dataset, run: Run) -> None:
    with running(lambda request: Act({"error": {"message": "expired"}}, 401)) as server:
        status, out, err = run("apply", dataset.name, *PREDICT, "--base-url", server.base_url)
    assert (status, out) == (1, "")
    _, line = err.splitlines()
    assert line.startswith("facevlm: 127.0.0.1:")
    assert "HTTP 401: expired. Check the key (FACEVLM_API_KEY)" in line


@pytest.mark.parametrize("option", [("--base-url", "nowhere"), ("--concurrency", "0"), ("--template", "odd")])
def test_bad_options_are_status_2(dataset: fo.Dataset, run: Run, option: tuple[str, str]) -> None:
    status, _, err = run("apply", dataset.name, *PREDICT, *option)
    assert status == 2
    assert err.startswith("facevlm: ")


def test_every_option_reaches_the_backend() -> None:
    given = {
        "base_url": "http://localhost:1/v1",
        "key_name": "K",
        "concurrency": 3,
        "requests_per_minute": 5.0,
        "tokens_per_minute": 6.0,
        "timeout": 7.0,
        "attempts": 8,
        "max_failures": 0.9,
        "budget": 10.0,
        "samples": 11,
        "temperature": 0.12,
        "max_tokens": 13,
        "max_side": 140,
        "quality": 15,
        "detail": "high",
        "template": "main-person",
        "wording": "expression",
        "order": "reversed",
        "prices": "p.yaml",
    }
    words = [part for name, value in given.items() for part in ("--" + name.replace("_", "-"), str(value))]
    args = cli.parser().parse_args(["apply", "d", *words, "--no-cache"])
    assert _options.options(args).remote == Remote(**given, cache="off")  # type: ignore[arg-type]
    assert _options.options(cli.parser().parse_args(["apply", "d"])) == Options()
    assert set(given) | {"cache"} == set(Remote.__dataclass_fields__)


def test_the_cache_is_shown_and_cleared(dataset: fo.Dataset, run: Run, own_cache: Path) -> None:
    assert "No replies are kept." in run("cache", "info")[1]
    with running() as server:
        assert run("apply", dataset.name, *PREDICT, "--base-url", server.base_url)[0] == 0
        shown = run("cache", "info")[1]
        assert str(own_cache) in shown
        assert [line.split() for line in shown.splitlines()][-1] == [f"127.0.0.1:{server.port}", "m", "10"]
        assert run("cache", "clear", "--model", "n")[1] == "0 replies forgotten.\n"
        assert run("cache", "clear")[1] == "10 replies forgotten.\n"
        assert "No replies are kept." in run("cache", "info")[1]


def test_without_the_cache_nothing_is_kept(dataset: fo.Dataset, run: Run, own_cache: Path) -> None:
    with running() as server:
        assert run("apply", dataset.name, *PREDICT, "--base-url", server.base_url, "--no-cache")[0] == 0
    assert not own_cache.exists()


@pytest.mark.kill
def test_an_interrupt_stops_at_once_and_keeps_what_was_answered(
    dataset_name: str, tmp_path: Path, own_cache: Path
) -> None:
    made = fo.Dataset(dataset_name, persistent=True)
    for k in range(60):
        Image.new("RGB", (8, 8), (4 * k,) * 3).save(tmp_path / f"{k:02d}.png")
    made.add_samples([fo.Sample(filepath=str(tmp_path / f"{k:02d}.png")) for k in range(60)], progress=False)
    root = Path(__file__).resolve().parents[2]
    with running(after_probe(lambda r: Act(obedient(r).body) if r.level < 120 else Act(hang=True))) as server:
        command = [
            sys.executable,
            "-m",
            "facevlm.cli",
            "apply",
            dataset_name,
            *PREDICT,
            "--base-url",
            server.base_url,
        ]
        process = subprocess.Popen(
            command,
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until(lambda: len(server.asked) == 60, "all requests are there")
        until(lambda: sum(Cache(own_cache).info().replies.values()) == 30, "the answers are read, the others hang")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        took = time.monotonic() - began
    assert process.returncode == 130, err.decode()
    assert took < SOON
    assert err.decode().strip().endswith("the same command goes on from there.")
    made.reload()
    assert made.count("p_gender.label") == 30


def test_several_servers_of_one_model_are_named_one_after_the_other(faces: fo.Dataset, run: Run) -> None:
    with running() as one, running() as two:
        command = ("apply", faces.name, "--model", "openai:m", "--attributes", "gender", "--prefix", "r", "--no-cache")
        status, _, err = run(*command, "--base-url", one.base_url, "--base-url", two.base_url)
        assert status == 0
        assert f"go to 127.0.0.1:{one.port}, 127.0.0.1:{two.port} (on this machine or network)" in err
        assert len(one.asked) + len(two.asked) == 6
        _, out, _ = run(*command, "--base-url", f"{one.base_url},{two.base_url}", "--overwrite")
        assert "6 faces asked" in out

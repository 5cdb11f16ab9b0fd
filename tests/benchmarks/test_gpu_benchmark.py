"""The acceptance on a GPU, tried without one: every part runs and can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from facevlm.backends.families.base import Family
from facevlm.backends.families.paligemma import PaliGemma
from facevlm.backends.memory import BatchPace

WITHOUT = "fiftyone", "eta", "pymongo", "mongoengine", "openai", "imagehash", "cv2", "scipy", "pandas", "skimage"
TRY = ("--device", "cpu", "--tiny")


def run(capsys: pytest.CaptureFixture[str], *parts: str) -> tuple[int, list[str], dict[str, Any]]:
    """Exit status, FAIL lines, and the JSON object of some parts."""
    status = gpu.main([*TRY, "--only", *parts])
    *lines, last = capsys.readouterr().out.splitlines()
    return status, [line for line in lines if line.startswith("FAIL ")], json.loads(last)


@pytest.mark.process
def test_every_part_runs_with_torch_and_transformers_alone() -> None:
    """Without FiftyOne, its database, or anything else that facevlm uses beside."""
    start = f"import sys; sys.modules.update(dict.fromkeys({WITHOUT}))\nfrom benchmarks import gpu\n"
    command = [sys.executable, "-c", f"{start}sys.exit(gpu.main({list(TRY)}))"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    result = json.loads(ran.stdout.splitlines()[-1])
    assert (ran.returncode, result["fails"], "FAIL" in ran.stdout) == (0, [], False), ran.stderr
    assert {name: type(result[name]) for name in gpu.PARTS} == dict.fromkeys(gpu.PARTS, dict)
    assert set(result["families"]) == set(gpu.TINY_FAMILIES)
    assert result["backoff"]["in vain"] == 2
    assert "Out of memory" in result["backoff"]["said"]
    assert result["compiled"]["graphs"] > 0


def test_scores_that_do_not_hold_fail(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PaliGemma, "prefix_sight", Family.prefix_sight)
    monkeypatch.setattr(gpu, "TINY_FAMILIES", ("paligemma",))
    status, fails, result = run(capsys, "families")
    assert status == 1
    assert len(fails) == len(result["fails"]) == 2
    assert "differ from those of its own forward pass" in fails[0]


def test_a_back_off_that_forgets_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchPace, "fitted", lambda pace, size: setattr(pace, "most", None))
    status, [fail], _ = run(capsys, "backoff")
    assert status == 1
    assert "passes in vain over three batches" in fail


def test_a_part_that_breaks_fails_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(bench: gpu.Bench) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setitem(gpu.PARTS, "demo", (broken, 0))
    status, fails, result = run(capsys, "demo", "ceilings")
    assert status == 1
    assert fails == ["FAIL demo broke: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"]
    assert result["ceilings"]["matrix products, TFLOP/s"] > 0


def test_a_part_without_time_is_left_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bench = gpu.Bench(torch.device("cpu"), False, tmp_path)
    assert gpu.done(bench, "demo", bench.began + 5) == "left out: no time is left for it"
    assert capsys.readouterr().out == ""

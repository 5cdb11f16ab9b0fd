"""Models, readers and writers share the cores: threads sleep while they wait, and small models take one alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import Options, cores, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.local import LocalBackend
from facevlm.engines.reading import Cutter, Loader
from facevlm.types import Face
from tests.project import ROOT

OURS = "import facevlm.backends.local"
THEIRS = "import torch; import facevlm.backends.local"


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of four cores, of which PyTorch was told to take three."""
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "cores", lambda: 4)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="other OpenMPs tell their settings in other words")
@pytest.mark.parametrize(
    ("code", "told", "policy"), [(OURS, {}, "PASSIVE"), (OURS, {"OMP_WAIT_POLICY": "active"}, "ACTIVE")]
)
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(
    code: str, told: dict[str, str], policy: str
) -> None:
    usual = {name: value for name, value in os.environ.items() if name != cores.POLICY}
    env = {**usual, "OMP_DISPLAY_ENV": "true", "PYTHONPATH": str(ROOT), **told}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr


def test_where_pytorch_is_imported_already_nothing_is_claimed() -> None:
    env = {name: value for name, value in os.environ.items() if name != cores.POLICY} | {"PYTHONPATH": str(ROOT)}
    code = f"{THEIRS}; import os; print(os.environ.get('{cores.POLICY}'))"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


@pytest.mark.usefixtures("many")
def test_the_demo_model_takes_one_thread_and_leaves_the_usual_number_behind() -> None:
    backend, seen = LocalBackend(find("demo"), Options(device="cpu")), list[int]()
    model = backend._loaded[next(iter(backend._loaded.sizes))].family.model
    model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    backend.answer([Image.new("RGB", (64, 64))], questions_for(find("demo"), [get("gender")]))
    assert set(seen) == {1}
    assert torch.get_num_threads() == 3
    assert backend.info.threads == 1


@pytest.mark.usefixtures("many")
def test_threads_are_as_many_as_a_model_keeps_busy_and_never_more_than_pytorch_was_told() -> None:
    assert [cores.suited(n) for n in (0, 2_900_000, 8_900_000, 68_000_000, 10**10)] == [1, 1, 2, 3, 3]
    with cores.working(2_900_000):
        assert cores.suited(10**10) == 3


@pytest.mark.usefixtures("many")
def test_models_that_run_at_once_leave_the_usual_number_behind() -> None:
    inside, go_on = threading.Event(), threading.Event()
    inner: list[int] = []

    def work() -> None:
        with cores.working(0):
            inside.set()
            go_on.wait()
            inner.append(torch.get_num_threads())

    other = threading.Thread(target=work)
    with cores.working(10**9):
        other.start()
        inside.wait()
    go_on.set()
    other.join()
    fresh: list[int] = []
    last = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    last.start()
    last.join()
    assert (torch.get_num_threads(), inner, fresh) == (3, [1], [3])


@pytest.mark.usefixtures("many")
def test_a_model_that_fails_leaves_the_usual_number_behind() -> None:
    with pytest.raises(ValueError, match="no"), cores.working(0):
        raise ValueError("no")
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(
    ("text", "most"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", None), ("", None), ("1 0", None)]
)
def test_the_share_of_a_container_counts_as_its_cores(
    text: str, most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(text)
    assert cores.cores() == (most or 8)
    (tmp_path / "cpu.max").unlink()
    assert cores.cores() == 8


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
def test_readers_step_back_behind_the_model(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    seen: list[int] = []

    class Looking(Cutter):
        def __call__(self, faces: object) -> list[object]:  # type: ignore[override]
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().__call__(faces)  # type: ignore[arg-type, return-value]

    own = os.getpriority(os.PRIO_PROCESS, 0)
    with Loader([Face("1", str(tmp_path / "a.png"))], Looking(open_backend("demo").info), 1) as loader:
        assert len(list(loader)) == 1
    assert seen == [min(19, own + cores.NICE)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == own

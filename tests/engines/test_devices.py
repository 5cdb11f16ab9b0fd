"""A model on several devices: nothing is lost, nothing changes, and no process is left, however one of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image

import facevlm
from facevlm import cli, doors
from facevlm.attributes import get
from facevlm.backends import Options, cores, open_backend, schemes
from facevlm.backends.cards import find, questions_for
from facevlm.datasets import samples
from facevlm.engines.devices import Devices, opened, places
from facevlm.engines.local import run
from facevlm.engines.tally import Tally
from facevlm.errors import FacevlmWarning, InputError, ModelError
from facevlm.faces.crops import Crop
from facevlm.types import Attribute, Face, Prediction, Question
from tests.engines import fragile
from tests.project import ROOT
from tests.waiting import until

NAMES = ("gender", "age5")
GENDER = get("gender")
QUESTION = Question(GENDER, "who?", tuple((label,) for label in GENDER.labels))
TWO = Options(devices=["cpu", "cpu"])


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which :mod:`tests.engines.fragile` is installed."""
    site = tmp_path / "site"
    told = site / "fragile-1.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: fragile\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[facevlm.backends]\nfragile = tests.engines.fragile:opened\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(ROOT))
    _forget()
    yield site
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    doors.load.cache_clear()
    schemes.added.cache_clear()


@pytest.fixture
def notes(tmp_path: Path, package: Path) -> Path:
    """Where the processes of the fragile model leave their numbers."""
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest.fixture
def faces(tmp_path: Path) -> list[Face]:
    """Faces by their blue."""
    paths = [tmp_path / f"{k}.png" for k in range(40)]
    for k, path in enumerate(paths):
        Image.new("RGB", (8, 8), (0, 0, k)).save(path)
    return [Face(str(k), str(path)) for k, path in enumerate(paths)]


def colour(face: Face, colour: tuple[int, int, int]) -> None:
    Image.new("RGB", (8, 8), colour).save(face.filepath)


def numbers(notes: Path) -> set[int]:
    return {int(path.name) for path in notes.iterdir() if path.name.isdecimal()}


def is_gone(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def told(faces: Sequence[Face], backend: Any, questions: Sequence[Question], **options: Any) -> list[Prediction]:
    """What is written of each face, in the order of the faces."""
    written: list[Prediction] = []
    for _ in run(faces, backend, questions, written.extend, **options):
        pass
    order = {face.sample_id: k for k, face in enumerate(faces)}
    assert len(written) == len(faces) * len(questions)
    return sorted(written, key=lambda one: order[one.face.sample_id])


def outcomes(predictions: Sequence[Prediction]) -> list[str]:
    return [one.outcome for one in predictions]


@pytest.mark.process
def test_answers_are_those_of_one_process_bit_for_bit(tmp_path: Path) -> None:
    paths = [record.filepath for record in samples.read("single")][:19]
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    boxes = [None, (0.1, 0.1, 0.7, 0.8), (0.4, 0.4, 0.05, 0.05)]
    faces = [Face(str(k), str(path), boxes[k % 3]) for k, path in enumerate([*paths, tmp_path / "broken.jpg"])]
    questions = questions_for(find("demo"), [get(name) for name in NAMES])
    framing: dict[str, Any] = {"crop": Crop(margin=0.3), "min_face_px": 16}
    with closing(Devices("demo", TWO, NAMES)) as spread:
        here = open_backend("demo", Options(device="cpu"), NAMES)
        spread.check(questions)
        assert replace(spread.info, device="cpu", threads=1) == replace(here.info, threads=1)
        assert spread.info.device == "cpu, cpu"
        for size in (3, 8):
            got = told(faces, spread, questions, batch_size=size, **framing)
            assert got == told(faces, here, questions, batch_size=size, **framing)
        assert {"ok", "failed", "no_face"} == set(outcomes(got))
        pictures = [Image.open(path).convert("RGB").resize((64, 64)) for path in paths[:3]]
        assert spread.answer(pictures, questions) == here.answer(pictures, questions)


@pytest.mark.kill
def test_the_faces_of_a_killed_process_are_answered_by_others(faces: list[Face], notes: Path) -> None:
    with closing(Devices(f"fragile:{notes}", TWO, ["gender"])) as spread:
        first = numbers(notes)
        assert len(first) == 2
        (notes / fragile.HOLD).touch()
        written: list[Prediction] = []
        with closing(run(faces, spread, [QUESTION], written.extend, batch_size=4)) as steps:
            next(steps)
            os.kill(min(first), signal.SIGKILL)
            (notes / fragile.HOLD).unlink()
            *_, last = steps
        assert last.done == last.total == 40
        assert sorted(int(one.face.sample_id) for one in written) == list(range(40))
        assert set(outcomes(written)) == {"ok"}
        # Another was started; whether it was ready before the end, is chance.
        assert len(numbers(notes)) in (2, 3)
        assert spread.info.notes == ()
    assert all(map(is_gone, numbers(notes)))


@pytest.mark.kill
def test_faces_that_kill_processes_are_given_up_and_no_others(faces: list[Face], notes: Path) -> None:
    for k in (5, 6, 39):
        colour(faces[k], fragile.RED)
    with closing(Devices(f"fragile:{notes}", TWO, ["gender"])) as spread:
        got = told(faces, spread, [QUESTION], batch_size=8)
    lost = [k for k, one in enumerate(got) if one.outcome == "failed"]
    assert lost == [5, 6, 39]
    assert str(got[5].reason) == "3 processes ended while they looked at it: its process on cpu ended by SIGKILL"
    assert set(outcomes(got)) == {"ok", "failed"}


def test_an_error_of_the_model_ends_the_run_with_it_and_keeps_what_was_answered(faces: list[Face], notes: Path) -> None:
    colour(faces[30], fragile.GREEN)
    written: list[Prediction] = []
    with (
        closing(Devices(f"fragile:{notes}", TWO, ["gender"])) as spread,
        pytest.raises(ModelError, match="Got a green picture, expected any other"),
    ):
        list(run(faces, spread, [QUESTION], written.extend, batch_size=4))
    assert len(written) >= 4
    assert len(numbers(notes)) == 2


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("?dies", r"Cannot open model 'fragile:.*' on any of its devices: its process on cpu ended by status 7\."),
        ("?refuses", r"on any of its devices: Got no licence, expected one\."),
        ("?sends", r"sends pictures to a server. Expected no devices for it\."),
    ],
)
def test_where_no_process_opens_the_model_the_reason_is_said(model: str, said: str, notes: Path) -> None:
    with pytest.raises(ModelError, match=said):
        Devices(f"fragile:{notes}{model}", TWO, ["gender"])


def test_a_device_that_cannot_be_used_is_a_note(faces: list[Face], notes: Path) -> None:
    with closing(Devices(f"fragile:{notes}", Options(devices="cpu,cpu:8"), ["gender"])) as spread:
        assert spread.info.device == "cpu"
        assert spread.info.notes == ("cpu:8 is not used: Got no licence, expected one.",)
        assert set(outcomes(told(faces, spread, [QUESTION], batch_size=8))) == {"ok"}


def test_closing_ends_the_processes_and_keeps_what_was_answered(faces: list[Face], notes: Path) -> None:
    spread = Devices(f"fragile:{notes}", TWO, ["gender"])
    written: list[Prediction] = []
    tally = Tally()
    steps = run(faces, spread, [QUESTION], written.extend, batch_size=4, tally=tally)
    until(lambda: next(steps).done > 0, "the first answers")
    steps.close()
    spread.close()
    assert all(map(is_gone, numbers(notes)))
    assert len(written) == tally.faces > 0
    assert set(outcomes(written)) == {"ok"}


def test_a_run_after_one_that_was_closed_gets_its_own_answers(faces: list[Face], notes: Path) -> None:
    other = replace(QUESTION, attribute=get("age5"), surface_forms=tuple((label,) for label in get("age5").labels))
    with closing(Devices(f"fragile:{notes}", TWO, ["gender"])) as spread:
        (notes / fragile.HOLD).touch()
        steps = run(faces, spread, [other], list[Prediction]().extend, batch_size=4)
        next(steps)
        steps.close()
        (notes / fragile.HOLD).unlink()
        assert {one.attribute for one in told(faces, spread, [QUESTION], batch_size=4)} == {"gender"}


def test_processes_know_no_database_and_what_they_print_is_no_message(faces: list[Face], notes: Path) -> None:
    with closing(Devices(f"fragile:{notes}", TWO, ["gender"])):
        assert {(notes / str(number)).read_text() for number in numbers(notes)} == {""}


SCRIPT = """
import sys
from facevlm.attributes import get
from facevlm.engines.devices import Devices
from facevlm.engines.local import run
from facevlm.backends import Options
from facevlm.types import Face, Question
gender = get("gender")
backend = Devices("fragile:" + sys.argv[1], Options(devices=["cpu", "cpu"]), ["gender"])
question = Question(gender, "who?", tuple((label,) for label in gender.labels))
for step in run([Face(p, p) for p in sys.argv[2:]], backend, [question], print, batch_size=4):
    print(step.done, flush=True)
"""


@pytest.mark.kill
def test_killed_it_leaves_no_process_behind_also_from_a_script_without_a_guard(
    faces: list[Face], notes: Path, package: Path, tmp_path: Path
) -> None:
    (notes / fragile.HOLD).touch()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(package)])}
    command = [sys.executable, str(script), str(notes), *(face.filepath for face in faces)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        assert len(numbers(notes)) == 2
        assert not any(map(is_gone, numbers(notes)))
        started.kill()
    until(lambda: all(map(is_gone, numbers(notes))), "the processes end")


@pytest.mark.kill
@pytest.mark.process
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_stopped_on_the_command_line_it_keeps_what_was_answered_and_leaves_no_process(
    told: signal.Signals, dataset_name: str, faces: list[Face], notes: Path, package: Path
) -> None:
    import fiftyone as fo

    dataset = fo.Dataset(dataset_name, persistent=True)
    dataset.add_samples([fo.Sample(filepath=face.filepath) for face in faces], progress=False)
    (notes / fragile.HOLD).touch()
    command = [sys.executable, "-m", "facevlm.cli", "apply", dataset_name, "--model", f"fragile:{notes}"]
    command += ["--attributes", "gender", "--prefix", "f", "--devices", "2", "--batch-size", "4"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(package)])}

    def answered() -> int:
        dataset.reload()
        return dataset.exists("f_gender").count() if dataset.has_field("f_gender") else 0

    # A session of its own: the signal goes to all in it, as Ctrl-C in a terminal does.
    with subprocess.Popen(command, env=env, start_new_session=True) as started:
        until(lambda: answered() == fragile.FREE, "the first answers")
        assert not any(map(is_gone, numbers(notes)))
        os.killpg(started.pid, told)
        assert started.wait() in (128 + told, -told)
    assert all(map(is_gone, numbers(notes)))
    assert answered() == fragile.FREE
    assert dataset.get_run_info("facevlm_f").config.status == "stopped"
    (notes / fragile.HOLD).unlink()
    result = facevlm.apply(dataset, f"fragile:{notes}", ["gender"], prefix="f", progress=False)
    assert (result.skipped, result.asked) == (fragile.FREE, len(faces) - fragile.FREE)


def test_a_run_on_devices_goes_on_from_one_without_and_is_written_down(
    dataset_name: str, faces: list[Face], notes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import fiftyone as fo

    dataset = fo.Dataset(dataset_name)
    dataset.add_samples([fo.Sample(filepath=face.filepath) for face in faces], progress=False)
    model: dict[str, Any] = {"model": f"fragile:{notes}", "attributes": ["gender"], "prefix": "f", "progress": False}
    facevlm.apply(dataset.limit(10), **model)
    result = facevlm.apply(dataset, **model, devices=2, batch_size=4)
    assert (result.asked, result.skipped) == (30, 10)
    record = dataset.get_run_info("facevlm_f").config
    assert (record.backend["device"], record.cores["cores"]) == ("cpu, cpu", cores.cores())
    command = ["apply", dataset_name, "--model", f"fragile:{notes}", "--attributes", "gender", "--prefix", "g"]
    assert cli.main([*command, "--devices", "cpu,cpu"]) == 0
    assert dataset.values("f_gender.label") == dataset.values("g_gender.label")
    with pytest.warns(FacevlmWarning, match="cpu:8 is not used"):
        facevlm.apply(dataset, **model, overwrite=True, devices=["cpu", "cpu:8"])
    assert all(map(is_gone, numbers(notes) - {os.getpid()}))


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("all", "all"),
        (2, "2"),
        ("2", "2"),
        ("cpu, cpu", "cpu,cpu"),
        (["cuda:0", "cuda:1"], "cuda:0,cuda:1"),
        (None, None),
    ],
)
def test_devices_are_one_text_however_they_are_told(told: Any, kept: str | None) -> None:
    assert Options(devices=told).devices == kept


@pytest.mark.parametrize("wrong", [0, -1, "", [], ["cpu", ""], "cpu,", ["2", "3"], True, 1.5, [1]])
def test_devices_that_cannot_be_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="Got devices="):
        Options(devices=wrong)


def test_a_device_and_devices_by_name_are_refused() -> None:
    with pytest.raises(InputError, match="Got device='cpu' and devices='all', expected one of the two"):
        Options(device="cpu", devices="all")
    assert Options(device="cpu", devices=2).on_one() == Options(device="cpu")
    assert Options(devices="cpu,cuda:1").on_one() == Options(device="cpu")
    assert Options(devices="all").on_one() == Options()


def test_no_more_processes_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: 3)
    assert places(Options(devices=3, device="cpu")) == ["cpu"] * 3
    for many in ("4", 10**9, "cpu,cpu,cpu,cpu", ["cuda:0"] * 65):
        with pytest.raises(InputError, match="expected at most 3 on the CPU, one for each of its cores, and 64 in all"):
            places(Options(devices=many, device="cpu" if "," not in str(many) else None))


def test_all_devices_are_the_gpus_or_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = Options(devices="all")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert places(everything) == ["cpu"]
    # No machine with several GPUs is at hand: what PyTorch tells of them stands in for them.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert places(everything) == ["cuda:0", "cuda:1", "cuda:2"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpus_that_are_not_there_are_said_to_be_missing(notes: Path) -> None:
    with pytest.raises(ModelError, match="Got device 'cuda:0', which cannot be used here"):
        Devices(f"fragile:{notes}", Options(devices="cuda:0,cuda:1"), ["gender"])


def test_devices_are_for_models_by_name_that_run_here(notes: Path) -> None:
    here = fragile.Fragile(str(notes), "cpu")
    attributes: list[Attribute] = [GENDER]
    with pytest.raises(InputError, match=r"Got devices='cpu,cpu' with a Fragile, expected the name of a model"):
        opened(here, TWO, attributes)
    assert opened(here, Options(), attributes) is here
    assert type(opened("openai:m", TWO, attributes)) is type(open_backend("openai:m"))

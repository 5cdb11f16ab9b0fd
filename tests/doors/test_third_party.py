"""A package of somebody else, built and installed by pip: one thing of each kind, and some that cannot be used."""

from __future__ import annotations

import base64
import csv
import importlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext
from PIL import Image
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

import facevlm
from facevlm import attributes, cli, datasets, detection, doors
from facevlm.backends import Options, Remote, cards, families, local, schemes
from facevlm.backends.briefings import brief
from facevlm.backends.families.chat import Chat
from facevlm.backends.remote import ledger, services
from facevlm.backends.remote.services import Endpoint
from facevlm.datasets import catalog, samples
from facevlm.errors import InputError, LayoutError, ModelError, UnknownName
from facevlm.evaluation import figures
from facevlm.store import samples as records
from facevlm.tasks import sources
from tests.backends import tiny

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).parent / "third_party"
FROM = "facevlm-moods"
APPLY = "@facevlm/face-attributes/apply_vlm_face_attributes"
DETECT = "@facevlm/face-attributes/detect_faces"
TABLES: dict[str, Callable[[], Any]] = {
    "families": families.added,
    "datasets": catalog.added,
    "attributes": attributes.added,
    "services": services.added,
    "figures": figures.added,
    "detectors": detection.added,
    "backends": schemes.added,
}
"""Kind -> what reads it."""
MEMORIES: tuple[Any, ...] = (
    *(doors.load, doors._warn, families.added, catalog.added, attributes.added, attributes.shipped, services.added),
    *(services.services, services.presets, ledger._added, detection.added, schemes.added, figures.added),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the package, as into site-packages."""
    folder = tmp_path_factory.mktemp("third")
    # Building writes into the source's folder, so it is a copy.
    shutil.copytree(SOURCE, folder / "source")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *offline]
    subprocess.run([*pip, "--target", str(folder / "site"), str(folder / "source")], check=True, timeout=300)
    assert (folder / "site" / "facevlm_moods-1.2.dist-info" / "entry_points.txt").is_file()
    return folder / "site"


def _forget() -> None:
    for memory in MEMORIES:
        memory.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def said(site: Path) -> Iterator[list[str]]:
    """The package is there for all of these tests; the warnings that were given when its tables were first read."""
    sys.path.insert(0, str(site))
    _forget()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            for table in TABLES.values():
                table()
        attributes.shipped()
    yield [str(warning.message) for warning in caught if warning.category is doors.PackageWarning]
    sys.path.remove(str(site))
    _forget()


@pytest.fixture(autouse=True)
def installed(said: list[str]) -> None:
    """Nothing is warned of a second time: warnings are errors here."""


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return records.build_singles(dataset_name, samples.read("single")[:4])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert cli.main(arguments) == 0
    return capsys.readouterr().out


# The door itself


def test_every_kind_has_what_can_be_used_and_where_it_is_from() -> None:
    names = {kind: [addition.name for addition in doors.load(kind)] for kind in doors.GROUPS}
    assert names == {
        "families": ["vipllava", "wrong"],
        "datasets": ["diary", "fairface", "journal"],
        "attributes": ["genders", "moods"],
        "services": ["copied", "moodcloud"],
        "figures": ["first", "function", "taken"],
        "detectors": ["middle"],
        "backends": ["crash", "grey", "hf", "pigeon"],
    }
    assert {addition.origin for kind in doors.GROUPS for addition in doors.load(kind)} == {f"{FROM} 1.2"}
    first, *_ = doors.load("figures")
    assert (first.kind, first.name, first.package) == ("figures", "first", FROM)
    assert {kind: sorted(added) for kind, read in TABLES.items() if isinstance(added := read(), dict)} == {
        "families": ["vipllava"],
        "datasets": ["diary"],
        "attributes": ["moods"],
        "services": ["moodcloud"],
        "figures": ["first"],
        "detectors": ["middle"],
        "backends": ["crash", "grey", "pigeon"],
    }
    with pytest.raises(KeyError):
        doors.load("figure")


def test_what_cannot_be_used_is_a_warning_with_its_name_said_once(said: list[str]) -> None:
    left_out = {line.partition(" of facevlm-moods 1.2 is left out: ")[::2] for line in said}
    reasons = dict(left_out)
    assert len(said) == len(reasons)
    assert set(reasons) == {
        "'wrong' (facevlm.families)",
        "'fairface' (facevlm.datasets)",
        "'journal' (facevlm.datasets)",
        "'genders' (facevlm.attributes)",
        "'copied' (facevlm.services)",
        "'broken' (facevlm.figures)",
        "'function' (facevlm.figures)",
        "'taken' (facevlm.figures)",
        "'lost' (facevlm.detectors)",
        "'hf' (facevlm.backends)",
    }
    assert "expected a FamilyInfo whose path is 'module:Class'" in reasons["'wrong' (facevlm.families)"]
    assert reasons["'fairface' (facevlm.datasets)"].startswith("the name is taken by facevlm. ")
    assert "expected a DatasetCard with the name 'journal'" in reasons["'journal' (facevlm.datasets)"]
    assert reasons["'genders' (facevlm.attributes)"].startswith("Got gender in both sets with different content")
    assert reasons["'copied' (facevlm.services)"].startswith("the name openai is taken. ")
    assert "No module named 'a_package_that_is_not_there'" in reasons["'broken' (facevlm.figures)"]
    assert reasons["'function' (facevlm.figures)"].startswith("Got a function, expected a facevlm.evaluation.figures")
    assert reasons["'taken' (facevlm.figures)"].startswith("Got a figure of the name 'accuracy', which is taken.")
    assert reasons["'lost' (facevlm.detectors)"].startswith(
        "facevlm_moods.nowhere:open_lost cannot be imported, ModuleNotFoundError: "
    )
    assert all(reason.endswith("Update or remove that package.") for reason in reasons.values())


def test_a_package_is_looked_into_only_when_something_of_its_kind_is_asked_for(site: Path) -> None:
    code = (
        "import sys, facevlm\n"
        "from facevlm.backends.cards import find\n"
        "from facevlm.backends.families import family_of\n"
        "from facevlm.datasets import reader\n"
        "find('demo'), find('hf:org/name'), family_of('llava'), reader('csv')\n"
        "print('facevlm_moods' in sys.modules)\n"
        "print(find('grey:128').scheme, 'facevlm_moods.diary' in sys.modules, 'torch' in sys.modules)\n"
    )
    path = os.pathsep.join([str(site), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::facevlm.doors.PackageWarning", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["False", "grey False False"]


# Attributes


def test_its_attributes_are_asked_by_name_and_mapped(faces: fo.Dataset) -> None:
    mood = attributes.get("mood")
    assert (mood.labels, attributes.origin("mood"), attributes.origin("gender")) == (("calm", "tense"), FROM, "facevlm")
    assert attributes.origin("nobody's") == ""
    assert attributes.get("gender").labels == ("Male", "Female")
    label_map = attributes.label_map(attributes.get("mood3"), mood, attributes.shipped())
    assert label_map == {"calm": "calm", "tense": "tense", "furious": "tense"}
    assert attributes.load("celeba").get("mood") == mood
    result = facevlm.apply(faces, "grey:0", ["mood3"], prefix="g", progress=False)
    assert result.outcomes == {"mood3": {"ok": 4}}
    faces.set_values("mood", [fo.Classification(label="tense")] * 4)
    evaluated = facevlm.evaluate(faces, prefix="g", ground_truth={"mood3": "mood"})
    assert evaluated["mood3"].overall.n == 4


# Backends by scheme


def test_a_model_of_its_scheme_answers_about_real_pictures(faces: fo.Dataset) -> None:
    levels = [Image.open(path).convert("L").resize((1, 1)).getpixel((0, 0)) for path in faces.values("filepath")]
    middle = sorted(levels)[2]  # type: ignore[type-var]
    result = facevlm.apply(faces, f"grey:{middle}", ["gender"], device="here", progress=False)
    assert result.outcomes == {"gender": {"ok": 4}}
    wanted = ["Male" if level < middle else "Female" for level in levels]  # type: ignore[operator]
    assert len(set(wanted)) == 2
    assert faces.values(f"grey_{middle}_gender.label") == wanted
    again = facevlm.apply(faces, f"grey:{middle}", ["gender"], device="here", progress=False)
    assert (again.asked, again.skipped) == (0, 4)


def test_a_backend_that_runs_here_stays_loaded_and_one_that_sends_is_closed(
    faces: fo.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = facevlm.open_backend("grey:7", Options(device="a"))
    assert facevlm.open_backend("grey:7", Options(device="a")) is opened
    assert facevlm.open_backend("grey:7", Options(device="b")) is not opened
    assert not cards.find("grey:7").hosted
    assert cards.find("grey:7").is_here()
    card = cards.find("pigeon:home")
    assert (card.hosted, card.title) == (True, f"pigeon:home, opened by {FROM} 1.2")
    said = brief("pigeon:home", [attributes.get("mood")], 3, Options())
    assert said is not None
    assert said.text == "3 pictures are carried to the loft."
    loft = sys.modules["facevlm_moods.backends"].Pigeon
    before = loft.closed
    facevlm.apply(faces, "pigeon:home", ["gender"], prefix="p", progress=False)
    assert loft.closed == before + 1
    assert faces.count_values("p_gender.outcome") == {"ok": 4}


def test_what_its_backends_do_wrong_is_said_in_a_sentence() -> None:
    with pytest.raises(InputError, match="expected a level such as grey:128"):
        facevlm.open_backend("grey:dark")
    with pytest.raises(InputError, match="Got the model 'grey:', expected grey:MODEL"):
        facevlm.open_backend("grey:")
    with pytest.raises(ModelError, match=r"'crash:hard': facevlm-moods 1.2 failed with ZeroDivisionError: no wings"):
        facevlm.open_backend("crash:hard")
    with pytest.raises(ModelError, match=r"facevlm-moods 1.2 gave str, expected a backend with info"):
        facevlm.open_backend("crash:soft")
    with pytest.raises(UnknownName, match="grey:MODEL"):
        cards.find("gray:128")


def test_the_command_line_takes_its_models_and_detectors(faces: fo.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "predict", faces.name, "--model", "grey:0", "--attributes", "mood", "--prefix", "c")
    run(capsys, "detect", faces.name, "--detector", "middle", "--field", "found")
    faces.reload()
    assert faces.values("c_mood.label") == ["tense"] * 4
    assert faces.values("found.detections.bounding_box") == [[[0.25, 0.25, 0.5, 0.5]]] * 4
    assert cli.main(["detect", faces.name, "--detector", "midle"]) == 2
    assert "Unknown detector 'midle'" in (error := capsys.readouterr().err)
    assert "Did you mean 'middle'?" in error


def test_the_form_takes_its_models_attributes_and_detectors(faces: fo.Dataset) -> None:
    params = {"model": "other", "checkpoint": "grey:0", "ask_mood": True}
    context = ExecutionContext({"dataset_name": faces.name, "params": params}, operator_uri=APPLY)
    form = foo.get_operator(APPLY).resolve_input(context).to_json()["type"]["properties"]
    assert not [name for name, part in form.items() if part.get("invalid")]
    assert form["prefix"]["default"] == "grey_0"
    assert "Mood, perceived" in json.dumps(form["attributes"])
    foo.execute_operator(APPLY, ctx={"dataset": faces, "params": params})
    sent = ExecutionContext(
        {"dataset_name": faces.name, "params": {**params, "checkpoint": "pigeon:home"}}, operator_uri=APPLY
    )
    away = foo.get_operator(APPLY).resolve_input(sent).to_json()["type"]["properties"]
    assert not [name for name, part in away.items() if part.get("invalid")]
    assert "base_url" not in away
    assert "4 pictures are carried to the loft." in json.dumps(away)
    context = ExecutionContext({"dataset_name": faces.name, "params": {}}, operator_uri=DETECT)
    form = foo.get_operator(DETECT).resolve_input(context).to_json()["type"]["properties"]
    assert {"value": "middle", "label": f"middle, from {FROM}"}.items() <= form["detector"]["view"]["choices"][
        -1
    ].items()
    foo.execute_operator(DETECT, ctx={"dataset": faces, "params": {"detector": "middle", "field": "boxes"}})
    faces.reload()
    assert faces.values("grey_0_mood.label") == ["tense"] * 4
    assert faces.count("boxes.detections") == 4


# Detectors


def test_its_detector_finds_faces_of_real_pictures(dataset_name: str) -> None:
    groups = sources.sample_groups(dataset_name)
    result = facevlm.detect(groups, field="found", detector="middle", progress=False)
    assert result.faces == groups.count("found.detections") == len(groups)
    assert set(groups.values("found.detections.confidence", unwind=True)) == {0.9}
    assert detection.names() == ["auto", *detection.DETECTORS, "middle"]
    with pytest.raises(UnknownName, match="Known: auto, florence-2, haar, middle, paligemma, yunet"):
        detection.open_detector("centre")


# Data sets


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """A folder with three real pictures and a table of four lines, one of them with no mood."""
    folder = tmp_path / "diary"
    folder.mkdir()
    rows = list(zip(samples.read("single")[:4], ["calm", "tense", "Relaxed", "purple"], strict=True))
    with (folder / "diary.csv").open("w", newline="", encoding="utf-8") as handle:
        for record, mood in rows:
            shutil.copy(record.filepath, folder)
            csv.writer(handle).writerow([Path(record.filepath).name, mood])
    return folder


def test_a_data_set_is_loaded_by_its_reader(
    diary: Path, dataset_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = datasets.load("diary", diary, dataset_name=dataset_name, week="3", progress=False)
    assert loaded.values("mood.label") == ["calm", "tense", "calm"]
    assert loaded.count_sample_tags() == {"week3": 3}
    skipped = loaded.info["facevlm"]["skipped"]
    assert skipped["reasons"] == [{"reason": "no label of mood", "count": 1}]
    out = run(capsys, "load", "diary", str(diary), "--name", dataset_name, "--overwrite", "--option", "week=4")
    assert "Mood diary, licence: one's own pictures" in out
    with pytest.raises(LayoutError, match=r"expected diary\.csv with a file and a mood"):
        datasets.load("diary", tmp_path, dataset_name=f"{dataset_name}-none", progress=False)
    with pytest.raises(UnknownName, match="Did you mean 'diary'"):
        catalog.reader("dairy")
    assert catalog.readers()["fairface"] is catalog.READERS["fairface"]


# Services


def test_its_service_preset_and_price_are_known() -> None:
    endpoint = services.endpoint("mood-large")
    assert endpoint == Endpoint("mood-large-2", "https://api.moods.example/v1", ("MOODCLOUD_API_KEY",), 256)
    assert services.endpoint("openai:gpt-4o").base_url == "https://api.openai.com/v1"
    # A key goes to the hosts of its own service alone.
    assert services.endpoint("openai:x", "https://elsewhere.example/v1").key_names == ("FACEVLM_API_KEY",)
    card = cards.find("mood-large")
    assert (card.hosted, card.title) == (True, "Mood, large")
    said = brief("mood-large", [attributes.get("mood")], 1000, Options())
    assert said is not None
    assert said.text.startswith("1,000 pictures of faces go to api.moods.example (a remote service), each at most 256 ")
    assert said.text.endswith("at prices of 2026-01-01.")
    assert said.dollars is not None
    assert said.dollars > 1
    with pytest.raises(ModelError, match="Set the environment variable MOODCLOUD_API_KEY"):
        facevlm.open_backend("mood-large").check([])  # type: ignore[attr-defined]


def test_a_service_with_a_protocol_of_its_own_is_asked_in_it(
    httpserver: HTTPServer, faces: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def see(request: Request) -> Response:
        asked.append(json.loads(request.data))
        shape = asked[-1]["shape"]["properties"]
        return Response(json.dumps({"seen": {name: one["enum"][-1] for name, one in shape.items()}, "cost": 7}))

    httpserver.expect_request("/see", method="POST").respond_with_handler(see)
    url = f"http://localhost:{httpserver.port}"
    assert services.endpoint("openai:box", url).dialect == "facevlm_moods.protocol:Moodlet"
    assert services.endpoint("openai:box", "http://127.0.0.1:1").dialect == "chat"
    result = facevlm.apply(faces, "openai:box", ["mood"], prefix="b", base_url=url, progress=False)
    assert result.outcomes == {"mood": {"ok": 4}}
    assert faces.values("b_mood.label") == ["tense"] * 4
    assert result.usage["input_tokens"] == 7 * len(asked)
    about = [body for body in asked if "mood" in body["shape"]["properties"]]
    assert [(body["who"], len(body["pictures"])) for body in about] == [("box", 1)] * 4
    assert "what is the mood" in about[0]["words"][-1]
    with pytest.raises(InputError, match="batches are of 'chat'"):
        facevlm.open_backend("openai:box", Options(remote=Remote(base_url=url))).batches()  # type: ignore[attr-defined]
    assert all(base64.b64decode(body["pictures"][0]).startswith(b"\xff\xd8") for body in about)


# Families


def test_its_family_opens_a_checkpoint_and_scores_exactly(tmp_path: Path) -> None:
    folder = tiny.vipllava(tmp_path / "vip")
    card = cards.find(f"hf:{folder}")
    assert card.family().title == "VipLLaVA"
    backend = facevlm.open_backend(card.name)
    assert isinstance(backend, local.LocalBackend)
    family = backend._loaded[str(folder)].family
    assert type(family).__module__ == "facevlm_moods.family"
    assert not isinstance(family, Chat)
    assert (backend.info.decode, backend.info.notes) == ("score", ())
    pictures = [Image.open(record.filepath).convert("RGB") for record in samples.read("single")[:2]]
    replies = backend.answer(pictures, cards.questions_for(card, [attributes.get("mood")]))
    assert all(reply.log_probs is not None and len(reply.log_probs) == 2 for [reply] in replies)


# Listings


def test_listings_show_where_each_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    models = run(capsys, "models")
    assert any(line.startswith("grey:MODEL") and line.endswith(f"{FROM} 1.2") for line in models.splitlines())
    assert any(line.startswith("mood-large ") and f" {FROM} " in line for line in models.splitlines())
    assert f"; VipLLaVA (from {FROM}); any other" in models
    listed = run(capsys, "attributes")
    rows = {line.split()[0]: line.split()[-1] for line in listed.splitlines() if line and line[0].isalpha()}
    assert (rows["mood"], rows["gender"]) == ("facevlm-", "facevlm")
    readers = run(capsys, "load", "--list").split("\n    from     ")
    assert [part.splitlines()[0] for part in readers[1:]] == ["facevlm"] * len(catalog.READERS) + [FROM]


def test_the_command_line_warns_and_goes_on(site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "facevlm.cli", "models"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr.count("'wrong' (facevlm.families) of facevlm-moods 1.2 is left out") == 1
    assert "Traceback" not in done.stderr
    assert "grey:MODEL" in done.stdout


# A figure


def test_a_figure_of_another_package_is_computed_and_shown(
    faces: fo.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    facevlm.apply(faces, "demo", ["gender"], prefix="m", progress=False)
    result = facevlm.evaluate(faces, ["gender"], prefix="m", draws=20)
    first = attributes.get("gender").labels[0]
    assert result["gender"].overall.first_share == faces.values("m_gender.label").count(first) / 4
    assert "share of the first label" in run(capsys, "evaluate", faces.name, "--prefix", "m", "--draws", "20")

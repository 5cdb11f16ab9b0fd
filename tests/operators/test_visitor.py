"""A hostile visitor: whoever reaches the App may send any parameter to any operator, and gains no right by it."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators import types
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError

import facevlm
from facevlm.backends.remote import bindings, keys, services
from facevlm.datasets import READERS
from facevlm.errors import ModelError
from facevlm.tasks import batch as batch_task
from facevlm.tasks import sources as sources_task
from tests.datasets import layouts
from tests.operators.test_operators import errors, execute, form
from tests.operators.test_plugin import NAME, OPERATORS, ROOT
from tests.ports import free_port
from tests.servers import batch_server, tied
from tests.servers.server import Server, running
from tests.waiting import until

WORDS = (
    "apply_vlm",
    "ask",
    "check",
    "collect",
    "compare",
    "describe",
    "detect",
    "evaluate",
    "load",
    "measure",
    "plan",
    "train",
    "try",
    "write",
)
APPLY, ASK, CHECK, COLLECT, COMPARE, DESCRIBE, DETECT, EVALUATE, LOAD, SENSITIVITY, PLAN, TRAIN, TRY, REPORT = (
    f"{NAME}/{name}" for word in WORDS for name in OPERATORS if name.startswith(word)
)
SECRET, VALUE = "AWS_SECRET_ACCESS_KEY", "an-aws-secret-0123456789"
OPENAI = "sk-openai-0123456789"
SERVER = Path(fo.__file__).parent / "server" / "main.py"


@pytest.fixture(autouse=True)
def rights(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process has and a visitor has not."""
    monkeypatch.setenv(SECRET, VALUE)
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI)
    monkeypatch.setenv("FACEVLM_API_KEY", "a-key-of-other-servers")


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """An App that others reach."""
    monkeypatch.setattr(fo.config, "default_app_address", "0.0.0.0")


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures[:2]], progress=False)
    return made


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as started:
        yield started


def arrived(server: Server) -> str:
    """All that a server was sent but pictures."""
    return json.dumps([dict(request.headers) for request in server.requests])


def asking(server: Server, **params: Any) -> dict[str, Any]:
    chosen = {"model": "api", "api_model": "m", "base_url": server.base_url, "about": "whole"}
    return chosen | {"ask_gender": True, "prefix": "x", "faces": "found", **params}


# Secrets


@pytest.mark.parametrize("name", [SECRET, "OPENAI_API_KEY", "HOME"])
@pytest.mark.parametrize("operator", [APPLY, DESCRIBE])
def test_no_variable_is_sent_to_a_server_that_it_is_not_for(
    dataset: fo.Dataset, server: Server, operator: str, name: str
) -> None:
    said = errors(form(operator, dataset, **asking(server, key_name=name)))["base_url"]
    assert f"The key '{name}' does not go to 127.0.0.1" in said
    for more in ({}, {"when": "batch"}):
        with pytest.raises(ExecutionError, match="does not go to"):
            execute(operator, dataset, **asking(server, key_name=name, **more))
    assert server.requests == []


def test_who_plans_and_who_picks_get_no_other_key_either(dataset_name: str, server: Server) -> None:
    groups = sources_task.sample_groups(dataset_name)
    picking = {"request": "gender of everyone wearing glasses", "grounding": "api", "grounding_model": "m"}
    planning = {"request": "sex of the tallest one", "planner": "openai:m", "plan_now": True}
    for params in (picking, planning):
        params = {"base_url": server.base_url, "key_name": SECRET, **params}
        assert VALUE not in json.dumps(form(ASK, groups, **params))
        with pytest.raises(ExecutionError):
            execute(ASK, groups, **params)
    assert server.requests == []


def test_a_server_of_ones_own_is_asked_without_a_key_until_the_environment_binds_one(
    dataset: fo.Dataset, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(APPLY, dataset, **asking(server))
    assert server.asked
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer none"}
    server.requests.clear()
    monkeypatch.setenv("FACEVLM_KEYS", f"OTHER=https://models.example/v1, {SECRET}={server.base_url}")
    execute(APPLY, dataset, **asking(server, prefix="y", key_name=SECRET, cache="off"))
    assert server.asked
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {VALUE}"}


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com/other",
        "https://api.openai.com/v1/../other",
        "https://api.openai.com/v1/%2e%2e/other",
        "https://api.openai.com.models.example/v1",
        "https://mine.openai.azure.com/openai/v1",
        "https://models.example/v1",
    ],
)
def test_a_key_goes_to_the_address_of_its_service_alone(base_url: str) -> None:
    guard = keys.Guard(dict(os.environ).get, local=True)
    for name in (None, "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"):
        with pytest.raises(ModelError):
            keys.find(services.endpoint("openai:m", base_url, name), guard)
    for own in (None, "https://api.openai.com/v1/"):
        assert keys.find(services.endpoint("openai:m", own), guard).reveal() == OPENAI


def test_a_declared_address_is_that_and_what_lies_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVLM_KEYS", "A=https://models.example/a, B=https://models.example/b/v1")
    monkeypatch.setenv("FACEVLM_HOSTS", "http://gpu-box:8000/v1")
    assert bindings.names("https://models.example/a/v1") == ("A",)
    assert bindings.names("https://MODELS.example:443/b/v1") == ("B",)
    assert bindings.names("https://models.example/ab") == bindings.names("https://models.example/a/../b/v1") == ()
    guard = keys.Guard({"FACEVLM_API_KEY": VALUE}.get)
    assert keys.find(services.endpoint("openai:m", "http://gpu-box:8000/v1"), guard).reveal() == keys.NO_KEY
    for wrong in ("sk-0123456789abcdef", "A=nowhere"):
        monkeypatch.setenv("FACEVLM_KEYS", wrong)
        with pytest.raises(ModelError, match="of another form") as raised:
            bindings.names("https://models.example/a")
        assert wrong not in str(raised.value)


def test_what_was_handed_in_is_collected_with_no_other_key(dataset: fo.Dataset) -> None:
    with batch_server.serving(batch_server.Provider()) as provider:
        os.environ[SECRET] = batch_server.KEY
        batch_task.submit(
            dataset, "openai:m", ["gender"], prefix="b", progress=False, base_url=provider.base_url, key_name=SECRET
        )
        assert f"The key '{SECRET}' does not go to" in errors(form(COLLECT, dataset, ask=True))["ask"]
        with pytest.raises(ExecutionError, match="does not go to"):
            execute(COLLECT, dataset)


# Servers


def test_in_a_shared_app_only_servers_that_the_environment_names_are_asked(
    dataset: fo.Dataset, server: Server, shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for params in (
        asking(server),
        asking(server, when="batch"),
        asking(server) | {"base_url": "http://169.254.169.254"},
    ):
        assert "The App asks no server at" in errors(form(APPLY, dataset, **params))["base_url"]
        with pytest.raises(ExecutionError, match="asks no server at"):
            execute(APPLY, dataset, **params)
    assert server.requests == []
    monkeypatch.setenv("FACEVLM_HOSTS", server.base_url)
    execute(APPLY, dataset, **asking(server))
    assert server.asked
    assert OPENAI not in arrived(server)


def test_a_run_that_is_handed_on_has_no_more_rights(dataset: fo.Dataset, server: Server, shared: None) -> None:
    service = DelegatedOperationService()
    params = asking(server, trust_remote_code=True)
    for name in (APPLY, DESCRIBE):
        context = ExecutionContext(
            {"dataset_name": dataset.name, "params": params, "delegated": True}, operator_uri=name
        )
        operation = service.queue_operation(operator=name, context=context)
        service.execute_operation(operation)
        assert service.get(operation.id).run_state == "failed"
    assert server.requests == []


# Code


def test_code_of_a_checkpoint_is_run_only_where_the_environment_names_it(
    dataset: fo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, folder = tmp_path / "ran", tmp_path / "checkpoint"
    folder.mkdir()
    auto = {"AutoConfig": "evil.Config", "AutoModelForImageTextToText": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))
    (folder / "pytorch_model.bin").write_bytes(bytes(100))
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    params = {"model": "other", "checkpoint": str(folder), "trust_remote_code": True, "ask_gender": True}
    assert "is not run from a form" in errors(form(APPLY, dataset, **params))["trust_remote_code"]
    for more in ({}, {"loading": True, "revision": "refs/pr/1"}):
        with pytest.raises(ExecutionError, match="is not run from a form"):
            execute(APPLY, dataset, **params, **more)
    assert not mark.exists()
    monkeypatch.setenv("FACEVLM_REMOTE_CODE", f"org/other, {folder}")
    assert "trust_remote_code" not in errors(form(APPLY, dataset, **params))
    assert "refs/pr/1" in errors(form(APPLY, dataset, **params, revision="refs/pr/1"))["trust_remote_code"]
    with pytest.raises(ExecutionError):
        execute(APPLY, dataset, **params)
    assert mark.exists()


# Files


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    path = tmp_path / "passwords.yaml"
    path.write_text("database:\n  password: hunter2\n  host: [\n")
    return path


def test_a_file_of_another_kind_is_not_told_about(dataset: fo.Dataset, server: Server, passwords: Path) -> None:
    for text in ("password: hunter2\n", "a: {hunter2\n", "hunter2"):
        passwords.write_text(text)
        for operator in (APPLY, DESCRIBE):
            shown = form(operator, dataset, **asking(server, template=str(passwords)))
            assert "template" in errors(shown)
            with pytest.raises(ExecutionError) as raised:
                execute(operator, dataset, **asking(server, template=str(passwords)))
            assert "hunter2" not in json.dumps(errors(shown)) + str(raised.value)
    assert server.requests == []


def test_a_file_that_is_none_or_without_end_is_not_opened(dataset: fo.Dataset, server: Server, tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe.yaml", tmp_path / "large.yaml"
    os.mkfifo(pipe)
    with open(large, "wb") as handle:
        handle.truncate(2**20 + 1)
    for path in (pipe, large):
        with pytest.raises(ExecutionError, match="expected a plain file"):
            execute(APPLY, dataset, **asking(server, template=str(path)))
        with pytest.raises(ExecutionError):
            execute(DETECT, dataset, detector="yunet", weights=str(path))


def test_in_a_shared_app_files_lie_in_the_folders_of_the_environment(
    dataset: fo.Dataset, server: Server, passwords: Path, shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVLM_HOSTS", server.base_url)
    root = passwords.parent / "root"
    root.mkdir()
    (root / "link.yaml").symlink_to(passwords)
    monkeypatch.setenv("FACEVLM_ROOTS", str(root))
    for path in (passwords, root / "link.yaml", root / ".." / passwords.name, passwords.with_name("none.yaml")):
        refused = f"'{path}' may not be named in this App"
        for operator, params in {
            APPLY: asking(server, template=str(path)),
            DESCRIBE: asking(server, template=f"{path}#x"),
            DETECT: {"detector": "yunet", "weights": str(path)},
        }.items():
            assert errors(form(operator, dataset, **params))["refused"].startswith(refused)
            with pytest.raises(ExecutionError, match="may not be named"):
                execute(operator, dataset, **params)
    assert server.requests == []
    (root / "own.yaml").write_text("wordings: {mine: {gender: 'Which gender is perceived?'}}")
    execute(APPLY, dataset, **asking(server, template=str(root / "own.yaml#face"), wording="mine"))
    assert "Which gender is perceived?" in json.dumps(server.asked[0].body)


def test_in_a_shared_app_data_sets_lie_in_the_folders_of_the_environment(
    dataset: fo.Dataset, tmp_path: Path, shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVLM_ROOTS", str(tmp_path / "root"))
    inside, outside = layouts.rafdb(tmp_path / "root"), layouts.rafdb(tmp_path / "other")
    good = {"data": "rafdb", "data_folder": str(inside), "dataset_name": f"{dataset.name}-loaded"}
    assert errors(form(LOAD, dataset, **good)) == {}
    for bad in (
        {"data_folder": str(outside)},
        {"data_folder": f"{inside}/../../other"},
        {"option_pictures": str(outside)},
        {"option_extract_to": str(outside)},
        {"option_of_a_package": f"{inside}/../../other"},
    ):
        assert "may not be named in this App" in errors(form(LOAD, dataset, **good | bad))["refused"]
        with pytest.raises(ExecutionError, match="may not be named"):
            execute(LOAD, dataset, **good | bad)
    assert not fo.dataset_exists(good["dataset_name"])


def test_in_a_shared_app_an_adapter_names_no_base_outside_of_the_folders(
    dataset: fo.Dataset, tmp_path: Path, shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    monkeypatch.setenv("FACEVLM_ROOTS", str(root))
    for folder in (root / "own", outside):
        folder.mkdir(parents=True)
        told = {"peft_type": "LORA", "base_model_name_or_path": str(outside)}
        (folder / "adapter_config.json").write_text(json.dumps(told))
    for params in (
        {"model": "other", "checkpoint": str(root / "own")},
        {"model": "demo", "adapter": str(outside)},
        {"model": "demo", "adapter": str(root / "own")},
    ):
        said = errors(form(APPLY, dataset, ask_gender=True, prefix="x", **params))["refused"]
        assert "may not be named in this App" in said
        with pytest.raises(ExecutionError, match="may not be named"):
            execute(APPLY, dataset, ask_gender=True, prefix="x", **params)


@pytest.mark.parametrize("named", ["/etc", "hf:/etc", "../etc", "package:../../.git", "hf:package:/etc", "onnx:/etc"])
def test_in_a_shared_app_no_folder_is_a_checkpoint_by_being_named(
    dataset: fo.Dataset, shared: None, named: str
) -> None:
    given: dict[str, dict[str, Any]] = {
        APPLY: {"model": "other", "checkpoint": named, "ask_gender": True},
        ASK: {"model": "other", "checkpoint": named, "request": "gender"},
        DETECT: {"detector": "paligemma", "weights": named},
    }
    for operator, params in given.items():
        assert "may not be named" in errors(form(operator, dataset, **params))["refused"]
        with pytest.raises(ExecutionError, match="may not be named"):
            execute(operator, dataset, **params)


# Reports


@pytest.fixture
def judged(dataset_name: str) -> fo.Dataset:
    faces = sources_task.sample_faces(dataset_name)
    facevlm.apply(faces, "demo", ["gender"], progress=False)
    facevlm.evaluate(faces, prefix="demo", draws=20)
    return faces


def test_in_a_shared_app_reports_stay_in_their_folder(
    judged: fo.Dataset, shared: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside = tmp_path / "reports", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    monkeypatch.setenv("FACEVLM_REPORTS", str(root))
    for folder in (str(outside), "../outside", "link", "link/deep", str(root / ".." / "outside"), "~/x", "a\0b", ["a"]):
        with pytest.raises(ExecutionError, match=r"may not be named|expected a folder"):
            execute(REPORT, judged, folder=folder)
    assert not list(outside.iterdir())
    for folder in ("", "mine", str(root / "deep" / "er")):
        execute(REPORT, judged, folder=folder)
    held = {str(path.parent.relative_to(root)) for path in root.rglob("report.html")}
    assert held == {f"{judged.name}-report", "mine", "deep/er"}


def test_no_file_but_an_earlier_report_is_overwritten(judged: fo.Dataset, tmp_path: Path) -> None:
    mine, linked = tmp_path / "mine", tmp_path / "linked"
    for folder in (mine, linked):
        folder.mkdir()
    (mine / "report.md").write_text("my own")
    (linked / "report.html").symlink_to(tmp_path / "elsewhere")
    for folder in (mine, linked):
        assert "which is left as it is" in errors(form(REPORT, judged, folder=str(folder)))["folder"]
        with pytest.raises(ExecutionError, match="which is left as it is"):
            execute(REPORT, judged, folder=str(folder))
    assert (mine / "report.md").read_text() == "my own"
    assert not (tmp_path / "elsewhere").exists()
    for _ in range(2):
        execute(REPORT, judged, folder=str(tmp_path / "new"))


@pytest.mark.parametrize(
    "name", ["../../escaped", "/tmp/escaped", "a/b", "x" * 90 + "/" + "y" * 200, "CON", "two\nlines"]
)
def test_the_name_of_a_dataset_makes_no_path(
    judged: fo.Dataset, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVLM_REPORTS", str(tmp_path / "reports"))
    monkeypatch.chdir(tmp_path)
    before = judged.name
    judged.name = name
    try:
        execute(REPORT, judged)
        [written] = facevlm.report(judged)[:1]
    finally:
        judged.name = before
    [folder] = (tmp_path / "reports").iterdir()
    assert (folder / "report.html").is_file()
    assert len(written.parts) == 2
    assert folder.name == written.parts[0]


def test_the_name_of_a_dataset_makes_no_path_of_a_model(
    judged: fo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEVLM_REPORTS", str(tmp_path / "reports"))
    before, judged.name = judged.name, "../../escaped"
    try:
        execute(TRAIN, judged, attributes=["gender"], method="linear")
    finally:
        judged.name = before
    [folder] = (tmp_path / "reports").iterdir()
    assert (folder / "facevlm.json").is_file()


# Where the App listens


@pytest.mark.parametrize(
    ("address", "said", "alone"),
    [
        ("localhost", None, True),
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("0.0.0.0", None, False),
        ("", None, False),
        (None, None, False),
        ("192.168.0.3", None, False),
        ("my-host", None, False),
        ("localhost", "shared", False),
        ("localhost", "what", False),
        ("0.0.0.0", "local", True),
    ],
)
def test_an_app_is_alone_where_that_is_known(
    address: str | None, said: str | None, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fo.config, "default_app_address", address)
    if said:
        monkeypatch.setenv("FACEVLM_APP", said)
    assert trust().is_alone() is alone


@pytest.mark.parametrize(("address", "asked"), [("0.0.0.0", False), ("127.0.0.1", True)])
def test_the_app_itself_knows_where_it_listens(dataset: fo.Dataset, server: Server, address: str, asked: bool) -> None:
    port = free_port()
    command = [sys.executable, str(SERVER), "--port", str(port), "--address", address]
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert started.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return True
        return False

    with tied.running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        until(answers, "the App's server answers")
        sent = {"operator_uri": APPLY, "dataset_name": dataset.name, "params": asking(server), "view": []}
        request = urllib.request.Request(
            f"{url}/operators/execute/generator", json.dumps(sent).encode(), {"content-type": "application/json"}
        )
        # FiftyOne answers 500 to parameters that its own form refuses.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=60).read()
        assert bool(server.requests) is asked


# All parameters pass one place


@functools.cache
def trust() -> Any:
    """The module that FiftyOne loaded."""
    foo.get_operator(APPLY)
    return next(module for name, module in sys.modules.items() if name.endswith("operators._trust"))


HARMLESS = {
    *(
        "about",
        "adjust",
        "cache",
        "cluster",
        "decision",
        "decode",
        "detail",
        "device",
        "devices",
        "dtype",
        "eval_key",
        "face_labels",
        "faces",
        "field",
    ),
    *(
        "grounding",
        "groups",
        "mark",
        "mode",
        "n",
        "order",
        "own_free",
        "own_labels",
        "own_name",
        "own_question",
        "prefix",
    ),
    *("quantize", "question", "request", "tiles", "when", "who", "wording", "attention", "compile"),
    *(
        "age",
        "attributes",
        "balance",
        "boxes",
        "data",
        "dataset_name",
        "fields",
        "method",
        "prefixes",
        "split",
        "splits",
    ),
    *("option_attribute", "option_columns", "option_margin", "option_only"),
}
"""Texts that name fields or labels, are one of some choices, or go into a question: none opens or reaches anything."""
OPEN = ("truth_", "wording_of_")
FORMS: list[tuple[str, dict[str, Any]]] = [
    (APPLY, {"model": "other", "checkpoint": "org/name", "own": True, "loading": True, "framing": True}),
    (TRY, {"model": "demo", "attributes": ["gender"]}),
    (APPLY, {"model": "api", "api_model": "m", "base_url": "http://localhost:1/v1", "more": True, "own": True}),
    (ASK, {"request": "gender", "planner": "openai:m", "grounding": "api", "more": True}),
    (DESCRIBE, {"model": "api", "api_model": "m", "base_url": "http://localhost:1/v1", "more": True}),
    (DETECT, {}),
    (EVALUATE, {}),
    (REPORT, {}),
    (COLLECT, {}),
    *((LOAD, {"data": name}) for name in READERS),
    (CHECK, {}),
    (COMPARE, {}),
    (TRAIN, {"model": "other", "checkpoint": "org/name", "attributes": ["gender"]}),
    (PLAN, {"question": "gap", "advanced": True}),
    (SENSITIVITY, {"model": "other", "checkpoint": "org/name", "own": True, "loading": True}),
]


def texts_of(kind: Any) -> Iterator[str]:
    """The fields of a form that take a text of any kind."""
    for name, prop in kind.properties.items():
        inner = prop.type.element_type if isinstance(prop.type, types.List) else prop.type
        if isinstance(inner, types.Object):
            yield from texts_of(inner)
        elif isinstance(inner, (types.String, types.Enum, types.File)):
            yield name


def test_every_field_for_a_text_is_guarded_or_known_to_be_harmless(judged: fo.Dataset) -> None:
    guarded, seen = trust().GUARDED, set()
    for operator, params in FORMS:
        context = ExecutionContext({"dataset_name": judged.name, "params": params}, operator_uri=operator)
        seen |= set(texts_of(foo.get_operator(operator).resolve_input(context).type))
    unknown = {name for name in seen if name not in guarded and name not in HARMLESS and not name.startswith(OPEN)}
    assert unknown == set()
    assert {"base_url", "key_name", "template", "checkpoint", "folder", "weights", "planner", "revision"} <= seen
    assert not (set(guarded) & HARMLESS) - {"grounding"}


def test_no_operator_reads_a_guarded_parameter_or_a_secret_by_itself() -> None:
    """Only whether one was given at all may be looked at elsewhere, and which of a form's own words."""
    words = {"model", "grounding"}
    for path in sorted((ROOT / "operators").rglob("*.py")):
        if path.stem == "_trust":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tested = {id(part) for node in ast.walk(tree) for part in _tested(node)}
        for node in ast.walk(tree):
            if ast.unparse(node) in ("ctx.secrets", "ctx.secret") if isinstance(node, ast.Attribute) else False:
                pytest.fail(f"{path} reads secrets past _trust")
            name = _parameter(node)
            if name in trust().GUARDED and name not in words and id(node) not in tested:
                pytest.fail(f"{path} reads '{name}' past _trust")


def _parameter(node: ast.AST) -> str | None:
    """NAME of ``ctx.params.get(NAME)`` or ``ctx.params[NAME]``."""
    of = node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
    of = node.value if isinstance(node, ast.Subscript) else of
    args = node.args[:1] if isinstance(node, ast.Call) else [node.slice] if isinstance(node, ast.Subscript) else []
    is_params = isinstance(of, ast.Attribute) and of.attr == "params"
    return str(args[0].value) if is_params and args and isinstance(args[0], ast.Constant) else None


def _tested(node: ast.AST) -> list[ast.AST]:
    """``ctx.params.get(NAME)`` in ``if not ctx.params.get(NAME):``."""
    return [node.test.operand] if isinstance(node, ast.If) and isinstance(node.test, ast.UnaryOp) else []

"""Where keys are looked for, and that they do not show themselves."""

from __future__ import annotations

import pickle
import sys
import types

import pytest

from facevlm.backends.remote import keys, services
from facevlm.backends.remote.keys import Secret
from facevlm.errors import ModelError

KEY = "sk-test-0123456789abcdef"
OPENAI = services.endpoint("gpt-4o")
LOCAL = services.endpoint("openai:m", "http://localhost:1/v1")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "FACEVLM_API_KEY", "MINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)


def test_the_apps_secrets_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    assert keys.find(OPENAI).reveal() == "from-environment"
    assert keys.find(OPENAI, {"OPENAI_API_KEY": KEY}.get).reveal() == KEY
    assert keys.find(OPENAI, dict[str, str]().get).reveal() == "from-environment"


def test_a_key_for_one_service_is_not_used_for_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert keys.find(LOCAL).reveal() == keys.NO_KEY
    with pytest.raises(ModelError, match="FACEVLM_API_KEY"):
        keys.find(services.endpoint("openai:gpt-4o", "https://elsewhere.example/v1"))


def test_a_missing_key_says_where_it_may_be_kept() -> None:
    with pytest.raises(
        ModelError, match=r"No key for api.openai.com. Set .* OPENAI_API_KEY, .* keyring set facevlm OPENAI"
    ):
        keys.find(OPENAI)


class _KeyringError(Exception):
    """Stands in for keyring.errors.KeyringError: no keyring can be unlocked here."""


def _keyring(answer: object) -> types.ModuleType:
    module = types.ModuleType("keyring")
    module.errors = types.SimpleNamespace(KeyringError=_KeyringError)  # type: ignore[attr-defined]

    def get_password(service: str, name: str) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer if (service, name) == ("facevlm", "OPENAI_API_KEY") else None

    module.get_password = get_password  # type: ignore[attr-defined]
    return module


def test_the_keyring_is_asked_last_and_may_be_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", _keyring(KEY))
    assert keys.find(OPENAI).reveal() == KEY
    monkeypatch.setitem(sys.modules, "keyring", _keyring(_KeyringError("locked")))
    with pytest.raises(ModelError, match="No key"):
        keys.find(OPENAI)


def test_a_key_does_not_show_itself() -> None:
    secret = Secret(KEY)
    shown = f"{secret} {secret!r} {[secret]} {vars(secret) if hasattr(secret, '__dict__') else ''}"
    assert KEY not in shown
    with pytest.raises(TypeError, match="not to be stored"):
        pickle.dumps(secret)


def test_a_key_is_cut_out_of_what_a_server_says() -> None:
    assert Secret(KEY).redact(f"Incorrect API key provided: {KEY}.") == "Incorrect API key provided: [key]."
    assert Secret("none").redact("none of these") == "none of these"


@pytest.mark.parametrize("key", ["sk-\u201cquoted\u201d", "sk-one two", "sk-\n0123"])
def test_a_key_that_cannot_be_sent_is_said_without_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ModelError, match=r"The key for api.openai.com \(OPENAI_API_KEY\) has a blank") as caught:
        keys.find(OPENAI)
    assert "quoted" not in str(caught.value)
    assert "sk-" not in str(caught.value)


def test_blanks_around_a_key_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert keys.find(OPENAI).reveal() == KEY


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254.",
        "2852039166",
        "0xA9FEA9FE",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "metadata.google.internal",
        "METADATA",
    ],
)
def test_no_form_reaches_where_a_cloud_tells_secrets(host: str) -> None:
    with pytest.raises(ModelError, match="The App asks no server at"):
        keys.Guard(lambda name: None, local=True).check(f"http://{host}/v1")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "10.0.0.7", "gpu-box", "gpu.lan"])
def test_servers_nearby_are_asked_where_the_app_is_alone(host: str) -> None:
    keys.Guard(lambda name: None, local=True).check(f"http://{host}/v1")
    with pytest.raises(ModelError, match="The App asks no server at"):
        keys.Guard(lambda name: None).check(f"http://{host}/v1")

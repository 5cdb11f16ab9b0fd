"""Proxies and certificates that the environment names: used, or said in a sentence before anything is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facevlm.backends import Remote
from facevlm.backends.remote import services, surroundings
from facevlm.backends.remote.client import waiting_client
from facevlm.backends.remote.keys import Secret
from facevlm.datasets import fairface_hub
from facevlm.errors import InputError, ModelError
from tests.backends.remote.test_client import complete
from tests.servers.server import Act, completion, running

FAR, NEAR = "https://server.example/v1", "http://127.0.0.1:1/v1"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *NAMES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080", "a SOCKS proxy, for which socksio is missing"),
        ("https_proxy", "socks5h://user:secret@127.0.0.1:1080", "pip install socksio"),
        ("HTTPS_PROXY", "no-such-host.invalid", "names a host that is not found"),
        ("HTTP_PROXY", "ftp://proxy.example", "is no address of a proxy"),
        ("HTTP_PROXY", "http://", "is no address of a proxy"),
        ("HTTPS_PROXY", "http://[::1", "is no address of a proxy"),
        ("HTTPS_PROXY", "http://proxy:99999999", "is no address of a proxy"),
        ("ALL_PROXY", "http://user:secret@[", "is no address of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_said(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ModelError) as caught:
        complete(FAR)
    with pytest.raises(ModelError) as waiting:
        waiting_client(services.endpoint("openai:m", FAR), Secret("sk-mine"), Remote())
    assert str(caught.value) == str(waiting.value)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"Got {variable}='")
    assert "expected an address such as http://proxy.example:3128" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_proxies_are_no_matter_of_servers_here_or_of_those_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with running(lambda request: Act(completion("hello"))) as server:
        assert complete(server.base_url)[0].content == "hello"
    monkeypatch.setenv("NO_PROXY", "*")
    surroundings.check(services.endpoint("openai:m", FAR))


def test_a_connection_that_is_lost_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@127.0.0.1:1")
    answer, _ = complete(FAR, attempts=1)
    assert answer.error is not None
    assert "(through the proxy http://127.0.0.1:1 of HTTPS_PROXY)" in answer.error
    assert "secret" not in answer.error


@pytest.mark.parametrize("variable", NAMES)
@pytest.mark.parametrize("kind", ["missing", "broken", "empty", "pipe"])
def test_certificates_that_cannot_be_read_are_said(
    variable: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "certificates.pem"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_text("-----BEGIN CERTIFICATE-----\nbroken\n" if kind == "broken" else "")
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(ModelError, match=f"Got {variable}='.*expected a file in PEM form"):
        complete(FAR)
    with running(lambda request: Act(completion("hello"))) as server:
        assert complete(server.base_url)[0].content == "hello"


def test_a_data_set_that_cannot_be_fetched_by_such_a_proxy_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy.example")
    with pytest.raises(InputError, match="Cannot fetch HuggingFaceM4/FairFace"):
        fairface_hub._fetched("1.25")

"""Names of models, addresses, and which of them are local."""

from __future__ import annotations

import pytest

from facevlm.attributes import get
from facevlm.backends.cards import find, questions_for
from facevlm.backends.remote import services
from facevlm.errors import InputError, UnknownName

OPENAI = "https://api.openai.com/v1"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"


@pytest.mark.parametrize(
    ("name", "base_url", "model", "url", "keys"),
    [
        ("gpt-4o", None, "gpt-4o", OPENAI, ("OPENAI_API_KEY",)),
        ("openai:gpt-4o-mini", None, "gpt-4o-mini", OPENAI, ("OPENAI_API_KEY",)),
        ("openai:gpt-5.9-large", None, "gpt-5.9-large", OPENAI, ("OPENAI_API_KEY",)),
        ("gemini-flash", None, "gemini-2.5-flash", GEMINI, ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
        ("openai:gemini-9", GEMINI + "/", "gemini-9", GEMINI, ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
        ("openai:my/model", "http://localhost:8000/v1/", "my/model", "http://localhost:8000/v1", ("FACEVLM_API_KEY",)),
        (
            "gpt-4o",
            "https://x.openai.azure.com/openai/v1",
            "gpt-4o",
            "https://x.openai.azure.com/openai/v1",
            ("AZURE_OPENAI_API_KEY",),
        ),
        ("openai:gpt-4o", "https://evil.example/v1", "gpt-4o", "https://evil.example/v1", ("FACEVLM_API_KEY",)),
        (
            "openai:gpt-4o",
            "https://api.openai.com.evil.example",
            "gpt-4o",
            "https://api.openai.com.evil.example",
            ("FACEVLM_API_KEY",),
        ),
    ],
)
def test_where_a_name_is_asked(name: str, base_url: str | None, model: str, url: str, keys: tuple[str, ...]) -> None:
    found = services.endpoint(name, base_url)
    assert (found.model, found.base_url, found.key_names) == (model, url, keys)


def test_a_key_name_of_ones_own_is_the_only_one() -> None:
    assert services.endpoint("gpt-4o", key_name="MY_KEY").key_names == ("MY_KEY",)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://x/v1",
        "http://",
        "http://[::1",
        "http://x:port/v1",
        "//x/v1",
        "x",
        "http:///v1",
        "http://a b/v1",
        "http://ä/v1",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InputError, match="expected an address such as"):
        services.endpoint("openai:m", url)


@pytest.mark.parametrize(
    "url",
    ["https://me:sesame@host/v1", "https://sesame@host/v1", "https://host/v1?key=sesame", "https://host/v1#sesame"],
)
def test_keys_in_an_address_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match="expected the bare address") as caught:
        services.endpoint("openai:m", url)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "192.168.1.4",
        "10.0.0.1",
        "172.16.0.1",
        "gpu-box",
        "box.local",
        "a.internal",
    ],
)
def test_local_hosts(host: str) -> None:
    assert services.is_local(host)


@pytest.mark.parametrize(
    "host",
    ["api.openai.com", "8.8.8.8", "172.32.0.1", "localhost.evil.com", "127.0.0.1.evil.com", "2001:4860:4860::8888", ""],
)
def test_hosts_that_are_not_local(host: str) -> None:
    assert not services.is_local(host)


def test_ports_and_brackets_do_not_hide_a_local_host() -> None:
    assert services.endpoint("openai:m", "http://[::1]:8000/v1").is_local
    assert not services.endpoint("gpt-4o").is_local


def test_a_card_answers_any_attribute_in_its_own_words() -> None:
    card = find("openai:m")
    assert card.hosted
    assert card.is_here()
    [question] = questions_for(card, [get("emotion8")])
    assert question.text == get("emotion8").question
    assert questions_for(card, [get("emotion8")], {"emotion8": "how so?"})[0].text == "how so?"


def test_unknown_names_list_presets() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'gpt-4o"):
        find("gpt4o")
    with pytest.raises(InputError, match="expected openai:MODEL"):
        find("openai:")


def test_every_preset_names_a_service_with_keys() -> None:
    for name, preset in services.presets().items():
        assert services.endpoint(name).key_names == tuple(services.data()["services"][preset.service]["keys"])
        assert preset.title


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/openai/deployments/my-gpt?api-version=2024-06-01", "openai:my-gpt"),
        ("/openai/deployments/my-gpt/chat/completions?api-version=2024-06-01", "openai:my-gpt"),
        ("", ""),
        ("/", ""),
        ("/openai", ""),
        ("/v1", ""),
        ("/openai/v1/chat/completions", ""),
    ],
)
@pytest.mark.parametrize(
    "host", ["mine.openai.azure.com", "mine.services.ai.azure.com", "Mine.cognitiveservices.azure.com"]
)
def test_an_older_address_of_azure_is_answered_with_the_one_to_give(host: str, path: str, model: str) -> None:
    with pytest.raises(InputError) as caught:
        services.endpoint("openai:m", f"https://{host}{path}")
    assert f"expected base_url='https://{host}/openai/v1'" in str(caught.value)
    assert model in str(caught.value)
    assert services.endpoint("openai:m", f"https://{host}/openai/v1/").key_names == ("AZURE_OPENAI_API_KEY",)

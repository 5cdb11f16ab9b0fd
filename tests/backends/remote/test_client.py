"""What the client sends beside the request, and how large its waits and pools are."""

from __future__ import annotations

import asyncio

import pytest

from facevlm.backends import Remote
from facevlm.backends.remote import services
from facevlm.backends.remote.client import Client
from facevlm.backends.remote.exchange import Completion, Usage
from facevlm.backends.remote.keys import Secret
from facevlm.backends.remote.ledger import Ledger
from tests.servers.server import Act, completion, running

BODY = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "?"}]}]}
AMBIENT = {
    "OPENAI_ORG_ID": "org-private",
    "OPENAI_PROJECT_ID": "proj-private",
    "OPENAI_API_KEY": "sk-private-private",
    "OPENAI_ADMIN_KEY": "admin-private",
    "OPENAI_BASE_URL": "https://elsewhere.example/v1",
    "OPENAI_CUSTOM_HEADERS": "X-Team: private\nAuthorization: Bearer private",
}


def complete(url: str, **options: object) -> tuple[Completion, Client]:
    """One request by a client with the key of a test."""

    async def main() -> tuple[Completion, Client]:
        remote = Remote(base_url=url, **options)  # type: ignore[arg-type]
        client = Client(services.endpoint("openai:m", url), Secret("sk-mine"), remote, Ledger(None, None, Usage(9, 9)))
        answer, _ = await client.complete(BODY)
        await client.close()
        return answer, client

    return asyncio.run(main())


def test_what_the_environment_holds_for_openai_goes_to_openai_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AMBIENT.items():
        monkeypatch.setenv(name, value)
    with running(lambda request: Act(completion("hello"))) as server:
        answer, _ = complete(server.base_url)
        [request] = server.requests
    assert answer.content == "hello"
    assert request.headers["authorization"] == "Bearer sk-mine"
    assert "private" not in str(request.headers)


def test_a_proxy_does_not_see_what_goes_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(lambda request: Act(completion("hello"))) as server, running() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        answer, _ = complete(server.base_url)
        assert (answer.content, proxy.served) == ("hello", 0)


def test_at_openai_the_organisation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")

    async def main() -> tuple[object, object]:
        remote = Remote()
        mine = Client(services.endpoint("gpt-4o"), Secret("sk"), remote, Ledger(None, None, Usage()))
        other = Client(services.endpoint("gemini-flash"), Secret("sk"), remote, Ledger(None, None, Usage()))
        return mine._clients[0].organization, other._clients[0].organization

    assert asyncio.run(main()) == ("org-mine", None)


def test_the_librarys_own_retries_are_off() -> None:
    with running(lambda request: Act({"error": {"message": "busy"}}, 503)) as server:
        answer, _ = complete(server.base_url, attempts=1)
        assert len(server.requests) == 1
    assert answer.error == "HTTP 503: busy (asked 1 times)"


@pytest.mark.parametrize(("concurrency", "pools"), [(1, 1), (8, 1), (9, 2), (64, 8)])
def test_pools_are_small(concurrency: int, pools: int) -> None:
    with running(lambda request: Act(completion("hello"))) as server:
        _, client = complete(server.base_url, concurrency=concurrency)
    assert len(client._clients) == pools


def test_attempts_wait_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    with running(lambda request: Act({"error": {"message": "busy"}}, 500)) as server:
        monkeypatch.setattr(asyncio, "sleep", sleep)
        complete(server.base_url, attempts=4)
        monkeypatch.undo()
        assert len(server.requests) == 4
    assert len(waited) == 3
    for wait, most in zip(waited, (0.5, 1.0, 2.0), strict=True):
        assert most / 4 <= wait <= most

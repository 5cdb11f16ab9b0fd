"""A backend on a server that answers as a test wants, both closed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from facevlm.backends import Options, Remote, open_backend
from facevlm.backends.remote.backend import RemoteBackend
from tests.servers.server import Answer, Server, obedient, running


@contextmanager
def opened(answer: Answer = obedient, **options: Any) -> Iterator[tuple[RemoteBackend, Server]]:
    """The backend of the server's model, with ``options`` of :class:`~facevlm.backends.Remote`, and the server."""
    with running(answer) as server:
        backend = open_backend("openai:m", Options(remote=Remote(base_url=server.base_url, **options)))
        assert isinstance(backend, RemoteBackend)
        try:
            yield backend, server
        finally:
            backend.close()

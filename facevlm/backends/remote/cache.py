"""Replies on disk, so that a face that was answered is not asked, and paid for, again. Safe for several processes.

A reply is found by the digest of all that was sent to the server, picture included, and the server's address. The
file holds what servers replied; neither pictures nor keys.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facevlm import folders
from facevlm.errors import InputError

FILE = "replies.sqlite"
WAIT = 30.0
"""Seconds to wait for another process that is writing."""
TABLES = """
CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, host TEXT, model TEXT, at REAL, body TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS servers (key TEXT PRIMARY KEY, at REAL, body TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Info:
    """How much the cache holds: per (host, model) the number of replies; the file and its size in bytes."""

    path: Path
    size: int
    replies: Mapping[tuple[str, str], int]


def key_of(base_url: str, body: Mapping[str, Any], jpeg: bytes, sample: int) -> str:
    """The digest of a request: address, everything in it but the picture, the picture, and which sample it is."""
    sent = json.dumps([base_url, body, sample], sort_keys=True).encode()
    return hashlib.sha256(len(sent).to_bytes(8, "big") + sent + jpeg).hexdigest()


def joined(jpegs: Sequence[bytes]) -> bytes:
    """The pictures of one request as one string of bytes, from which each can be told apart."""
    return jpegs[0] if len(jpegs) == 1 else b"".join(len(jpeg).to_bytes(8, "big") + jpeg for jpeg in jpegs)


class Cache:
    """Bodies of chat completions by key. Threads may share it.

    Raises :class:`~facevlm.errors.InputError` where the folder cannot be used. What fails later, as on a full disk or
    of a file that is damaged, costs what is kept and nothing else: it is counted in ``errors``.
    """

    errors = 0

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or folders.cache()) / FILE
        self._lock = threading.Lock()
        with self._said():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = sqlite3.connect(self.path, timeout=WAIT, check_same_thread=False, isolation_level=None)
            os.chmod(self.path, 0o600)
            with self._using() as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.executescript(TABLES)

    def _tried(self, query: str, row: Callable[[], tuple[object, ...]]) -> Any | None:
        """The body that a query finds, as plain data; None where there is none, or it cannot be had or kept."""
        try:
            with self._using() as connection:
                found = connection.execute(query, row()).fetchone()
            return json.loads(found[0]) if found else None
        except (sqlite3.Error, ValueError, TypeError, RecursionError):
            self.errors += 1
            return None

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._connection

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"Cannot use the reply cache {self.path}: {error}. Name another folder by FACEVLM_CACHE, delete the "
                "file, or turn the cache off with cache='off'."
            ) from error

    def get(self, key: str) -> Any | None:
        """The body under a key, as plain data, or None."""
        return self._tried("SELECT body FROM replies WHERE key = ?", lambda: (key,))

    def put(self, key: str, host: str, model: str, body: object) -> None:
        """Keep a body; one that is there already is replaced."""
        query = "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)"
        # In ASCII: a server may send halves of characters, which no database takes.
        self._tried(query, lambda: (key, host, model, time.time(), json.dumps(body)))

    def server(self, key: str, max_age: float) -> Any | None:
        """What was found out about a server at most ``max_age`` seconds ago, or None."""
        return self._tried("SELECT body FROM servers WHERE key = ? AND at > ?", lambda: (key, time.time() - max_age))

    def put_server(self, key: str, body: object) -> None:
        self._tried("INSERT OR REPLACE INTO servers VALUES (?, ?, ?)", lambda: (key, time.time(), json.dumps(body)))

    def info(self) -> Info:
        with self._said(), self._using() as connection:
            rows = connection.execute("SELECT host, model, COUNT(*) FROM replies GROUP BY host, model ORDER BY 1, 2")
            counts = {(host, model): count for host, model, count in rows}
            size = sum(p.stat().st_size for p in self.path.parent.glob(FILE + "*"))
        return Info(self.path, size, counts)

    def clear(self, model: str | None = None) -> int:
        """Forget the replies of a model, or all of them and what is known about servers; returns how many replies."""
        with self._said(), self._using() as connection:
            if model is None:
                gone = connection.execute("DELETE FROM replies").rowcount
                connection.execute("DELETE FROM servers")
            else:
                gone = connection.execute("DELETE FROM replies WHERE model = ?", (model,)).rowcount
            connection.execute("VACUUM")
        return gone

    def close(self) -> None:
        with self._using() as connection:
            connection.close()

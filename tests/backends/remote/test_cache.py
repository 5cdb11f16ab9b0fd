"""The reply cache: found again by all that was sent, shared by processes, without pictures or surprises."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from facevlm import folders
from facevlm.backends.remote.cache import FILE, Cache, key_of
from facevlm.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
BODY = {"choices": [{"message": {"content": "{}"}}], "ü": "é"}


def test_what_is_put_is_found_also_by_the_next_process(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.get("k") is None
    cache.put("k", "host", "m", BODY)
    cache.put("k", "host", "m", BODY | {"again": 1})
    cache.close()
    assert Cache(tmp_path).get("k") == BODY | {"again": 1}


def test_the_key_changes_with_everything_that_is_sent() -> None:
    plain = ("http://a/v1", {"model": "m", "messages": []}, b"jpeg", 0)
    others = [
        ("http://b/v1", *plain[1:]),
        (plain[0], {"model": "n", "messages": []}, *plain[2:]),
        (plain[0], {"model": "m", "messages": [{}]}, *plain[2:]),
        (*plain[:2], b"jpeg2", 0),
        (*plain[:3], 1),
    ]
    keys = {key_of(*given) for given in (plain, *others)}  # type: ignore[arg-type]
    assert len(keys) == 6
    assert key_of(*plain) == key_of(plain[0], {"messages": [], "model": "m"}, b"jpeg", 0)


def test_findings_about_servers_grow_old(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put_server("s", {"structure": "json"})
    assert cache.server("s", 60) == {"structure": "json"}
    assert cache.server("s", -1) is None
    assert cache.server("t", 60) is None


def test_info_and_clear(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for k in range(5):
        cache.put(str(k), "host", "m" if k < 3 else "n", BODY)
    cache.put_server("s", {})
    info = cache.info()
    assert info.replies == {("host", "m"): 3, ("host", "n"): 2}
    assert info.size > 0
    assert cache.clear("m") == 3
    assert cache.server("s", 60) == {}
    assert cache.clear() == 2
    assert cache.info().replies == {}
    assert cache.server("s", 60) is None


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_others_cannot_read_it(tmp_path: Path) -> None:
    Cache(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / FILE).stat().st_mode) == 0o600


def test_a_file_that_is_no_cache_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("no database" * 100)
    with pytest.raises(InputError, match=r"Cannot use the reply cache .* FACEVLM_CACHE"):
        Cache(tmp_path)
    with pytest.raises(InputError, match="Cannot use the reply cache"):
        Cache(tmp_path / FILE / "below")


def damage(path: Path) -> None:
    """Write over all of the file but the head by which it is known."""
    for one in path.parent.glob(f"{FILE}-*"):
        one.unlink()
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * (size - 100))


def test_a_file_that_is_damaged_later_costs_what_is_kept_and_nothing_else(tmp_path: Path) -> None:
    with closing(Cache(tmp_path)) as cache:
        cache.put("k", "host", "m", {"a": 1})
    cache = Cache(tmp_path)
    damage(cache.path)
    assert (cache.get("k"), cache.server("s", 60)) == (None, None)
    cache.put("k", "host", "m", {"a": 2})
    cache.put_server("s", {})
    assert cache.errors == 4
    for look in (cache.info, cache.clear):
        with pytest.raises(InputError, match="Cannot use the reply cache"):
            look()


def test_what_is_no_json_in_it_is_no_answer(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("k", "host", "m", {"a": 1})
    with closing(sqlite3.connect(cache.path)) as other:
        other.execute("UPDATE replies SET body = ?", ("{",))
        other.commit()
    assert (cache.get("k"), cache.errors) == (None, 1)


def test_halves_of_characters_are_kept_as_they_came(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("k", "host", "m", {"said": "half \ud83d"})
    assert (cache.get("k"), cache.errors) == ({"said": "half \ud83d"}, 0)


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVLM_CACHE", str(tmp_path / "x"))
    assert folders.cache() == tmp_path / "x"
    monkeypatch.delenv("FACEVLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folders.cache() == tmp_path / "facevlm"


WRITER = """
import sys
from pathlib import Path
from facevlm.backends.remote.cache import Cache
cache = Cache(Path(sys.argv[1]))
for k in range(200):
    cache.put(f"{sys.argv[2]}-{k}", "host", "m", {"k": k})
    assert cache.get(f"{sys.argv[2]}-{k}") == {"k": k}
"""


def test_several_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    started = [
        subprocess.Popen([*command, str(n)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}) for n in range(4)
    ]
    assert [process.wait(120) for process in started] == [0] * 4
    assert Cache(tmp_path).info().replies == {("host", "m"): 800}

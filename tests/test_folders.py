"""Files that somebody names: regular ones are opened, nothing else is waited for or read without end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from facevlm import folders


def test_a_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\rthree\n")
    (tmp_path / "link.txt").symlink_to("a.txt")
    with folders.opened(tmp_path / "link.txt") as handle:
        assert handle.read(3) == b"one"
    assert folders.read_bytes(str(tmp_path / "link.txt")) == b"one\r\ntwo\rthree\n"
    assert folders.read_text(tmp_path / "a.txt") == "one\ntwo\nthree\n"


def test_what_is_no_file_is_told_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for path, said in {
            "pipe": "it is a named pipe, expected a file",
            ".": "it is a folder, expected a file",
            "/dev/zero": "it is a device, expected a file",
        }.items():
            with pytest.raises(OSError, match=said):
                folders.opened(path)
        # A socket cannot be opened at all, and the system says so.
        with pytest.raises(OSError, match="socket"):
            folders.opened("socket")


def test_nothing_stays_open_after_a_refusal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(OSError, match="named pipe"):
            folders.opened(tmp_path / "pipe")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_above_the_bound_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert folders.read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, expected at most 4"):
        folders.read_bytes(tmp_path / "a", 4)
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 10**11)
    with pytest.raises(OSError, match="expected at most 67,108,864"):
        folders.read_text(tmp_path / "large")


@pytest.mark.parametrize("text", ["[" * 20_000, "at: 2024-13-45", f"n: {'9' * 5000}", "a: [", "\x07"])
def test_whatever_is_no_yaml_is_told_as_such(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(yaml.YAMLError):
        folders.read_yaml(tmp_path / "a.yaml")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    folders.write_whole(path, b"first")
    folders.write_whole(path, b"second")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.png", b"second")]


WRITER = """
import resource, sys
from pathlib import Path
from facevlm import folders
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folders.write_whole(Path(sys.argv[1]), b"x" * 5000)
"""


@pytest.mark.process
def test_a_file_for_which_there_is_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"first")
    done = subprocess.run([sys.executable, "-c", WRITER, str(path)], capture_output=True, timeout=60, check=False)
    assert done.returncode != 0
    assert path.read_bytes() == b"first"
    (tmp_path / "a.png").unlink()
    subprocess.run([sys.executable, "-c", WRITER, str(path)], capture_output=True, timeout=60, check=False)
    assert not path.exists()

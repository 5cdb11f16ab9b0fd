"""Where facevlm finds what is shipped with it, keeps what it may lose, and how it opens a file that somebody names."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import yaml

ASSETS = Path(__file__).parent / "assets"
"""What is shipped beside the code."""
MOST_BYTES = 2**29
"""Largest file that is read into memory: above the largest picture that is decoded, unpacked at 16 bits a channel."""
MOST_TEXT = 2**26
"""Largest text, such as YAML or JSON, that is read as a whole, in bytes."""
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def cache() -> Path:
    """``FACEVLM_CACHE``, or facevlm's folder in the user's cache."""
    own = os.environ.get("FACEVLM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(own) if own else Path(base) / "facevlm"


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, open for reading.

    Every file whose name comes from a data set, a table, a form or a user is opened here: a named pipe would be waited
    for without end, and a device read without end. Raises OSError that says what it is instead.
    """
    # Without waiting, and asked of what was opened: what the name stands for may change in between.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            kind = KINDS.get(stat.S_IFMT(mode), "something else")
            raise OSError(errno.EINVAL, f"it is {kind}, expected a file", os.fspath(path))
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_bytes(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """All of a regular file.

    Raises OSError for one of more than ``most`` bytes, read no further, and as :func:`opened` does.
    """
    with opened(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        # No more than was there at first: a file may grow faster than it is read.
        data = handle.read(size) if size <= most else b""
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, expected at most {most:,}", os.fspath(path))
    return data


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8", errors: str = "strict") -> str:
    """All of a text file of at most :data:`MOST_TEXT` bytes, its line ends as line feeds; errors as in
    :func:`read_bytes`, and UnicodeDecodeError."""
    text = read_bytes(path, MOST_TEXT).decode(encoding, errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """What a YAML file holds; errors as in :func:`read_text`, and YAMLError for all that is no YAML."""
    try:
        return yaml.safe_load(read_text(path))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        # Its reader makes dates and numbers by Python's own, which know of more that cannot be: 2024-13-45.
        raise yaml.YAMLError(str(error) or type(error).__name__) from error


def write_whole(path: Path, data: bytes) -> None:
    """Put a file in its place whole or not at all, whatever ends the process or fills the disk; not through a link.

    Raises OSError, and leaves an earlier file as it was.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        written = Path(folder) / path.name
        written.write_bytes(data)
        os.replace(written, path)


LONGEST = 160
"""Bytes of a name of a file or folder; file systems take 255, and endings are put behind it."""
STRANGE = re.compile(r"[^\w .+-]|[\x00-\x1f]")
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(10))}
"""Names of devices on Windows, with any ending."""


def file_name(text: str) -> str:
    """A text from elsewhere, such as the name of a dataset, as the name of a file or folder in the one that is meant.

    What cannot be part of a name everywhere becomes an underscore; a name that was changed ends in eight hex digits of
    the text, so that two texts have two names.
    """
    plain = STRANGE.sub("_", text).encode()[:LONGEST].decode(errors="ignore").strip(" .")
    if plain and plain == text and plain.partition(".")[0].lower() not in RESERVED:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain.lstrip('-_. ') or 'name'}-{digest}"

"""Weights of detectors: from a file that the user names, or fetched once from a pinned address and checked."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from facevlm import folders
from facevlm.errors import ModelError
from facevlm.folders import ASSETS

log = logging.getLogger("facevlm")
ASSET = ASSETS / "detectors.yaml"
YUNET = "FACEVLM_YUNET"
"""Environment variable with the path of YuNet's weights."""
OFFLINE = "HF_HUB_OFFLINE"
PATIENCE = 15.0
"""Seconds to wait for a server."""
MOST = 2**24
"""Bytes that are read of an answer at most."""


def yunet(path: str | None = None) -> tuple[Path, str]:
    """YuNet's weights and their SHA-256: of ``path``, of ``FACEVLM_YUNET``, of the cache, or fetched into it.

    Raises :class:`~facevlm.errors.ModelError` that says what was tried, and how to name a file.
    """
    source = yaml.safe_load(ASSET.read_text(encoding="utf-8"))["yunet"]
    named = path or os.environ.get(YUNET)
    if named:
        return _checked(Path(named), source["sha256"], f"Give the file {source['file']} of OpenCV's model zoo.")
    kept = folders.cache() / source["file"]
    if not kept.is_file():
        _fetch(source["urls"], source["sha256"], kept)
    return _checked(kept, source["sha256"], "Delete it, and it is fetched again.")


def check_yunet(path: str | None = None) -> None:
    """Raise as :func:`yunet` would, without fetching anything."""
    source = yaml.safe_load(ASSET.read_text(encoding="utf-8"))["yunet"]
    is_near = path or os.environ.get(YUNET) or (folders.cache() / source["file"]).is_file()
    if is_near or os.environ.get(OFFLINE) == "1":
        yunet(path)


def _checked(path: Path, expected: str, remedy: str) -> tuple[Path, str]:
    try:
        got = hashlib.sha256(folders.read_bytes(path, MOST)).hexdigest()
    except OSError as error:
        raise ModelError(f"YuNet's weights '{path}' cannot be read: {error.strerror}. {remedy}") from error
    if got != expected:
        raise ModelError(f"'{path}' has the SHA-256 {got[:12]}..., expected {expected[:12]}... of YuNet. {remedy}")
    return path, got


def _fetch(urls: list[str], expected: str, kept: Path) -> None:
    """Write the file whole and right, or not at all."""
    how = f"Download {urls[0]} and name the file in {YUNET}."
    if os.environ.get(OFFLINE) == "1":
        raise ModelError(f"YuNet's weights are not on this machine and {OFFLINE}=1 forbids to fetch them. {how}")
    tried = []
    for url in urls:
        log.warning("Fetching YuNet's weights from %s, once; they are kept as %s.", url, kept)
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                data = answer.read(MOST)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A ValueError is about a proxy of the environment that is no address.
            tried.append(f"{url}: {getattr(error, 'reason', None) or error}")
            continue
        if (got := hashlib.sha256(data).hexdigest()) != expected:
            tried.append(f"{url}: SHA-256 {got[:12]}..., expected {expected[:12]}...")
            continue
        _keep(kept, data)
        return
    raise ModelError(f"YuNet's weights could not be fetched ({'; '.join(tried)}). {how}")


def _keep(kept: Path, data: bytes) -> None:
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        folders.write_whole(kept, data)
    except OSError as error:
        raise ModelError(
            f"YuNet's weights cannot be kept as '{kept}': {error.strerror or error}. Name another folder by "
            "FACEVLM_CACHE."
        ) from error

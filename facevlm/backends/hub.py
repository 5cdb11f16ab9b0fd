"""The hub of checkpoints: whether it can be reached, and what is fetched of it apart from transformers."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from facevlm.backends import adapters
from facevlm.backends.adapters import Adapter
from facevlm.backends.cards import adapter_config, adapter_is_here, file_here, is_folder, is_here

SECONDS = 5


def why_unreachable() -> OSError | None:
    """Why no connection to the hub can be made; None where it can, or where a proxy stands between."""
    if getproxies():
        return None
    address = urlsplit(ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=SECONDS).close()
    except OSError as error:
        return error
    return None


def look_for_adapter(checkpoint: str, revision: str | None) -> None:
    """Fetch the ``adapter_config.json`` of a checkpoint of the hub that is not here yet: whether it is an adapter
    is known from then on. What goes wrong is said when it is loaded."""
    if is_folder(checkpoint) or is_here(checkpoint) or file_here(checkpoint, adapters.CONFIG):
        return
    if HF_HUB_OFFLINE or why_unreachable():
        return
    try:
        hf_hub_download(checkpoint, adapters.CONFIG, revision=revision)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError):
        return


def adapter_folder(adapter: Adapter, revision: str | None) -> Path:
    """The folder of an adapter, which is fetched from the hub where it is not here; errors are huggingface_hub's."""
    source = adapter.source
    if Path(source).is_dir():
        return Path(source)
    config = adapter_config(source)
    if config and not revision and adapter_is_here(adapter):
        return config.parent
    return Path(snapshot_download(source, revision=revision, allow_patterns=[adapters.CONFIG, *adapters.WEIGHTS]))

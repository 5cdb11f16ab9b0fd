"""Where a model is served: services and presets as data, hosts, and which of them are this machine or its network."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

from facevlm.errors import InputError, lookup
from facevlm.folders import ASSETS

DATA = ASSETS / "remote.yaml"
PREFIX = "openai:"
LOCAL_NAMES = ("localhost", "host.docker.internal")
LOCAL_ENDS = (".local", ".localhost", ".internal", ".lan", ".home.arpa")


@dataclass(frozen=True)
class Preset:
    """A model of a service by name."""

    name: str
    title: str
    service: str
    model: str
    max_side: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Endpoint:
    """A model at a server: everything about where requests go, and no key.

    ``key_names`` are the names under which a key for this server may be kept.
    """

    model: str
    base_url: str
    key_names: tuple[str, ...]
    max_side: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Host and port as a user reads them."""
        return urlsplit(self.base_url).netloc

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine or on a private network, by name or number: nothing is looked up."""
        return is_local(urlsplit(self.base_url).hostname or "")


@functools.cache
def data() -> dict[str, Any]:
    """The content of ``assets/remote.yaml``."""
    loaded: dict[str, Any] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return loaded


@functools.cache
def presets() -> dict[str, Preset]:
    """Shipped models behind an API, by name."""
    return {name: Preset(name, **raw) for name, raw in data()["models"].items()}


def is_remote(name: str) -> bool:
    """Whether a model name stands for a model behind an API."""
    return name.startswith(PREFIX) or name in presets()


def endpoint(name: str, base_url: str | None = None, key_name: str | None = None) -> Endpoint:
    """Where ``openai:MODEL`` or a preset is asked.

    Raises :class:`~facevlm.errors.InputError` for no model or a base_url that is no plain http(s) address.
    """
    model = name.removeprefix(PREFIX).strip()
    preset = presets().get(model)
    if not model:
        raise InputError(f"Got the model '{name}', expected openai:MODEL such as openai:gpt-4o.")
    own = lookup("service", data()["services"], preset.service if preset else "openai")["base_url"]
    url = checked(own if base_url is None else base_url)
    if preset is None or (base_url is not None and name.startswith(PREFIX)):
        return Endpoint(model, url, _keys(url, key_name))
    return Endpoint(preset.model, url, _keys(url, key_name), preset.max_side, preset.extra)


def checked(base_url: str) -> str:
    """The address without a final slash. A user name, password or query in it is refused: they would be stored."""
    url = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        hostname, _ = parts.hostname, parts.port
    except ValueError:
        parts, hostname = urlsplit(""), None
    plain = all("!" <= letter <= "~" for letter in url)
    if parts.scheme not in ("http", "https") or not hostname or not plain:
        raise InputError(f"Got base_url='{_without_user(url)}', expected an address such as http://localhost:8000/v1.")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            f"Got base_url='{_without_user(url)}' with a user name, password or query, expected the bare address. "
            "Keep the key in an environment variable and name it by key_name."
        )
    return url


def _without_user(url: str) -> str:
    bare = url.partition("?")[0].partition("#")[0]
    return bare.rpartition("//")[0] + "//" + bare.rpartition("@")[2] if "@" in bare else bare


def _keys(base_url: str, key_name: str | None) -> tuple[str, ...]:
    if key_name:
        return (key_name,)
    service = service_of(base_url)
    return tuple(service["keys"] if service else data()["other_keys"])


def service_of(base_url: str) -> Mapping[str, Any] | None:
    """The known service whose host an address names, or None."""
    host = urlsplit(base_url).hostname or ""
    for service in data()["services"].values():
        own = urlsplit(service.get("base_url", "")).hostname
        if host == own or any(host.endswith(end) for end in service.get("hosts", ())):
            found: Mapping[str, Any] = service
            return found
    return None


def is_local(hostname: str) -> bool:
    """Loopback, private and link-local numbers, names without a dot, and names reserved for a local network."""
    name = hostname.lower().rstrip(".")
    try:
        number = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name in LOCAL_NAMES or name.endswith(LOCAL_ENDS) or (bool(name) and "." not in name)
    return number.is_private or number.is_loopback or number.is_link_local

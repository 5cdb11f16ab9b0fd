"""Where a model is served: services and presets as data, hosts, and which of them are this machine or its network.

A package of somebody else adds some by an entry point of the group ``facevlm.services``: a mapping, or the path of a
YAML file, with ``services`` and ``models`` in the form of ``assets/remote.yaml`` and ``prices``, a table in the form of
``assets/prices.yaml``; each may be left out.
"""

from __future__ import annotations

import functools
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from facevlm import doors
from facevlm.backends.remote import dialects
from facevlm.doors import Addition
from facevlm.errors import InputError, lookup
from facevlm.folders import ASSETS

DATA = ASSETS / "remote.yaml"
PREFIX = "openai:"
LOCAL_NAMES = ("localhost", "host.docker.internal")
LOCAL_ENDS = (".local", ".localhost", ".internal", ".lan", ".home.arpa")
PARTS = ("services", "models", "prices")
"""What a package may add."""


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

    ``key_names`` are the names under which a key for this server may be kept. ``dialect`` is the protocol that it
    speaks, as :func:`facevlm.backends.remote.dialects.find` takes it.
    """

    model: str
    base_url: str
    key_names: tuple[str, ...]
    max_side: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    dialect: str = dialects.USUAL

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


@dataclass(frozen=True)
class Supply:
    """What one package adds: services and presets by name, and a table of prices, empty for none."""

    services: Mapping[str, Mapping[str, Any]]
    presets: Mapping[str, Preset]
    prices: Mapping[str, Any]


@functools.cache
def added() -> Mapping[str, Addition[Supply]]:
    """The services, presets and prices of installed packages, by the name of their entry point."""
    services, models = set(data()["services"]), set(data()["models"])

    def read(addition: Addition[object]) -> Supply:
        supply = _supply(addition.value, services)
        if taken := sorted((services & set(supply.services)) | (models & set(supply.presets))):
            raise InputError(f"the name {', '.join(taken)} is taken")
        services.update(supply.services)
        models.update(supply.presets)
        return supply

    return doors.admit("services", read)


def _supply(value: object, known: set[str]) -> Supply:
    """What an entry point stands for, checked; presets may be of services that are ``known``.

    Raises :class:`~facevlm.errors.InputError` or TypeError for what is of another form.
    """
    raw = yaml.safe_load(Path(value).read_text(encoding="utf-8")) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(raw, Mapping) or set(raw) - set(PARTS):
        raise TypeError(f"got {raw!r}, expected a mapping with the keys {', '.join(PARTS)}, or the path of such a file")
    services, models, prices = (raw.get(part) or {} for part in PARTS)
    for name, service in services.items():
        _check_service(name, service)
    presets = {str(name): Preset(str(name), **dict(preset)) for name, preset in models.items()}
    for preset in presets.values():
        lookup("service", dict.fromkeys([*known, *services]), preset.service)
    return Supply(services, presets, prices)


def _check_service(name: str, service: Any) -> None:
    keys = service.get("keys") if isinstance(service, Mapping) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise InputError(f"Service '{name}': got {service!r}, expected base_url, and keys as a list of names of keys.")
    checked(service.get("base_url") or "")
    dialects.find(service.get("dialect", dialects.USUAL))


@functools.cache
def services() -> dict[str, Mapping[str, Any]]:
    """All services by name: those of ``assets/remote.yaml``, then those of installed packages."""
    more = {name: service for addition in added().values() for name, service in addition.value.services.items()}
    return {**data()["services"], **more}


@functools.cache
def presets() -> dict[str, Preset]:
    """Models behind an API that can be asked for by name: those of facevlm, then those of installed packages."""
    own = {name: Preset(name, **raw) for name, raw in data()["models"].items()}
    return own | {name: preset for addition in added().values() for name, preset in addition.value.presets.items()}


def origin(name: str) -> str:
    """The package that a preset comes with."""
    packages = (addition.package for addition in added().values() if name in addition.value.presets)
    return next(packages, doors.OWN)


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
    own = lookup("service", services(), preset.service if preset else "openai")["base_url"]
    url = checked(own if base_url is None else base_url)
    dialect = str((service_of(url) or {}).get("dialect", dialects.USUAL))
    if preset is None or (base_url is not None and name.startswith(PREFIX)):
        return Endpoint(model, url, _keys(url, key_name), dialect=dialect)
    return Endpoint(preset.model, url, _keys(url, key_name), preset.max_side, preset.extra, dialect)


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
    for service in services().values():
        own = urlsplit(service.get("base_url", "")).hostname
        if host == own or any(host.endswith(end) for end in service.get("hosts", ())):
            return service
    return None


def is_local(hostname: str) -> bool:
    """Loopback, private and link-local numbers, names without a dot, and names reserved for a local network."""
    name = hostname.lower().rstrip(".")
    try:
        number = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name in LOCAL_NAMES or name.endswith(LOCAL_ENDS) or (bool(name) and "." not in name)
    return number.is_private or number.is_loopback or number.is_link_local

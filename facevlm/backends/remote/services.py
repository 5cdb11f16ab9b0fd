"""Where a model is served: services and presets as data, hosts, and which of them are this machine or its network.

A package of somebody else adds some by an entry point of the group ``facevlm.services``: a mapping, or the path of a
YAML file, with ``services`` and ``models`` in the form of ``assets/remote.yaml`` and ``prices``, a table in the form of
``assets/prices.yaml``; each may be left out.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import SplitResult, urlsplit

import yaml

from facevlm import doors, folders
from facevlm.backends.remote import dialects
from facevlm.doors import Addition
from facevlm.errors import InputError, lookup
from facevlm.folders import ASSETS

DATA = ASSETS / "remote.yaml"
PREFIX = "openai:"
LOCAL_NAMES = ("localhost", "host.docker.internal")
LOCAL_ENDS = (".local", ".localhost", ".internal", ".lan", ".home.arpa")
CLOUD_NAMES = ("metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal")
CLOUD_NUMBERS = ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192")
"""Beside the link-local ones."""
DEPLOYMENT = re.compile(r"/deployments/([^/]+)")
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
    speaks, as :func:`facevlm.backends.remote.dialects.find` takes it. ``replicas`` are other servers of the same model;
    what answers are known by names the first one alone.
    """

    model: str
    base_url: str
    key_names: tuple[str, ...]
    max_side: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    dialect: str = dialects.USUAL
    replicas: tuple[Endpoint, ...] = ()

    @property
    def each(self) -> tuple[Endpoint, ...]:
        """The server and its replicas, each by itself."""
        return (replace(self, replicas=()), *self.replicas)

    @property
    def hosts(self) -> str:
        """The hosts of all of them."""
        return ", ".join(one.host for one in self.each)

    @property
    def host(self) -> str:
        """Host and port as a user reads them."""
        return urlsplit(self.base_url).netloc

    @property
    def is_local(self) -> bool:
        """Whether all hosts are this machine or on a private network, by name or number: nothing is looked up."""
        own = is_local(urlsplit(self.base_url).hostname or "")
        return own and all(one.is_local for one in self.replicas)

    @property
    def is_plain(self) -> bool:
        """Whether any host that is not local is reached without encryption."""
        return any(not one.is_local and not one.base_url.startswith("https:") for one in self.each)


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
    raw = folders.read_yaml(value) if isinstance(value, (str, os.PathLike)) else value
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


def addresses(base_url: str | Sequence[str]) -> list[str]:
    """The addresses in a text, with blanks or commas between, or in several texts; each once, and :func:`checked`."""
    texts = [base_url] if isinstance(base_url, str) else base_url
    found = [part for text in texts for part in re.split(r"[,\s]+", text) if part]
    return list(dict.fromkeys(checked(part) for part in found or [""]))


def endpoint(name: str, base_url: str | Sequence[str] | None = None, key_name: str | None = None) -> Endpoint:
    """Where ``openai:MODEL`` or a preset is asked; several addresses are of servers of the same model.

    Raises :class:`~facevlm.errors.InputError` for no model or a base_url that is no plain http(s) address.
    """
    model = name.removeprefix(PREFIX).strip()
    preset = presets().get(model)
    if not model:
        raise InputError(f"Got the model '{name}', expected openai:MODEL such as openai:gpt-4o.")
    own = lookup("service", services(), preset.service if preset else "openai")["base_url"]
    urls = addresses(own if base_url is None else base_url)
    if preset is not None and base_url is not None and name.startswith(PREFIX):
        preset = None
    first, *others = (_at(url, model, preset, key_name) for url in urls)
    if strange := [one for one in others if one.dialect != first.dialect]:
        raise InputError(f"Got {first.host} and {strange[0].host}, which speak two protocols; expected one model's.")
    return replace(first, replicas=tuple(others))


def _at(url: str, model: str, preset: Preset | None, key_name: str | None) -> Endpoint:
    """A model at one address."""
    dialect, names = str((service_of(url) or {}).get("dialect", dialects.USUAL)), key_names(url, key_name)
    if preset is None:
        return Endpoint(model, url, names, dialect=dialect)
    return Endpoint(preset.model, url, names, preset.max_side, preset.extra, dialect)


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
    if (path := _own_path(hostname)) and parts.path != path:
        raise _other_path(parts, path)
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            f"Got base_url='{_without_user(url)}' with a user name, password or query, expected the bare address. "
            "Keep the key in an environment variable and name it by key_name."
        )
    return url


def _own_path(host: str) -> str | None:
    """The one path under which a host of a shipped service speaks the protocol, where its data says one."""
    own = (service for service in data()["services"].values() if host.endswith(tuple(service.get("hosts", ()))))
    return next((service.get("path") for service in own), None)


def _other_path(parts: SplitResult, path: str) -> InputError:
    """What to give instead of an address of another protocol, such as Azure's with a deployment and an api-version."""
    named = DEPLOYMENT.search(parts.path)
    model = f", and the deployment as the model: {PREFIX}{named.group(1)}" if named else ""
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return InputError(
        f"Got base_url='{bare}{parts.path}', under which {parts.hostname} does not speak the OpenAI protocol; expected "
        f"base_url='{bare}{path}'{model}."
    )


def _without_user(url: str) -> str:
    bare = url.partition("?")[0].partition("#")[0]
    return bare.rpartition("//")[0] + "//" + bare.rpartition("@")[2] if "@" in bare else bare


def key_names(base_url: str, key_name: str | None = None) -> tuple[str, ...]:
    """Names under which a key for an address is looked for, unless one is named."""
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


def is_of_a_cloud(hostname: str) -> bool:
    """Whether a host is one by which machines of a cloud are told their own secrets, by name or by a number in any
    form that a resolver takes, such as ``0xA9FEA9FE``."""
    name = hostname.lower().rstrip(".").strip("[]")
    if name in CLOUD_NAMES:
        return True
    try:
        number: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address(socket.inet_aton(name))
    except OSError:
        try:
            number = ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return False
    inner = getattr(number, "ipv4_mapped", None) or number
    return inner.is_link_local or str(inner) in CLOUD_NUMBERS


def is_local(hostname: str) -> bool:
    """Loopback, private and link-local numbers, names without a dot, and names reserved for a local network."""
    name = hostname.lower().rstrip(".")
    try:
        number = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name in LOCAL_NAMES or name.endswith(LOCAL_ENDS) or (bool(name) and "." not in name)
    return number.is_private or number.is_loopback or number.is_link_local

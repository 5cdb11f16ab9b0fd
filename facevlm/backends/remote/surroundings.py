"""Proxies and certificates that the environment names, checked before anything is sent."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from facevlm import folders
from facevlm.backends.remote.services import Endpoint
from facevlm.errors import ModelError

SCHEMES = ("http", "https", "all")
FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
FOLDER = "SSL_CERT_DIR"
PLACE = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""Ports of proxies that name none."""


def check(endpoint: Endpoint) -> None:
    """Raise :class:`~facevlm.errors.ModelError` for a proxy that cannot be used; one on this machine's way has none."""
    if endpoint.is_local:
        return
    used = _used(endpoint)
    for variable, url in _proxies():
        _check_form(variable, url)
        if (variable, url) == used:
            _check_host(variable, url)


def through(endpoint: Endpoint) -> str:
    """By which proxy an endpoint is reached, in words; empty for none."""
    used = None if endpoint.is_local else _used(endpoint)
    return f" (through the proxy {_bare(used[1])} of {used[0]})" if used else ""


def certificates(endpoint: Endpoint) -> ssl.SSLContext:
    """What connections are checked against: the certificates that the environment names, else those of the system.

    Raises :class:`~facevlm.errors.ModelError` where what it names cannot be read.
    """
    if endpoint.is_local and endpoint.base_url.startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    variable = next((name for name in (FILES[0], FOLDER, *FILES[1:]) if os.environ.get(name)), None)
    if variable is None:
        return httpx2.create_ssl_context()
    path = os.environ[variable]
    try:
        return _read(path, folder=variable == FOLDER or Path(path).is_dir())
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ModelError(
            f"Got {variable}='{path}', which cannot be read as certificates ({reason}); expected a file in PEM form, "
            f"or a folder of such files. Name the right one, or unset {variable}."
        ) from None


def _read(path: str, *, folder: bool) -> ssl.SSLContext:
    if not folder:
        # OpenSSL would wait for a named pipe, and read a device without end.
        folders.opened(path).close()
        return ssl.create_default_context(cafile=path)
    # OpenSSL takes any name for that of a folder, and finds no certificate there later.
    os.listdir(path)
    return ssl.create_default_context(capath=path)


def _proxies() -> Iterator[tuple[str, str]]:
    """(variable, address with its scheme) of each proxy that the environment names."""
    named = urllib.request.getproxies()
    if "*" in [host.strip() for host in named.get("no", "").split(",")]:
        return
    for scheme in SCHEMES:
        if value := named.get(scheme):
            names = (f"{scheme.upper()}_PROXY", f"{scheme}_proxy")
            variable = next((name for name in names if os.environ.get(name) == value), "the system's settings")
            yield variable, value if "://" in value else f"http://{value}"


def _used(endpoint: Endpoint) -> tuple[str, str] | None:
    parts = urlsplit(endpoint.base_url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    found = {variable.lower().partition("_")[0]: (variable, url) for variable, url in _proxies()}
    return found.get(parts.scheme) or found.get("all")


def _check_form(variable: str, url: str) -> None:
    try:
        # Each reader lets something pass that is no address: a port of eight digits, half a bracket.
        urlsplit(url).port  # noqa: B018
        proxy = httpx2.Proxy(url).url
    except (ValueError, httpx2.InvalidURL):
        proxy = httpx2.URL("")
    if not proxy.host:
        raise _unusable(variable, url, "is no address of a proxy")
    if proxy.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise _unusable(variable, url, "is a SOCKS proxy, for which socksio is missing (pip install socksio)")


def _check_host(variable: str, url: str) -> None:
    proxy = httpx2.URL(url)
    try:
        socket.getaddrinfo(proxy.host, proxy.port or PLACE[proxy.scheme])
    except (OSError, UnicodeError):
        raise _unusable(variable, url, "names a host that is not found") from None


def _unusable(variable: str, url: str, what: str) -> ModelError:
    return ModelError(
        f"Got {variable}='{_bare(url)}', which {what}; expected an address such as http://proxy.example:3128. Correct "
        f"it, unset {variable}, or name the server's host in NO_PROXY."
    )


def _bare(url: str) -> str:
    """The address without a user and a password."""
    return re.sub(r"//.*@", "//", url, flags=re.DOTALL)

"""Which key is for which address, where somebody else names both, as a visitor of the App does.

The table of services binds a key to the address of its service. What else there is the environment says:
``FACEVLM_KEYS`` as ``NAME=ADDRESS, ...`` and, for servers that take no key, ``FACEVLM_HOSTS`` as ``ADDRESS, ...``.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from facevlm.backends.remote import services
from facevlm.errors import InputError, ModelError

KEYS, HOSTS = "FACEVLM_KEYS", "FACEVLM_HOSTS"
PORTS = {"http": 80, "https": 443}


def names(base_url: str) -> tuple[str, ...]:
    """Names of the keys that may go to this address.

    Raises :class:`~facevlm.errors.ModelError` for a variable of another form.
    """
    declared = [name for name, address in _declared() if name and lies_below(base_url, address)]
    own = [key for address, keys in _shipped() if lies_below(base_url, address) for key in keys]
    return tuple(dict.fromkeys([*declared, *own]))


def is_known(base_url: str) -> bool:
    """Whether the address is that of a service, or the environment names it.

    Raises :class:`~facevlm.errors.ModelError` for a variable of another form.
    """
    addresses = [address for _, address in _declared()] + [address for address, _ in _shipped()]
    return any(lies_below(base_url, address) for address in addresses)


def lies_below(base_url: str, address: str) -> bool:
    """Whether a checked address is this one or a plain path below it, at the same scheme, host and port."""
    got, own = urlsplit(base_url), urlsplit(address)
    if (got.scheme, got.hostname, got.port or PORTS.get(got.scheme)) != (
        *(own.scheme, own.hostname),
        own.port or PORTS.get(own.scheme),
    ):
        return False
    # A server may read %2e%2e, .. and \ as the way up, out of the part that was declared.
    strange = any(part in (".", "..") for part in got.path.split("/")) or any(c in got.path for c in "%\\;")
    return not strange and f"{got.path.rstrip('/')}/".startswith(f"{own.path.rstrip('/')}/")


def _shipped() -> list[tuple[str, list[str]]]:
    """Address and names of keys of every service that has an address of its own.

    Of a service that is known by the end of its host alone, anybody can have a server.
    """
    known = services.services().values()
    return [(service["base_url"], list(service["keys"])) for service in known if service.get("base_url")]


def _declared() -> list[tuple[str, str]]:
    """Name of a key, empty for none, and address."""
    with_key = [_pair(entry) for entry in _entries(KEYS)]
    return with_key + [("", _address(entry, HOSTS)) for entry in _entries(HOSTS)]


def _entries(variable: str) -> list[str]:
    return [entry.strip() for entry in os.environ.get(variable, "").split(",") if entry.strip()]


def _pair(entry: str) -> tuple[str, str]:
    name, sign, address = entry.partition("=")
    if not sign or not name.strip():
        # Somebody may have put the key itself there: it is not repeated.
        raise ModelError(f"{KEYS} has an entry of another form, expected NAME=ADDRESS, NAME=ADDRESS.")
    return name.strip(), _address(address, KEYS)


def _address(text: str, variable: str) -> str:
    try:
        return services.checked(text)
    except InputError:
        raise ModelError(f"{variable} has an address of another form, expected such as https://host/v1.") from None

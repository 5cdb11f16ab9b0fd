"""API keys: found when they are used, shown nowhere, cut out of whatever a server says."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

from facevlm.backends.remote.services import Endpoint
from facevlm.errors import ModelError

Secrets = Callable[[str], "str | None"]
"""A key by its name, such as the App's ``ctx.secrets.get``; None where there is none."""
KEYRING = "facevlm"
NO_KEY = "none"
SHORTEST = 6
"""Shorter keys are placeholders, and may be words of ordinary text."""


class Secret:
    """A key that does not show itself when it is printed, logged, pickled, or part of a traceback."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key, for the client alone."""
        return self._value

    def redact(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self._value, "[key]") if len(self._value) >= SHORTEST else text

    def __repr__(self) -> str:
        return "Secret([key])"

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be stored")


def find(endpoint: Endpoint, secrets: Secrets | None = None) -> Secret:
    """The key for a server: from the App's secrets, the environment, or the keyring if that package is installed.

    Raises :class:`~facevlm.errors.ModelError` that names where it was looked for; a local server needs none.
    """
    for source in (secrets, os.environ.get, _from_keyring):
        value = next((key for name in endpoint.key_names if (key := source(name))), None) if source else None
        if value:
            return Secret(_checked(value.strip(), endpoint))
    if endpoint.is_local:
        return Secret(NO_KEY)
    names = " or ".join(endpoint.key_names)
    raise ModelError(
        f"No key for {endpoint.host}. Set the environment variable {names}, add a secret of that name to FiftyOne, or "
        f"store it once with: keyring set {KEYRING} {endpoint.key_names[0]}"
    )


def _checked(value: str, endpoint: Endpoint) -> str:
    """The key, if it can stand in a header; the error does not show it."""
    strange = next((k for k, letter in enumerate(value) if not "!" <= letter <= "~"), None)
    if strange is not None:
        raise ModelError(
            f"The key for {endpoint.host} ({' or '.join(endpoint.key_names)}) has a blank or a letter outside ASCII at "
            f"place {strange + 1}, which no key has. Copy it anew."
        )
    return value


def _from_keyring(name: str) -> str | None:
    """The system's keyring, where the package is there and has a place to keep keys in."""
    try:
        keyring = importlib.import_module("keyring")
    except ModuleNotFoundError:
        return None
    try:
        found = keyring.get_password(KEYRING, name)
    except keyring.errors.KeyringError:
        return None
    return found if isinstance(found, str) else None

"""API keys: found when they are used, shown nowhere, cut out of whatever a server says."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import urlsplit

from facevlm.backends.remote import bindings, redaction, services
from facevlm.backends.remote.exchange import Completion
from facevlm.backends.remote.services import Endpoint
from facevlm.errors import ModelError

Said = TypeVar("Said")
Secrets = Callable[[str], "str | None"]
"""A key by its name, such as the App's ``ctx.secrets.get``; None where there is none."""
KEYRING = "facevlm"
NO_KEY = "none"


class Secret:
    """A key that does not show itself when it is printed, logged, pickled, or part of a traceback."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key, for the client alone."""
        return self._value

    def redact(self, said: Said) -> Said:
        """A text, or plain data with texts in it, without the key in any spelling."""
        hidden: Said = redaction.tree(said, self._value)
        return hidden

    def redact_completion(self, said: Completion) -> Completion:
        """The completion without the key, which may have come in parts that are no key by themselves."""
        return replace(
            said, content=self.redact(said.content), refusal=self.redact(said.refusal), error=self.redact(said.error)
        )

    def is_in(self, said: Completion) -> bool:
        """Whether the key stands in a completion, or in its tokens as they follow one another."""
        tokens = "".join(token.text for token in said.tokens)
        return self.redact_completion(said) != said or self.redact(tokens) != tokens

    def __repr__(self) -> str:
        return "Secret([key])"

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be stored")


@dataclass(frozen=True)
class Guard:
    """Secrets for requests whose server and name of the key somebody else chose, as a visitor of the App does.

    A key goes to its own address alone: see :mod:`facevlm.backends.remote.bindings`. ``base_url`` is the server that
    was chosen, None for that of the model's service. With ``local`` any server of this machine or its network may be
    asked, but for those that tell a cloud's machines their secrets; else only those that the environment names.
    """

    source: Secrets
    base_url: str | None = None
    local: bool = False

    def __call__(self, name: str) -> str | None:
        """A key by its name, for whoever sends it to ``base_url`` or to an address of his own."""
        # Where several servers were chosen, a key that is for one of them may come to the others.
        urls = [] if self.base_url is None else services.addresses(self.base_url)
        return self.source(name) if all(name in bindings.names(url) for url in urls) else None

    def check(self, base_url: str) -> None:
        """Raise :class:`~facevlm.errors.ModelError` for a server that may not be asked."""
        host = urlsplit(base_url).hostname or ""
        nearby = self.local and services.is_local(host) and not services.is_of_a_cloud(host)
        if nearby or bindings.is_known(base_url):
            return
        raise ModelError(
            f"The App asks no server at {urlsplit(base_url).netloc}. Expected that of a service that facevlm knows, or "
            f"one that the environment of FiftyOne's process names: {bindings.KEYS}='NAME={base_url}' with the name of "
            f"its key, or {bindings.HOSTS}='{base_url}' for one that takes no key."
        )

    def names(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Names of the keys that may go to a server; none for one that takes no key.

        Raises :class:`~facevlm.errors.ModelError` for a server that may not be asked, or the key of another one.
        """
        self.check(endpoint.base_url)
        bound = bindings.names(endpoint.base_url)
        if endpoint.key_names == services.key_names(endpoint.base_url):
            return bound
        # One that was chosen by name.
        if strange := [name for name in endpoint.key_names if name not in bound]:
            raise ModelError(
                f"The key '{', '.join(strange)}' does not go to {endpoint.host}. From a form a key goes to its own "
                f"server alone: {', '.join(bound) or 'none is declared for this one'}. The environment of FiftyOne's "
                f"process declares others: {bindings.KEYS}='NAME={endpoint.base_url}'."
            )
        return endpoint.key_names


def find(endpoint: Endpoint, secrets: Secrets | None = None) -> Secret:
    """The key for a server: from the App's secrets, the environment, or the keyring if that package is installed.

    Raises :class:`~facevlm.errors.ModelError` that names where it was looked for; a local server needs none. With a
    :class:`Guard` only the keys of this very server are looked for.
    """
    if isinstance(secrets, Guard):
        secrets = replace(secrets, base_url=endpoint.base_url)
    names = secrets.names(endpoint) if isinstance(secrets, Guard) else endpoint.key_names
    for source in (secrets, os.environ.get, _from_keyring):
        value = next((key for name in names if (key := source(name))), None) if source else None
        if value:
            return Secret(_checked(value.strip(), endpoint))
    if endpoint.is_local or not names:
        return Secret(NO_KEY)
    raise ModelError(
        f"No key for {endpoint.host}. Set the environment variable {' or '.join(names)}, add a secret of that name to "
        f"FiftyOne, or store it once with: keyring set {KEYRING} {names[0]}"
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

"""What a visitor of the App may name: paths, files, addresses, secrets, code act with the rights of FiftyOne's process.

FiftyOne has no log-in, and a form is a suggestion: whoever reaches the App can send any parameter to any operator. So
every parameter of these kinds is read by :func:`told`, and nowhere else.

Secrets and code are guarded everywhere. Where the App listens on this machine alone, whoever reaches it may name
folders, files and servers of it, as the user could do by hand; elsewhere only what the environment names.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.core.session import session as sessions

from facevlm import arguments, reports
from facevlm.backends import adapters, cards, networks, schemes
from facevlm.backends.remote import services
from facevlm.backends.remote.keys import Guard
from facevlm.errors import FacevlmError, InputError
from facevlm.folders import ASSETS, file_name

APP, ALONE = "FACEVLM_APP", "local"
"""``local`` or ``shared``, where what is found out by itself is not right, as behind a proxy on the same machine."""
ROOTS, REPORTS, CODE = "FACEVLM_ROOTS", "FACEVLM_REPORTS", "FACEVLM_REMOTE_CODE"
SERVER = "fiftyone.server.app"
MOST_TEXT, MOST_WEIGHTS = 2**20, 2**30
"""Bytes of a file of texts, or of weights, at most."""
REVISION = re.compile(r"[\w./-]{1,120}")
BENEATH = (".", "..")
OPTION = "option_"
"""How parameters begin that are told to a reader of data sets, of which packages may add more."""


def is_alone() -> bool:
    """Whether the App listens on this machine alone, as far as can be known; else it counts as shared."""
    if said := os.environ.get(APP, "").strip().lower():
        return said == ALONE
    return all(_is_loopback(address) for address in _addresses())


def _addresses() -> list[str | None]:
    """Where the App listens: as this process was told if it is the App's server, else as FiftyOne is set."""
    usual = fo.config.default_app_address
    if SERVER not in sys.modules:
        return [usual, *(service.address or usual for service in sessions._server_services.values())]
    main, own = getattr(sys.modules["__main__"], "__file__", None), Path(fo.__file__).parent / "server" / "main.py"
    if main is None or Path(main).resolve() != own.resolve():
        # Another program serves the App: where, it alone knows.
        return [None]
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--address")
    return [parser.parse_known_args(sys.argv[1:])[0].address or usual]


def _is_loopback(address: str | None) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def told(ctx: foo.ExecutionContext, parameter: str) -> Any:
    """A parameter that acts with the rights of this process, checked; None where it was not given.

    Raises :class:`~facevlm.errors.FacevlmError` for what this visitor may not name.
    """
    check, value = GUARDED.get(parameter) or reader_option, ctx.params.get(parameter)
    return None if value is None or value == "" else check(value)


def admit(ctx: foo.ExecutionContext, refuse: Callable[[str], Any]) -> None:
    """Refuse a form with a parameter that may not be, whether or not the form shows it: a run may be handed on to
    another process, which does not know where the App listens."""
    if is_alone():
        return
    for parameter in (*GUARDED, *(name for name in ctx.params if name.startswith(OPTION))):
        try:
            told(ctx, parameter)
        except FacevlmError as error:
            refuse(str(error))
            return


def secrets(ctx: foo.ExecutionContext) -> Guard:
    """The App's secrets, each for its own server alone."""
    return Guard(ctx.secrets.get, told(ctx, "base_url"), local=is_alone())


def text(value: object, what: str = "a text") -> str:
    """A text without control characters.

    Raises :class:`~facevlm.errors.InputError` for any other value.
    """
    if not isinstance(value, str) or not value.isprintable():
        raise InputError(f"Got {type(value).__name__} of another form, expected {what}.")
    return value


def address(value: object) -> str:
    """A server that may be asked, or several."""
    urls = services.addresses(text(value, "an address such as http://localhost:8000/v1"))
    for url in urls:
        Guard(lambda _: None, local=is_alone()).check(url)
    return ",".join(urls)


def name(value: object) -> str:
    """A name that is looked up, as that of a key, of which the :class:`~facevlm.backends.remote.keys.Guard` decides."""
    return text(value, "a name").strip()


def model(value: object) -> str:
    """The name of a model; one that is a folder of this machine only where that may be named."""
    got = text(value, "the name of a model").strip()
    if got.startswith((cards.HUB, networks.PREFIX)):
        checkpoint(got)
    elif scheme := schemes.scheme_of(got):
        checkpoint(got.removeprefix(f"{scheme}:"))
    return got


def checkpoint(value: object) -> str:
    """An id of the hub, or a folder that may be named, of a checkpoint or a network."""
    got = text(value, "a checkpoint").strip()
    bare = got.removeprefix(cards.HUB).removeprefix(networks.PREFIX).strip()
    where = cards.location(bare)
    if where != bare:
        _inside(where, [ASSETS], got)
    elif _is_path(where) and not is_alone():
        _inside(where, roots(), got)
        # An adapter names the folder of another checkpoint.
        if (config := cards.adapter_config(where)) and _is_path(base := cards.location(adapters.read(config).base)):
            _inside(base, [*roots(), ASSETS], base)
    return got


def remote_code(value: object) -> bool:
    """Whether code of a checkpoint was asked for; see :func:`runs_code`."""
    arguments.check("trust_remote_code", value, bool)
    return bool(value)


def runs_code(ctx: foo.ExecutionContext, named: str) -> bool:
    """Whether the code that comes with a checkpoint is run: asked for, and the environment names the checkpoint.

    Raises :class:`~facevlm.errors.InputError` where it does not.
    """
    if not told(ctx, "trust_remote_code"):
        return False
    wanted, pinned = named.removeprefix(cards.HUB), told(ctx, "revision")
    # Anybody can propose a revision of a checkpoint of the hub, code included: that is named, too.
    shown = f"{wanted}@{pinned}" if pinned else wanted
    if shown in _listed(CODE, ","):
        return True
    raise InputError(
        f"The code that comes with '{shown}' is not run from a form. Read it, and name the checkpoint in the "
        f"environment of FiftyOne's process: {CODE}='{shown}'."
    )


def revision(value: object) -> str:
    """A revision of a checkpoint: a branch, a tag or a commit."""
    got = text(value, "a revision")
    if not REVISION.fullmatch(got) or ".." in got or got.startswith("/"):
        raise InputError("Got a revision of another form, expected a branch, a tag or a commit.")
    return got


def template(value: object) -> str:
    """The name of a template, or a file of them that may be read."""
    got = text(value, "the name of a template or a YAML file")
    path, _, _ = got.partition("#")
    if path.endswith((".yaml", ".yml")):
        _file(path, MOST_TEXT)
    return got


def weights(value: object) -> str:
    """A file of weights that may be read, or a checkpoint."""
    got = text(value, "a file of weights, or hf:ID-or-folder")
    if got.startswith(cards.HUB):
        return checkpoint(got)
    _file(got, MOST_WEIGHTS)
    return got


def _file(path: str, most: int) -> None:
    """Raise :class:`~facevlm.errors.InputError` for a file that may not be read, is none, or is too large."""
    if not is_alone():
        _inside(path, roots(), path)
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"Cannot read the file {path}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode) or found.st_size > most:
        raise InputError(f"Cannot read {path}: expected a plain file of {most:,} bytes at most.")


def report_folder(value: object) -> Path:
    """A folder to write a report to: a whole path where the App is alone, else one inside of the folder of reports."""
    got = Path(text(value, "a folder")).expanduser()
    if not is_alone():
        _inside(str(reports_root() / got), [reports_root()], str(value))
        return reports_root() / got
    if not got.is_absolute():
        raise InputError(f"Got the folder '{value}', expected a whole path such as '{reports_root() / 'report'}'.")
    return got


def data_folder(value: object) -> Path:
    """A folder or file to read a data set from, or to write its pictures to: a whole path that may be named."""
    got = Path(text(value, "a folder")).expanduser()
    if not is_alone():
        _inside(str(got), roots(), str(value))
    if not got.is_absolute():
        raise InputError(f"Got the folder '{value}', expected a whole path such as '{Path.home() / 'data'}'.")
    return got


def reader_option(value: object) -> Any:
    """What a reader of data sets is told; where it is a path, one that may be named."""
    if isinstance(value, (int, float)):
        return value
    got = text(value, "a text")
    if _is_path(got) and not is_alone():
        _inside(got, roots(), got)
    return got


def usual_folder(dataset: str) -> Path:
    """Where a report of a dataset goes unless a folder is named."""
    return reports_root() / f"{file_name(dataset)}-report"


def checked_folder(ctx: foo.ExecutionContext) -> Path:
    """The folder that a report is written to.

    Raises :class:`~facevlm.errors.InputError` for one that may not be named, or cannot be written to.
    """
    folder: Path = told(ctx, "folder") or report_folder(str(usual_folder(ctx.dataset.name)))
    reports.check_folder(folder)
    return folder


def reports_root() -> Path:
    """``FACEVLM_REPORTS``, or the folder ``facevlm-reports`` of the user."""
    own = os.environ.get(REPORTS)
    return Path(own).expanduser() if own else Path.home() / "facevlm-reports"


def roots() -> list[Path]:
    """The folders of ``FACEVLM_ROOTS``, in which a visitor of a shared App may name files."""
    return [Path(folder).expanduser() for folder in _listed(ROOTS, os.pathsep)]


def _listed(variable: str, mark: str) -> list[str]:
    return [entry.strip() for entry in os.environ.get(variable, "").split(mark) if entry.strip()]


def _is_path(name: str) -> bool:
    """Whether a checkpoint is a path rather than an id of the hub, which transformers tells apart by what is there."""
    return Path(name).is_absolute() or name.startswith((*BENEATH, "~")) or ".." in name or os.path.lexists(name)


def _inside(path: str, folders: list[Path], named: str) -> None:
    """Raise :class:`~facevlm.errors.InputError` for a path that leads out of all of these folders, by links, too.

    Whether there is something is not told.
    """
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(folder)) for folder in folders):
        raise InputError(
            f"'{named}' may not be named in this App, which others can reach. Expected a path inside of a folder that "
            f"the environment of FiftyOne's process names: {ROOTS} for files and checkpoints, {REPORTS} for reports."
        )


GUARDED: dict[str, Callable[[object], Any]] = {
    "base_url": address,
    "key_name": name,
    "template": template,
    "prices": template,
    "model": model,
    "checkpoint": checkpoint,
    "adapter": checkpoint,
    "grounding": model,
    "grounding_model": name,
    "api_model": name,
    "planner": model,
    "detector": name,
    "revision": revision,
    "trust_remote_code": remote_code,
    "weights": weights,
    "folder": report_folder,
    "data_folder": data_folder,
    "option_file": reader_option,
    "option_pictures": reader_option,
    "option_attributes_file": reader_option,
    "option_extract_to": data_folder,
}
"""Every parameter that names a path, a file, an address, a secret, a model or code, and what checks it."""

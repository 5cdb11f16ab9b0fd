"""The plugin of this library among those of FiftyOne: look for it, install it, take it out again.

It is installed as a link to what came with the library, so that both are always of one version.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import facevlm
from facevlm.errors import FacevlmError, InputError
from facevlm.store import plugins
from facevlm.tasks._verb import verb

NAME = "@facevlm/face-attributes"
FOLDER = "face-attributes"
"""In FiftyOne's folder of plugins; no name that Python could take for the library."""
DESCRIBED = "fiftyone.yml"
PARTS = (DESCRIBED, "__init__.py", "operators", "requirements.txt", "facevlm")
"""What of a folder makes the plugin; in a clone the library is among it."""
MARK = ".copied-by-facevlm"
REMOVED_BY = f"fiftyone plugins delete {NAME}"


@dataclass(frozen=True)
class PluginPlace:
    """A folder in which FiftyOne finds the plugin, of this version.

    ``how`` it came there: a ``link`` or a ``copy`` by :func:`install`, or a ``folder`` of somebody else's making.
    """

    path: Path
    leads_to: Path
    how: str
    version: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        return {"path": str(self.path), "leads_to": str(self.leads_to), "how": self.how, "version": self.version}


@dataclass(frozen=True)
class PluginStatus:
    """FiftyOne's folder of plugins, where the plugin is found below it, and ``source``, which came with this library.

    ``done`` says what was just done, if anything. Where there are several places, FiftyOne uses the first.
    """

    folder: Path
    source: Path
    places: tuple[PluginPlace, ...]
    enabled: bool
    done: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether FiftyOne shows the plugin of this library."""
        return self.enabled and bool(self.places) and is_of_here(self.places[0], self.source)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        return {
            "folder": str(self.folder),
            "source": str(self.source),
            "places": [place.to_dict() for place in self.places],
            "enabled": self.enabled,
            "installed": self.installed,
            "done": list(self.done),
        }


def is_of_here(place: PluginPlace, source: Path) -> bool:
    """Whether a place leads to what came with this library, or is a copy of it of the same version."""
    return place.leads_to == source or (place.how == "copy" and place.version == facevlm.__version__)


@verb
def status() -> PluginStatus:
    """Whether FiftyOne finds the plugin, and which.

    Raises:
        FacevlmError: where this library came without its plugin.
    """
    return _status()


@verb
def install(*, replace: bool = False) -> PluginStatus:
    """Link the plugin into FiftyOne's folder of plugins, which is made if it is not there.

    Where links cannot be made it is copied. A plugin that is there already stays, unless it is a copy made here or a
    link that leads nowhere.

    Args:
        replace: take out a link that leads to another copy of the plugin.

    Raises:
        InputError: where something is in the way, saying what it is.
    """
    source, done = _source(), []
    for place in _places():
        if place.leads_to == source:
            return _status()
        done.append(_make_way(place, replace))
    target = plugins.folder() / FOLDER
    if target.is_symlink() and not target.exists():
        done.append(f"Removed the link {target}, which led nowhere.")
        target.unlink()
    if target.exists():
        raise InputError(f"{target} is there and holds no plugin named {NAME}. It stays; move it, and install again.")
    done.append(_put(source, target))
    return _status(*done)


@verb
def uninstall() -> PluginStatus:
    """Take the plugin out of FiftyOne's folder of plugins, where it is a link or a copy made by :func:`install`.

    Raises:
        InputError: where it is a folder that somebody else made.
    """
    places = _places()
    for place in places:
        if place.how == "folder":
            raise InputError(f"{place.path} was not made by this command, and stays. {_by_hand(place)}")
    return _status(*[_take_out(place) for place in places])


def is_installed() -> bool:
    """Whether FiftyOne shows any copy of the plugin."""
    return plugins.is_enabled(NAME)


def _status(*done: str) -> PluginStatus:
    return PluginStatus(plugins.folder(), _source(), tuple(_places()), plugins.is_enabled(NAME), done)


def _source() -> Path:
    """The folder of the plugin: within the installed library, or the clone around it."""
    package = Path(facevlm.__file__).resolve().parent
    for folder in (package / "_plugin", package.parent):
        if _described(folder).get("name") == NAME:
            return folder
    raise FacevlmError(
        f"The library in {package} came without its plugin. Install facevlm again, from a wheel or clone."
    )


def _described(folder: Path) -> dict[str, Any]:
    try:
        told = yaml.safe_load((folder / DESCRIBED).read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError):
        return {}
    return told if isinstance(told, dict) else {}


def _places() -> list[PluginPlace]:
    return [_place(path) for path in plugins.places(NAME)]


def _place(path: Path) -> PluginPlace:
    how = "link" if path.is_symlink() else "copy" if (path / MARK).is_file() else "folder"
    return PluginPlace(path, path.resolve(), how, str(_described(path).get("version", "unknown")))


def _make_way(place: PluginPlace, replace: bool) -> str:
    if place.how == "folder":
        raise InputError(
            f"FiftyOne has the plugin already, version {place.version}, in {place.path}. {_by_hand(place)}"
        )
    if place.how == "link" and not replace:
        raise InputError(
            f"FiftyOne has the plugin already: {place.path} is a link to {place.leads_to}, version {place.version}. "
            "Take it out first: facevlm plugin uninstall; or install with --replace (replace=True)."
        )
    return _take_out(place)


def _by_hand(place: PluginPlace) -> str:
    if place.path == plugins.folder():
        return "It is FiftyOne's folder of plugins itself: unset FIFTYONE_PLUGINS_DIR."
    return f"Remove it by: {REMOVED_BY}"


def _take_out(place: PluginPlace) -> str:
    try:
        place.path.unlink() if place.how == "link" else shutil.rmtree(place.path)
    except OSError as error:
        raise InputError(f"Cannot remove {place.path}: {error.strerror}.") from error
    return f"Removed the {place.how} {place.path}" + (
        f", which led to {place.leads_to}." * (place.how == "link") or "."
    )


def _put(source: Path, target: Path) -> str:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return _link_or_copy(source, target)
    except OSError as error:
        raise InputError(f"Cannot write to FiftyOne's folder of plugins, {target.parent}: {error.strerror}.") from error


def _link_or_copy(source: Path, target: Path) -> str:
    try:
        os.symlink(source, target, target_is_directory=True)
    except OSError:
        if not os.access(target.parent, os.W_OK):
            raise
        # As on file systems without links, and for users of Windows who may make none.
        _copy(source, target)
        return f"Copied {source} to {target}. After an update of facevlm, install the plugin again."
    return f"Linked {target} to {source}."


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    (target / MARK).touch()
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif (source / part).is_file():
            shutil.copy(source / part, target / part)

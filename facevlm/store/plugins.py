"""The plugins that FiftyOne finds, and the folder in which it looks for them."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
import fiftyone.plugins as fop


def folder() -> Path:
    """Where FiftyOne looks for plugins, which need not be there yet."""
    return Path(fo.config.plugins_dir)


def places(name: str) -> list[Path]:
    """The folders in which FiftyOne finds a plugin of this name; that which it uses comes first."""
    found = [p for p in fop.list_plugins(enabled="all") if p.name == name]
    return [Path(path) for plugin in found for path in (plugin.directory, *(plugin.shadow_paths or ()))]


def is_enabled(name: str) -> bool:
    """Whether FiftyOne uses the plugin; one that is not there is not."""
    return any(p.name == name for p in fop.list_plugins(enabled=True))

"""facevlm plugin: the plugin of this library in FiftyOne's App."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from facevlm.cli import _options

if TYPE_CHECKING:
    from facevlm.tasks.plugin import PluginPlace, PluginStatus


def add(commands: Any) -> None:
    command = commands.add_parser(
        "plugin",
        help="install the plugin into FiftyOne, look whether it is there, or take it out",
        description="Links the plugin that came with this library into FiftyOne's folder of plugins ('fiftyone config "
        "plugins_dir'), or copies it where links cannot be made. What somebody else put there stays.",
    )
    command.add_argument("action", choices=("install", "status", "uninstall"))
    command.add_argument(
        "--replace", action="store_true", help="with install, take out a link that leads to another copy of the plugin"
    )
    _options.add_json(command, "what is where")
    command.set_defaults(run=_plugin)


def _plugin(args: argparse.Namespace) -> int:
    from facevlm.tasks import plugin

    _options.check_json(args.json)
    actions = {"install": lambda: plugin.install(replace=args.replace), "uninstall": plugin.uninstall}
    status = actions.get(args.action, plugin.status)()
    _print_status(status)
    _options.write_json(args.json, status.to_dict())
    return int(args.action == "install" and not status.installed)


def _print_status(status: PluginStatus) -> None:
    for done in status.done:
        print(done)
    if not status.places:
        print(f"FiftyOne finds no plugin of facevlm in {status.folder}. Install it: facevlm plugin install")
        return
    for number, place in enumerate(status.places):
        print(("FiftyOne also finds" if number else "FiftyOne finds the plugin in") + f" {_told(place)}")
    if not status.enabled:
        print("It is disabled. Enable it: fiftyone plugins enable @facevlm/face-attributes")
    elif not status.installed:
        print(f"That is not the plugin of this library, which is in {status.source}.")


def _told(place: PluginPlace) -> str:
    links = f", a link to {place.leads_to}" if place.how == "link" else ", a copy" * (place.how == "copy")
    return f"{place.path} (version {place.version}{links})"

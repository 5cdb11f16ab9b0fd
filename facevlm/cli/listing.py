"""facevlm models and facevlm attributes: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tabulate import tabulate

from facevlm import doors
from facevlm.attributes import SETS, load, origin, shipped
from facevlm.backends import cards, families, schemes
from facevlm.backends.options import MAX_SIDE
from facevlm.backends.remote import services
from facevlm.cli import _options


def add(commands: Any) -> None:
    models = commands.add_parser("models", help="list the models that can be asked for by name")
    models.set_defaults(run=_models)
    listing = commands.add_parser("attributes", help="list attributes, their labels, and the maps between label sets")
    listing.add_argument("--attributes-file", type=Path, metavar="YAML", help="add attributes of your own")
    listing.set_defaults(run=_attributes)


def _models(args: argparse.Namespace) -> None:
    rows = []
    for card in cards.shipped().values():
        family = card.family()
        asked = ", ".join(card.questions) or ("any" if family.zero_shot else "those it is tuned for")
        count = len(set(card.checkpoints.values()))
        size = f"{count} x " * (count > 1) + _amount(card.parameters)
        gated = f"{card.licence}; gated" if card.gated else card.licence
        fetch = f"{f'{count} x ' * (count > 1)}{card.download:g} GB"
        state = "here" if card.is_here() else f"not here, {fetch} to download"
        rows.append([card.name, card.title, asked, size, f"{card.memory():.3g} GB", gated, doors.OWN, state])
    header = ["model", "what it is", "attributes", "parameters", "memory, bf16", "licence", "from", "weights"]
    print(tabulate(rows, header, maxcolwidths=[12, 26, 20, 10, 8, 30, 12, 16]))
    print(f"\nhf:ID-or-folder takes any checkpoint of these families: {'; '.join(families.titles())}.")
    print("Memory is that of the weights in bfloat16, twice that in float32; batches come on top.\n")
    print(tabulate(_hosted(), ["model behind an API", "what it is", "server", "key", "from", "picture, px"]))
    print("\nopenai:MODEL takes any model; --base-url names another server, such as vLLM or Ollama on this machine.")
    if added := [[f"{scheme}:MODEL", addition.origin] for scheme, addition in schemes.added().items()]:
        print(f"\n{tabulate(added, ['models by scheme', 'from'])}")


def _hosted() -> list[list[Any]]:
    rows = []
    for name, preset in services.presets().items():
        endpoint = services.endpoint(name)
        keys = " or ".join(endpoint.key_names)
        rows.append([name, preset.title, endpoint.host, keys, services.origin(name), endpoint.max_side or MAX_SIDE])
    return rows


def _amount(number: float) -> str:
    return f"{number / 1e9:.1f} B" if number >= 1e9 else f"{number / 1e6:.3g} M"


def _attributes(args: argparse.Namespace) -> None:
    registry = _options.registry(args.attributes_file)
    rows = [
        [a.name, a.title, a.kind, ", ".join(a.labels), a.question, origin(a.name) or str(args.attributes_file)]
        for a in registry.attributes.values()
    ]
    header = ["attribute", "title", "kind", "labels", "question", "from"]
    print(tabulate(rows, header, maxcolwidths=[12, 24, 8, 44, 30, 12]))
    print("\nMaps between label sets, many to one (labels that are not named stay as they are):")
    for label_map in registry.maps.values():
        changed = ", ".join(f"{k} -> {v}" for k, v in label_map.labels.items() if k != v) or "every label as it is"
        print(f"  {label_map.source} -> {label_map.target}: {changed}")
    for name, edges in registry.years.items():
        ends = f", the last ends before {edges[-1]:g}" if len(edges) > len(registry.get(name).labels) else ""
        begins = ", ".join(f"{edge:g}" for edge, _ in zip(edges, registry.get(name).labels, strict=False))
        print(f"  age in years -> {name}: groups begin at {begins}{ends}")
    print("No map, on purpose:")
    for (source, target), why in registry.undefined.items():
        print(f"  {source} -> {target}: {why}")
    print("Sets of more attributes, added by --attributes-file:")
    for name in SETS:
        more = [a for a in load(name).attributes if a not in shipped().attributes]
        print(f"  {name}: {', '.join(more)}")

"""facevlm models and facevlm attributes: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tabulate import tabulate

from facevlm import doors
from facevlm.attributes import SETS, load, origin, shipped
from facevlm.backends import cards, families, networks, schemes
from facevlm.backends.options import MAX_SIDE
from facevlm.backends.remote import services
from facevlm.cli import _options


def add(commands: Any) -> None:
    models = commands.add_parser("models", help="list the models that can be asked for by name, or look at one")
    models.add_argument(
        "model", nargs="?", help="a name, hf:ID-or-folder, or a folder: its card, and whether its files fit together"
    )
    _options.add_json(models, "what is listed")
    models.set_defaults(run=_models)
    listing = commands.add_parser("attributes", help="list attributes, their labels, and the maps between label sets")
    listing.add_argument("--attributes-file", type=Path, metavar="YAML", help="add attributes of your own")
    _options.add_json(listing, "what is listed")
    listing.set_defaults(run=_attributes)


def _models(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    if args.model:
        rows = _one_model(args.model)
        print(tabulate(rows, tablefmt="plain"))
        _options.write_json(args.json, dict(rows))
        return
    _print_models()
    here = {name: {"title": c.title, "licence": c.licence, "here": c.is_here()} for name, c in cards.shipped().items()}
    away = {name: {"title": title, "server": host} for name, title, host, *_ in _hosted()}
    _options.write_json(args.json, {"models": here, "models behind an API": away})


def _print_models() -> None:
    rows = []
    for card in cards.shipped().values():
        asked = ", ".join(card.questions) or ("any" if card.is_asked_freely() else "those it is tuned for")
        count = len(set(card.checkpoints.values()))
        size = f"{count} x " * (count > 1) + _amount(card.parameters)
        gated = f"{card.licence}; gated" if card.gated else card.licence
        fetch = f"{f'{count} x ' * (count > 1)}{card.download:g} GB"
        state = "here" if card.is_here() else f"not here, {fetch} to download"
        rows.append([card.name, card.title, asked, size, f"{card.memory():.3g} GB", gated, doors.OWN, state])
    header = ["model", "what it is", "attributes", "parameters", "memory, bf16", "licence", "from", "weights"]
    print(tabulate(rows, header, maxcolwidths=[12, 26, 20, 10, 8, 30, 12, 16]))
    print(f"\nhf:ID-or-folder takes any checkpoint of these families: {'; '.join(families.titles())}.")
    print("So it does a LoRA adapter of PEFT, on the base that it names; --adapter puts one on another model.")
    print("onnx:FOLDER takes a plain network beside its card, to compare with: see docs/models.md.")
    print("Memory is that of the weights in bfloat16, twice that in float32; batches come on top.\n")
    print(tabulate(_hosted(), ["model behind an API", "what it is", "server", "key", "from", "picture, px"]))
    print("\nopenai:MODEL takes any model; --base-url names another server, such as vLLM or Ollama on this machine.")
    if added := [[f"{scheme}:MODEL", addition.origin] for scheme, addition in schemes.added().items()]:
        print(f"\n{tabulate(added, ['models by scheme', 'from'])}")


def _one_model(name: str) -> list[list[str]]:
    """What is known of one model without loading it; a folder's files are looked at."""
    prefix = networks.PREFIX if networks.is_network(Path(name)) else cards.HUB
    card = cards.find(f"{prefix}{name}" if Path(name).is_dir() else name)
    card.check_here()
    family = card.family() if card.is_checkpoint else None
    asked = ", ".join(card.questions) or ("any attribute" if card.is_asked_freely() else "those it is tuned for")
    rows = [["model", card.name], ["what it is", card.title], ["licence", card.licence]]
    rows += [["adapter of", card.checkpoint(cards.ANY)]] if card.adapter else []
    rows += [["family", family.title]] if family else []
    rows += [["asked for", asked], ["here", "yes" if card.is_here() else "no"]]
    return rows


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
    _options.check_json(args.json)
    registry = _options.registry(args.attributes_file)
    _options.write_json(
        args.json,
        {a.name: {"title": a.title, "kind": a.kind, "labels": a.labels} for a in registry.attributes.values()},
    )
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

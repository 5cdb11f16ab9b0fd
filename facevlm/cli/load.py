"""facevlm load: a data set on disk as a FiftyOne dataset."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

import facevlm
from facevlm.cli import _options, check
from facevlm.datasets import catalog
from facevlm.errors import InputError
from facevlm.evaluation.evaluate import to_plain

COMPOSED = "diversefaces"
STOPPED = "A dataset is there, and replaces another, only once all of it is read."
OPEN_APP = "Open the App on it: fiftyone app launch {0}"


def add(commands: Any) -> None:
    load = commands.add_parser(
        "load",
        help="make a FiftyOne dataset of a data set on disk",
        description="Reads FairFace, UTKFace, AffectNet and others (--list) as they are downloaded, or a table or "
        "folders of your own. Pictures stay where they are; rows that cannot be used are reported and skipped. With "
        "--from it "
        "composes DiverseFaces, pictures of several people in a row, from a dataset with one face per picture.",
    )
    load.add_argument("data", nargs="?", metavar="NAME", help="such as fairface; see --list")
    load.add_argument(
        "folder", nargs="?", metavar="FOLDER", help="where it lies; with --from, a new folder to write to"
    )
    load.add_argument("--list", action="store_true", help="list what can be read, where it is to be had, its licence")
    load.add_argument("--split", help="this split only, such as val")
    load.add_argument("--name", metavar="DATASET", help="of the FiftyOne dataset (default: NAME, or NAME-SPLIT)")
    load.add_argument("--limit", type=int, metavar="N", help="the first N pictures at most")
    load.add_argument("--overwrite", action="store_true", help="replace a FiftyOne dataset of that name")
    load.add_argument("--check", action="store_true", help="then look for faults, as 'facevlm check' does")
    load.add_argument(
        "--option",
        type=_options.pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the reader; see --list",
    )
    _options.add_json(load, "counts, or the list,")
    _add_composing(load.add_argument_group(f"composing {COMPOSED}"))
    load.set_defaults(run=_load, stopped=STOPPED)


def _add_composing(group: Any) -> None:
    group.add_argument("--from", dest="source", metavar="DATASET", help="a FiftyOne dataset with one face per picture")
    group.add_argument("--view", help="only the samples of this saved view of it")
    group.add_argument("--people", type=int, default=4, help="people in a picture (default: 4)")
    group.add_argument("--pictures", type=int, help="pictures at most (default: everybody is used once)")
    group.add_argument("--seed", type=int, default=0, help="decides who stands where (default: 0)")
    group.add_argument("--height", type=int, default=224, help="of the pictures, in pixels (default: 224)")
    group.add_argument("--remove-background", choices=["rembg"], help="by this package, which has to be installed")


def _load(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    if args.list:
        _print_list()
        _options.write_json(args.json, {r.card.name: to_plain(vars(r.card)) for r in catalog.readers().values()})
        return
    if not args.data or not args.folder:
        raise InputError("Got no data set and folder, expected both: facevlm load NAME FOLDER. --list shows the names.")
    dataset = _compose(args) if args.source else _read(args)
    _print_loaded(dataset.name, dataset.info["facevlm"])
    if args.check:
        check.show(facevlm.check(dataset, progress=_options.seen()))
    _options.write_json(args.json, {"dataset": dataset.name, **to_plain(dataset.info["facevlm"])})


def _read(args: argparse.Namespace) -> Any:
    # Imported here: it loads FiftyOne, which listing has no need of.
    from facevlm.tasks import load as load_task

    return load_task.load(
        args.data,
        args.folder,
        split=args.split,
        dataset_name=args.name,
        limit=args.limit,
        overwrite=args.overwrite,
        progress=True,
        **dict(args.option),
    )


def _compose(args: argparse.Namespace) -> Any:
    from facevlm.store import database
    from facevlm.tasks import load as load_task

    if args.data != COMPOSED:
        raise InputError(
            f"--from composes {COMPOSED}, got '{args.data}': facevlm load {COMPOSED} FOLDER --from DATASET."
        )
    return load_task.build_diversefaces(
        database.load_target(args.source, args.view),
        args.folder,
        per_picture=args.people,
        seed=args.seed,
        pictures=args.pictures,
        height=args.height,
        remove_background=args.remove_background,
        dataset_name=args.name or COMPOSED,
        overwrite=args.overwrite,
    )


def _print_loaded(name: str, info: Mapping[str, Any]) -> None:
    counts, skipped = info["counts"], info["skipped"]
    boxes = f", {counts['faces']} faces with boxes" if counts["faces"] else ""
    print(f"Dataset '{name}': {counts['samples']} pictures{boxes}. {info['source']}, licence: {info['licence']}.")
    if counts["splits"]:
        print(f"Splits: {', '.join(f'{split} {count}' for split, count in counts['splits'].items())}")
    rows = [
        [field, info["attributes"].get(field, ""), ", ".join(f"{label} {count}" for label, count in found.items())]
        for field, found in counts["labels"].items()
    ]
    if rows:
        print(tabulate(rows, ["field", "attribute", "labels"], maxcolwidths=[24, 24, 80]))
    if counts["ages"]["count"]:
        ages = counts["ages"]
        print(f"age in years: {ages['count']}, from {ages['youngest']:g} to {ages['oldest']:g}")
    _options.print_left_out(skipped, "row", "dataset.info['facevlm']['skipped']['rows']")
    print("Labels are perceived or apparent, not facts about persons.")
    print(OPEN_APP.format(name))


def _print_list() -> None:
    for reader in catalog.readers().values():
        card, options = reader.card, catalog.options(reader)
        fields = [f"{field} ({attribute})" for field, attribute in card.attributes.items()]
        print(f"{card.name}: {card.title}. {card.url}. Licence: {card.licence}.")
        print(f"    holds    {card.layout}")
        print(f"    gives    {', '.join([*fields, *([card.also] if card.also else [])])}")
        if card.splits:
            print(f"    splits   {', '.join(card.splits)}")
        if options:
            print(f"    options  {', '.join(f'{name}={default}' for name, default in options.items())}")
        print(f"    from     {catalog.origin(card.name)}")

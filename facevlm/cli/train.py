"""facevlm train: tune a model on labelled faces."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm.cli import _options
from facevlm.training import recipes
from facevlm.training.output import GROUP_HEADER, group_rows

if TYPE_CHECKING:
    from facevlm.tasks.train import TrainPlan, TrainResult

STOPPED = "What was learnt up to the last save is kept; the same command goes on from there."


def add(commands: Any) -> None:
    command = commands.add_parser(
        "train",
        help="tune a model on labelled faces",
        description="Tunes a model into a folder that 'facevlm apply' opens as the model hf:FOLDER, with a model card, "
        "and prints how it does before and after for each group, on faces that were not learnt from. Run again after a "
        "kill, it goes on from its last save.",
        epilog="Recipes: " + "; ".join(f"{name}: {found.source}" for name, found in recipes.RECIPES.items()) + ".",
    )
    command.add_argument("dataset", help="name of a FiftyOne dataset with true labels")
    command.add_argument("--view", help="only the samples of this saved view")
    command.add_argument("--base", required=True, help="the model to tune, see 'facevlm models', or hf:ID-or-folder")
    command.add_argument("--attributes", type=_options.names, default=[], help="comma-separated, such as gender,age5")
    command.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="to make, or to go on with")
    command.add_argument(
        "--truth", type=_options.pair, action="append", default=[], metavar="ATTRIBUTE=FIELD", help="true labels"
    )
    command.add_argument("--faces", metavar="FIELD", help="learn every face in these Detections (default: pictures)")
    command.add_argument("--margin", type=float, help="around a face, as a share of its box (default: the base's)")
    command.add_argument("--groups", type=_options.names, default=[], help="fields to report by")
    command.add_argument(
        "--method", choices=recipes.METHODS, default=recipes.FULL, help="what is tuned (default: full)"
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="print counts, memory and time, and examples as the model sees them; nothing is learnt or written",
    )
    _add_numbers(command.add_argument_group("how it is learnt"))
    _add_faces(command.add_argument_group("which faces"))
    _add_machine(command.add_argument_group("on what"))
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    command.set_defaults(run=_train, stopped=STOPPED)


def _add_numbers(group: Any) -> None:
    group.add_argument("--recipe", choices=list(recipes.RECIPES), help="numbers by name (default: the method's)")
    group.add_argument("--epochs", type=float, help="how often every face is shown")
    group.add_argument("--batch", type=int, help="faces shown together")
    group.add_argument("--accumulate", type=int, help="batches to a step")
    group.add_argument("--learning-rate", type=float, help="of all parts")
    group.add_argument("--label-smoothing", type=float, help="share of an answer's weight for all others, 0 to 0.2")
    group.add_argument("--rank", type=int, help="of low-rank adapters")
    group.add_argument("--alpha", type=int, help="by which they are scaled, over their rank")
    group.add_argument("--patience", type=int, help="epochs without a better figure that end the run (default: 3)")
    group.add_argument(
        "--objective", choices=recipes.OBJECTIVES, help="the answer among all texts, or the label among all labels"
    )
    group.add_argument("--class-weights", action="store_true", default=None, help="rare labels count more")
    group.add_argument(
        "--no-augment", dest="augment", action="store_false", default=None, help="show pictures as they are"
    )
    group.add_argument(
        "--prompt", type=_options.pair, action="append", default=[], metavar="ATTRIBUTE=TEXT", help="another wording"
    )
    group.add_argument("--merge", action="store_true", default=None, help="with lora: write a whole checkpoint")
    group.add_argument("--seed", type=int, help="of splits, order and augmentation (default: 0)")


def _add_faces(group: Any) -> None:
    group.add_argument("--validation", type=float, metavar="SHARE", help="faces that choose the epoch (default: 0.15)")
    group.add_argument("--test", type=float, metavar="SHARE", help="faces that judge, 0 for none (default: 0.15)")
    group.add_argument(
        "--split",
        dest="splits",
        type=_options.pair,
        action="append",
        default=[],
        metavar="PART=TAG",
        help="in place of shares, such as train=train, validation=val, test=test",
    )
    group.add_argument("--subject", metavar="FIELD", help="faces of one person, who is then in one part alone")
    group.add_argument("--balance", choices=recipes.BALANCES, help="show labels, or labels in groups, equally often")


def _add_machine(group: Any) -> None:
    group.add_argument("--device", help="such as cuda or cpu (default: the first there is)")
    group.add_argument("--revision", help="of the base on the hub")
    group.add_argument("--trust-remote-code", action="store_true", default=None, help="run the base's own code")
    group.add_argument(
        "--mixed-precision", action="store_true", default=None, help="multiply in bfloat16 (default: on a GPU)"
    )
    group.add_argument("--checkpointing", action="store_true", default=None, help="less memory, a third more time")
    group.add_argument("--save-steps", type=int, help="steps between two saves (default: an epoch)")
    group.add_argument("--workers", type=int, help="processes that read pictures")


TOLD = (
    *("recipe", "epochs", "batch", "accumulate", "learning_rate", "label_smoothing", "rank", "alpha", "patience"),
    *("objective", "class_weights", "augment", "merge", "seed", "validation", "test", "subject", "balance"),
    *("device", "revision", "trust_remote_code", "mixed_precision", "checkpointing", "save_steps", "workers"),
)


def _train(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    told: dict[str, Any] = {name: getattr(args, name) for name in TOLD}
    told |= {"prompts": dict(args.prompt) or None, "splits": dict(args.splits) or None}
    target = facevlm.sources.load(args.dataset, args.view)
    given: dict[str, Any] = {
        "out": args.out,
        "truth": dict(args.truth),
        "faces": args.faces,
        "groups": args.groups,
        "method": args.method,
        "crop": None if args.margin is None else facevlm.Crop(margin=args.margin),
        "registry": _options.registry(args.attributes_file),
        **told,
    }
    if args.dry_run:
        # Imported where it is wanted: it takes seconds to load what knows FiftyOne.
        from facevlm.tasks.train import plan

        print_plan(plan(target, args.base, args.attributes, **given))
        return
    result = facevlm.train(target, args.base, args.attributes, **given)
    print_trained(result)
    if args.json:
        _options.write_json(args.json, result.to_dict())


def print_plan(plan: TrainPlan) -> None:
    """Counts and costs first, which need no model; then examples, for which the base is loaded."""
    _print_counts(plan.counts, plan.left_out)
    for name, groups in plan.by_group.items():
        print(f"To learn from by {name}: " + ", ".join(f"{group} {n:,}" for group, n in sorted(groups.items())))
    recipe = plan.recipe
    print(f"Method {plan.method}; {recipe.title}: {recipe.source}")
    print(plan.budget().told)
    for example, attribute, page in plan.pages():
        print(f"{Path(example.face.filepath).name}, {attribute}\n{page.told}")


def _print_counts(counts: Any, left_out: Any) -> None:
    parts = list(counts)
    rows = [
        [attribute, label, *(counts[part][attribute][label] for part in parts)]
        for attribute, labels in counts[parts[0]].items()
        for label in labels
    ]
    print(tabulate(rows, ["attribute", "label", *parts]))
    left = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    print(f"Left out: {left or 'none'}")


def print_trained(result: TrainResult) -> None:
    _print_counts(result.counts, result.left_out)
    for one in result.judged:
        print(f"\n{one.after.attribute}, per cent")
        print(tabulate(group_rows(one), GROUP_HEADER, disable_numparse=True))
        if one.pair is not None and one.pair.p_value is not None:
            print(
                f"Right only after: {one.pair.only_a}, only before: {one.pair.only_b}; "
                f"McNemar's p = {one.pair.p_value:.2g}"
            )
    for warning in result.warnings:
        print(f"Warning: {warning}")
    print(f"\n{result.steps} steps, of which {result.best_step} is kept. Model card: {Path(result.out) / 'README.md'}")
    print(f"To use it: facevlm apply DATASET --model {result.model}")

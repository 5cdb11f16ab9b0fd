"""The command line: facevlm demo | predict | evaluate | report | compare | probe | models | attributes."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

import facevlm
from facevlm import attributes as attribute_registry
from facevlm import report
from facevlm.backends import ATTENTION, COMPILE, DECODES, QUANTIZE, Options, cards, families
from facevlm.errors import FacevlmError, InputError
from facevlm.types import OUTCOMES
from facevlm.uncertainty import DRAWS

if TYPE_CHECKING:
    from facevlm.api import ApplyResult, EvaluationResult
    from facevlm.probing import AttributeProbe

DEMO_ATTRIBUTES = ("gender", "age5", "race5", "emotion7")
SHOWN = 20
OPEN_APP = "Open the App on it: make app DATASET={0}, or: fiftyone app launch {0}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for a failure, 2 for bad input, 130 when stopped."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except InputError as error:
        print(f"facevlm: {error}", file=sys.stderr)
        return 2
    except FacevlmError as error:
        print(f"facevlm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("facevlm: stopped. What was answered is kept; the same command goes on from there.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The argument parser of all commands."""
    top = argparse.ArgumentParser(
        prog="facevlm",
        description="Perceived face attributes by vision-language models, in FiftyOne, evaluated against ground truth.",
        epilog="Labels say what a model perceives in a picture, not what a person is.",
    )
    top.add_argument("--version", action="version", version=f"facevlm {facevlm.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_report(commands)
    _add_compare(commands)
    _add_probe(commands)
    models = commands.add_parser("models", help="list the models that can be asked for by name")
    models.set_defaults(run=_models)
    listing = commands.add_parser("attributes", help="list attributes, their labels, and the maps between label sets")
    listing.add_argument("--attributes-file", type=Path, metavar="YAML", help="add attributes of your own")
    listing.set_defaults(run=_attributes)
    return top


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="label the shipped sample faces with the shipped model and evaluate",
        description="Builds a FiftyOne dataset of the shipped sample faces, labels them with the shipped demo model, "
        "and evaluates against ground truth. With --images it labels your own pictures instead; there is then nothing "
        "to evaluate.",
    )
    demo.add_argument(
        "--images", type=Path, metavar="FOLDER", help="label the pictures in this folder and below instead"
    )
    demo.set_defaults(run=_demo)


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="apply a model to a FiftyOne dataset",
        description="Predicts perceived attributes of the face in every picture and stores them as label fields "
        "PREFIX_ATTRIBUTE. Run again, it asks only what has no answer yet.",
    )
    _add_question(predict)
    predict.add_argument("--prefix", help="fields are named PREFIX_ATTRIBUTE (default: the model's short name)")
    predict.add_argument("--batch-size", type=int, help="pictures per forward pass (default: what fits)")
    predict.add_argument("--threads", type=int, help="decoding threads (default: one per core)")
    predict.add_argument("--overwrite", action="store_true", help="ask every face again")
    predict.add_argument(
        "--separate", action="store_true", help="one prompt per attribute even if the model has a shared one"
    )
    predict.add_argument(
        "--decode", default="score", choices=DECODES, help="exact label probabilities, or free text (default: score)"
    )
    _add_loading(predict)
    predict.set_defaults(run=_predict)


def _add_probe(commands: Any) -> None:
    probe = commands.add_parser(
        "probe",
        help="tally what a model really answers, and propose answer strings",
        description="Asks a model freely about some faces of a dataset and prints every string it answers with, the "
        "label it is read as or might be read as, and how much probability lies on the labels. Nothing is stored.",
    )
    _add_question(probe)
    probe.add_argument("--faces", type=int, default=50, help="how many, drawn at random (default: 50)")
    probe.add_argument("--seed", type=int, default=0, help="of the drawing (default: 0)")
    probe.add_argument("--batch-size", type=int, default=16, help="pictures per forward pass (default: 16)")
    probe.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file")
    _add_loading(probe)
    probe.set_defaults(run=_probe)


def _add_question(command: Any) -> None:
    """Which faces, which model, which attributes, in which words."""
    command.add_argument("dataset", help="name of a FiftyOne dataset; with --images, of the dataset to make")
    command.add_argument(
        "--images", type=Path, metavar="FOLDER", help="make the dataset of the pictures in this folder first"
    )
    command.add_argument("--view", help="only the samples of this saved view")
    command.add_argument("--model", default="demo", help="see 'facevlm models' (default: demo)")
    command.add_argument(
        "--attributes", type=_names, default=[], help="comma-separated, such as gender,age5; see 'facevlm attributes'"
    )
    command.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    command.add_argument(
        "--prompt", type=_pair, action="append", default=[], metavar="ATTRIBUTE=TEXT", help="another wording"
    )


def _add_loading(command: Any) -> None:
    """Options of everything that loads a model."""
    command.add_argument("--device", help="such as cuda, mps, cpu (default: the first that is there)")
    command.add_argument("--dtype", help="float32, bfloat16 or float16 (default: float32 on CPU, else bfloat16)")
    command.add_argument("--revision", help="revision of the checkpoint on the hub")
    command.add_argument("--quantize", choices=QUANTIZE, help="weights in 8 or 4 bits, by bitsandbytes")
    command.add_argument("--attention", choices=ATTENTION, help="attention kernels (default: transformers' choice)")
    command.add_argument("--compile", choices=COMPILE, help="mode of torch.compile (default: off)")
    command.add_argument(
        "--memory-gb", type=float, help="GiB for all checkpoints of a model together (default: what is free)"
    )
    command.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the checkpoint")


def _loading(args: argparse.Namespace) -> dict[str, Any]:
    names = ("device", "dtype", "revision", "quantize", "attention", "compile", "memory_gb", "trust_remote_code")
    return {name: getattr(args, name) for name in names}


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="compare predictions with ground truth",
        description="Prints accuracy, macro precision, recall and F1 with n, coverage and 95 % intervals, overall, "
        "per class and per group, and stores each attribute as a FiftyOne evaluation with a saved view of its errors.",
    )
    evaluate.add_argument("dataset", help="name of a FiftyOne dataset")
    evaluate.add_argument("--view", help="only the samples of this saved view")
    evaluate.add_argument("--prefix", default="demo", help="field prefix of the predictions (default: demo)")
    evaluate.add_argument(
        "--attributes", type=_names, default=None, help="comma-separated (default: all that can be evaluated)"
    )
    evaluate.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    evaluate.add_argument(
        "--truth", type=_pair, action="append", default=[], metavar="ATTRIBUTE=FIELD", help="ground-truth field"
    )
    evaluate.add_argument(
        "--groups", type=_names, default=None, help="fields to group by (default: the ground-truth fields)"
    )
    evaluate.add_argument(
        "--bins",
        type=_edges,
        action="append",
        default=[],
        metavar="FIELD=EDGES",
        help="group by a field of numbers between these edges, such as age=20,40,60",
    )
    evaluate.add_argument("--pairs", action="store_true", help="print every combination of groups, too")
    evaluate.add_argument(
        "--draws", type=int, default=DRAWS, help=f"bootstrap draws behind intervals (default: {DRAWS})"
    )
    evaluate.add_argument("--eval-key", help="FiftyOne evaluation key (default: PREFIX_eval)")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    evaluate.set_defaults(run=_evaluate)


def _add_report(commands: Any) -> None:
    written = commands.add_parser(
        "report",
        help="write a report of a stored evaluation",
        description="Writes report.html, report.md and report.json of an evaluation that is stored with the dataset, "
        "in the manner of a model card: the run, the data, all figures with n and intervals, gaps between groups, "
        "calibration, limits. The HTML file needs no network. Pictures are in it only with --pictures.",
    )
    written.add_argument("dataset", help="name of a FiftyOne dataset")
    written.add_argument("--prefix", default="demo", help="field prefix of the predictions (default: demo)")
    written.add_argument("--eval-key", help="key of the evaluation (default: PREFIX_eval)")
    written.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: DATASET-report)")
    written.add_argument(
        "--pictures", action="store_true", help="embed small pictures of the most confident errors in report.html"
    )
    written.set_defaults(run=_report)


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="compare the predictions of two or more models or prompts",
        description="Prints for every pair of prefixes how often one is right where the other is wrong, with McNemar's "
        "exact test, and how often answers flip over all of them.",
    )
    compare.add_argument("dataset", help="name of a FiftyOne dataset")
    compare.add_argument("--view", help="only the samples of this saved view")
    compare.add_argument("--prefixes", type=_names, required=True, help="comma-separated field prefixes, at least two")
    compare.add_argument("--attributes", type=_names, default=None, help="comma-separated (default: all shared ones)")
    compare.add_argument("--attributes-file", type=Path, metavar="YAML", help="attributes of your own")
    compare.add_argument(
        "--truth", type=_pair, action="append", default=[], metavar="ATTRIBUTE=FIELD", help="ground-truth field"
    )
    compare.add_argument("--groups", type=_names, default=[], help="fields by which flips are shown")
    compare.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    compare.set_defaults(run=_compare)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise argparse.ArgumentTypeError(f"got '{text}', expected NAME=VALUE")
    return name.strip(), value.strip()


def _edges(text: str) -> tuple[str, list[float]]:
    name, edges = _pair(text)
    try:
        return name, [float(edge) for edge in edges.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected FIELD=NUMBERS such as age=20,40,60") from None


def _registry(path: Path | None) -> attribute_registry.Registry:
    return attribute_registry.load(path) if path else attribute_registry.shipped()


def _demo(args: argparse.Namespace) -> None:
    if args.images:
        dataset = facevlm.sources.folder(args.images)
    else:
        dataset = facevlm.sources.sample_faces()
        facevlm.sources.sample_groups()
    print(f"Dataset '{dataset.name}': {len(dataset)} pictures. Labels are perceived or apparent, not facts.\n")
    result = facevlm.apply(dataset, "demo", DEMO_ATTRIBUTES, overwrite=True)
    _print_applied(result)
    if not args.images:
        _print_evaluated(facevlm.evaluate(dataset, DEMO_ATTRIBUTES, prefix="demo"), pairs=False)
    print(f"\n{OPEN_APP.format(dataset.name)}")


def _target(args: argparse.Namespace) -> Any:
    if args.images:
        facevlm.sources.folder(args.images, args.dataset)
    return facevlm.sources.load(args.dataset, args.view)


def _probe(args: argparse.Namespace) -> None:
    results = facevlm.probe(
        _target(args),
        args.model,
        args.attributes,
        faces=args.faces,
        seed=args.seed,
        prompts=dict(args.prompt),
        batch_size=args.batch_size,
        options=Options(**_loading(args)),
        registry=_registry(args.attributes_file),
    )
    if args.json:
        args.json.write_text(json.dumps([r.to_dict() for r in results], indent=1) + "\n", encoding="utf-8")
    for result in results:
        _print_probe(result)


def _print_probe(result: AttributeProbe) -> None:
    print(f"\n{result.attribute}: {result.prompt}")
    rows = [
        [repr(a.text), a.count, a.label or "", "" if a.label else a.proposal or "none"] for a in result.answers[:SHOWN]
    ]
    print(tabulate(rows, ["answer", "count", "read as", "might mean"], maxcolwidths=[60, 8, 24, 24]))
    if len(result.answers) > SHOWN:
        print(f"... and {len(result.answers) - SHOWN} more strings; --json FILE holds all.")
    print(f"{result.readable:.0%} of {result.n} answers are read as a label.", end="")
    if result.coverage is not None:
        print(f" On average {result.coverage:.1%} of the probability lies on the labels.", end="")
    if result.agreement is not None:
        print(f" The label scored is the one said for {result.agreement:.0%} of {result.n_compared}.", end="")
    proposed = {label: said for label, said in result.proposed_forms().items() if said}
    print(f"\nforms for {cards.CARD_FILE}, to be checked by eye: {json.dumps({result.attribute: proposed})}")


def _predict(args: argparse.Namespace) -> None:
    result = facevlm.apply(
        _target(args),
        args.model,
        args.attributes,
        prefix=args.prefix,
        prompts=dict(args.prompt),
        batch_size=args.batch_size,
        threads=args.threads,
        overwrite=args.overwrite,
        joint=not args.separate,
        decode=args.decode,
        **_loading(args),
        registry=_registry(args.attributes_file),
    )
    _print_applied(result)


def _print_applied(result: ApplyResult) -> None:
    tally = result.tally
    if not result.asked:
        print(f"Nothing to ask: all {result.skipped} faces have their answers. --overwrite asks again.")
        return
    rows = [
        [
            name,
            result.fields[name],
            *(counts.get(o, 0) for o in OUTCOMES),
            report.share(tally.coverage().get(name, math.nan)),
        ]
        for name, counts in result.outcomes.items()
    ]
    print(tabulate(rows, ["attribute", "field", *OUTCOMES, "probability on labels %"], disable_numparse=True))
    rate = result.asked / tally.seconds if tally.seconds else float("inf")
    print(f"{result.asked} faces asked, {result.skipped} skipped, {tally.seconds:.1f} s, {rate:.1f} faces/s")
    for reason, count in tally.reasons.most_common(5):
        print(f"  {count} x {reason}")
    for warning in result.warnings:
        print(f"Warning: {warning}")


def _check_json(path: Path | None) -> None:
    if path and (path.is_dir() or not path.parent.is_dir()):
        raise InputError(f"Cannot write figures to '{path}', expected a file in a folder that is there.")


def _evaluate(args: argparse.Namespace) -> None:
    _check_json(args.json)
    result = facevlm.evaluate(
        facevlm.sources.load(args.dataset, args.view),
        args.attributes,
        prefix=args.prefix,
        ground_truth=dict(args.truth),
        groups=args.groups,
        bins=dict(args.bins),
        eval_key=args.eval_key,
        draws=args.draws,
        registry=_registry(args.attributes_file),
    )
    _print_evaluated(result, pairs=args.pairs)
    if args.json:
        args.json.write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")


def _print_evaluated(result: EvaluationResult, *, pairs: bool) -> None:
    print("\n" + report.text(result.evaluations, pairs=pairs))
    keys = ", ".join(f"{result.eval_key}_{name}" for name in result.views)
    print(f"In the App's Model Evaluation panel: {keys}")
    print(f"Saved views of the errors, the most confident first: {', '.join(result.views.values())}")


def _report(args: argparse.Namespace) -> None:
    # Imported here: they load FiftyOne, which listing models or attributes has no need of.
    from facevlm import reports
    from facevlm.store import reporting

    folder = args.out or Path(f"{args.dataset}-report")
    reports.check_folder(folder)
    source = reporting.read(facevlm.sources.load(args.dataset), args.prefix, args.eval_key, pictures=args.pictures)
    for path in reports.write(reports.build(source), folder):
        print(path)
    if args.pictures:
        print("report.html holds pictures of people's faces: treat it as you treat the pictures themselves.")


def _compare(args: argparse.Namespace) -> None:
    _check_json(args.json)
    results = facevlm.compare(
        facevlm.sources.load(args.dataset, args.view),
        args.prefixes,
        args.attributes,
        ground_truth=dict(args.truth),
        groups=args.groups,
        registry=_registry(args.attributes_file),
    )
    print(report.comparison_text(results), end="")
    if args.json:
        args.json.write_text(json.dumps([r.to_dict() for r in results], indent=1) + "\n", encoding="utf-8")


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
        rows.append([card.name, card.title, asked, size, f"{card.memory():.3g} GB", gated, state])
    header = ["model", "what it is", "attributes", "parameters", "memory, bf16", "licence", "weights"]
    print(tabulate(rows, header, maxcolwidths=[12, 26, 20, 10, 8, 30, 16]))
    print(f"\nhf:ID-or-folder takes any checkpoint of these families: {'; '.join(families.titles())}.")
    print("Memory is that of the weights in bfloat16, twice that in float32; batches come on top.")


def _amount(number: float) -> str:
    return f"{number / 1e9:.1f} B" if number >= 1e9 else f"{number / 1e6:.3g} M"


def _attributes(args: argparse.Namespace) -> None:
    registry = _registry(args.attributes_file)
    rows = [[a.name, a.title, a.kind, ", ".join(a.labels), a.question] for a in registry.attributes.values()]
    print(tabulate(rows, ["attribute", "title", "kind", "labels", "question"], maxcolwidths=[10, 24, 8, 44, 30]))
    print("\nMaps between label sets (finer -> coarser):")
    for label_map in registry.maps.values():
        changed = ", ".join(f"{k} -> {v}" for k, v in label_map.labels.items() if k != v) or "every label as it is"
        print(f"  {label_map.source} -> {label_map.target}: {changed}")
    for name, edges in registry.years.items():
        print(f"  age in years -> {name}: groups begin at {', '.join(f'{e:g}' for e in edges)}")


if __name__ == "__main__":
    sys.exit(main())

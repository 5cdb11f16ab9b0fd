"""The folder that comes out: weights, what stands beside them, how it is asked, and a model card with its figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from tabulate import tabulate

from facevlm import folders
from facevlm.backends import cards, load_class
from facevlm.backends.cards import ANY, CARD_FILE, Card, Joint
from facevlm.errors import InputError, ModelError
from facevlm.evaluation.comparison import Pair
from facevlm.evaluation.evaluate import AttributeEvaluation
from facevlm.types import Question

FACTS, STATE, README = "training.json", ".facevlm-training", "README.md"
"""What a run leaves of itself, the folder in which it keeps its steps until it is done, and the model card."""
LEARNING, DONE = "learning", "done"
BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")
"""Files of the base that are copied: tokenizer, picture processor, chat template."""
NOT_COPIED = {cards.CONFIG, CARD_FILE, FACTS, "generation_config.json"}


@dataclass(frozen=True)
class Judgement:
    """One attribute on the faces that judge, before and after: ``before`` and ``pair`` are None where the base does not
    answer it. ``pair`` compares both face by face."""

    after: AttributeEvaluation
    before: AttributeEvaluation | None
    pair: Pair | None


def check(folder: Path, plan: str) -> str | None:
    """How far the run of this ``plan`` is in a folder: ``learning``, ``done``, or None for an empty or new folder.

    Raises :class:`~facevlm.errors.InputError` for a folder that holds something else, which is left as it is.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not folder.is_dir():
        raise InputError(f"Got out='{folder}', which is a file, expected a folder to make.")
    facts = read(folder)
    if facts is None:
        raise InputError(
            f"Got out='{folder}', which holds other files, expected a new folder, or one that this run began. Choose "
            "another one; nothing in it was touched."
        )
    if facts.get("plan") != plan:
        raise InputError(
            f"Got out='{folder}', which holds what was learnt from other faces, another base or by other numbers. "
            "Choose another folder, or remove that one; nothing in it was touched."
        )
    return str(facts.get("state"))


def read(folder: Path) -> dict[str, Any] | None:
    """What a run left of itself in a folder; None where there is none."""
    try:
        data = json.loads(folders.read_text(folder / FACTS))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and "plan" in data else None


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Say what a folder is of; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    folders.write_whole(folder / FACTS, (json.dumps(facts, indent=1) + "\n").encode())


def card_of(folder: Path, base: Card, questions: Sequence[Question]) -> Card:
    """How the tuned model is asked: what it learnt, in the words that it learnt it by, and nothing else."""
    contexts = {q.context for q in questions if q.context}
    joint = None
    if contexts:
        joint = Joint(contexts.pop(), {q.attribute.name: q.cue for q in questions if q.context})
    return replace(
        Card(name=f"{cards.HUB}{folder}", checkpoints={ANY: str(folder)}, title=str(folder)),
        questions={q.attribute.name: q.text for q in questions},
        forms={q.attribute.name: dict(zip(q.attribute.labels, q.surface_forms, strict=True)) for q in questions},
        joint=joint,
    )


def write(folder: Path, model: Any, base: Card, checkpoint: str, questions: Sequence[Question]) -> None:
    """Put a tuned model and what stands beside it into a folder.

    Raises :class:`~facevlm.errors.ModelError` where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in _beside(base, checkpoint):
            shutil.copyfile(path, folder / path.name)
        with load_class("facevlm.backends.weights:quiet")():
            model.save_pretrained(folder)
        cards.save(folder, card_of(folder, base, questions))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(
            f"Cannot write the tuned model to '{folder}': {reason}. What was learnt is kept in '{folder / STATE}': "
            "make room and call again, which goes on from there."
        ) from error


def _beside(base: Card, checkpoint: str) -> list[Path]:
    """The files of tokenizer and picture processor, from where they were loaded."""
    source = Path(cards.location(base.processor or checkpoint))
    if not source.is_dir():
        source = Path(snapshot_download(str(source), local_files_only=True))
    found = {path.name: path for pattern in BESIDE for path in source.glob(pattern)}
    left = {name for name in found if name in NOT_COPIED or name.endswith(".index.json") or "adapter" in name}
    return [path for name, path in sorted(found.items()) if name not in left]


def model_card(facts: Mapping[str, Any], judged: Sequence[Judgement]) -> str:
    """The README of a tuned model: what it is, how it was made, and how well it does for whom, before and after."""
    parts = [_head(facts), _made(facts), *(_figures(one) for one in judged), _limits(facts)]
    return "\n\n".join(parts) + "\n"


def _head(facts: Mapping[str, Any]) -> str:
    names = ", ".join(facts["attributes"])
    return (
        f"---\nbase_model: {json.dumps(facts['base'])}\nlicense: other\nlicense_name: that of its base\n"
        f"library_name: transformers\npipeline_tag: image-text-to-text\n---\n\n# Perceived {names}\n\n"
        f"Tuned from `{facts['base']}` to say what a model perceives in a picture of a face: {names}. Its labels say "
        "what is perceived, not what a person is.\n\n"
        f"```python\nfacevlm.apply(dataset, {json.dumps('hf:' + facts['out'])}, {json.dumps(facts['attributes'])})\n```"
    )


def _made(facts: Mapping[str, Any]) -> str:
    recipe = facts["recipe"]
    table = [
        [attribute, label, *(facts["counts"][part][attribute][label] for part in facts["counts"])]
        for attribute, label in _labels(facts)
    ]
    left = ", ".join(f"{n:,} {reason}" for reason, n in facts["left_out"].items()) or "none"
    return (
        f"## How it was made\n\nMethod `{facts['method']}`, loss over the {facts['objective']}; {recipe['title']} "
        f"({recipe['source']}). Learning rate {recipe['learning_rate']:g}, {recipe['batch_size']} faces x "
        f"{recipe['accumulate']} a step, {facts['steps']} steps, of which step {facts['best_step']} is kept: the one "
        f"with the best balanced accuracy on the validation faces. Seed {facts['seed']}.\n\n"
        + tabulate(table, ["attribute", "label", *facts["counts"]], tablefmt="github")
        + f"\n\nLeft out: {left}."
    )


def _labels(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    first = next(iter(facts["counts"].values()))
    return [(attribute, label) for attribute, labels in first.items() for label in labels]


def _figures(one: Judgement) -> str:
    after, before = one.after, one.before
    lines = [f"## {after.attribute}", "", f"On {after.overall.n:,} faces that were not learnt from, in per cent."]
    if one.pair is not None and before is not None:
        pair = one.pair
        lines += [
            "",
            f"Accuracy {_share(before.overall.accuracy)} before, {_share(after.overall.accuracy)} after: "
            f"{_share(pair.difference)} ({_share(pair.low)} to {_share(pair.high)}). Right only after: {pair.only_a}, "
            f"only before: {pair.only_b}; McNemar's p = {_p(pair.p_value)}.",
        ]
    elif before is None:
        lines += ["", "The base does not answer this, so there is no figure before."]
    return "\n".join([*lines, "", tabulate(group_rows(one), GROUP_HEADER, tablefmt="github", disable_numparse=True)])


GROUP_HEADER = ("group", "n", "accuracy before", "after", "95 %", "balanced before", "after")


def group_rows(one: Judgement) -> list[list[str]]:
    """A row for all faces and one for every group: n, accuracy before and after with its interval, and balanced."""
    before = _cells(one.before) if one.before is not None else {}
    rows = []
    for name, cell in _cells(one.after).items():
        old = before.get(name)
        rows.append(
            [
                name,
                f"{cell.n:,}",
                "-" if old is None else _share(old.accuracy),
                _share(cell.accuracy),
                f"{_share(cell.low)} - {_share(cell.high)}",
                "-" if old is None else _share(old.balanced_accuracy),
                _share(cell.balanced_accuracy),
            ]
        )
    return rows


def _cells(evaluation: AttributeEvaluation) -> dict[str, Any]:
    single = [table for table in evaluation.groups if len(table.by) == 1]
    return {"all": evaluation.overall} | {
        f"{table.by[0]}: {row.values[0]}": row.cell for table in single for row in table.rows
    }


def _share(value: float) -> str:
    return "-" if value != value else f"{100 * value:.1f}"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _limits(facts: Mapping[str, Any]) -> str:
    return (
        "## Limits\n\nThe figures hold for faces like those that it was judged by. Groups of few faces have wide "
        "intervals. What the base could do beside this was not measured, and may be lost."
    )

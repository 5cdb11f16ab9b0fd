"""Tune a model on labelled faces into a folder that ``apply`` opens, and tell for whom it got better."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from tqdm import tqdm
from typing_extensions import Unpack

from facevlm import attributes as registry_module
from facevlm.attributes import Registry
from facevlm.backends import Options, cards, load_class
from facevlm.backends.cards import Card, questions_for
from facevlm.backends.choice import resolve_attributes
from facevlm.errors import InputError, ModelError, check_sizes, lookup
from facevlm.evaluation.evaluate import to_plain
from facevlm.faces.crops import Crop
from facevlm.store import labelled, targets
from facevlm.tasks._options import takes_options
from facevlm.tasks._verb import verb
from facevlm.training import output, recipes, sampling, splits
from facevlm.training.examples import LabelledFace, chosen, counts
from facevlm.training.judging import judged
from facevlm.training.output import Judgement
from facevlm.training.plan import TrainPlan as TrainPlan
from facevlm.training.recipes import Recipe
from facevlm.training.splits import PARTS, TEST, TRAIN, VALIDATION, FaceSplit
from facevlm.types import Attribute, Question

SHARE = 0.15
"""Of the faces that choose the best epoch, and of those that judge, where nothing is said."""
PACKAGES = {
    recipes.FULL: ("accelerate",),
    recipes.FROZEN: ("accelerate",),
    recipes.LORA: ("accelerate", "peft"),
    recipes.LINEAR: ("sklearn",),
}


class TrainOptions(TypedDict, total=False):
    """What tuning is told beside its faces."""

    recipe: str | None
    epochs: float | None
    batch: int | None
    accumulate: int | None
    learning_rate: float | None
    label_smoothing: float | None
    rank: int | None
    alpha: int | None
    patience: int | None
    objective: str | None
    balance: str | None
    class_weights: bool | None
    augment: bool | None
    validation: float | None
    test: float | None
    splits: Mapping[str, str] | None
    subject: str | None
    prompts: Mapping[str, str] | None
    merge: bool | None
    mixed_precision: bool | None
    checkpointing: bool | None
    save_steps: int | None
    workers: int | None
    seed: int | None
    device: str | None
    revision: str | None
    trust_remote_code: bool | None
    registry: Registry | None
    progress: bool | None


@dataclass(frozen=True, repr=False)
class TrainResult:
    """What was learnt: ``model`` is the name by which ``apply`` opens the folder ``out``.

    ``judged`` are the figures of each attribute before and after, on faces that were not learnt from. ``counts`` holds
    faces by part, attribute and label, ``left_out`` how many were not used, by the reason. ``losses`` and ``figures``
    are pairs of a step and the loss there, or the balanced accuracy on the validation faces. ``warnings`` say what
    went other than asked.
    """

    model: str
    out: str
    base: str
    method: str
    judged: Sequence[Judgement]
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    left_out: Mapping[str, int]
    losses: Sequence[tuple[int, float]] = ()
    figures: Sequence[tuple[int, float]] = ()
    steps: int = 0
    best_step: int = 0
    warnings: Sequence[str] = ()

    def __repr__(self) -> str:
        shares = [f"{one.after.attribute} {one.after.overall.accuracy:.1%}" for one in self.judged]
        return f"<{type(self).__name__} {self.model}: accuracy {', '.join(shares)}>"

    def __getitem__(self, attribute: str) -> Judgement:
        for one in self.judged:
            if one.after.attribute == attribute:
                return one
        raise KeyError(attribute)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def _described(work: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the arguments of :func:`train` in its docstring."""
    work.__doc__ = (work.__doc__ or "") + (ARGUMENTS if work.__doc__ else "")
    return work


ARGUMENTS = """

    Args:
        target: a FiftyOne dataset or view with true labels.
        base: the model to tune: a name that ``facevlm models`` lists, or ``hf:ID-or-folder``.
        attributes: names such as ``gender`` or ``age5``, or :class:`~facevlm.types.Attribute`; at least one. A face is
            asked only what it has a label for.
        out: the folder to make. One that this call began before is gone on with.
        truth: attribute name -> field of labels, strings, or ages in years; by default found by name.
        faces: a field of Detections, of which every face is cut out; by default a picture is of one face as a whole.
        groups: fields to report by, beside the labels themselves; ``tag:NAME`` for a tag.
        method: ``full`` tunes every parameter, ``frozen`` all but the vision tower's, ``lora`` adapters on every
            matrix, ``linear`` a classifier on the features of the tower, which stays as it is.
        crop: how faces are cut out, by default as the base was tuned, or with a margin of 0.25.
        {options}

    Raises:
        FacevlmError: before anything is loaded or written, saying what was got, what was expected, and what to do.
    """


@verb
@takes_options(TrainOptions)
@_described
def train(
    target: targets.Collection,
    base: str,
    attributes: Sequence[str | Attribute] = (),
    *,
    out: str | Path,
    truth: Mapping[str, str] | None = None,
    faces: str | None = None,
    groups: Sequence[str] = (),
    method: str = recipes.FULL,
    crop: Crop | None = None,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Tune a model on labelled faces, and compare it with its base on faces that it has not learnt from.

    The folder ``out`` is a checkpoint with a model card, which ``apply`` opens as ``hf:OUT``. Stopped or killed, the
    same call goes on from the last save, and comes to the same weights."""
    made = _planned(target, base, attributes, out, truth, faces, groups, method, crop, options)
    return carry_out(made)


@verb
@takes_options(TrainOptions)
@_described
def plan(
    target: targets.Collection,
    base: str,
    attributes: Sequence[str | Attribute] = (),
    *,
    out: str | Path,
    truth: Mapping[str, str] | None = None,
    faces: str | None = None,
    groups: Sequence[str] = (),
    method: str = recipes.FULL,
    crop: Crop | None = None,
    **options: Unpack[TrainOptions],
) -> TrainPlan:
    """What :func:`train` would do with these arguments, checked; nothing is loaded or written."""
    return _planned(target, base, attributes, out, truth, faces, groups, method, crop, options)


def _planned(
    target: targets.Collection,
    base: str,
    attributes: Sequence[str | Attribute],
    out: str | Path,
    truth: Mapping[str, str] | None,
    faces: str | None,
    groups: Sequence[str],
    method: str,
    crop: Crop | None,
    told: TrainOptions,
) -> TrainPlan:
    lookup("method", dict.fromkeys(recipes.METHODS), method)
    _check_told(told)
    _check_packages(method)
    card, registry = cards.find(base), told.get("registry") or registry_module.shipped()
    rows = labelled.rows_of(target, faces)
    wanted = resolve_attributes(attributes, card, registry)
    fields = labelled.truth_of(rows, wanted, truth or {}, registry)
    read = labelled.read(rows, wanted, fields, groups, told.get("subject"), registry)
    examples = chosen(read)
    split = _split(examples.kept, told)
    _check_classes(split, wanted)
    made = TrainPlan(
        base=base,
        card=card,
        checkpoint=_checkpoint(card, wanted),
        attributes=tuple(wanted),
        questions=(),
        examples=examples,
        split=split,
        out=Path(out).expanduser(),
        method=method,
        recipe=_recipe(method, told),
        crop=crop or card.crop(),
        options=Options(
            device=told.get("device"),
            revision=told.get("revision"),
            trust_remote_code=bool(told.get("trust_remote_code")),
            dtype="float32",
        ),
        told=told,
    )
    asked = [_question(card, attribute, (told.get("prompts") or {}).get(attribute.name)) for attribute in wanted]
    made = replace(made, questions=tuple(asked))
    output.check(made.out, made.mark)
    load_class("facevlm.training.budget:check")(made.budget())
    return made


def _check_told(told: TrainOptions) -> None:
    if (launched := os.environ.get("WORLD_SIZE", "1")) not in ("", "1"):
        raise InputError(
            f"Got WORLD_SIZE={launched}, as torchrun and accelerate set it, but training takes one process: each "
            "would learn by itself. Start it once, without a launcher."
        )
    check_sizes(
        **{name: told.get(name) for name in ("batch", "accumulate", "rank", "alpha", "save_steps", "patience")}  # type: ignore[arg-type]
    )
    if (objective := told.get("objective")) is not None:
        lookup("objective", dict.fromkeys(recipes.OBJECTIVES), objective)
    if (balance := told.get("balance")) is not None:
        lookup("balance", dict.fromkeys(recipes.BALANCES), balance)
    for name in ("seed", "workers"):
        if (value := told.get(name)) is not None and value < 0:  # type: ignore[operator]
            raise InputError(f"Got {name}={value!r}, expected a whole number from 0 on.")


def _check_packages(method: str) -> None:
    missing = [name for name in PACKAGES[method] if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"method='{method}' needs {' and '.join(missing)}, not installed here. Run: pip install 'facevlm[train]'"
        )


def _recipe(method: str, told: TrainOptions) -> Recipe:
    names = ("epochs", "accumulate", "learning_rate", "rank", "alpha", "patience")
    given: dict[str, Any] = {name: told.get(name) for name in names} | {"batch_size": told.get("batch")}
    found = recipes.find(told.get("recipe"), method)
    # Rates of parts are those of the recipe's own; one that is given holds for all.
    rates = {} if told.get("learning_rate") else found.rates
    return replace(found.with_(**given, smoothing=told.get("label_smoothing")), rates=rates)


def _checkpoint(card: Card, wanted: Sequence[Attribute]) -> str:
    """The one checkpoint that is tuned.

    Raises :class:`~facevlm.errors.InputError` for a model that is not here to be tuned, or is several.
    """
    if card.hosted or card.scheme:
        raise InputError(
            f"Got base='{card.name}', which is not tuned here: its weights are elsewhere. Expected a model that runs "
            "here, such as 'paligemma' or hf:ID-or-folder."
        )
    known = card.checkpoints
    found = {known.get(a.name) or known.get(cards.ANY) or "" for a in wanted}
    if len(found) > 1 or "" in found:
        names = ", ".join(sorted(set(known.values())))
        raise InputError(
            f"Got base='{card.name}', which has a checkpoint for each attribute: {names}. Choose one of them as "
            "base='hf:NAME'."
        )
    card.check_here()
    return found.pop()


def _question(card: Card, attribute: Attribute, prompt: str | None) -> Question:
    """In the words by which the base is asked, else in the attribute's own; every label in one spelling."""
    try:
        [asked] = questions_for(card, [attribute], None if prompt is None else {attribute.name: prompt})
    except InputError:
        # What the base does not answer is what it is to learn.
        asked = Question(attribute, prompt or attribute.question, tuple((label,) for label in attribute.labels))
    return load_class("facevlm.training.lesson:taught")(asked)  # type: ignore[no-any-return]


def _split(examples: Sequence[LabelledFace], told: TrainOptions) -> FaceSplit:
    tags = told.get("splits")
    if tags is None:
        usual = {name: told.get(name) for name in (VALIDATION, TEST)}
        validation, test = (SHARE if usual[name] is None else usual[name] for name in (VALIDATION, TEST))
        split = splits.by_share(examples, validation, test, told.get("seed") or 0)  # type: ignore[arg-type]
    else:
        if not {TRAIN, VALIDATION} <= set(tags) <= set(PARTS):
            raise InputError(
                f"Got splits={dict(tags)!r}, expected tags by part, such as "
                "{'train': 'train', 'validation': 'val', 'test': 'test'}."
            )
        split = splits.by_tag(examples, tags)
    for part in (TRAIN, VALIDATION):
        if not split.parts[part]:
            how = f"the tag '{tags[part]}'" if tags else "its share"
            raise InputError(
                f"No labelled face is left for {part} by {how}, of {len(examples):,} that can be used. Label more "
                "faces, or choose other splits."
            )
    return split


def _check_classes(split: FaceSplit, wanted: Sequence[Attribute]) -> None:
    for attribute in wanted:
        found = [label for label, n in counts(split.train, attribute).items() if n]
        if len(found) < 2:
            got = f"all of them {found[0]}" if found else "none"
            raise InputError(
                f"{attribute.name}: got {got} among the {len(split.train):,} faces to learn from, expected two or more "
                f"of its labels: {', '.join(attribute.labels)}."
            )


Told = Callable[[int, int], None]
"""Is told steps done and steps in all; what it raises ends the learning at that step."""
Noted = Callable[[Mapping[str, float]], None]
"""Is told the entries of the log; see :class:`facevlm.training.loop.Course`."""


def carry_out(made: TrainPlan, told: Told | None = None, noted: Noted | None = None) -> TrainResult:
    """Ask the base, tune it, write the folder, and ask again; with a bar of its steps, or ``told`` of them."""
    state = output.check(made.out, made.mark)
    checkpoint = made.opened()
    predictions = load_class("facevlm.training.loop:predictions")
    asked_before = {q.attribute.name: q for q in _asked_of_base(made)}
    before = predictions(checkpoint, list(asked_before.values()), made.judges, made.crop)
    by_name = {name: [row[at] for row in before] for at, name in enumerate(asked_before)}
    if state == output.DONE:
        learnt = _learnt_before(made.out)
        notes: list[str] = []
    else:
        output.write_facts(made.out, {"plan": made.mark, "state": output.LEARNING})
        learnt, notes = _tuned(made, checkpoint, told, noted)
    after = _after(made, predictions)
    figures = [
        judged(a, made.judges, by_name.get(a.name), [row[at] for row in after]) for at, a in enumerate(made.attributes)
    ]
    result = TrainResult(
        model=f"{cards.HUB}{made.out}",
        out=str(made.out),
        base=made.base,
        method=made.method,
        judged=figures,
        counts=made.counts,
        left_out=made.left_out,
        warnings=[*notes, *_warnings(made)],
        **learnt,
    )
    if state != output.DONE:
        _finish(made, result, learnt)
    return result


def _learnt_before(folder: Path) -> dict[str, Any]:
    """What the facts of a finished run say came of it."""
    told = dict((output.read(folder) or {}).get("learnt", {}))
    return told | {name: tuple(map(tuple, told[name])) for name in ("losses", "figures") if name in told}


def _asked_of_base(made: TrainPlan) -> list[Question]:
    """The questions that the base answers, as ``apply`` puts them to it."""
    asked = []
    for attribute in made.attributes:
        try:
            asked += questions_for(made.card, [attribute])
        except InputError:
            continue
    return asked


def _tuned(
    made: TrainPlan, checkpoint: Any, told: Told | None, noted: Noted | None
) -> tuple[dict[str, Any], list[str]]:
    """Tune the checkpoint and write it; what came of it as plain data, and sentences."""
    if made.method == recipes.LINEAR:
        return _classified(made, checkpoint), []
    learnt = _fitted(made, checkpoint, told, noted)
    model = checkpoint.family.model
    if made.method == recipes.LORA:
        model = learnt.learner
        if made.told.get("merge"):
            model = model.merge_and_unload()
    output.write(made.out, model, made.card, made.checkpoint, made.questions)
    unread = [f"{learnt.unread:,} pictures could not be read while they were learnt from."] if learnt.unread else []
    came = {"losses": learnt.losses, "figures": learnt.figures, "steps": learnt.steps, "best_step": learnt.best_step}
    return came, [*learnt.notes, *unread]


def _classified(made: TrainPlan, checkpoint: Any) -> dict[str, Any]:
    """Fit linear classifiers on the checkpoint's tower, and write them beside the name of their base."""
    tables = load_class("facevlm.training.linear:fit")(
        checkpoint,
        made.questions,
        made.split.train,
        made.split.validation,
        made.crop,
        balanced=bool(made.told.get("class_weights")),
    )
    load_class("facevlm.backends.linear:write")(made.out, tables)
    card = output.card_of(made.out, made.card, [replace(q, context=None, cue="") for q in made.questions])
    cards.save(made.out, replace(card, linear=made.base))
    return {}


def _fitted(made: TrainPlan, checkpoint: Any, told: Told | None, noted: Noted | None) -> Any:
    """What :func:`facevlm.training.loop.fit` makes of the plan."""
    loop, lesson = "facevlm.training.loop", "facevlm.training.lesson"
    device = checkpoint.family.model.device
    weights = None
    if made.told.get("class_weights"):
        table = sampling.class_weights(made.split.train, {a.name: a.labels for a in made.attributes})
        weights = load_class(f"{lesson}:as_tensors")(table, device)
    kind = made.told.get("objective") or recipes.TOKENS
    objective = load_class(f"{lesson}:Objective")(kind, made.recipe.smoothing, weights)
    balance, wanted, augment = (made.told.get(name) for name in ("balance", "mixed_precision", "augment"))
    workers = made.told.get("workers")
    with tqdm(desc="train", unit="step", disable=told is not None or made.told.get("progress") is False) as bar:

        def shown(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        course = load_class(f"{loop}:Course")(
            recipe=made.recipe,
            folder=made.out / output.STATE,
            method=made.method,
            seed=made.told.get("seed") or 0,
            augment=augment is not False,
            shares=sampling.weights(made.split.train, balance) if balance else None,
            save_steps=made.told.get("save_steps"),
            bfloat16=device.type == "cuda" if wanted is None else wanted,
            checkpointing=bool(made.told.get("checkpointing")),
            workers=_workers(device.type) if workers is None else workers,
            told=told or shown,
            noted=noted,
        )
        fit, teach = load_class(f"{loop}:fit"), load_class(f"{lesson}:Lesson")
        asked = teach(checkpoint, made.questions, objective)
        return fit(asked, made.split.train, made.split.validation, course, made.crop)


def _workers(device: str) -> int:
    """Processes that read pictures: on a CPU none, which would take what the model needs."""
    return min(8, os.cpu_count() or 1) if device == "cuda" else 0


def _after(made: TrainPlan, predictions: Callable[..., Any]) -> Any:
    """What the folder says, opened as ``apply`` opens it."""
    name = f"{cards.HUB}{made.out}"
    card = cards.find(name)
    if made.method == recipes.LINEAR:
        backend = load_class("facevlm.backends.linear:LinearBackend")(card, made.options)
        return load_class("facevlm.training.loop:said")(backend, made.questions, made.judges, made.crop)
    opened = replace(made, base=name, card=card, checkpoint=card.checkpoints[cards.ANY]).opened()
    return predictions(opened, made.questions, made.judges, made.crop)


def _warnings(made: TrainPlan) -> list[str]:
    if made.split.test:
        return []
    return ["The faces that chose the best epoch judged it, too: its figures are too good. Set test= to have others."]


def _finish(made: TrainPlan, result: TrainResult, learnt: Mapping[str, Any]) -> None:
    """Leave the model card and what the folder is of, and take the steps away."""
    facts = {
        "plan": made.mark,
        "state": output.DONE,
        "base": made.base,
        "out": str(made.out),
        "attributes": [a.name for a in made.attributes],
        "method": made.method,
        "objective": made.told.get("objective") or recipes.TOKENS,
        "recipe": asdict(made.recipe),
        "seed": made.told.get("seed") or 0,
        "counts": made.counts,
        "left_out": made.left_out,
        "steps": result.steps,
        "best_step": result.best_step,
        "learnt": dict(learnt),
        "result": result.to_dict(),
    }
    (made.out / output.README).write_text(output.model_card(facts, result.judged), encoding="utf-8")
    output.write_facts(made.out, facts)
    shutil.rmtree(made.out / output.STATE, ignore_errors=True)

"""The loop: steps over drawn faces, a look at the validation faces after every epoch, and a way back after a kill.

transformers' Trainer steps, saves and goes on. What is drawn hangs on the seed and the epoch alone, and what is learnt
is read off the scorer's own passes, so a run that was killed has the losses of one that was not.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL.Image import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from facevlm import parsing
from facevlm.backends import Backend, BackendInfo, PictureSpec
from facevlm.backends.checkpoint import Checkpoint
from facevlm.backends.memory import BatchPace, Call, halving
from facevlm.engines.reading import Cutter
from facevlm.errors import ImageError, ModelError
from facevlm.evaluation import metrics
from facevlm.faces.crops import Crop
from facevlm.training import recipes
from facevlm.training.augment import augmented
from facevlm.training.examples import LabelledFace
from facevlm.training.lesson import Lesson
from facevlm.training.recipes import FIGURE, Recipe
from facevlm.types import GREEDY, Prediction, Question

STATE = "trainer_state.json"
"""What a saved step is written to last: one that lacks it was cut by a kill."""
STEPS, BEST, WEIGHTS = "steps", "best", "weights.safetensors"
AT_ONCE = 64
"""Pictures that are scored together at most."""
MOST_LOGGED = 1000
WRITING = (OSError, SafetensorError, RuntimeError)
"""What a full disk is raised as, by Python, safetensors and torch."""


@dataclass(frozen=True)
class Course:
    """How it is learnt: the numbers, how examples are drawn, and where steps are saved.

    ``shares`` say how often each example is shown, None for each once an epoch. ``save_steps`` are the steps between
    two saves, None for an epoch. ``told`` is called with steps done and steps in all, ``noted`` with each entry of the
    log: the ``loss``, or after an epoch the balanced accuracy as ``FIGURE``.
    """

    recipe: Recipe
    folder: Path
    method: str = recipes.FULL
    seed: int = 0
    augment: bool = True
    shares: metrics.Floats | None = None
    save_steps: int | None = None
    bfloat16: bool = False
    checkpointing: bool = False
    workers: int = 0
    told: Callable[[int, int], None] | None = None
    noted: Callable[[Mapping[str, float]], None] | None = None


@dataclass(frozen=True)
class Learnt:
    """What came of it: losses by step as the log has them, balanced accuracy by epoch, the step whose weights are
    there, and sentences about what went other than asked."""

    losses: tuple[tuple[int, float], ...]
    figures: tuple[tuple[int, float], ...]
    best_step: int
    steps: int
    notes: tuple[str, ...]
    unread: int
    learner: Any = field(repr=False, default=None)
    """The model that learnt: of adapters, with these around it."""


Draw = tuple[int, int]
"""Which example, and the number from which its augmentation is drawn."""


class Draws(Sampler[Draw]):
    """The order of an epoch, drawn from ``seed`` and its number alone: a run that goes on sees what it would have seen.

    With ``shares`` examples are drawn with replacement, as often as these say; else each once.
    """

    def __init__(self, examples: int, seed: int, shares: metrics.Floats | None = None) -> None:
        self._examples, self._seed, self._shares, self.epoch = examples, seed, shares, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self._examples

    def __iter__(self) -> Iterator[Draw]:
        draw, n = np.random.default_rng((self._seed, self.epoch)), self._examples
        order = draw.permutation(n) if self._shares is None else draw.choice(n, n, p=self._shares)
        yield from zip(order.tolist(), draw.integers(2**31, size=n).tolist(), strict=True)


class ShownFaces(Dataset[tuple[Image, list[int]] | None]):
    """Examples as RGB pictures at the model's size, with a label number for every question; None if unreadable."""

    def __init__(
        self,
        examples: Sequence[LabelledFace],
        questions: Sequence[Question],
        checkpoint: Checkpoint | None,
        crop: Crop | None = None,
        *,
        augment: bool = False,
        picture: PictureSpec | None = None,
    ) -> None:
        self._examples, self._augment = examples, augment
        self._attributes = [question.attribute for question in questions]
        size = checkpoint.picture if checkpoint is not None else picture
        self._cut = Cutter(BackendInfo("", {}, "", "", "", picture=size), crop)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, drawn: Draw | int) -> tuple[Image, list[int]] | None:
        at, seed = (drawn, None) if isinstance(drawn, int) else drawn
        example = self._examples[at]
        [(_, picture)] = self._cut([example.face])
        if isinstance(picture, ImageError):
            return None
        if self._augment and seed is not None:
            picture = augmented(picture, seed)
        labels = [a.labels.index(example.labels[a.name]) if a.name in example.labels else -1 for a in self._attributes]
        return picture, labels


def predictions(
    checkpoint: Checkpoint,
    questions: Sequence[Question],
    examples: Sequence[LabelledFace],
    crop: Crop | None = None,
    decision: str | None = None,
) -> list[list[Prediction]]:
    """What a checkpoint says about examples, (examples, questions), by the scorer that is used in applying it.

    ``decision`` is by which scores become labels, by default that of the checkpoint's card.
    """
    ask = functools.partial(checkpoint.score, questions=list(questions), decision=decision)
    return _said(ShownFaces(examples, questions, checkpoint, crop), ask, questions, examples)


def said(
    backend: Backend, questions: Sequence[Question], examples: Sequence[LabelledFace], crop: Crop | None = None
) -> list[list[Prediction]]:
    """As :func:`predictions`, by a backend that is no checkpoint."""
    shown = ShownFaces(examples, questions, None, crop, picture=backend.info.picture)
    return _said(shown, functools.partial(backend.answer, questions=list(questions)), questions, examples)


def _said(
    shown: ShownFaces, ask: Call, questions: Sequence[Question], examples: Sequence[LabelledFace]
) -> list[list[Prediction]]:
    rows: list[list[Prediction]] = []
    pace = BatchPace()
    for first in range(0, len(examples), AT_ONCE):
        batch = [shown[at] for at in range(first, min(first + AT_ONCE, len(examples)))]
        replies = iter(halving(ask, [one[0] for one in batch if one is not None], pace))
        for example, one in zip(examples[first : first + AT_ONCE], batch, strict=True):
            if one is None:
                rows.append([parsing.failed(example.face, q, "the picture cannot be read") for q in questions])
            else:
                told = zip(questions, next(replies), strict=True)
                rows.append([parsing.predict(example.face, q, reply) for q, reply in told])
    return rows


def balanced_accuracy(
    questions: Sequence[Question], examples: Sequence[LabelledFace], said: Sequence[Sequence[Prediction]]
) -> float:
    """The mean over attributes of the mean recall of their labels; nan where nothing has a label."""
    found = []
    for at, question in enumerate(questions):
        labels, name = question.attribute.labels, question.attribute.name
        pairs = [(e.labels[name], row[at].label) for e, row in zip(examples, said, strict=True) if name in e.labels]
        if pairs:
            truth = np.array([labels.index(true) for true, _ in pairs])
            answers = np.array([-1 if label is None else labels.index(label) for _, label in pairs])
            found.append(float(metrics.balanced_accuracy(metrics.confusion(truth, answers, len(labels)))))
    return float(np.mean(found)) if found else math.nan


def fit(
    lesson: Lesson,
    learn: Sequence[LabelledFace],
    choose: Sequence[LabelledFace],
    course: Course,
    crop: Crop | None = None,
) -> Learnt:
    """Tune the lesson's checkpoint, which then has the weights of the best epoch on ``choose``.

    Goes on from the last whole save in the course's folder. A save that fails is left out and noted. Raises
    :class:`~facevlm.errors.ModelError` for a loss that is not finite.
    """
    model = lesson.checkpoint.family.model
    learner = _prepared(model, course)
    shown = ShownFaces(learn, lesson.questions, lesson.checkpoint, crop, augment=course.augment)
    trainer = _Trainer(lesson, learner, shown, choose, course, crop)
    trainer.train(resume_from_checkpoint=last_save(course.folder / STEPS))
    return trainer.learnt()


def _prepared(model: Any, course: Course) -> Any:
    """What learns: the model with some of its parameters held, or adapters in it."""
    torch.manual_seed(course.seed)
    if course.checkpointing:
        # Under its later name where there is one.
        older = model.gradient_checkpointing_enable
        getattr(model, "activation_checkpointing_enable", older)({"use_reentrant": False})
    if course.method == recipes.LORA:
        return _adapted(model, course.recipe)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(course.method != recipes.FROZEN or recipes.part_of(name) != recipes.TOWER)
    return model


def _adapted(model: Any, recipe: Recipe) -> Any:
    import peft

    head = model.get_output_embeddings()
    # Not subclasses: those inside of torch's own attention are never called as modules.
    matrices = [n for n, m in model.named_modules() if type(m) is torch.nn.Linear and m is not head]
    config = peft.LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=matrices)
    with warnings.catch_warnings():
        # It asks for what transformers calls otherwise by now.
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(model, config)


def last_save(folder: Path) -> str | None:
    """The last step that was saved whole; those that a kill cut are taken away."""
    found = sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in reversed(found):
        with suppress(OSError, ValueError):
            json.loads((path / STATE).read_text())
            return str(path)
        shutil.rmtree(path, ignore_errors=True)
    return None


class _Trainer(transformers.Trainer):  # type: ignore[misc]
    """Trainer whose losses are a lesson's, whose order is drawn anew by each epoch's number, and that keeps the best
    epoch's weights itself."""

    def __init__(
        self,
        lesson: Lesson,
        learner: Any,
        shown: ShownFaces,
        choose: Sequence[LabelledFace],
        course: Course,
        crop: Crop | None,
    ) -> None:
        self.lesson, self.course, self.choose, self.crop = lesson, course, choose, crop
        self.notes: list[str] = []
        self.unread = 0
        args = _arguments(course, len(shown), lesson.checkpoint.family.model.device)
        super().__init__(learner, args, self._collated, shown, eval_dataset=shown)
        # Else losses are taken for sums over as many items as the batch names, which are not there.
        self.model_accepts_loss_kwargs = False
        self.remove_callback(transformers.PrinterCallback)
        self.add_callback(_Saving(course, steps_of(course.recipe, len(shown)), args.logging_steps))

    def _collated(self, shown: Sequence[tuple[Image, list[int]] | None]) -> dict[str, Any]:
        there = [one for one in shown if one is not None]
        self.unread += len(shown) - len(there)
        return {"images": [picture for picture, _ in there], "labels": [labels for _, labels in there]}

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[Draw]:
        return Draws(len(self.train_dataset), self.course.seed, self.course.shares)

    optimizer: Any

    def create_optimizer(self, model: Any = None) -> Any:
        """Learning rates by the part of the model, weight decay on matrices alone."""
        if self.optimizer is None:
            recipe, groups = self.course.recipe, dict[tuple[str, bool], list[Tensor]]()
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((recipes.part_of(name), parameter.ndim > 1), []).append(parameter)
            self.optimizer = torch.optim.AdamW(
                [
                    {
                        "params": parameters,
                        "lr": (recipe.rates or {}).get(part, recipe.learning_rate),
                        "weight_decay": recipe.weight_decay if matrices else 0.0,
                    }
                    for (part, matrices), parameters in groups.items()
                ],
                lr=recipe.learning_rate,
                betas=recipe.betas,
            )
        return self.optimizer

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
        with self.accelerator.autocast():
            if inputs["images"]:
                loss = self.lesson.loss(inputs["images"], inputs["labels"])
            else:
                loss = sum(p.sum() * 0 for p in model.parameters() if p.requires_grad)
        if not torch.isfinite(loss):
            raise ModelError(
                f"The loss is {float(loss.detach())} after {self.state.global_step} steps. Expected a number: use a "
                f"lower learning_rate than {self.course.recipe.learning_rate:g}. What was saved before is kept."
            )
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Balanced accuracy on the validation faces by the scorer itself; the best weights are kept."""
        lesson, was_training = self.lesson, self.model.training
        self.model.eval()
        with self.accelerator.autocast():
            # As apply decides once it is tuned.
            said = predictions(lesson.checkpoint, lesson.questions, self.choose, self.crop, GREEDY)
        self.model.train(was_training)
        found = {FIGURE: balanced_accuracy(lesson.questions, self.choose, said)}
        before = self._figures()
        self.log(dict(found))
        if not before or found[FIGURE] > max(figure for _, figure in before):
            self._keep_best()
        figures = [figure for _, figure in self._figures()]
        patience = self.course.recipe.patience
        if patience is not None and len(figures) - 1 - figures.index(max(figures)) >= patience:
            self.control.should_training_stop = True
        return found

    def _figures(self) -> list[tuple[int, float]]:
        return [(h["step"], h[FIGURE]) for h in self.state.log_history if FIGURE in h]

    def _keep_best(self) -> None:
        """Put the weights in the place of the best ones, whole or not at all."""
        best = self.course.folder / BEST
        made = best.with_name("making")

        def write() -> None:
            shutil.rmtree(made, ignore_errors=True)
            self._save(str(made))
            shutil.rmtree(best, ignore_errors=True)
            made.rename(best)

        self._writing(write, made)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """What is learnt, under the names that the model has in memory: those of save_pretrained may be others, which
        Trainer would read back without a word as nothing."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in self._learning()}, folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        stored = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        for name, tensor in self._learning():
            tensor.data.copy_(stored[name])

    def _learning(self) -> Iterator[tuple[str, Tensor]]:
        """What a save holds: the parameters that learn, and buffers, which some layers change as they see pictures."""
        yield from ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)
        yield from self.model.named_buffers()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        partial = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        self._writing(lambda: super(_Trainer, self)._save_checkpoint(model, trial), partial)

    def _writing(self, write: Callable[[], None], partial: Path) -> None:
        """Write; where that fails, as on a full disk, what is half there is taken away and learning goes on."""
        try:
            write()
        except WRITING as error:
            shutil.rmtree(partial, ignore_errors=True)
            reason = str(error).strip().splitlines()[0]
            self.notes.append(f"Step {self.state.global_step} could not be saved: {reason}.")

    def learnt(self) -> Learnt:
        """What came of the loop that has ended; the best epoch's weights take the place of the last one's."""
        figures, best = self._figures(), self.course.folder / BEST
        step = max(figures, key=lambda pair: pair[1])[0] if figures else self.state.global_step
        if best.is_dir():
            self._load_from_checkpoint(str(best))
        else:
            step = self.state.global_step
        self.model.eval()
        losses = [(h["step"], h["loss"]) for h in self.state.log_history if "loss" in h]
        notes, done = tuple(dict.fromkeys(self.notes)), self.state.global_step
        return Learnt(tuple(losses), tuple(figures), step, done, notes, self.unread, self.model)


class _Saving(transformers.TrainerCallback):  # type: ignore[misc]
    """Asks for a save every so many steps, and at the end of an epoch after the look at the validation faces, never
    between both: a run that goes on from there would not look."""

    def __init__(self, course: Course, epoch: int, logged: int) -> None:
        self._told, self._noted, self._epoch = course.told, course.noted, epoch
        # Losses between two entries of the log are averaged: a save in between would cut that in two.
        self._every = math.ceil(course.save_steps / logged) * logged if course.save_steps else 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._told is not None:
            self._told(state.global_step, state.max_steps)
        due = self._every and state.global_step % self._every == 0
        if due and state.global_step % self._epoch:
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self._noted is not None and logs:
            self._noted(logs)


def steps_of(recipe: Recipe, examples: int) -> int:
    """Steps of one epoch over so many examples."""
    return max(1, math.ceil(math.ceil(examples / recipe.batch_size) / recipe.accumulate))


def _arguments(course: Course, examples: int, device: torch.device) -> Any:
    recipe = course.recipe
    epoch = steps_of(recipe, examples)
    logged = max(1, math.ceil(epoch * recipe.epochs / MOST_LOGGED))
    args = transformers.TrainingArguments(
        output_dir=str(course.folder / STEPS),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,
        max_grad_norm=recipe.clip,
        bf16=course.bfloat16,
        eval_strategy="epoch",
        save_strategy="no",
        save_total_limit=1,
        logging_steps=logged,
        logging_nan_inf_filter=False,
        seed=course.seed,
        dataloader_num_workers=course.workers,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
    )
    # One process, one device: several would share a batch that is no tensor.
    args._n_gpu = min(1, args.n_gpu)
    return args

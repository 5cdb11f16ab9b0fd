"""The one button above the grid: every verb in the order in which a user works, the next step first."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.store import results, runs, targets
from facevlm.store.rows import detections_fields
from facevlm.tasks import _running
from facevlm.tasks import batch as batch_task

from . import _forms, _operator
from ._marks import marked, say
from .apply import ApplyVlmFaceAttributes
from .ask import AskAboutFaces
from .batches import CollectFaceAttributeBatches
from .check import CheckFaceDataset
from .compare import CompareFaceAttributeRuns
from .describe import DescribePeople
from .detect import DetectFaces
from .evaluate import EvaluateFaceAttributes
from .load import LoadFaceDataset
from .power import PlanNumberOfFaces
from .report import WriteFaceAttributeReport
from .sensitivity import MeasureWordingSensitivity
from .stop import StopFaceAttributeRuns
from .train import TrainFaceAttributeModel
from .try_one import TryOnOneFace

NAME = "face_attributes_menu"
LABEL = "Face attributes"
VERBS: tuple[type[_operator.Operator], ...] = (
    PlanNumberOfFaces,
    LoadFaceDataset,
    CheckFaceDataset,
    DetectFaces,
    ApplyVlmFaceAttributes,
    TryOnOneFace,
    AskAboutFaces,
    DescribePeople,
    CollectFaceAttributeBatches,
    EvaluateFaceAttributes,
    CompareFaceAttributeRuns,
    MeasureWordingSensitivity,
    WriteFaceAttributeReport,
    TrainFaceAttributeModel,
    StopFaceAttributeRuns,
)
"""As a user works."""
Step = tuple[type[_operator.Operator], str]
"""An operator, and why it comes next."""


class FaceAttributesMenu(_operator.Operator):
    """Opens the form of another operator."""

    ABOUT = _operator.About(
        NAME,
        LABEL,
        "Lists what can be done with face attributes, the next step first. It is for people: agents call the operators "
        "themselves.",
        is_scheduled=False,
        is_listed=False,
    )

    def resolve_placement(self, ctx: foo.ExecutionContext) -> Any:
        button = types.Button(label=LABEL, icon=_forms.ICON, prompt=True)
        return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, button)

    def frame(self, ctx: foo.ExecutionContext) -> types.View:
        first, _ = next_steps(ctx)[0]
        return types.PromptView(label=LABEL, submit_button_label=first.ABOUT.label, cancel_button_label="Close")

    def fill(self, ctx: foo.ExecutionContext, inputs: Any) -> None:
        steps = next_steps(ctx)
        inputs.view("next", types.Header(label="Next", divider=True))
        for verb, why in steps:
            _button(inputs, verb, f"next_{verb.ABOUT.name}", why, "contained")
        inputs.view("all", types.Header(label="All", divider=True))
        for verb in VERBS:
            _button(inputs, verb, verb.ABOUT.name, verb.ABOUT.line, "outlined")

    def work(self, ctx: foo.ExecutionContext) -> Generator[Any, None, None]:
        first, _ = next_steps(ctx)[0]
        yield ctx.prompt(_operator.uri(first))


def _button(inputs: Any, verb: type[_operator.Operator], name: str, line: str, variant: str) -> None:
    inputs.view(name, _operator.button(verb, variant))
    say(inputs, marked("{}", line), f"{name}_line")


def next_steps(ctx: foo.ExecutionContext) -> list[Step]:
    """What makes sense next for this dataset, the first of it first; at least one."""
    dataset = ctx.dataset
    if dataset is None or not dataset.has_sample_field("filepath") or targets.is_empty(targets.all_pictures(dataset)):
        return [(LoadFaceDataset, "There is no picture yet.")]
    steps: list[Step] = []
    if jobs := _running.jobs():
        steps.append((StopFaceAttributeRuns, f"{len(jobs)} under way: {jobs[0].said}."))
    if any(one.collected < one.batches for one in batch_task.overview(dataset)):
        steps.append((CollectFaceAttributeBatches, "Batches were handed in: see whether they are answered."))
    return [*steps, *_forward(dataset)]


def _forward(dataset: Any) -> list[Step]:
    """By what the dataset holds: faces, predictions, an evaluation."""
    prefixes, keys = runs.prefixes(dataset), results.eval_keys(dataset)
    if not prefixes:
        if detections_fields(dataset):
            return [(ApplyVlmFaceAttributes, "Faces are known, and no model was asked about them yet.")]
        return [
            (DetectFaces, "No face is known: where pictures show several people, find the faces first."),
            (ApplyVlmFaceAttributes, "Where every picture is of one person, ask about whole pictures."),
        ]
    if not keys:
        return [(EvaluateFaceAttributes, "There are predictions, and they were not held against ground truth yet.")]
    report = (WriteFaceAttributeReport, f"'{keys[-1]}' is evaluated: write down what came out.")
    if len(prefixes) > 1:
        return [(CompareFaceAttributeRuns, f"There are {len(prefixes)} runs: see where they differ."), report]
    return [report, (MeasureWordingSensitivity, "See how much the answers depend on how the model is asked.")]

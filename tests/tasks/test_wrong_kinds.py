"""What is no value of its kind is refused by every verb, for every parameter, before anything is written or sent."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm import arguments, batch
from facevlm.backends import Options, Remote
from facevlm.detection import Search
from facevlm.errors import FacevlmError, InputError, TargetError
from facevlm.faces.crops import Crop
from facevlm.faces.selection import Selection
from facevlm.tasks import ask, describe, load, sources
from facevlm.tasks._options import Settings
from facevlm.tasks.apply import ApplyRun
from facevlm.tasks.describe import DescribeRun
from facevlm.tasks.detect import DetectRun
from tests.scripted import ScriptedBackend, certain

NOT_TRUE = ["no", "false", 1, 0, [], 2.0]
NOT_SEVERAL = [3, [3], [None], 3.5, b"gender"]
NOT_BY_NAME = [3, "gender", ["gender"], {"gender": 3}, {3: "gender"}]
NOT_A_TEXT = [3, ["x"], True, b"x"]
NOT_A_NUMBER = ["3", [3], True, {}]
NOTHING_KNOWN = [3, "x", [], {}]
TARGETS = ("target", "dataset", "datasets")
VERBS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "apply": (facevlm.apply, ("demo", ["gender"])),
    "ask": (facevlm.ask, ("gender of all",)),
    "plan": (ask.plan, ("gender of all",)),
    "check": (facevlm.check, ()),
    "compare": (facevlm.compare, (["a", "b"],)),
    "describe": (facevlm.describe, ("openai:m", ["gender"])),
    "brief": (describe.brief, ("openai:m", ["gender"])),
    "detect": (facevlm.detect, ()),
    "evaluate": (facevlm.evaluate, ()),
    "probe": (facevlm.probe, ("demo", ["gender"])),
    "report": (facevlm.report, ()),
    "reproduce": (facevlm.paper.reproduce, ()),
    "sensitivity": (facevlm.sensitivity, ("demo", ["gender"])),
    "train": (facevlm.train, ("demo", ["gender"])),
    "submit": (batch.submit, ("openai:m", ["gender"])),
    "status": (batch.status, ()),
    "collect": (batch.collect, ()),
    "cancel": (batch.cancel, ()),
    "build_diversefaces": (load.build_diversefaces, ("/nowhere",)),
}

BESIDE: dict[str, dict[str, Any]] = {"train": {"out": "/nowhere/out"}}
"""What a verb must be given by name."""


def wrong(kind: Any) -> list[Any]:
    """Values that an annotation cannot mean, written down by hand for each kind of annotation."""
    parts = set(typing.get_args(kind)) or {kind}
    origins = {typing.get_origin(part) for part in (kind, *parts)}
    if bool in parts:
        return NOT_TRUE
    if Mapping in origins:
        return NOT_BY_NAME[3:] if Sequence in origins else NOT_BY_NAME
    if Sequence in origins:
        return [value for value in NOT_SEVERAL if not (int in parts and value == 3)]
    if str in parts:
        return NOT_A_TEXT
    return NOT_A_NUMBER if parts & {int, float} else NOTHING_KNOWN


def state(dataset: fo.Dataset) -> tuple[Any, ...]:
    dataset.reload()
    return dataset.list_runs(), dataset.list_evaluations(), dataset.list_saved_views(), list(dataset.get_field_schema())


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> Iterator[fo.Dataset]:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    before = state(made)
    yield made
    assert state(made) == before, "nothing is written"


@pytest.mark.parametrize("name", VERBS)
def test_every_parameter_of_every_verb(dataset: fo.Dataset, name: str) -> None:
    verb, given = VERBS[name]
    signature, kinds = arguments._kinds(inspect.unwrap(verb, stop=lambda f: hasattr(f, "__signature__")))
    first = {"utkface": dataset} if name == "reproduce" else dataset
    bound = dict(zip(signature.parameters, (first, *given), strict=False))
    assert set(kinds) >= {p for p in inspect.signature(verb).parameters if p not in TARGETS}
    tried = 0
    for parameter in kinds:
        for value in [object()] if parameter in TARGETS else [*wrong(kinds[parameter]), object()]:
            tried += 1
            with pytest.raises(FacevlmError) as refused:
                verb(**bound | BESIDE.get(name, {}) | {parameter: value})
            if parameter not in TARGETS:
                assert f"Got {parameter}=" in str(refused.value), (parameter, value)
    assert tried > 1


@pytest.mark.parametrize("target", [None, 3, "utk", []])
@pytest.mark.parametrize("name", [name for name in VERBS if name != "reproduce"])
def test_what_is_no_dataset(dataset: fo.Dataset, name: str, target: Any) -> None:
    verb, given = VERBS[name]
    with pytest.raises(TargetError, match="expected a FiftyOne dataset or view"):
        verb(target, *given, **BESIDE.get(name, {}))
    with pytest.raises(TargetError):
        batch.overview(target)


YES_OR_NO = "expected True or False."
NO: Any = "no"
ONE: Any = 1
THREE: Any = 3
TRUE: Any = True
FALSE: Any = False
X: Any = "x"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda d: facevlm.apply(d, "demo", THREE),
         "Got attributes=3 (int), expected a list of names such as ['gender']."),
        (lambda d: facevlm.apply(d, "demo", ["gender"], overwrite=NO), f"Got overwrite='no' (str), {YES_OR_NO}"),
        (lambda d: facevlm.apply(d, "demo", ["gender"], trust_remote_code=ONE),
         "Got trust_remote_code=1 (int), expected True, False or None."),
        (lambda d: facevlm.evaluate(d, bins={"age": X}),
         "Got bins={'age': 'x'} (dict), expected a dict by name, of which each is a list of numbers or None."),
        (lambda d: sources.folder("/nowhere", prune=NO), f"Got prune='no' (str), {YES_OR_NO}"),
        (lambda d: load.load("fairface", "/nowhere", overwrite=NO), f"Got overwrite='no' (str), {YES_OR_NO}"),
        (lambda d: ApplyRun(d, "demo", ["gender"], overwrite=NO), f"Got overwrite='no' (str), {YES_OR_NO}"),
        (lambda d: DescribeRun(d, "openai:m", ["gender"], overwrite=ONE), f"Got overwrite=1 (int), {YES_OR_NO}"),
        (lambda d: DetectRun(d, quality=NO), f"Got quality='no' (str), {YES_OR_NO}"),
        (lambda d: Crop(align=NO), f"Got align='no' (str), {YES_OR_NO}"),
        (lambda d: Crop(margin=TRUE), "Got margin=True (bool), expected a number."),
        (lambda d: Options(trust_remote_code=NO), f"Got trust_remote_code='no' (str), {YES_OR_NO}"),
        (lambda d: Remote(cache=FALSE), "Got cache='False', expected one of on, off, refresh."),
        (lambda d: Search(tiles=THREE), "Got tiles=3 (int), expected a text."),
        (lambda d: Selection(THREE), "Got field=3 (int), expected a text."),
        (lambda d: facevlm.attributes.get(THREE), "Got name=3 (int), expected a text."),
        (lambda d: facevlm.attributes.define("hat", ["yes", "no"], THREE), "Got question=3 (int), expected a text."),
        (lambda d: facevlm.open_backend(THREE), "Got model=3 (int), expected a text."),
        (lambda d: Settings(joint=NO), f"Got joint='no' (str), {YES_OR_NO}"),
    ],
)  # fmt: skip
def test_the_sentence(dataset: fo.Dataset, made: Callable[[fo.Dataset], Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        made(dataset)
    assert str(refused.value) == said


def test_what_is_meant_passes() -> None:
    several = arguments.fits
    kind = typing.get_type_hints(facevlm.evaluate)
    assert several(("gender",), kind["attributes"])
    assert several({"gender"}, kind["attributes"])
    assert several(facevlm.attributes.get("gender"), kind["attributes"])
    assert several({"age": (20, 40.5)}, kind["bins"])
    assert several(ScriptedBackend(lambda image, question: certain("Male", question)), facevlm.Backend)
    assert not several(object(), facevlm.Backend)
    assert not several(ScriptedBackend, facevlm.Backend), "the class is no backend"

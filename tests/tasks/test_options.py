"""One table of options: typed keywords, the command line, the forms and the docstrings say the same."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_type_hints

import fiftyone as fo
import pytest

import facevlm
from facevlm.backends import Options, Remote
from facevlm.backends.options import SCENE, ModelOptions, described, merged
from facevlm.cli import parser
from facevlm.errors import InputError, UnknownOption
from facevlm.tasks import _options
from facevlm.tasks._options import RunOptions, Settings, TaskOptions, settings
from facevlm.tasks.train import TrainOptions

VERBS: dict[str, tuple[Any, type, list[str]]] = {
    "apply": (facevlm.apply, RunOptions, ["apply"]),
    "ask": (facevlm.ask, RunOptions, ["ask"]),
    "describe": (facevlm.describe, TaskOptions, ["describe"]),
    "paper": (facevlm.paper.reproduce, RunOptions, ["paper"]),
    "probe": (facevlm.probe, TaskOptions, ["probe"]),
    "sensitivity": (facevlm.sensitivity, RunOptions, ["sensitivity"]),
    "try_one": (facevlm.try_one, TaskOptions, ["probe"]),
    "submit": (facevlm.batch.submit, RunOptions, ["batch", "submit"]),
}
ROWS = (*described(Options), *described(Remote))


def test_the_typed_keywords_are_the_table() -> None:
    assert set(get_type_hints(ModelOptions)) == {row.name for row in ROWS} | {"options", "remote"}
    hints, fields = get_type_hints(ModelOptions), {**get_type_hints(Remote), **get_type_hints(Options)}
    assert all(hints[row.name] == fields[row.name] | None for row in ROWS)
    assert all(hints[row.name] == row.kind | None for row in ROWS if not row.is_several)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_shows_every_keyword(name: str) -> None:
    verb, kind, _ = VERBS[name]
    shown = inspect.signature(verb).parameters
    assert set(get_type_hints(kind)) <= set(shown)
    assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())
    told = inspect.getdoc(verb) or ""
    assert (
        all(f"\n    {row.name}: {row.text.partition(' (default')[0][:60]}" in told for row in ROWS) or name == "paper"
    )
    assert "{options}" not in told


@pytest.mark.parametrize("name", VERBS)
def test_an_unknown_keyword_is_refused_with_the_nearest(name: str) -> None:
    verb, kind, _ = VERBS[name]
    with pytest.raises(UnknownOption, match=r"Got the option 'concurency', which .* does not take") as told:
        verb(None, concurency=3)
    assert "Did you mean 'concurrency'? Expected: " in str(told.value)
    assert isinstance(told.value, TypeError)
    if "batch_size" not in get_type_hints(kind) and name != "probe":
        with pytest.raises(UnknownOption, match="batch_size"):
            verb(None, batch_size=3)


@pytest.mark.parametrize("name", VERBS)
def test_the_command_line_has_a_flag_for_every_option_of_a_service(name: str) -> None:
    step: Any = parser()
    for word in VERBS[name][2]:
        [steps] = [a for a in step._actions if getattr(a, "choices", None) and word in a.choices]
        step = steps.choices[word]
    flags = {flag for action in step._actions for flag in action.option_strings}
    local = () if name in ("describe", "submit") else described(Options)
    assert {"--" + row.name.replace("_", "-") for row in (*described(Remote), *local)} <= flags
    assert {"--dry-run", "--yes"} <= flags


def test_single_keywords_win_over_objects_and_nothing_over_the_usual() -> None:
    assert merged({}) == Options()
    assert merged({"device": "cpu", "budget": 3.0, "samples": None}) == Options(device="cpu", remote=Remote(budget=3.0))
    given = {"options": Options(dtype="float32", remote=Remote(attempts=2)), "device": "cpu", "timeout": 5.0}
    assert merged(given) == Options(device="cpu", dtype="float32", remote=Remote(attempts=2, timeout=5.0))
    assert merged(given | {"remote": Remote(quality=50)}).remote == Remote(quality=50, timeout=5.0)
    assert settings({"base_url": "http://x"}, SCENE).options.remote == Remote(
        base_url="http://x", max_side=1024, detail="high", max_tokens=4096
    )
    assert settings({"remote": Remote()}, SCENE).options.remote == Remote()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"decode": "guess"}, "Got decode='guess', expected one of score, generate."),
        ({"quantize": "2bit"}, "Got quantize='2bit', expected one of 8bit, 4bit."),
        ({"memory_gb": 0.0}, "Got memory_gb=0.0, expected a number of GiB above 0."),
        ({"dtype": "float99"}, "Got dtype='float99', expected one of float32, bfloat16, float16."),
        ({"temperature": -1}, "Got temperature=-1, expected a number from 0 on."),
        ({"detail": "most"}, "Got detail='most', expected one of low, high, auto."),
        ({"concurrency": 0}, "Got concurrency=0, expected a whole number from 1 to 4096."),
        ({"batch_size": 0}, "Got batch_size=0, expected a whole number from 1 on."),
        ({"threads": 1.5}, "Got threads=1.5, expected a whole number from 1 on."),
    ],
)
def test_a_value_that_cannot_be_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as told:
        settings(given)
    assert str(told.value) == said


def test_every_keyword_of_a_run_has_its_words() -> None:
    told = {name for kind in (RunOptions, _options.DesignOptions, TrainOptions) for name in get_type_hints(kind)}
    assert set(_options.TEXTS) | {row.name for row in ROWS} == told
    assert set(get_type_hints(RunOptions)) - set(get_type_hints(ModelOptions)) <= set(Settings.__dataclass_fields__)


def test_flat_keywords_reach_the_run(dataset_name: str, pictures: list[str]) -> None:
    dataset = fo.Dataset(dataset_name)
    dataset.add_samples([fo.Sample(filepath=path) for path in pictures])
    facevlm.apply(dataset, "demo", ["gender"], batch_size=3, threads=1, device="cpu", dtype="float32", progress=False)
    record = dataset.get_run_info("facevlm_demo").config
    assert (record.batch_size, record.threads) == (3, 1)
    assert (record.backend["device"], record.backend["dtype"]) == ("cpu", "float32")


def test_the_report_is_a_verb(dataset_name: str, tmp_path: Path) -> None:
    dataset = facevlm.sources.sample_faces(dataset_name).limit(8)
    facevlm.apply(dataset, "demo", ["gender"], progress=False)
    facevlm.evaluate(dataset, ["gender"], draws=20)
    written = facevlm.report(dataset, tmp_path / "out")
    assert [path.name for path in written] == ["report.html", "report.md", "report.json"]
    assert all(path.stat().st_size for path in written)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder"):
        facevlm.report(dataset, tmp_path / "file")

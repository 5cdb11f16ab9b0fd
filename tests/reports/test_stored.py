"""Stored evaluations read back for a report, against a real MongoDB."""

from __future__ import annotations

import json
from collections.abc import Iterator

import fiftyone as fo
import pytest

import facevlm
from facevlm import reports
from facevlm.errors import FieldError
from facevlm.reports import markdown
from facevlm.store import reporting
from facevlm.store import results as results_store
from facevlm.tasks import sources as sources_task

NAME = "test-reports-stored"


@pytest.fixture(scope="module")
def faces() -> Iterator[fo.Dataset]:
    dataset = sources_task.sample_faces(NAME)
    facevlm.apply(dataset, "demo", ["gender", "emotion7"], progress=False)
    yield dataset
    fo.delete_dataset(NAME)


def test_the_figures_are_those_of_the_evaluation(faces: fo.Dataset) -> None:
    result = facevlm.evaluate(faces, draws=20)
    source = reporting.read(faces)
    assert source.evaluation == json.loads(json.dumps(result.to_dict()))
    assert (source.dataset, source.prefix, source.view, source.mistakes) == (NAME, "demo", "", None)
    assert source.record["outcomes"] == {"gender": {"ok": 96}, "emotion7": {"ok": 96}}
    assert source.evaluated


def test_a_later_evaluation_is_the_one_that_is_read(faces: fo.Dataset) -> None:
    facevlm.evaluate(faces, draws=20)
    reporting.read(faces)
    facevlm.evaluate(faces.limit(50), draws=20)
    source = reporting.read(faces)
    assert source.evaluation["evaluations"][0]["overall"]["n"] == 50
    assert source.view == "Limit"


def test_another_key_finds_its_prefix(faces: fo.Dataset) -> None:
    facevlm.apply(faces, "demo", ["emotion7"], prefix="other", progress=False)
    facevlm.evaluate(faces, ["emotion7"], prefix="other", eval_key="mine", draws=20)
    assert reporting.read(faces, eval_key="mine").prefix == "other"


def test_the_surest_errors_come_first(faces: fo.Dataset) -> None:
    facevlm.evaluate(faces, draws=20)
    mistakes = reporting.read(faces, pictures=True).mistakes
    assert mistakes is not None
    assert mistakes["gender"] == []
    sure = [m.confidence or 0.0 for m in mistakes["emotion7"]]
    assert len(sure) == reporting.MOST
    assert sure == sorted(sure, reverse=True)
    assert all(m.true != m.predicted for m in mistakes["emotion7"])
    faces.delete_saved_view("demo_eval_emotion7_errors")
    source = reporting.read(faces, pictures=True)
    assert (source.mistakes or {})["emotion7"] == []
    text = markdown.render(reports.build(source))
    assert text.count("There is no error with an answer.") == 1, "of gender"
    assert text.count("The errors that the figures count cannot be shown any more. Evaluate again.") == 1


def test_answers_that_changed_since_are_told(faces: fo.Dataset) -> None:
    def asked(target: fo.Dataset | fo.DatasetView, words: str, *, overwrite: bool = False) -> None:
        prompts = {"gender": words}
        facevlm.apply(target, "demo", ["gender"], prefix="p", prompts=prompts, overwrite=overwrite, progress=False)

    asked(faces, "man or woman?")
    facevlm.evaluate(faces, ["gender"], prefix="p", draws=20)
    assert reporting.read(faces, "p").changed == ()
    asked(faces, "man or woman?")
    assert reporting.read(faces, "p").changed == (), "nothing was asked"
    asked(faces.limit(6), "woman or man?", overwrite=True)
    source = reporting.read(faces, "p")
    [said] = source.changed
    assert said.startswith("gender was answered anew since this evaluation")
    assert said in markdown.render(reports.build(source))
    faces.delete_sample_field("p_gender")
    [gone] = reporting.read(faces, "p").changed
    assert "'p_gender' of the evaluation 'p_eval_gender' is not there any more" in gone


def test_faces_that_were_answered_anew_are_told(dataset_name: str) -> None:
    groups = sources_task.sample_groups(dataset_name)
    for k, part in enumerate((groups, groups.limit(2))):
        facevlm.apply(
            part,
            "demo",
            ["gender"],
            faces="faces",
            prompts={"gender": f"man or woman? {k}"},
            overwrite=bool(k),
            progress=False,
        )
        if not k:
            facevlm.evaluate(groups, draws=20)
            assert reporting.read(groups).changed == ()
    [said] = reporting.read(groups).changed
    assert said.startswith("gender was answered anew")


def test_a_view_with_paths_is_told_without_them(faces: fo.Dataset) -> None:
    view = faces.match(fo.ViewField("filepath").contains_str("/"))
    facevlm.evaluate(view, eval_key="paths", draws=20)
    text = markdown.render(reports.build(reporting.read(faces, eval_key="paths")))
    assert "| view | Match |" in text
    assert not [p for p in faces.values("filepath") if p in text]


def test_without_an_evaluation_the_error_says_what_to_do(faces: fo.Dataset) -> None:
    with pytest.raises(FieldError, match="'nope_eval'"):
        reporting.read(faces, "nope")


def test_figures_of_another_version_are_to_be_made_again_where_more_than_a_figure_lacks(faces: fo.Dataset) -> None:
    result = facevlm.evaluate(faces, ["gender"], eval_key="old", draws=20).to_dict()
    del result["evaluations"][0]["overall"]["kappa"]
    results_store.save(faces, result)
    text = markdown.render(reports.build(reporting.read(faces, eval_key="old")))
    assert next(line for line in text.splitlines() if line.startswith("| gender | 96 ")).endswith("| - |")
    del result["evaluations"][0]["overall"]["n_labels"]
    results_store.save(faces, result)
    with pytest.raises(FieldError, match="it lacks n_labels"):
        reporting.read(faces, eval_key="old")

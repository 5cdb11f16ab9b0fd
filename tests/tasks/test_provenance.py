"""Whose answers figures are made of: those of one run, named, whatever else stands under the prefix or in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm.cli import main
from facevlm.errors import FieldError, InputError, TargetError
from facevlm.store import inspection, predictions, provenance, results, runs
from facevlm.tasks import sources
from facevlm.types import Attribute, Question, Reply
from tests.scripted import ScriptedBackend, certain
from tests.servers import warm

Answer = Callable[[Image.Image, Question], Reply]


def always(label: str) -> Answer:
    return lambda image, question: certain(label if label in question.attribute.labels else "White", question)


def apply(target: Any, label: str, name: str, **more: Any) -> Any:
    options: dict[str, Any] = {"attributes": ["gender"], "prefix": "t", "progress": False} | more
    return facevlm.apply(target, ScriptedBackend(always(label), name), **options)


def evaluate(target: Any, **more: Any) -> Any:
    options: dict[str, Any] = {"prefix": "t", "draws": 20, "groups": []} | more
    return facevlm.evaluate(target, **options)


@pytest.fixture
def mixed(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    """Ten pictures of men and women in turn: alpha said Male of all, beta then Female of the first three."""
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures], progress=False)
    made.set_values("gender", [fo.Classification(label=x) for x in ["Male", "Female"] * 5])
    apply(made, "Male", "alpha-7b")
    apply(made[:3], "Female", "beta-9b", overwrite=True)
    return made


BOTH = (
    r"answers of 2 runs, expected those of one: 7 of alpha-7b \(run facevlm_t:\w+\); 3 of beta-9b \(run facevlm_t:\w+\)"
)


def test_answers_of_two_models_make_no_figure(mixed: fo.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FieldError, match=BOTH):
        evaluate(mixed)
    assert mixed.list_evaluations() == [], "nothing is written"
    assert main(["evaluate", mixed.name, "--prefix", "t", "--draws", "20"]) != 0
    assert "3 of beta-9b" in capsys.readouterr().err
    apply(mixed, "Male", "gamma", prefix="other")
    with pytest.raises(FieldError, match=BOTH):
        facevlm.compare(mixed, ["t", "other"], draws=20)


def test_one_of_two_models_is_evaluated_where_it_is_named(mixed: fo.Dataset, tmp_path: Path) -> None:
    result = evaluate(mixed, runs="alpha-7b")
    assert result.answered_by["gender"]["model"] == "alpha-7b"
    overall = result["gender"].overall
    assert (overall.n, result["gender"].not_asked, result.answered_by["gender"]["n"]) == (7, 3, 7)
    assert overall.accuracy == 3 / 7, "Male, of pictures 4 to 10"
    errors = mixed.load_saved_view(result.views["gender"])
    assert set(errors.values("t_gender.label")) == {"Male"}
    assert len(errors) == 4, "beta's errors are not alpha's"
    found = inspection.inspect(mixed, results.load(mixed, "t_eval"), "gender")
    assert (len(found.faces), len(found.target)) == (7, 7)
    # The record under the prefix is beta's by now; the report tells of the one whose answers were judged.
    assert runs.read(mixed, "facevlm_t")["backend"]["model"] == "beta-9b"
    facevlm.report(mixed, tmp_path, prefix="t")
    told = (tmp_path / "report.md").read_text()
    assert "alpha-7b" in told
    assert "beta-9b" not in told
    stamp = evaluate(mixed, runs=["beta-9b"]).answered_by["gender"]["run"]
    assert evaluate(mixed, runs=[stamp])["gender"].overall.n == 3
    with pytest.raises(FieldError, match=r"Got runs=\['nobody'\], expected one of those that answered in field"):
        evaluate(mixed, runs=["nobody"])
    assert main(["evaluate", mixed.name, "--prefix", "t", "--runs", "alpha-7b", "--draws", "20"]) == 0


def test_attributes_of_different_models_are_told_apart(mixed: fo.Dataset, tmp_path: Path) -> None:
    mixed.set_values("race", [fo.Classification(label="White")] * 10)
    apply(mixed, "White", "alpha-7b", attributes=["gender", "race7"], overwrite=True)
    apply(mixed, "Female", "beta-9b", overwrite=True)
    by = evaluate(mixed).answered_by
    assert {name: one["model"] for name, one in by.items()} == {"gender": "beta-9b", "race7": "alpha-7b"}
    facevlm.report(mixed, tmp_path, prefix="t")
    told = (tmp_path / "report.md").read_text()
    assert "alpha-7b" in told
    assert "beta-9b" in told


def test_a_run_that_wrote_nothing_does_not_put_its_name_to_the_answers_of_another(mixed: fo.Dataset) -> None:
    apply(mixed, "Male", "alpha-7b", overwrite=True)
    record = runs.read(mixed, "facevlm_t")
    stranger = {**record["backend"], "model": "beta-9b"}
    runs.write(mixed, "facevlm_t", {"prefix": "t", "backend": stranger, "fingerprints": {"gender": "ffffffff"}})
    assert evaluate(mixed).answered_by["gender"]["model"] == "alpha-7b"


def test_answers_whose_record_is_gone_are_of_an_unknown_model(mixed: fo.Dataset) -> None:
    mixed.delete_run("facevlm_t")
    with pytest.raises(FieldError, match=f"7 of {provenance.UNKNOWN}"):
        evaluate(mixed)


def test_faces_answered_by_two_models_make_no_figure(dataset_name: str) -> None:
    groups = sources.sample_groups(dataset_name)
    apply(groups, "Male", "alpha-7b", faces="faces")
    apply(groups[:2], "Female", "beta-9b", faces="faces", overwrite=True)
    faces = [len(sample.faces.detections) for sample in groups]
    with pytest.raises(FieldError, match="answers of 2 runs"):
        evaluate(groups)
    result = evaluate(groups, runs=["beta-9b"])
    assert result["gender"].overall.n == sum(faces[:2])
    assert result["gender"].not_asked == sum(faces[2:])
    found = inspection.inspect(groups, results.load(groups, "t_eval"), "gender")
    assert len(found.faces) == sum(faces[:2])


def test_an_evaluation_of_a_part_takes_the_judgements_of_the_rest_away(mixed: fo.Dataset) -> None:
    apply(mixed, "Male", "alpha-7b", overwrite=True)
    evaluate(mixed)
    assert mixed.values("t_eval_gender") == [True, False] * 5
    evaluate(mixed[:4])
    assert mixed.values("t_eval_gender") == [True, False, True, False] + [None] * 6
    assert len(mixed.load_evaluation_view("t_eval_gender")) == 4


def test_a_field_of_the_users_is_not_evaluated_over(mixed: fo.Dataset) -> None:
    mixed.set_values("mine_gender", [True] * 10)
    with pytest.raises(FieldError, match="Field 'mine_gender' is already there and was not written by facevlm"):
        evaluate(mixed, runs=["alpha-7b"], eval_key="mine")
    assert mixed.values("mine_gender") == [True] * 10
    assert mixed.list_evaluations() == mixed.list_saved_views() == []


def test_an_evaluation_of_the_users_is_not_replaced(mixed: fo.Dataset) -> None:
    apply(mixed, "Male", "alpha-7b", overwrite=True)
    mixed.evaluate_classifications("t_gender", gt_field="gender", eval_key="own_gender")
    with pytest.raises(FieldError, match="'own_gender' is already there and was not written by facevlm"):
        evaluate(mixed, eval_key="own")
    assert mixed.load_evaluation_results("own_gender").metrics()["accuracy"] == 0.5
    evaluate(mixed)
    evaluate(mixed)
    boxes = sources.sample_groups(f"{mixed.name}-groups")
    try:
        apply(boxes, "Male", "alpha-7b", faces="faces")
        boxes.evaluate_detections("t_gender", gt_field="faces", eval_key="own_gender")
        with pytest.raises(FieldError, match="Evaluation 'own_gender' is already there"):
            evaluate(boxes, eval_key="own")
        evaluate(boxes)
        evaluate(boxes)
    finally:
        boxes.delete()


def test_a_prefix_whose_fields_were_half_declared_is_gone_on_with(mixed: fo.Dataset) -> None:
    what = {"half_gender": predictions.document(fo.Classification, "Perceived gender")}
    predictions.add(mixed, what)
    assert apply(mixed, "Male", "alpha-7b", prefix="half").asked == 10
    mixed.add_sample_field("own_gender", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    with pytest.raises(FieldError, match="'own_gender' is already there and was not written by facevlm"):
        apply(mixed, "Male", "alpha-7b", prefix="own")


def test_a_record_that_a_killed_run_left_open_is_closed(mixed: fo.Dataset) -> None:
    apply(mixed, "Male", "alpha-7b", overwrite=True)
    runs.update(mixed, "facevlm_t", runs.read(mixed, "facevlm_t") | {"status": "running", "outcomes": {"gender": {}}})
    assert apply(mixed, "Male", "alpha-7b").asked == 0
    record = runs.read(mixed, "facevlm_t")
    assert (record["status"], record["outcomes"]) == ("done", {"gender": {"ok": 10}})
    facevlm.detect(mixed, "found", detector="haar", progress=False)
    runs.update(mixed, "facevlm_detect_found", runs.read(mixed, "facevlm_detect_found") | {"status": "running"})
    facevlm.detect(mixed, "found", detector="haar", progress=False)
    assert runs.read(mixed, "facevlm_detect_found")["status"] == "done"


ELSEWHERE = """
import sys, fiftyone as fo, facevlm
from tests.tasks.test_provenance import apply
apply(fo.load_dataset(sys.argv[1]), "Male", "alpha-7b", prefix="late")
"""


@pytest.mark.process
def test_what_another_process_did_is_noticed(mixed: fo.Dataset) -> None:
    warm.run(ELSEWHERE, mixed.name, check=True)
    assert evaluate(mixed, prefix="late")["gender"].overall.n == 10
    assert apply(mixed, "Male", "alpha-7b", prefix="late").asked == 0
    with pytest.raises(FieldError, match="hold predictions of another model"):
        apply(mixed, "Male", "beta-9b", prefix="late")


def test_a_deleted_dataset_is_said_to_be(mixed: fo.Dataset) -> None:
    view = mixed.limit(3)
    fo.delete_dataset(mixed.name)
    for target in (mixed, view):
        for verb in (evaluate, facevlm.detect, facevlm.check, lambda t: apply(t, "Male", "alpha-7b")):
            with pytest.raises(TargetError, match="was deleted"):
                verb(target)


@pytest.mark.parametrize(
    "call",
    [
        lambda d: apply(d, "Male", "m", attributes="gender", prefix="one"),
        lambda d: apply(d, "Male", "m", attributes=facevlm.attributes.get("gender"), prefix="one"),
        lambda d: evaluate(d, attributes="gender", groups="gender", runs="alpha-7b"),
        lambda d: facevlm.check(d, fields="gender"),
        lambda d: facevlm.sensitivity(
            d, ScriptedBackend(always("Male")), "gender", paraphrases={"gender": "Man or woman?"}, progress=False
        ),
    ],
)
def test_one_name_alone_is_a_name(mixed: fo.Dataset, call: Callable[[fo.Dataset], Any]) -> None:
    call(mixed)


def test_a_word_is_not_read_letter_by_letter(mixed: fo.Dataset) -> None:
    with pytest.raises(InputError, match=r"Got the prefixes \['xy'\], expected at least two"):
        facevlm.compare(mixed, "xy")
    with pytest.raises(InputError, match="got the labels 'ab', expected a list"):
        facevlm.attributes.define("hat", "ab", "a hat?")
    hat = facevlm.attributes.define("hat", ["yes", "no"], "a hat?", aliases={"yes": "sure"})
    assert isinstance(hat, Attribute)
    assert hat.aliases == {"yes": ("sure",)}


def test_what_was_evaluated_is_told_by_the_result(mixed: fo.Dataset) -> None:
    result = evaluate(mixed, runs=["alpha-7b"])
    assert "gender" in result
    assert "age5" not in result
    assert list(result) == ["gender"]
    assert len(result) == 1
    assert json.loads(json.dumps(result.to_dict()))["answered_by"]["gender"]["model"] == "alpha-7b"


def test_runs_are_not_set_against_each_other_where_one_is_a_mixture(mixed: fo.Dataset) -> None:
    apply(mixed, "Male", "gamma", prefix="other")
    evaluate(mixed, prefix="other")
    found = inspection.inspect(mixed, results.load(mixed, "other_eval"), "gender")
    with pytest.raises(FieldError, match="Field 't_gender' holds answers of 2 runs"):
        inspection.disagreements(found, "t")
    apply(mixed, "Female", "beta-9b", overwrite=True)
    assert len(inspection.disagreements(found, "t")) == 10


@pytest.mark.parametrize(
    "call",
    [
        lambda d: evaluate(d, prefix="other", groups=["t_gender"]),
        lambda d: evaluate(d, prefix="other", groups=["race"], adjust=["t_gender"]),
        lambda d: evaluate(d, prefix="other", cluster="t_gender"),
        lambda d: facevlm.compare(d, ["other", "third"], groups=["t_gender"], draws=20),
        lambda d: facevlm.review(d, "gender", prefix="other").queue("groups", groups="t_gender"),
        lambda d: facevlm.sensitivity(
            d, ScriptedBackend(always("Male"), "delta"), "gender", groups=["t_gender"], progress=False
        ),
    ],
    ids=["groups", "adjust", "cluster", "compare", "review", "sensitivity"],
)
def test_answers_of_two_models_make_no_groups(mixed: fo.Dataset, call: Callable[[fo.Dataset], Any]) -> None:
    mixed.set_values("race", [fo.Classification(label=x) for x in ["White", "Black"] * 5])
    apply(mixed, "Male", "gamma", prefix="other")
    apply(mixed, "Female", "delta", prefix="third")
    before = sorted(mixed.get_field_schema())
    with pytest.raises(FieldError, match=f"Field 't_gender' holds {BOTH}.* or name another field"):
        call(mixed)
    assert sorted(mixed.get_field_schema()) == before, "nothing is written"


def test_groups_of_one_model_that_became_two_are_not_shown(mixed: fo.Dataset) -> None:
    apply(mixed, "Male", "gamma", prefix="other")
    apply(mixed, "Male", "alpha-7b", overwrite=True)
    evaluate(mixed, prefix="other", groups=["t_gender"])
    found = inspection.inspect(mixed, results.load(mixed, "other_eval"), "gender")
    assert len(inspection.group(found, ["t_gender"], ["Male"])) == 10
    apply(mixed[:3], "Male", "beta-9b", overwrite=True)
    with pytest.raises(FieldError, match="Field 't_gender' holds answers of 2 runs"):
        inspection.group(found, ["t_gender"], ["Male"])


def rated(target: Any, label: str, name: str, **more: Any) -> None:
    words = {"gender": ["Man or woman?"]}

    def answer(image: Image.Image, question: Question) -> Reply:
        return certain("Female" if "Man or" in question.text else label, question)

    backend = ScriptedBackend(answer, name)
    facevlm.sensitivity(target, backend, "gender", prefix="s", paraphrases=words, progress=False, draws=20, **more)


def test_flip_rates_of_two_models_do_not_stand_side_by_side(mixed: fo.Dataset) -> None:
    rated(mixed, "Male", "alpha-7b")
    assert mixed.values("s_gender_flip_rate") == [0.5] * 10
    rated(mixed[:4], "Female", "beta-9b", overwrite=True)
    assert mixed.values("s_gender_flip_rate") == [0.0] * 4 + [None] * 6
    rated(mixed, "Male", "alpha-7b", overwrite=True)
    rated(mixed[:4], "Male", "alpha-7b")
    assert mixed.values("s_gender_flip_rate") == [0.5] * 10, "of the same runs"


def test_the_view_of_errors_shows_those_of_the_judged_model_alone(mixed: fo.Dataset) -> None:
    apply(mixed, "Male", "alpha-7b", overwrite=True)
    result = evaluate(mixed)
    apply(mixed[:5], "Female", "beta-9b", overwrite=True)
    shown = mixed.load_saved_view(result.views["gender"])
    assert shown.values("t_gender.label") == ["Male"] * 3


def test_predictions_on_common_labels_are_of_one_model(mixed: fo.Dataset) -> None:
    mixed.set_values("race", [fo.Classification(label="White")] * 10)
    apply(mixed, "White", "alpha-7b", attributes=["race7"])
    evaluate(mixed, attributes=["race7"], onto={"race7": "race5"})
    apply(mixed, "White", "beta-9b", attributes=["race7"], overwrite=True)
    evaluate(mixed[:4], attributes=["race7"], onto={"race7": "race5"})
    [copy] = [name for name in mixed.get_field_schema() if name.startswith("t_race7_as_")]
    assert mixed.count(copy) == 4


def test_judged_faces_outside_of_an_evaluation_are_taken_away(dataset_name: str) -> None:
    groups = sources.sample_groups(dataset_name)
    apply(groups, "Male", "alpha-7b", faces="faces")
    evaluate(groups)
    apply(groups, "Female", "beta-9b", faces="faces", overwrite=True)
    evaluate(groups[:2])
    assert groups.count("t_eval_gender_faces") == 2


@pytest.mark.parametrize(
    ("wanted", "who"), [("alpha-7b", "alpha-7b"), ("beta", "openai:beta"), (["Beta-9B"], "hf:org/Beta-9B")]
)
def test_a_model_is_named_with_or_without_where_it_is_from(mixed: fo.Dataset, wanted: Any, who: str) -> None:
    apply(mixed[3:5], "Male", "openai:beta", overwrite=True)
    apply(mixed[5:7], "Male", "hf:org/Beta-9B", overwrite=True)
    assert evaluate(mixed, runs=wanted).answered_by["gender"]["model"] == who


def test_runs_that_name_several_are_refused_in_words(mixed: fo.Dataset) -> None:
    with pytest.raises(
        FieldError, match="names 2 runs that answered in field 't_gender', expected one for each attribute"
    ):
        evaluate(mixed, runs=["alpha-7b", "beta-9b"])
    apply(mixed[3:5], "Male", "openai:m", overwrite=True)
    apply(mixed[5:7], "Male", "hf:org/m", overwrite=True)
    with pytest.raises(FieldError, match=r"Got runs=\['m'\], which names 2 runs"):
        evaluate(mixed, runs="m")


@pytest.mark.parametrize("key", ["a b", "", "1a", "_x"])
def test_a_key_that_cannot_be_is_called_by_its_name(mixed: fo.Dataset, key: str) -> None:
    with pytest.raises(FieldError, match=f"Got eval_key='{key}', expected letters, digits and underscores"):
        evaluate(mixed, runs="alpha-7b", eval_key=key)


@pytest.mark.parametrize("prefix", ["gender", "filepath", "race7"])
def test_a_prefix_that_is_a_field_is_refused(mixed: fo.Dataset, prefix: str) -> None:
    model = ScriptedBackend(always("Male"))
    with pytest.raises(FieldError, match=f"Got the field prefix '{prefix}', which is"):
        facevlm.apply(mixed, model, ["gender", "race7"], prefix=prefix)
    with pytest.raises(FieldError, match=f"Got the field prefix '{prefix}', which is"):
        facevlm.describe(mixed, "openai:m", ["gender", "race7"], prefix=prefix, base_url="http://127.0.0.1:9")
    assert model.asked == 0
    assert f"{prefix}_gender" not in mixed.get_field_schema()

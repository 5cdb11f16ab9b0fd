"""apply and evaluate against a real MongoDB: stored fields, resume, failures, records, figures."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm.attributes import define, get
from facevlm.errors import FieldError, InputError, TargetError, TaxonomyError, UnknownName
from facevlm.store.evaluations import truth_fields
from facevlm.store.rows import PictureRows
from facevlm.tasks._options import Settings
from facevlm.tasks.apply import ApplyResult, ApplyRun
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain
from tests.servers import warm
from tests.waiting import until

GENDER = get("gender")


def by_brightness(image: Image.Image, question: Question) -> Reply:
    """Male for dark pictures, Female for bright ones, the surer the further from the middle."""
    level = image.getpixel((0, 0))[0]  # type: ignore[index]
    share = 0.5 + abs(level - 100) / 256
    return certain(question.attribute.labels[int(level >= 100)], question, share)


def backend() -> ScriptedBackend:
    return ScriptedBackend(by_brightness)


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p, number=k) for k, p in enumerate(pictures)], progress=False)
    return made


def run(target: fo.Dataset, answering: ScriptedBackend, **kwargs: object) -> ApplyResult:
    return facevlm.apply(target, answering, ["gender"], prefix="t", progress=False, **kwargs)  # type: ignore[arg-type]


def test_predictions_are_stored_as_classifications(dataset: fo.Dataset) -> None:
    result = run(dataset, backend())
    assert result.outcomes == {"gender": {"ok": 10}}
    labels = dataset.values("t_gender")
    assert [x.label for x in labels] == ["Male"] * 5 + ["Female"] * 5
    assert all(isinstance(x, fo.Classification) and x.outcome == "ok" for x in labels)
    assert labels[0].confidence == pytest.approx(0.5 + 90 / 256)
    assert labels[0].logits.shape == (2,)
    assert labels[0].coverage == pytest.approx(1)
    assert {"t_gender.outcome", "t_gender.reason"} <= set(dataset.get_field_schema(flat=True))


def test_a_view_is_all_that_is_asked(dataset: fo.Dataset) -> None:
    answering = backend()
    run(dataset.match(fo.ViewField("number") < 3), answering)
    assert answering.asked == 3
    assert dataset.count("t_gender") == 3
    run(dataset.select(dataset.values("id")[5:7]), answering)
    assert dataset.count("t_gender") == 5


def test_a_second_run_asks_nothing_and_overwrite_asks_all(dataset: fo.Dataset) -> None:
    answering = backend()
    run(dataset, answering)
    before = dataset.get_run_info("facevlm_t").config.serialize()
    again = run(dataset, answering)
    assert (again.asked, again.skipped, answering.asked) == (0, 10, 10)
    assert dataset.get_run_info("facevlm_t").config.serialize() == before
    run(dataset, answering, overwrite=True)
    assert answering.asked == 20


def test_failures_are_asked_again_and_the_rest_is_kept(dataset: fo.Dataset, pictures: list[str]) -> None:
    Path(pictures[3]).rename(pictures[3] + ".away")
    Path(pictures[4]).write_bytes(Path(pictures[4]).read_bytes()[:60])
    answering = backend()
    result = run(dataset, answering)
    assert result.outcomes == {"gender": {"ok": 8, "failed": 2}}
    missing, damaged = dataset.values("t_gender")[3:5]
    assert (missing.label, missing.outcome, missing.confidence) == (None, "failed", None)
    assert missing.reason == "file not found: 03.png"
    assert damaged.reason.startswith("cannot read 04.png")
    Path(pictures[3] + ".away").rename(pictures[3])
    again = run(dataset, answering)
    assert (again.asked, again.outcomes) == (2, {"gender": {"ok": 1, "failed": 1}})


def test_refusals_and_prose_are_outcomes_not_labels(dataset: fo.Dataset) -> None:
    def answer(image: Image.Image, question: Question) -> Reply:
        level = image.getpixel((0, 0))[0]  # type: ignore[index]
        if level < 50:
            return Reply(text="I cannot say", refused=True)
        return Reply(text="female" if level < 100 else "I think that she is a woman.")

    result = run(dataset, ScriptedBackend(answer))
    assert result.outcomes == {"gender": {"refused": 2, "ok": 3, "unparsed": 5}}
    assert [x.label for x in dataset.values("t_gender")] == [None] * 2 + ["Female"] * 3 + [None] * 5


def test_another_prompt_or_model_does_not_overwrite_silently(dataset: fo.Dataset) -> None:
    run(dataset, backend())
    with pytest.raises(FieldError, match="another model or prompt for gender"):
        run(dataset, backend(), prompts={"gender": "man or woman?"})
    with pytest.raises(FieldError, match="another model or prompt"):
        run(dataset, ScriptedBackend(by_brightness, name="other"))
    run(dataset, ScriptedBackend(by_brightness, name="other"), overwrite=True)
    assert dataset.get_run_info("facevlm_t").config.backend["model"] == "other"


def test_a_field_of_the_user_is_left_as_it_is(dataset: fo.Dataset) -> None:
    dataset.set_values("t_gender", ["mine"] * 10)
    for overwrite in (False, True):
        with pytest.raises(FieldError, match="was not written by facevlm"):
            run(dataset, backend(), overwrite=overwrite)
    assert dataset.distinct("t_gender") == ["mine"]


def test_the_record_repeats_the_run(dataset: fo.Dataset) -> None:
    run(dataset.limit(4), backend(), batch_size=3)
    record = dataset.get_run_info("facevlm_t").config
    assert record.status == "done"
    assert record.questions["gender"]["text"] == GENDER.question
    assert record.outcomes == {"gender": {"ok": 4}}
    assert (record.faces, record.asked, record.batch_size) == (4, 4, 3)
    assert "fiftyone.core.stages.Limit" in record.view
    reread = fo.load_dataset(dataset.name)
    reread._doc.reload()
    assert reread.get_run_info("facevlm_t").config.view == record.view
    stamp = dataset.first().t_gender.run
    assert stamp == f"facevlm_t:{record.fingerprints['gender']}"


def test_closing_early_keeps_what_was_answered(dataset: fo.Dataset) -> None:
    application = ApplyRun(dataset, backend(), ["gender"], prefix="t", settings=Settings(batch_size=2))
    steps = application.steps()
    next(steps)
    next(steps)
    steps.close()
    assert dataset.count("t_gender") == 4
    assert dataset.get_run_info("facevlm_t").config.status == "stopped"
    assert run(dataset, backend()).asked == 6


def test_an_attribute_of_ones_own(dataset: fo.Dataset) -> None:
    scarf = define("head_scarf", ["yes", "no"], "does the person wear a head scarf?")
    facevlm.apply(dataset, backend(), [scarf], prefix="t", progress=False)
    assert set(dataset.distinct("t_head_scarf.label")) == {"yes", "no"}


KILLED = """
import sys, time
import fiftyone as fo
import facevlm
from tests.scripted import ScriptedBackend, certain
name, log = sys.argv[1:]
handle = open(log, "a", buffering=1)
def answer(image, question):
    time.sleep(0.004)
    red, green, _ = image.getpixel((0, 0))
    handle.write(f"{red + 256 * green}\\n")
    return certain("Male", question)
facevlm.apply(
    fo.load_dataset(name), ScriptedBackend(answer), ["gender"], prefix="k", batch_size=8, chunk_size=40, progress=False
)
"""


@pytest.mark.kill
def test_a_killed_run_goes_on_where_it_was(dataset_name: str, tmp_path: Path) -> None:
    total, chunk, batch = 400, 40, 8
    for k in range(total):
        Image.new("RGB", (4, 4), (k % 256, k // 256, 0)).save(tmp_path / f"{k:03d}.png")
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=str(tmp_path / f"{k:03d}.png")) for k in range(total)], progress=False)
    log = tmp_path / "asked.txt"
    first = warm.start(KILLED, dataset_name, str(log))

    def half_way() -> bool:
        assert first.poll() is None, "the run ended before it could be killed"
        return log.exists() and len(log.read_text().split()) > total / 2

    until(half_way, "half of the faces are asked")
    first.send_signal(signal.SIGKILL)
    first.wait()
    made.reload()
    stored = made.count("k_gender")
    asked_first = Counter(log.read_text().split())
    assert 0 < stored < total
    assert len(asked_first) - stored <= 2 * chunk + batch
    warm.run(KILLED, dataset_name, str(log), check=True)
    made.reload()
    assert made.count_values("k_gender.outcome") == {"ok": total}
    asked = Counter(log.read_text().split())
    assert len(asked) == total
    assert sum(asked.values()) - total == len(asked_first) - stored


@pytest.fixture
def judged(dataset: fo.Dataset) -> fo.Dataset:
    """Predictions with ground truth in several forms; picture 9 is wrong, picture 0 has no truth."""
    run(dataset, backend())
    truth = ["Male"] * 5 + ["Female"] * 4 + ["Male"]
    dataset.set_values("gender", [None, *(fo.Classification(label=x) for x in truth[1:])])
    dataset.set_values("sex", [None, *(x.lower() for x in truth[1:])])
    dataset.set_values("side", ["left", "right"] * 5)
    return dataset


def test_figures_are_those_of_the_faces_with_ground_truth(judged: fo.Dataset) -> None:
    result = facevlm.evaluate(judged, prefix="t", groups=["side", "gender"])
    cell = result["gender"].overall
    assert (cell.n, cell.accuracy, cell.coverage) == (9, pytest.approx(8 / 9), 1)
    assert result["gender"].no_truth == 1
    by = {table.by: {row.values: row.cell for row in table.rows} for table in result["gender"].groups}
    assert {k: v.n for k, v in by[("side",)].items()} == {("left",): 4, ("right",): 5}
    assert by[("side",)][("right",)].accuracy == pytest.approx(4 / 5)
    assert set(by) == {("side",), ("gender",), ("side", "gender")}


def test_the_result_stands_in_fiftyones_own_evaluation(judged: fo.Dataset) -> None:
    result = facevlm.evaluate(judged, prefix="t", eval_key="mine")
    judged.reload()
    assert judged.list_evaluations() == ["mine_gender"]
    native = judged.load_evaluation_results("mine_gender", cache=False)
    assert native.metrics()["accuracy"] == pytest.approx(result["gender"].overall.accuracy)
    assert native.metrics()["macro_f1"] == pytest.approx(result["gender"].overall.f1)
    assert next(iter(native.custom_metrics.values()))["lower_is_better"] is False
    errors = judged.load_saved_view(result.views["gender"])
    assert errors.values("number") == [9]


def test_errors_are_sorted_by_confidence(judged: fo.Dataset) -> None:
    judged.set_values("gender", [fo.Classification(label="Male")] * 10)
    result = facevlm.evaluate(judged, prefix="t")
    assert judged.load_saved_view(result.views["gender"]).values("number") == [9, 8, 7, 6, 5]


def test_ground_truth_of_another_spelling_is_mapped_into_a_copy(judged: fo.Dataset) -> None:
    result = facevlm.evaluate(judged, prefix="t", ground_truth={"gender": "sex"})
    assert result["gender"].overall.accuracy == pytest.approx(8 / 9)
    assert judged.values("sex")[1] == "male"
    assert judged.values("sex_as_gender.label")[1] == "Male"
    assert "sex_as_gender" not in truth_fields(PictureRows(judged))


def test_evaluating_again_replaces_the_evaluation(judged: fo.Dataset) -> None:
    facevlm.evaluate(judged, prefix="t")
    facevlm.evaluate(judged, prefix="t", ground_truth={"gender": "sex"})
    assert judged.list_evaluations() == ["t_eval_gender"]
    stored = judged.load_run_results("facevlm_t_eval", cache=False)
    assert json.dumps(stored.evaluations)
    assert stored.ground_truth == {"gender": "sex"}


def test_coarser_ground_truth_takes_finer_predictions(dataset: fo.Dataset) -> None:
    answering = ScriptedBackend(lambda image, question: certain("Southeast Asian", question))
    facevlm.apply(dataset, answering, ["race7"], prefix="t", progress=False)
    dataset.set_values("race", [fo.Classification(label=x) for x in ["Asian", "Others"] * 5])
    result = facevlm.evaluate(dataset, prefix="t")
    assert result["race7"].attribute == "race5"
    assert result["race7"].overall.accuracy == 0.5
    assert dataset.distinct("t_race7_as_race5.label") == ["Asian"]


def test_finer_ground_truth_and_ages_in_years(dataset: fo.Dataset) -> None:
    answering = ScriptedBackend(lambda image, question: certain("20-39", question))
    facevlm.apply(dataset, answering, ["age5"], prefix="t", progress=False)
    dataset.set_values("years", [5, 15, 20, 25, 39, 40, 60, 100, None, 30])
    result = facevlm.evaluate(dataset, prefix="t", ground_truth={"age5": "years"})["age5"]
    assert (result.overall.n, result.overall.accuracy) == (9, pytest.approx(4 / 9))
    assert result.overall.mean_bin_error == pytest.approx((2 + 1 + 0 + 0 + 0 + 1 + 2 + 2 + 0) / 9)


def test_faces_that_were_not_asked_are_counted_apart(judged: fo.Dataset) -> None:
    judged.set_values("t_gender", [None, None, *judged.values("t_gender")[2:]])
    result = facevlm.evaluate(judged, prefix="t")["gender"]
    assert (result.overall.n, result.not_asked, result.no_truth) == (8, 1, 1)


def test_unanswered_faces_count_as_wrong_and_show_in_coverage(judged: fo.Dataset) -> None:
    label = judged.values("t_gender")[1]
    label.label, label.outcome = None, "refused"
    judged.set_values("t_gender", {judged.values("id")[1]: label}, key_field="id")
    cell = facevlm.evaluate(judged, prefix="t")["gender"].overall
    assert (cell.n, cell.coverage, cell.accuracy) == (9, pytest.approx(8 / 9), pytest.approx(7 / 9))
    assert cell.accuracy_answered == pytest.approx(7 / 8)
    assert cell.outcomes == {"ok": 8, "refused": 1}


@pytest.mark.parametrize(
    ("kwargs", "error", "said"),
    [
        ({"prefix": "nope"}, FieldError, "no predictions under the prefix 'nope'. Prefixes with predictions: t"),
        ({"ground_truth": {"gender": "nofield"}}, FieldError, "'nofield' is not there"),
        ({"ground_truth": {"gender": "side"}}, TaxonomyError, "'left', 'right'"),
        ({"ground_truth": {"age5": "gender"}}, InputError, "ground truth for age5"),
        ({"groups": ["filepath"]}, FieldError, "Group field 'filepath'"),
        ({"attributes": ["race7"]}, FieldError, "'t_race7' is not there; need Classification"),
        ({"attributes": ["gendr"]}, UnknownName, "Did you mean 'gender'"),
        ({"eval_key": "no key"}, FieldError, "letters, digits and underscores"),
    ],
)
def test_bad_input_to_evaluate(
    judged: fo.Dataset, kwargs: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        facevlm.evaluate(judged, **{"prefix": "t"} | kwargs)  # type: ignore[arg-type]
    assert judged.list_evaluations() == []


def test_a_dataset_without_ground_truth(dataset: fo.Dataset) -> None:
    run(dataset, backend())
    with pytest.raises(FieldError, match=r"No ground-truth field is known for gender.*number.*gender=FIELD"):
        facevlm.evaluate(dataset, prefix="t")


def test_a_group_field_with_too_many_values(dataset: fo.Dataset) -> None:
    run(dataset, backend())
    dataset.set_values("gender", [fo.Classification(label="Male")] * 10)
    dataset.add_samples([fo.Sample(filepath=f"/x/{k}.png", serial=f"s{k}") for k in range(101)], progress=False)
    with pytest.raises(FieldError, match="101 different values"):
        facevlm.evaluate(dataset, prefix="t", groups=["serial"])


@pytest.mark.parametrize(
    ("kwargs", "error", "said"),
    [
        ({"attributes": []}, InputError, "Got no attribute"),
        ({"attributes": ["gendr"]}, UnknownName, "Did you mean 'gender'"),
        ({"model": "demoo"}, UnknownName, "Did you mean 'demo'"),
        ({"model": "demo", "attributes": ["race7"]}, InputError, "answers gender, race5, age5, emotion7; got 'race7'"),
        ({"prefix": "9x"}, FieldError, "Got the field prefix '9x'"),
        ({"batch_size": 0}, InputError, "batch_size=0"),
        ({"threads": -1}, InputError, "threads=-1"),
        ({"decode": "guess"}, InputError, "decode='guess'"),
        ({"prompts": {"age5": "?"}}, InputError, "prompts for age5"),
    ],
)
def test_bad_input_to_apply(dataset: fo.Dataset, kwargs: dict[str, object], error: type[Exception], said: str) -> None:
    arguments = {"model": backend(), "attributes": ["gender"], "progress": False} | kwargs
    with pytest.raises(error, match=said):
        facevlm.apply(dataset, **arguments)  # type: ignore[arg-type]
    assert not [f for f in dataset.get_field_schema() if f.endswith("_gender")]
    assert dataset.list_runs() == []


def test_targets_that_cannot_be_labelled(dataset: fo.Dataset, dataset_name: str) -> None:
    with pytest.raises(TargetError, match="type str"):
        run("a name", backend())
    with pytest.raises(TargetError, match="no sample"):
        run(dataset.limit(0), backend())
    video = fo.Dataset()
    video.add_sample(fo.Sample(filepath="/x/clip.mp4"))
    with pytest.raises(TargetError, match="media of type 'video', expected images"):
        run(video, backend())
    dataset.add_sample(
        fo.Sample(filepath="/x/y.png", boxes=fo.Detections(detections=[fo.Detection(bounding_box=[0, 0, 1, 1])]))
    )
    dataset.evaluate_detections("boxes", gt_field="boxes", eval_key="boxes")
    with pytest.raises(TargetError, match="view of patches"):
        run(dataset.to_evaluation_patches("boxes"), backend())
    grouped = fo.Dataset()
    grouped.add_group_field("group", default="left")
    grouped.add_sample(fo.Sample(filepath="/x/l.png", group=fo.Group().element("left")))
    with pytest.raises(TargetError, match="is grouped"):
        run(grouped, backend())
    for made in (video, grouped):
        made.delete()

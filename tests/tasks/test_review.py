"""Predictions reviewed: approved by a threshold, decided one by one, undone; who, when and on seeing what is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from fiftyone import ViewField as F
from PIL import Image

import facevlm
from facevlm.errors import DatabaseError, FieldError, InputError, TargetError
from facevlm.store import reviews
from facevlm.tasks import sources
from facevlm.tasks.review import Review
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain

SURE = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
"""How sure the model is of each of the ten pictures, which are of rising grey levels."""


def grey(image: Image.Image) -> int:
    """The place of a picture among the ten."""
    return (image.convert("L").tobytes()[0] - 10) // 20


def by_grey(image: Image.Image, question: Question) -> Reply:
    k = grey(image)
    return certain(question.attribute.labels[k % 2], question, SURE[k])


def model(name: str = "scripted") -> ScriptedBackend:
    return ScriptedBackend(by_grey, name)


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    """Ten pictures, labelled by turns Male and Female, with ground truth and a group."""
    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p, site="ab"[k > 7]) for k, p in enumerate(pictures)], progress=False)
    made.set_values("gender", [fo.Classification(label="Male")] * 10)
    facevlm.apply(made, model(), ["gender"], prefix="t", progress=False)
    return made


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    """Pictures of several faces, each answered about."""
    made = sources.sample_groups(dataset_name)

    def answer(image: Image.Image, question: Question) -> Reply:
        return certain("Female", question, 0.6 + 0.39 * image.convert("L").resize((1, 1)).tobytes()[0] / 255)

    facevlm.apply(made, ScriptedBackend(answer), ["gender"], prefix="t", faces="faces", progress=False)
    return made


def opened(dataset: fo.Dataset, by: str | None = None, **options: Any) -> Review:
    return facevlm.review(dataset, "gender", prefix="t", by=by, **options)


def ids(faces: Sequence[reviews.Standing]) -> list[str]:
    return [face.id for face in faces]


def labels(dataset: fo.Dataset) -> list[str | None]:
    dataset.reload()
    found: list[str | None] = dataset.values("gender_reviewed.label")
    return found


def test_what_is_sure_is_approved_at_once_and_the_rest_waits(dataset: fo.Dataset) -> None:
    review = opened(dataset, "Ada")
    split = review.split(0.8)
    assert (split.sure, split.below, split.without, split.decided, split.waiting) == (5, 5, 0, 0, 10)
    assert dataset.get_field("gender_reviewed") is None
    done = review.approve(0.8)
    assert (done.written, done.field, done.kept, done.warnings) == (5, "gender_reviewed", (), ())
    assert labels(dataset) == [None] * 5 + ["Female", "Male", "Female", "Male", "Female"]
    assert dataset.values("gender.label") == ["Male"] * 10
    label = dataset.last().gender_reviewed
    assert (label.decision, label.reviewed_by, label.chosen, label.threshold) == ("approved", "Ada", "bulk", 0.8)
    assert (label.shown, label.shown_confidence) == ("Female", pytest.approx(0.99))
    assert label.shown_run == dataset.last().t_gender.run
    assert isinstance(label.reviewed_at, datetime)
    assert [f.confidence for f in review.queue()] == pytest.approx(SURE[:5])
    assert review.approve(0.8).written == 0
    assert opened(dataset).split(0.8).decided == 5


def test_decisions_one_by_one(dataset: fo.Dataset) -> None:
    review = opened(dataset, "Ada")
    words = ["approve", "Male", "unclear", "discard", "skip"]
    queue = review.queue(limit=5)
    done = review.decide(dict(zip(ids(queue), words, strict=True)))
    assert done.written == 5
    assert labels(dataset)[:5] == ["Male", "Male", None, None, None]
    decisions = ["approved", "changed", "unclear", "discarded", "skipped"]
    assert dataset.values("gender_reviewed.decision")[:5] == decisions
    assert dataset.values("gender_reviewed.chosen")[:5] == ["unsure"] * 5
    assert dataset.values("gender_reviewed.shown")[:2] == ["Male", "Female"]
    # What was skipped comes again, after all the others.
    assert ids(review.queue())[-1] == queue[4].id
    assert len(review.queue()) == 6
    females = review.queue(label="Female")
    assert {f.said for f in females} == {"Female"}
    assert [f.confidence for f in females] == sorted(f.confidence or 0 for f in females)
    other = opened(dataset)
    other.decide({other.faces[9].id: "Female"})
    assert dataset.values("gender_reviewed.chosen")[9] == "picked"


def test_undo_brings_back_what_was_there_step_by_step(dataset: fo.Dataset) -> None:
    review = opened(dataset)
    face = review.queue()[0].id
    bulk = review.approve(0.0)
    for word in ("Female", "unclear", "Male"):
        assert review.decide({face: word}).written == 1
    assert review.undo().written == 1
    dataset.reload()
    assert dataset[face].gender_reviewed.decision == "unclear"
    review.undo()
    assert (dataset[face].gender_reviewed.label, dataset[face].gender_reviewed.decision) == ("Female", "changed")
    review.undo()
    assert (dataset[face].gender_reviewed.label, dataset[face].gender_reviewed.chosen) == ("Male", "bulk")
    assert review.undo(bulk.act).written == 10
    assert labels(dataset) == [None] * 10
    with pytest.raises(InputError, match="nothing to undo in 'gender_reviewed'"):
        review.undo()
    assert len(review.queue()) == 10


def test_a_decision_never_replaces_somebody_elses_newer_one(dataset: fo.Dataset) -> None:
    ada, bob = opened(dataset, "Ada"), opened(dataset, "Bob")
    face = ada.queue()[0].id
    assert bob.decide({face: "Female"}).written == 1
    done = ada.decide({face: "Male"})
    assert (done.written, [k.id for k in done.kept]) == (0, [face])
    assert "Bob decided 'changed' at 20" in done.kept[0].reason
    assert dataset[face].gender_reviewed.label == "Female"
    # Approving all leaves it, too, and undo of one does not touch what the other did.
    assert ada.approve(0.0).written == 9
    assert ada.undo().written == 9
    assert labels(dataset).count("Female") == 1
    with pytest.raises(InputError, match="nothing to undo in 'gender_reviewed' by Ada"):
        ada.undo()
    assert ada.decide({face: "Male"}, overwrite=True).written == 1
    assert dataset[face].gender_reviewed.reviewed_by == "Ada"
    assert len(dataset[face].gender_reviewed.previous) == 1


def test_an_approval_in_bulk_meets_another_at_the_same_time(dataset: fo.Dataset) -> None:
    ada, bob = opened(dataset, "Ada"), opened(dataset, "Bob")
    bob.decide(dict.fromkeys(ids(bob.faces[8:]), "unclear"))
    done = ada.approve(0.8)
    assert (done.written, len(done.kept)) == (3, 2)
    assert {k.reason.split(" at ")[0] for k in done.kept} == {"Bob decided 'unclear'"}


def test_what_was_shown_elsewhere_must_still_stand(dataset: fo.Dataset) -> None:
    face = opened(dataset).queue()[0]
    facevlm.apply(dataset, model("other"), ["gender"], prefix="t", overwrite=True, progress=False)
    done = opened(dataset).decide({face.id: "approve"}, seen={face.id: face.token})
    assert done.written == 0
    assert "the model's answer, or the label, is another by now" in done.kept[0].reason


def test_labels_of_the_user_stay(dataset: fo.Dataset) -> None:
    with pytest.raises(FieldError, match=r"Field 'gender' is there and was not made by a review: .*agreed=True"):
        opened(dataset, field="gender")
    dataset.set_values("gender", [None] * 5 + [fo.Classification(label="Female")] * 5)
    before = dataset.values("gender.id")
    review = opened(dataset, field="gender", agreed=True)
    assert review.approve(0.0).written == 5
    assert dataset.values("gender.id")[5:] == before[5:]
    assert review.progress()[0].labelled == 5
    # About just one face it may be decided, and undo brings the user's own label back.
    last = dataset.last().id
    review.decide({last: "unclear"})
    assert dataset[last].gender.label is None
    review.undo()
    assert (dataset[last].gender.label, dataset[last].gender.id) == ("Female", before[-1])
    assert opened(dataset, field="gender").split(0.5).decided == 10


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("t_gender", "holds predictions of a model"),
        ("site", "holds no Classifications"),
        ("a b", "expected letters, digits and underscores"),
    ],
)
def test_fields_that_cannot_hold_reviews(dataset: fo.Dataset, field: str, said: str) -> None:
    with pytest.raises(FieldError, match=said):
        opened(dataset, field=field, agreed=True)


def test_reviews_of_two_attributes_do_not_mix(dataset: fo.Dataset) -> None:
    facevlm.apply(dataset, model(), ["race5"], prefix="t", progress=False)
    opened(dataset).approve(0.5)
    with pytest.raises(FieldError, match="holds reviews of gender, not of race5"):
        facevlm.review(dataset, "race5", prefix="t", field="gender_reviewed")


def test_a_read_only_field_is_refused(dataset: fo.Dataset) -> None:
    opened(dataset).approve(0.9)
    field = dataset.get_field("gender_reviewed")
    field.read_only = True
    field.save()
    with pytest.raises(FieldError, match=r"'gender_reviewed' of dataset .* is read-only"):
        opened(dataset)


def test_bad_calls_say_what_is_expected(dataset: fo.Dataset) -> None:
    review = opened(dataset)
    first = review.faces[0].id
    for call, said in (
        (lambda: review.split(1.5), "Got threshold=1.5, expected a share"),
        (lambda: review.queue("best"), "Unknown order 'best'. Known: groups, random, unsure"),
        (lambda: review.queue("groups"), "expected a field to group by"),
        (lambda: review.queue(label="Man"), "Got the label 'Man', expected one of Male, Female"),
        (lambda: review.queue(limit=0), "Got limit=0"),
        (lambda: review.decide({first: "yes"}), "Got the decision 'yes', expected one of: approve, unclear, discard"),
        (lambda: review.decide({"0" * 24: "skip"}), "Got the face '000"),
        (lambda: review.decide({first: "skip"}, chosen="luck"), "Unknown way to choose 'luck'"),
        (lambda: review.progress(half_width=0.7), "Got half_width=0.7"),
    ):
        with pytest.raises(InputError, match=said):
            call()
    with pytest.raises(FieldError, match="x_gender"):
        facevlm.review(dataset, "gender", prefix="x")
    with pytest.raises(TargetError, match="holds no sample"):
        opened(dataset.match(F("site") == "c"))


def test_a_face_without_an_answer_waits_but_cannot_be_approved(dataset: fo.Dataset) -> None:
    def refuse(image: Image.Image, question: Question) -> Reply:
        return Reply(refused=True, text="No.") if grey(image) == 3 else by_grey(image, question)

    facevlm.apply(dataset, ScriptedBackend(refuse), ["gender"], prefix="r", progress=False)
    review = facevlm.review(dataset, "gender", prefix="r")
    assert (review.split(0.0).sure, review.split(0.0).without) == (9, 1)
    face = review.queue()[0]
    assert face.outcome == "refused"
    with pytest.raises(InputError, match="has no answer to approve \\(refused\\)"):
        review.decide({face.id: "approve"})
    assert review.decide({face.id: "Female"}).written == 1


def test_answers_of_two_runs_are_told_apart(dataset: fo.Dataset) -> None:
    facevlm.apply(dataset[:4], model("other"), ["gender"], prefix="t", overwrite=True, progress=False)
    with pytest.raises(FieldError, match="holds answers of 2 runs"):
        opened(dataset)
    review = opened(dataset, runs=["other"])
    assert len(review.faces) == 4
    assert review.approve(0.0).written == 4
    assert len(opened(dataset, runs="scripted").faces) == 6


def test_a_view_limits_the_review_and_all_is_seen_of_it(dataset: fo.Dataset) -> None:
    opened(dataset).approve(0.9)
    view = dataset.match(F("site") == "a").select_fields("filepath")
    review = opened(view)
    assert (len(review.faces), review.split(0.9).decided) == (8, 1)
    shown = dataset.filter_labels("gender_reviewed", F("label") == "Male", only_matches=False)
    assert opened(shown).split(0.0).decided == 3


def test_pictures_that_are_deleted_meanwhile_are_told(dataset: fo.Dataset) -> None:
    review = opened(dataset)
    dataset.delete_samples(dataset.values("id")[-2:])
    done = review.approve(0.8)
    assert (done.written, done.kept) == (3, ())
    assert "2 pictures were deleted" in done.warnings[0]
    dataset.delete_samples(dataset.values("id"))
    with pytest.raises((DatabaseError, TargetError)):
        review.decide({review.faces[0].id: "skip"})


@pytest.mark.parametrize("what", ["undo", "view", "sample", "refresh", "queue", "progress"])
def test_a_review_of_a_deleted_dataset_says_so(dataset: fo.Dataset, what: str) -> None:
    dataset.set_values("site", ["a", "b"] * 5)
    review = opened(dataset)
    review.approve(0.5)
    calls = {
        "view": lambda: review.view(review.faces),
        "queue": lambda: review.queue("groups", groups="site"),
        "progress": lambda: review.progress("site"),
    }
    fo.delete_dataset(dataset.name)
    with pytest.raises(TargetError, match="was deleted"):
        calls.get(what, getattr(review, what))()


def test_a_review_whose_pictures_are_all_deleted(dataset: fo.Dataset) -> None:
    dataset.set_values("site", ["a", "b"] * 5)
    review = opened(dataset)
    review.approve(0.9)
    waiting = review.queue()
    dataset.delete_samples(dataset.values("id"))
    assert len(review.view(waiting)) == len(review.sample()) == 0
    with pytest.raises(DatabaseError, match="holds no sample any more"):
        review.decide({waiting[0].id: "skip"}, overwrite=True)
    with pytest.raises(InputError, match="There is nothing to undo"):
        review.undo()
    assert review.progress("site") == []


def test_a_decision_that_overwrites_meets_a_deleted_picture(dataset: fo.Dataset) -> None:
    review = opened(dataset)
    first, second, *_ = review.queue()
    dataset.delete_samples([first.id])
    done = review.decide({first.id: "skip", second.id: "skip"}, overwrite=True)
    assert done.written == 1
    assert "deleted" in done.warnings[0]


def test_groups_stay_those_of_their_faces_when_pictures_are_deleted(dataset: fo.Dataset) -> None:
    dataset.set_values("site", ["a"] * 5 + ["b"] * 5)
    review = opened(dataset)
    dataset.delete_samples(dataset.values("id")[:3])
    assert {row.group: row.n for row in review.progress("site")} == {"a": 2, "b": 5}


def test_everything_stored_can_be_declared_exported_and_reviewed_again(dataset: fo.Dataset, tmp_path: Path) -> None:
    review = opened(dataset, "Ada")
    review.approve(0.8)
    review.decide({review.queue()[0].id: "unclear"})
    review.decide({review.queue()[0].id: "Male"})
    dataset.add_dynamic_sample_fields()
    dataset.reload()
    for path in dataset.get_field_schema(flat=True):
        dataset.values(path)
        dataset.count(path)
    assert dataset.count_values("gender_reviewed.reviewed_by") == {"Ada": 7, None: 3}
    dataset.export(str(tmp_path / "out"), dataset_type=fo.types.FiftyOneDataset, export_media=False, progress=False)
    again = fo.Dataset.from_dir(str(tmp_path / "out"), dataset_type=fo.types.FiftyOneDataset, progress=False)
    try:
        reopened = opened(again, "Ada")
        assert reopened.progress() == review.progress()
        assert reopened.undo().written == 1
    finally:
        again.delete()


def test_fiftyones_own_annotation_offers_the_labels_and_its_edits_count(dataset: fo.Dataset) -> None:
    review = opened(dataset)
    act = review.approve(0.8).act
    assert dataset.label_schemas["gender_reviewed"]["classes"] == ["Male", "Female"]
    assert dataset.active_label_schemas == ["gender_reviewed"]
    dataset.generate_label_schemas("gender_reviewed")
    sample = dataset.last()
    sample.gender_reviewed.label = "Male"
    sample.save()
    first = dataset.first()
    first["gender_reviewed"] = fo.Classification(label="Female")
    first.save()
    review.refresh()
    row = review.progress()[0]
    assert (row.bulk, row.seen, row.labelled, row.left) == (4, 1, 1, 4)
    done = review.undo(act)
    assert (done.written, done.kept[0].reason) == (4, "its label was edited since")
    assert labels(dataset) == ["Female", *[None] * 8, "Male"]


def test_progress_by_groups_and_what_comes_next(dataset: fo.Dataset) -> None:
    review = opened(dataset)
    small, large = sorted(review.progress("site", half_width=0.3), key=lambda row: row.n)
    assert (small.group, small.n, small.needed, small.lacking) == ("b", 2, 2, 2)
    assert (large.n, large.needed) == (8, 7)
    queue = review.queue("groups", groups="site", half_width=0.3)
    assert [f.confidence for f in queue[:2]] == pytest.approx([0.95, 0.55])
    review.decide({queue[0].id: "approve", queue[1].id: "approve"})
    assert dataset[queue[0].id].gender_reviewed.chosen == "groups"
    assert {row.group: row.seen for row in review.progress("site")} == {"a": 1, "b": 1}
    with pytest.raises(FieldError, match="Group field 'nothing'"):
        review.progress("nothing")


def test_the_random_sample_is_the_same_whatever_was_decided(dataset: fo.Dataset) -> None:
    review = opened(dataset)
    drawn = ids(review.queue("random", half_width=0.3))
    assert len(drawn) == 7
    review.approve(0.5)
    assert ids(review.queue("random", half_width=0.3)) == drawn
    review.decide(dict.fromkeys(drawn[:5], "Male"))
    assert ids(review.queue("random", half_width=0.3)) == drawn[5:]
    assert sorted(dataset.load_saved_view("gender_reviewed_random").values("id")) == sorted(drawn[:5])
    assert ids(review.queue("random", half_width=0.3, seed=1)) != drawn


def test_figures_against_reviewed_labels_say_what_they_are_not(dataset: fo.Dataset, tmp_path: Path) -> None:
    review = opened(dataset)
    review.approve(0.8)
    review.decide(dict.fromkeys(ids(review.queue(limit=2)), "Female"))
    result = facevlm.evaluate(dataset, prefix="t", ground_truth={"gender": "gender_reviewed"}, draws=20)
    [warning] = result.warnings
    assert result["gender"].overall.n == 7
    assert "Of the 7 labels of 'gender_reviewed', 5 were approved by a threshold alone" in warning
    assert "5 of them repeat the answers that are judged here" in warning
    assert "2 were chosen for the model's own doubt" in warning
    assert "None was drawn at random" in warning
    written = facevlm.report(dataset, tmp_path, eval_key=result.eval_key)
    assert "approved by a threshold alone" in written[1].read_text(encoding="utf-8")
    facevlm.apply(dataset, model("other"), ["gender"], prefix="o", progress=False)
    other = facevlm.evaluate(dataset, prefix="o", ground_truth={"gender": "gender_reviewed"}, draws=20)
    assert "by construction" not in other.warnings[0]
    review.decide(dict.fromkeys(ids(review.queue("random", half_width=0.3)), "Female"))
    sample = dataset.load_saved_view("gender_reviewed_random")
    fair = facevlm.evaluate(sample, prefix="t", ground_truth={"gender": "gender_reviewed"}, draws=20)
    assert (fair.warnings, fair["gender"].overall.n) == ([], 7)
    again = facevlm.evaluate(dataset, prefix="t", draws=20)
    assert again.warnings == []
    assert again.ground_truth == {"gender": "gender"}


def test_faces_on_boxes(groups: fo.Dataset, tmp_path: Path) -> None:
    review = opened(groups, "Ada")
    n = len(review.faces)
    assert (n, review.field) == (28, "faces.detections.gender_reviewed")
    threshold = sorted(f.confidence or 0 for f in review.faces)[n // 2]
    done = review.approve(threshold)
    assert done.written == n - n // 2
    queue = review.queue()
    review.decide({queue[0].id: "Male", queue[1].id: "discard"})
    groups.reload()
    found = {d.id: d for s in groups for d in s.faces.detections}
    face = found[queue[0].id]
    assert (face.gender_reviewed, face.gender_reviewed_record.decision) == ("Male", "changed")
    assert (face.gender_reviewed_record.reviewed_by, face.gender_reviewed_record.shown) == ("Ada", "Female")
    assert found[queue[1].id].gender_reviewed is None
    assert all(d.gender is not None for d in found.values())
    assert review.undo().written == 2
    assert review.decide({queue[0].id: "Male"}).written == 1
    assert review.picture(queue[0]).mode == "RGB"
    assert len(review.view(queue[:3])) == 3
    result = facevlm.evaluate(groups, prefix="t", ground_truth={"gender": review.field}, draws=20)
    assert result["gender"].overall.n == done.written + 1
    assert "agree by construction" in result.warnings[0]

    groups.add_dynamic_sample_fields()
    groups.generate_label_schemas("faces")
    groups.export(str(tmp_path / "out"), dataset_type=fo.types.FiftyOneDataset, export_media=False, progress=False)
    again = fo.Dataset.from_dir(str(tmp_path / "out"), dataset_type=fo.types.FiftyOneDataset, progress=False)
    try:
        assert opened(again).progress() == review.progress()
    finally:
        again.delete()


def test_two_reviewers_of_faces_in_one_picture(groups: fo.Dataset) -> None:
    ada, bob = opened(groups, "Ada"), opened(groups, "Bob")
    sample = groups.match(F("faces.detections").length() > 1).first()
    first, second = [d.id for d in sample.faces.detections[:2]]
    assert ada.decide({first: "Male"}).written == 1
    done = bob.decide({first: "Female", second: "Female"})
    assert (done.written, [k.id for k in done.kept]) == (1, [first])
    sample.reload()
    assert [d.gender_reviewed for d in sample.faces.detections[:2]] == ["Male", "Female"]


def test_the_state_of_a_review_is_plain_data(dataset_name: str, pictures: list[str]) -> None:

    made = fo.Dataset(dataset_name, persistent=True)
    made.add_samples([fo.Sample(filepath=p) for p in pictures[:2]], progress=False)
    made.set_values("found", [fo.Detections(detections=[fo.Detection(label="face", bounding_box=[0, 0, 1, 1])])] * 2)
    facevlm.apply(made, model(), ["gender"], faces="found", prefix="t", progress=False)
    review = opened(made)
    assert review.approve(0.5).written == 2
    assert json.loads(json.dumps(review.to_dict()))["progress"][0]["bulk"] == 2

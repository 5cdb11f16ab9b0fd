"""Requests in words carried out on the shipped group pictures by the demo model."""

from __future__ import annotations

import logging

import fiftyone as fo
import pytest
from PIL.Image import Image

import facevlm
from facevlm.detection import FoundFace, Looked, found
from facevlm.errors import FieldError, InputError
from facevlm.language.phrases import Place
from facevlm.language.places import face_at
from facevlm.tasks import sources as sources_task
from facevlm.tasks.ask import AskResult, Proposal, plan
from facevlm.types import Face
from tests.scripted import ScriptedBackend, certain, keeping

FACES, PICTURES = 28, 8


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_groups(dataset_name)


def ask(target: fo.core.collections.SampleCollection, request: str, **options: object) -> AskResult:
    return facevlm.ask(target, request, progress=False, **options)  # type: ignore[arg-type]


def said(groups: fo.Dataset, field: str) -> dict[str, tuple[str, str | None]]:
    return {d.face: (d.outcome, d.label) for s in groups if s[field] for d in s[field].detections}


def by_left(sample: fo.Sample) -> list[fo.Detection]:
    return sorted(sample.faces.detections, key=lambda d: d.bounding_box[0] + d.bounding_box[2] / 2)


def test_a_condition_is_asked_of_all_and_the_rest_of_those_who_fit(groups: fo.Dataset) -> None:
    proposal = plan(groups, "race of the happy women")
    assert "gender is asked first, of 28 faces that have no answer yet ('demo_gender')." in proposal.sentences
    assert not [name for name in groups.get_field_schema() if name.startswith("demo")]
    result = ask(groups, "race of the happy women")
    assert result.sentences == proposal.sentences
    emotion, gender = said(groups, "demo_emotion7"), said(groups, "demo_gender")
    assert len(emotion) == len(gender) == FACES
    wanted = {i for i in emotion if emotion[i] == ("ok", "happy") and gender[i] == ("ok", "Female")}
    assert 0 < len(wanted) < FACES
    assert set(result.faces) == wanted == set(said(groups, "demo_race5"))
    assert result.applied is not None
    assert (result.applied.asked, list(result.applied.fields)) == (len(wanted), ["race5"])
    assert groups.get_field("demo_age5") is None
    assert {i for s in result.view for i in [d.id for d in s.faces.detections]} == wanted
    assert {d.face for s in result.view for d in s.demo_faces.detections} == wanted
    assert {d.face for s in result.view for d in s.demo_emotion7.detections} == wanted

    again = ask(groups, "race of the happy women")
    assert "gender is known of all of them ('demo_gender')." in again.sentences
    assert again.applied is not None
    assert (again.faces, again.applied.asked) == (result.faces, 0)


def test_places_are_those_of_the_boxes(groups: fo.Dataset) -> None:
    result = ask(groups, "gender of the second face from the left")
    assert set(result.faces) == {by_left(sample)[1].id for sample in groups}
    assert set(said(groups, "demo_gender")) == set(result.faces)
    middle = ask(groups, "the person in the middle")
    odd = [s for s in groups if len(s.faces.detections) % 2]
    assert set(middle.faces) == {by_left(s)[len(s.faces.detections) // 2].id for s in odd}
    even = sum(len(s.faces.detections) for s in groups if not len(s.faces.detections) % 2)
    assert middle.undecided == {"an even number of faces has no middle one": even}
    assert (middle.applied, f"{even} left out" in middle.summary) == (None, True)


def test_a_view_and_a_view_of_patches_restrict_who_is_meant(groups: fo.Dataset) -> None:
    some = [groups.first().faces.detections[0].id, groups.last().faces.detections[0].id]
    assert set(ask(groups.select_labels(ids=some, fields="faces"), "gender").faces) == set(some)
    assert set(said(groups, "demo_gender")) == set(some)
    patches = groups.to_patches("faces")[:3]
    result = ask(patches, "emotion of everyone", prefix="p")
    assert sorted(result.faces) == sorted(patches.values("id")) == sorted(result.view.values("id"))
    assert sorted(said(groups, "p_emotion7")) == sorted(result.faces)


def test_faces_whose_condition_has_no_answer_are_not_guessed(groups: fo.Dataset) -> None:
    facevlm.apply(groups, attributes=["gender"], faces="faces", progress=False)
    sample = groups.first()
    lost = sample.demo_gender.detections[0]
    lost.outcome, lost.label = "refused", None
    sample.save()
    groups.reload()
    everybody = ask(groups, "men and women")
    assert (len(everybody.faces), everybody.undecided) == (FACES - 1, {"gender is refused": 1})
    assert lost.face not in everybody.faces
    first = ask(groups, "the leftmost men and women")
    assert len(first.faces) == PICTURES - 1
    assert not set(first.faces) & {d.id for d in sample.faces.detections}
    assert said(groups, "demo_gender")[lost.face] == ("refused", None)


def test_nobody_fits(groups: fo.Dataset) -> None:
    result = ask(groups, "age of the child")
    assert (result.faces, len(result.view), result.applied) == ((), 0, None)
    assert result.summary == "0 faces picked."
    assert len(said(groups, "demo_age5")) == FACES


def test_the_plan_is_shown_first_and_may_be_declined(groups: fo.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    shown: list[Proposal] = []
    result = ask(groups, "gender of the men", confirm=keeping(shown, False))
    assert (result.agreed, result.faces) == (False, ())
    assert shown[0].text.startswith("Asked: Perceived gender (gender).\nOnly faces with Perceived gender")
    assert groups.get_field("demo_gender") is None
    with caplog.at_level(logging.INFO, logger="facevlm"):
        ask(groups[:1], "gender")
    assert "Asked: Perceived gender (gender).\nOf all faces." in caplog.text


@pytest.mark.parametrize(
    ("request_", "options", "error", "message"),
    [
        ("everyone wearing glasses", {}, InputError, "that takes a model that sees the whole picture"),
        ("everyone wearing glasses", {"grounding": "nope"}, InputError, "Unknown model 'nope'"),
        ("everyone wearing glasses", {"grounding": 3}, InputError, r"Got grounding=3 \(int\)"),
        ("gender", {"faces": "nope"}, FieldError, "expected a field of Detections"),
        ("gender", {"prefix": "9"}, FieldError, "Got the field prefix '9'"),
        ("skin tone", {}, InputError, "the model does not answer that"),
        ("hello", {}, InputError, "Cannot read 'hello'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    groups: fo.Dataset, request_: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    before = groups.get_field_schema()
    with pytest.raises(error, match=message):
        ask(groups, request_, **options)
    assert groups.get_field_schema() == before


def test_a_target_that_is_none_is_said() -> None:
    with pytest.raises(InputError, match="expected a FiftyOne dataset or view"):
        ask(3, "gender")


class Pointing:
    """A model that answers with the boxes of the leftmost known face, some of them spoilt."""

    def __init__(self, answers: list[Looked]) -> None:
        self.answers, self.phrases = iter(answers), set[str]()

    def look_for(self, images: list[Image], phrase: str) -> list[Looked]:
        self.phrases.add(phrase)
        return [next(self.answers) for _ in images]


def test_boxes_of_a_model_that_answers_with_places_meet_the_faces(groups: fo.Dataset) -> None:
    answers = [found([FoundFace(tuple(by_left(s)[0].bounding_box))]) for s in groups]
    answers[0] = Looked((), "unparsed", "no idea")
    answers[1] = found([])
    answers[2] = found([*answers[2].faces, FoundFace((0.0, 0.0, 0.01, 0.01))])
    model = Pointing(answers)
    result = ask(groups, "gender of everyone wearing glasses", grounding=model)
    sizes = [len(s.faces.detections) for s in groups]
    assert model.phrases == {"face of the person wearing glasses"}
    assert set(result.faces) == {by_left(s)[0].id for s in list(groups)[2:]} == set(said(groups, "demo_gender"))
    assert result.undecided == {
        "the model's answer is unparsed: no idea": sizes[0],
        "1 of the model's boxes meet no known face": sizes[2] - 1,
    }


@pytest.mark.parametrize(
    ("xs", "place", "expected", "why"),
    [
        ([0.3, 0.1, 0.5], Place("x", 1), 1, None),
        ([0.3, 0.1, 0.5], Place("x", -1), 2, None),
        ([0.3, 0.1, 0.5], Place("x", 0), 0, None),
        ([0.3, 0.1], Place("x", 0), None, "an even number of faces has no middle one"),
        ([0.3, 0.1], Place("x", 3), None, None),
        ([0.1, 0.1], Place("x", 1), None, "two faces are at the same place"),
        ([0.3, 0.1], Place("size", -1), None, "two faces are at the same place"),
        ([0.3], Place("y", 1), 0, None),
    ],
)
def test_one_face_of_a_picture_is_at_a_place(
    xs: list[float], place: Place, expected: int | None, why: str | None
) -> None:
    faces = [Face("s", "p", (x, 0.2, 0.1, 0.1), str(k)) for k, x in enumerate(xs)]
    assert face_at(faces, place) == (None if expected is None else faces[expected], why)


def test_conditions_that_several_models_answered_are_said(groups: fo.Dataset) -> None:
    facevlm.apply(groups, "demo", ["gender"], faces="faces", progress=False)
    other = ScriptedBackend(lambda image, question: certain("Male", question), "other")
    facevlm.apply(groups[:1], other, ["gender"], faces="faces", prefix="demo", overwrite=True, progress=False)
    [state] = [one for one in plan(groups, "race of the women").sentences if one.startswith("gender is")]
    assert "It was answered by 2 runs: " in state
    assert "of other (run facevlm_demo:" in state

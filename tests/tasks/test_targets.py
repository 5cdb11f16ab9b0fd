"""Every verb on targets that FiftyOne shows in part: another slice than the active one, views that leave fields out,
and media that are no pictures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from PIL import Image

import facevlm
from facevlm.detection import DetectorInfo, FoundFace, Looked, found
from facevlm.errors import FieldError, TargetError
from facevlm.store import correcting, history, inspection, results, targets
from facevlm.tasks import batch as batch_task
from facevlm.tasks import sources
from facevlm.tasks.ask import plan
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain
from tests.servers.batch_server import KEY, Provider, serving
from tests.servers.onlooker import Onlooker
from tests.servers.server import running

PICTURES, FACES = 8, 28
SHOWN, OTHER = "right", "left"


def right_slice(dataset: fo.Dataset) -> fo.DatasetView:
    return dataset.select_group_slices(SHOWN)


KINDS: dict[str, Callable[[fo.Dataset], fo.DatasetView]] = {
    "another slice": right_slice,
    "selected fields": lambda dataset: right_slice(dataset).select_fields("note"),
    "excluded fields": lambda dataset: right_slice(dataset).exclude_fields(["faces", "gender"]),
    "several stages": lambda dataset: (
        dataset.exclude_fields("note").select_group_slices(SHOWN).sort_by("filepath").select_fields("tags").limit(8)
    ),
}


@dataclass
class Shown:
    """A grouped dataset whose active slice holds blank pictures, and a view of the other one in some way."""

    dataset: fo.Dataset
    view: fo.DatasetView

    @property
    def whole(self) -> fo.DatasetView:
        """The pictures of the view with all that is known about them."""
        return right_slice(self.dataset)

    def untouched(self, *fields: str) -> bool:
        """Whether nothing was written to the pictures of the active slice."""
        blank = self.dataset.select_group_slices(OTHER)
        return all(value is None for field in fields for value in blank.values(field))


@pytest.fixture(params=KINDS)
def shown(request: pytest.FixtureRequest, dataset_name: str, tmp_path: Path) -> Shown:
    groups = sources.sample_groups(f"{dataset_name}-plain")
    dataset = fo.Dataset(dataset_name)
    dataset.add_group_field("group", default=OTHER)
    samples = []
    for k, sample in enumerate(groups):
        group, blank = fo.Group(), tmp_path / f"blank{k}.png"
        Image.new("RGB", (60, 60), (20 * k, 90, 90)).save(blank)
        samples.append(fo.Sample(filepath=blank, group=group.element(OTHER), note="blank"))
        truth = fo.Classification(label="Male" if k % 2 else "Female")
        picture = fo.Sample(filepath=sample.filepath, group=group.element(SHOWN), note="people", gender=truth)
        picture["faces"] = sample.faces
        samples.append(picture)
    dataset.add_samples(samples, progress=False)
    # FiftyOne looks for the parts of labels in the active slice alone.
    dataset.group_slice = SHOWN
    dataset.add_dynamic_sample_fields()
    dataset.group_slice = OTHER
    groups.delete()
    assert (dataset.group_slice, len(dataset)) == (OTHER, PICTURES)
    return Shown(dataset, KINDS[request.param](dataset))


def male(image: Image.Image, question: Question) -> Reply:
    return certain(question.attribute.labels[0], question)


def female(image: Image.Image, question: Question) -> Reply:
    return certain(question.attribute.labels[1], question)


def apply(target: Any, prefix: str = "p", answer: Any = male, **options: Any) -> Any:
    return facevlm.apply(target, ScriptedBackend(answer), ["gender"], prefix=prefix, progress=False, **options)


def test_apply_to_pictures(shown: Shown) -> None:
    assert (apply(shown.view).asked, apply(shown.view).asked) == (PICTURES, 0)
    assert shown.whole.count_values("p_gender.outcome") == {"ok": PICTURES}
    assert shown.untouched("p_gender")
    # The panel beside a picture of any slice.
    [told] = history.answers(shown.dataset, shown.whole.first().id)
    assert (told.prefix, told.label) == ("p", "Male")


def test_apply_to_faces(shown: Shown) -> None:
    first = apply(shown.view, faces="faces")
    again = apply(shown.view, faces="faces")
    assert (first.asked, first.pictures_without, again.asked, again.pictures_without) == (FACES, 0, 0, 0)
    apply(shown.whole.to_patches("faces")[:1], answer=female, overwrite=True)
    assert shown.whole.count_values("p_gender.detections.label") == {"Male": FACES - 1, "Female": 1}
    assert shown.whole.count("p_faces.detections") == FACES
    assert shown.untouched("p_gender", "p_faces")


class Middle:
    """A detector that sees one face in every picture."""

    info = DetectorInfo("middle", "1", "none")

    def detect(self, images: Sequence[Image.Image]) -> list[list[FoundFace]]:
        return [[FoundFace((0.4, 0.4, 0.2, 0.2), 0.9)] for _ in images]


def test_detect(shown: Shown) -> None:
    def run(**options: Any) -> Any:
        return facevlm.detect(shown.view, "seen", detector=Middle(), progress=False, **options)

    assert (run().asked, run().asked) == (PICTURES, 0)
    ids = shown.whole.values("seen.detections.id")
    assert run(quality=True).measured == PICTURES
    assert run(overwrite=True).replaced == PICTURES
    assert shown.whole.values("seen.detections.id") == ids
    assert shown.untouched("seen")


def test_describe(shown: Shown) -> None:
    with running(Onlooker.of(shown.whole, ["gender"])) as server:
        options = {"faces": "faces", "prefix": "d", "progress": False, "base_url": server.base_url}
        first, again = (facevlm.describe(shown.view, "openai:m", ["gender"], **options) for _ in range(2))  # type: ignore[arg-type]
    assert (first.asked, first.people, again.asked) == (PICTURES, FACES, 0)
    assert shown.whole.count("d_gender.detections") == FACES
    assert shown.untouched("d_gender", "d_people")


class Leftmost:
    """Says that every phrase fits somebody on the left."""

    def look_for(self, images: Sequence[Image.Image], phrase: str) -> list[Looked]:
        return [found([FoundFace((0.0, 0.0, 0.01, 0.01))]) for _ in images]


def test_ask(shown: Shown) -> None:
    def asked(request: str, **options: Any) -> Any:
        return facevlm.ask(shown.view, request, model=ScriptedBackend(male), prefix="p", progress=False, **options)

    assert "Among 28 faces in 8 pictures (field 'faces')." in plan(shown.view, "gender of the men").sentences
    first = asked("gender of the leftmost face")
    assert (len(first.faces), first.applied.asked, len(first.view)) == (PICTURES, PICTURES, PICTURES)
    again = asked("age of the men")
    assert (len(again.faces), again.applied.asked) == (FACES, FACES)
    assert "gender is known of all of them ('p_gender')." in asked("age of the men").sentences
    nobody = asked("everyone wearing glasses", grounding=Leftmost())
    assert (nobody.faces, list(nobody.undecided.values())) == (
        (),
        [FACES],
    )


def test_truth(shown: Shown, tmp_path: Path) -> None:
    rows = "".join(f"{path},Male\n" for path in shown.whole.values("filepath"))
    (tmp_path / "truth.csv").write_text(f"path,gender\n{rows}", encoding="utf-8")
    (tmp_path / "other.csv").write_text(f"path,judged\n{rows}", encoding="utf-8")
    with pytest.raises(FieldError, match="Field 'gender' holds other values than the table for 4 samples"):
        facevlm.truth(shown.view, tmp_path / "truth.csv")
    assert facevlm.truth(shown.view, tmp_path / "other.csv").matched == PICTURES
    assert shown.whole.values("judged.label") == ["Male"] * PICTURES
    assert shown.untouched("judged")


def test_check(shown: Shown, tmp_path: Path) -> None:
    pictures = list(shown.whole)
    shutil.copy(pictures[0].filepath, tmp_path / "copy.png")
    last = shown.whole.last()
    last.filepath = str(tmp_path / "copy.png")
    last.save()
    for _ in range(2):
        assert facevlm.check(shown.view, progress=False).count("duplicate") == 1
        assert shown.whole.count_values("tags") == {"duplicate": 1, "label_conflict": 2}
        assert shown.dataset.select_group_slices(OTHER).count("tags") == 0
        assert len(shown.dataset.load_saved_view("check_duplicate")) == 2
    last.filepath = pictures[-1].filepath
    last.save()
    assert facevlm.check(shown.view, progress=False).count("duplicate") == 0
    assert (shown.whole.count("tags"), shown.dataset.has_saved_view("check_duplicate")) == (0, False)


def inspected(shown: Shown, key: str) -> inspection.Inspected:
    return inspection.inspect(shown.dataset, results.load(shown.dataset, key), "gender")


def test_evaluate_pictures_and_look_at_the_errors(shown: Shown, tmp_path: Path) -> None:
    apply(shown.view)
    result = facevlm.evaluate(shown.view, prefix="p", draws=9)
    assert (result["gender"].overall.n, result["gender"].overall.accuracy) == (PICTURES, 0.5)
    errors = shown.dataset.load_saved_view(result.views["gender"])
    assert sorted(errors.values("id")) == sorted(shown.whole.match({"gender.label": "Female"}).values("id"))
    at = inspected(shown, "p_eval")
    ids = inspection.cell(at, "Female", "Male").values("id")
    assert correcting.tag(at, "looked", ids) == len(ids) == 4
    assert shown.whole.count_values("tags") == {"looked": 4}
    correcting.correct(at, ids[:1], "Male")
    corrected = correcting.corrected_overall(at)
    assert corrected is not None
    assert corrected.n == 1
    assert len(inspection.label_errors(at)[1]) <= 4
    facevlm.evaluate(shown.view, prefix="p", draws=9)
    [page, *_] = facevlm.report(shown.dataset, tmp_path / "report", prefix="p", pictures=True)
    assert page.exists()


def test_an_undo_keeps_corrections_that_were_made_meanwhile(shown: Shown) -> None:
    apply(shown.view)
    facevlm.evaluate(shown.view, prefix="p", draws=9)
    at = inspected(shown, "p_eval")
    first, second = inspection.cell(at, "Female", "Male").values("id")[:2]
    done = correcting.before_correcting(at, [first])
    correcting.correct(at, [first], "Male")
    later = correcting.before_correcting(at, [second])
    correcting.correct(at, [second], "Male")
    assert correcting.undo(at, done) == 1
    held = shown.whole.select([first, second], ordered=True).values("gender_corrected.label")
    assert held == ["Female", "Male"]
    # The one that made the field takes it away once nothing else is corrected.
    correcting.undo(at, later)
    correcting.undo(at, done)
    assert not shown.dataset.has_field("gender_corrected")


def test_evaluate_faces_and_correct_them(shown: Shown) -> None:
    apply(shown.view, faces="faces")
    truth = {"gender": "faces.detections.gender"}
    result = facevlm.evaluate(shown.view, prefix="p", ground_truth=truth, faces="faces", draws=9)
    women = shown.whole.count_values("faces.detections.gender.label")
    assert result["gender"].overall.n == FACES
    at = inspected(shown, "p_eval")
    ids = inspection.cell(at, "Female", "Male").values("id")
    assert len(ids) == women.get("Female", len(ids))
    assert correcting.tag(at, "looked", ids[:3]) == 3
    assert shown.whole.count_label_tags("faces") == {"looked": 3}
    correcting.correct(at, ids[:2], "Male")
    corrected = correcting.corrected_overall(at)
    assert corrected is not None
    assert corrected.n == 2


def test_compare(shown: Shown) -> None:
    for prefix, answer in (("a", male), ("b", female)):
        apply(shown.view, prefix, answer)
        apply(shown.view, f"{prefix}f", answer, faces="faces")
    [compared] = facevlm.compare(shown.view, ["a", "b"], save_views=True, draws=9)
    assert len(compared.views) == 3
    assert len(shown.dataset.load_saved_view("a_vs_b_gender_disagree")) == PICTURES
    truth = {"gender": "faces.detections.gender"}
    facevlm.compare(shown.view, ["af", "bf"], faces="faces", ground_truth=truth, save_views=True, draws=9)
    assert len(shown.dataset.load_saved_view("af_vs_bf_gender_disagree")) == FACES


def test_sensitivity_and_probe(shown: Shown) -> None:
    def moody(image: Image.Image, question: Question) -> Reply:
        return (female if "again" in question.text else male)(image, question)

    def run() -> Any:
        backend = ScriptedBackend(moody)
        words = {"gender": ["Woman or man, again?"]}
        [told] = facevlm.sensitivity(
            shown.view, backend, ["gender"], prefix="w", paraphrases=words, groups=["gender"], draws=9, progress=False
        )
        return told, backend.asked

    (told, asked), (_, again) = run(), run()
    assert (asked > 0, again) == (True, 0)
    assert len(shown.dataset.load_saved_view(told.view)) == PICTURES
    assert [rates.group for rates in told.groups["gender"]] == ["Female", "Male"]
    assert told.ground_truth == "gender"
    assert shown.untouched("w_gender_flip_rate")
    [probed] = facevlm.probe(shown.view, ScriptedBackend(male), ["gender"], faces=3)
    assert probed.n == 3


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("FACEVLM_API_KEY", KEY)
    with serving(Provider()) as made:
        yield made


def test_batches(shown: Shown, provider: Provider) -> None:
    options: dict[str, Any] = {"prefix": "b", "progress": False, "base_url": provider.base_url}
    assert batch_task.submit(shown.view, "openai:m", ["gender"], **options).faces == PICTURES
    collected = batch_task.collect(shown.dataset)
    assert collected.outcomes == {"gender": {"ok": PICTURES}}
    assert shown.whole.count_values("b_gender.outcome") == {"ok": PICTURES}
    assert shown.untouched("b_gender")


def test_filters_sorting_limits_and_maps_stay_what_they_are(shown: Shown) -> None:
    some = targets.check(shown.view).match({"gender.label": "Female"}).sort_by("filepath", reverse=True).limit(3)
    apply(some.select_fields("note"))
    assert shown.whole.count("p_gender") == 3
    assert facevlm.evaluate(some.exclude_fields("note"), prefix="p", draws=9)["gender"].overall.n == 3
    renamed = shown.whole.map_labels("gender", {"Female": "Male"}).select_fields(["gender", "p_gender"])
    assert facevlm.evaluate(renamed, prefix="p", draws=9)["gender"].overall.accuracy == 1
    large = shown.whole.filter_labels("faces", fo.ViewField("bounding_box")[0] < 0.3).select_fields("faces")
    assert apply(large, "large", faces="faces").asked == large.count("faces.detections") < FACES


def test_what_a_view_of_some_labels_leaves_out_is_not_asked_again(shown: Shown) -> None:
    apply(shown.whole)
    facevlm.detect(shown.whole, "seen", detector=Middle(), progress=False)
    some = shown.whole.select_labels(ids=shown.whole.values("faces.detections.id", unwind=True), fields="faces")
    assert (some.count("p_gender"), some.count("seen.detections")) == (0, 0)
    assert apply(some).asked == 0
    assert facevlm.detect(some, "seen", detector=Middle(), progress=False).asked == 0
    assert apply(some, faces="faces", prefix="f").asked == FACES


def test_a_saved_view_is_still_known_by_its_name(shown: Shown) -> None:
    shown.dataset.save_view("mine", shown.view)
    saved = shown.dataset.load_saved_view("mine")
    assert targets.view_name(targets.check(saved)) == "mine"
    assert targets.check(saved).values("id") == shown.view.values("id")
    assert saved.get_field_schema().keys() == shown.view.get_field_schema().keys()


def refused(target: Any) -> str:
    """The sentence by which every verb refuses a target, the same of all."""
    verbs: list[Callable[[], Any]] = [
        lambda: apply(target),
        lambda: facevlm.detect(target, detector=Middle(), progress=False),
        lambda: facevlm.check(target, progress=False),
        lambda: facevlm.evaluate(target),
        lambda: facevlm.compare(target, ["a", "b"]),
        lambda: facevlm.sensitivity(target, ScriptedBackend(male), ["gender"]),
        lambda: facevlm.probe(target, ScriptedBackend(male), ["gender"]),
    ]
    said = set()
    for verb in verbs:
        with pytest.raises(TargetError) as error:
            verb()
        said.add(str(error.value))
    [sentence] = said
    return sentence


def advised(sentence: str, before: str) -> str:
    """The code that a sentence advises after some words, up to its end or the next blank after a bracket."""
    code = sentence.partition(before)[2]
    depth = 0
    for at, sign in enumerate(code):
        depth += (sign == "(") - (sign == ")")
        if depth == 0 and sign == ")" and code[at + 1 : at + 2] != ".":
            return code[: at + 1]
        if depth == 0 and sign == ")" and not code[at + 2 : at + 3].isidentifier():
            return code[: at + 1]
    return code


@pytest.fixture
def video(dataset_name: str, pictures: list[str], tmp_path: Path) -> Iterator[fo.Dataset]:
    """A video of which three frames lie as pictures beside it."""
    made = fo.Dataset(dataset_name)
    (tmp_path / "clip.mp4").write_bytes(b"no matter")
    sample = fo.Sample(filepath=tmp_path / "clip.mp4")
    for number in (1, 2, 3):
        sample.frames[number] = fo.Frame(filepath=pictures[number])
    made.add_sample(sample)
    yield made
    for name in fo.list_datasets():
        if name.startswith(f"{dataset_name}-"):
            fo.delete_dataset(name)


def test_frames_are_taken_as_the_error_advises(video: fo.Dataset) -> None:
    sentence = refused(video)
    assert "holds media of type 'video'" in sentence
    code = advised(sentence, "take that: ")
    assert code == f"dataset.to_frames(sample_frames=True).clone('{video.name}-frames')"
    # The frames of this one lie there as files already, which the sentence speaks of, too.
    frames = eval(code.replace("sample_frames=True", ""), {"dataset": video})
    assert (apply(frames).asked, apply(frames).asked) == (3, 0)
    assert frames.count_values("p_gender.outcome") == {"ok": 3}


def test_a_view_of_frames_is_copied_as_the_error_advises(video: fo.Dataset) -> None:
    view = video.to_frames()
    code = advised(refused(view), "a dataset of pictures: ")
    frames = eval(code, {"view": view})
    assert apply(frames).asked == 3
    assert "to_frames" in refused(video.to_clips([[[1, 2]]]))


@pytest.fixture
def plain(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    made = fo.Dataset(dataset_name)
    scenes = [fo.Classification(label="ab"[k % 2]) for k in range(len(pictures))]
    made.add_samples(
        [fo.Sample(filepath=path, scene=scene) for path, scene in zip(pictures, scenes, strict=True)], progress=False
    )
    return made


def test_dynamic_groups_are_flattened_as_the_error_advises(plain: fo.Dataset) -> None:
    view = plain.group_by("scene.label")
    sentence = refused(view)
    flat = eval(advised(sentence, "Take "), {"view": view})
    assert (apply(flat).asked, apply(flat).asked) == (10, 0)
    one = view.get_dynamic_group("a")
    assert apply(one, "one").asked == 5
    assert apply(plain.group_by("scene.label", flat=True).select_fields("tags"), "flat").asked == 10
    assert plain.count("one_gender") == 5


def test_the_slices_with_pictures_are_named(shown: Shown) -> None:
    sentence = refused(shown.dataset)
    assert "slices of pictures: left, right" in sentence
    view = eval(advised(sentence, "Choose a slice: "), {"view": shown.dataset.view()})
    assert apply(view).asked == PICTURES


def test_files_without_an_ending_are_taken_as_the_error_advises(dataset_name: str, pictures: list[str]) -> None:
    bare = Path(pictures[0]).with_suffix("")
    shutil.copy(pictures[0], bare)
    made = fo.Dataset(dataset_name)
    made.add_sample(fo.Sample(filepath=bare))
    sentence = refused(made)
    assert str(bare) in sentence
    code = advised(sentence, "or say what they are: ").replace("...", "path")
    made.clear()
    told = fo.Dataset()
    told.add_sample(eval(code, {"fiftyone": fo, "path": str(bare)}))
    assert apply(told).asked == 1
    told.delete()


@pytest.mark.parametrize(("ending", "kind"), [("pcd", "point-cloud"), ("fo3d", "3d")])
def test_what_is_no_picture_is_named(dataset_name: str, tmp_path: Path, ending: str, kind: str) -> None:
    made = fo.Dataset(dataset_name)
    made.add_sample(fo.Sample(filepath=tmp_path / f"cloud.{ending}"))
    assert refused(made) == (
        f"Dataset '{dataset_name}' holds media of type '{kind}', expected images. Choose a dataset or a slice of "
        "pictures."
    )

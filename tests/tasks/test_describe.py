"""All people of the shipped group pictures through a real server that looks at what it is sent, and errs as told."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm import reports
from facevlm.attributes import get
from facevlm.backends import Briefing, Describing, Options, Remote, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.options import SCENE
from facevlm.backends.remote import words
from facevlm.errors import FieldError, InputError, ModelError
from facevlm.faces import images
from facevlm.store import reporting, runs
from facevlm.tasks import sources as sources_task
from facevlm.tasks._options import Settings
from facevlm.tasks.describe import DescribeResult, DescribeRun
from facevlm.tasks.evaluate import EvaluationResult
from facevlm.types import Attribute
from tests.scripted import keeping
from tests.servers.killing import distinct_pictures, killed_and_run_again
from tests.servers.onlooker import Onlooker, Person, item_of, moved, pictures_of, text_of
from tests.servers.server import Act, Server, after_probe, completion, running, token
from tests.store import on_faces

NAMES = ("gender", "age5")
TRUTH = {"gender": "faces.detections.gender", "age5": "faces.detections.age"}
FACES = 28
FIRST = 1
"""The leftmost face, by number."""


@pytest.fixture(scope="module")
def base() -> Iterator[fo.Dataset]:
    """The group pictures with the demo model's answers under ``m``, by which every other run is judged."""
    dataset = sources_task.sample_groups("test-describe")
    on_faces.store(dataset, "m", on_faces.answers(dataset, NAMES))
    yield dataset
    dataset.delete()


@pytest.fixture
def groups(base: fo.Dataset) -> Iterator[fo.Dataset]:
    """A copy with the same ids, to write to."""
    with copied(base) as copy:
        yield copy


@contextmanager
def copied(base: fo.Dataset) -> Iterator[fo.Dataset]:
    copy = base.clone(f"test-describe-{time.time_ns()}")
    yield copy
    copy.delete()


@pytest.fixture(scope="module")
def onlooker(base: fo.Dataset) -> Onlooker:
    return Onlooker.of(base, NAMES)


@pytest.fixture(scope="module")
def right(base: fo.Dataset) -> EvaluationResult:
    """What the model's own answers are worth, each on its face."""
    with copied(base) as copy:
        return judged(copy, "m")


@pytest.fixture
def model(onlooker: Onlooker) -> Onlooker:
    """The onlooker, unspoilt again."""
    onlooker.spoil = lambda people: people
    onlooker.seen.clear()
    return onlooker


@pytest.fixture
def server(model: Onlooker) -> Iterator[Server]:
    with running(model) as started:
        yield started


def describe(groups: fo.Dataset, server: Server, **options: Any) -> DescribeResult:
    given: dict[str, Any] = {"attributes": NAMES, "faces": "faces", "prefix": "d", "progress": False} | options
    return facevlm.describe(groups, "openai:m", base_url=server.base_url, **given)


def judged(groups: fo.Dataset, prefix: str = "d", **options: Any) -> EvaluationResult:
    return facevlm.evaluate(groups, NAMES, prefix=prefix, ground_truth=TRUTH, faces="faces", draws=20, **options)


def shuffled(people: list[Any]) -> list[Any]:
    return random.Random(len(people)).sample(people, len(people))


@pytest.mark.parametrize("mark", [None, "numbers", "crops"])
def test_people_in_any_order_are_judged_as_the_model_itself(
    groups: fo.Dataset, right: EvaluationResult, model: Onlooker, server: Server, mark: Any
) -> None:
    model.spoil = shuffled
    result = describe(groups, server, mark=mark, free=["clothing"])
    assert (result.asked, result.people, result.pictures) == (len(groups), FACES, {"ok": len(groups)})
    assert len(server.asked) == len(groups)
    mine = judged(groups)
    for name in NAMES:
        assert mine[name].confusion == right[name].confusion
        assert (mine[name].overall.n, mine[name].extra) == (FACES, 0)
    faces = sorted(i for ids in groups.values("faces.detections.id") for i in ids)
    assert sorted(i for ids in groups.values("d_gender.detections.face") for i in ids) == faces
    assert sorted(i for ids in groups.values("d_people.detections.face") for i in ids) == faces
    assert None not in [w for words in groups.values("d_people.detections.clothing") for w in words]


GHOST = {"box": {"left": 0, "top": 0, "right": 20, "bottom": 20}, "gender": "Male", "age5": "20-39"}
BY_BOX: dict[str, Callable[[list[Person]], Any]] = {
    "a tenth off": lambda people: [moved(p, 0.1) for p in shuffled(people)],
    "missing": lambda people: shuffled(people[FIRST:]),
    "extra": lambda people: [GHOST, *people],
    "missing and extra": lambda people: [*people[FIRST:], GHOST],
    "no boxes": lambda people: [p | {"box": None} for p in people],
    "no boxes, missing": lambda people: [p | {"box": None} for p in people[FIRST:]],
    "no label": lambda people: [people[0] | {"gender": "perhaps"}, *people[1:]],
    "as it is": lambda people: people,
}
BY_NUMBER: dict[str, Callable[[list[Person]], Any]] = {
    "missing": lambda people: shuffled(people[FIRST:]),
    "twice": lambda people: [people[0], people[1] | {"number": FIRST}, *people[2:]],
    "refused": lambda people: completion(None, refusal="I can't help with that."),
    "prose": lambda people: "There are four lovely people: two women and two men.",
    "another form": lambda people: json.dumps({"people": "four"}),
    "cut off": lambda people: completion('{"people": [{"gen', finish="length"),
    "no label": lambda people: [people[0] | {"age5": None}, *people[1:]],
    "as it is": lambda people: shuffled(people),
}


@dataclass
class Erring:
    """A run in which every picture went wrong in another way."""

    dataset: fo.Dataset
    cases: tuple[str, ...]
    labels: Mapping[str, Mapping[str, str]]
    result: DescribeResult

    def sample(self, case: str) -> fo.Sample:
        return self.dataset[self.dataset.values("id")[self.cases.index(case)]]

    def outcomes(self, case: str, name: str = "gender") -> list[str]:
        """Of the known faces from left to right, then of those who are none."""
        return [d.outcome for d in self.sample(case)[f"d_{name}"].detections]

    def check_labels(self, case: str) -> int:
        """How many known faces of the picture have a label; each is that of this very face."""
        found = [d for d in self.sample(case).d_gender.detections if d.outcome == "ok" and d.face]
        assert [d.label for d in found] == [self.labels["gender"][d.face] for d in found]
        return len(found)


@contextmanager
def erring(
    base: fo.Dataset, onlooker: Onlooker, cases: Mapping[str, Callable[[list[Person]], Any]], mark: str | None
) -> Iterator[Erring]:
    ways = list(cases.values())
    onlooker.spoil = lambda people: ways[onlooker.seen[-1]](people)
    with copied(base) as copy, running(onlooker) as server:
        result = describe(copy, server, mark=mark, remote=Remote(cache="off"))
        yield Erring(copy, tuple(cases), onlooker.labels, result)


@pytest.fixture(scope="module")
def by_box(base: fo.Dataset, onlooker: Onlooker) -> Iterator[Erring]:
    with erring(base, onlooker, BY_BOX, None) as run:
        yield run


@pytest.fixture(scope="module")
def by_number(base: fo.Dataset, onlooker: Onlooker) -> Iterator[Erring]:
    with erring(base, onlooker, BY_NUMBER, "numbers") as run:
        yield run


@pytest.mark.parametrize("case", ["a tenth off", "no boxes", "as it is"])
def test_everybody_is_met_by_box_though_it_is_off_or_else_in_order(by_box: Erring, case: str) -> None:
    sample = by_box.sample(case)
    assert by_box.check_labels(case) == len(sample.faces.detections) == len(sample.d_gender.detections)
    assert (sample.d_people.outcome, sample.d_people.reason) == ("ok", None)
    notes = {d.reason for d in sample.d_people.detections}
    assert notes == {"met from left to right, for want of boxes" if case == "no boxes" else None}


@pytest.mark.parametrize("run", ["by_box", "by_number"])
def test_a_missing_person_is_no_face_and_nobody_takes_the_place(run: str, request: pytest.FixtureRequest) -> None:
    found: Erring = request.getfixturevalue(run)
    sample = found.sample("missing")
    expected = len(sample.faces.detections)
    count = f"got {expected - 1} people, expected {expected}"
    assert (sample.d_people.got, sample.d_people.expected) == (expected - 1, expected)
    assert (sample.d_people.outcome, sample.d_people.reason) == ("unparsed", count)
    [gone] = [d for d in sample.d_gender.detections if d.outcome == "no_face"]
    assert gone.reason.endswith(count)
    leftmost = min(sample.faces.detections, key=lambda d: d.bounding_box[0] + d.bounding_box[2] / 2)
    assert gone.face == leftmost.id
    assert found.check_labels("missing") == expected - 1


def test_one_who_is_not_there_is_extra(by_box: Erring) -> None:
    sample = by_box.sample("extra")
    n = len(sample.faces.detections)
    assert by_box.check_labels("extra") == n
    last = sample.d_gender.detections[-1]
    assert (last.face, last.label, len(sample.d_gender.detections)) == (None, "Male", n + 1)
    assert sample.d_people.detections[-1].reason == (
        f"meets none of the {n} known faces; got {n + 1} people, expected {n}"
    )


def test_one_missing_and_one_too_many_is_not_a_right_count(by_box: Erring) -> None:
    sample = by_box.sample("missing and extra")
    n = len(sample.faces.detections)
    assert (sample.d_people.outcome, sample.d_people.got, sample.d_people.expected) == ("no_face", n, n)
    assert by_box.outcomes("missing and extra") == ["no_face", *["ok"] * n]
    assert by_box.check_labels("missing and extra") == n - 1


def test_without_boxes_nobody_is_met_if_somebody_is_missing(by_box: Erring) -> None:
    sample = by_box.sample("no boxes, missing")
    n = len(sample.faces.detections)
    assert by_box.outcomes("no boxes, missing") == [*["unparsed"] * n, *["ok"] * (n - 1)]
    assert sample.d_gender.detections[0].reason == (
        f"no box is usable, so nobody can be told apart; got {n - 1} people, expected {n}"
    )


def test_a_number_that_is_given_twice_is_nobodys(by_number: Erring) -> None:
    n = len(by_number.sample("twice").faces.detections)
    assert by_number.outcomes("twice") == ["unparsed", "no_face", *["ok"] * (n - 2), "ok", "ok"]
    assert by_number.check_labels("twice") == n - 2
    assert by_number.sample("twice").d_gender.detections[0].reason == "2 people have the number 1"


@pytest.mark.parametrize(
    ("case", "outcome"),
    [("refused", "refused"), ("prose", "unparsed"), ("another form", "unparsed"), ("cut off", "unparsed")],
)
def test_a_refusal_prose_and_another_form_are_outcomes_of_every_face(
    by_number: Erring, case: str, outcome: str
) -> None:
    sample = by_number.sample(case)
    n = len(sample.faces.detections)
    assert sample.d_people.outcome == outcome
    assert by_number.outcomes(case) == by_number.outcomes(case, "age5") == [outcome] * n
    assert [d.label for d in sample.d_age5.detections] == [None] * n
    if case == "refused":
        assert sample.d_people.text == "I can't help with that."


@pytest.mark.parametrize(("run", "wrong", "other"), [("by_box", "gender", "age5"), ("by_number", "age5", "gender")])
def test_a_value_that_is_no_label_costs_this_value_alone(
    run: str, wrong: str, other: str, request: pytest.FixtureRequest
) -> None:
    found: Erring = request.getfixturevalue(run)
    n = len(found.sample("no label").faces.detections)
    assert found.outcomes("no label", wrong) == ["unparsed", *["ok"] * (n - 1)]
    assert found.outcomes("no label", other) == ["ok"] * n


def test_evaluation_counts_what_went_wrong(by_box: Erring, by_number: Erring) -> None:
    assert by_box.result.pictures == {"ok": 3, "unparsed": 4, "no_face": 1}
    assert by_box.result.wrong_counts == 3
    sizes = {case: len(by_box.sample(case).faces.detections) for case in by_box.cases}
    lost = {"no_face": 2, "unparsed": sizes["no boxes, missing"] + 1}
    result = judged(by_box.dataset)["gender"]
    assert result.overall.outcomes == {"ok": FACES - sum(lost.values())} | lost
    assert result.extra == 2 + sizes["no boxes, missing"] - 1
    assert by_number.result.pictures == {"ok": 1, "unparsed": 6, "refused": 1}
    outcomes = Counter(o for case in by_number.cases for o in by_number.outcomes(case))
    result = judged(by_number.dataset)["gender"]
    # The two who share a number are nobody, and extra.
    assert result.extra == 2
    assert result.overall.outcomes == dict(outcomes - Counter(ok=2))
    assert result.overall.n == FACES


def test_a_run_goes_on_with_what_lacks_a_whole_answer(groups: fo.Dataset, model: Onlooker, server: Server) -> None:
    model.spoil = lambda people: people[FIRST:] if len(people) == 4 else people
    first = describe(groups, server)
    wrong = first.wrong_counts
    assert 0 < wrong < len(groups)
    model.spoil = lambda people: people
    before = len(server.asked)
    second = describe(groups, server)
    assert (second.asked, second.skipped, len(server.asked) - before) == (wrong, len(groups) - wrong, wrong)
    assert groups.count_values("d_people.outcome") == {"ok": len(groups)}
    third = describe(groups, server)
    assert (third.asked, third.skipped) == (0, len(groups))
    with pytest.raises(FieldError, match="predictions of another model or prompt"):
        describe(groups, server, who="the person in a hat")


def test_whole_answers_come_from_the_cache(groups: fo.Dataset, server: Server) -> None:
    describe(groups, server)
    before = len(server.asked)
    groups.delete_sample_field("d_people")
    again = describe(groups, server)
    assert (again.asked, again.usage["cached"], len(server.asked)) == (len(groups), len(groups), before)


def test_a_phrase_names_some(groups: fo.Dataset, model: Onlooker, server: Server) -> None:
    model.spoil = lambda people: people[:1] if len(people) == 4 else []
    result = describe(groups, server, who='the {person} wearing a "head scarf"', mark="numbers")
    fours = sum(len(s.faces.detections) == 4 for s in groups)
    assert (result.people, result.wrong_counts, result.pictures) == (fours, 0, {"ok": len(groups)})
    assert 'this phrase fits: "the {person} wearing a "head scarf""' in text_of(server.asked[0])
    assert [len(d) for d in groups.values("d_gender.detections")] == [int(len(s.faces.detections) == 4) for s in groups]
    assert describe(groups, server, who='the {person} wearing a "head scarf"', mark="numbers").asked == 0


def test_faces_may_be_unknown_and_are_judged_by_overlap(
    groups: fo.Dataset, right: EvaluationResult, model: Onlooker, server: Server
) -> None:
    model.spoil = lambda people: [moved(p, 0.1) for p in shuffled(people)]
    result = describe(groups, server, faces=None)
    assert (result.people, result.wrong_counts, result.pictures) == (FACES, 0, {"ok": len(groups)})
    assert groups.values("d_people.expected") == [None] * len(groups)
    assert judged(groups)["gender"].confusion == right["gender"].confusion


def test_words_alone_may_be_asked_for(groups: fo.Dataset, server: Server) -> None:
    describe(groups, server, attributes=[], free={"clothing": "which colours are worn?", "hair": "what hair?"})
    assert '- "clothing": which colours are worn?' in text_of(server.asked[0])
    first = groups.first().d_people.detections[0]
    assert first.clothing is not None
    assert (first.label, first.hair) == ("person", None)
    assert not groups.has_sample_field("d_gender")


def test_own_words_are_asked_and_not_mixed_with_others(groups: fo.Dataset, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("describing: {everybody: all of them, free: {clothing: 'which coat?'}}")
    remote = replace(SCENE, template=str(path))
    describe(groups, server, free=["clothing"], remote=remote)
    assert "Describe all of them." in text_of(server.asked[0])
    assert '- "clothing": which coat?' in text_of(server.asked[0])
    assert runs.read(groups, "facevlm_d")["describe"]["words"] == words.load(str(path)).version
    assert describe(groups, server, free=["clothing"], remote=remote).asked == 0
    path.write_text("describing: {everybody: every one, free: {clothing: 'which coat?'}}")
    with pytest.raises(FieldError, match="predictions of another model or prompt"):
        describe(groups, server, free=["clothing"], remote=remote)
    path.write_text("describing: {everybody: 'all but {who}'}")
    with pytest.raises(InputError, match="'everybody' under 'describing': got"):
        describe(groups, server, remote=remote)
    assert len(server.asked) == len(groups)


def test_an_opened_backend_asks_in_its_own_words(groups: fo.Dataset, server: Server, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("describing: {everybody: all of them, free: {clothing: 'which coat?'}}")
    remote = replace(SCENE, base_url=server.base_url, template=str(tmp_path / "own.yaml"))
    backend = open_backend("openai:m", Options(remote=remote))
    facevlm.describe(groups.limit(1), backend, free=["clothing"], prefix="d", progress=False)
    assert "Describe all of them." in text_of(server.asked[0])
    assert "which coat?" in text_of(server.asked[0])
    backend.close()  # type: ignore[attr-defined]


def test_what_is_sent(groups: fo.Dataset, server: Server) -> None:
    describe(groups.limit(1), server, mark="crops", free=["hair"])
    [request] = server.asked
    n = len(groups.first().faces.detections)
    assert [p["type"] for p in request.body["messages"][-1]["content"]] == [*(["text", "image_url"] * n), "text"]
    assert len(pictures_of(request)) == n
    item = item_of(request)
    assert list(item["properties"]) == item["required"] == ["number", "gender", "age5", "hair"]
    assert item["properties"]["number"]["enum"] == list(range(1, n + 1))
    assert item["properties"]["gender"]["enum"] == ["Male", "Female"]
    assert item["properties"]["hair"]["type"] == ["string", "null"]
    assert "what does the hair look like" in text_of(request)


def test_the_record_says_what_was_asked(groups: fo.Dataset, server: Server) -> None:
    told: list[Briefing] = []
    describe(groups, server, mark="numbers", free=["hair"], confirm=keeping(told, True))
    record = runs.read(groups, "facevlm_d")
    asked = {k: record["describe"][k] for k in ("who", "shown", "faces", "pictures")}
    assert asked == {"who": None, "shown": "numbers", "faces": "faces", "pictures": {"ok": len(groups)}}
    assert record["outcomes"]["gender"] == {"ok": FACES}
    assert record["status"] == "done"
    assert told[0].text.startswith(f"{len(groups)} pictures go to 127.0.0.1")
    assert "at most 1024 pixels" in told[0].text


def test_token_probabilities_become_the_confidence_of_each_person(
    groups: fo.Dataset, model: Onlooker, server: Server
) -> None:
    def sure(people: list[Person]) -> Any:
        """Every letter is a token; the first of each label is so sure as the person stands in the list."""
        text = json.dumps({"people": people})
        starts = [m.end() for m in re.finditer('"gender": "', text)]
        shares = {at: 0.9 - 0.1 * k for k, at in enumerate(starts)}
        letters = []
        for at, letter in enumerate(text):
            p = shares.get(at)
            others = {"F" if letter == "M" else "M": math.log(1 - p)} if p else {}
            letters.append(token(letter, math.log(p) if p else 0.0, **others))
        return completion(text, logprobs=letters)

    model.spoil = lambda people: sure(shuffled(people))
    describe(groups, server, attributes=["gender"], mark="numbers")
    for sample in groups:
        order = shuffled(list(range(len(sample.faces.detections))))
        said = [d.confidence for d in sample.d_gender.detections]
        assert [said[k] for k in order] == pytest.approx([0.9 - 0.1 * k for k in range(len(order))])
        assert all(len(d.logits) == 2 and d.coverage > 0.99 for d in sample.d_gender.detections)
    result = facevlm.evaluate(groups, ["gender"], prefix="d", ground_truth={"gender": TRUTH["gender"]}, faces="faces")
    assert result["gender"].confidence is not None


@pytest.mark.parametrize("mark", ["numbers", "crops"])
def test_samples_vote_about_each_numbered_face(groups: fo.Dataset, model: Onlooker, server: Server, mark: Any) -> None:
    """Of three answers about a picture one leaves the first out, and two turn the gender of the last around."""
    times: Counter[str] = Counter()

    def vary(people: list[Person]) -> list[Person]:
        times[json.dumps(people)] += 1
        turned = [*people[:-1], people[-1] | {"gender": {"Male": "Female", "Female": "Male"}[people[-1]["gender"]]}]
        return [people, turned[FIRST:], shuffled(turned)][times[json.dumps(people)] - 1]

    model.spoil = vary
    result = describe(groups, server, mark=mark, free=["clothing"], remote=replace(SCENE, samples=3))
    assert (result.pictures, len(server.asked)) == ({"ok": len(groups)}, 3 * len(groups))
    assert {request.body["temperature"] for request in server.asked} == {1.0}
    for sample in groups:
        said = sample.d_gender.detections
        assert [d.confidence for d in said] == pytest.approx([2 / 3, *[1.0] * (len(said) - 2), 2 / 3])
        right = [model.labels["gender"][d.face] for d in said]
        assert [d.label == r for d, r in zip(said, right, strict=True)] == [*[True] * (len(said) - 1), False]
        assert None not in [d.clothing for d in sample.d_people.detections]
    told: list[str] = []
    describe(groups, server, mark=mark, overwrite=True, remote=replace(SCENE, samples=3), confirm=told.append)
    assert f"{3 * len(groups)} requests" in told[0].text  # type: ignore[attr-defined]


def test_a_run_that_is_closed_keeps_what_was_answered(groups: fo.Dataset, server: Server) -> None:
    told = Settings(options=Options(remote=Remote(base_url=server.base_url, concurrency=1)))
    started = DescribeRun(groups, "openai:m", ["gender"], faces="faces", prefix="d", settings=told)
    assert started.begin(lambda briefing: True)
    with closing(started.steps()) as steps:
        next(step for step in steps if step.done >= 2)
    done = [o for o in groups.values("d_people.outcome") if o]
    assert 2 <= len(done) < len(groups)
    assert started.result().left == len(groups) - len(done)
    assert runs.read(groups, "facevlm_d")["status"] == "stopped"
    rest = describe(groups, server, attributes=["gender"], remote=Remote())
    assert (rest.asked, rest.skipped) == (len(groups) - len(done), len(done))


KILLED = """
import sys
import fiftyone as fo
import facevlm
facevlm.describe(
    fo.load_dataset(sys.argv[1]), "openai:m", ["gender"], free=["hair"], faces="faces", mark="numbers", prefix="k",
    progress=False, base_url=sys.argv[2], concurrency=8,
)
"""


@pytest.mark.kill
def test_a_killed_run_loses_nothing_and_asks_only_what_was_in_flight(dataset_name: str, tmp_path: Path) -> None:
    total = 200
    at = random.uniform(0.1, 0.95)
    made = fo.Dataset(dataset_name, persistent=True)
    face = {"label": "face", "bounding_box": [0.2, 0.2, 0.5, 0.5]}
    samples = [
        fo.Sample(filepath=path, faces=fo.Detections(detections=[fo.Detection(**face)]))
        for path in distinct_pictures(tmp_path, total, side=48)
    ]
    made.add_samples(samples, progress=False)
    answer = completion(json.dumps({"people": [{"number": 1, "gender": "Female", "hair": "dark"}]}))
    with running(after_probe(lambda request: Act(answer, delay=0.02))) as server:
        before = killed_and_run_again(KILLED, dataset_name, server, int(at * total))
        asked = Counter(request.jpeg for request in server.asked)
    made.reload()
    assert made.count_values("k_people.outcome") == {"ok": total}, at
    for field in ("k_people", "k_gender"):
        assert made.values(f"{field}.detections.outcome") == [["ok"]] * total, at
        assert made.values(f"{field}.detections.face") == made.values("faces.detections.id"), at
    assert (len(asked), before < total) == (total, True), at
    assert max(asked.values()) <= 2, at
    assert len(server.asked) - total <= 2 * 8, at
    assert runs.read(made, "facevlm_k")["status"] == "done"


def test_a_budget_stops_and_the_next_run_goes_on(
    groups: fo.Dataset, model: Onlooker, server: Server, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("date: 2031-01-01\nmodels: {m: {input: 150, output: 1}}\n")
    remote = Remote(concurrency=1, prices=str(prices), max_side=128)
    stopped = describe(groups, server, remote=replace(remote, budget=0.15))
    assert 0 < stopped.asked < len(groups)
    assert stopped.left == len(groups) - stopped.asked
    assert any("Stopped early" in note for note in stopped.warnings)
    assert runs.read(groups, "facevlm_d")["status"] == "stopped"
    assert [o for o in groups.values("d_people.outcome") if o] == ["ok"] * stopped.asked
    rest = describe(groups, server, remote=remote)
    assert (rest.asked, rest.skipped) == (stopped.left, stopped.asked)
    assert runs.read(groups, "facevlm_d")["spent"]["requests"] == len(server.requests)
    assert len(server.asked) == len(groups)


def test_a_server_that_cannot_be_asked_leaves_no_trace(groups: fo.Dataset, server: Server) -> None:
    server.answer = lambda request: Act({"error": {"message": "bad key"}}, status=401)
    with pytest.raises(ModelError, match="Check the key"):
        describe(groups, server)
    assert not groups.has_sample_field("d_people")
    assert not groups.has_run("facevlm_d")


def test_a_server_that_always_fails_stops_the_run(groups: fo.Dataset, server: Server) -> None:
    server.answer = after_probe(lambda request: Act({"error": {"message": "expired"}}, status=401))
    with pytest.raises(ModelError, match="will not answer"):
        describe(groups, server)
    assert runs.read(groups, "facevlm_d")["status"] == "stopped"
    assert len(server.asked) <= len(groups)


def test_reports_and_comparisons_read_people(
    groups: fo.Dataset, right: EvaluationResult, server: Server, tmp_path: Path
) -> None:
    describe(groups, server, mark="numbers")
    judged(groups)
    written = reports.write(reports.build(reporting.read(groups, "d", pictures=True)), tmp_path)
    [page] = [path.read_text(encoding="utf-8") for path in written if path.suffix == ".md"]
    assert "openai:m" in page
    [compared] = facevlm.compare(
        groups, ["m", "d"], ["gender"], ground_truth={"gender": TRUTH["gender"]}, faces="faces", draws=20
    )
    assert (compared.pairs[0].n, compared.pairs[0].agreement) == (FACES, 1.0)


def test_a_no_asks_nothing(groups: fo.Dataset, server: Server) -> None:
    result = describe(groups, server, confirm=lambda briefing: False)
    assert (result.asked, result.left, server.asked) == (0, len(groups), [])
    assert not groups.has_sample_field("d_people")


def test_pictures_without_faces_and_unreadable_ones(dataset_name: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"none")
    dataset = fo.Dataset(dataset_name)
    box = fo.Detection(label="face", bounding_box=[0.1, 0.1, 0.2, 0.2])
    path = str(tmp_path / "bad.jpg")
    samples = [fo.Sample(filepath=path, faces=fo.Detections(detections=d)) for d in ([], [box])]
    dataset.add_samples(samples, progress=False)
    describe(dataset, server)
    assert dataset.values("d_people.outcome") == ["no_face", "failed"]
    [[], [outcome]] = dataset.values("d_gender.detections.outcome")
    assert outcome == "failed"
    assert server.asked == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mark": "arrows"}, "expected one of numbers, crops"),
        ({"mark": "numbers", "faces": None}, "without faces"),
        ({"faces": "nowhere"}, "expected a field of Detections: faces"),
        ({"who": "  "}, "expected a phrase"),
        ({"free": ["label"]}, "expected names of letters"),
        ({"free": ["gender"]}, "expected names of letters"),
        ({"attributes": [Attribute("box", ("a", "b"), "which box?")]}, "Got the attribute box, expected other names"),
        ({"attributes": []}, "Got no attribute"),
        ({"prefix": "m"}, "was not written by facevlm"),
        (
            {"remote": Remote(samples=3)},
            "cannot be told apart by boxes. Known faces can be numbered",
        ),
    ],
)
def test_bad_input_is_said_before_anything_is_sent(
    base: fo.Dataset, server: Server, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        describe(base, server, **options)
    assert server.requests == []


def test_a_face_without_a_box_is_said(dataset_name: str, server: Server, pictures: list[str]) -> None:
    dataset = fo.Dataset(dataset_name)
    faces = fo.Detections(detections=[fo.Detection(label="face")])
    dataset.add_samples([fo.Sample(filepath=pictures[0], faces=faces)], progress=False)
    with pytest.raises(FieldError, match="expected \\[x, y, width, height\\]"):
        describe(dataset, server)


def test_a_face_outside_of_its_picture_fails_alone(dataset_name: str, server: Server, pictures: list[str]) -> None:
    server.answer = after_probe(lambda request: Act(completion(json.dumps({"people": [{"number": 1}]}))))
    dataset = fo.Dataset(dataset_name)
    for path, x in zip(pictures, (0.2, 1.2), strict=False):
        box = fo.Detection(label="face", bounding_box=[x, 0.2, 0.3, 0.3])
        dataset.add_sample(fo.Sample(filepath=path, faces=fo.Detections(detections=[box])))
    describe(dataset, server, mark="numbers")
    assert dataset.values("d_people.outcome") == ["unparsed", "failed"]
    assert "lies outside" in dataset.last().d_gender.detections[0].reason


def test_a_model_for_single_faces_is_told_from_one_that_finds_people(groups: fo.Dataset) -> None:
    with pytest.raises(InputError, match="answers about one face and finds nobody by itself"):
        facevlm.describe(groups, "demo", ["gender"])


def test_the_protocol_of_the_design(groups: fo.Dataset, server: Server) -> None:
    questions = questions_for(find("openai:m"), [get("gender"), get("age5")])
    backend = open_backend("openai:m", Options(remote=Remote(base_url=server.base_url)))
    assert isinstance(backend, Describing)
    sample = groups.first()
    [scene] = backend.describe([images.load(sample.filepath)], questions, None)
    assert len(scene.people) == len(sample.faces.detections)
    assert all(len(person.replies) == len(questions) and person.box_xywh_rel for person in scene.people)
    backend.close()  # type: ignore[attr-defined]


def test_a_box_that_somebody_drew_among_the_people_stays(groups: fo.Dataset, server: Server) -> None:
    describe(groups, server)
    sample = groups.first()
    drawn = fo.Detection(label="person", bounding_box=[0.0, 0.0, 0.1, 0.1], note="by hand")
    sample.d_people.detections.append(drawn)
    sample.save()
    describe(groups, server, overwrite=True)
    sample.reload()
    assert [d.note for d in sample.d_people.detections if d.id == drawn.id] == ["by hand"]
    assert len(sample.d_people.detections) == len(sample.faces.detections) + 1


def leftmost(groups: fo.Dataset) -> fo.DatasetView:
    """The group pictures, of each its leftmost face alone."""
    first = [min(found.detections, key=lambda face: face.bounding_box[0]).id for found in groups.values("faces")]
    return groups.select_labels(ids=first, fields="faces")


def only_the_first(people: list[Any]) -> list[Any]:
    """What a model says that looks at the numbers in a picture of :func:`leftmost`."""
    return people[:FIRST]


def test_answers_about_faces_that_a_view_hides_stay(groups: fo.Dataset, model: Onlooker, server: Server) -> None:
    describe(groups, server, mark="numbers")
    before = {face.face: face.id for found in groups.values("d_gender") for face in found.detections}
    model.spoil = only_the_first
    part = leftmost(groups)
    shown = {found.detections[0].id for found in part.values("faces")}
    describe(part, server, mark="numbers", overwrite=True)
    groups.reload()
    after = {face.face: face.id for found in groups.values("d_gender") for face in found.detections}
    assert after.keys() == before.keys()
    assert {face for face in before if before[face] != after[face]} == shown
    assert groups.count("d_people.detections") == FACES
    assert describe(groups, server, mark="numbers").asked == 0


def test_faces_that_a_view_hid_are_asked_about_later_and_no_picture_twice(
    groups: fo.Dataset, model: Onlooker, server: Server
) -> None:
    model.spoil = only_the_first
    part = leftmost(groups)
    assert [describe(part, server, mark="numbers").asked for _ in range(2)] == [len(groups), 0]
    assert groups.count("d_gender.detections") == len(groups)
    model.spoil = lambda people: people
    assert describe(groups, server, mark="numbers").asked == len(groups)
    assert groups.count_values("d_gender.detections.outcome") == {"ok": FACES}
    assert describe(groups, server, mark="numbers").asked == 0
    assert describe(part, server, mark="numbers").asked == 0


def test_people_are_not_described_anew_over_others_answers_where_the_record_is_gone(
    groups: fo.Dataset, server: Server
) -> None:
    describe(groups, server)
    groups.delete_run("facevlm_d")
    sent = len(server.asked)
    with pytest.raises(FieldError, match="another model or prompt for age5, gender, people: of a model that no record"):
        describe(groups, server, who="the man")
    assert describe(groups, server).asked == 0
    assert len(server.asked) == sent
    assert runs.read(groups, "facevlm_d")["backend"]["model"] == "openai:m"

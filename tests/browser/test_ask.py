"""Ask about faces in the App: the plan in the form before it runs, and just the picked faces afterwards."""

from __future__ import annotations

import json

import fiftyone as fo
from playwright.sync_api import Locator, Page, expect

import facevlm
from tests import chromium
from tests.browser import driving
from tests.servers.onlooker import Onlooker, Person
from tests.servers.server import Act, Request, Server, completion, obedient, running

pytestmark = chromium.needed
ODD = "kindly say which sex folks with specs have"
PLAN = {"attributes": ["gender"], "conditions": [], "place": "none", "who": "person wearing glasses", "readable": True}


def write(page: Page, form: Locator, request: str) -> None:
    driving.write(page, driving.field(form, "Request"), request, request=request, grounding="model")


def opened(page: Page, app: str, groups: fo.Dataset) -> Locator:
    driving.open_dataset(page, app, groups)
    return driving.open_resolved(page, "Ask about faces", grounding="model")


def women(groups: fo.Dataset) -> dict[str, str]:
    """Face -> picture of those whom the demo model calls female and happy."""
    facevlm.apply(groups, attributes=["gender", "emotion7"], faces="faces", progress=False)
    groups.reload()
    found: dict[str, str] = {}
    for sample in groups:
        happy = {d.face for d in sample.demo_emotion7.detections if d.label == "happy"}
        found |= {d.face: sample.id for d in sample.demo_gender.detections if d.label == "Female" and d.face in happy}
    return found


def test_a_request_in_words(page: Page, app: str, groups: fo.Dataset) -> None:
    meant = women(groups)
    form = opened(page, app, groups)
    for request, said in (
        ("who is this?", "Who somebody is is never answered"),
        ("wieght of the women", "is none of the attributes that can be asked: gender, race5, age5, emotion7"),
        ("blah blah", "'blah blah' is not known"),
        ("everyone wearing glasses", "choose a model under 'Who picks people by other words'"),
    ):
        write(page, form, request)
        expect(form).to_contain_text(said)
        expect(form.get_by_role("button", name="Execute")).to_be_disabled()
        driving.shoot(page, f"ask-bad-{request.split()[0]}")
    write(page, form, "age group and race of the happy women")
    plan = form.get_by_role("listitem")
    expect(plan.first).to_have_text("Asked: Apparent age, 5 groups (age5), Perceived race, 5 groups (UTKFace) (race5).")
    expect(plan.filter(has_text="gender is known of all of them ('demo_gender').")).to_have_count(1)
    expect(plan.filter(has_text="Only faces with Perceived gender (gender): Female.")).to_have_count(1)
    driving.shoot(page, "ask-plan")
    groups.reload()
    assert groups.get_field("demo_age5") is None
    driving.execute(page, form, f"{len(meant)} faces picked.")
    driving.shoot(page, "ask-result")
    driving.finish(page)
    groups.reload()
    for name in ("demo_age5", "demo_race5"):
        assert sorted(groups.values(f"{name}.detections.face", unwind=True)) == sorted(meant)
    driving.shows(page, len(set(meant.values())))
    page.wait_for_selector("[data-cy=looker]")
    driving.shoot(page, "ask-view")


class Seer:
    """A server whose model plans, points at the leftmost face as the one with glasses, and answers about faces."""

    def __init__(self, groups: fo.Dataset) -> None:
        self.onlooker = Onlooker.of(groups, ["gender"])
        self.onlooker.spoil = leftmost

    def __call__(self, request: Request) -> Act:
        if request.is_probe:
            return obedient(request)
        if ODD in json.dumps(request.body["messages"]):
            return Act(completion(json.dumps(PLAN)))
        is_about_people = "people" in json.dumps(request.body["response_format"])
        return self.onlooker(request) if is_about_people else obedient(request)


def leftmost(people: list[Person]) -> list[Person]:
    return [people[0] | {"evidence": "dark rims"}]


def test_a_planner_and_a_model_that_picks_by_numbers(page: Page, app: str, groups: fo.Dataset) -> None:
    with running(Seer(groups)) as server:
        form = opened(page, app, groups)
        driving.name_server(page, form, server)
        write(page, form, ODD)
        expect(form).to_contain_text("'kindly say' is not known")
        driving.write(page, driving.field(form, "Planner"), "openai:m", planner="openai:m", plan_now=False)
        expect(form).to_contain_text("Only the planner, openai:m, can read this")
        driving.shoot(page, "ask-planner-named")
        assert not server.asked
        driving.tick(page, form, "Ask the planner now", plan_now=True)
        planned(page, form, server)
        driving.execute(page, form, "8 faces picked.")
        driving.shoot(page, "ask-picked")
        driving.finish(page)
        assert len(server.asked) == 1 + 8 + 8
    groups.reload()
    first = [min(s.faces.detections, key=lambda d: d.bounding_box[0] + d.bounding_box[2] / 2).id for s in groups]
    assert sorted(groups.values("m_gender.detections.face", unwind=True)) == sorted(first)
    page.locator("a[href$='stages.FilterLabels']").first.wait_for()
    page.get_by_text("m_faces", exact=True).locator("visible=true").first.wait_for()
    driving.shows(page, 8)
    page.wait_for_selector("[data-cy=looker]")
    driving.shoot(page, "ask-picked-view")


def planned(page: Page, form: Locator, server: Server) -> None:
    """The planner's plan and the costs stand in the form; only the words were sent."""
    expect(form).to_contain_text("Read by openai:m, which saw the words alone.")
    expect(form).to_contain_text("Only those whom the words 'person wearing glasses' fit")
    expect(form).to_contain_text("numbers drawn on the faces")
    driving.shoot(page, "ask-planned")
    expect(form).to_contain_text(f"8 pictures go to 127.0.0.1:{server.port}")
    form.get_by_text("28 pictures of faces go to").scroll_into_view_if_needed()
    driving.shoot(page, "ask-costs")
    [asked] = server.asked
    assert "image_url" not in json.dumps(asked.body)

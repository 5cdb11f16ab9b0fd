"""What a run leaves of the user's work in the App, and what the tiles say: filters, selection, fields, errors."""

from __future__ import annotations

import fiftyone as fo
import fiftyone.core.utils as fou
import pytest
from playwright.sync_api import Page, expect

import facevlm
from tests import chromium
from tests.browser import driving
from tests.store import on_faces

pytestmark = chromium.needed
GREEN = "rgb(46, 125, 50)"


def tags(page: Page) -> set[str]:
    """The fields whose chips are on the tiles."""
    chips = page.locator("[data-cy=looker] [data-cy^=tag-]")
    return {name.removeprefix("tag-") for name in chips.evaluate_all("all => all.map(e => e.dataset.cy)")}


def show_only(page: Page, field: str) -> None:
    """Wait until the tiles show chips of one field alone."""
    driving.repeat(page, lambda: None, lambda: tags(page) == {field}, f"see only '{field}' on the tiles")


def loads_of(page: Page, milliseconds: int = 3_000) -> int:
    """How often a page that nobody touches loads its dataset, once it does so no more or half a minute is over."""
    loads: list[str] = []
    page.on(
        "request",
        lambda request: loads.append(request.url) if "DatasetPageQuery" in (request.post_data or "") else None,
    )
    for _ in range(10):
        loads.clear()
        page.wait_for_timeout(milliseconds)
        if not loads:
            break
    return len(loads)


def test_a_run_leaves_filter_and_selection_and_shows_only_its_fields(page: Page, app: str, faces: fo.Dataset) -> None:
    n = faces.count_values("gender.label")["Female"]
    driving.open_dataset(page, app, faces)
    driving.filter_by(page, "gender", "Female", n)
    form = driving.open_operator(page, "Apply VLM face attributes")
    driving.choose_attributes(page, form, "Perceived gender", attributes=["gender"])
    driving.execute(page, form, f"{n} faces asked")
    driving.finish(page)
    show_only(page, "demo_gender")
    driving.shows(page, n)
    driving.shoot(page, "filter-kept")
    faces.reload()
    assert faces.count("demo_gender") == n

    form = driving.open_operator(page, "Evaluate face attributes against ground truth")
    driving.execute(page, form, "demo_eval_gender_errors")
    driving.finish(page)
    show_only(page, "demo_eval_gender_told")
    driving.shows(page, n)
    chip = page.locator("[data-cy=tag-demo_eval_gender_told]").first
    expect(chip).to_have_css("background-color", GREEN)
    driving.shoot(page, "filter-kept-evaluated")
    assert loads_of(page) == 0
    page.reload()
    page.wait_for_selector("[data-cy=looker]")
    show_only(page, "demo_eval_gender_told")
    expect(chip).to_have_css("background-color", GREEN)
    driving.shoot(page, "fields-after-a-reload")


@pytest.fixture
def evaluated(faces: fo.Dataset) -> fo.Dataset:
    facevlm.apply(faces, "demo", ["race5"], progress=False)
    facevlm.evaluate(faces, prefix="demo")
    return faces


def open_view(page: Page, app: str, dataset: fo.Dataset, view: str, field: str) -> None:
    """A saved view, with the chips of one field."""
    address = f"{app}/datasets/{dataset.name}?view={fou.to_slug(view)}"
    driving.open_address(page, address, page.locator("[data-cy=looker]"))
    page.keyboard.press("Escape")
    first = page.locator(f"[data-cy=looker] [data-cy=tag-{field}]").first
    expect(first).to_be_visible()


def test_tiles_of_errors_tell_truth_and_answer(page: Page, app: str, evaluated: fo.Dataset) -> None:
    view = evaluated.load_saved_view("demo_eval_race5_errors")
    first = view.first()
    open_view(page, app, evaluated, "demo_eval_race5_errors", "demo_eval_race5_told")
    said = page.locator("[data-cy=tag-demo_eval_race5_told]").first
    expect(said).to_contain_text(f"{first.race_as_race5.label} -> {first.demo_race5.label}")
    driving.shoot(page, "tiles-errors")


def test_tiles_of_faces_in_pictures_tell_truth_and_answer(page: Page, app: str, groups: fo.Dataset) -> None:
    on_faces.store(groups, "demo", on_faces.answers(groups, ("gender", "age5")))
    # What is ticked when a dataset is opened is the first attribute.
    facevlm.evaluate(groups, ["age5"], prefix="demo")
    name = "demo_eval_age5_told"
    view = groups.load_saved_view("demo_eval_age5_errors")
    first = view.first()[name]
    open_view(page, app, groups, "demo_eval_age5_errors", name)
    expect(page.locator(f"[data-cy=tag-{name}]").first).to_have_text(first.label)
    assert first.label.startswith(f"{first.truth} -> {first.said}")
    driving.shoot(page, "tiles-errors-of-faces")

"""A review in a real browser: twenty faces by Tab and Space, one undone, many approved by a threshold."""

from __future__ import annotations

import re

import fiftyone as fo
import pytest
from playwright.sync_api import Page, expect

import facevlm
from tests import chromium
from tests.browser import driving
from tests.browser.test_panel import open_panel

pytestmark = chromium.needed
FACES = 20
BUTTONS = ("Approve", "Male", "Female", "Cannot tell", "Discard")
DECIDED = {"Approve": {"approved"}, "Cannot tell": {"unclear"}, "Discard": {"discarded"}}


@pytest.fixture
def answered(faces: fo.Dataset) -> fo.Dataset:
    faces.delete_samples(faces.values("id")[FACES:])
    facevlm.apply(faces, "demo", ["gender"], progress=False)
    return faces


def open_review(page: Page, app: str, dataset: fo.Dataset) -> None:
    driving.open_dataset(page, app, dataset)
    open_panel(page)
    driving.click(page, page.get_by_role("tab", name="Review"), page.get_by_text(f"{len(dataset)} to go"))


def press(page: Page, name: str, left: int) -> None:
    """Space on a button until so many faces are left; pressed twice, it decides once: about the face that was shown."""
    says = re.compile("No face waits" if not left else rf"\b{left} to go")
    button = page.get_by_role("button", name=name, exact=True)
    driving.repeat(
        page,
        lambda: button.press("Space", timeout=driving.STEP),
        page.get_by_text(says).first.is_visible,
        f"press '{name}'",
    )


def test_twenty_faces_by_enter(page: Page, app: str, answered: fo.Dataset) -> None:
    queue = [face.id for face in facevlm.review(answered, "gender").queue()]
    open_review(page, app, answered)
    expect(page.get_by_alt_text("the face to decide about")).to_be_visible()
    driving.shoot(page, "review-first")
    for k in range(FACES):
        press(page, BUTTONS[k % len(BUTTONS)], FACES - 1 - k)
        if k == FACES // 2:
            driving.shoot(page, "review-half")
    driving.shoot(page, "review-done")
    answered.reload()
    decided = [answered[face].gender_reviewed for face in queue]
    for k, label in enumerate(decided):
        assert label.decision in DECIDED.get(BUTTONS[k % len(BUTTONS)], {"approved", "changed"})
        assert label.chosen == "unsure"
    assert [label.label for label in decided[1::5]] == ["Male"] * 4
    assert [label.label for label in decided[2::5]] == ["Female"] * 4
    press(page, "Undo", 1)
    answered.reload()
    assert answered.count("gender_reviewed.decision") == FACES - 1


def test_many_at_once_after_a_word_of_agreement(page: Page, app: str, answered: fo.Dataset) -> None:
    n = facevlm.review(answered, "gender").split(0.9).sure
    open_review(page, app, answered)
    page.get_by_text(f"{n} of {FACES}").first.wait_for()
    driving.press(page, f"Approve {n} ...", f"Approve {n} answers of at least 0.90 into 'gender_reviewed'")
    driving.shoot(page, "review-agree")
    left = page.get_by_text(f"{FACES - n} to go" if n < FACES else "No face waits")
    driving.click(page, page.get_by_role("button", name=f"Approve {n} into gender_reviewed"), left)
    driving.shoot(page, "review-many")
    answered.reload()
    assert answered.count_values("gender_reviewed.chosen")["bulk"] == n


def test_a_grid_of_one_label(page: Page, app: str, answered: fo.Dataset) -> None:
    review = facevlm.review(answered, "gender")
    females = review.queue(label="Female")
    open_review(page, app, answered)
    box = driving.dropdown(page.locator("body"), "Said")
    driving.choose(page, box, "Female", exact=True, is_done=page.get_by_text(f"{len(females)} to go").is_visible)
    driving.show_by(page, "Show these in the grid", len(females))
    chosen = page.locator("[data-cy=looker-checkbox-input-]").first
    selected = page.get_by_text("Approve 1 selected").first
    driving.repeat(page, lambda: chosen.dispatch_event("click"), selected.is_visible, "select a face")
    driving.shoot(page, "review-grid")
    button = page.get_by_role("button", name="Approve 1 selected")
    driving.click(page, button, page.get_by_text(f"{len(females) - 1} to go"))
    answered.reload()
    assert answered.count_values("gender_reviewed.label")["Female"] == 1

"""The form of a run in a real browser: what will happen, what disables it, and one face tried before all."""

from __future__ import annotations

import fiftyone as fo
from playwright.sync_api import Page, expect

from tests import chromium
from tests.browser import driving

pytestmark = chromium.needed


def test_the_form_says_what_will_happen_and_refuses_what_cannot_be(page: Page, app: str, faces: fo.Dataset) -> None:
    driving.open_dataset(page, app, faces)
    form = driving.open_resolved(page, "Apply VLM face attributes", model="demo")
    button = form.get_by_role("button", name="Execute")
    expect(button).to_be_disabled()
    driving.choose_attributes(page, form, "Perceived gender", attributes=["gender"])
    expect(form).to_contain_text("All 96 faces are asked: none has its answers yet. Pictures stay on this machine.")
    expect(button).to_be_enabled()
    driving.shoot(page, "form-outlook")
    size = driving.field(form, "Pictures per forward pass; by default what fits")
    driving.write(page, size, "2.5", batch_size=2.5)
    expect(form).to_contain_text("Got batch_size=2.5, expected a whole number from 1 on")
    expect(button).to_be_disabled()
    size.scroll_into_view_if_needed()
    driving.shoot(page, "form-batch-size")
    driving.write(page, size, "16", batch_size=16)
    expect(button).to_be_enabled()


def test_one_face_is_tried_before_all(page: Page, app: str, faces: fo.Dataset) -> None:
    driving.open_dataset(page, app, faces)
    form = driving.open_resolved(page, "Apply VLM face attributes", model="demo")
    driving.choose_attributes(page, form, "Perceived gender", attributes=["gender"])
    way = form.get_by_role("button", name="Try on one face")
    way.scroll_into_view_if_needed()
    driving.shoot(page, "form-way-to-one-face")
    driving.click(page, way, page.get_by_text("Nothing is stored"))
    driving.shoot(page, "try-form")
    words = driving.field(form, "Empty: the usual words")
    driving.write(page, words, "man or woman?", wording_of_gender="man or woman?")
    driving.execute(page, form, "Asked: man or woman?")
    expect(page.get_by_text("In its own words").first).to_be_visible()
    driving.shoot(page, "try-result")
    again = page.get_by_role("button", name="Change the words and ask again")
    driving.click(page, again, page.get_by_text("Nothing is stored"))
    expect(driving.field(form, "Empty: the usual words")).to_have_value("man or woman?")
    driving.shoot(page, "try-again")
    faces.reload()
    assert faces.list_runs() == []

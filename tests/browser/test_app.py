"""The App in a real browser: what is wrong is said in the form."""

from __future__ import annotations

import fiftyone as fo
from playwright.sync_api import Page, expect

from tests import chromium
from tests.browser.driving import choose_attributes, open_dataset, open_operator, shoot, write

pytestmark = chromium.needed


def test_bad_input_is_said_in_the_form(page: Page, app: str, faces: fo.Dataset) -> None:
    open_dataset(page, app, faces)
    form = open_operator(page, "Apply VLM face attributes")
    choose_attributes(page, form, "Perceived gender")
    # The App breaks off where a field changes while the form is still being resolved for the last change.
    expect(form).not_to_contain_text("Choose at least one attribute")
    write(page, form.get_by_role("textbox").first, "9 faces", prefix="9 faces")
    expect(form).to_contain_text("expected letters, digits and underscores")
    shoot(page, "bad-prefix")
    page.keyboard.press("Escape")
    faces.reload()
    assert faces.list_runs() == []


def test_evaluate_before_apply_says_what_to_do(page: Page, app: str, faces: fo.Dataset) -> None:
    open_dataset(page, app, faces)
    form = open_operator(page, "Evaluate face attributes against ground truth")
    expect(form).to_contain_text("holds no predictions")

"""Faces in pictures in the App: found, asked about, and the answers read at their boxes."""

from __future__ import annotations

import fiftyone as fo
import pytest
from playwright.sync_api import Page, expect

from tests import chromium
from tests.browser.driving import (
    choose_attributes,
    execute,
    finish,
    hover,
    open_dataset,
    open_operator,
    open_picture,
    shoot,
)

pytestmark = chromium.needed


@pytest.fixture
def unboxed(groups: fo.Dataset) -> fo.Dataset:
    """The groups before anybody looked for faces."""
    groups.delete_sample_field("faces")
    return groups


def test_faces_are_found_and_their_answers_read_at_the_boxes(page: Page, app: str, unboxed: fo.Dataset) -> None:
    open_dataset(page, app, unboxed)
    form = open_operator(page, "Detect faces")
    expect(form).to_contain_text("nobody is recognised")
    execute(page, form, "28 faces in")
    shoot(page, "faces-found")
    finish(page)

    form = open_operator(page, "Apply VLM face attributes")
    expect(form).to_contain_text("Every box in 'faces'")
    expect(form).to_contain_text("Faces to ask about: 28")
    choose_attributes(page, form, "Perceived gender", "Apparent age")
    expect(form).not_to_contain_text("Choose at least one attribute")
    shoot(page, "faces-form")
    execute(page, form, "28 faces asked")
    finish(page)
    unboxed.reload()
    assert unboxed.count_values("demo_gender.detections.outcome") == {"ok": 28}

    # A picture that is opened before the grid is drawn anew shows the fields of before.
    expect(page.locator("[data-cy=checkbox-demo_faces] input")).to_be_checked()
    open_picture(page)
    sample = unboxed.first()
    face = sample.demo_faces.detections[0]
    gender = next(d for d in sample.demo_gender.detections if d.face == face.face)
    assert face.label.startswith(f"{gender.label}, ")
    hover(page, sample, face.bounding_box, face.label)
    page.get_by_text(f"{gender.confidence:.3f}").first.wait_for()
    shoot(page, "faces-answers")

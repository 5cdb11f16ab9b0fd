"""Faces in pictures in the App: found, asked about, and the answers read at their boxes."""

from __future__ import annotations

import fiftyone as fo
import pytest
from playwright.sync_api import Page, expect

from facevlm import sources
from tests import chromium
from tests.browser.test_app import PATIENCE, app, finish, open_dataset, open_operator, page, shoot, tick

__all__ = ["app", "page"]
pytestmark = chromium.needed


@pytest.fixture
def groups(dataset_name: str) -> fo.Dataset:
    dataset = sources.sample_groups(dataset_name)
    dataset.delete_sample_field("faces")
    return dataset


def test_faces_are_found_and_their_answers_read_at_the_boxes(page: Page, app: str, groups: fo.Dataset) -> None:
    open_dataset(page, app, groups)
    form = open_operator(page, "Detect faces")
    expect(form).to_contain_text("nobody is recognised")
    form.get_by_role("button", name="Execute").click()
    page.get_by_text("28 faces in").wait_for()
    shoot(page, "faces-found")
    finish(page)

    form = open_operator(page, "Apply VLM face attributes")
    expect(form).to_contain_text("Every box in 'faces'")
    expect(form).to_contain_text("Faces to ask about: 28", timeout=PATIENCE)
    tick(form, "Perceived gender")
    tick(form, "Apparent age")
    expect(form).not_to_contain_text("Tick at least one attribute", timeout=PATIENCE)
    shoot(page, "faces-form")
    form.get_by_role("button", name="Execute").click()
    page.get_by_text("28 faces asked").wait_for()
    finish(page)
    groups.reload()
    assert groups.count_values("demo_gender.detections.outcome") == {"ok": 28}

    page.locator("[data-cy=looker]").first.click(force=True, position={"x": 60, "y": 60})
    canvas = page.locator("[data-cy=modal-looker-container]").first
    canvas.wait_for()
    sample = groups.first()
    face = sample.demo_faces.detections[0]
    gender = next(d for d in sample.demo_gender.detections if d.face == face.face)
    assert face.label.startswith(f"{gender.label}, ")
    hover(page, sample, face.bounding_box)
    page.get_by_text(face.label, exact=True).first.wait_for()
    page.get_by_text(f"{gender.confidence:.3f}").first.wait_for()
    shoot(page, "faces-answers")


def hover(page: Page, sample: fo.Sample, box: list[float]) -> None:
    """Move the pointer onto a box of the picture, which the modal shows in the middle and as large as there is room."""
    sample.compute_metadata()
    room = page.locator("[data-cy=modal-looker-container] canvas").first.bounding_box()
    assert room is not None
    scale = min(room["width"] / sample.metadata.width, room["height"] / sample.metadata.height)
    size = (sample.metadata.width * scale, sample.metadata.height * scale)
    left, top = room["x"] + (room["width"] - size[0]) / 2, room["y"] + (room["height"] - size[1]) / 2
    page.mouse.move(left + size[0] * (box[0] + box[2] / 2), top + size[1] * (box[1] + box[3] / 2), steps=4)

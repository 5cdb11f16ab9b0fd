"""Training in the App: the form, what comes of it, and the model that it made in the form of apply."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
from playwright.sync_api import Page, expect

from operators.train import LABEL
from tests import chromium
from tests.browser import driving

pytestmark = chromium.needed


def test_a_model_is_trained_and_its_figures_read(page: Page, app: str, faces: fo.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    driving.open_dataset(page, app, faces)
    form = driving.open_operator(page, LABEL)
    driving.choose_attributes(page, form, "gender", attributes=["gender"])
    expect(form.get_by_text("True labels: Perceived gender").first).to_be_visible()
    driving.choose(page, driving.dropdown(form, "What is tuned"), "A linear classifier on the tower")
    driving.write(page, driving.field(form, "Folder"), str(folder), folder=str(folder), method="linear")
    driving.shoot(page, "train-form")
    driving.execute(page, form, "Its model card lies in")
    driving.shoot(page, "trained")
    expect(page.get_by_text("accuracy before").first).to_be_visible()
    assert (folder / "README.md").is_file()
    assert (folder / "facevlm.json").is_file()

"""The one button above the grid, in the real App: its menu, and from it to the form of a verb and its result."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
from playwright.sync_api import Locator, Page, expect

from tests import chromium
from tests.browser import driving

pytestmark = chromium.needed


def open_menu(page: Page) -> Locator:
    """By the button among the grid's actions."""
    form = page.locator("[data-cy=operators-prompt-modal]")
    button = page.locator("[data-item-id='@facevlm/face-attributes/face_attributes_menu']")
    driving.click(page, button, form)
    return form


def test_from_the_menu_to_a_form_and_its_result(page: Page, app: str, faces: fo.Dataset) -> None:
    driving.open_dataset(page, app, faces)
    form = open_menu(page)
    expect(form).to_contain_text("No face is known")
    driving.shoot(page, "menu")
    # A name that is no icon is drawn as its letters.
    icons = form.locator(".material-icons, .MuiIcon-root")
    expect(icons.first).to_be_visible()
    widths = icons.evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert len(widths) >= 12
    assert max(widths) <= 30
    driving.click(
        page, form.get_by_role("button", name="Check a dataset for faults"), form.get_by_text("Pictures to read: 96")
    )
    driving.shoot(page, "check-form")
    driving.execute(page, form, "96 pictures, 96 of them readable")
    driving.shoot(page, "check-result")
    driving.finish(page)
    faces.reload()
    assert faces.has_run("facevlm_check")


def test_a_table_is_loaded_and_opened(page: Page, app: str, faces: fo.Dataset, tmp_path: Path) -> None:
    rows = [f"{sample.filepath},{sample.gender.label}" for sample in faces.limit(5)]
    table = tmp_path / "mine.csv"
    table.write_text("\n".join(["filepath,gender", *rows]) + "\n")
    name = f"{faces.name}-loaded"
    driving.open_dataset(page, app, faces)
    form = driving.open_operator(page, "Load a data set of faces")
    driving.write(page, driving.field(form, "Empty: csv"), name, dataset_name=name)
    folder = driving.field(form, "A whole path on the machine where FiftyOne runs")
    driving.write(page, folder, str(table), data_folder=str(table))
    expect(form).to_contain_text("with the fields gender")
    driving.shoot(page, "load-form")
    try:
        driving.execute(page, form, "5 pictures")
        driving.shoot(page, "load-result")
        driving.finish(page)
        driving.shows(page, 5)
        assert page.url.rstrip("/").endswith(f"/datasets/{name}")
        assert fo.load_dataset(name).count_values("gender.label")
    finally:
        fo.delete_dataset(name)

"""What a check found, in the real App: a saved view that lays copies side by side, and the tags in the sidebar."""

from __future__ import annotations

import shutil
from pathlib import Path

import fiftyone as fo
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

import facevlm
from facevlm.datasets import samples
from tests import chromium
from tests.browser import driving

pytestmark = chromium.needed

FACES = [record.filepath for record in samples.read("single")]


@pytest.fixture
def checked(dataset_name: str, tmp_path: Path) -> fo.Dataset:
    """Twelve faces; three have a copy that comes much later, one of them with another label, one has a small one."""
    paths = []
    for k, source in enumerate([*FACES[::8], *FACES[:24:8]]):
        paths.append(str(tmp_path / f"{k:02d}.jpg"))
        shutil.copy(source, paths[-1])
    paths.append(str(tmp_path / "small.jpg"))
    Image.open(FACES[88]).resize((140, 140)).save(paths[-1])
    made = fo.Dataset(dataset_name, persistent=True)
    labels = [*["Female"] * 12, "Male", "Female", "Female", "Female"]
    made.add_samples(
        [fo.Sample(filepath=p, gender=fo.Classification(label=x)) for p, x in zip(paths, labels, strict=True)],
        progress=False,
    )
    facevlm.check(made, progress=False)
    return made


def test_copies_stand_side_by_side(page: Page, app: str, checked: fo.Dataset) -> None:
    expected = [Path(path).name for path in checked.load_saved_view("check_duplicate").values("filepath")]
    assert expected == ["00.jpg", "12.jpg", "01.jpg", "13.jpg", "02.jpg", "14.jpg"]
    driving.open_address(page, f"{app}/datasets/{checked.name}?view=check-duplicate", page.locator("[data-cy=looker]"))
    expect(page.locator("[data-cy=looker]")).to_have_count(6)
    expect(page.locator("[data-cy=entry-counts]").first).to_contain_text("6 samples")
    page.keyboard.press("Escape")
    expect(page.get_by_text("Male", exact=True)).to_be_visible()
    driving.shoot(page, "check-duplicate")
    address = f"{app}/datasets/{checked.name}?view=check-label-conflict"
    driving.open_address(page, address, page.locator("[data-cy=looker]"))
    expect(page.locator("[data-cy=looker]")).to_have_count(2)
    expect(page.get_by_text("Male", exact=True)).to_be_visible()
    driving.shoot(page, "check-label-conflict")

"""A new user's first way through the App, click by click: pictures that are open, to the first corrected label."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
from playwright.sync_api import Locator, Page, expect

import facevlm
from tests import chromium
from tests.browser import driving
from tests.browser.test_menu import open_menu

pytestmark = chromium.needed
MOST = 12


class Walk:
    """Clicks of a user. One that was lost while the page was drawn is a fault of timing here, and is not counted."""

    def __init__(self, page: Page) -> None:
        self._page, self.clicks = page, 0

    def click(self, target: Locator, appears: Locator) -> None:
        self.clicks += 1
        driving.click(self._page, target, appears)

    def act(self, act: Callable[[], object], appears: Locator) -> None:
        self.clicks += 1
        driving.repeat(self._page, act, appears.first.is_visible, f"see {appears}")


def test_twelve_clicks_from_pictures_to_a_corrected_label(page: Page, app: str, faces: fo.Dataset) -> None:
    facevlm.apply(faces, "demo", ["gender"], progress=False)
    driving.open_dataset(page, app, faces)
    walk, form = Walk(page), page.locator("[data-cy=operators-prompt-modal]")
    option, execute = page.get_by_role("option"), page.get_by_role("button", name="Execute")
    walk.clicks += 1
    open_menu(page)
    walk.click(form.get_by_role("button", name="Apply VLM face attributes").first, form.get_by_text("perceives"))
    expect(form).to_contain_text("Choose at least one attribute")
    race = option.filter(has_text="Perceived race").first
    walk.click(driving.dropdown(form, "Attributes"), race)
    walk.click(race, form.locator(".MuiChip-root").first)
    expect(form).not_to_contain_text("Choose at least one attribute")
    driving.shoot(page, "apply-form")
    walk.click(execute, page.get_by_text("96 faces asked"))
    driving.shoot(page, "apply-result")
    faces.reload()
    label = faces.first().demo_race5.label
    expect(page.locator("[data-cy=tag-demo_race5]").first).to_have_text(label)

    evaluate = page.get_by_role("button", name="Evaluate face attributes against ground truth")
    walk.click(evaluate, form.get_by_text("race7 -> race5"))
    driving.shoot(page, "evaluate-form")
    walk.click(execute, page.get_by_text("demo_eval_gender_errors"))
    driving.shoot(page, "evaluate-result")
    # The workspace of errors is open: the panel of errors in front, FiftyOne's own behind it.
    walk.click(page.get_by_role("button", name="Done"), page.get_by_text("Click a cell to see its faces"))
    page.get_by_text("All labels are perceived or apparent").wait_for()
    # Of one attribute at a time: chips of all of them would cover a face.
    wrong = page.locator("[data-cy=looker]").filter(
        has=page.locator("[data-cy=tag-demo_eval_race5_told]", has_text="->")
    )
    expect(page.locator("[data-cy=tag-demo_race5], [data-cy=tag-demo_eval_gender_told]")).to_have_count(0)
    driving.shoot(page, "workspace-after-evaluate")
    mark = wrong.first.locator("[data-cy=looker-checkbox-input-]").first
    walk.act(lambda: mark.dispatch_event("click"), page.get_by_text("Tag 1 selected"))
    labels = page.get_by_role("combobox").last
    walk.click(labels, option.filter(has_text="Others"))
    walk.click(option.filter(has_text="Others").first, labels.filter(has_text="Others"))
    walk.click(page.get_by_role("button", name="Relabel"), page.get_by_text("With 1 corrected label"))
    driving.shoot(page, "walk-corrected")
    assert walk.clicks <= MOST
    faces.reload()
    truth, corrected = faces.values(["race_as_race5.label", "race_corrected.label"])
    assert [new for old, new in zip(truth, corrected, strict=True) if old != new] == ["Others"]

    assert faces.list_evaluations() == ["demo_eval_gender", "demo_eval_race5"]
    tab = page.locator("[data-cy=panel-tab-model_evaluation_panel_builtin]")
    driving.click(page, tab, page.get_by_text("2 Model Evaluations"))
    row = page.get_by_role("row").filter(has_text="Macro F1")
    # The name stands in the sidebar, too.
    driving.click(page, page.get_by_text("demo_eval_race5").last, row)
    stored = faces.load_run_results("facevlm_demo_eval").evaluations
    value = next(e["overall"]["f1"] for e in stored if e["attribute"] == "race5")
    expect(row).to_contain_text(f"{value:.3f}".rstrip("0"))
    # What is shown in the grid stays as it was.
    page.wait_for_selector("[data-cy=tag-demo_eval_race5_told]")
    driving.shoot(page, "model-evaluation")

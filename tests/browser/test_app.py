"""The App in a real browser: both operators through their forms, the labels and the evaluation on the page."""

from __future__ import annotations

import fiftyone as fo
from playwright.sync_api import Page, expect

from tests import chromium
from tests.browser.driving import click, execute, finish, open_dataset, open_operator, shoot, tick, write

pytestmark = chromium.needed


def test_apply_and_evaluate_through_their_forms(page: Page, app: str, faces: fo.Dataset) -> None:
    open_dataset(page, app, faces)
    form = open_operator(page, "Apply VLM face attributes")
    expect(form).to_contain_text("perceives")
    expect(form).to_contain_text("Tick at least one attribute")
    tick(page, form, "Perceived gender")
    tick(page, form, "Perceived race")
    expect(form).not_to_contain_text("Tick at least one attribute")
    shoot(page, "apply-form")
    execute(page, form, "96 faces asked")
    shoot(page, "apply-result")
    finish(page)
    faces.reload()
    assert faces.count_values("demo_gender.outcome") == {"ok": 96}
    assert faces.get_field("demo_age5") is None
    page.locator("[data-cy=tag-demo_gender]").first.wait_for()
    label = faces.first().demo_gender.label
    expect(page.locator("[data-cy=tag-demo_gender]").first).to_have_text(label)
    shoot(page, "labels-in-grid")

    form = open_operator(page, "Evaluate face attributes against ground truth")
    expect(form).to_contain_text("race7 -> race5")
    shoot(page, "evaluate-form")
    execute(page, form, "demo_eval_gender_errors")
    shoot(page, "evaluate-result")
    finish(page)
    faces.reload()
    assert faces.list_evaluations() == ["demo_eval_gender", "demo_eval_race5"]
    # The workspace of errors is open: the panel of errors in front, FiftyOne's own behind it.
    page.get_by_text("All labels are perceived or apparent").wait_for()
    shoot(page, "workspace-after-evaluate")
    tab = page.locator("[data-cy=panel-tab-model_evaluation_panel_builtin]")
    click(page, tab, page.get_by_text("2 Model Evaluations"))
    row = page.get_by_role("row").filter(has_text="Macro F1")
    # The name stands in the sidebar, too.
    click(page, page.get_by_text("demo_eval_race5").last, row)
    stored = faces.load_run_results("facevlm_demo_eval").evaluations
    value = next(e["overall"]["f1"] for e in stored if e["attribute"] == "race5")
    expect(row).to_contain_text(f"{value:.3f}".rstrip("0"))
    page.wait_for_selector("[data-cy=tag-demo_race5]")
    shoot(page, "model-evaluation")


def test_bad_input_is_said_in_the_form(page: Page, app: str, faces: fo.Dataset) -> None:
    open_dataset(page, app, faces)
    form = open_operator(page, "Apply VLM face attributes")
    tick(page, form, "Perceived gender")
    # The App breaks off where a field changes while the form is still being resolved for the last change.
    expect(form).not_to_contain_text("Tick at least one attribute")
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

"""A run that fails after its form was sent: every operator says in its dialog what went wrong, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from playwright.sync_api import Locator, Page, expect

import facevlm
from facevlm.store import results
from tests import chromium
from tests.browser import driving
from tests.servers import batch_server
from tests.servers.server import Act, completion, running

pytestmark = chromium.needed
DENIED = Act({"error": {"message": "the key was taken back", "type": "invalid_request_error"}}, 401)


def fails(page: Page, form: Locator, title: str, said: str, shot: str) -> Locator:
    """Execute a form, and read the title and the sentence of its end."""
    driving.execute(page, form, f"{title}: not done")
    expect(page.get_by_text(said).first).to_be_visible()
    driving.shoot(page, shot)
    return page.locator("[data-cy=operators-prompt-modal]")


def test_apply_with_a_server_that_denies_in_the_midst(page: Page, app: str, faces: fo.Dataset) -> None:
    good = iter([Act(completion('{"gender": "Male"}'))] * 24)
    with running(lambda request: next(good, DENIED)) as server:
        driving.open_dataset(page, app, faces)
        form = driving.open_resolved(page, "Apply VLM face attributes", model="demo")
        driving.name_server(page, form, server)
        driving.choose_attributes(page, form, "Perceived gender", attributes=["gender"])
        fails(page, form, "Apply VLM face attributes", "the key was taken back", "failing-apply")
    faces.reload()
    kept = faces.count("m_gender")
    expect(page.get_by_text(f"Done before, and kept: {kept} of 96 faces").first).to_be_visible()
    driving.finish(page)
    expect(page.locator("[data-cy=looker]").first).to_be_visible()


def test_describe_with_a_server_that_denies(page: Page, app: str, groups: fo.Dataset) -> None:
    with running(lambda request: DENIED) as server:
        driving.open_dataset(page, app, groups)
        form = driving.open_resolved(page, "Describe people in pictures", model="gpt-4o")
        driving.name_server(page, form, server)
        driving.choose_attributes(page, form, "Perceived gender", attributes=["gender"])
        fails(page, form, "Describe people in pictures", "the key was taken back", "failing-describe")


def test_ask_with_a_server_that_denies(page: Page, app: str, groups: fo.Dataset) -> None:
    with running(lambda request: DENIED) as server:
        driving.open_dataset(page, app, groups)
        form = driving.open_resolved(page, "Ask about faces", grounding="model")
        driving.write(page, driving.field(form, "Request"), "gender of everyone", request="gender of everyone")
        driving.name_server(page, form, server)
        fails(page, form, "Ask about faces", "the key was taken back", "failing-ask")


def test_collect_without_the_key_of_the_batches(
    page: Page, app: str, faces: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with batch_server.serving(batch_server.Provider()) as provider:
        monkeypatch.setenv("FACEVLM_API_KEY", batch_server.KEY)
        monkeypatch.setenv("FACEVLM_KEYS", f"FACEVLM_API_KEY={provider.base_url}")
        given: dict[str, Any] = {"prefix": "b", "progress": False, "base_url": provider.base_url}
        facevlm.batch.submit(faces.limit(4), "openai:m", ["gender"], **given)
        driving.open_dataset(page, app, faces)
        form = driving.open_resolved(page, "Collect face attribute batches", prefix="b")
        fails(page, form, "Collect face attribute batches", "401", "failing-collect")


def test_the_form_of_detect_refuses_broken_weights(page: Page, app: str, groups: fo.Dataset, tmp_path: Path) -> None:
    weights = tmp_path / "broken.onnx"
    weights.write_bytes(b"no network")
    driving.open_dataset(page, app, groups)
    form = driving.open_resolved(page, "Detect faces", detector="auto")
    box = driving.field(form, "YuNet's file, or hf:ID-or-folder of another model")
    driving.write(page, box, str(weights), weights=str(weights))
    expect(form).to_contain_text("broken.onnx")
    expect(form.get_by_role("button", name="Execute")).to_be_disabled()
    driving.shoot(page, "failing-detect-form")


def refuses(form: Locator, said: str, shot: str) -> None:
    """The App sends no form that is refused when it is drawn anew before; what is wrong stands in it then."""
    expect(form).to_contain_text(said)
    expect(form.get_by_role("button", name="Execute")).to_be_disabled()
    driving.shoot(form.page, shot)


def test_evaluate_when_the_predictions_have_gone(page: Page, app: str, faces: fo.Dataset) -> None:
    facevlm.apply(faces, "demo", ["gender"], progress=False)
    driving.open_dataset(page, app, faces)
    form = driving.open_resolved(page, "Evaluate face attributes against ground truth", prefix="demo")
    faces.delete_sample_field("demo_gender")
    driving.write(page, driving.field(form, "Evaluations are named KEY_ATTRIBUTE"), "other", eval_key="other")
    refuses(form, "No attribute has a ground-truth field", "failing-evaluate")


def test_report_when_the_evaluation_has_gone(page: Page, app: str, faces: fo.Dataset) -> None:
    facevlm.apply(faces, "demo", ["gender"], progress=False)
    facevlm.evaluate(faces)
    driving.open_dataset(page, app, faces)
    form = driving.open_resolved(page, "Write a face attribute report", eval_key="demo_eval")
    for key in results.eval_keys(faces):
        faces.delete_run(f"facevlm_{key}")
    box, words = form.get_by_role("checkbox").first, form.get_by_text("holds no evaluation").first
    driving.repeat(
        page, lambda: box.click(force=True, timeout=driving.STEP), words.is_visible, "have the form drawn anew"
    )
    refuses(form, "holds no evaluation", "failing-report")

"""The panel of attribute errors in a real browser: figures on the page, and a click that filters the grid to them."""

from __future__ import annotations

import re
from typing import Any

import fiftyone as fo
import pytest
from playwright.sync_api import Page, expect

import facevlm
from facevlm.store import inspection, workspace
from facevlm.store import results as results_store
from tests import chromium
from tests.browser import driving
from tests.store import on_faces

pytestmark = chromium.needed

CELL = """
([column, row]) => {
    const gd = [...document.querySelectorAll('.js-plotly-plot')].find(g => g.data?.[0]?.name === 'confusion');
    gd.scrollIntoView({block: 'center'});
    const box = gd.getBoundingClientRect(), l = gd._fullLayout;
    return [box.left + l.xaxis._offset + l.xaxis.d2p(column), box.top + l.yaxis._offset + l.yaxis.d2p(row)];
}
"""
POINT = """
([name, k]) => {
    const gd = [...document.querySelectorAll('.js-plotly-plot')].find(g => g.data?.[0]?.name === name);
    gd.scrollIntoView({block: 'center'});
    const box = gd.getBoundingClientRect(), l = gd._fullLayout, t = gd.data[0];
    const x = t.type === 'bar' ? t.x[k] / 2 : t.x[k];
    return [box.left + l.xaxis._offset + l.xaxis.d2p(x), box.top + l.yaxis._offset + l.yaxis.d2p(t.y[k])];
}
"""
FITS = """
() => [...document.querySelectorAll('.js-plotly-plot svg.main-svg')]
    .every(drawn => drawn.getBoundingClientRect().right <= innerWidth)
"""
"""Whether no plot is wider than the room that the panel has."""
SHOWN = "name => [...document.querySelectorAll('.js-plotly-plot')].some(g => g.data?.[0]?.name === name)"


@pytest.fixture
def evaluated(faces: fo.Dataset) -> fo.Dataset:
    facevlm.apply(faces, "demo", ["gender", "race5"], progress=False)
    facevlm.evaluate(faces, prefix="demo")
    return faces


def open_panel(page: Page) -> None:
    option = page.locator("[data-cy=new-panel-option-face_attribute_errors]")
    driving.click(page, page.locator("[data-cy=new-panel-btn]").first, option)
    driving.click(page, option, page.get_by_text("All labels are perceived or apparent"))


def open_tab(page: Page, name: str, appears: str) -> None:
    """A tab of the panel, until this text is read on it."""
    driving.click(page, page.get_by_role("tab", name=name, exact=True), page.get_by_text(appears))


def choose_gender(page: Page) -> None:
    """In place of race5."""
    box = page.get_by_role("combobox").filter(has_text=re.compile("race5")).first
    figure = page.get_by_text("accuracy 100.0 %").first
    driving.choose(page, box, "gender", exact=True, is_done=figure.is_visible)


def place_of(page: Page, script: str, args: list[Any]) -> tuple[float, float]:
    """Where a point of a plot is once the page, which scrolls to it, stands still."""
    x, y = page.evaluate(script, args)
    while (moved := page.evaluate(script, args)) != [x, y]:
        x, y = moved
        page.wait_for_timeout(driving.PAUSE)
    return x, y


def click_at(page: Page, script: str, args: list[Any], n: int, what: str = "sample") -> None:
    """Click at a point of a plot until the grid shows just so many."""
    driving.show(page, lambda: click_once(page, script, args), n, what)


def click_once(page: Page, script: str, args: list[Any]) -> None:
    """A plot takes a click for one at what the pointer was over last, which it looks at a few times a second."""
    x, y = place_of(page, script, args)
    page.mouse.move(x + 2, y + 2)
    page.mouse.move(x, y)
    page.wait_for_timeout(2 * driving.PAUSE)
    page.mouse.click(x, y)


def test_a_click_shows_just_the_faces_behind_a_figure(page: Page, app: str, evaluated: fo.Dataset) -> None:
    results = results_store.load(evaluated, "demo_eval")
    figures = inspection.figures_of(results, "race5")
    labels, counts = figures["labels"], figures["confusion"]
    driving.open_dataset(page, app, evaluated)
    open_panel(page)
    page.wait_for_function(SHOWN, arg="confusion")
    driving.shoot(page, "panel-grid")
    row, column = next((i, j) for i, line in enumerate(counts) for j, n in enumerate(line[:-1]) if i != j and n > 1)
    click_at(page, CELL, [labels[column], labels[row]], counts[row][column])
    page.wait_for_selector("[data-cy=looker]")
    driving.shoot(page, "panel-cell")
    said = inspection.cell(inspection.inspect(evaluated, results, "race5"), labels[row], labels[column])
    assert len(said) == counts[row][column]

    bins = figures["confidence"]["bins"]
    open_tab(page, "Confidence", "Reliability:")
    click_at(page, POINT, ["reliability", len(bins) - 1], bins[-1]["n"])
    driving.shoot(page, "panel-bin")
    open_tab(page, "Groups", "Accuracy by")
    rows = figures["groups"][0]["rows"]
    most = max(range(len(rows)), key=lambda k: rows[k]["cell"]["n"])
    click_at(page, POINT, ["accuracy", most], rows[most]["cell"]["n"])
    driving.shoot(page, "panel-groups")
    open_tab(page, "Errors", "Click a cell")
    driving.show_by(page, "Show all", 96)
    choose_gender(page)
    click_at(page, CELL, ["Male", "Male"], evaluated.count_values("gender.label")["Male"])


def test_faces_are_tagged_and_relabelled(page: Page, app: str, evaluated: fo.Dataset) -> None:
    driving.open_dataset(page, app, evaluated)
    open_panel(page)
    driving.show_by(page, "Confident errors", 14)
    driving.press(page, "Ambiguous", "Tag all 14 faces of this view")
    driving.shoot(page, "panel-confirm")
    tagged = {"ambiguous": 14}
    driving.press_noticed(page, "Tag 14", "14 tagged 'ambiguous'", lambda: evaluated.count_sample_tags() == tagged)
    assert evaluated.count_sample_tags() == tagged
    driving.press_noticed(page, "Relabel", "Select at least one face in the grid first")
    chosen = page.locator("[data-cy=looker-checkbox-input-]").first
    selected = page.get_by_text("Tag 1 selected").first
    driving.repeat(page, lambda: chosen.dispatch_event("click"), selected.is_visible, "select a face")
    driving.choose(page, page.get_by_role("combobox").last, "Indian", exact=True)
    driving.press_noticed(page, "Relabel", "1 labelled 'Indian' in 'race_corrected'")
    page.get_by_text("With 1 corrected label of").wait_for()
    driving.shoot(page, "panel-corrected")
    evaluated.reload()
    before, after = evaluated.values(["race_as_race5.label", "race_corrected.label"])
    assert [b for a, b in zip(before, after, strict=True) if a != b] == ["Indian"]


def test_the_modal_shows_all_answers_about_a_face(page: Page, app: str, evaluated: fo.Dataset) -> None:
    facevlm.apply(evaluated, "demo", ["gender"], prefix="again", progress=False)
    driving.open_dataset(page, app, evaluated)
    driving.open_picture(page)
    page.locator("[data-cy=modal]").wait_for()
    tab = page.locator("[data-cy=modal] [data-cy=panel-tab-face_attribute_errors]")
    driving.click(page, tab, page.get_by_text("outcome ok"))
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length >= 3")
    driving.shoot(page, "panel-modal")
    expect(page.get_by_text("again:")).to_have_count(1)


def test_without_an_evaluation_the_panel_starts_the_next_step(page: Page, app: str, faces: fo.Dataset) -> None:
    driving.open_dataset(page, app, faces)
    open_panel(page)
    page.get_by_text("This dataset keeps no evaluation yet").wait_for()
    driving.shoot(page, "panel-nothing")
    form = page.locator("[data-cy=operators-prompt-modal]")
    button = page.get_by_role("button", name="Apply a model")
    driving.repeat(page, lambda: button.click(timeout=driving.STEP), form.is_visible, "open the form by its button")


def test_without_ground_truth_a_label_shows_its_faces(page: Page, app: str, faces: fo.Dataset) -> None:
    facevlm.apply(faces, "demo", ["race5"], progress=False)
    counts = faces.count_values("demo_race5.label")
    driving.open_dataset(page, app, faces)
    open_panel(page)
    page.wait_for_function(SHOWN, arg="labels")
    driving.shoot(page, "panel-no-truth")
    most = max(counts, key=lambda label: counts[label])
    click_at(page, POINT, ["labels", 0], counts[most])
    page.get_by_text(f"said {most}: {counts[most]} faces").wait_for()
    driving.show_by(page, "Show all", 96)


def test_the_header_names_the_cell_and_an_empty_one_leaves_the_grid(
    page: Page, app: str, evaluated: fo.Dataset
) -> None:
    driving.open_dataset(page, app, evaluated)
    open_panel(page)
    page.wait_for_function(SHOWN, arg="confusion")
    click_at(page, CELL, ["Indian", "Others"], 5)
    page.get_by_text("truth Others, said Indian: 5 faces, most confident first").wait_for()
    outline = page.locator(".js-plotly-plot .shapelayer path")
    expect(outline).to_have_count(1)
    for width, theme in ((600, "dark"), (1000, "light"), (1400, "light"), (600, "light")):
        dress(page, width, theme)
        # The App draws a plot as wide as there was room when it was drawn.
        open_tab(page, "Groups", "Accuracy by")
        open_tab(page, "Errors", "ground truth in rows")
        page.wait_for_function(SHOWN, arg="confusion")
        driving.shoot(page, f"panel-cell-{width}-{theme}")
        page.wait_for_function(FITS)
    told = page.get_by_text("The grid stays as it is")

    driving.repeat(
        page,
        lambda: click_once(page, CELL, ["White", "Others"]),
        told.first.is_visible,
        "click an empty cell",
    )
    driving.shows(page, 5)
    driving.show_by(page, "Show all", 96)
    page.get_by_text("In the grid: all of the dataset").wait_for()
    expect(outline).to_have_count(0)


def dress(page: Page, panel_px: int, theme: str) -> None:
    """Give the panel about so much room, in a light or a dark App."""
    page.set_viewport_size({"width": 2 * panel_px + 300, "height": 1100})
    switch = page.get_by_title(f"{theme.capitalize()} mode", exact=True)
    if switch.is_visible():
        driving.repeat(page, lambda: switch.click(timeout=driving.STEP), switch.is_hidden, f"see the App {theme}")


def test_what_was_done_stays_to_be_undone(page: Page, app: str, evaluated: fo.Dataset) -> None:
    driving.open_dataset(page, app, evaluated)
    open_panel(page)
    driving.show_by(page, "Confident errors", 14)
    driving.press(page, "Ambiguous", "Tag all 14 faces of this view")
    tagged = {"ambiguous": 14}
    driving.press_noticed(page, "Tag 14", "14 tagged 'ambiguous'", lambda: evaluated.count_sample_tags() == tagged)
    page.get_by_role("button", name="Undo").wait_for()
    driving.shoot(page, "panel-undo")
    undone = "Undone: 14 tagged 'ambiguous'"
    driving.press_noticed(page, "Undo", undone, lambda: evaluated.count_sample_tags() == {})
    assert evaluated.count_sample_tags() == {}


def test_a_part_of_a_comparison_shows_its_faces(page: Page, app: str, evaluated: fo.Dataset) -> None:
    words = {"race5": "which race does the person in the image seem to be?"}
    facevlm.apply(evaluated, "demo", ["race5"], prefix="again", prompts=words, progress=False)
    truth, a, b = evaluated.values(["race_as_race5.label", "demo_race5.label", "again_race5.label"])
    rows = list(zip(truth, a, b, strict=True))
    both = sum(t == x == y for t, x, y in rows)
    driving.open_dataset(page, app, evaluated)
    open_panel(page)
    open_tab(page, "Compare", "96 faces")
    page.wait_for_function(SHOWN, arg="both right")
    driving.shoot(page, "panel-compare")
    click_at(page, POINT, ["both right", 0], both)
    page.get_by_text(f"both right: {both} faces").wait_for()
    only = sum(t == x != y for t, x, y in rows)
    assert only
    driving.show_by(page, f"Only demo right: {only}", only)
    for width, theme in ((600, "dark"), (1000, "light"), (1400, "dark")):
        dress(page, width, theme)
        driving.shoot(page, f"panel-compare-{width}-{theme}")
    open_tab(page, "Confidence", "A threshold by what it gives")
    driving.shoot(page, "panel-confidence-1400-dark")


def test_a_face_in_a_picture_shows_its_bars_and_the_truth(page: Page, app: str, groups: fo.Dataset) -> None:
    on_faces.store(groups, "demo", on_faces.answers(groups, ("gender",)))
    facevlm.evaluate(groups, prefix="demo")
    counts = inspection.figures_of(results_store.load(groups, "demo_eval"), "gender")["confusion"]
    driving.open_dataset(page, app, groups)
    open_panel(page)
    page.wait_for_function(SHOWN, arg="confusion")
    click_at(page, CELL, ["Female", "Female"], counts[1][1], "patche")
    driving.open_picture(page)
    tab = page.locator("[data-cy=modal] [data-cy=panel-tab-face_attribute_errors]")
    modal = page.locator("[data-cy=modal]")
    driving.click(page, tab, modal.get_by_text("ground truth:"))
    page.wait_for_function(SHOWN, arg="probability")
    expect(modal.get_by_text("Female (truth)")).to_have_count(1)
    crop = modal.get_by_alt_text("The face that the answers below are about")
    assert crop.evaluate("picture => picture.naturalWidth") > 0
    expect(modal.get_by_text("No model was asked")).to_have_count(0)
    driving.shoot(page, "panel-patch")


def test_the_workspace_opens_by_its_address(page: Page, app: str, evaluated: fo.Dataset) -> None:
    said = page.get_by_text("All labels are perceived or apparent")
    driving.open_address(page, f"{app}{workspace.path(evaluated)}", said)
    page.wait_for_selector("[data-cy=looker]")
    page.wait_for_function(SHOWN, arg="confusion")
    page.keyboard.press("Escape")
    driving.shoot(page, "workspace")
    choose_gender(page)


def test_the_slider_keeps_the_surest_answers(page: Page, app: str, evaluated: fo.Dataset) -> None:
    there = inspection.inspect(evaluated, results_store.load(evaluated, "demo_eval"), "race5")
    driving.open_dataset(page, app, evaluated)
    open_panel(page)
    open_tab(page, "Confidence", "96 of 96 faces kept")
    slider = page.locator("input[type=range]").last
    rail = page.locator(".MuiSlider-root").last

    def slide() -> None:
        rail.scroll_into_view_if_needed()
        box = rail.bounding_box()
        assert box
        page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)

    driving.repeat(page, slide, lambda: slider.input_value().startswith(("0.7", "0.8")), "move the slider to 0.8")
    expect(slider).to_have_value(re.compile(r"^0\.[78]"))
    threshold = float(slider.input_value())
    kept, right = inspection.kept(there, threshold)
    page.get_by_text(f"{kept} of 96 faces kept").wait_for()
    expect(page.get_by_text(f"{100 * right / kept:.1f} % of them right")).to_be_visible()
    driving.shoot(page, "panel-slider")
    driving.show_by(page, "Show set aside", 96 - kept)
    driving.show_by(page, "Show kept", kept)


def test_disagreements_between_two_runs(page: Page, app: str, evaluated: fo.Dataset) -> None:
    words = {"race5": "which race does the person in the image seem to be?"}
    facevlm.apply(evaluated, "demo", ["race5"], prefix="again", prompts=words, progress=False)
    there = inspection.inspect(evaluated, results_store.load(evaluated, "demo_eval"), "race5")
    n = len(inspection.disagreements(there, "again"))
    assert n
    driving.open_dataset(page, app, evaluated)
    open_panel(page)
    open_tab(page, "Compare", "Disagreements with again")
    driving.show_by(page, "Disagreements with again", n)


def test_a_click_on_figures_of_faces_shows_their_boxes(page: Page, app: str, groups: fo.Dataset) -> None:
    on_faces.store(groups, "demo", on_faces.answers(groups, ("gender",)))
    facevlm.evaluate(groups, prefix="demo")
    figures = inspection.figures_of(results_store.load(groups, "demo_eval"), "gender")
    driving.open_dataset(page, app, groups)
    open_panel(page)
    page.wait_for_function(SHOWN, arg="confusion")
    n = figures["confusion"][1][1]
    click_at(page, CELL, ["Female", "Female"], n, "patche")
    driving.shoot(page, "panel-faces")
    driving.press(page, "Ambiguous", f"Tag all {n}")
    tagged = {"ambiguous": n}
    notice = f"{n} tagged 'ambiguous'"
    driving.press_noticed(page, f"Tag {n}", notice, lambda: groups.count_label_tags("faces") == tagged)
    assert groups.count_label_tags("faces") == tagged

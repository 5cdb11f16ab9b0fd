"""Driving the App in a real browser: opening datasets and forms, filling these in, keeping pictures of the page.

Whatever is pressed or clicked while the page is drawn anew is lost. So every step here acts, looks for its effect,
and acts again until the effect is there.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fiftyone as fo
from playwright.sync_api import Error, Locator, Page, Response, expect

from facevlm.backends import Remote
from facevlm.backends.options import described
from tests.chromium import SHOTS
from tests.servers.server import Server

PATIENCE = 180_000
"""Milliseconds that something may take which needs no action."""
STEP = 15_000
"""Milliseconds that an action waits for what it acts on."""
LOOKS = (2_000, 4_000, 8_000, 16_000, 30_000, 60_000, 60_000)
"""Milliseconds to look for an action's effect. Growing, so that one that is only slow is not undone by the next try."""
PAUSE = 100
SETTLING = 1_000
"""Milliseconds between two changes of one field."""
PAINTING = 1_500
"""Milliseconds until a page that is to be photographed stands still."""


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(PAINTING)
        page.screenshot(path=f"{SHOTS}/{name}.png")


def repeat(page: Page, act: Callable[[], object], is_done: Callable[[], bool], what: str) -> None:
    """Act until it is done; an AssertionError says what was waited for and what the page shows instead."""
    failure = ""
    for look in LOOKS:
        try:
            act()
        except (Error, AssertionError) as error:
            failure = f" The last try: {str(error).splitlines()[:1]}"
        for _ in range(look // PAUSE):
            if _holds(is_done):
                return
            page.wait_for_timeout(PAUSE)
    shown = page.inner_text("body", timeout=STEP)[:3000]
    raise AssertionError(f"Tried {len(LOOKS)} times: {what}.{failure} The page shows: {shown}")


def _holds(is_done: Callable[[], bool]) -> bool:
    """Not while the element is being replaced."""
    with contextlib.suppress(Error):
        return is_done()
    return False


def click(page: Page, target: Locator, appears: Locator) -> None:
    """Click until something appears."""
    repeat(page, lambda: target.click(timeout=STEP), appears.first.is_visible, f"click {target}, see {appears}")


def press(page: Page, name: str, appears: str) -> None:
    """Press the button of this name until this text appears."""
    click(page, page.get_by_role("button", name=name), page.get_by_text(appears))


NOTE = """
window.noted = [];
new MutationObserver(changes => {
    for (const change of changes) for (const node of change.addedNodes) {
        const text = node.textContent || '';
        if (text.length < 2000) window.noted = [...window.noted.slice(-500), text];
    }
}).observe(document, {childList: true, subtree: true});
"""
"""Keeps what appears on a page: a notice is gone after some seconds, which may pass while nobody looks."""

STILL = """
document.addEventListener('DOMContentLoaded', () => {
    const style = document.createElement('style');
    style.textContent = '*, *::before, *::after { animation: none !important; transition: none !important }';
    document.head.appendChild(style);
});
"""
"""Nothing moves: without a graphics card every spinner costs a third of a core."""


def press_noticed(page: Page, name: str, notice: str, is_done: Callable[[], bool] = lambda: False) -> None:
    """Press the button of this name until this notice has appeared, be it for a moment, or what it says is done.

    A page that is loaded anew while the notice stands there takes the note of it along.
    """
    page.evaluate("window.noted = []")

    def appeared() -> bool:
        return is_done() or bool(page.evaluate("notice => window.noted.some(text => text.includes(notice))", notice))

    button = page.get_by_role("button", name=name)
    repeat(page, lambda: button.click(timeout=STEP), appeared, f"press '{name}', be told '{notice}'")


def open_address(page: Page, address: str, appears: Locator) -> None:
    repeat(page, lambda: page.goto(address, timeout=PATIENCE), appears.first.is_visible, f"open {address}")


def open_dataset(page: Page, app: str, dataset: fo.Dataset) -> None:
    open_address(page, f"{app}/datasets/{dataset.name}", page.locator("[data-cy=looker]"))
    page.keyboard.press("Escape")


def open_picture(page: Page) -> Locator:
    """The first picture of the grid in the modal."""
    modal, looker = page.locator("[data-cy=modal-looker-container]").first, page.locator("[data-cy=looker]").first

    def act() -> None:
        looker.click(force=True, position={"x": 60, "y": 60}, timeout=STEP)

    repeat(page, act, modal.is_visible, "open the first picture")
    return modal


def open_operator(page: Page, label: str) -> Locator:
    """Through the operator browser; returns the form."""
    form = page.locator("[data-cy=operators-prompt-modal]")
    repeat(page, lambda: _pick(page, label), form.is_visible, f"open the form '{label}'")
    return form


def _pick(page: Page, label: str) -> None:
    """Call the list of operators, unless it is there, and take the one of this name."""
    search = page.locator("[data-cy=operators-browser-search]")
    if not search.is_visible():
        page.keyboard.press("Backquote")
    search.fill(label, timeout=STEP)
    page.locator("[data-cy=operators-browser]").get_by_text(label, exact=True).first.wait_for(timeout=STEP)
    page.keyboard.press("Enter")


def open_resolved(page: Page, label: str, **defaults: Any) -> Locator:
    """As :func:`open_operator`, after the form is resolved with these defaults."""
    form = page.locator("[data-cy=operators-prompt-modal]")

    def act() -> None:
        if form.is_visible():
            page.keyboard.press("Escape")
        open_operator(page, label)

    resolve(page, act, form.is_visible, **defaults)
    return form


def resolve(page: Page, act: Callable[[], object], is_done: Callable[[], bool], **params: Any) -> None:
    """Act until it is done and the form is resolved for these values, of fields and of defaults that follow.

    The App breaks off where a field changes while the form is still being resolved for the last change.
    """
    resolved: list[Response] = []

    def listen(response: Response) -> None:
        if _resolves(response, params):
            resolved.append(response)

    page.on("response", listen)
    try:
        repeat(page, act, lambda: bool(resolved) and is_done(), f"have the form resolved for {params}")
    finally:
        page.remove_listener("response", listen)


def _resolves(response: Response, params: Mapping[str, Any]) -> bool:
    if not response.url.endswith("/operators/resolve-type"):
        return False
    sent = (response.request.post_data_json or {}).get("params", {})
    return all(sent.get(name) == value for name, value in params.items())


def tick(page: Page, form: Locator, title: str, **params: Any) -> None:
    """Tick a box; with ``params``, until the form is resolved for them."""
    box = form.get_by_label(title, exact=False).first

    def act() -> None:
        if box.is_checked(timeout=STEP):
            # It was ticked in vain: the form was not told.
            box.set_checked(False, force=True, timeout=STEP)
            page.wait_for_timeout(SETTLING)
        box.set_checked(True, force=True, timeout=STEP)

    if params:
        resolve(page, act, box.is_checked, **params)
    else:
        repeat(page, act, box.is_checked, f"tick '{title}'")


def choose_attributes(page: Page, form: Locator, *titles: str, **params: Any) -> None:
    """Choose attributes in their list; with ``params``, until the form is resolved for them."""
    box = dropdown(form, "Attributes")

    def is_chosen(title: str) -> bool:
        return form.locator(".MuiChip-root").filter(has_text=title).first.is_visible()

    def act() -> None:
        for title in (title for title in titles if not is_chosen(title)):
            option = page.get_by_role("option", name=title).first
            if not option.is_visible():
                box.click(timeout=STEP)
            option.click(timeout=STEP)

    def is_done() -> bool:
        return all(map(is_chosen, titles))

    if params:
        resolve(page, act, is_done, **params)
    else:
        repeat(page, act, is_done, f"choose {', '.join(titles)}")


def write(page: Page, box: Locator, text: str, **params: Any) -> None:
    """Write into a text box until the form is resolved for ``params``."""

    def act() -> None:
        if box.input_value(timeout=STEP) == text:
            # It was written in vain, and only what changes is told.
            box.fill("", timeout=STEP)
            page.wait_for_timeout(SETTLING)
        box.fill(text, timeout=STEP)

    resolve(page, act, lambda: box.input_value() == text, **params)


def field(form: Locator, label: str) -> Locator:
    """The text box under a label or its description."""
    return form.locator(f"xpath=.//p[normalize-space()={label!r}]/following::input[1]")


def choose(
    page: Page, box: Locator, option: str, *, exact: bool = False, is_done: Callable[[], bool] | None = None
) -> None:
    """An option of a dropdown, until it is done, which is unless told when the dropdown says so."""
    listed = page.get_by_role("option", name=option, exact=exact).first

    def act() -> None:
        if not listed.is_visible():
            box.click(timeout=STEP)
        listed.click(timeout=STEP)

    repeat(page, act, is_done or (lambda: option in box.inner_text(timeout=STEP)), f"choose '{option}'")


def dropdown(form: Locator, label: str) -> Locator:
    """The dropdown under a label, the first where a form has come to have two of that name."""
    return form.locator(f"xpath=.//p[normalize-space()={label!r}]/following::*[@role='combobox'][1]").first


def execute(page: Page, form: Locator, appears: str) -> None:
    """Run a form until this text is read in its result."""
    button, result = form.get_by_role("button", name="Execute"), page.get_by_text(appears).first
    repeat(
        page,
        lambda: button.click(timeout=STEP),
        lambda: result.is_visible() or not button.is_visible(),
        "execute the form",
    )
    expect(result).to_be_visible(timeout=PATIENCE)


def finish(page: Page) -> None:
    """Close the result."""
    done = page.get_by_role("button", name="Done")
    repeat(page, lambda: done.click(timeout=STEP), lambda: not done.is_visible(), "close the result")


def name_server(page: Page, form: Locator, server: Server) -> None:
    """Choose a model of the server, which is local and takes no key."""
    model = dropdown(form, "Model")
    resolve(
        page,
        lambda: choose(page, model, "Another model behind an API"),
        field(form, "As the server names it").is_visible,
        model="api",
    )
    write(page, field(form, "As the server names it"), "m", api_model="m", concurrency=Remote().concurrency)
    address = field(form, next(option.text for option in described(Remote) if option.name == "base_url"))
    write(page, address, server.base_url, base_url=server.base_url)
    expect(form).not_to_contain_text("No key for", timeout=PATIENCE)


def shows(page: Page, n: int, what: str = "sample") -> None:
    """Wait until the grid holds just so many."""
    expect(_counts(page)).to_have_text(_count(n, what), timeout=PATIENCE)


def show(page: Page, act: Callable[[], object], n: int, what: str = "sample") -> None:
    """Act until the grid holds just so many."""
    counts, wanted = _counts(page), _count(n, what)
    repeat(page, act, lambda: bool(wanted.search(counts.inner_text(timeout=STEP))), f"see {n} {what}s in the grid")


def filter_by(page: Page, field: str, label: str, n: int) -> None:
    """A label of a field, chosen in the sidebar, until the grid holds just so many."""
    box = page.locator(f"[data-cy='categorical-filter-{field}.label'] input").first
    click(page, page.locator(f"[data-cy=sidebar-field-arrow-enabled-{field}]").first, box)

    def act() -> None:
        box.fill(label, timeout=STEP)
        page.wait_for_timeout(SETTLING)
        box.press("Enter", timeout=STEP)

    show(page, act, n)


def show_by(page: Page, button: str, n: int) -> None:
    """Press the button of this name until the grid holds just so many."""
    show(page, lambda: page.get_by_role("button", name=button).click(timeout=STEP), n)


def _counts(page: Page) -> Locator:
    return page.locator("[data-cy=entry-counts]").first


def _count(n: int, what: str) -> re.Pattern[str]:
    return re.compile(rf"^{n} {what}s?\s*$")


def hover(page: Page, sample: fo.Sample, box: list[float], appears: str) -> None:
    """Keep moving the pointer onto a box until its label is shown: the picture may not be painted yet.

    The modal shows the picture in the middle and as large as there is room.
    """
    sample.compute_metadata()
    canvas = page.locator("[data-cy=modal-looker-container] canvas").first

    def act() -> None:
        room = canvas.bounding_box(timeout=STEP)
        assert room is not None
        scale = min(room["width"] / sample.metadata.width, room["height"] / sample.metadata.height)
        size = (sample.metadata.width * scale, sample.metadata.height * scale)
        x, y = room["x"] + (room["width"] - size[0]) / 2, room["y"] + (room["height"] - size[1]) / 2
        page.mouse.move(room["x"] + room["width"] / 2, room["y"] + room["height"] / 2)
        page.mouse.move(x + size[0] * (box[0] + box[2] / 2), y + size[1] * (box[1] + box[3] / 2), steps=4)

    repeat(page, act, page.get_by_text(appears, exact=True).first.is_visible, f"read '{appears}' at its box")

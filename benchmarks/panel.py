"""Seconds until the panel of errors shows its figures, and until a click shows its faces, in a real browser.

    python -m benchmarks.panel [--faces 100000] [--rounds 5]

The synthetic dataset of ``benchmarks.evaluation``, evaluated with four attributes and three grouping fields, in
FiftyOne's App and Debian's Chromium. A round opens the panel until its confusion matrix stands there, and clicks a cell
until the grid counts just its faces; beside it what FiftyOne itself takes to show and count a filtered view of as many
faces. Medians; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
from playwright.sync_api import Page

import facevlm
from benchmarks.evaluation import ATTRIBUTES, GROUPS, made
from benchmarks.timing import machine
from facevlm.store import inspection, results
from tests.browser import conftest, driving, test_panel

DRAWS = 200
ROOT = Path(__file__).parents[1]
PATIENCE = 60_000


@contextlib.contextmanager
def opened() -> Iterator[tuple[str, Page]]:
    """A server of the App with this checkout as its plugin, and a page of a browser."""
    os.environ.setdefault("FIFTYONE_PLUGINS_DIR", str(ROOT))
    server, browser, page = (
        contextlib.contextmanager(inspect.unwrap(f)) for f in (conftest.app, conftest.browser, conftest.page)
    )
    with (
        tempfile.TemporaryDirectory() as profile,
        server() as address,
        browser(Path(profile)) as context,
        page(context) as tab,
    ):
        yield address, tab


def settle(page: Page, seconds: float = 3.0) -> None:
    """Wait until the App has asked its server nothing for a while: on so many samples its sidebar counts for long."""
    asked, quiet = -1, 0.0
    while quiet < seconds:
        page.wait_for_timeout(500)
        before, asked = asked, page.evaluate("() => performance.getEntriesByType('resource').length")
        quiet = quiet + 0.5 if asked == before else 0.0


def once(page: Page, address: str, dataset: fo.Dataset, cell: tuple[str, str, int]) -> dict[str, float]:
    """One round: seconds to open the panel, to show a cell's faces, and to show all faces again without the panel."""
    driving.open_dataset(page, address, dataset)
    settle(page)
    page.keyboard.press("Escape")
    page.locator("[data-cy=new-panel-btn]").first.click()
    start = time.perf_counter()
    page.locator("[data-cy=new-panel-option-face_attribute_errors]").click()
    page.wait_for_function(test_panel.SHOWN, arg="confusion", timeout=PATIENCE)
    paint = time.perf_counter() - start
    settle(page)
    truth, said, n = cell
    x, y = test_panel.place_of(page, test_panel.CELL, [said, truth])
    page.mouse.move(x, y)
    start = time.perf_counter()
    page.mouse.click(x, y)
    page.wait_for_function(f"() => document.body.innerText.includes('{n:,} samples')", timeout=PATIENCE)
    click = time.perf_counter() - start
    page.locator("[data-cy=panel-tab-face_attribute_errors] svg").last.click()
    page.wait_for_timeout(1000)
    return {"first paint": paint, "click": click}


def server_side(dataset: fo.Dataset, cell: tuple[str, str, int]) -> dict[str, float]:
    """What of a click is the database's: building the view of a cell and counting it."""
    stored = results.load(dataset, "demo_eval")
    start = time.perf_counter()
    view = inspection.cell(inspection.inspect(dataset, stored, "gender"), cell[0], cell[1])
    assert len(view) == cell[2]
    counted = time.perf_counter() - start
    start = time.perf_counter()
    len(dataset.match(fo.ViewField("gender.label") == cell[0]))
    return {"a cell's faces counted": counted, "a plain FiftyOne filter counted": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with made(args.faces) as dataset:
        facevlm.evaluate(dataset, ATTRIBUTES, groups=list(GROUPS), draws=DRAWS)
        figures = inspection.figures_of(results.load(dataset, "demo_eval"), "gender")
        labels, counts = figures["labels"], figures["confusion"]
        cell = (labels[0], labels[1], counts[0][1])
        rows: list[dict[str, float]] = []
        with opened() as (address, page):
            for _ in range(args.rounds):
                rows.append(once(page, address, dataset, cell) | server_side(dataset, cell))
                print({k: round(v, 2) for k, v in rows[-1].items()}, flush=True)
        seconds: dict[str, Any] = {name: round(statistics.median(r[name] for r in rows), 2) for name in rows[0]}
    ratio = seconds["a cell's faces counted"] / seconds["a plain FiftyOne filter counted"]
    print(
        json.dumps(
            {
                "name": "panel",
                "machine": machine(),
                "n": args.faces,
                "rounds": args.rounds,
                "ratios": {"time of a cell's view against a plain filter of FiftyOne": round(ratio, 2)},
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main()

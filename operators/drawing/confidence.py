"""The tab of confidence: what a confidence is worth, and which answers to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import fiftyone.operators as foo

from facevlm.evaluation.metrics import wilson
from facevlm.reports import calibrated, plots
from facevlm.reports.structure import share
from facevlm.store import inspection, results
from facevlm.store.inspection import Inspected

from .. import _forms, _marks
from .._choice import THRESHOLD, remembered, threshold_of
from .._marks import Marked, marked, plain, say
from .parts import Row, Shown, plot, slider

UNSCORED = "These answers carry no scores: there is no curve of reliability and none of the share kept."
FLATTERED = "The best macro F1 is seen on these faces: on others a threshold may do worse."


def draw(self: Any, ctx: foo.ExecutionContext, panel: Any, shown: Shown) -> None:
    """Curves of reliability and of what is kept, thresholds, and a slider for one's own."""
    confidence = shown.figures["confidence"]
    if confidence is None:
        _forms.notice(panel, "no_scores", UNSCORED)
        return
    threshold = threshold_of(ctx)
    say(panel, Marked("**Right answers against the share kept, the surest answers first**"), "selective_title")
    plot(panel, "selective", plots.selective(confidence, threshold))
    if shown.inspected is not None:
        found = found_thresholds(ctx, shown.inspected)
        _keeping(self, panel, shown.inspected, threshold, found)
        _thresholds(self, panel, found)
    title = marked("**Reliability: ECE {} %** over {:,} scored faces", share(confidence["ece"]), confidence["n"])
    say(panel, title, "reliability_title")
    answered = shown.figures["overall"]["outcomes"].get("ok", 0)
    say(panel, plain(" ".join(calibrated.words(confidence, answered))), "calibration_said")
    plot(panel, "reliability", plots.reliability(confidence), self.on_bin)
    _label_sets(panel, confidence)


def _label_sets(panel: Any, confidence: Mapping[str, Any]) -> None:
    """Which labels are still possible, where that was asked for."""
    found = calibrated.label_sets(confidence)
    for k, sentence in enumerate(calibrated.sets_told(confidence)):
        say(panel, plain(sentence), f"sets_said_{k}")
    if found is not None:
        say(panel, _marks.table(list(found.header), [[c.shown for c in row.cells] for row in found.rows]), "label_sets")


def _keeping(self: Any, panel: Any, inspected: Inspected, threshold: float, found: Mapping[str, Any]) -> None:
    """A slider: which answers to keep, how many are right, and the faces on either side."""
    slider(self, panel, THRESHOLD, threshold, "Keep answers with at least this confidence")
    kept, right = inspection.kept(inspected, threshold)
    correct = f"{share(right / kept)} % of them right ({_interval(right, kept)})" if kept else "none to be right"
    n = inspected.figures["overall"]["n"]
    said = marked(
        "**{:,} of {:,} faces kept** (share kept {} %), {}.", kept, n, share(kept / n if n else None), correct
    )
    say(panel, said, "kept_said")
    say(panel, plain(_standing(threshold, found)), "standing")
    row = Row(panel, "kept")
    row.button("kept_faces", "Show kept", self.on_kept)
    row.button("aside", "Show set aside", self.on_set_aside)


def _interval(right: int, n: int) -> str:
    low, high = wilson(right, n)
    return f"95 % Wilson {share(low)} to {share(high)} %, n = {n:,}"


def _standing(threshold: float, found: Mapping[str, Any]) -> str:
    """Whether the accuracy at the chosen threshold is a promise or what these faces show."""
    held = [p["wanted"] for p in found["promises"] if p["threshold"] and p["threshold"]["threshold"] == threshold]
    at = f"From {calibrated.threshold(threshold)} on"
    if held:
        return f"{at}, {_title(max(held))} is {calibrated.PROMISED}; the share above is {calibrated.SEEN}."
    return f"{at}, the share right is {calibrated.SEEN}; nothing is promised of others."


def _thresholds(self: Any, panel: Any, found: Mapping[str, Any]) -> None:
    """Which confidence holds which accuracy on new faces, and the best macro F1 here, each to be taken by a button."""
    say(panel, Marked("**A threshold by what it gives**"), "targets_title")
    best = found["best"]
    rows = [_line(_title(p["wanted"]), p["threshold"], calibrated.PROMISED) for p in found["promises"]]
    rows += [_line(_title(None), best, calibrated.SEEN)] if best else []
    header = ["wanted", "standing", "confidence from", "share kept", f"right of the kept ({calibrated.EXACT})"]
    say(panel, _marks.table(header, rows), "targets")
    lacking = [f"{_title(p['wanted'])}: {calibrated.why_none(p)}." for p in found["promises"] if not p["threshold"]]
    if lacking:
        say(panel, plain(" ".join(lacking)), "lacking")
    row = Row(panel, "take")
    offered = [*((p["wanted"], p["threshold"]) for p in found["promises"]), (None, best)]
    for wanted, one in offered:
        if one is not None:
            number = calibrated.threshold(one["threshold"])
            row.button(f"take_{wanted}", f"Take {number}: {_title(wanted)}", self.on_take, value=number)
    say(panel, plain(FLATTERED), "flattered")


def found_thresholds(ctx: foo.ExecutionContext, inspected: Inspected) -> Mapping[str, Any]:
    """What can be promised, and the threshold of the best macro F1, as plain data."""
    of = [inspected.eval_key, inspected.attribute, _time(inspected)]

    def make() -> Mapping[str, Any]:
        promises, best = inspection.thresholds(inspected)
        return {"promises": [asdict(one) for one in promises], "best": None if best is None else asdict(best)}

    return remembered(ctx, "promises", of, make)


def _time(inspected: Inspected) -> str:
    return results.evaluated_at(inspected.dataset, inspected.eval_key).isoformat()


def _title(wanted: float | None) -> str:
    return "best macro F1" if wanted is None else f"{100 * wanted:g} % right"


def _line(title: str, one: Mapping[str, Any] | None, standing: str) -> list[str]:
    if one is None:
        return [title, "none at this n", "", "", ""]
    right = f"{share(one['right'] / one['n']) if one['n'] else '-'} % of {one['n']:,}"
    kept = f"{share(one['n'] / one['total'])} % of {one['total']:,}"
    on = f"{calibrated.threshold(one['threshold'])} on"
    return [title, standing, on, kept, f"{right} ({share(one['low'])} to {share(one['high'])})"]

"""What confidences are worth, in sentences and tables: beside what chance alone gives, and what holds on new faces.

Of evaluations that an earlier version stored, parts are lacking: they are left out, and it is said.
"""

from __future__ import annotations

import numpy as np

from facevlm.evaluation.calibration import COLDEST, FOLDS, WARMEST
from facevlm.evaluation.groups import SMALL
from facevlm.reports.structure import (
    DASH,
    Plain,
    Table,
    TableCell,
    TableRow,
    chance,
    count,
    interval,
    number,
    percent,
    share,
    word,
)

OLD = "An earlier version stored this evaluation: evaluate again to see it beside what chance alone gives."
PROMISED, SEEN = "promised at 95 % confidence", "seen on these faces"
EXACT = "5 % to each side, Clopper-Pearson"
PROMISES = ("wanted", "standing", "confidence from", "n kept", "share kept", "accuracy", EXACT)
PROMISE_NOTE = (
    "Promised: at this threshold the wanted share is right on new faces like these, too; at most one data set in 20 "
    "gets a promise that fails. Candidates keep a tenth of the answers, two tenths and so on; each is tested by an "
    "exact binomial bound, the strictest first. Seen on these faces: on others it may be less."
)
GROUPS = ("groups by", "group", "n", "confidence", "accuracy", "log-likelihood", "Brier", "ECE", "by chance", "p")
GROUP_NOTE = (
    "Mean confidence above the accuracy: too sure. log-likelihood: negative, mean, in nats. By chance: the mean "
    "calibration error (ECE) that confidences like these show when each is exactly right, and the point under which it "
    "is in 95 of 100 samples. p: how often it is as large as here, by Holm's method."
)


def scores(confidence: Plain) -> str:
    """Log-likelihood and Brier score."""
    nats = f"Negative log-likelihood {number(confidence['nll'])} nats, " if "nll" in confidence else ""
    return f"{nats}Brier score {number(confidence['brier'])}."


def error(confidence: Plain) -> str:
    """The calibration error beside what chance gives."""
    said = f"Calibration error (ECE) {share(confidence['ece'])} %"
    by_chance = confidence.get("floor")
    if not by_chance:
        return f"{said}. {OLD}"
    beyond = "more than chance" if is_beyond(confidence["ece"], by_chance) else "no more than chance"
    return (
        f"{said}, {beyond}: with confidences that are exactly right, {confidence['n']:,} faces show "
        f"{share(by_chance['mean'])} % on average and up to {share(by_chance['high'])} % in 95 of 100 samples."
    )


def is_beyond(seen: float | None, by_chance: Plain) -> bool:
    """Whether a calibration error lies above the point under which chance alone stays in 95 of 100 samples."""
    return seen is not None and by_chance["high"] is not None and seen > by_chance["high"]


def temperature(confidence: Plain) -> str:
    """What a temperature gains, or why there is none."""
    if "scaling" not in confidence:
        return f"Temperature {number(confidence['temperature'])}, fitted on one half of the faces."
    found = confidence["scaling"]
    if not found:
        return f"No temperature is fitted: {confidence['n']} faces with scores are fewer than {SMALL}."
    said = f"Temperature {number(found['temperature'])}"
    if found["at_limit"]:
        ends = f"{number(COLDEST)} to {number(WARMEST)}"
        return f"{said}, an end of the search from {ends}: these faces set it no bound, so that it is not to be used."
    read = f"on faces that it was not fitted on, the negative log-likelihood goes from {number(confidence['nll'])} to"
    if found["gain"] <= 0:
        return f"{said}; nothing is gained by it: {read} {number(found['nll'])}."
    clear = "a gain" if found["low"] > 0 else "no clear gain"
    ends = f"{_signed(found['low'])} to {_signed(found['high'])}"
    return f"{said}; {read} {number(found['nll'])}: {clear} (95 % {ends})."


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def unscored(confidence: Plain, answered: int) -> list[str]:
    """Which answered faces are in none of these figures, if any are not."""
    lacking = answered - int(confidence["n"])
    return [f"{lacking:,} answered faces have no scores: they are in none of these figures."] if lacking > 0 else []


def words(confidence: Plain, answered: int) -> list[str]:
    """All of it, a sentence each; ``answered`` faces have an answer, with scores or without."""
    return [scores(confidence), error(confidence), temperature(confidence), *unscored(confidence, answered)]


def facts_of(confidence: Plain) -> list[tuple[str, TableCell]]:
    """The figures, with what chance gives beneath those that chance makes."""
    pairs = [("faces with scores", count(confidence["n"]))]
    if "nll" in confidence:
        pairs.append(("negative log-likelihood, nats", _decimals(confidence["nll"])))
    pairs += [
        ("Brier score, 0 to 2", _decimals(confidence["brier"])),
        ("true label among the two likeliest", percent(confidence["top2"])),
    ]
    for name, key, at in (("width", "ece", "floor"), ("mass", "ece_mass", "floor_mass")):
        pairs.append((f"expected calibration error, bins of equal {name}", percent(confidence[key])))
        if at in confidence:
            by_chance = confidence[at]
            pairs.append(("by chance alone, on average", percent(by_chance["mean"])))
            pairs.append(("by chance alone, in 95 of 100 samples up to", percent(by_chance["high"])))
    scaling = confidence.get("scaling")
    if scaling:
        apart = f"{FOLDS} parts, each with the temperature of the others"
        pairs += [
            ("temperature", _decimals(scaling["temperature"])),
            (f"negative log-likelihood with it, {apart}", _decimals(scaling["nll"])),
            ("calibration error with it, likewise", percent(scaling["ece"])),
        ]
    return pairs


def _decimals(value: float | None) -> TableCell:
    return TableCell(number(value), value)


def threshold(value: float) -> str:
    """All digits of a threshold, two decimals or more: cut short or rounded it would keep other faces."""
    digits: str = np.format_float_positional(value, trim="-")
    return digits + ("" if "." in digits else ".") + "0" * max(0, 2 - len(digits.partition(".")[2]))


def why_none(promise: Plain) -> str:
    """Why no threshold is promised, and what would do."""
    needs = f"it takes {promise['least']:,} kept answers that are all right, more with errors"
    if promise["needed"]:
        return f"none at this n: {needs}; roughly {promise['needed']:,} faces like these would do"
    return f"none: {needs}; no part of these answers is that right, so that no number of such faces is sure to do"


def promises_told(confidence: Plain) -> list[str]:
    """One sentence of the thresholds that hold on new faces; none for an evaluation of an earlier version."""
    held = [p for p in confidence.get("promises", ()) if p["threshold"]]
    lacking = [f"{100 * p['wanted']:g}" for p in confidence.get("promises", ()) if not p["threshold"]]
    parts = [
        f"{100 * p['wanted']:g} % right from {threshold(p['threshold']['threshold'])} on "
        f"({p['threshold']['n']:,} of {p['threshold']['total']:,} faces)"
        for p in held
    ]
    said = [f"{PROMISED[:1].upper()}{PROMISED[1:]}: {', '.join(parts)}."] if parts else []
    return said + ([f"No threshold can be promised at this n for {', '.join(lacking)} % right."] if lacking else [])


def promised(confidence: Plain) -> Table | None:
    """The thresholds that hold on new faces; None for an evaluation of an earlier version."""
    if "promises" not in confidence:
        return None
    rows = tuple(map(_promise, confidence["promises"]))
    return Table("From which confidence on", PROMISES, rows, PROMISE_NOTE)


def _promise(promise: Plain) -> TableRow:
    wanted, found = word(f"{100 * promise['wanted']:g} % right"), promise["threshold"]
    if not found:
        return TableRow((wanted, word(why_none(promise)), *[TableCell(DASH, None)] * 5), muted=True)
    return TableRow(
        (
            wanted,
            word(PROMISED),
            TableCell(threshold(found["threshold"]), found["threshold"]),
            count(found["n"]),
            percent(found["n"] / found["total"]),
            percent(found["right"] / found["n"]),
            interval(found["low"], found["high"]),
        )
    )


SETS = ("groups by", "group", "threshold", "n", "true label in the set", "95 % Wilson", "mean labels", "one label")
SETS_NOTE = (
    "A set is the answer and every label with at least the probability under 'threshold': which labels are still "
    "possible. Thresholds are chosen on one half of the scored faces, and all figures read on the other (n). With the "
    "threshold of all faces a group may get less than was wanted; with one of its own it gets it. One label: the share "
    "of sets that say just one."
)


def sets_told(confidence: Plain) -> list[str]:
    """One sentence of the label sets, if any were asked for."""
    found = confidence.get("sets")
    if not found:
        return []
    wanted, read = f"{100 * found['wanted']:g} %", found["read"]
    if not read:
        few = f"{confidence['n']:,} faces with scores are fewer than {2 * SMALL}"
        return [f"No label sets for {wanted}: {few}, half of which choose and half of which are read."]
    said = (
        f"Label sets for {wanted}: on {read['n']:,} faces that chose nothing they hold the true label of "
        f"{share(read['held'])} % ({share(read['low'])} - {share(read['high'])}), with {read['size']:.2f} labels on "
        f"average; {share(read['single'])} % of them are one label."
    )
    short = [f"{g['value']} {share(g['common']['held'])}" for g in found["groups"] if _falls_short(g, found["wanted"])]
    return [said, *([f"Fewer than wanted, by more than chance: {', '.join(short)}."] if short else [])]


def _falls_short(group: Plain, wanted: float) -> bool:
    high: float = group["common"]["high"]
    return high < wanted


def label_sets(confidence: Plain) -> Table | None:
    """The label sets of all faces, and of each group with the threshold of all and with its own; None without any."""
    found = confidence.get("sets")
    if not found or not found["read"]:
        return None
    rows = [_set_row("", "all", found["threshold"], found["read"])]
    for group in found["groups"]:
        rows.append(_set_row(group["by"], group["value"], found["threshold"], group["common"]))
        rows.append(_set_row(group["by"], f"{group['value']}, by its own", group["threshold"], group["own"]))
    return Table(f"Label sets for {100 * found['wanted']:g} %", SETS, tuple(rows), SETS_NOTE)


def _set_row(by: str, value: str, cut: float, held: Plain) -> TableRow:
    return TableRow(
        (
            word(by or DASH),
            word(value),
            _decimals(cut),
            count(held["n"], few=held["n"] < SMALL),
            percent(held["held"]),
            interval(held["low"], held["high"]),
            _decimals(held["size"]),
            percent(held["single"]),
        ),
        held["n"] < SMALL,
    )


def by_groups(confidence: Plain) -> Table | None:
    """Calibration of every group of enough scored faces; None where there is none."""
    rows = tuple(
        TableRow(
            (
                word(one["by"]),
                word(one["value"]),
                count(one["n"]),
                percent(one["confidence"]),
                percent(one["accuracy"]),
                _decimals(one["nll"]),
                _decimals(one["brier"]),
                percent(one["ece"]),
                _up_to(one["chance"], one["chance_high"]),
                chance(one["p_value"]),
            )
        )
        for one in confidence.get("groups") or ()
    )
    note = f"Groups of {SMALL} scored faces or more, unless each holds one true label alone. {GROUP_NOTE}"
    return Table("Calibration by groups", GROUPS, rows, note) if rows else None


def _up_to(mean: float | None, high: float | None) -> TableCell:
    return TableCell(f"{share(mean)}, up to {share(high)}", (mean, high))

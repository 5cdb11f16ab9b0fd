"""What an evaluation comes to, in three sentences: how well, for whom it is worst, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from facevlm.evaluation.groups import SMALL
from facevlm.reports import worst
from facevlm.reports.structure import Plain, share
from facevlm.reports.worst import Group

MOST = 4
"""Attributes that are told one by one; of more, the best and the worst."""


def text(evaluations: Sequence[Plain]) -> str:
    """The three sentences, in one paragraph, of a stored evaluation's attributes."""
    judged = [e for e in evaluations if e["overall"]["n"]]
    if not judged:
        return (
            "Nothing was judged: no face has both an answer and ground truth. For whom it is worst cannot be said. "
            "Nor is anything sure."
        )
    # One that is shown to be worse stands before one that may be so by chance.
    chosen = min(worst.large(judged), key=lambda group: (not group.is_clear, -group.short), default=None)
    whom = f"{_for_whom(judged, chosen)}{_small(worst.small(judged))}."
    return " ".join(filter(None, (_how_well(judged), whom, _how_sure(judged, chosen), _adjusted(chosen))))


def _how_well(evaluations: Sequence[Plain]) -> str:
    ranked = sorted(evaluations, key=lambda e: -(e["overall"].get("accuracy") or 0.0))
    told = list(evaluations) if len(ranked) <= MOST else [ranked[0], ranked[-1]]
    first, *others = [_accuracy(e["overall"]) for e in told]
    parts = [f"{told[0]['predicted_attribute']} is right for {first[0]} faces (95 % Wilson {first[1]})"]
    parts += [f"{e['predicted_attribute']} for {n} ({ends})" for e, (n, ends) in zip(told[1:], others, strict=True)]
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    between = f", {len(ranked) - 2} more attributes lie between them" if len(ranked) > MOST else ""
    lost = any(e["overall"]["outcomes"].get("ok", 0) < e["overall"]["n"] for e in evaluations)
    wrong = "; faces without an answer count as wrong" if lost else ""
    return f"Judged by the ground truth, {listed}{between}{wrong}."


def _accuracy(cell: Plain) -> tuple[str, str]:
    few = ", a small number" if cell["n"] < SMALL else ""
    return f"{share(cell.get('accuracy'))} % of {cell['n']:,}", f"{_ends(cell)}{few}"


def _for_whom(evaluations: Sequence[Plain], chosen: Group | None) -> str:
    if chosen is not None:
        cell = chosen.cell
        return (
            f"It is worst for {_named(chosen)} in {chosen.attribute}: {share(cell.get('accuracy'))} % of "
            f"{cell['n']:,} faces right, {100 * chosen.short:.1f} points below all faces"
        )
    if any(row["cell"]["n"] >= SMALL for e in evaluations for table in worst.by_all(e) for row in table["rows"]):
        return f"No group of {SMALL} faces or more lies below all faces"
    return f"For whom it is worst cannot be said, since no group has {SMALL} faces or more"


def _small(few: Sequence[Group]) -> str:
    """The small groups that are clearly worse, as the end of a sentence."""
    if not few:
        return ""
    more = f", and {len(few) - 1} more" if len(few) > 1 else ""
    cell = few[0].cell
    return (
        f"; small, but clearly worse than all faces: {_named(few[0])} in {few[0].attribute} "
        f"({share(cell.get('accuracy'))} % of {cell['n']}, {_ends(cell)}){more}"
    )


def _how_sure(evaluations: Sequence[Plain], chosen: Group | None) -> str:
    if chosen is None:
        most = max(e["overall"]["n"] for e in evaluations)
        return f"So these {most:,} faces show no difference between groups, which does not mean that there is none."
    part, whole = chosen.cell, chosen.evaluation["overall"]
    own, all_faces = f"{_ends(part)} at n = {part['n']:,}", f"{_ends(whole)} at n = {whole['n']:,}"
    this = f"For {_named(chosen)} this is"
    if chosen.is_clear:
        return f"{this} a clear difference: its 95 % interval, {own}, lies wholly below that of all faces, {all_faces}."
    return (
        f"{this} no difference that these numbers can show: its 95 % interval, {own}, meets that of all, {all_faces}."
    )


def _adjusted(chosen: Group | None) -> str:
    """What is left of the difference where groups are alike in what was adjusted by; empty where nothing was."""
    held = chosen.table.get("adjusted") if chosen is not None else None
    if chosen is None or held is None:
        return ""
    own = next((row for row in held["rows"] if row["values"] == chosen.row["values"]), None)
    if own is None:
        return ""
    best = share(max(row["adjusted"] for row in held["rows"]))
    over = " and ".join(held["over"])
    return (
        f"With the same mix of {over} for every group it is {share(own['adjusted'])} % ({_ends(own)}), the best group "
        f"{best} %."
    )


def _named(group: Group) -> str:
    return ", ".join(f"{by} '{value}'" for by, value in zip(group.table["by"], group.row["values"], strict=True))


def _ends(cell: Plain) -> str:
    return f"{share(cell.get('low'))} - {share(cell.get('high'))}"

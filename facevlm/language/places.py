"""Which face of a picture stands at a place that a request names: leftmost, second from the right, in the middle."""

from __future__ import annotations

from collections.abc import Sequence

from facevlm.language.phrases import Place
from facevlm.types import Face


def face_at(faces: Sequence[Face], place: Place) -> tuple[Face | None, str | None]:
    """The face of one picture at a place, or why there is none; fewer faces than the place counts are no reason."""
    ordered = sorted(faces, key=lambda face: _measure(face, place.by))
    if not place.which:
        if len(ordered) % 2:
            return ordered[len(ordered) // 2], None
        return None, "an even number of faces has no middle one"
    if len(ordered) < abs(place.which):
        return None, None
    chosen = ordered[place.which - 1 if place.which > 0 else place.which]
    same = [face for face in ordered if _measure(face, place.by) == _measure(chosen, place.by)]
    return (chosen, None) if len(same) == 1 else (None, "two faces are at the same place")


def _measure(face: Face, by: str) -> float:
    """The middle of a face by ``x`` or ``y``, or its area, in shares of the picture."""
    x, y, w, h = face.box_xywh_rel or (0.0,) * 4
    return {"x": x + w / 2, "y": y + h / 2, "size": w * h}[by]

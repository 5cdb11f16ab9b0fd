"""A model that looks: it knows a group picture by its pixels and says of a face what the demo model says of its crop.

It stands in for a large model behind an API, which cannot be had here; what it says about its people can be spoilt.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo
import numpy as np
from PIL import Image

from facevlm.faces import crops
from facevlm.faces.crops import Crop
from tests.servers.server import Act, Request, completion, obedient
from tests.store import on_faces

SIDE = 24
CLOTHES = ("a red coat", "a grey shirt", "a blue dress", "a green scarf", "a white blouse", "a black hat")
Person = dict[str, Any]
Spoil = Callable[[list[Person]], Any]


def as_it_is(people: list[Person]) -> list[Person]:
    return people


@dataclass
class Onlooker:
    """Answers about the pictures of a dataset. ``spoil`` changes people, or replaces them by prose or a completion.

    ``labels`` are attribute -> id of the face -> label; ``seen`` are the numbers of the pictures that were recognised.
    ``pictures`` are paths with their faces: samples that are held are read anew at every change of a dataset's fields.
    """

    labels: Mapping[str, Mapping[str, str]]
    spoil: Spoil = as_it_is
    pictures: list[tuple[str, list[fo.Detection]]] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        wholes = [Image.open(path).convert("RGB") for path, _ in self.pictures]
        self._wholes = [small(whole) for whole in wholes]
        self._known = [(w, d) for w, (_, found) in zip(wholes, self.pictures, strict=True) for d in found]
        self._crops = [small(crops.cut(w, d.bounding_box, Crop())) for w, d in self._known]

    @classmethod
    def of(cls, dataset: fo.Dataset, names: Sequence[str]) -> Onlooker:
        said = on_faces.answers(dataset, names)
        labels = {name: {i: str(p.label) for i, p in rows.items()} for name, rows in said.items()}
        return cls(labels, pictures=[(s.filepath, s.faces.detections) for s in dataset])

    def __call__(self, request: Request) -> Act:
        if request.is_probe:
            return obedient(request)
        shown = pictures_of(request)
        item = item_of(request)
        if "box" in item["properties"]:
            faces = self._faces(shown[0])
            people = [self._person(face, item, {"box": edges(face.bounding_box)}) for face in faces]
        elif len(shown) == 1 and "frames" in text_of(request):
            faces = self._faces(shown[0])
            people = [self._person(face, item, {"number": n}) for n, face in enumerate(faces, 1)]
        else:
            faces = [self._face(crop) for crop in shown]
            people = [self._person(face, item, {"number": n}) for n, face in enumerate(faces, 1)]
        spoilt = self.spoil(people)
        if isinstance(spoilt, dict):
            return Act(spoilt)
        return Act(completion(spoilt if isinstance(spoilt, str) else json.dumps({"people": spoilt})))

    def _person(self, face: fo.Detection, item: Mapping[str, Any], place: Person) -> Person:
        known = {name: self.labels[name][face.id] for name in item["properties"] if name in self.labels}
        words = {"clothing": CLOTHES[int(face.id[-6:], 16) % len(CLOTHES)], "hair": None}
        return place | known | {name: words[name] for name in item["properties"] if name in words}

    def _faces(self, picture: Image.Image) -> list[fo.Detection]:
        """The faces of the picture that this one is, from left to right."""
        nearest = closest(picture, self._wholes)
        self.seen.append(nearest)
        return sorted(self.pictures[nearest][1], key=lambda d: d.bounding_box[0] + d.bounding_box[2] / 2)

    def _face(self, crop: Image.Image) -> fo.Detection:
        """The face that a crop shows."""
        return self._known[closest(crop, self._crops)][1]


def small(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE)), dtype=float)


def closest(picture: Image.Image, known: Sequence[np.ndarray[Any, np.dtype[np.float64]]]) -> int:
    """The known picture with the least difference, which must stand out."""
    apart = [float(np.abs(small(picture) - other).mean()) for other in known]
    best, second = sorted(apart)[:2]
    assert best < 0.8 * second, "the picture that was sent is none of the known ones"
    return apart.index(best)


def edges(box: Sequence[float]) -> dict[str, int]:
    x, y, w, h = box
    sides = {"left": x, "top": y, "right": x + w, "bottom": y + h}
    return {name: round(1000 * min(1.0, max(0.0, v))) for name, v in sides.items()}


def moved(person: Person, share: float) -> Person:
    """The same with a box that is off by a share of its width and height."""
    b = person["box"]
    w, h = round(share * (b["right"] - b["left"])), round(share * (b["bottom"] - b["top"]))
    return person | {
        "box": {
            "left": max(0, b["left"] - w),
            "right": b["right"] - w,
            "top": max(0, b["top"] - h),
            "bottom": b["bottom"] - h,
        }
    }


def pictures_of(request: Request) -> list[Image.Image]:
    parts = request.body["messages"][-1]["content"]
    urls = [p["image_url"]["url"] for p in parts if p["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(u.partition("base64,")[2]))) for u in urls]


def text_of(request: Request) -> str:
    return "\n".join(p["text"] for p in request.body["messages"][-1]["content"] if p["type"] == "text")


def item_of(request: Request) -> dict[str, Any]:
    """The schema of one person."""
    schema = request.body["response_format"]["json_schema"]["schema"]
    found: dict[str, Any] = schema["properties"]["people"]["items"]
    return found

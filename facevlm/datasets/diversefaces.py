"""DiverseFaces: pictures of several people, composed from pictures of one each, with their boxes and labels.

As in arXiv 2410.24148: by default four people in a row on black, their backgrounds removed where a remover is given.
"""

from __future__ import annotations

import csv
import functools
import importlib
import io
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from facevlm.datasets import files
from facevlm.datasets.records import Box, DatasetCard, FaceBox, Log, Reader, Record, label, labels_and_age
from facevlm.errors import ImageError, InputError, LayoutError
from facevlm.faces import images
from facevlm.folders import write_whole

TABLE = "diversefaces.csv"
HEAD = ("file", "x", "y", "width", "height", "age")
Remover = Callable[[Image.Image], Image.Image]
"""Takes a picture and returns it with an alpha channel that is 0 where the background was."""


def plan(people: int, per_picture: int, seed: int, pictures: int | None = None) -> list[tuple[int, ...]]:
    """Which people stand in which picture: nobody twice, in an order that the seed alone decides; a rest of too few is
    left out."""
    order = list(range(people))
    random.Random(seed).shuffle(order)
    # One iterator several times over: every group takes the next people.
    groups = zip(*[iter(order)] * per_picture, strict=False)
    return list(itertools.islice(groups, pictures))


def compose(people: Sequence[Image.Image], height: int, remove: Remover | None = None) -> tuple[Image.Image, list[Box]]:
    """People side by side on black at one height in pixels, and the box of each as shares of the picture."""
    scaled = [p.resize((max(1, round(p.width * height / p.height)), height), Image.Resampling.LANCZOS) for p in people]
    canvas = Image.new("RGB", (sum(p.width for p in scaled), height))
    boxes, left = [], 0
    for person in scaled:
        cut = remove(person) if remove else person
        # The alpha channel is the mask: where the background was, the canvas stays black.
        canvas.paste(cut.convert("RGB"), (left, 0), cut if "A" in cut.getbands() else None)
        boxes.append((left / canvas.width, 0.0, person.width / canvas.width, 1.0))
        left += person.width
    return canvas, boxes


def remover(name: str) -> Remover | None:
    """No remover for "", or rembg's.

    Raises :class:`~facevlm.errors.InputError` where it is not installed, or for another name.
    """
    if not name:
        return None
    if name != "rembg":
        raise InputError(f"Got the background remover '{name}', expected rembg, or a function in Python.")
    try:
        remove: Remover = importlib.import_module("rembg").remove
    except ImportError as error:
        raise InputError(
            "Removing backgrounds needs rembg: pip install rembg (it fetches a model on first use)."
        ) from error
    return remove


def build(
    people: Sequence[Record],
    attributes: Mapping[str, str],
    folder: Path,
    *,
    per_picture: int = 4,
    seed: int = 0,
    pictures: int | None = None,
    height: int = 224,
    remove: Remover | None = None,
    log: Log | None = None,
) -> int:
    """Compose pictures of people with known labels into a folder that the ``diversefaces`` reader reads; returns how
    many were written.

    ``attributes`` maps the fields of the people's labels to attributes. The folder must be new or empty. A picture
    with a person that cannot be read is left out and reported. The table comes last: a folder without one is of a
    process that was ended, and is not read. Raises :class:`~facevlm.errors.LayoutError` for a folder that is not empty
    or cannot be written.
    """
    if per_picture < 2 or height < 16:
        raise InputError(f"Got {per_picture} people per picture at {height} pixels, expected at least 2 at 16 or more.")
    groups = plan(len(people), per_picture, seed, pictures)
    if not groups:
        raise InputError(f"Got {len(people)} people, expected at least {per_picture} for one picture.")
    columns, rows, written = (
        {field: f"{field}:{attribute}" for field, attribute in attributes.items()},
        io.StringIO(),
        0,
    )
    table = csv.DictWriter(rows, [*HEAD, *columns.values()], restval="")
    table.writeheader()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise LayoutError(f"'{folder}' is not empty; give a new folder for the composed pictures.")
        for name, picture, placed in _composed(people, groups, height, remove, log or Log()):
            picture.save(folder / name)
            table.writerows(_row(name, person, box, columns) for person, box in placed)
            written += 1
        write_whole(folder / TABLE, rows.getvalue().encode())
    except OSError as error:
        raise LayoutError(
            f"Cannot write composed pictures to '{folder}': {error.strerror or error}. Expected a new folder that may "
            "be written to."
        ) from error
    return written


def _composed(
    people: Sequence[Record], groups: Sequence[tuple[int, ...]], height: int, remove: Remover | None, log: Log
) -> Iterator[tuple[str, Image.Image, list[tuple[Record, Box]]]]:
    """The name of every picture, the picture, and who is where in it."""
    for number, group in enumerate(groups, 1):
        chosen = [people[k] for k in group]
        try:
            picture, boxes = compose([images.load(p.filepath) for p in chosen], height, remove)
        except ImageError as error:
            log.skip("person cannot be read", f"picture {number}", str(error))
            continue
        yield f"{number:05d}.png", picture, list(zip(chosen, boxes, strict=True))


def _row(name: str, person: Record, box: Box, columns: Mapping[str, str]) -> dict[str, object]:
    place = dict(zip(HEAD[1:5], box, strict=True))
    labels = {columns[field]: value for field, value in person.labels.items() if field in columns}
    return {"file": name, **place, "age": "" if person.age is None else f"{person.age:g}", **labels}


@dataclass(frozen=True)
class DiverseFaces(Reader):
    """Pictures that :func:`build` composed. Build them with ``facevlm load diversefaces FOLDER --from DATASET``."""

    card = DatasetCard(
        name="diversefaces",
        title="DiverseFaces",
        url="composed from a data set of your own; facevlm load diversefaces FOLDER --from DATASET",
        licence="that of the pictures it is composed from",
        citation="AlDahoul, Tan, Kasireddy and Zaki 2024, arXiv 2410.24148",
        layout=f"{TABLE} and the pictures that it names",
        attributes={},
        also="boxes in 'faces' with the labels and the age in years of each person",
    )

    def fields(self, folder: Path) -> Mapping[str, str]:
        if not (folder / TABLE).is_file():
            raise self.reject(folder)
        return dict(name.split(":", 1) for name in files.header(folder / TABLE) if ":" in name)

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        table, fields = folder / TABLE, self.fields(folder)
        rows = files.rows(table, HEAD, log)
        for name, group in itertools.groupby(rows, key=lambda numbered: numbered[1]["file"]):
            faces = []
            for line, row in group:
                with log.skipping(f"{table}:{line}"):
                    faces.append(_face(row, fields, log))
            with log.skipping(str(table)):
                yield Record(files.picture(folder, name), faces=tuple(faces))


def _face(row: Mapping[str, str], fields: Mapping[str, str], log: Log) -> FaceBox:
    x, y, width, height = (files.number(row[name], name) for name in HEAD[1:5])
    spelled = {field: (attribute, row[f"{field}:{attribute}"]) for field, attribute in fields.items()}
    cells: dict[str, Callable[[], str | float]] = {
        field: functools.partial(label, attribute, value) for field, (attribute, value) in spelled.items() if value
    }
    if row["age"]:
        cells["age"] = functools.partial(files.age, row["age"])
    labels, age = labels_and_age(log.kept(cells))
    return FaceBox(files.relative_box(x, y, width, height, (1, 1)), labels, age)

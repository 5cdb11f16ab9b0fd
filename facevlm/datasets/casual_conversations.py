"""Casual Conversations: videos of consenting people with their age and gender, annotated skin type, and dark
recordings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facevlm import folders
from facevlm.attributes import canonical, get
from facevlm.datasets import files
from facevlm.datasets.records import BrokenRow, DatasetCard, Log, Reader, Record, age_group
from facevlm.errors import LayoutError
from facevlm.faces import images

TABLE = "CasualConversations.json"
SKIN_TYPES = ("I", "II", "III", "IV", "V", "VI")
AGE_GROUPS = "age9"


@dataclass(frozen=True)
class CasualConversations(Reader):
    """No options. Labels are of pictures, so take frames of the videos first: ``name.png`` beside or instead of
    ``name.MP4``, or ``name/*.png``.

    People are numbered in the annotations; the numbers are not kept.
    """

    card = DatasetCard(
        name="casual-conversations",
        title="Casual Conversations",
        url="https://ai.meta.com/datasets/casual-conversations-dataset/",
        licence="Casual Conversations data use agreement: evaluation and auditing only",
        citation="Hazirbas et al. 2021, Towards measuring fairness in AI: the Casual Conversations dataset, IEEE "
        "T-BIOM",
        layout=f"{TABLE} (in it or in CC_annotations/) and frames of its videos as pictures, such as "
        f"CasualConversationsA/0001/0001_00.png",
        attributes={"gender": "gender", "age_group": AGE_GROUPS, "skin_tone": "skin_tone6", "lighting": "lighting2"},
        also="age in years",
    )

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        table = files.find(folder, [TABLE])
        if table is None:
            raise self.reject(folder)
        roots = files.subfolders(folder)
        for number, person in _people(table).items():
            log.where = f"{table}: entry {number}"
            try:
                labels, age = _labels(person["label"], log)
                dark, videos = [str(f) for f in person["dark_files"]], list(person["files"])
            except (KeyError, TypeError, AttributeError) as error:
                log.skip("entry without files, dark_files and label", f"{table}: entry {number}", str(error))
                continue
            for video in videos:
                frames = list(_frames(roots, str(video), log))
                if not frames:
                    log.skip("no frame of the video", f"{table}: {video}", "take frames first, such as with ffmpeg")
                light = {"lighting": "dark" if str(video) in dark else "bright"}
                yield from (Record(path, labels | light, age) for path in frames)


def _people(table: Path) -> Mapping[str, Any]:
    try:
        people = json.loads(folders.read_text(table))
    except (ValueError, OSError, RecursionError) as error:
        raise LayoutError(f"Cannot read {table}: {error}") from error
    if not isinstance(people, dict):
        raise LayoutError(
            f"{table} holds a {type(people).__name__}; expected a mapping from people to files and labels."
        )
    return people


def _labels(person: Mapping[str, Any], log: Log) -> tuple[dict[str, str], float | None]:
    """Labels and age in years; what a person did not tell ("N/A") is left out."""
    age = log.cell(lambda: files.age(str(person["age"]))) if str(person["age"]).isdecimal() else None
    skin = str(person["skin-type"])
    labels = {
        "gender": canonical(get("gender"), str(person["gender"])),
        "age_group": None if age is None else age_group(AGE_GROUPS, age),
        "skin_tone": SKIN_TYPES[int(skin) - 1] if skin in "123456" and len(skin) == 1 else None,
    }
    return {name: value for name, value in labels.items() if value is not None}, age


def _frames(roots: list[Path], video: str, log: Log) -> Iterator[str]:
    """Pictures of a video: beside it under its name, under its name and an ending, or in a folder of its name."""
    stem = os.path.splitext(video)[0]
    for root in roots:
        try:
            base = Path(files.inside(root, stem))
        except BrokenRow:
            continue
        if base.is_dir():
            yield from files.pictures(base, log)
        if base.parent.is_dir():
            own = (base.name + ".", base.name + "_")
            near = sorted(n for n in os.listdir(base.parent) if n.startswith(own))
            yield from (str(base.parent / n) for n in near if images.is_named_so(n))

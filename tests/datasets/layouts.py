"""Small data sets laid out as the official downloads are: a few grey pictures and rows of the real form."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facevlm.datasets import catalog
from facevlm.datasets.records import Log, Record

FORTY = [
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
]
"""The head of the official list, to the letter."""


def picture(path: Path, size: tuple[int, int] = (8, 8), grey: int = 90) -> Path:
    """A picture of one grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey,) * 3).save(path)
    return path


def table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([head, *rows])
    return path


def text(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(name: str, folder: Path, split: str | None = None, **options: Any) -> tuple[list[Record], Log]:
    """All records of a reader, and what it left out."""
    log = Log()
    return list(catalog.reader(name, options).read(folder, log, split)), log


def reasons(log: Log) -> dict[str, int]:
    return dict(log.kinds)


def fairface(root: Path, pictures: str = "") -> Path:
    """Three pictures for training, two of them with ages that a spreadsheet took for dates, and one for validation."""
    for name in ("train/1.jpg", "train/2.jpg", "train/3.jpg", "val/1.jpg"):
        picture(root / pictures / name)
    head = ("file", "age", "gender", "race", "service_test")
    table(
        root / "fairface_label_train.csv",
        head,
        [
            ("train/1.jpg", "9-March", "Male", "East Asian", "True"),
            ("train/2.jpg", "19-Oct", "Female", "Latino_Hispanic", "False"),
            ("train/3.jpg", "more than 70", "Female", "Middle Eastern", "False"),
        ],
    )
    table(root / "fairface_label_val.csv", head, [("val/1.jpg", "3-9", "Male", "Black", "True")])
    return root


def affectnet_lists(root: Path) -> Path:
    """Manually annotated lists: happy, contempt, no face, a number that is none, a picture that is missing."""
    images, lists = root / "Manually_Annotated_Images", root / "Manually_Annotated_file_lists"
    for name in ("1/a.jpg", "1/b.jpg", "2/c.jpg", "2/d.jpg"):
        picture(images / name, (100, 50))
    box = ("face_x", "face_y", "face_width", "face_height")
    head = ("subDirectory_filePath", *box, "facial_landmarks", "expression", "valence", "arousal")
    rows = [
        ("1/a.jpg", 10, 5, 50, 40, "10.0;5.0;60.0;45.0", 1, 0.5, -0.25),
        ("1/b.jpg", 0, 0, 200, 50, "0;0", 7, 0.1, 0.2),
        ("2/c.jpg", 10, 5, 50, 40, "1;2", 10, -2, -2),
        ("2/d.jpg", 10, 5, 50, 40, "1;2", 11, -2, -2),
        ("2/e.jpg", 10, 5, 50, 40, "1;2", 0, -2, -2),
    ]
    table(lists / "training.csv", head, rows)
    # Some releases leave out the names of the columns here.
    text(lists / "validation.csv", ["2/c.jpg,20,10,30,30,1;2,6,-0.5,0.75"])
    return root


def affectnet_npy(root: Path) -> Path:
    """Numbered pictures with one array for each label, kept as text as in the official files."""
    labels = {"0": "0", "1": "7", "2": "9", "10": "3"}
    for number, expression in labels.items():
        picture(root / "train_set" / "images" / f"{number}.jpg", (20, 10))
        arrays = {"exp": np.array(expression), "val": np.array("0.25"), "aro": np.array("-0.5")}
        arrays["lnd"] = np.array(["10.0", "5.0", "20.0", "10.0"])
        for name, array in arrays.items():
            target = root / "train_set" / "annotations" / f"{number}_{name}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, array)
    return root


def forty(**true: int) -> list[int]:
    """-1 for all of CelebA's forty but those that are named."""
    return [true.get(name, -1) for name in FORTY]


def celeba(root: Path, *, as_csv: bool = False) -> Path:
    """Three pictures, one of each split: a smiling man, a young woman, nobody special."""
    rows = {"000001.jpg": forty(Male=1, Smiling=1), "000002.jpg": forty(Young=1), "000003.jpg": forty()}
    for name in rows:
        picture(root / "Img" / "img_align_celeba" / name)
    parts = list(zip(rows, (0, 1, 2), strict=True))
    if as_csv:
        table(root / "list_attr_celeba.csv", ["image_id", *FORTY], [(name, *row) for name, row in rows.items()])
        table(root / "list_eval_partition.csv", ["image_id", "partition"], parts)
        (root / "Img").rename(root / "img_align_celeba")
        return root
    lines = [f"{name} {' '.join(f'{v:2d}' for v in row)}" for name, row in rows.items()]
    text(root / "Anno" / "list_attr_celeba.txt", ["3", " ".join(FORTY), *lines])
    text(root / "Eval" / "list_eval_partition.txt", [f"{name} {part}" for name, part in parts])
    return root


def mufac(root: Path) -> Path:
    rows = {
        "train": [("F0001_AGE_D_18_a1.jpg", "c"), ("F0001_AGE_F_45_b1.jpg", "E")],
        "val": [("F0900_AGE_M_70_a4.jpg", "h")],
        "test": [("F1000_a1.jpg", "a"), ("F1000_a2.jpg", "x")],
    }
    for part, listed in rows.items():
        for name, _ in listed:
            picture(root / f"{part}_images" / name)
        table(root / f"custom_{part}_dataset.csv", ("image_path", "age_class"), listed)
    return root


def mucac(root: Path) -> Path:
    """One picture of an identity below 190, below 1250, below 1627, above; and one without an identity."""
    identities = {"0.jpg": 7, "1.jpg": 190, "2.jpg": 1250, "3.jpg": 6000}
    place = root / "CelebAMask-HQ"
    for name in (*identities, "4.jpg"):
        picture(place / "CelebA-HQ-img" / name)
    text(root / "CelebA-HQ-identity.txt", [f"{name} {number}" for name, number in identities.items()])
    rows = [f"{name} {' '.join(map(str, forty(Smiling=1)))}" for name in (*identities, "4.jpg")]
    text(place / "CelebAMask-HQ-attribute-anno.txt", ["5", " ".join(FORTY), *rows])
    return root


def rafdb(root: Path) -> Path:
    """Two pictures for training, of which annotators were unsure of one's gender, and one for testing."""
    place = root / "basic"
    text(
        place / "EmoLabel" / "list_patition_label.txt",
        ["train_00001.jpg 5", "train_00002.jpg 4", "test_0001.jpg 1", "test_0002.jpg 9", "odd"],
    )
    manual = {"train_00001": (1, 0, 2), "train_00002": (2, 2, 4), "test_0001": (0, 1, 0), "test_0002": (0, 0, 0)}
    for stem, codes in manual.items():
        picture(place / "Image" / "aligned" / f"{stem}_aligned.jpg")
        picture(place / "Image" / "original" / f"{stem}.jpg")
        marks = [f"{k}.5\t{k}.25" for k in range(5)]
        text(place / "Annotation" / "manual" / f"{stem}_manu_attri.txt", [*marks, *map(str, codes)])
    return root


def fer2013(root: Path) -> Path:
    pixels = " ".join(str(k % 256) for k in range(48 * 48))
    rows = [(0, pixels, "Training"), (3, pixels, "PublicTest"), (6, pixels, "PrivateTest"), (2, "1 2 3", "Training")]
    table(root / "fer2013.csv", ("emotion", "pixels", "Usage"), rows)
    return root


FACET_HEAD = [
    *("person_id", "filename", "class1", "class2", "bounding_box"),
    *(f"gender_presentation_{n}" for n in ("masc", "fem", "non_binary", "na")),
    *(f"skin_tone_{n}" for n in (*range(1, 11), "na")),
    *(f"age_presentation_{n}" for n in ("young", "middle", "older", "na")),
    *(f"hair_color_{n}" for n in ("black", "blonde", "brown", "red", "colored", "grey", "na")),
    *(f"hairtype_{n}" for n in ("bald", "coily", "curly", "dreadlocks", "straight", "wavy", "na")),
    *("has_cap", "visible_face"),
    *(f"lighting_{n}" for n in ("underexposed", "dimly_lit", "well_lit", "overexposed", "na")),
]


def facet(root: Path) -> Path:
    """One picture of two people, whose rows stand apart, and one of one person."""

    def person(number: int, name: str, box: Mapping[str, object], **said: int) -> list[object]:
        fixed = {"person_id": number, "filename": name, "class1": "singer", "class2": "", "bounding_box": str(box)}
        return [fixed.get(column, said.get(column, 0)) for column in FACET_HEAD]

    picture(root / "imgs_1" / "two.jpg", (200, 100))
    picture(root / "imgs_2" / "one.jpg", (100, 100))
    left = {"x": 0, "y": 0, "width": 100, "height": 100, "dict_attributes": {}}
    rows = [
        person(1, "two.jpg", left, gender_presentation_masc=1, skin_tone_2=1, skin_tone_3=2, age_presentation_older=1),
        person(2, "one.jpg", left, gender_presentation_fem=1, hair_color_red=1, hairtype_wavy=1, lighting_dimly_lit=1),
        person(3, "two.jpg", left | {"x": 150}, gender_presentation_non_binary=1, skin_tone_9=3, has_cap=1),
        [4, "two.jpg", "singer", "", "nonsense", *[0] * (len(FACET_HEAD) - 5)],
        person(5, "away.jpg", left),
    ]
    table(root / "annotations" / "annotations.csv", FACET_HEAD, rows)
    return root


def casual_conversations(root: Path) -> Path:
    """Two people: frames beside a video, in a folder of a video's name, and a video without frames."""
    place = root / "CasualConversationsA"
    picture(place / "1140" / "1140_00.png")
    picture(place / "1140" / "1140_01" / "frame2.png")
    picture(place / "1140" / "1140_01" / "frame1.png")
    picture(place / "2000" / "2000_00_orig.jpg")
    people = {
        "1140": {
            "files": [f"CasualConversationsA/1140/1140_0{k}.MP4" for k in range(3)],
            "dark_files": ["CasualConversationsA/1140/1140_01.MP4"],
            "label": {"age": "33", "gender": "Female", "skin-type": "5"},
        },
        "2000": {
            "files": ["CasualConversationsA/2000/2000_00.MP4"],
            "dark_files": [],
            "label": {"age": "N/A", "gender": "Other", "skin-type": "1"},
        },
        "3000": {"files": []},
    }
    table_path = root / "CC_annotations" / "CasualConversations.json"
    table_path.parent.mkdir(parents=True)
    table_path.write_text(json.dumps(people), encoding="utf-8")
    return root

"""What passes a reader is counted and not changed."""

from __future__ import annotations

from facevlm.datasets.records import DatasetCard, FaceBox, Log, Record
from facevlm.datasets.tally import LoadTally, info_of

BOX = (0.1, 0.1, 0.2, 0.2)
RECORDS = [
    Record("/a.png", {"gender": "Male"}, 31, split="train"),
    Record("/b.png", {"gender": "Male", "e.m$": "x"}, split="train"),
    Record("/c.png", faces=(FaceBox(BOX, {"gender": "Female"}, age=4.5), FaceBox(BOX))),
]


def test_records_are_counted_while_they_pass() -> None:
    tally = LoadTally()
    assert list(tally.count(RECORDS)) == RECORDS
    assert (tally.samples, tally.faces, tally.ages, tally.youngest, tally.oldest) == (3, 2, 2, 4.5, 31)
    assert tally.to_dict() == {
        "samples": 3,
        "faces": 2,
        "ages": {"count": 2, "youngest": 4.5, "oldest": 31},
        "splits": {"train": 2},
        # A database takes no full stops and dollar signs in keys.
        "labels": {"gender": {"Male": 2, "Female": 1}, "e_m_": {"x": 1}},
    }
    assert LoadTally().to_dict()["ages"] == {"count": 0}


def test_a_dataset_says_where_it_comes_from() -> None:
    card = DatasetCard("mine", "Mine", "https://example.org", "CC0", "Me (2026)", "files", {"gender": "gender"})
    info = info_of(card, {"gender": "gender"}, "train", LoadTally(), Log())
    assert {key: info[key] for key in ("name", "source", "licence", "split")} == {
        "name": "mine",
        "source": "Mine",
        "licence": "CC0",
        "split": "train",
    }
    assert (info["attributes"], info["counts"], info["skipped"]) == (
        {"gender": "gender"},
        LoadTally().to_dict(),
        Log().to_dict(),
    )

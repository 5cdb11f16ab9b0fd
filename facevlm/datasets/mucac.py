"""MUCAC: CelebA-HQ with gender, smile and youth, split by identities; the identities decide the split and are
forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facevlm.datasets import celeba, files
from facevlm.datasets.records import BrokenRow, DatasetCard, Log, Reader, Record

FIELDS = ("celeba_smiling", "celeba_young")
ATTRIBUTES = ("CelebA-HQ-attribute.txt", "CelebAMask-HQ-attribute-anno.txt")
IDENTITIES = "CelebA-HQ-identity.txt"
ENDS = ((190, "val", ()), (1250, "train", ("forget",)), (1627, "train", ("retain",)))
"""Identities below the number belong to the split and carry the tags; the rest are ``test``, as in the benchmark's own
notebook."""


@dataclass(frozen=True)
class MUCAC(Reader):
    """No options. The pictures of ``train`` carry the tag ``forget`` or ``retain``."""

    card = DatasetCard(
        name="mucac",
        title="MUCAC",
        url="https://github.com/ndb796/MachineUnlearning",
        licence="CelebAMask-HQ's: non-commercial research only",
        citation="Choi and Na 2023, Towards machine unlearning benchmarks, arXiv 2311.02240",
        layout=f"{ATTRIBUTES[0]} or {ATTRIBUTES[1]}, {IDENTITIES} and CelebA-HQ-img/ (CelebAMask-HQ/ is seen)",
        attributes={"gender": "gender"} | {name: name for name in FIELDS},
        splits=("train", "val", "test"),
    )

    def read(self, folder: Path, log: Log, split: str | None = None) -> Iterator[Record]:
        self.check_split(split)
        table, people = files.find(folder, ATTRIBUTES), files.find(folder, [IDENTITIES])
        root = files.find(folder, ["CelebA-HQ-img"])
        if table is None or people is None or root is None:
            raise self.reject(folder)
        parts = {name: _part(number) for _, (name, number) in files.words(people, log, 2)}
        for line, (name, *values) in celeba.lines(table, log):
            with log.skipping(f"{table}:{line}"):
                if (placed := parts.get(name)) is None:
                    raise BrokenRow("no identity, so no split", name)
                part, tags = placed
                if split in (None, part):
                    yield Record(files.picture(root, name), celeba.answers(values, FIELDS, log), split=part, tags=tags)


def _part(identity: str) -> tuple[str, tuple[str, ...]] | None:
    if not identity.isdecimal():
        return None
    return next(((part, tags) for end, part, tags in ENDS if int(identity) < end), ("test", ()))

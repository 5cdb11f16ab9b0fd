"""The benchmark of the check on few pictures and looks: that it measures what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import hygiene
from facevlm.checks.fingerprints import NEAR, gather
from tests.servers import warm


def test_planted_pairs_are_near_and_all_others_far() -> None:
    looks, planted = hygiene.looks(400)
    bits = np.unpackbits(looks, axis=1).astype(np.int16)
    apart = (bits[:, None] != bits[None]).sum(-1)
    near = {(int(i), int(j)) for i, j in zip(*np.nonzero(apart <= NEAR), strict=True) if i < j}
    assert near == planted
    assert len(planted) == 40
    hygiene.search(looks, planted)


def test_a_pair_that_is_missed_is_noticed() -> None:
    looks, planted = hygiene.looks(100)
    with pytest.raises(AssertionError, match="10 pairs found, 9 planted"):
        hygiene.search(looks, set(list(planted)[1:]))


def test_pictures_are_of_the_asked_size(tmp_path: Path) -> None:
    paths = hygiene.pictures(tmp_path, 5, 64)
    prints = gather(paths)
    assert prints.sizes_wh.tolist() == [[64, 64]] * 5
    assert prints.readable.all()


@pytest.mark.process
def test_the_last_line_is_one_json_object() -> None:
    told = ("--pictures", "4", "--looks", "60,120", "--most", "60", "--rounds", "1")
    done = warm.run("from benchmarks import hygiene; hygiene.main()", *told, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found["fingerprints"]) == {"200", "640"}
    assert set(found["search"]) == {"60", "120"}
    assert "fiftyone" in found["search"]["60"]
    assert "fiftyone" not in found["search"]["120"]
    assert all(took["facevlm"] >= 0 for took in found["search"].values())

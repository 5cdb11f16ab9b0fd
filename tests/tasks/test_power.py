"""How many faces a gap takes, in Python and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import facevlm
from facevlm.cli import main
from facevlm.errors import FacevlmError
from facevlm.evaluation import power as simulated
from facevlm.evaluation.gaps import of_shares
from facevlm.evaluation.groups import Grouping


def test_faces_for_a_gap_and_the_gap_of_as_many_faces() -> None:
    found = facevlm.power(0.1, 5, 0.85)
    assert (found.gap, found.groups, found.base_rate, found.alpha, found.power) == (
        0.1,
        5,
        0.85,
        0.05,
        0.8,
    )
    assert found.n == (simulated.needed(0.1, 5, 0.85),) * 5
    assert found.faces == 5 * found.n[0]
    back = facevlm.power(None, 5, 0.85, n=found.n[0])
    assert back.n == found.n
    assert back.gap == pytest.approx(0.1, rel=0.03)


def test_a_gap_that_an_evaluation_did_not_find_is_judged_by_the_same_rule() -> None:
    n, hits = np.array([100, 100, 100]), np.array([85, 85, 85])
    gap = of_shares(Grouping(("place",), (("a",), ("b",), ("c",)), np.zeros(0, dtype=np.int64)), "accuracy", hits, n)
    assert gap is not None
    assert gap.detectable == simulated.detectable(n, 0.85)
    assert facevlm.power(None, 3, 0.85, n=100).gap == pytest.approx(gap.detectable, rel=0.05)


def test_groups_of_several_sizes() -> None:
    found = facevlm.power(None, 3, 0.85, n=[30, 60, 400])
    assert found.n == (30, 60, 400)
    assert found.gap is not None
    assert found.gap > facevlm.power(None, 3, 0.85, n=400).gap  # type: ignore[operator]


def test_few_faces_of_many_groups_may_find_no_gap() -> None:
    found = facevlm.power(None, 60, 0.2, n=30, alpha=0.005, power=0.99)
    assert found.gap is None
    assert found.to_dict()["gap"] is None


BAD: list[tuple[dict[str, Any], str]] = [
    ({"gap": 0.0}, "Got gap=0.0, expected a share above 0 and up to the base rate of 0.85, such as 0.05 for 5 points."),
    ({"gap": 5.0}, "Got gap=5.0, expected a share above 0"),
    ({"gap": float("nan")}, "Got gap=nan, expected a share above 0"),
    ({"gap": 0.9}, "up to the base rate of 0.85"),
    ({"gap": "5%"}, "Got gap='5%' (str), expected a number or None."),
    ({"gap": True}, "Got gap=True (bool), expected a number or None."),
    ({"groups": 1}, "Got groups=1, expected a whole number from 2 to 100."),
    ({"groups": 101}, "Got groups=101, expected a whole number from 2 to 100."),
    ({"groups": 2.5}, "Got groups=2.5 (float), expected a whole number."),
    ({"base_rate": 85}, "Got base_rate=85, expected a share above 0 and up to 1, such as 0.85 for 85 %."),
    ({"base_rate": float("nan")}, "Got base_rate=nan"),
    ({"alpha": 0}, "Got alpha=0, expected a share from 0.005 to 0.2."),
    ({"power": 80}, "Got power=80, expected a share from 0.5 to 0.99."),
    ({"n": 100}, "Got gap=0.05 and n=100, expected one of both."),
    ({"gap": None}, "Got gap=None and n=None, expected one of both. Give the gap to be told the faces"),
    ({"gap": None, "n": 29}, "Got n=29, expected 30 to 1,000,000 faces of each group. Smaller groups are not compared"),
    ({"gap": None, "n": [100, 100]}, "Got n for 2 groups, expected it for 5. Give one number, or one for each."),
    ({"gap": None, "n": "100"}, "Got n='100' (str), expected"),
    ({"gap": 1e-4}, "Got gap=0.0001, which 1,000,000 faces of each group would not show, expected a larger one."),
]


@pytest.mark.parametrize(("given", "said"), BAD, ids=[str(given) for given, _ in BAD])
def test_bad_input_says_what_was_expected(given: dict[str, Any], said: str) -> None:
    with pytest.raises(FacevlmError) as refused:
        facevlm.power(**{"gap": 0.05, "groups": 5, "base_rate": 0.85, **given})
    assert said in str(refused.value)


def test_the_command_tells_faces_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "power.json"
    assert main(["power", "0.1", "--groups", "5", "--base-rate", "0.85", "--json", str(file)]) == 0
    size = facevlm.power(0.1, 5, 0.85).n[0]
    assert capsys.readouterr().out == (
        f"{size:,} faces of each group, {5 * size:,} in all, find a gap of 10 points in 80 of 100 samples: 5 groups, "
        "of which all but one are right on 85 % of faces, and the one group on 75 %; found is p of 0.05 or less.\n"
    )
    assert json.loads(file.read_text()) == facevlm.power(0.1, 5, 0.85).to_dict()


def test_the_command_tells_the_gap_of_so_many_faces(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--groups", "3", "--base-rate", "0.85", "--n", "30,60,400"]) == 0
    gap = facevlm.power(None, 3, 0.85, n=[30, 60, 400]).gap
    assert gap is not None
    out = capsys.readouterr().out
    assert out.startswith(
        f"groups of 30, 60, 400 faces, 490 in all, find a gap of {100 * gap:.3g} points in 80 of 100 "
    )
    assert f"and the smallest group on {100 * (0.85 - gap):.3g} %" in out
    hard = ["--n", "30", "--alpha", "0.005", "--power", "0.99"]
    assert main(["power", "--groups", "60", "--base-rate", "0.2", *hard]) == 0
    assert capsys.readouterr().out.startswith("No gap would be found with 30 faces of each group: 60 groups, of which")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Got neither a gap nor --n, expected one of both"),
        (["0.1", "--n", "100"], "Got gap=0.1 and --n 100, expected one of both."),
        (["--n", "100,100"], "Got n for 2 groups, expected it for 5."),
        (["0.1", "--json", "{folder}"], "Cannot write figures to"),
    ],
)
def test_bad_input_to_the_command(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [text.replace("{folder}", str(tmp_path)) for text in arguments]
    assert main(["power", *given, "--groups", "5", "--base-rate", "0.85"]) == 2
    assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["power", "--groups", "5", "--base-rate", "0.85", "--n", "many"])
    assert "got 'many', expected whole numbers such as 200 or 30,60,400" in capsys.readouterr().err

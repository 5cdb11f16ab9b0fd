"""The simulation of intervals and tests: with few samples, and with an interval that is too narrow, which it names."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import simulate
from benchmarks.simulate import Cell, Plan
from facevlm.evaluation import metrics


def test_every_part_gives_shares_of_its_settings() -> None:
    cells = simulate.simulated(Plan(rounds=3, seed=1), simulate.parts())
    kinds = {cell.what: cell.kind for cell in cells}
    assert sorted(kinds.values()) == ["conservative"] * 5 + ["interval"] * 7 + ["simultaneous"] * 2 + ["test"] * 10
    assert all(0 <= cell.share <= 1 for cell in cells)
    settings = [(cell.what, cell.setting) for cell in cells]
    assert len(set(settings)) == len(settings)
    told = simulate.result(cells, Plan(3, 1), 0.0)
    assert {what: len(of) for what, of in told["shares"].items()} == {  # type: ignore[attr-defined]
        what: sum(cell.what == what for cell in cells) for what in kinds
    }


def test_a_seed_gives_the_same_shares_again_in_several_processes() -> None:
    chosen = {name: part for name, part in simulate.parts().items() if "2 groups" in name}
    once, again, other = (
        simulate.simulated(Plan(5, seed), chosen, processes) for seed, processes in ((1, 1), (1, 2), (2, 1))
    )
    assert once == again != other


@pytest.mark.parametrize(
    ("kind", "share", "samples", "short"),
    [
        ("interval", 0.93, 0, False),
        ("interval", 0.929, 0, True),
        ("interval", 0.929, 1000, False),
        ("interval", 0.90, 1000, True),
        ("interval", 0.99, 1000, True),
        ("simultaneous", 1.0, 1000, False),
        ("conservative", 1.0, 1000, False),
        ("conservative", 0.90, 1000, True),
        ("simultaneous", 0.90, 1000, True),
        ("test", 0.0, 1000, False),
        ("test", 0.07, 1000, False),
        ("test", 0.08, 1000, True),
    ],
)
def test_a_share_falls_short_beyond_the_noise_of_the_simulation(
    kind: str, share: float, samples: int, short: bool
) -> None:
    assert Cell("figure", kind, "setting", share, samples).falls_short is short


def test_of_few_expected_errors_an_interval_may_hold_more_often_but_not_less() -> None:
    assert not Cell("figure", "interval", "setting", 1.0, 1000, expected=4.9).falls_short
    assert Cell("figure", "interval", "setting", 1.0, 1000, expected=5).falls_short
    assert Cell("figure", "interval", "setting", 0.90, 1000, expected=4.9).falls_short
    assert Cell("figure", "test", "setting", 0.08, 1000, expected=4.9).falls_short


def test_an_interval_that_is_too_narrow_ends_with_its_name_and_status_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def narrow(hits: int, n: int) -> tuple[float, float]:
        return hits / n - 0.02, hits / n + 0.02

    assert simulate.main(["--only", "published", "--rounds", "200", "--processes", "1"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["falls short"] == []
    monkeypatch.setattr(metrics, "wilson", narrow)
    assert simulate.main(["--only", "shares", "--processes", "1"]) == 1
    out = capsys.readouterr().out
    told = json.loads(out.splitlines()[-1])
    assert "share (Wilson): n 30, rate 0.5" in told["falls short"]
    assert "\nfalls short: share (Wilson): n 30, rate 0.5: " in out
    assert told["shares"]["share (Wilson)"]["n 30, rate 0.5"] < 0.5


@pytest.mark.parametrize("given", [["--rounds", "0"], ["--processes", "0"], ["--only", "nothing of this"]])
def test_bad_input_to_the_simulation(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        simulate.main(given)
    assert end.value.code == 2
    assert "expected rounds and processes from 1 on" in capsys.readouterr().err


def test_a_population_has_the_rate_in_every_label() -> None:
    whole = simulate.population(5, 0.8, rare=True)
    assert whole.sum() == pytest.approx(1)
    assert whole.sum(-1)[-1] == pytest.approx(simulate.RARE)
    assert np.diagonal(whole) / whole.sum(-1) == pytest.approx(np.full(5, 0.8))

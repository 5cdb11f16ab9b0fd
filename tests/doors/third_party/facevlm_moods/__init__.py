"""Moods for facevlm: a label set, a service, a family, a figure. What is looked at by name alone loads no model."""

from __future__ import annotations

from pathlib import Path

from facevlm.backends.families import FamilyInfo
from facevlm.evaluation.figures import Figure
from facevlm.evaluation.metrics import Counts, Values

ATTRIBUTES = Path(__file__).parent / "moods.yaml"
FAMILY = FamilyInfo("facevlm_moods.family:VipLlava", "VipLLaVA")
SERVICE = {
    "services": {
        "moodcloud": {"title": "Mood Cloud", "base_url": "https://api.moods.example/v1", "keys": ["MOODCLOUD_API_KEY"]},
        "moodbox": {
            "title": "Mood Box, on this machine",
            "base_url": "http://localhost:1",
            "keys": ["MOODBOX_API_KEY"],
            "dialect": "facevlm_moods.protocol:Moodlet",
        },
    },
    "models": {
        "mood-large": {"title": "Mood, large", "service": "moodcloud", "model": "mood-large-2", "max_side": 256}
    },
    "prices": {"date": "2026-01-01", "models": {"mood-large-2": {"input": 100.0, "output": 200.0}}},
}


def first_share(counts: Counts) -> Values:
    """The share of faces that are predicted as the first label."""
    share: Values = counts[..., 0].sum(-1) / counts.sum((-2, -1))
    return share


FIGURE = Figure("first_share", "share of the first label", first_share, "Share predicted as the first label.")
TAKEN = Figure("accuracy", "accuracy again", first_share)

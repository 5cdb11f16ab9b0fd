"""The page about data sets says what the readers do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from facevlm import datasets
from facevlm.datasets import catalog

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", PAGE, re.MULTILINE))


def test_every_data_set_has_a_row() -> None:
    assert set(ROWS) == set(catalog.READERS)


@pytest.mark.parametrize("name", sorted(catalog.READERS))
def test_a_row_names_fields_options_and_where_to_get_it(name: str) -> None:
    card, row = catalog.READERS[name].card, ROWS[name]
    if name not in ("fairface-hub",):
        assert all(field in row for field in card.attributes)
    assert all(f"{option}=" in PAGE for option in catalog.options(catalog.READERS[name]))
    if card.url.startswith("http") and name != "mucac":
        assert card.url in row


def test_the_types_that_are_named_are_there() -> None:
    for name in re.findall(r"\b\w+Dataset\b", PAGE):
        assert getattr(datasets, name).source in catalog.READERS

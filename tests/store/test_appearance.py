"""What the App shows of a dataset when it is opened: fields and colours of ours beside those that somebody set."""

from __future__ import annotations

import fiftyone as fo
import pytest

from facevlm.store import appearance

OURS = {"path": "mine", "fieldColor": "#111111"}


@pytest.fixture
def dataset(dataset_name: str) -> fo.Dataset:
    made = fo.Dataset(dataset_name)
    for name in ("theirs", "mine", "later"):
        made.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    return made


def stored(dataset: fo.Dataset) -> fo.DatasetAppConfig:
    """As the next process reads it."""
    dataset.reload()
    return dataset.app_config


def test_only_the_fields_of_the_last_run_are_ticked(dataset: fo.Dataset) -> None:
    appearance.tick(dataset, ["mine"])
    assert stored(dataset).active_fields.paths == ["mine"]
    appearance.tick(dataset, ["later"])
    assert stored(dataset).active_fields.paths == ["later"]


def test_what_somebody_ticked_stays_ticked(dataset: fo.Dataset) -> None:
    dataset.app_config.active_fields = fo.ActiveFields(paths=["theirs", "mine"])
    dataset.app_config.plugins["map"] = {"clustering": False}
    dataset.save()
    appearance.tick(dataset, ["mine", "later"])
    assert stored(dataset).active_fields.paths == ["theirs", "mine", "later"]
    appearance.tick(dataset, [])
    assert stored(dataset).active_fields.paths == ["theirs", "mine"]
    assert dataset.app_config.plugins["map"] == {"clustering": False}


def test_what_somebody_hides_stays_hidden(dataset: fo.Dataset) -> None:
    dataset.app_config.active_fields = fo.ActiveFields(exclude=True, paths=["theirs", "mine"])
    dataset.save()
    appearance.tick(dataset, ["mine"])
    assert stored(dataset).active_fields.exclude
    assert dataset.app_config.active_fields.paths == ["theirs"]


def test_a_dataset_without_colours_gets_ours(dataset: fo.Dataset) -> None:
    appearance.paint(dataset, [OURS])
    assert stored(dataset).color_scheme.color_by == "value"
    assert dataset.app_config.color_scheme.fields == [OURS]
    appearance.paint(dataset, [OURS, {"path": "later", "fieldColor": "#444444"}])
    assert stored(dataset).color_scheme.color_by == "value"


def test_colours_that_somebody_chose_stay(dataset: fo.Dataset) -> None:
    theirs = [{"path": "theirs", "fieldColor": "#222222"}, {"path": "mine", "fieldColor": "#333333"}]
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="field", fields=theirs, opacity=0.3)
    dataset.save()
    later = {"path": "later", "fieldColor": "#444444"}
    appearance.paint(dataset, [OURS, later])
    scheme = stored(dataset).color_scheme
    assert (scheme.color_by, scheme.opacity) == ("field", 0.3)
    assert scheme.fields == [*theirs, later]

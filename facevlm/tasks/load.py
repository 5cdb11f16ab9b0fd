"""Data sets on disk as FiftyOne datasets: ``facevlm.datasets.load``; and DiverseFaces, composed from one of them."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from facevlm.datasets import catalog, diversefaces
from facevlm.datasets.records import Log, Reader, Record
from facevlm.datasets.tally import LoadTally, info_of
from facevlm.errors import InputError, LayoutError
from facevlm.store import database, importing, targets
from facevlm.store.targets import Collection, Dataset
from facevlm.tasks._verb import verb


@verb
def load(
    name: str,
    folder: str | Path,
    *,
    split: str | None = None,
    dataset_name: str | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    **options: object,
) -> Dataset:
    """A data set on disk as a persistent FiftyOne dataset; its pictures stay where they are.

    Args:
        name: such as ``fairface``; ``facevlm load --list`` shows all.
        folder: where the data set lies.
        split: one of its splits only; every sample is tagged with its split in any case.
        dataset_name: by default the name, and the split.
        limit: read so many pictures at most.
        overwrite: replace a dataset of that name.
        progress: show a bar where there is a terminal (default: FiftyOne's setting).
        options: those of the reader, such as ``classes=7`` of ``affectnet``; an unknown one is refused.

    Returns:
        Samples with Classification fields such as ``gender``, ``race``, ``emotion``, ``age_group``, a number ``age``
        in years where the data set has years, and Detections ``faces`` where it has boxes. ``dataset.info["facevlm"]``
        has source, licence, citation, url, split, the attribute of each field, counts, and what was skipped.

    Raises:
        LayoutError: the folder does not hold the data set; the message says what it should hold, where it is to be had
        and under which licence.
        TargetError: a dataset of this name is there.
        InputError: an unknown data set, split or option.
    """
    run = LoadRun(
        name, folder, split=split, dataset_name=dataset_name, limit=limit, overwrite=overwrite, options=options
    )
    shown = database.shows_progress() if progress is None else progress
    with tqdm(desc=name, unit=" pictures", disable=None if shown else True) as bar:
        for done in run.steps():
            bar.update(done - bar.n)
    return run.result()


class LoadRun:
    """A load that has not begun; see :func:`load` for the arguments. ``dataset_name`` is that of what is to be made.

    The first record is read: whatever is wrong with the folder is said while nothing is made. Stopped, it leaves
    nothing, and a dataset that it was to replace as it was.
    """

    def __init__(
        self,
        name: str,
        folder: str | Path,
        *,
        split: str | None = None,
        dataset_name: str | None = None,
        limit: int | None = None,
        overwrite: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> None:
        reader, root, self._log = catalog.reader(name, options), Path(folder).expanduser().resolve(), Log()
        if limit is not None and limit < 1:
            raise InputError(f"Got limit={limit}, expected a number of pictures from 1 on.")
        self._overwrite = overwrite
        self.dataset_name = dataset_name or usual_name(name, split)
        importing.check_name(self.dataset_name, overwrite=overwrite)
        self._records = itertools.islice(_started(reader, root, self._log, split), limit)
        self.card, self.fields, self._split = reader.card, reader.fields(root), split

    def steps(self) -> Generator[int, None, None]:
        """Make the dataset; yields after every chunk how many pictures are in it."""
        tally = LoadTally()
        yield from importing.building(self.dataset_name, tally.count(self._records), overwrite=self._overwrite)
        dataset = self.result()
        dataset.info[importing.INFO] = info_of(self.card, self.fields, self._split, tally, self._log)
        source = f"{self.card.title}. Licence: {self.card.licence}."
        dataset.description = f"{source} Labels are perceived or apparent, not facts about persons."
        dataset.save()

    def result(self) -> Dataset:
        """The dataset, once it is made."""
        return database.load_target(self.dataset_name)


def usual_name(name: str, split: str | None) -> str:
    """What a dataset is called that nobody named."""
    return f"{name}-{split}" if split else name


def _started(reader: Reader, folder: Path, log: Log, split: str | None) -> Iterator[Record]:
    """The records, once the first one is there: whatever is wrong with the folder is said before a dataset is made."""
    records = _readable(reader.read(folder, log, split), folder)
    first = next(records, None)
    if first is None:
        why = f"no picture of split '{split}'" if split and not log.count else "no usable picture"
        rows = f" Left out: {log.count}, such as {'; '.join(log.rows[:3])}." if log.rows else ""
        raise InputError(f"'{folder}' holds {why} of {reader.card.title}.{rows}")
    return itertools.chain([first], records)


def _readable(records: Iterator[Record], folder: Path) -> Iterator[Record]:
    """The same records; a folder that cannot be read, or no longer, is a :class:`~facevlm.errors.LayoutError`."""
    try:
        yield from records
    except OSError as error:
        raise LayoutError(f"Cannot read '{folder}': {error}") from error


@verb
def build_diversefaces(
    dataset: Collection,
    folder: str | Path,
    *,
    per_picture: int = 4,
    seed: int = 0,
    pictures: int | None = None,
    height: int = 224,
    remove_background: diversefaces.Remover | str | None = None,
    dataset_name: str = "diversefaces",
    overwrite: bool = False,
) -> Dataset:
    """Compose pictures of several people from a dataset with one face per picture, and load them.

    Args:
        dataset: or a view, with one or more of the fields gender, race, emotion, age_group; age in years is carried
            along. ``dataset.match_tags("duplicate", bool=False)`` leaves copies out after :func:`facevlm.check`.
        folder: a new folder for the composed pictures.
        per_picture: people in a row.
        seed: decides who stands where; the same seed gives the same pictures.
        pictures: so many at most; by default everybody is used once.
        height: of the pictures, in pixels.
        remove_background: a function of an RGB picture that returns it with an alpha channel, or ``"rembg"``; none by
        default.
        dataset_name: of the new dataset.
        overwrite: replace a dataset of that name.
    """
    importing.check_name(dataset_name, overwrite=overwrite)
    remove = diversefaces.remover(remove_background or "") if not callable(remove_background) else remove_background
    people, fields = importing.people(targets.check(dataset))
    root, log = Path(folder).expanduser().resolve(), Log()
    diversefaces.build(
        people,
        fields,
        root,
        per_picture=per_picture,
        seed=seed,
        pictures=pictures,
        height=height,
        remove=remove,
        log=log,
    )
    built = load("diversefaces", root, dataset_name=dataset_name, overwrite=overwrite)
    info = built.info[importing.INFO]
    info["composed_from"] = {"seed": seed, **importing.origin(dataset)}
    if log.count:
        info["skipped"] = log.to_dict()
    built.save()
    return built

"""Questions to a model behind an API handed in as batches: answered within a day for about half the price.

``submit`` words the same requests as ``apply``, ``status`` tells how far they are, ``collect`` reads the answers by the
same rules and stores them. The batches stand in the dataset's run records, and carry a mark at the provider by which
they are found again; so each of the three may run in another process, on another day.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from facevlm import api, pipeline
from facevlm.attributes import Registry
from facevlm.backends import Backend, Batching, Briefing, Hosted, Options, Remote, Secrets, open_backend
from facevlm.backends.remote.batches import URL, BatchService, Line, State, limits
from facevlm.backends.remote.replies import Usage
from facevlm.crops import Crop
from facevlm.errors import FieldError, GoneError, ImageError, InputError
from facevlm.store import runs, targets
from facevlm.store.subjects import Boxes, Pictures, Selection, Subjects, subjects
from facevlm.types import Attribute, Face, Prediction, Question, Reply

METHOD = "facevlm_batch"
LEAST_WAIT, LONGEST_WAIT = 5.0, 300.0
"""Seconds between two looks at batches that are waited for."""


@dataclass(frozen=True)
class Submitted:
    """What was handed in: ``faces`` in so many ``batches``; ``answered`` were known already, ``left`` did not fit into
    the budget or were not agreed to, ``unread`` have a picture that cannot be read."""

    run_key: str
    prefix: str
    faces: int
    batches: tuple[str, ...]
    answered: int = 0
    unread: int = 0
    left: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Collected:
    """What came back: counts per attribute and outcome, tokens and dollars of what was collected now; ``waiting``
    batches are not over yet.

    ``gone`` answers are about faces that are no longer in the dataset; ``kept`` were failures about faces that have
    an ``ok`` answer of the same run by now, which stays.
    """

    run_key: str
    prefix: str
    outcomes: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, int]
    collected: int
    waiting: int
    gone: int
    kept: int
    input_tokens: int
    output_tokens: int
    dollars: float | None


@dataclass(frozen=True)
class Overview:
    """What is noted about the batches of a prefix; nobody is asked for it."""

    prefix: str
    model: str
    status: str
    batches: int
    collected: int


@dataclass
class _Part:
    """One file of requests, written line by line."""

    path: Path
    requests: int = 0
    size: int = 0

    def takes(self, line: bytes) -> bool:
        most = limits()
        return self.requests < most.requests and self.size + len(line) <= most.bytes

    def add(self, line: bytes) -> None:
        with self.path.open("ab") as handle:
            handle.write(line)
        self.requests += 1
        self.size += len(line)


class Submission(api.Application):
    """A checked submission that has not begun: iterate :meth:`steps`, then read :meth:`submitted`.

    Raises :class:`~facevlm.errors.FacevlmError` while nothing is sent yet. See :func:`submit`.
    """

    def __init__(self, target: targets.Collection, model: str, attributes: Sequence[str | Attribute], **options: Any):
        super().__init__(target, model, attributes, **options)
        with ExitStack() as on_error:
            on_error.callback(self._close)
            self._model, self._batching = model, batching(self.backend)
            self._remote = options["options"].remote
            if self._remote.samples != 1:
                raise InputError(f"Got samples={self._remote.samples} and a batch, expected 1: a batch asks once.")
            self.batch_key = batch_key(self.prefix)
            _check_none_out(self._dataset, self.prefix)
            on_error.pop_all()
        self._lacking = _lacks(self._work)
        self._batches: list[str] = []
        self._known = self._unread = self._sent = 0

    def _briefing(self) -> Briefing:
        return batching(self.backend).batch_briefing(self.total, list(self.questions.values()))

    def steps(self) -> Generator[pipeline.Progress, None, None]:
        """Word the requests and hand them in. Stopped, it leaves whole batches, which can be collected."""
        if not self.total:
            self._close()
            return
        writer = self._subjects.writer(self.prefix, self.fields, self._stamps)
        status = "stopped"
        try:
            service = self._batching.batches()
            service.check()
            self._mark = uuid.uuid4().hex
            self._note("submitting")
            self._record("submitted")
            with pipeline.Writer[list[Prediction]](_flat(writer), self._sizes["chunk_size"] or 1) as kept:
                # A face that lacks one answer is asked for all: the answers of a batch are read without knowing which.
                faces = [face for group in self._work.values() for face in group]
                yield from self._hand_in(service, kept, list(self.questions.values()), faces)
            status = "submitted"
        finally:
            self._close()
            if self._mark:
                self._note(status)

    _mark = ""

    def _hand_in(
        self,
        service: BatchService,
        kept: pipeline.Writer[list[Prediction]],
        questions: Sequence[Question],
        faces: Sequence[Face],
    ) -> Generator[pipeline.Progress, None, None]:
        most = self._affordable(questions)
        cutter = pipeline.Cutter(self.backend.info, self._crop, self._min_face_px)
        with (
            tempfile.TemporaryDirectory(prefix="facevlm-batch-") as folder,
            pipeline.Loader(faces, cutter, int(self._sizes["batch_size"] or 1), self._sizes["threads"]) as loader,
        ):
            parts = (_Part(Path(folder) / f"{n}.jsonl") for n in iter(int, 1))
            part = next(parts)
            for face, body, known in self._requests(loader, questions, kept):
                if known is not None:
                    self._known += 1
                    kept.add([pipeline.row_of(face, questions, known)])
                    continue
                if most is not None and self._sent >= most:
                    break
                line = _line(face, body)
                if not part.takes(line):
                    self._send(service, part, questions)
                    part = next(parts)
                part.add(line)
                self._sent += 1
                yield pipeline.Progress(self._sent + self._known + self._unread, self.total, self.tally)
            if part.requests:
                self._send(service, part, questions)

    def _requests(
        self, loader: pipeline.Loader, questions: Sequence[Question], kept: pipeline.Writer[list[Prediction]]
    ) -> Iterator[tuple[Face, Mapping[str, Any], list[Reply] | None]]:
        """Every face with its request; one that cannot be read is written as such and left out."""
        for face, picture in loader:
            if isinstance(picture, ImageError):
                self._unread += 1
                kept.add([_storable(pipeline.unread_row(face, questions, picture), self._lacking)])
                continue
            [(body, known)] = self._batching.requests([picture], questions)
            yield face, body, known

    def _affordable(self, questions: Sequence[Question]) -> int | None:
        """How many requests fit into the budget, None without one."""
        dollars = self._batching.batch_briefing(1, questions).dollars
        budget = self._remote.budget
        return None if budget is None or not dollars else int(budget / dollars)

    def _send(self, service: BatchService, part: _Part, questions: Sequence[Question]) -> None:
        # Before and after: whoever collects meanwhile, or after this process ended here, looks for it by its mark.
        self._note("submitting")
        state = service.submit(part.path, f"{self._mark}-{len(self._batches)}")
        self._batches.append(state.id)
        part.path.unlink()
        self._note("submitting")

    def _note(self, status: str) -> None:
        """Keep what is needed to collect from any process: no picture, no key. What is collected already stays so."""
        chosen = self._subjects.selection
        before = runs.fresh(self._dataset, self.batch_key)
        record = {
            "status": status,
            "prefix": self.prefix,
            "mark": self._mark,
            "model": self._model,
            "remote": asdict(self._remote),
            "about": None if chosen is None else asdict(chosen),
            "stamps": dict(self._stamps),
            "fields": dict(self.fields),
            "asked": json.dumps({name: asdict(question) for name, question in self.questions.items()}),
            "batches": list(self._batches),
            "collected": before["collected"] if before.get("mark") == self._mark else [],
        }
        runs.write(self._dataset, self.batch_key, record, METHOD)

    def submitted(self) -> Submitted:
        """What was handed in."""
        left = self.total - self._sent - self._known - self._unread
        skipped = len(self._subjects.faces) - self.total
        return Submitted(
            self.run_key, self.prefix, self._sent, tuple(self._batches), self._known, self._unread, left, skipped
        )


def batching(backend: Backend) -> Batching:
    """The backend, which must be able to take batches.

    Raises :class:`~facevlm.errors.InputError` for one that cannot.
    """
    if not isinstance(backend, Batching):
        raise InputError(
            f"Model '{backend.info.model}' takes no batches, expected a model behind an API such as gpt-4o-mini."
        )
    return backend


def batch_key(prefix: str) -> str:
    """The run under which the batches of a prefix stand."""
    return f"facevlm_batch_{prefix}"


def _line(face: Face, body: Mapping[str, Any]) -> bytes:
    """A request in a batch; its id names the face by the ids of the dataset, and says nothing else."""
    name = face.sample_id if face.label_id is None else f"{face.sample_id}.{face.label_id}"
    request = {"custom_id": name, "method": "POST", "url": URL, "body": body}
    return json.dumps(request, ensure_ascii=False).encode() + b"\n"


def _flat(write: Callable[[Sequence[Prediction]], None]) -> Callable[[Sequence[list[Prediction]]], None]:
    def flat(rows: Sequence[list[Prediction]]) -> None:
        if made := [prediction for row in rows for prediction in row]:
            write(made)

    return flat


Lacking = Mapping[tuple[str, "str | None"], Collection[str]]
"""Ids of a face -> the attributes of which it has no ``ok`` answer of this run."""


def _lacks(pending: Mapping[tuple[str, ...], Sequence[Face]]) -> Lacking:
    return {(face.sample_id, face.label_id): names for names, faces in pending.items() for face in faces}


def _storable(row: Sequence[Prediction], lacking: Lacking) -> list[Prediction]:
    """A face's predictions without the failures that would take the place of an ``ok`` answer."""
    missing = lacking.get((row[0].face.sample_id, row[0].face.label_id), ())
    return [prediction for prediction in row if prediction.outcome == "ok" or prediction.attribute in missing]


def _check_none_out(dataset: Any, prefix: str) -> None:
    record = runs.fresh(dataset, batch_key(prefix))
    out = [batch for batch in record.get("batches") or () if batch not in (record.get("collected") or ())]
    if out or record.get("status", "submitted") != "submitted":
        raise FieldError(
            f"{len(out) or 'Some'} batches of prefix '{prefix}' are not collected yet. Collect or cancel them first "
            f"(facevlm batch collect {dataset.name} --prefix {prefix}), or choose another prefix."
        )


class Batches:
    """The batches of a prefix, as the dataset's record and the provider know them. A context; nothing is sent before
    it is asked for.

    Raises :class:`~facevlm.errors.FieldError` where none were handed in.
    """

    def __init__(self, dataset: targets.Collection, prefix: str | None = None, secrets: Secrets | None = None) -> None:
        self.dataset = dataset._root_dataset
        self.prefix = _prefix(self.dataset, prefix)
        self._key = batch_key(self.prefix)
        self._record = runs.fresh(self.dataset, self._key)
        options = Options(remote=Remote(**self._record["remote"]))
        opened = open_backend(self._record["model"], options, secrets=secrets)
        self._batching, self._hosted = batching(opened), cast(Hosted, opened)
        self._service = self._batching.batches()
        self.questions = {name: _question(raw) for name, raw in json.loads(self._record["asked"]).items()}
        self._collected: list[str] = list(self._record["collected"])
        self._tally = pipeline.Tally()
        self._usage, self._charged, self._gone, self._kept = Counter[str](), Counter[str](), 0, 0

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *exc: object) -> None:
        self._service.close()
        self._hosted.close()

    def states(self) -> list[State]:
        """How far every batch is, those included whose submission was stopped before they were noted."""
        self._record = runs.fresh(self.dataset, self._key)
        if self._record["status"] != "submitted":
            found = [state.id for state in self._service.marked(self._record["mark"])]
            # Oldest first, as those that are noted stand; a provider lists the newest first.
            self._keep(lambda now: {"batches": _merged(now["batches"], found[::-1]), "status": "submitted"})
        return [self._service.state(batch) for batch in self._record["batches"]]

    def is_collected(self, batch: str) -> bool:
        return batch in self._collected

    def shown(self) -> list[str]:
        """The fields in which the answers are best looked at."""
        kind = Pictures if self._record["about"] is None else Boxes
        return kind.shown(self.prefix, list(self._record["fields"].values()))

    def cancel(self) -> list[State]:
        """Ask to cancel all that are not over; what was answered by then can be collected."""
        return [s if s.is_over else self._service.cancel(s.id) for s in self.states()]

    def wait(self, said: Callable[[list[State]], None] = lambda _: None) -> None:
        """Look again and again until all are over; ``said`` is told the states each time."""
        pause = LEAST_WAIT
        while True:
            states = self.states()
            said(states)
            if all(state.is_over for state in states):
                return
            time.sleep(pause)
            pause = min(LONGEST_WAIT, 1.5 * pause)

    def collect(self) -> Generator[pipeline.Progress, None, None]:
        """Store the answers of all batches that are over, once; stopped or repeated, it loses and doubles nothing."""
        states = [state for state in self.states() if state.is_over and not self.is_collected(state.id)]
        total, done = sum(state.total for state in states), 0
        for state in states:
            # Anew for each: others may have asked, or taken faces away, meanwhile.
            asked = self._subjects()
            writer = asked.writer(self.prefix, self._record["fields"], self._record["stamps"])
            with pipeline.Writer[list[Prediction]](_flat(writer), 256) as kept:
                for row in self._new(self._rows(state, asked), asked):
                    kept.add([row])
                    done += 1
                    yield pipeline.Progress(done, max(total, done), self._tally)
            self._collected.append(state.id)
            self._keep(lambda now: {"collected": _merged(now["collected"], self._collected)})
            self._account(asked)

    def _subjects(self) -> Subjects:
        about = self._record["about"]
        chosen = None if about is None else Selection(about["field"], tuple(about["labels"]), about["min_confidence"])
        return subjects(self.dataset, chosen)

    def _new(self, rows: Iterable[list[Prediction]], asked: Subjects) -> Iterator[list[Prediction]]:
        """What is to be stored of every row, counted."""
        lacking = _lacks(asked.pending(self._record["fields"], self._record["stamps"]))
        for row in rows:
            new = _storable(row, lacking)
            self._kept += len(row) - len(new)
            for prediction in new:
                self._tally.add(prediction)
            yield new

    def _rows(self, state: State, asked: Subjects) -> Iterator[list[Prediction]]:
        faces = {(face.sample_id, face.label_id): face for face in asked.faces}
        questions, seen, missing = list(self.questions.values()), set[str](), list[str]()
        for line in self._lines(state, missing):
            if line.custom_id not in seen:
                seen.add(line.custom_id)
                face = faces.get(_ids(line.custom_id))
                self._gone += face is None
                if face is not None:
                    yield pipeline.row_of(face, questions, self._replies(line))
        # A batch that was not let in counts no requests.
        if len(seen) < state.total or not state.total:
            why = Reply(error=f"the batch is {state.status} and has no answer{_because(state, missing)}")
            for name in self._sent(state):
                face = faces.get(_ids(name))
                if name not in seen and face is not None:
                    yield pipeline.row_of(face, questions, [why] * len(questions))

    def _lines(self, state: State, missing: list[str]) -> Iterator[Line]:
        """All that came of a batch; a file that is no longer there leaves the reason in ``missing``."""
        for file in state.answer_files:
            try:
                yield from self._service.lines(file)
            except GoneError as error:
                missing.append(str(error))

    def _sent(self, state: State) -> Iterator[str]:
        """The ids of all requests of a batch; where their file is no longer there, that is told and nobody is named."""
        try:
            yield from self._service.custom_ids(state.input_file)
        except GoneError as error:
            self._tally.reasons[f"batch {state.id}: {error}; faces without an answer can be asked again"] += 1

    def _replies(self, line: Line) -> list[Reply]:
        if line.body is None:
            return [Reply(error=line.error, refused=line.refused)] * len(self.questions)
        said, usage = self._batching.read(line.body, list(self.questions.values()))
        self._usage.update(input=usage.input, output=usage.output, requests=1)
        return said

    def _dollars(self, usage: Counter[str]) -> float | None:
        return self._batching.batch_dollars(Usage(usage["input"], usage["output"]))

    def _keep(self, changes: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Change the record as it stands now: more may have been handed in meanwhile."""
        now = runs.fresh(self.dataset, self._key)
        self._record = {**now, **changes(now)}
        runs.update(self.dataset, self._key, self._record, METHOD)

    def _account(self, asked: Subjects) -> None:
        """Bring the record of the run itself up to what is stored now."""
        key = runs.run_key(self.prefix)
        record = runs.fresh(self.dataset, key)
        now: dict[str, float] = {"requests": self._usage["requests"], "dollars": self._dollars(self._usage) or 0.0}
        now |= {f"{side}_tokens": self._usage[side] for side in ("input", "output")}
        before = record.get("spent") or {}
        spent = {name: before.get(name, 0) + value for name, value in now.items()}
        outcomes = asked.outcomes(self._record["fields"])
        runs.update(self.dataset, key, {**record, "spent": spent, "outcomes": outcomes, "status": "done"})
        self._charged += self._usage
        self._usage.clear()

    def collected(self) -> Collected:
        """What :meth:`collect` stored."""
        waiting = [batch for batch in self._record["batches"] if batch not in self._collected]
        return Collected(
            runs.run_key(self.prefix),
            self.prefix,
            {name: dict(counts) for name, counts in self._tally.outcomes.items()},
            dict(self._tally.reasons),
            len(self._collected),
            len(waiting),
            self._gone,
            self._kept,
            self._charged["input"],
            self._charged["output"],
            self._dollars(self._charged),
        )


def _ids(custom_id: str) -> tuple[str, str | None]:
    sample_id, _, label_id = custom_id.partition(".")
    return sample_id, label_id or None


def _because(state: State, missing: Sequence[str]) -> str:
    said = [part for part in (state.problem, *missing) if part]
    return f": {'; '.join(said)}" if said else ""


def _merged(noted: Sequence[str], found: Sequence[str]) -> list[str]:
    """Ids of batches, each once."""
    return list(dict.fromkeys([*noted, *found]))


def _question(raw: Mapping[str, Any]) -> Question:
    attribute = dict(raw["attribute"])
    attribute["labels"] = tuple(attribute["labels"])
    attribute["aliases"] = {label: tuple(also) for label, also in attribute["aliases"].items()}
    forms = tuple(tuple(group) for group in raw["surface_forms"])
    return Question(Attribute(**attribute), raw["text"], forms, raw["context"], raw["cue"])


def prefixes(dataset: targets.Collection) -> list[str]:
    """Prefixes for which batches were handed in, oldest first."""
    return runs.prefixes(dataset._root_dataset, METHOD)


def overview(dataset: targets.Collection) -> list[Overview]:
    """What is noted about all batches of a dataset, oldest first."""
    root = dataset._root_dataset
    records = [runs.fresh(root, batch_key(prefix)) for prefix in prefixes(root)]
    return [Overview(r["prefix"], r["model"], r["status"], len(r["batches"]), len(r["collected"])) for r in records]


def _prefix(dataset: Any, prefix: str | None) -> str:
    known = prefixes(dataset)
    chosen = prefix or (known[-1] if known else None)
    if chosen not in known:
        raise FieldError(
            f"Dataset '{dataset.name}' has no batches{f' of prefix {prefix!r}' if prefix else ''}. There are: "
            f"{', '.join(known) or 'none'}. Hand one in by facevlm batch submit."
        )
    return chosen


def submit(
    target: targets.Collection,
    model: str,
    attributes: Sequence[str | Attribute] = (),
    *,
    faces: str | None = None,
    face_labels: Sequence[str] = (),
    min_confidence: float | None = None,
    min_face_px: int | None = None,
    crop: Crop | None = None,
    prefix: str | None = None,
    prompts: Mapping[str, str] | None = None,
    overwrite: bool = False,
    base_url: str | None = None,
    budget: float | None = None,
    remote: Remote | None = None,
    confirm: Callable[[Briefing], bool] | None = None,
    registry: Registry | None = None,
    progress: bool = True,
) -> Submitted:
    """Hand in the questions about faces as batches; :func:`collect` stores the answers, within a day or sooner.

    Arguments are those of :func:`facevlm.apply`; ``budget`` counts the estimate at the price of a batch. Faces that
    have their answers, in the dataset or in the reply cache, are not sent.

    Raises:
        FacevlmError: before anything is sent, saying what was got, what was expected, and what to do.
    """
    given = {"base_url": base_url, "budget": budget}
    asked = replace(remote or Remote(), **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    work = Submission(
        target,
        model,
        attributes,
        faces=api.selected(faces, face_labels, min_confidence),
        crop=crop,
        min_face_px=min_face_px,
        prefix=prefix,
        prompts=prompts,
        overwrite=overwrite,
        options=Options(remote=asked),
        registry=registry,
    )
    api.carry_out(work, confirm=confirm, progress=progress)
    return work.submitted()


def status(dataset: targets.Collection, prefix: str | None = None) -> list[State]:
    """How far the batches of a prefix are, by default the one handed in last."""
    with Batches(dataset, prefix) as batches:
        return batches.states()


def collect(dataset: targets.Collection, prefix: str | None = None, *, wait: bool = False) -> Collected:
    """Store the answers of all batches of a prefix that are over, after waiting for them if wanted."""
    with Batches(dataset, prefix) as batches:
        if wait:
            batches.wait()
        with closing(batches.collect()) as steps:
            for _ in steps:
                pass
        return batches.collected()


def cancel(dataset: targets.Collection, prefix: str | None = None) -> list[State]:
    """Ask to cancel the batches of a prefix that are not over."""
    with Batches(dataset, prefix) as batches:
        return batches.cancel()

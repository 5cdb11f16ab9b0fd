"""Collecting: how far batches are, and their answers stored by the rules of a run."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from facevlm.arguments import checked
from facevlm.backends import Hosted, Options, Remote, Secrets, open_backend
from facevlm.backends.remote.batches import Line, State
from facevlm.backends.remote.exchange import Usage
from facevlm.engines import facts
from facevlm.engines.answering import row_of
from facevlm.engines.tally import Progress, Tally
from facevlm.engines.writing import ChunkWriter
from facevlm.errors import FieldError, GoneError
from facevlm.faces.selection import Selection
from facevlm.store import provenance, runs, targets
from facevlm.store.asking import FaceSubjects, PictureSubjects, Subjects, subjects
from facevlm.tasks._verb import verb
from facevlm.tasks.batch.common import METHOD, batch_key, batching, flat, lacks, storable
from facevlm.types import Attribute, Prediction, Question, Reply

LEAST_WAIT, LONGEST_WAIT = 5.0, 300.0
"""Seconds between two looks at batches that are waited for."""


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


class Batches:
    """The batches of a prefix, as the dataset's record and the provider know them. A context; nothing is sent before
    it is asked for.

    Raises :class:`~facevlm.errors.FieldError` where none were handed in, and :class:`~facevlm.errors.TargetError` for a
    dataset that was deleted.
    """

    def __init__(self, dataset: targets.Collection, prefix: str | None = None, secrets: Secrets | None = None) -> None:
        self.dataset = targets.opened(dataset)
        self.prefix = _prefix(self.dataset, prefix)
        self._key = batch_key(self.prefix)
        self._record = runs.read(self.dataset, self._key)
        options = Options(remote=Remote(**self._record["remote"]))
        opened = open_backend(self._record["model"], options, secrets=secrets)
        self._backend, self._batching, self._hosted = opened, batching(opened), cast(Hosted, opened)
        self._service = self._batching.batches()
        self.questions = {name: _question(raw) for name, raw in json.loads(self._record["asked"]).items()}
        self._collected: list[str] = list(self._record["collected"])
        self._tally = Tally()
        self._usage, self._charged, self._gone, self._kept = Counter[str](), Counter[str](), 0, 0

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *exc: object) -> None:
        self._service.close()
        self._hosted.close()

    def states(self) -> list[State]:
        """How far every batch is, those included whose submission was stopped before they were noted."""
        self._record = runs.read(self.dataset, self._key) or self._record
        if self._record["status"] != "submitted":
            found = [state.id for state in self._service.marked(self._record["mark"])]
            # Oldest first, as those that are noted stand; a provider lists the newest first.
            self._keep(lambda now: {"batches": _merged(now["batches"], found[::-1]), "status": "submitted"})
        return [self._service.state(batch) for batch in self._record["batches"]]

    def is_collected(self, batch: str) -> bool:
        return batch in self._collected

    def shown(self) -> list[str]:
        """The fields in which the answers are best looked at."""
        kind = PictureSubjects if self._record["about"] is None else FaceSubjects
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

    @checked
    def collect(self, *, overwrite: bool = False) -> Generator[Progress, None, None]:
        """Store the answers of all batches that are over, once; stopped or repeated, it loses and doubles nothing.

        Raises :class:`~facevlm.errors.FieldError` where another run has answered since they were handed in, whose
        answers would be lost, unless these are to be overwritten.
        """
        states = [state for state in self.states() if state.is_over and not self.is_collected(state.id)]
        total, done = sum(state.total for state in states), 0
        for state in states:
            # Anew for each: others may have asked, or taken faces away, meanwhile.
            asked = self._subjects()
            if not overwrite:
                self._check_own()
            asked.check_fields(self.dataset, self.prefix, list(self._record["fields"].values()))
            writer = asked.writer(self.prefix, self._record["fields"], self._record["stamps"])
            with ChunkWriter[list[Prediction]](flat(writer), 256) as kept:
                for row in self._new(self._rows(state, asked), asked):
                    kept.add([row])
                    done += 1
                    yield Progress(done, max(total, done), self._tally)
            self._gone += len(writer.gone)
            self._collected.append(state.id)
            self._keep(lambda now: {"collected": _merged(now["collected"], self._collected)})
            self._account(asked)

    def _check_own(self) -> None:
        meant = set(self._record.get("replaces") or ())
        found = provenance.others(self.dataset, self._record["fields"], self._record["stamps"])
        others = {name: some for name, stamps in found.items() if (some := [s for s in stamps if s not in meant])}
        if others:
            models = {provenance.model_of(self.dataset, stamp) for some in others.values() for stamp in some}
            raise FieldError(
                f"Since the batches of prefix '{self.prefix}' were handed in, {' and '.join(sorted(models))} answered "
                f"{', '.join(others)} there. Nothing was stored, and the batches can be collected: with overwrite, "
                "in the place of what is there now."
            )

    def _subjects(self) -> Subjects:
        about = self._record["about"]
        chosen = None if about is None else Selection(about["field"], tuple(about["labels"]), about["min_confidence"])
        return subjects(targets.all_pictures(self.dataset), chosen)

    def _new(self, rows: Iterable[list[Prediction]], asked: Subjects) -> Iterator[list[Prediction]]:
        """What is to be stored of every row, counted."""
        lacking = lacks(asked.pending(self._record["fields"], self._record["stamps"]))
        for row in rows:
            new = storable(row, lacking)
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
                    yield row_of(face, questions, self._replies(line))
        # A batch that was not let in counts no requests.
        if len(seen) < state.total or not state.total:
            why = Reply(error=f"the batch is {state.status} and has no answer{_because(state, missing)}")
            for name in self._sent(state):
                face = faces.get(_ids(name))
                if name not in seen and face is not None:
                    yield row_of(face, questions, [why] * len(questions))

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
        # Somebody may have deleted it: then what was read of it is all that there is.
        now = runs.read(self.dataset, self._key) or self._record
        self._record = {**now, **changes(now)}
        runs.update(self.dataset, self._key, self._record, METHOD)

    def _account(self, asked: Subjects) -> None:
        """Bring the record of the run itself up to what is stored now."""
        key = runs.run_key(self.prefix)
        record = runs.read(self.dataset, key)
        marks = {name: runs.mark_of(stamp) for name, stamp in self._record["stamps"].items()}
        if runs.is_due(record, marks.values()):
            record = {**record, **self._facts(marks)}
        now: dict[str, float] = {"requests": self._usage["requests"], "dollars": self._dollars(self._usage) or 0.0}
        now |= {f"{side}_tokens": self._usage[side] for side in ("input", "output")}
        before = record.get("spent") or {}
        spent = {name: before.get(name, 0) + value for name, value in now.items()}
        outcomes = asked.outcomes(self._record["fields"])
        runs.update(self.dataset, key, {**record, "spent": spent, "outcomes": outcomes, "status": "done"})
        self._charged += self._usage
        self._usage.clear()

    def _facts(self, marks: Mapping[str, str]) -> dict[str, Any]:
        """What the record of the run says whose batches these are, where somebody deleted that."""
        told = facts.facts(self._backend.info, self.questions)
        return {"prefix": self.prefix, "fingerprints": dict(marks), "answered_by": facts.ways(told, marks), **told}

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


@verb
def prefixes(dataset: targets.Collection) -> list[str]:
    """Prefixes for which batches were handed in, oldest first."""
    return runs.prefixes(targets.opened(dataset), METHOD)


@verb
def overview(dataset: targets.Collection) -> list[Overview]:
    """What is noted about all batches of a dataset, oldest first."""
    root = targets.opened(dataset)
    records = [runs.read(root, batch_key(prefix)) for prefix in prefixes(root)]
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

"""Apply a model to faces."""

from __future__ import annotations

import datetime
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from tqdm import tqdm

from facevlm import attributes as registry_module
from facevlm import pipeline
from facevlm.attributes import Registry
from facevlm.backends import Backend, BackendInfo, Checker, Options, open_backend
from facevlm.backends.cards import ANY, Card, find, questions_for
from facevlm.errors import InputError
from facevlm.store import predictions, runs, targets
from facevlm.types import Attribute, Question, digest

BATCH_SIZE = 32


@dataclass(frozen=True)
class ApplyResult:
    """What a run did. ``fields`` maps attributes to dataset fields; ``skipped`` faces had all their answers before."""

    run_key: str
    fields: Mapping[str, str]
    asked: int
    skipped: int
    tally: pipeline.Tally

    notes: Sequence[str] = ()

    @property
    def outcomes(self) -> dict[str, dict[str, int]]:
        """Counts per attribute and outcome of the faces that were asked."""
        return {name: dict(counts) for name, counts in self.tally.outcomes.items()}

    @property
    def warnings(self) -> list[str]:
        """What a user should read: how the model answers other than asked, and attributes with low coverage."""
        return [*self.notes, *self.tally.warnings()]


class Application:
    """A checked and loaded run that has not begun: iterate :meth:`steps`, then read :meth:`result`.

    Raises :class:`~facevlm.errors.FacevlmError` while nothing is written yet. See :func:`apply` for the arguments;
    ``backend`` is that of the model, where it is open already.
    """

    def __init__(
        self,
        target: targets.Collection,
        model: str | Backend,
        attributes: Sequence[str | Attribute],
        *,
        prefix: str | None = None,
        prompts: Mapping[str, str] | None = None,
        batch_size: int | None = None,
        chunk_size: int = 256,
        threads: int | None = None,
        overwrite: bool = False,
        joint: bool = True,
        options: Options | None = None,
        registry: Registry | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._options = options or Options()
        pipeline.check_sizes(batch_size=batch_size, chunk_size=chunk_size, threads=threads)
        targets.check(target)
        card = card_of(model)
        chosen = resolve_attributes(attributes, card, registry)
        if backend is None and not card.is_here():
            # Fetched first: how the questions are worded depends on the family that its config names.
            backend_of(model, self._options, chosen)
        shared = joint and self._options.decode == "score"
        self.questions = {q.attribute.name: q for q in questions_for(card, chosen, prompts, joint=shared)}
        self.prefix = prefix if prefix is not None else default_prefix(card.name)
        self.fields = {name: predictions.field_name(self.prefix, name) for name in self.questions}
        predictions.check_fields(target, list(self.fields.values()))
        self.backend = backend or backend_of(model, self._options, chosen)
        if isinstance(self.backend, Checker):
            self.backend.check(list(self.questions.values()))
        self.run_key = runs.run_key(self.prefix)
        self._dataset, self._target = target._dataset, target
        info = self.backend.info
        self._sizes = {
            "batch_size": batch_size or info.batch_size or BATCH_SIZE,
            "chunk_size": chunk_size,
            "threads": threads,
        }
        self._marks = {name: fingerprint(info, card, question) for name, question in self.questions.items()}
        if not overwrite:
            runs.check_unchanged(self._dataset, self.run_key, self._marks, self.prefix)
        self._stamps = {name: runs.stamp(self.run_key, mark) for name, mark in self._marks.items()}
        self._faces = targets.faces(target)
        self._work = (
            {tuple(self.questions): self._faces}
            if overwrite
            else predictions.pending(target, self._faces, self.fields, self._stamps)
        )
        self.total = sum(len(faces) for faces in self._work.values())
        self.tally = pipeline.Tally()

    def steps(self) -> Generator[pipeline.Progress, None, None]:
        """Do the work; yields after every batch. Closing it keeps what was answered."""
        if not self.total:
            return
        predictions.declare(self._dataset, self.fields, self._stamps)
        self._record("running")
        writer = predictions.Writer(self._dataset, self.fields, self._stamps)
        done, status = 0, "stopped"
        try:
            for names, faces in self._work.items():
                questions = [self.questions[name] for name in names]
                loop = pipeline.run(faces, self.backend, questions, writer, tally=self.tally, **self._sizes)  # type: ignore[arg-type]
                with closing(loop) as progress:
                    for step in progress:
                        yield pipeline.Progress(done + step.done, self.total, self.tally)
                done += len(faces)
            status = "done"
        finally:
            self._record(status)

    def result(self) -> ApplyResult:
        skipped = len(self._faces) - self.total
        return ApplyResult(self.run_key, self.fields, self.tally.faces, skipped, self.tally, self.backend.info.notes)

    def _record(self, status: str) -> None:
        info = asdict(self.backend.info)
        identity = [{"checkpoint": k, "revision": v} for k, v in sorted(info.pop("identity").items())]
        runs.write(
            self._dataset,
            self.run_key,
            {
                "status": status,
                "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "prefix": self.prefix,
                "fingerprints": self._marks,
                "questions": {name: _public(question) for name, question in self.questions.items()},
                "outcomes": predictions.outcome_counts(self._target, self.fields),
                "coverage": self.tally.coverage(),
                "faces": len(self._faces),
                "asked": self.tally.faces,
                "seconds": round(self.tally.seconds, 3),
                "model_seconds": round(self.tally.model_seconds, 3),
                "view": targets.describe(self._target),
                "identity": identity,
                "backend": info,
                **self._sizes,
            },
        )


def _public(question: Question) -> dict[str, Any]:
    return {
        "text": question.text,
        "context": question.context,
        "labels": list(question.attribute.labels),
        "fingerprint": question.fingerprint(),
    }


def fingerprint(info: BackendInfo, card: Card, question: Question) -> str:
    """Eight hex digits of all that decides an answer: checkpoint, its revision, the question, the way of decoding."""
    checkpoint = card.checkpoint(question.attribute.name)
    return digest([checkpoint, info.identity.get(checkpoint), question.fingerprint(), info.decode])


def card_of(model: str | Backend) -> Card:
    """The card of a model name; of a backend of the caller's own, one that asks in the attributes' own words."""
    if isinstance(model, str):
        return find(model)
    return Card(model.info.model, {ANY: model.info.model}, prompt="{question}")


def backend_of(model: str | Backend, options: Options, attributes: Sequence[Attribute]) -> Backend:
    """The backend of a model name with the checkpoints that the attributes need; a backend as it is."""
    return open_backend(model, options, [a.name for a in attributes]) if isinstance(model, str) else model


def default_prefix(model: str) -> str:
    """``demo`` for demo, ``my_model`` for hf:org/My-Model."""
    name = re.sub(r"\W+", "_", model.rstrip("/").split("/")[-1].removeprefix("hf:").lower()).strip("_")
    return name if name.isidentifier() else f"vlm_{name}"


def resolve_attributes(
    wanted: Sequence[str | Attribute], card: Card | None = None, registry: Registry | None = None
) -> list[Attribute]:
    """Attributes by name or as they are, each once.

    Raises :class:`~facevlm.errors.InputError` for none and :class:`~facevlm.errors.UnknownName` for an unknown one.
    """
    known = registry or registry_module.shipped()
    if isinstance(wanted, str):
        raise InputError(f"Got attributes='{wanted}', expected a list such as ['{wanted}'].")
    if not wanted:
        names = card.questions if card and card.questions else known.attributes
        raise InputError(f"Got no attribute, expected at least one of {', '.join(names)}.")
    chosen = [known.get(a) if isinstance(a, str) else a for a in wanted]
    return list({a.name: a for a in chosen}.values())


def apply(
    target: targets.Collection,
    model: str | Backend = "demo",
    attributes: Sequence[str | Attribute] = (),
    *,
    prefix: str | None = None,
    prompts: Mapping[str, str] | None = None,
    batch_size: int | None = None,
    chunk_size: int = 256,
    threads: int | None = None,
    overwrite: bool = False,
    joint: bool = True,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    decode: str = "score",
    quantize: str | None = None,
    attention: str | None = None,
    compile: str | None = None,
    memory_gb: float | None = None,
    trust_remote_code: bool = False,
    registry: Registry | None = None,
    progress: bool = True,
) -> ApplyResult:
    """Predict perceived attributes of the face in every picture and store them as label fields.

    Args:
        target: a FiftyOne dataset, view, or ``view.select(ids)``.
        model: a name that ``facevlm models`` lists, ``hf:ID-or-folder``, or a :class:`~facevlm.backends.Backend`.
        attributes: names such as ``gender`` or ``age5``, or :class:`~facevlm.types.Attribute`; at least one.
        prefix: predictions go to ``<prefix>_<attribute>``; by default the model's short name.
        prompts: other wordings by attribute name.
        batch_size: pictures per forward pass, by default what fits; halved where memory runs out.
        chunk_size: faces per database write.
        threads: decoding threads, by default one per core.
        overwrite: ask every face again; else faces with an ``ok`` answer of the same model and prompt are skipped.
        joint: use the model's shared prompt where it has one.
        device, dtype, revision: as in transformers; by default CUDA with bfloat16, else CPU with float32.
        decode: ``score`` (exact closed-set probabilities) or ``generate`` (free text, parsed).
        quantize: ``8bit`` or ``4bit`` weights, by bitsandbytes.
        attention: ``sdpa``, ``eager`` or ``flash_attention_2``; by default transformers' choice.
        compile: a mode of ``torch.compile``: ``default`` or ``max-autotune-no-cudagraphs``; by default off.
        memory_gb: GiB that the checkpoints of one model may take together, by default what is free; those that do not
            fit take turns.
        trust_remote_code: run code that comes with the checkpoint.
        registry: attributes of your own, from :func:`facevlm.attributes.load`.
        progress: show a progress bar.

    Raises:
        FacevlmError: before anything is written, saying what was got, what was expected, and what to do.
    """
    options = Options(device, dtype, revision, decode, trust_remote_code, quantize, attention, compile, memory_gb)
    application = Application(
        target,
        model,
        attributes,
        prefix=prefix,
        prompts=prompts,
        batch_size=batch_size,
        chunk_size=chunk_size,
        threads=threads,
        overwrite=overwrite,
        joint=joint,
        options=options,
        registry=registry,
    )
    return carry_out(application, progress=progress)


def carry_out(application: Application, *, progress: bool = True) -> ApplyResult:
    """Do the work of a run to its end, with a progress bar if wanted."""
    with (
        closing(application.steps()) as steps,
        tqdm(total=application.total, unit="face", disable=not progress, desc=application.prefix) as bar,
    ):
        for step in steps:
            bar.update(step.done - bar.n)
    return application.result()

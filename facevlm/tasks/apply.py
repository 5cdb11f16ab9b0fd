"""Apply a model to faces."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from facevlm.attributes import Registry
from facevlm.backends import Backend, Briefing, Checker, Hosted, Options, Remote, Secrets
from facevlm.backends.briefings import fresh
from facevlm.backends.cards import Card, questions_for
from facevlm.backends.choice import backend_of, card_of, default_prefix, fingerprint, resolve_attributes
from facevlm.engines import facts
from facevlm.engines.local import run
from facevlm.engines.tally import Progress, Tally
from facevlm.errors import InputError, check_sizes
from facevlm.faces.crops import Crop
from facevlm.faces.selection import Selection
from facevlm.store import predictions, runs, targets
from facevlm.store.asking import subjects
from facevlm.tasks._run import carry_out
from facevlm.types import Attribute

BATCH_SIZE = 32


@dataclass(frozen=True)
class ApplyResult:
    """What a run did. ``fields`` maps attributes to dataset fields; ``skipped`` faces had all their answers before.

    ``usage`` is what a model behind an API took: requests, tokens, US dollars. ``left`` faces were not asked, because
    the budget was used up or the run was not agreed to; the next run asks them. ``pictures_without`` have no face in
    the field of faces that was chosen.
    """

    run_key: str
    fields: Mapping[str, str]
    asked: int
    skipped: int
    tally: Tally

    notes: Sequence[str] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    left: int = 0
    pictures_without: int = 0

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
        faces: Selection | None = None,
        crop: Crop | None = None,
        min_face_px: int | None = None,
        prefix: str | None = None,
        prompts: Mapping[str, str] | None = None,
        batch_size: int | None = None,
        chunk_size: int = 256,
        threads: int | None = None,
        overwrite: bool = False,
        joint: bool = True,
        options: Options | None = None,
        registry: Registry | None = None,
        secrets: Secrets | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._options = fresh(options or Options()) if overwrite else options or Options()
        self._sizes = {"batch_size": batch_size, "chunk_size": chunk_size, "threads": threads}
        check_sizes(**self._sizes, min_face_px=min_face_px)
        self._subjects = subjects(target, faces)
        card = card_of(model)
        self._crop, self._min_face_px = crop or card.crop(), min_face_px
        chosen = resolve_attributes(attributes, card, registry)
        if backend is None and not card.is_here():
            # Fetched first: how the questions are worded depends on the family that its config names.
            backend_of(model, self._options, chosen, secrets)
        shared = joint and self._options.decode == "score"
        self.questions = {q.attribute.name: q for q in questions_for(card, chosen, prompts, joint=shared)}
        self.prefix = prefix if prefix is not None else default_prefix(card.name)
        self.fields = {name: predictions.field_name(self.prefix, name) for name in self.questions}
        self._subjects.check_fields(self._subjects.dataset, self.prefix, list(self.fields.values()))
        self.backend = backend or backend_of(model, self._options, chosen, secrets)
        self._own_backend = backend is None and isinstance(model, str)
        with ExitStack() as on_error:
            on_error.callback(self._close)
            self._prepare(card, overwrite)
            on_error.pop_all()

    def _prepare(self, card: Card, overwrite: bool) -> None:
        """Check the model and what the fields hold, and find what is still to ask."""
        if isinstance(self.backend, Checker):
            self.backend.check(list(self.questions.values()))
        self.run_key = runs.run_key(self.prefix)
        self._dataset = self._subjects.dataset
        info = self.backend.info
        self._sizes["batch_size"] = self._sizes["batch_size"] or info.batch_size or BATCH_SIZE
        shown = self._framed()
        self._marks = {name: fingerprint(info, card, q, shown) for name, q in self.questions.items()}
        if not overwrite:
            runs.check_unchanged(self._dataset, self.run_key, self._marks, self.prefix)
        self._stamps = {name: runs.stamp(self.run_key, mark) for name, mark in self._marks.items()}
        self._work = (
            {tuple(self.questions): self._subjects.faces}
            if overwrite
            else self._subjects.pending(self.fields, self._stamps)
        )
        self.total = sum(len(faces) for faces in self._work.values())
        self.tally = Tally()
        self._spent_before = {} if overwrite else runs.read(self._dataset, self.run_key).get("spent") or {}
        self.briefing = self._briefing()

    @property
    def shown(self) -> list[str]:
        """The fields in which the answers are best looked at."""
        return self._subjects.shown(self.prefix, list(self.fields.values()))

    @property
    def source(self) -> str | None:
        """The field of the faces that are asked about; None for whole pictures."""
        return self._subjects.selection.field if self._subjects.selection else None

    def _framed(self) -> dict[str, Any]:
        """How faces in pictures are cut out, and of which field they are; empty where whole pictures are shown."""
        chosen = self._subjects.selection
        return {} if chosen is None else {"faces": chosen.field, "crop": asdict(self._crop)}

    def _briefing(self) -> Briefing | None:
        """Where pictures go, if they leave this process, and what that costs; None where they do not."""
        if not isinstance(self.backend, Hosted):
            return None
        return self.backend.briefing(self.total, list(self.questions.values()))

    def begin(self, confirm: Callable[[Briefing], bool]) -> bool:
        """Say where pictures go before any is sent; False where ``confirm`` says no, and the run is then over."""
        if self.briefing is None or not self.total:
            return True
        agreed = False
        try:
            agreed = confirm(self.briefing)
        finally:
            if not agreed:
                self._close()
        return agreed

    def steps(self) -> Generator[Progress, None, None]:
        """Do the work; yields after every batch. Closing it keeps what was answered."""
        if not self.total:
            self._close()
            return
        writer = self._subjects.writer(self.prefix, self.fields, self._stamps)
        self._record("running")
        done, status = 0, "stopped"
        try:
            for names, faces in self._work.items():
                questions = [self.questions[name] for name in names]
                loop = run(
                    faces,
                    self.backend,
                    questions,
                    writer,
                    tally=self.tally,
                    crop=self._crop,
                    min_face_px=self._min_face_px,
                    **self._sizes,  # type: ignore[arg-type]
                )
                with closing(loop) as progress:
                    for step in progress:
                        yield Progress(done + step.done, self.total, self.tally)
                done += len(faces)
            status = "done" if self.tally.faces >= self.total else "stopped"
        finally:
            self._close()
            self._record(status)

    def _close(self) -> None:
        if self._own_backend and isinstance(self.backend, Hosted):
            self.backend.close()

    def result(self) -> ApplyResult:
        info, asked = self.backend.info, self.tally.faces
        return ApplyResult(
            self.run_key,
            self.fields,
            asked,
            len(self._subjects.faces) - self.total,
            self.tally,
            info.notes,
            info.usage,
            self.total - asked,
            len(self._subjects.without),
        )

    def _spent(self) -> dict[str, float]:
        """What a model behind an API took for these fields, runs before this one that it goes on from included."""
        return facts.spent(self.backend.info, self._spent_before)

    def _record(self, status: str) -> None:
        runs.write(
            self._dataset,
            self.run_key,
            {
                "status": status,
                "prefix": self.prefix,
                "fingerprints": self._marks,
                "outcomes": self._subjects.outcomes(self.fields),
                "coverage": self.tally.coverage(),
                "faces": len(self._subjects.faces),
                "asked": self.tally.faces,
                "seconds": round(self.tally.seconds, 3),
                "model_seconds": round(self.tally.model_seconds, 3),
                "view": targets.describe(self._subjects.target),
                "spent": self._spent(),
                "small": self.tally.small,
                "min_face_px": self._min_face_px,
                "crop": self._framed().get("crop"),
                **self._subjects.facts(),
                **self._sizes,
                **facts.facts(self.backend.info, self.questions),
            },
        )


def apply(
    target: targets.Collection,
    model: str | Backend = "demo",
    attributes: Sequence[str | Attribute] = (),
    *,
    faces: str | None = None,
    face_labels: Sequence[str] = (),
    min_confidence: float | None = None,
    min_face_px: int | None = None,
    crop: Crop | None = None,
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
    base_url: str | None = None,
    concurrency: int | None = None,
    budget: float | None = None,
    remote: Remote | None = None,
    confirm: Callable[[Briefing], bool] | None = None,
    registry: Registry | None = None,
    progress: bool = True,
) -> ApplyResult:
    """Predict perceived attributes of the face in every picture, or of all faces in a field of boxes, and store them.

    Args:
        target: a FiftyOne dataset, view, or ``view.select(ids)``; a view that filters or selects labels leaves out the
            other faces, and a view of patches (``view.to_patches("faces")``) is asked about these.
        model: a name that ``facevlm models`` lists, ``hf:ID-or-folder``, ``openai:MODEL``, or a
            :class:`~facevlm.backends.Backend`.
        attributes: names such as ``gender`` or ``age5``, or :class:`~facevlm.types.Attribute`; at least one.
        faces: a field of Detections: every face is cut out of its picture and asked about, and predictions are
            Detections, too, on the same boxes. By default a picture is of one face as a whole.
        face_labels: only Detections with one of these labels.
        min_confidence: only Detections of at least this confidence; those without one pass.
        min_face_px: faces whose box has a shorter side below this, in pixels, are left out, as ``no_face``.
        crop: how faces are cut out, by default square, with the margin at which the model was tuned or else 0.25; see
            :class:`~facevlm.faces.crops.Crop`.
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
        base_url: of models behind an API: the server, by default that of the model's own service.
        concurrency: of models behind an API: the most requests in flight, by default 64.
        budget: of models behind an API: US dollars before which the run stops.
        remote: everything else about models behind an API; see :class:`~facevlm.backends.remote.options.Remote`.
        confirm: called before pictures are sent to a server, with where, how many, and at what cost; if it returns
            False nothing is asked. By default the log says it.
        registry: attributes of your own, from :func:`facevlm.attributes.load`.
        progress: show a progress bar.

    Raises:
        FacevlmError: before anything is written, saying what was got, what was expected, and what to do.
    """
    given = {"base_url": base_url, "concurrency": concurrency, "budget": budget}
    remote = replace(remote or Remote(), **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    options = Options(
        device, dtype, revision, decode, trust_remote_code, quantize, attention, compile, memory_gb, remote
    )
    application = Application(
        target,
        model,
        attributes,
        faces=selected(faces, face_labels, min_confidence),
        crop=crop,
        min_face_px=min_face_px,
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
    return carry_out(application, confirm=confirm, progress=progress)


def selected(faces: str | None, labels: Sequence[str] = (), min_confidence: float | None = None) -> Selection | None:
    """The faces of a field that are asked about; None for whole pictures, and for all that a view of patches shows.

    Raises :class:`~facevlm.errors.InputError` for a choice of faces without their field.
    """
    if faces is not None:
        return Selection(faces, labels if isinstance(labels, str) else tuple(labels), min_confidence)  # type: ignore[arg-type]
    if labels or min_confidence is not None:
        raise InputError("Got face_labels or min_confidence without faces, expected faces= a field of Detections.")
    return None

"""Apply a model to faces."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from typing import Any

from typing_extensions import Unpack

from facevlm.arguments import checked
from facevlm.backends import Backend, Briefing, Checker, Hosted, cores
from facevlm.backends.briefings import fresh
from facevlm.backends.cards import Card, questions_for
from facevlm.backends.choice import card_of, fingerprint, prefix_of, resolve_attributes
from facevlm.engines.devices import opened
from facevlm.engines.local import run
from facevlm.engines.tally import Progress, Tally
from facevlm.errors import InputError, check_sizes
from facevlm.faces.crops import Crop
from facevlm.faces.selection import Selection
from facevlm.store import predictions, targets, updates
from facevlm.store.asking import subjects
from facevlm.tasks._options import RunOptions, Settings, settings, takes_options
from facevlm.tasks._run import ModelRun, carry_out
from facevlm.tasks._verb import verb
from facevlm.types import Attribute

BATCH_SIZE = 32


@dataclass(frozen=True)
class ApplyResult:
    """What a run did. ``fields`` maps attributes to dataset fields; ``skipped`` faces had all their answers before.

    ``usage`` is what a model behind an API took: requests, tokens, US dollars. ``left`` faces were not asked, because
    the budget was used up or the run was not agreed to; the next run asks them. ``pictures_without`` have no face in
    the field of faces that was chosen; ``gone`` ones were deleted from the dataset while they were asked about.
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
    gone: int = 0

    @property
    def outcomes(self) -> dict[str, dict[str, int]]:
        """Counts per attribute and outcome of the faces that were asked."""
        return {name: dict(counts) for name, counts in self.tally.outcomes.items()}

    @property
    def warnings(self) -> list[str]:
        """What a user should read: how the model answers other than asked, attributes with low coverage, and pictures
        that were deleted meanwhile."""
        return [*self.notes, *self.tally.warnings(), *updates.told(self.gone)]


class ApplyRun(ModelRun[ApplyResult]):
    """A checked and loaded run that has not begun. See :func:`apply` for the arguments.

    ``pending`` maps attributes to the faces that still lack just these; ``backend`` is that of the model, where it is
    open already. Raises :class:`~facevlm.errors.FacevlmError` while nothing is written yet.
    """

    @checked
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
        overwrite: bool = False,
        settings: Settings | None = None,
        backend: Backend | None = None,
    ) -> None:
        told = settings or Settings()
        options = fresh(told.options) if overwrite else told.options
        check_sizes(min_face_px=min_face_px)
        self.subjects = subjects(target, faces)
        self.target, self.dataset = self.subjects.target, self.subjects.dataset
        card = card_of(model, options)
        self.crop, self.min_face_px = crop or card.crop(), min_face_px
        chosen = resolve_attributes(attributes, card, told.registry)
        self.owns_backend = backend is None and isinstance(model, str)
        if backend is None and not card.is_here():
            # Fetched first: how the questions are worded depends on the family that its config names.
            backend = opened(model, options, chosen, told.secrets)
            card = card_of(model, options)
        self.questions = {q.attribute.name: q for q in questions_for(card, chosen, prompts, joint=told.shares_prompts)}
        self.prefix = prefix if prefix is not None else prefix_of(card)
        self.fields = {name: predictions.field_name(self.prefix, name) for name in self.questions}
        predictions.check_prefix(self.dataset, self.prefix, self.fields)
        self.subjects.check_fields(self.dataset, self.prefix, list(self.fields.values()))
        self.backend = backend or opened(model, options, chosen, told.secrets)
        with ExitStack() as on_error:
            on_error.callback(self.close)
            self._prepare(card, told, overwrite)
            on_error.pop_all()

    def _prepare(self, card: Card, told: Settings, overwrite: bool) -> None:
        """Check the model and what the fields hold, and find what is still to ask."""
        if isinstance(self.backend, Checker) and not isinstance(self.backend, Hosted):
            self.backend.check(list(self.questions.values()))
        info = self.backend.info
        self.batch_size = told.batch_size or info.batch_size or BATCH_SIZE
        self.chunk_size, self.threads = told.chunk_size, told.threads
        framed = self._framed()
        self.identify(
            {name: fingerprint(info, card, q, framed) for name, q in self.questions.items()}, overwrite=overwrite
        )
        self.pending = (
            {tuple(self.questions): self.subjects.faces}
            if overwrite
            else self.subjects.pending(self.fields, self.stamps)
        )
        self.total = sum(len(faces) for faces in self.pending.values())
        self.check_own()
        if isinstance(self.backend, Hosted):
            self.briefing = self.backend.briefing(self.total, list(self.questions.values()))

    def meet(self) -> None:
        if isinstance(self.backend, Hosted) and isinstance(self.backend, Checker):
            self.backend.check(list(self.questions.values()))

    @property
    def shown(self) -> list[str]:
        """The fields in which the answers are best looked at."""
        return self.subjects.shown(self.prefix, list(self.fields.values()))

    @property
    def faces_field(self) -> str | None:
        """The field of the faces that are asked about; None for whole pictures."""
        return self.subjects.selection.field if self.subjects.selection else None

    @property
    def skipped(self) -> int:
        """Faces that have all their answers."""
        return len(self.subjects.faces) - self.total

    def _framed(self) -> dict[str, Any]:
        """How faces in pictures are cut out, and of which field they are; empty where whole pictures are shown."""
        return {} if self.faces_field is None else {"faces": self.faces_field, "crop": asdict(self.crop)}

    def work(self) -> Generator[Progress, None, None]:
        writer = self.subjects.writer(self.prefix, self.fields, self.stamps)
        self.gone = writer.gone
        done = 0
        for names, faces in self.pending.items():
            loop = run(
                faces,
                self.backend,
                [self.questions[name] for name in names],
                writer,
                batch_size=self.batch_size,
                chunk_size=self.chunk_size,
                threads=self.threads,
                tally=self.tally,
                crop=self.crop,
                min_face_px=self.min_face_px,
            )
            with closing(loop) as progress:
                for step in progress:
                    yield Progress(done + step.done, self.total, self.tally)
            done += len(faces)

    def result(self) -> ApplyResult:
        info, asked = self.backend.info, self.tally.faces
        return ApplyResult(
            run_key=self.run_key,
            fields=self.fields,
            asked=asked,
            skipped=self.skipped,
            tally=self.tally,
            notes=info.notes,
            usage=info.usage,
            left=self.total - asked,
            pictures_without=len(self.subjects.without),
            gone=len(self.gone),
        )

    def facts(self) -> dict[str, Any]:
        return {
            "outcomes": self.subjects.outcomes(self.fields),
            "faces": len(self.subjects.faces),
            "model_seconds": round(self.tally.model_seconds, 3),
            "small": self.tally.small,
            "min_face_px": self.min_face_px,
            "crop": self._framed().get("crop"),
            "batch_size": self.batch_size,
            "chunk_size": self.chunk_size,
            "threads": self.threads,
            "cores": cores.taken(self.backend.info.threads, self.threads),
            **self.subjects.facts(),
        }


@verb
@takes_options(RunOptions)
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
    overwrite: bool = False,
    confirm: Callable[[Briefing], bool] | None = None,
    **options: Unpack[RunOptions],
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
        overwrite: ask every face again; else faces with an ``ok`` answer of the same model and prompt are skipped.
        confirm: called before pictures are sent to a server, with where, how many, and at what cost; if it returns
            False nothing is asked. By default the log says it.
        {options}

    Raises:
        FacevlmError: before anything is written, saying what was got, what was expected, and what to do.
    """
    told = settings(options)
    asked = ApplyRun(
        target,
        model,
        attributes,
        faces=selected(faces, face_labels, min_confidence),
        crop=crop,
        min_face_px=min_face_px,
        prefix=prefix,
        prompts=prompts,
        overwrite=overwrite,
        settings=told,
    )
    return carry_out(asked, confirm, progress=told.progress)


def selected(faces: str | None, labels: Sequence[str] = (), min_confidence: float | None = None) -> Selection | None:
    """The faces of a field that are asked about; None for whole pictures, and for all that a view of patches shows.

    Raises :class:`~facevlm.errors.InputError` for a choice of faces without their field.
    """
    if faces is not None:
        return Selection(faces, labels if isinstance(labels, str) else tuple(labels), min_confidence)  # type: ignore[arg-type]
    if labels or min_confidence is not None:
        raise InputError("Got face_labels or min_confidence without faces, expected faces= a field of Detections.")
    return None

"""Describe all people of pictures by a model that finds them itself, or those whom a phrase fits."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from PIL.Image import Image
from typing_extensions import Unpack

from facevlm.arguments import checked
from facevlm.attributes import Registry
from facevlm.backends import Backend, Briefing, Describing, Hosted, Options, Remote, Shot, open_backend
from facevlm.backends.briefings import fresh
from facevlm.backends.cards import Card, questions_for
from facevlm.backends.choice import backend_of, card_of, default_prefix, resolve_attributes
from facevlm.backends.options import MARKS, SCENE, Mark
from facevlm.backends.remote import words
from facevlm.backends.remote.describe import DescribingBackend
from facevlm.backends.remote.words import Words
from facevlm.engines.tally import Progress
from facevlm.engines.writing import ChunkWriter
from facevlm.errors import InputError, is_blank
from facevlm.faces import crops, images
from facevlm.faces.assign import assign, nobody
from facevlm.faces.crops import Crop
from facevlm.faces.people import PEOPLE, Described, PeoplePicture
from facevlm.store import descriptions, predictions, targets
from facevlm.tasks._options import Settings, TaskOptions, settings, takes_options
from facevlm.tasks._run import ModelRun, carry_out
from facevlm.tasks._verb import verb
from facevlm.tasks.apply import ApplyResult
from facevlm.types import Attribute, Inquiry, digest

CHUNK = 64


@dataclass(frozen=True)
class DescribeResult(ApplyResult):
    """What a run did; ``asked``, ``skipped`` and ``left`` count pictures. ``people_field`` holds the words.

    ``people`` were described; ``pictures`` counts the outcomes of pictures as a whole, ``wrong_counts`` those in which
    the model saw more or fewer people than are known.
    """

    people_field: str = ""
    people: int = 0
    pictures: Mapping[str, int] = field(default_factory=dict)
    wrong_counts: int = 0


class DescribeRun(ModelRun[DescribeResult]):
    """A checked run that has not begun. See :func:`describe` for the arguments.

    Raises :class:`~facevlm.errors.FacevlmError` while nothing is written yet.
    """

    @checked
    def __init__(
        self,
        target: targets.Collection,
        model: str | Backend,
        attributes: Sequence[str | Attribute],
        *,
        free: Sequence[str] | Mapping[str, str] = (),
        who: str | None = None,
        faces: str | None = None,
        mark: str | None = None,
        prefix: str | None = None,
        overwrite: bool = False,
        settings: Settings | None = None,
    ) -> None:
        told = settings or Settings(options=Options(remote=SCENE))
        card = card_of(model, told.options)
        if isinstance(model, str) and not card.hosted:
            raise unable(model)
        self._words = model.words if isinstance(model, DescribingBackend) else words.load(told.options.remote.template)
        self._inquiry = inquiry_of(card, attributes, worded(free, self._words), who, faces, mark, told.registry)
        self.questions = {q.attribute.name: q for q in self._inquiry.questions}
        self.prefix = prefix if prefix is not None else default_prefix(card.name)
        target = targets.check(target)
        self._pictures = descriptions.read(target, faces)
        self.target, self.dataset, self._faces = target, target._dataset, faces
        self.fields = {name: predictions.field_name(self.prefix, name) for name in self.questions}
        self.people_field = predictions.field_name(self.prefix, PEOPLE)
        predictions.check_prefix(self.dataset, self.prefix, self.fields)
        descriptions.check_fields(target, [*self.fields.values(), self.people_field])
        chosen = [q.attribute for q in self._inquiry.questions]
        options = fresh(told.options) if overwrite else told.options
        opened = backend_of(model, options, chosen, told.secrets)
        self.backend, self._describing = opened, describing(opened)
        self.owns_backend = isinstance(model, str)
        with ExitStack() as on_error:
            on_error.callback(self.close)
            self._prepare(overwrite)
            on_error.pop_all()

    def _prepare(self, overwrite: bool) -> None:
        """Check what the fields hold, and find what is still to ask."""
        self.identify(dict.fromkeys([*self.questions, PEOPLE], self._fingerprint()), overwrite=overwrite)
        pending = self._pictures
        if not overwrite:
            pending = descriptions.pending(self.target, pending, self.people_field, self.stamps[PEOPLE])
        pending = [p for p in pending if not p.is_out_of_sight]
        self._pending = [p for p in pending if p.faces != ()]
        self._empty = [p for p in pending if p.faces == ()]
        self.total = len(self._pending)
        self.check_own()
        self._outcomes: Counter[str] = Counter()
        self._people = self._wrong_counts = 0
        counts = [len(p.faces or ()) for p in self._pending]
        self.briefing = self._describing.briefing_of(counts, self._inquiry)

    what = "pictures"

    def meet(self) -> None:
        self._describing.check_inquiry(self._inquiry)

    def _fingerprint(self) -> str:
        """Eight hex digits of all that decides the answers: model, questions and words, and how people are shown."""
        i, info = self._inquiry, self.backend.info
        asked = [q.fingerprint() for q in i.questions]
        return digest([info.identity, asked, dict(i.free), i.who, i.shown, self._faces, self._words.version])

    @property
    def places(self) -> Mapping[str, str]:
        return {**self.fields, PEOPLE: self.people_field}

    @property
    def is_needed(self) -> bool:
        return bool(self._pending or self._empty)

    def work(self) -> Generator[Progress, None, None]:
        write = descriptions.DescriptionWriter(
            self.dataset, self.fields, self.people_field, self.stamps, list(self._inquiry.free)
        )
        self.gone = write.gone
        with ChunkWriter(write, CHUNK) as writer:
            writer.add([nobody(picture) for picture in self._empty])
            yield from self._answers(writer)

    def _answers(self, writer: ChunkWriter[Described]) -> Generator[Progress, None, None]:
        if not self.total:
            return
        start = time.perf_counter()
        with closing(self._describing.scenes(self._shots(), self._inquiry)) as answered:
            for scenes in answered:
                described = [assign(self._pending[number], scene, self._inquiry) for number, scene in scenes]
                self._count(described)
                self.tally.seconds = self.tally.model_seconds = time.perf_counter() - start
                writer.add(described)
                yield Progress(self.tally.faces, self.total, self.tally)

    def _count(self, described: Sequence[Described]) -> None:
        for one in described:
            self.tally.faces += 1
            self._outcomes[one.outcome] += 1
            self._people += one.got or 0
            self._wrong_counts += one.wrong_count
            for person in one.people:
                for prediction in person.predictions:
                    self.tally.add(prediction)

    def _shots(self) -> Iterator[Shot]:
        side = self.backend.info.max_side
        for picture in self._pending:
            count = None if picture.faces is None else len(picture.faces)
            yield Shot(functools.partial(shown, picture, self._inquiry.shown, side), count)

    def result(self) -> DescribeResult:
        info, asked = self.backend.info, self.tally.faces
        return DescribeResult(
            run_key=self.run_key,
            fields=self.fields,
            asked=asked,
            skipped=len(self._pictures) - self.total,
            tally=self.tally,
            notes=info.notes,
            usage=info.usage,
            left=self.total - asked,
            gone=len(self.gone),
            people_field=self.people_field,
            people=self._people,
            pictures=dict(self._outcomes),
            wrong_counts=self._wrong_counts,
        )

    def facts(self) -> dict[str, Any]:
        i = self._inquiry
        return {
            "outcomes": descriptions.outcome_counts(self.target, self.fields),
            "faces": len(self._pictures),
            "describe": {
                "free": dict(i.free),
                "who": i.who,
                "shown": i.shown,
                "words": self._words.version,
                "faces": self._faces,
                "pictures": descriptions.picture_outcomes(self.target, self.people_field),
            },
        }


def inquiry_of(
    card: Card,
    attributes: Sequence[str | Attribute],
    free: Mapping[str, str],
    who: str | None,
    faces: str | None,
    mark: str | None,
    registry: Registry | None = None,
) -> Inquiry:
    """What is asked about the people of a picture; arguments as of :func:`describe`, ``free`` as of :func:`worded`.

    Raises :class:`~facevlm.errors.FacevlmError` for what cannot be asked.
    """
    chosen = [] if free and not attributes else resolve_attributes(attributes, card, registry)
    questions = tuple(questions_for(card, chosen))
    descriptions.check_free(free, [q.attribute.name for q in questions])
    return Inquiry(questions, free, checked_who(who), _shown(mark, faces))


@verb
def brief(
    target: targets.Collection,
    model: str,
    attributes: Sequence[str | Attribute],
    *,
    free: Sequence[str] | Mapping[str, str] = (),
    who: str | None = None,
    faces: str | None = None,
    mark: str | None = None,
    remote: Remote = SCENE,
) -> Briefing:
    """Where the pictures of a run go and at what cost at most, for forms, which have no run yet: nothing is sent.

    Raises :class:`~facevlm.errors.FacevlmError` as :func:`describe` would.
    """
    card = card_of(model)
    if not card.hosted:
        raise unable(model)
    inquiry = inquiry_of(card, attributes, worded(free, words.load(remote.template)), who, faces, mark)
    counts = descriptions.counts(target, faces)
    backend = describing(open_backend(model, Options(remote=replace(remote, cache="off"))))
    try:
        return backend.briefing_of(counts, inquiry)
    finally:
        if isinstance(backend, Hosted):
            backend.close()


def describing(backend: Backend) -> Describing:
    """The backend, which must be able to find people.

    Raises :class:`~facevlm.errors.InputError` for one that only answers about one face.
    """
    if not isinstance(backend, Describing):
        raise unable(backend.info.model)
    return backend


def unable(model: str) -> InputError:
    """The error about a model that does not find people by itself."""
    return InputError(
        f"Model '{model}' answers about one face and finds nobody by itself, expected a model behind an API such as "
        "gpt-4o or openai:MODEL. For single faces there is facevlm.apply."
    )


def worded(free: Sequence[str] | Mapping[str, str], known: Words) -> dict[str, str]:
    """Free questions by name; names alone, or with an empty question, are ``known`` ones or speak for themselves."""
    if isinstance(free, str):
        raise InputError(f"Got free='{free}', expected a list such as ['{free}'] or questions by name.")
    asked = free if isinstance(free, Mapping) else dict.fromkeys(free, "")
    plain = {name: known.free.get(name, f"what about the {name.replace('_', ' ')}?") for name in asked}
    return {name: question.strip() or plain[name] for name, question in asked.items()}


def checked_who(who: str | None) -> str | None:
    """The phrase without spaces around it.

    Raises :class:`~facevlm.errors.InputError` for one without words, which would fit everybody or nobody.
    """
    if who is not None and is_blank(who):
        raise InputError(
            f"Got who={who!r}, expected a phrase such as 'the person wearing a head scarf', or None for everybody."
        )
    return None if who is None else " ".join(who.split())


def _shown(mark: str | None, faces: str | None) -> Literal["boxes", "numbers", "crops"]:
    if mark is None:
        return "boxes"
    if mark not in MARKS:
        raise InputError(f"Got mark='{mark}', expected one of {', '.join(MARKS)}, or None to ask for boxes.")
    if faces is None:
        raise InputError(f"Got mark='{mark}' without faces, expected faces= the field of Detections to mark.")
    return "numbers" if mark == "numbers" else "crops"


def shown(picture: PeoplePicture, how: str, max_side: int | None) -> list[Image]:
    """What is sent of a picture: as it is, with its faces numbered from left to right, or their crops in that order."""
    boxes = [face.box_xywh_rel for face in picture.faces or () if face.box_xywh_rel is not None]
    if how == "crops":
        whole = images.load(picture.filepath)
        return [crops.cut(whole, box, Crop()) for box in boxes]
    whole = images.load(picture.filepath, max_side=max_side)
    return [images.numbered(whole, boxes) if how == "numbers" else whole]


@verb
@takes_options(TaskOptions)
def describe(
    target: targets.Collection,
    model: str | Backend,
    attributes: Sequence[str | Attribute] = (),
    *,
    free: Sequence[str] | Mapping[str, str] = (),
    who: str | None = None,
    faces: str | None = None,
    mark: Mark | None = None,
    prefix: str | None = None,
    overwrite: bool = False,
    confirm: Callable[[Briefing], bool] | None = None,
    **options: Unpack[TaskOptions],
) -> DescribeResult:
    """Describe all people of every picture in one request, and store a Detection for each.

    Every attribute goes to a field ``<prefix>_<attribute>`` of Detections with label, confidence, outcome, reason and
    ``face``, the id of the known face; words go to ``<prefix>_people``, which also says for every picture the outcome
    and how many people were expected and answered. A wrong count is such an outcome: faces are met by number or by box,
    and nobody is assigned by guess.

    Args:
        target: a FiftyOne dataset or view of pictures.
        model: a model behind an API: ``gpt-4o``, ``openai:MODEL``, or a :class:`~facevlm.backends.Describing` backend.
        attributes: names or :class:`~facevlm.types.Attribute`; may be empty if there are ``free`` ones.
        free: what is answered in words: names such as ``hair``, ``clothing``, ``posture``, ``action``, or your own
            questions by name.
        who: a phrase that says who is meant, such as ``the person wearing a head scarf``; by default everybody.
        faces: a field of Detections with known faces; by default the model's own boxes count.
        mark: of known faces: ``numbers`` draws their numbers on the picture, ``crops`` sends the faces alone; the
            answer is then by number. By default boxes are asked for and met with the known ones by overlap.
        prefix: by default the model's short name.
        overwrite: ask about every picture again; else those with a whole answer are skipped.
        confirm: as of :func:`facevlm.apply`.
        {options}

    A service is told to look at pictures of 1024 pixels closely, with 4096 tokens for an answer, if it is not told
    otherwise.

    Raises:
        FacevlmError: before anything is written, saying what was got, what was expected, and what to do.
    """
    told = settings(options, SCENE)
    run = DescribeRun(
        target,
        model,
        attributes,
        free=free,
        who=who,
        faces=faces,
        mark=mark,
        prefix=prefix,
        overwrite=overwrite,
        settings=told,
    )
    return carry_out(run, confirm, progress=told.progress, unit="picture")

"""Ask about faces in words: a plan that is shown first, the faces it picks, and what is asked about these alone."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from typing_extensions import Unpack

from facevlm.arguments import checked
from facevlm.backends import Backend, Briefing, Hosted, Options, Remote, open_backend
from facevlm.backends import briefings as briefings_module
from facevlm.backends.cards import find
from facevlm.backends.choice import card_of, prefix_of, resolve_attributes
from facevlm.backends.options import SCENE
from facevlm.detection import FIELD
from facevlm.detection.grounding import Grounder
from facevlm.errors import InputError, is_blank, visible
from facevlm.faces.selection import Selection
from facevlm.language import grammar
from facevlm.language import planner as planner_module
from facevlm.language.phrases import Condition, Plan, Vocabulary
from facevlm.language.places import face_at
from facevlm.store import descriptions, picked, predictions, provenance, targets
from facevlm.store.asking import subjects
from facevlm.tasks._options import RunOptions, Settings, settings, takes_options
from facevlm.tasks._run import Run, carry_out
from facevlm.tasks._verb import verb
from facevlm.tasks.apply import ApplyResult, ApplyRun
from facevlm.tasks.look import ByNumber, ByPlace, Grounding, brief
from facevlm.types import Face

log = logging.getLogger("facevlm")
GROUNDING = ("paligemma", "florence-2")
"""Presets that answer with places."""
MORE = "No face is guessed: where a condition has no answer, the face is left out and counted."


class NotRead(InputError):
    """A request that the grammar cannot read, while no planner is named that may."""


class NobodyLooks(InputError):
    """No label decides whom the phrase ``who`` fits, and no model is named that does."""

    def __init__(self, who: str) -> None:
        self.who = who
        super().__init__(
            f"Whom '{who}' fits, no label decides; that takes a model that sees the whole picture. Name one "
            "as grounding: openai:MODEL or another model behind an API, or one that answers with places, such as "
            "paligemma."
        )


@dataclass(frozen=True)
class Proposal:
    """What a request would do, before anything is done: the plan, and sentences to be read by a user."""

    plan: Plan
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences, one a line."""
        return "\n".join(self.sentences)


@dataclass(frozen=True)
class AskResult:
    """What a request did. ``faces`` are the ids of the Detections that were picked, ``view`` shows just these.

    ``undecided`` counts faces that were left out because nothing says whether they fit, by reason. ``applied`` is what
    was asked about the picked faces; None where the request names no attribute, nobody was picked, or it was not
    agreed to, which ``agreed`` tells. ``considered`` are all faces among which they were picked.
    """

    plan: Plan
    sentences: tuple[str, ...]
    faces: tuple[str, ...]
    view: targets.Collection
    applied: ApplyResult | None = None
    undecided: Mapping[str, int] = field(default_factory=dict)
    agreed: bool = True
    considered: int = 0

    @property
    def summary(self) -> str:
        """One line on what was picked."""
        left = "".join(f" {n:,} left out: {reason}." for reason, n in self.undecided.items())
        return f"{len(self.faces):,} faces picked.{left}"


class AskRun:
    """A request that is read and checked, of several runs; take :meth:`works` one by one, then read :meth:`result`.

    Raises :class:`~facevlm.errors.FacevlmError` while nothing is written yet.
    """

    @checked
    def __init__(
        self,
        target: targets.Collection,
        request: str,
        model: str | Backend = "demo",
        *,
        faces: str = FIELD,
        prefix: str | None = None,
        grounding: str | Grounding | None = None,
        planner: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._target = targets.check(target, patches=True)
        self._model, self._faces_field = model, faces
        self._settings = settings or Settings()
        self._card = card_of(model, self._settings.options)
        self._registry, self._options = self._settings.registry, self._settings.options
        self.prefix = prefix if prefix is not None else prefix_of(self._card)
        predictions.field_name(self.prefix, "x")
        self._offered = list(self._card.questions) or list(self._registry.attributes)
        stored = picked.predicted(self._target, self.prefix, self._registry.attributes)
        self.plan = self._read(request, Vocabulary(self._registry, self._offered, stored), planner)
        self._faces = subjects(self._target, Selection(faces)).faces
        self._grounding = self._looker(grounding)
        self.undecided: dict[str, str] = {}
        self.picked: list[str] = []
        self._last: ApplyRun | None = None
        self.proposal = self._proposed()

    def _read(self, request: str, vocabulary: Vocabulary, name: str | None) -> Plan:
        """By the grammar; where that cannot, by the chat model if one is named."""
        if name is not None:
            check_planner(name)
        try:
            return grammar.read(request, vocabulary)
        except grammar.IdentityRefused:
            raise
        except InputError as error:
            if is_blank(request):
                raise
            if name is None:
                raise NotRead(str(error)) from None
        opened = open_backend(name, self._options, (), self._settings.secrets)
        if not (isinstance(opened, Hosted) and isinstance(opened, planner_module.Talking)):
            raise _no_planner(name)
        try:
            return planner_module.read(request, vocabulary, opened, name)
        finally:
            opened.close()

    def _looker(self, grounding: str | Grounding | None) -> str | Grounding | None:
        """Who decides whom the phrase fits."""
        if self.plan.who is None:
            return None
        if grounding is None and isinstance(self._model, str) and self._card.hosted:
            return self._model
        if grounding is None:
            raise NobodyLooks(self.plan.who)
        if isinstance(grounding, str):
            find(grounding)
        elif not isinstance(grounding, Grounding):
            got = type(grounding).__name__
            raise InputError(
                f"Got grounding={got}, expected a model's name or an object with look_for(images, phrase)."
            )
        return grounding

    def _proposed(self) -> Proposal:
        pictures = len({face.sample_id for face in self._faces})
        sentences = self.plan.sentences(self._registry)
        sentences.append(f"Among {len(self._faces):,} faces in {pictures:,} pictures (field '{self._faces_field}').")
        for condition in self.plan.conditions:
            sentences.append(self._state(condition.attribute) + self._answerers(condition.attribute))
        if self.plan.who is not None:
            how = "numbers drawn on the faces" if self._by_number() else "boxes met with the faces by overlap"
            sentences.append(f"Whom the words fit, {self._looker_name()} decides, by {how}.")
        if self.plan.conditions or self.plan.who:
            sentences.append(MORE)
        return Proposal(self.plan, tuple(sentences))

    def _state(self, attribute: str) -> str:
        name = predictions.field_name(self.prefix, attribute)
        missing = len(self._faces) - len(picked.known(self._target, name, self._faces))
        if not missing:
            return f"{attribute} is known of all of them ('{name}')."
        if attribute not in self._offered:
            return f"{attribute} is not known of {missing:,} of them ('{name}'), and the model cannot tell."
        return f"{attribute} is asked first, of {missing:,} faces that have no answer yet ('{name}')."

    def _answerers(self, attribute: str) -> str:
        """Who answered, where that was not one run alone; begins with a blank."""
        name = predictions.field_name(self.prefix, attribute)
        found = provenance.runs_in(self._target, name) if self._target.get_field(name) is not None else []
        return f" It was answered by {len(found)} runs: {'; '.join(map(str, found))}." if len(found) > 1 else ""

    def _looker_name(self) -> str:
        return self._grounding if isinstance(self._grounding, str) else type(self._grounding).__name__

    def _by_number(self) -> bool:
        return isinstance(self._grounding, str) and find(self._grounding).hosted

    def works(self) -> Generator[Run[Any], None, None]:
        """What is to be done, one after the other; each must be done before the next is asked for."""
        # Opened before anything is asked: what cannot be had must not be found out half-way.
        opened = self._open_looker()
        try:
            first = self._conditions_first()
            if first is not None:
                yield first
            fit = self._fitting()
            if opened is not None and fit:
                look = self._look(fit, opened)
                yield look
                self.undecided |= look.fitting.undecided
                fit = [face for face in fit if face.label_id in look.fitting.fit]
            self.picked = [str(face.label_id) for face in self._placed(fit)]
            if self.plan.attributes and self.picked:
                self._last = self._apply_run(self.picked, self.plan.attributes)
                yield self._last
        finally:
            if isinstance(opened, Hosted):
                opened.close()

    @property
    def shown(self) -> list[str]:
        """The fields in which the answers are best looked at."""
        return self._last.shown if self._last else []

    def briefings(self) -> list[Briefing]:
        """Where pictures would go and at what cost at most, one for each step that sends any. Nothing is sent."""
        ids, names = self._lacking()
        steps = [self._brief(names, len(ids))] if names else []
        if self.plan.who is not None and self._by_number():
            steps.append(self._brief_looker())
        if self.plan.attributes:
            steps.append(self._brief(self.plan.attributes, len(self._faces)))
        return [one for one in steps if one is not None]

    def _brief(self, names: Sequence[str], faces: int) -> Briefing | None:
        attributes = resolve_attributes(names, self._card, self._registry)
        name = self._model if isinstance(self._model, str) else self._card.name
        return briefings_module.brief(name, attributes, faces, self._options) if self._card.hosted else None

    def _brief_looker(self) -> Briefing:
        unkept = replace(_closely(self._options.remote), cache="off")
        backend = open_backend(str(self._grounding), Options(remote=unkept))
        try:
            counts = Counter(face.sample_id for face in self._faces)
            return brief(list(counts.values()), str(self.plan.who), backend)
        finally:
            if isinstance(backend, Hosted):
                backend.close()

    def _conditions_first(self) -> ApplyRun | None:
        """A run over the faces of which a condition is not known, where the model can tell."""
        ids, names = self._lacking()
        return self._apply_run(ids, names) if names else None

    def _lacking(self) -> tuple[list[str], list[str]]:
        """Faces of which a condition is not known, and the attributes that are to be asked about them."""
        ids: dict[str, None] = {}
        names = []
        for condition in self.plan.conditions:
            known = picked.known(self._target, predictions.field_name(self.prefix, condition.attribute), self._faces)
            lacking = [str(face.label_id) for face in self._faces if face.label_id not in known]
            if lacking and condition.attribute in self._offered:
                names.append(condition.attribute)
                ids.update(dict.fromkeys(lacking))
        return list(ids), names

    def _apply_run(self, ids: Sequence[str], attributes: Sequence[str]) -> ApplyRun:
        return ApplyRun(
            picked.narrowed(self._target, self._faces_field, ids),
            self._model,
            list(attributes),
            faces=Selection(self._faces_field),
            prefix=self.prefix,
            settings=self._settings,
        )

    def _fitting(self) -> list[Face]:
        """The faces that meet all conditions; those that may or may not are counted."""
        fit = list(self._faces)
        for condition in self.plan.conditions:
            name = predictions.field_name(self.prefix, condition.attribute)
            known = picked.known(self._target, name, self._faces)
            fit = [face for face in fit if self._meets(face, condition, known)]
        return [face for face in fit if face.label_id not in self.undecided]

    def _meets(self, face: Face, condition: Condition, known: picked.Known) -> bool:
        """Whether a face meets a condition, or may."""
        outcome, label = known.get(str(face.label_id), ("not asked", None))
        if outcome != "ok":
            self.undecided[str(face.label_id)] = f"{condition.attribute} is {outcome}"
            return True
        if label not in condition.labels:
            self.undecided.pop(str(face.label_id), None)
            return False
        return True

    def _open_looker(self) -> Backend | Grounding | None:
        if not isinstance(self._grounding, str):
            return self._grounding
        if not self._by_number():
            return Grounder(self._grounding)
        scene = Options(remote=_closely(self._options.remote))
        return open_backend(self._grounding, scene, (), self._settings.secrets)

    def _look(self, fit: Sequence[Face], opened: Backend | Grounding) -> ByNumber | ByPlace:
        shown = picked.pictures(self._target, self._faces_field, [str(face.label_id) for face in fit])
        pictures, who = descriptions.read(shown, self._faces_field), str(self.plan.who)
        return ByPlace(pictures, who, opened) if isinstance(opened, Grounding) else ByNumber(pictures, who, opened)

    def _placed(self, fit: Sequence[Face]) -> list[Face]:
        """Of every picture the face at the place, if one is asked for."""
        if self.plan.place is None:
            return list(fit)
        doubtful = {face.sample_id for face in self._faces if face.label_id in self.undecided}
        by_picture: dict[str, list[Face]] = defaultdict(list)
        for face in fit:
            by_picture[face.sample_id].append(face)
        chosen = []
        for sample_id, faces in by_picture.items():
            chosen_face, why = face_at(faces, self.plan.place)
            if sample_id in doubtful:
                chosen_face, why = None, "another face of the picture is undecided, and so is the place"
            if chosen_face is not None:
                chosen.append(chosen_face)
            elif why:
                self.undecided |= {str(face.label_id): why for face in faces}
        return chosen

    def result(self, *, agreed: bool = True) -> AskResult:
        answers = [predictions.field_name(self.prefix, name) for name in self._registry.attributes]
        answers.append(predictions.field_name(self.prefix, "faces"))
        return AskResult(
            self.plan,
            self.proposal.sentences,
            tuple(self.picked),
            picked.shown(self._target, self._faces_field, self.picked, answers),
            self._last.result() if self._last else None,
            dict(Counter(self.undecided.values())),
            agreed,
            len(self._faces),
        )


def check_planner(name: str) -> None:
    """Raise :class:`~facevlm.errors.InputError` for a model that cannot read requests."""
    if not find(name).hosted:
        raise _no_planner(name)


def _no_planner(name: str) -> InputError:
    return InputError(f"Got planner='{name}', expected a model behind an API such as gpt-4o or openai:MODEL.")


def _closely(remote: Remote) -> Remote:
    """The same server and limits, with whole pictures looked at as :func:`facevlm.describe` does."""
    return replace(remote, max_side=remote.max_side or SCENE.max_side, detail=SCENE.detail)


@verb
@takes_options(RunOptions)
def plan(
    target: targets.Collection,
    request: str,
    *,
    model: str | Backend = "demo",
    faces: str = FIELD,
    prefix: str | None = None,
    grounding: str | Grounding | None = None,
    planner: str | None = None,
    **options: Unpack[RunOptions],
) -> Proposal:
    """What :func:`ask` would do, in sentences; no picture is sent and nothing is written. Arguments as there."""
    told = settings(options)
    asked = AskRun(
        target, request, model, faces=faces, prefix=prefix, grounding=grounding, planner=planner, settings=told
    )
    return asked.proposal


@verb
@takes_options(RunOptions)
def ask(
    target: targets.Collection,
    request: str,
    *,
    model: str | Backend = "demo",
    faces: str = FIELD,
    prefix: str | None = None,
    grounding: str | Grounding | None = None,
    planner: str | None = None,
    confirm: Callable[[Proposal], bool] | None = None,
    confirm_sending: Callable[[Briefing], bool] | None = None,
    **options: Unpack[RunOptions],
) -> AskResult:
    """Ask about faces in words: ``age group and emotion of the child``, ``everyone wearing glasses``.

    The request is read by a small exact grammar of English. Faces are picked by attributes that are stored already,
    by attributes that are asked first, by their place in the picture, or, where no label decides, by a model that sees
    the whole picture. Only the attributes that are named are asked, of the picked faces alone.

    Args:
        target: a FiftyOne dataset or view, or a view of patches of ``faces``.
        request: which attributes, and of whom.
        model: answers about faces, as for :func:`facevlm.apply`.
        faces: a field of Detections with the faces; :func:`facevlm.detect` makes one.
        prefix: predictions are read from and go to ``<prefix>_<attribute>``; by default the model's short name.
        grounding: says whom a phrase fits: a model behind an API, which sees numbers on the faces, a model that answers
            with places (``paligemma``, ``florence-2``), or a :class:`~facevlm.tasks.look.Grounding`; by default
            ``model`` if that is behind an API.
        planner: a model behind an API that reads what the grammar cannot: it sees the words, no picture, and names
            only attributes and labels that there are, which is checked.
        confirm: called with the plan before anything is done; if it returns False nothing is. By default the log
            says it.
        confirm_sending: called before pictures are sent to a server, as ``confirm`` of :func:`facevlm.apply`.
        {options}

    The budget is that of each of the steps.

    Raises:
        FacevlmError: before anything is written, saying what was understood, what not, and what can be asked.
    """
    told = settings(options)
    asked = AskRun(
        target, request, model, faces=faces, prefix=prefix, grounding=grounding, planner=planner, settings=told
    )
    if not (confirm or announce)(asked.proposal):
        return asked.result(agreed=False)
    with closing(asked.works()) as works:
        for work in works:
            carry_out(work, confirm_sending, progress=told.progress)
    return asked.result()


def announce(proposal: Proposal) -> bool:
    """Tell the log what will be done. Always agrees."""
    log.info(visible(proposal.text))
    return True

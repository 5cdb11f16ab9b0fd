"""Model cards as data: which checkpoint answers which attribute, in which words."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from facevlm import folders
from facevlm.backends import adapters, inventory, networks, schemes
from facevlm.backends.adapters import Adapter
from facevlm.backends.families import FamilyInfo, family_of
from facevlm.backends.options import Options
from facevlm.backends.remote import services
from facevlm.errors import InputError, ModelError, UnknownName, is_blank
from facevlm.faces.crops import Crop
from facevlm.folders import ASSETS
from facevlm.types import GREEDY, PROBABLE, Attribute, Question

ANY = "*"
PACKAGE = "package:"
HUB = "hf:"
CARD_FILE = "facevlm.json"
CARD_PARTS = ("questions", "forms", "joint", "linear")
LARGEST_CARD = 2**20
"""Bytes of a card file at most."""
CONFIG = "config.json"
ELSEWHERE = "see the checkpoint's page"
"""The licence of a model whose card here does not name it."""


@dataclass(frozen=True)
class Joint:
    """One prompt for several attributes; each attribute's answer follows its cue."""

    context: str
    cues: Mapping[str, str]


@dataclass(frozen=True)
class Card:
    """A model by name. ``checkpoints`` maps attribute names, or ``*`` for all, to hub ids or folders.

    ``questions`` maps the attributes that the model answers to its prompts; empty means any attribute, asked in the
    words of ``prompt`` with the fields ``{question}`` and ``{labels}``, else in those of the model's family.
    ``forms`` gives the exact answer strings per attribute and label. ``images`` are options for the image processor.
    ``parameters`` are those of one checkpoint, ``download`` is the size of its weight files in GB. A ``hosted`` model
    is asked through an API and has no weights. ``margin`` is that around a face, as a share of its box, at which the
    model was tuned, None where that is not known. ``scheme`` is that of a model which another package opens. ``data``
    and ``languages`` are what it was trained on, empty where only the checkpoint's own page says it. An ``adapter``
    is put on its checkpoint, of which there is only one then. A ``network`` is a plain one, which chooses among labels
    and is asked nothing in words. ``linear`` is the model on whose vision tower a linear classifier stands; empty for a
    checkpoint of its own.
    """

    name: str
    checkpoints: Mapping[str, str]
    title: str = ""
    processor: str | None = None
    questions: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    joint: Joint | None = None
    prompt: str = ""
    images: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ELSEWHERE
    data: str = ""
    languages: str = ""
    gated: bool = False
    model_type: str = ""
    parameters: float = 0.0
    download: float = 0.0
    source: str = ""
    hosted: bool = False
    margin: float | None = None
    scheme: str = ""
    adapter: Adapter | None = None
    network: bool = False
    linear: str = ""

    def checkpoint(self, attribute: str) -> str:
        """Hub id or folder of the checkpoint that answers an attribute."""
        return self.checkpoints.get(attribute) or self.checkpoints[ANY]

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is of a family here: no network, linear classifier, service or model of another package."""
        return not (self.hosted or self.scheme or self.network or self.linear)

    def answers(self, attribute: str) -> bool:
        return not self.questions or attribute in self.questions

    def only(self, attributes: Sequence[str]) -> Card:
        """The card with no more checkpoints than these attributes need."""
        wanted = {self.checkpoint(a) for a in attributes if a in self.checkpoints or ANY in self.checkpoints}
        kept = {a: c for a, c in self.checkpoints.items() if c in wanted and (a in attributes or a == ANY)}
        return replace(self, checkpoints=kept or self.checkpoints)

    def crop(self) -> Crop:
        """How faces are cut out of pictures for it: with the margin at which it was tuned, or else FairFace's."""
        return Crop() if self.margin is None else Crop(margin=self.margin)

    def family(self) -> FamilyInfo:
        """The family of its checkpoints, by their config.json; the generic one where that is not on this machine."""
        return family_of(self.model_type or model_type(next(iter(self.checkpoints.values()))))

    def is_here(self) -> bool:
        """Whether all its checkpoints are on this machine, or it needs none here."""
        whole = all(is_here(checkpoint) for checkpoint in self.checkpoints.values())
        return self.hosted or bool(self.scheme) or (whole and (not self.adapter or adapter_is_here(self.adapter)))

    def check_here(self) -> None:
        """Look at the folders of its checkpoints; what comes from the hub, a server or a package is not looked at.

        Raises :class:`~facevlm.errors.ModelError` for a folder that is not there, or in which a model is not whole.
        """
        if self.network:
            networks.read(Path(self.checkpoints[ANY]))
        elif self.linear:
            find(self.linear).check_here()
        elif self.is_checkpoint:
            for checkpoint in sorted(set(self.checkpoints.values())):
                check_folder(checkpoint)
            if self.adapter:
                check_adapter(self.adapter, self.checkpoints[ANY])

    def is_asked_freely(self) -> bool:
        """Whether it takes questions as it is; one of a family that only answers what it was tuned for has to say which
        ones."""
        return bool(self.questions or self.prompt) or self.family().zero_shot

    def decision(self, options: Options) -> str:
        """By which its scores are decided. One that was tuned for its questions begins an answer with the label that it
        means; of any other the first token may be likely for the sake of words that are no label."""
        return options.decision or (GREEDY if self.questions else PROBABLE)

    def memory(self, bytes_per_parameter: int = 2) -> float:
        """GB that the weights of all checkpoints take together; 0 where the number of parameters is not known."""
        return self.parameters * bytes_per_parameter * len(set(self.checkpoints.values())) / 1e9


def location(checkpoint: str) -> str:
    """A checkpoint of this package as its folder; any other as it is."""
    return str(ASSETS / checkpoint.removeprefix(PACKAGE)) if checkpoint.startswith(PACKAGE) else checkpoint


def model_type(checkpoint: str) -> str:
    """The ``model_type`` of a checkpoint's config.json; empty where that is not on this machine or damaged."""
    config = file_here(checkpoint, CONFIG)
    try:
        return str(json.loads(folders.read_text(config)).get("model_type", "")) if config else ""
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""


def file_here(checkpoint: str, name: str) -> Path | None:
    """Where a file of a checkpoint is, in its folder or in the hub's cache; None for a checkpoint that is neither."""
    path = location(checkpoint)
    if Path(path).is_dir():
        return Path(path) / name
    try:
        cached = try_to_load_from_cache(path, name)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


def is_here(checkpoint: str) -> bool:
    """Whether the checkpoint is a folder on this machine, or lies in the hub's cache with all its weights."""
    config = file_here(checkpoint, CONFIG)
    return config is not None and (Path(location(checkpoint)).is_dir() or inventory.has_weights(config.parent))


def adapter_is_here(adapter: Adapter) -> bool:
    """Whether the adapter is a folder on this machine, or lies in the hub's cache with its weights."""
    config = file_here(adapter.source, adapters.CONFIG)
    return config is not None and any((config.parent / name).exists() for name in adapters.WEIGHTS)


def is_folder(checkpoint: str) -> bool:
    """Whether a checkpoint stands for a folder, be it there or not, and not for an id of the hub."""
    return checkpoint.count("/") != 1 or checkpoint[0] in "./~" or Path(checkpoint).is_dir()


def check_folder(checkpoint: str) -> None:
    """Raise :class:`~facevlm.errors.ModelError` for a checkpoint that is a folder which is not there, or in which a
    model is not whole; an id of the hub passes."""
    place = location(checkpoint)
    if not is_folder(place):
        return
    if not Path(place).is_dir():
        got = "is a file" if os.path.lexists(place) else "is not found"
        raise ModelError(f"'{place}' {got}: expected a folder with {CONFIG}, or an ORGANISATION/NAME of the hub.")
    _check_files(place, _state(Path(place)))


def check_adapter(adapter: Adapter, base: str) -> None:
    """Raise :class:`~facevlm.errors.ModelError` for an adapter that is a folder in which it is not whole, or which
    does not fit a base that is a folder; an id of the hub passes."""
    own = Path(adapter.source)
    if own.is_dir():
        place = Path(location(base))
        _check_adapter(own, place, _state(own), _state(place) if place.is_dir() else None)


@functools.lru_cache(maxsize=64)
def _check_adapter(folder: Path, base: Path, state: object, base_state: object) -> None:
    """Once for as long as the files stay as they are."""
    adapters.check(folder)
    if base_state is not None:
        adapters.check_fit(folder, base)


@functools.lru_cache(maxsize=64)
def _check_files(place: str, state: object) -> None:
    """Once for as long as the files stay as they are: a form asks at every letter that is typed."""
    inventory.check(place)


def _state(folder: Path) -> tuple[object, ...]:
    """What changes with the files of a folder."""
    return tuple(sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in os.scandir(folder)))


@functools.cache
def shipped() -> dict[str, Card]:
    """The cards of ``assets/models.yaml``, completed by the ``facevlm.json`` in the folders that have one."""
    raw = yaml.safe_load((ASSETS / "models.yaml").read_text(encoding="utf-8"))
    return {name: _completed(_card(name, data)) for name, data in raw.items()}


def find(name: str, adapter: str | None = None) -> Card:
    """The card of a shipped name, of ``hf:ID-or-folder``, of ``onnx:FOLDER``, of ``openai:MODEL``, or of an installed
    package's scheme.

    An ``adapter`` is one of PEFT, a folder or an id of the hub, that is put on the model. Raises
    :class:`~facevlm.errors.UnknownName` that lists what there is.
    """
    card = _find(name)
    return card if adapter is None else _with_adapter(card, adapter.strip())


def _find(name: str) -> Card:
    if name.startswith(HUB):
        checkpoint = name.removeprefix(HUB).strip()
        if not checkpoint:
            raise InputError(f"Got the model '{name}', expected hf:ORGANISATION/NAME or hf:/path/to/folder.")
        card = Card(name=name, checkpoints={ANY: checkpoint}, title=checkpoint)
        config = adapter_config(checkpoint)
        return _completed(card) if config is None else _of_adapter(card, checkpoint, config)
    if name in shipped():
        return shipped()[name]
    if name.startswith(networks.PREFIX):
        return _network(name)
    if services.is_remote(name):
        return _hosted(name)
    if scheme := schemes.scheme_of(name):
        return _opened_by(scheme, name)
    others = [f"{scheme}:MODEL" for scheme in schemes.added()]
    raise UnknownName(
        "model", name, [*shipped(), *services.presets(), "hf:ID-or-folder", "onnx:FOLDER", "openai:MODEL", *others]
    )


def adapter_config(checkpoint: str) -> Path | None:
    """The ``adapter_config.json`` of a checkpoint that is an adapter; None for one that is none, as far as is known."""
    config = file_here(checkpoint, adapters.CONFIG)
    return config if config and os.path.lexists(config) else None


def _of_adapter(card: Card, source: str, config: Path) -> Card:
    """The card of an adapter by itself: its base is the model that it names."""
    told = adapters.read(config)
    adapter = Adapter(source, told.revision, names_base=True)
    base = location(told.base)
    # What comes from the hub opens no folder of this machine by naming it.
    if not told.base or (is_folder(base) and not (Path(base).is_dir() and Path(source).is_dir())):
        raise ModelError(
            f"The adapter {source} names '{told.base}' as its base model ({adapters.BASE}), expected a folder of this "
            f"machine or an ORGANISATION/NAME of the hub. Name the base as the model, with adapter='{source}'."
        )
    if adapter_config(told.base) is not None:
        raise ModelError(
            f"The adapter {source} names '{told.base}' as its base model, which is an adapter itself; expected a whole "
            "model. Merge that one with its base, and save it by save_pretrained."
        )
    return _told_beside(_completed(replace(card, checkpoints={ANY: told.base}, adapter=adapter)), Path(source))


def _with_adapter(card: Card, source: str) -> Card:
    """A model with an adapter that a user put on it."""
    if not card.is_checkpoint:
        raise InputError(f"Got adapter='{source}', but '{card.name}' takes no adapter; expected hf:ID-or-folder.")
    if card.adapter:
        raise InputError(f"Got adapter='{source}' for '{card.name}', which is an adapter itself; expected its base.")
    if len(set(card.checkpoints.values())) > 1:
        raise InputError(f"Got adapter='{source}' for '{card.name}', which is several checkpoints; expected one.")
    if not source:
        raise InputError("Got adapter='', expected a folder or an ORGANISATION/NAME of the hub.")
    config = adapter_config(source)
    if config is None and is_folder(source):
        got = f"has no {adapters.CONFIG}" if Path(source).is_dir() else "is no folder"
        raise ModelError(f"The adapter '{source}' {got}. {adapters.REMEDY}")
    if config is not None:
        adapters.read(config)
    return _told_beside(replace(card, adapter=Adapter(source)), Path(source))


def named(text: str) -> str:
    """The model that a form's free text names: a network or one of an installed package's scheme as it is, else
    ``hf:...``."""
    return text if text.startswith(networks.PREFIX) or schemes.scheme_of(text) else f"{HUB}{text}"


def _network(name: str) -> Card:
    """A plain network answers the attributes of its card, and no others."""
    folder = name.removeprefix(networks.PREFIX).strip()
    if not folder:
        raise InputError(f"Got the model '{name}', expected {networks.PREFIX}/path/to/folder.")
    told = networks.read(Path(folder))
    return Card(
        name=name,
        checkpoints={ANY: folder},
        title=told.about.get("title") or f"the network {told.file.name}",
        questions={attribute: f"{attribute}, by {told.file.name}" for attribute in told.heads},
        licence=told.about.get("licence", ELSEWHERE),
        data=told.about.get("data", ""),
        languages=told.about.get("languages", ""),
        margin=told.margin,
        network=True,
    )


def _opened_by(scheme: str, name: str) -> Card:
    """A model that another package opens answers any attribute, in the attribute's own words."""
    if not name.removeprefix(f"{scheme}:").strip():
        raise InputError(f"Got the model '{name}', expected {scheme}:MODEL.")
    return Card(
        name=name,
        checkpoints={ANY: name},
        title=f"{name}, opened by {schemes.added()[scheme].origin}",
        prompt="{question}",
        licence="see the package that opens it",
        hosted=schemes.sends(scheme),
        scheme=scheme,
    )


def _hosted(name: str) -> Card:
    """A model behind an API answers any attribute, in words that its template adds to."""
    endpoint = services.endpoint(name)
    preset = services.presets().get(name.removeprefix(services.PREFIX))
    return Card(
        name=name,
        checkpoints={ANY: name},
        title=preset.title if preset else f"{endpoint.model} through an API",
        prompt="{question}",
        licence="the provider's terms",
        source=preset.source if preset else "",
        hosted=True,
    )


def _card(name: str, raw: Mapping[str, Any]) -> Card:
    known = {k: v for k, v in raw.items() if k in Card.__dataclass_fields__}
    if set(raw) - set(known):
        raise ModelError(f"Model card '{name}': unknown keys {', '.join(sorted(set(raw) - set(known)))}")
    return replace(Card(name=name, checkpoints=known.pop("checkpoints")), **known)


def _completed(card: Card) -> Card:
    """Add what the ``facevlm.json`` of the checkpoint folder says."""
    return _told_beside(card, Path(location(card.checkpoints[ANY]))) if ANY in card.checkpoints else card


def _told_beside(card: Card, folder: Path) -> Card:
    """Add what the ``facevlm.json`` of a folder says, if there is one."""
    path = folder / CARD_FILE
    if not path.is_file():
        return card
    try:
        raw = folders.read_bytes(path, LARGEST_CARD)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}. Expected a small file of JSON.") from error
    return _told(card, raw, path)


def _told(card: Card, raw: bytes, path: Path) -> Card:
    """The card with the questions, forms and joint prompt of a card file's content."""
    try:
        data = json.loads(raw.decode("utf-8"))
        if strange := sorted(set(data) - set(CARD_PARTS)):
            raise ValueError(f"unknown keys {', '.join(strange)}")
        forms = {a: {k: _strings(v) for k, v in labels.items()} for a, labels in data.get("forms", {}).items()}
        shared = data.get("joint")
        joint = Joint(_text(shared["context"]), _texts(shared["cues"])) if shared else None
        linear = _text(data.get("linear", ""))
        return replace(card, questions=_texts(data.get("questions", {})), forms=forms, joint=joint, linear=linear)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is not a model card: {error!r}. Expected questions, forms and joint.") from error


def save(folder: str | Path, card: Card) -> Path:
    """Write how a checkpoint is asked (questions, forms, joint prompt) into its folder, and return the file.

    ``hf:FOLDER`` is then asked so. Raises :class:`~facevlm.errors.ModelError`, and writes nothing, for a card that
    would be read as another one.
    """
    path = Path(folder) / CARD_FILE
    data: dict[str, Any] = {
        "questions": dict(card.questions),
        "forms": {a: {label: list(forms) for label, forms in labels.items()} for a, labels in card.forms.items()},
    }
    if card.linear:
        data["linear"] = card.linear
    if card.joint:
        data["joint"] = {"context": card.joint.context, "cues": dict(card.joint.cues)}
    raw = (json.dumps(data, indent=1) + "\n").encode()
    if _told(card, raw, path) != card:
        raise ModelError(f"{path}: got a card that is read back as another one, expected texts and tuples of strings.")
    path.write_bytes(raw)
    return path


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is not a text")
    return value


def _texts(value: Any) -> dict[str, str]:
    return {_text(k): _text(v) for k, v in value.items()}


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise TypeError(f"{type(value).__name__} is not a list of strings")
    return tuple(value)


def questions_for(
    card: Card,
    attributes: list[Attribute],
    prompts: Mapping[str, str] | None = None,
    *,
    joint: bool = True,
) -> list[Question]:
    """The questions that put ``attributes`` to a model, in its words or in ``prompts`` (by attribute name).

    With ``joint``, a model that was tuned for one shared prompt gets it, for every attribute whose wording was
    not changed, also when it is asked alone: so an answer never depends on what else is asked.
    """
    prompts = prompts or {}
    strange = sorted(set(prompts) - {a.name for a in attributes})
    if strange:
        asked = ", ".join(a.name for a in attributes)
        raise InputError(f"Got prompts for {', '.join(strange)}, expected only attributes that are asked: {asked}.")
    if card.network and prompts:
        raise InputError(f"Got prompts for '{card.name}', which is asked nothing in words; expected none.")
    return [_question(card, attribute, prompts.get(attribute.name), joint) for attribute in attributes]


def _question(card: Card, attribute: Attribute, prompt: str | None, joint: bool) -> Question:
    if not card.answers(attribute.name):
        raise InputError(
            f"Model '{card.name}' answers {', '.join(card.questions)}; got '{attribute.name}'. "
            "Choose one of these attributes, or another model."
        )
    if prompt is not None and is_blank(prompt):
        raise InputError(
            f"Got prompts={{'{attribute.name}': {prompt!r}}}, which asks nothing; expected a question such as "
            f"'{attribute.question}', or none for the model's own."
        )
    known = card.forms.get(attribute.name, {})
    if set(known) - set(attribute.labels):
        strange = ", ".join(sorted(set(known) - set(attribute.labels)))
        raise ModelError(f"Model '{card.name}' has answer strings for {strange}, no label of {attribute.name}.")
    forms = tuple(known.get(label) or _spellings(attribute, label) for label in attribute.labels)
    shared = card.joint if joint and prompt is None and card.joint else None
    text = prompt or card.questions.get(attribute.name)
    if is_blank(text or attribute.question):
        raise InputError(f"Attribute '{attribute.name}': got no question, expected the sentence to ask the model.")
    if not text:
        text = template(card, attribute).format(question=attribute.question, labels=", ".join(attribute.labels))
    if shared and attribute.name in shared.cues:
        return Question(attribute, text, forms, shared.context, shared.cues[attribute.name])
    return Question(attribute, text, forms)


def template(card: Card, attribute: Attribute) -> str:
    """What the model is asked, with ``{question}`` for the question and ``{labels}`` where it lists the labels.

    Raises :class:`~facevlm.errors.InputError` for a model that has to be tuned first.
    """
    if attribute.name in card.questions:
        return "{question}"
    if card.prompt:
        return card.prompt
    family = card.family()
    if not family.zero_shot:
        said = (
            f"Model '{card.name}' is a {family.title}, which answers only what it was tuned for; it cannot choose "
            f"from given labels."
        )
        raise InputError(
            f"{said} Tune it and name its questions in {CARD_FILE}, or give the prompt it was tuned on "
            f"as prompts={{'{attribute.name}': ...}}.",
            app=f"{said} Choose another model, or a checkpoint that was tuned, with a {CARD_FILE} beside it.",
        )
    return family.prompt


def _spellings(attribute: Attribute, label: str) -> tuple[str, ...]:
    spelled = attribute.spellings(label)
    return tuple(dict.fromkeys((*spelled, *(s.lower() for s in spelled))))

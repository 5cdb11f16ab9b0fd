"""Model cards as data: which checkpoint answers which attribute, in which words."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from facevlm.backends import schemes
from facevlm.backends.families import FamilyInfo, family_of
from facevlm.backends.remote import services
from facevlm.errors import InputError, ModelError, UnknownName
from facevlm.faces.crops import Crop
from facevlm.folders import ASSETS
from facevlm.types import Attribute, Question

ANY = "*"
PACKAGE = "package:"
HUB = "hf:"
CARD_FILE = "facevlm.json"
CONFIG = "config.json"


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
    model was tuned, None where that is not known. ``scheme`` is that of a model which another package opens.
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
    licence: str = "see the checkpoint's page"
    gated: bool = False
    model_type: str = ""
    parameters: float = 0.0
    download: float = 0.0
    source: str = ""
    hosted: bool = False
    margin: float | None = None
    scheme: str = ""

    def checkpoint(self, attribute: str) -> str:
        """Hub id or folder of the checkpoint that answers an attribute."""
        return self.checkpoints.get(attribute) or self.checkpoints[ANY]

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
        return self.hosted or bool(self.scheme) or all(is_here(checkpoint) for checkpoint in self.checkpoints.values())

    def memory(self, bytes_per_parameter: int = 2) -> float:
        """GB that the weights of all checkpoints take together; 0 where the number of parameters is not known."""
        return self.parameters * bytes_per_parameter * len(set(self.checkpoints.values())) / 1e9


def location(checkpoint: str) -> str:
    """A checkpoint of this package as its folder; any other as it is."""
    return str(ASSETS / checkpoint.removeprefix(PACKAGE)) if checkpoint.startswith(PACKAGE) else checkpoint


def model_type(checkpoint: str) -> str:
    """The ``model_type`` of a checkpoint's config.json; empty where that is not on this machine or damaged."""
    config = _config_here(checkpoint)
    try:
        return str(json.loads(config.read_text(encoding="utf-8")).get("model_type", "")) if config else ""
    except (OSError, ValueError, AttributeError):
        return ""


def _config_here(checkpoint: str) -> Path | None:
    path = location(checkpoint)
    if Path(path).is_dir():
        return Path(path) / CONFIG
    try:
        cached = try_to_load_from_cache(path, CONFIG)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


def is_here(checkpoint: str) -> bool:
    """Whether the checkpoint is a folder on this machine or lies in the hub's cache."""
    return _config_here(checkpoint) is not None


@functools.cache
def shipped() -> dict[str, Card]:
    """The cards of ``assets/models.yaml``, completed by the ``facevlm.json`` in the folders that have one."""
    raw = yaml.safe_load((ASSETS / "models.yaml").read_text(encoding="utf-8"))
    return {name: _completed(_card(name, data)) for name, data in raw.items()}


def find(name: str) -> Card:
    """The card of a shipped name, of ``hf:ID-or-folder``, of ``openai:MODEL``, or of an installed package's scheme.

    Raises :class:`~facevlm.errors.UnknownName` that lists what there is.
    """
    if name.startswith(HUB):
        checkpoint = name.removeprefix(HUB).strip()
        if not checkpoint:
            raise InputError(f"Got the model '{name}', expected hf:ORGANISATION/NAME or hf:/path/to/folder.")
        return _completed(Card(name=name, checkpoints={ANY: checkpoint}, title=checkpoint))
    if name in shipped():
        return shipped()[name]
    if services.is_remote(name):
        return _hosted(name)
    if scheme := schemes.scheme_of(name):
        return _opened_by(scheme, name)
    others = [f"{scheme}:MODEL" for scheme in schemes.added()]
    raise UnknownName("model", name, [*shipped(), *services.presets(), "hf:ID-or-folder", "openai:MODEL", *others])


def named(text: str) -> str:
    """The model that a form's free text names: one of an installed package's scheme as it is, else ``hf:...``."""
    return text if schemes.scheme_of(text) else f"{HUB}{text}"


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
    path = Path(location(card.checkpoints.get(ANY, ""))) / CARD_FILE
    if ANY not in card.checkpoints or not path.is_file():
        return card
    return _told(card, path.read_bytes(), path)


def _told(card: Card, raw: bytes, path: Path) -> Card:
    """The card with the questions, forms and joint prompt of a card file's content."""
    try:
        data = json.loads(raw.decode("utf-8"))
        forms = {a: {k: _strings(v) for k, v in labels.items()} for a, labels in data.get("forms", {}).items()}
        shared = data.get("joint")
        joint = Joint(_text(shared["context"]), _texts(shared["cues"])) if shared else None
        return replace(card, questions=_texts(data.get("questions", {})), forms=forms, joint=joint)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
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
    if card.joint:
        data["joint"] = {"context": card.joint.context, "cues": dict(card.joint.cues)}
    raw = (json.dumps(data, indent=1) + "\n").encode()
    if _told(card, raw, path) != card:
        raise ModelError(f"{path}: got a card that is read back as another one, expected texts and tuples of strings.")
    path.write_bytes(raw)
    return path


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _texts(value: Any) -> dict[str, str]:
    return {_text(k): _text(v) for k, v in value.items()}


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise TypeError(f"{value!r} is not a list of strings")
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
    return [_question(card, attribute, prompts.get(attribute.name), joint) for attribute in attributes]


def _question(card: Card, attribute: Attribute, prompt: str | None, joint: bool) -> Question:
    if not card.answers(attribute.name):
        raise InputError(
            f"Model '{card.name}' answers {', '.join(card.questions)}; got '{attribute.name}'. "
            "Choose one of these attributes, or another model."
        )
    known = card.forms.get(attribute.name, {})
    if set(known) - set(attribute.labels):
        strange = ", ".join(sorted(set(known) - set(attribute.labels)))
        raise ModelError(f"Model '{card.name}' has answer strings for {strange}, no label of {attribute.name}.")
    forms = tuple(known.get(label) or _spellings(attribute, label) for label in attribute.labels)
    shared = card.joint if joint and prompt is None and card.joint else None
    text = prompt or card.questions.get(attribute.name)
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
        raise InputError(
            f"Model '{card.name}' is a {family.title}, which answers only what it was tuned for; it cannot choose "
            f"from given labels. Tune it and name its questions in {CARD_FILE}, or give the prompt it was tuned on "
            f"as prompts={{'{attribute.name}': ...}}."
        )
    return family.prompt


def _spellings(attribute: Attribute, label: str) -> tuple[str, ...]:
    spelled = attribute.spellings(label)
    return tuple(dict.fromkeys((*spelled, *(s.lower() for s in spelled))))

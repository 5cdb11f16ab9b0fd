"""Vision-language models that answer with places: faces, or whatever a phrase names, found by asking for them.

PaliGemma is asked ``detect PHRASE`` and answers ``<locYYYY><locXXXX><locYYYY><locXXXX> PHRASE ; ...`` with y_min,
x_min, y_max, x_max in 1024ths of the picture (Beyer et al., arXiv 2407.07726). Florence-2 is asked in the words of
its task ``<OPEN_VOCABULARY_DETECTION>`` and answers ``PHRASE<loc_X><loc_Y><loc_X><loc_Y>...`` with the bins 0 to 999
of x_min, y_min, x_max, y_max, whose middles count (Xiao et al., arXiv 2311.06242; ``Florence2PostProcessor`` of
transformers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL.Image import Image

from facevlm.backends import Options, Speller, open_backend
from facevlm.backends.cards import ANY, Card, find, model_type
from facevlm.detection import DetectorInfo, FoundFace, Looked, Search
from facevlm.detection import found as went_well
from facevlm.errors import InputError, ModelError
from facevlm.faces.images import BOX
from facevlm.types import Reply, digest

MAX_NEW_TOKENS = 512
"""Tokens of an answer at most: some 70 faces."""
SHOWN = 80
"""Characters of an answer that a reason quotes."""
APART = re.compile(r"[;<>\n\r]")
"""What parts one place from the next, so that no phrase may hold it."""
PALIGEMMA = re.compile(r"<loc(\d{4})>\s*<loc(\d{4})>\s*<loc(\d{4})>\s*<loc(\d{4})>\s*([^<>]+)")
PLACE = r"<loc_(\d{1,3})>\s*"
FLORENCE = re.compile(rf"([^<>]+?)\s*((?:{PLACE * 4})+)(?!<loc_)")
NOTE = "{name}: a vision-language model that was asked for '{phrase}'; it gives neither confidence nor landmarks."

Part = tuple[str, BOX]
"""What a place was called, and the box."""


@dataclass(frozen=True)
class PlaceFormat:
    """How models of a family are asked for what a ``{phrase}`` names, and how their answers are read.

    ``face`` is the phrase for faces. ``read`` yields the places of an answer; what it cannot read comes as a text.
    """

    prompt: str
    face: str
    read: Callable[[str], Iterator[Part | str]]


def _between(low: tuple[float, float], high: tuple[float, float]) -> BOX | None:
    """The box between two corners (x, y); None where it has no area or leaves the picture."""
    if not all(0 <= a < b < 1 for a, b in zip(low, high, strict=True)):
        return None
    return (*low, high[0] - low[0], high[1] - low[1])


def read_paligemma(text: str) -> Iterator[Part | str]:
    """The places of an answer of PaliGemma; what cannot be read comes as a text."""
    for part in (part.strip() for part in text.split(";")) if text.strip() else ():
        match = PALIGEMMA.fullmatch(part)
        top, left, bottom, right = (int(v) / 1024 for v in match.groups()[:4]) if match else (0.0,) * 4
        box = _between((left, top), (right, bottom))
        yield part if match is None or box is None else (match[5].strip(), box)


def read_florence2(text: str) -> Iterator[Part | str]:
    """The places of an answer of Florence-2; what cannot be read comes as a text."""
    # The token that opens every answer is no part of it.
    text, at = text.removeprefix("<s>").strip(), 0
    for match in FLORENCE.finditer(text):
        if skipped := text[at : match.start()].strip():
            yield skipped
        at = match.end()
        bins = [(int(v) + 0.5) / 1000 for v in re.findall(PLACE, match[2])]
        for left, top, right, bottom in zip(*(bins[k::4] for k in range(4)), strict=True):
            box = _between((left, top), (right, bottom))
            yield match[0] if box is None else (match[1].strip(), box)
    if rest := text[at:].strip():
        yield rest


DIALECTS = {
    "paligemma": PlaceFormat("detect {phrase}", "face", read_paligemma),
    "florence2": PlaceFormat("Locate {phrase} in the image.", "human face", read_florence2),
}


def read(reply: Reply, dialect: PlaceFormat, phrase: str) -> Looked:
    """What an answer says of the places that a phrase names. What is not one of them is told, never guessed."""
    if reply.error is not None or reply.text is None:
        return Looked((), "failed", reply.error or "the model gave no answer")
    boxes: dict[BOX, None] = {}
    strange: list[str] = []
    for part in dialect.read(reply.text):
        if isinstance(part, str):
            strange.append(f"cannot be read: '{_short(part)}'")
        elif _words(part[0]) != _words(phrase):
            strange.append(f"names something else: '{_short(part[0])}'")
        else:
            boxes[part[1]] = None
    if reply.malformed:
        strange.append("the answer was cut off at its greatest length")
    reason = f"{len(strange)} of the answer's parts left out; the first {strange[0]}" if strange else None
    if reason and not boxes:
        return Looked((), "unparsed", reason, reply.text)
    seen = went_well([FoundFace(box) for box in boxes])
    return Looked(seen.faces, seen.outcome, reason or seen.reason, reply.text)


def _words(text: str) -> list[str]:
    """The words that count when a model repeats a phrase: it may drop articles."""
    return [word for word in text.casefold().rstrip(".").split() if word not in ("a", "an", "the")]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


class Grounder:
    """Finds faces, or what a phrase names, by asking a vision-language model that answers with places.

    ``model`` is a name as for :func:`facevlm.apply`, of a PaliGemma or a Florence-2; ``backend`` answers in its place
    where it is given. Raises :class:`~facevlm.errors.FacevlmError` for a model that cannot answer with places.
    """

    def __init__(
        self,
        model: str,
        search: Search | None = None,
        options: Options | None = None,
        *,
        phrase: str | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        notes: tuple[str, ...] = (),
        backend: Speller | None = None,
    ) -> None:
        self._search, self._most = search or Search(), max_new_tokens
        _check_search(model, self._search)
        card = find(model)
        self._backend = backend or _opened(card, options)
        self._dialect = _dialect(card)
        self._phrase = checked(self._dialect.face if phrase is None else phrase)
        self.info = self._info(card, notes)

    def _info(self, card: Card, notes: tuple[str, ...]) -> DetectorInfo:
        known, search = self._backend.info, self._search
        loaded = [known.identity, known.dtype, known.picture]
        settings = [str(loaded), self._dialect.prompt, self._phrase, self._most, search.min_face_px, search.max_faces]
        all_notes = (*notes, *known.notes, NOTE.format(name=card.name, phrase=self._phrase))
        return DetectorInfo(card.name, digest(settings), card.licence, all_notes, known.versions)

    def detect(self, images: Sequence[Image]) -> list[list[FoundFace]]:
        """The faces of every picture. One whose answer cannot be used has none here; :meth:`look` says why."""
        return [list(seen.faces) for seen in self.look(images)]

    def look(self, images: Sequence[Image]) -> list[Looked]:
        """What came of every picture: its faces, or why there are none."""
        return self.look_for(images, self._phrase)

    def ground(self, images: Sequence[Image], phrase: str) -> list[list[FoundFace]]:
        """The boxes of what a phrase names in every picture, such as ``the person wearing a head scarf``.

        They are around what is named, a whole person if that is asked for. :meth:`look_for` also says the reasons.
        """
        return [list(seen.faces) for seen in self.look_for(images, phrase)]

    def look_for(self, images: Sequence[Image], phrase: str) -> list[Looked]:
        """What came of every picture when it was asked for what a phrase names."""
        if not images:
            return []
        phrase = checked(phrase)
        replies = self._backend.spell(images, self._dialect.prompt.format(phrase=phrase), self._most)
        seen = [read(reply, self._dialect, phrase) for reply in replies]
        return [self._limited(one, image.size) for one, image in zip(seen, images, strict=True)]

    def _limited(self, seen: Looked, size: tuple[int, int]) -> Looked:
        if not seen.faces:
            return seen
        least = self._search.min_face_px or 0
        kept = [f for f in seen.faces if min(f.box_xywh_rel[2] * size[0], f.box_xywh_rel[3] * size[1]) >= least]
        limited = went_well(kept[: self._search.max_faces])
        return Looked(limited.faces, limited.outcome, seen.reason or limited.reason, seen.text)


def checked(phrase: str) -> str:
    """A phrase without blanks around it. Raises :class:`~facevlm.errors.InputError` for one that cannot be asked."""
    if not phrase.strip() or APART.search(phrase.strip()):
        raise InputError(f"Got the phrase '{phrase}', expected a few words without ';', '<', '>' and line ends.")
    return phrase.strip()


def check(model: str, search: Search) -> None:
    """Raise as :class:`Grounder` would, as far as that is known before anything is fetched or loaded."""
    _check_search(model, search)
    card = find(model)
    card.check_here()
    _check_dialect(card)


def _check_search(model: str, search: Search) -> None:
    if search.tiles == "on":
        raise InputError(f"Got tiles='on', expected 'auto' or 'off': '{model}' looks at a picture as a whole.")
    if search.min_confidence is not None:
        raise InputError(f"Got min_confidence={search.min_confidence}, but '{model}' gives no confidences.")


def _check_dialect(card: Card) -> None:
    # Where its type is known only when it was fetched, it is looked at then.
    if card.hosted or card.is_here() or card.model_type:
        _dialect(card)


def _dialect(card: Card) -> PlaceFormat:
    kind = card.model_type or model_type(card.checkpoints.get(ANY, ""))
    if card.hosted or ANY not in card.checkpoints or kind not in DIALECTS:
        raise ModelError(
            f"Model '{card.name}' does not answer with places in the picture: got the type '{kind or 'unknown'}', "
            f"expected one checkpoint of {' or '.join(DIALECTS)}. Choose paligemma, paligemma2 or florence-2."
        )
    return DIALECTS[kind]


def _opened(card: Card, options: Options | None) -> Speller:
    _check_dialect(card)
    backend = open_backend(card.name, options)
    if not isinstance(backend, Speller):
        raise ModelError(f"Model '{card.name}' cannot tell the places in its answers. Choose paligemma or florence-2.")
    return backend


def open_paligemma(search: Search, notes: tuple[str, ...] = ()) -> Grounder:
    """PaliGemma mix, or the model that ``search.weights`` names."""
    return Grounder(search.weights or "paligemma", search, notes=notes)


def open_florence2(search: Search, notes: tuple[str, ...] = ()) -> Grounder:
    """Florence-2, or the model that ``search.weights`` names."""
    return Grounder(search.weights or "florence-2", search, notes=notes)

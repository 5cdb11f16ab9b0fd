"""Requests in words: which attributes are named, and of whom. A small exact grammar; what it cannot read is refused.

``age group and emotion of the child`` names two attributes and a condition that labels decide; ``everyone wearing
glasses`` is left to a model that looks at the whole picture, as ``who``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace

from facevlm.attributes import canonical
from facevlm.errors import InputError, is_blank
from facevlm.language.phrases import Condition, Item, Place, Plan, Vocabulary, plain, words

MAX_CHARS = 300
OLDER = {"over", "above", "older", "more"}
SPAN = re.compile(r"(?:aged )?(?:between |from )?(\d{1,3})(?:-| and | to )(\d{1,3})(?: years?(?: old| of age)?)?\b")
BOUND = re.compile(
    r"(?:aged )?(over|above|older|more|under|below|younger|less)(?: than)? (\d{1,3})(?: years?)?(?: old)?\b"
)
LEAST = re.compile(r"(?:aged )?(\d{1,3}) (?:\+|or older|and older|or over|and over)")
REFUSED = (
    "Who somebody is is never answered; what can be asked is what a model perceives in a face, such as {known}, "
    "for example '{example}'."
)


class IdentityRefused(InputError):
    """Somebody asks who a person is. No planner is asked then."""


def read(request: str, vocabulary: Vocabulary) -> Plan:
    """The plan that a request in English words means.

    Raises :class:`~facevlm.errors.InputError` that says what was understood, what not, and what can be asked.
    """
    if not isinstance(request, str) or is_blank(request):
        raise InputError(f"Got {request!r}, expected a request in words. {_examples()}")
    if len(request) > MAX_CHARS:
        raise InputError(f"Got a request of {len(request):,} characters, expected at most {MAX_CHARS}. {_examples()}")
    return _Reader(" ".join(request.split()), vocabulary).plan()


def _examples() -> str:
    return "Examples: " + "; ".join(f"'{text}'" for text in words()["examples"]) + "."


class _Reader:
    """Reads one request."""

    def __init__(self, request: str, vocabulary: Vocabulary) -> None:
        self.request, self.vocabulary = request, vocabulary
        self.tokens = plain(request)
        self.capital = {t for w in request.split()[1:] if w[:1].isupper() for t in plain(w)}
        self.attributes: list[str] = []
        self.groups: dict[str, tuple[str, ...]] = {}
        self.looks: list[str] = []
        self.adjectives: list[str] = []
        self.place: Place | None = None
        self.notes: list[str] = []
        self.ordinal: Item | None = None
        self.side: Item | None = None

    def plan(self) -> Plan:
        self._refuse_identity()
        items = self._ordered(self._scan())
        self._check_slot(items)
        self._walk(items)
        self._settle_place()
        who = " ".join([*self.adjectives, "person", *self.looks]) if self.adjectives or self.looks else None
        conditions = tuple(Condition(name, labels) for name, labels in self.groups.items())
        if not (self.attributes or conditions or who or self.place):
            raise self._unclear("it names neither an attribute nor which faces")
        return Plan(self.request, tuple(dict.fromkeys(self.attributes)), conditions, who, self.place, tuple(self.notes))

    def _refuse_identity(self) -> None:
        t = self.tokens
        pointing = any(
            a == "who" and b in words()["copulas"] and (c in words()["pointing"] or c in self.capital)
            for a, b, c in zip(t, t[1:], t[2:], strict=False)
        )
        alone = t in (["who"], ["who", "is"], ["who", "are"])
        if pointing or alone or set(t) & set(words()["identity"]):
            raise self._refused()

    def _refused(self) -> IdentityRefused:
        return IdentityRefused(REFUSED.format(known=self._offered(), example=words()["examples"][0]))

    def _offered(self) -> str:
        """The first attributes that can be asked."""
        names = self.vocabulary.offered
        return ", ".join(names[:6]) + (" and more" if len(names) > 6 else "")

    def _scan(self) -> list[Item]:
        items: list[Item] = []
        at = 0
        while at < len(self.tokens):
            item, taken = self._item(at, items)
            items.append(replace(item, start=at, text=" ".join(self.tokens[at : at + taken])))
            at += taken
        return items

    def _item(self, at: int, before: Sequence[Item]) -> tuple[Item, int]:
        """The longest known words at a place, and how many tokens they take."""
        if (named := self._label_of(at, before)) or (named := self._ages(at)):
            return named
        table = self.vocabulary.table
        # The longest first: what is called by two words is not taken for its first one.
        for length in range(min(self.vocabulary.longest, len(self.tokens) - at), 0, -1):
            if item := table.get(tuple(self.tokens[at : at + length])):
                return item, length
        token = self.tokens[at]
        if token in ("and", "or", ",", "&"):
            return Item("join", token, token), 1
        if token in ("of", "for", "from", ":"):
            return Item("link", token, token), 1
        if token in words()["openers"]:
            return Item("open", token), 1
        return Item("fill" if token in words()["filler"] else "unknown", token), 1

    def _label_of(self, at: int, before: Sequence[Item]) -> tuple[Item, int] | None:
        """A label right after its attribute: 'hair color black', 'emotion is happy'."""
        rest = [item for item in before if item.text not in words()["copulas"]]
        if not rest or rest[-1].kind != "attr":
            return None
        for length in range(min(5, len(self.tokens) - at), 0, -1):
            text = " ".join(self.tokens[at : at + length])
            for attribute in self.vocabulary.kind(*rest[-1].value):
                if label := canonical(attribute, text):
                    return Item("label", text, Condition(attribute.name, (label,))), length
        return None

    def _ages(self, at: int) -> tuple[Item, int] | None:
        """'aged 20-39', 'between 20 and 39', 'over 60', 'younger than 10'."""
        text = " ".join(self.tokens[at : at + 6])
        span, bound, least = (pattern.match(text) for pattern in (SPAN, BOUND, LEAST))
        match = span or bound or least
        if not match:
            return None
        if span:
            low, high = float(span[1]), float(span[2]) + 1
        elif least:
            low, high = float(least[1]), float("inf")
        elif bound and bound[1] in OLDER:
            low, high = float(bound[2]), float("inf")
        else:
            low, high = 0.0, float(match[2])
        condition = self.vocabulary.years(low, high, match[0])
        return Item("label", match[0], condition), len(match[0].split())

    def _ordered(self, items: list[Item]) -> list[Item]:
        """With a colon, the attributes first: 'children: age' as 'age: children'."""
        colons = [k for k, item in enumerate(items) if item.value == ":"]
        if len(colons) != 1:
            return items
        left, right = items[: colons[0]], items[colons[0] + 1 :]
        kinds = {item.kind for item in right}
        return [*right, items[colons[0]], *left] if "attr" in kinds and kinds <= {"attr", "join", "fill"} else items

    def _check_slot(self, items: Sequence[Item]) -> None:
        """Before 'of' everything must be an attribute."""
        links = [k for k, item in enumerate(items) if item.kind == "link"]
        people = [k for k, item in enumerate(items) if item.kind in ("group", "label", "open", "place")]
        end = min(links, default=0)
        if not links or (people and people[0] < end):
            return
        unknown = [item.text for item in items[:end] if item.kind == "unknown"]
        if unknown:
            known = ", ".join(self.vocabulary.offered)
            raise InputError(
                f"'{' '.join(unknown)}' is none of the attributes that can be asked: {known}."
                f"{self._close(unknown)} {_examples()}"
            )

    def _walk(self, items: Sequence[Item]) -> None:
        at, seen, asking = 0, False, items[0].text in ("is", "are", "does", "do") if items else False
        while at < len(items):
            item = items[at]
            following = items[at + 1] if at + 1 < len(items) else None
            if item.text == "not" and following and following.kind == "label" and following.value:
                self._exclude(following)
                at, seen = at + 2, True
                continue
            if item.kind == "open":
                at = self._segment(items, at)
                seen = True
                continue
            if item.kind == "unknown":
                at = self._adjective(items, at)
                continue
            if item.kind == "attr":
                self._attribute(items, at, seen)
            elif item.kind == "label" and asking and seen and item.value and self._is_asked(item.value.attribute):
                self.attributes.append(self._asked_of(item.value.attribute))
            elif item.kind in ("group", "label"):
                self._who(items, at)
                seen = True
            else:
                self._position(item)
            at += 1

    def _is_asked(self, name: str) -> bool:
        """Whether a label ends a question of yes or no, such as 'are the men happy or sad'."""
        return not self.attributes or self._asked_of(name) in self.attributes

    def _asked_of(self, name: str) -> str:
        family = self.vocabulary.registry.get(name).family
        return name if name in self.vocabulary.offered else self.vocabulary.attribute(family, None, name)

    def _attribute(self, items: Sequence[Item], at: int, seen: bool) -> None:
        item = items[at]
        family, name = item.value
        after = [i for i in items[at + 1 : at + 3] if i.text not in words()["copulas"]]
        # 'emotion is happy' and 'a happy expression' are conditions.
        for other in [*after[:1], *items[max(0, at - 1) : at]]:
            if other.kind == "label" and other.value:
                attribute = other.value.attribute
                if name == attribute or family in (attribute, self.vocabulary.registry.get(attribute).family):
                    return
        if seen and self.attributes and items[at - 1].kind == "join" and not self._trailing(items, at):
            raise self._unclear("it asks two things of two groups; put one request after the other")
        following = [i for i in items[at + 1 :] if i.text not in ("the", "a", "an", "all")]
        if len(following) > 1 and following[0].kind == "join" and following[1].kind in ("group", "label"):
            raise self._unclear("it is not said of whom; write 'of' before the people")
        self.attributes.append(self.vocabulary.attribute(family, name, item.text))

    @staticmethod
    def _trailing(items: Sequence[Item], at: int) -> bool:
        """Whether only attributes follow the people: 'the children age and emotion'."""
        first = next(k for k, item in enumerate(items) if item.kind in ("attr", "group", "label", "open"))
        return items[first].kind != "attr" and {i.kind for i in items[at:]} <= {"attr", "join", "fill"}

    def _who(self, items: Sequence[Item], at: int) -> None:
        item = items[at]
        if item.value is None:
            # A word that no label set can decide is left to a model that looks.
            self.adjectives.append(item.text)
            self.notes.append(f"'{item.text}' is decided by no label set of this model.")
            return
        conditions = (item.value,) if isinstance(item.value, Condition) else item.value
        joined = self._joined(items, at)
        if joined is not None:
            self._join(joined, item, conditions)
            return
        for condition in conditions:
            self._narrow(condition, item)
        if item.kind == "group" and conditions:
            reading = " and ".join(f"{c.attribute} {' or '.join(c.labels)}" for c in conditions)
            self.notes.append(f"'{item.text}' is read as {reading}.")

    @staticmethod
    def _joined(items: Sequence[Item], at: int) -> Item | None:
        """The people or label that this is joined to by 'and' or 'or'."""
        back = [i for i in items[:at] if i.kind != "fill"]
        if len(back) < 2 or back[-1].kind != "join" or back[-2].kind != items[at].kind:
            return None
        first, second = back[-2].value, items[at].value
        if items[at].kind == "label" and back[-1].text == "and" and first and second:
            # Labels of two attributes can both hold of one person: 'happy and old'.
            return back[-2] if first.attribute == second.attribute else None
        return back[-2]

    def _join(self, other: Item, item: Item, conditions: Sequence[Condition]) -> None:
        """'men or women', 'happy or surprised': labels of one attribute are put together."""
        values = other.value if isinstance(other.value, tuple) else (other.value,)
        names = {c.attribute for c in (*(v for v in values if v), *conditions)}
        if len(names) != 1 or len(values) != 1 or len(conditions) != 1:
            raise self._unclear(f"'{other.text}' and '{item.text}' are two groups; ask about one after the other")
        [name] = names
        labels = {*self.groups.get(name, ()), *conditions[0].labels}
        self.groups[name] = tuple(v for v in self.vocabulary.registry.get(name).labels if v in labels)
        if item.kind == "group":
            self.notes.append(f"'{item.text}' is read as {name} {' or '.join(conditions[0].labels)}.")

    def _narrow(self, condition: Condition, item: Item) -> None:
        before = self.groups.get(condition.attribute, condition.labels)
        both = tuple(label for label in before if label in condition.labels)
        if not both:
            raise self._unclear(f"nobody is '{item.text}' and {' or '.join(before)} at once")
        self.groups[condition.attribute] = both

    def _position(self, item: Item) -> None:
        if item.kind == "place":
            if self.place is not None and self.place != item.value:
                raise self._unclear(f"'{item.text}' is a second position")
            self.place = item.value
        elif item.kind == "ordinal":
            self.ordinal = item
        elif item.kind == "side":
            self.side = item

    def _settle_place(self) -> None:
        number = self.ordinal.value if self.ordinal else 1
        if self.side is not None and self.place is None:
            self.place = Place("x", self.side.value * number)
        elif self.ordinal and self.place and self.place.which:
            self.place = replace(self.place, which=self.place.which * number)
        elif self.ordinal:
            raise self._unclear(f"'{self.ordinal.text}' from where? Write '{self.ordinal.text} from the left'")

    def _segment(self, items: Sequence[Item], at: int) -> int:
        """A clause that an opener begins: a condition if labels decide all of it, else words for a model that looks."""
        opener, end = items[at], self._end(items, at)
        body = items[at + 1 : end]
        if opener.text == "not" or any(i.text == "not" for i in body[:2]):
            rest = [i for i in body if i.kind != "fill" and i.text != "not"]
            if len(rest) == 1 and rest[0].kind == "label" and rest[0].value:
                self._exclude(rest[0])
                return end
        if self._decided(opener, body):
            for k, item in enumerate(body):
                if item.kind == "label":
                    self._who(body, k)
                elif item.kind in ("place", "ordinal", "side"):
                    self._position(item)
            return end
        if not [i for i in body if i.kind != "fill"]:
            raise self._unclear(f"nothing follows '{opener.text}'")
        if body[-1].kind == "place":
            self._position(body[-1])
            end_words = body[-1].start
        else:
            end_words = items[end].start if end < len(items) else len(self.tokens)
        self.looks.append(" ".join(self.tokens[opener.start : end_words]))
        return end

    def _end(self, items: Sequence[Item], at: int) -> int:
        """Where the clause ends: before the next one that labels decide, or with the request."""
        for k in range(at + 1, len(items)):
            if items[k].text in words()["relative"] and self._decided(items[k], items[k + 1 :]):
                return k
        return len(items)

    @staticmethod
    def _decided(opener: Item, body: Sequence[Item]) -> bool:
        """Whether labels decide all of a clause."""
        labels = [i for i in body if i.kind == "label"]
        if not labels or any(i.value is None for i in labels):
            return False
        if {i.kind for i in body} - {"label", "fill", "join", "attr", "place", "ordinal", "side"}:
            return False
        if opener.text in words()["relative"]:
            return True
        return opener.text in ("with", "having") and (
            any(i.kind == "attr" for i in body) or all("hair" in i.text.split() for i in labels)
        )

    def _exclude(self, item: Item) -> None:
        attribute = self.vocabulary.registry.get(item.value.attribute)
        labels = tuple(label for label in attribute.labels if label not in item.value.labels)
        self._narrow(Condition(attribute.name, labels), item)

    def _adjective(self, items: Sequence[Item], at: int) -> int:
        """Unknown words before a noun for people are left to a model that looks; anywhere else they are an error."""
        end = at
        while end < len(items) and items[end].kind == "unknown":
            end += 1
        texts = [i.text for i in items[at:end]]
        after = next((i for i in items[end:] if i.kind != "label"), None)
        strange = any(not re.fullmatch(r"[a-z]+", t) or t.endswith("est") or t in words()["never"] for t in texts)
        if set(texts) & self.capital and (self.attributes or self.groups):
            raise self._refused()
        if after is None or after.kind != "group" or strange or self._close(texts):
            raise self._unclear(f"'{' '.join(texts)}' is not known.{self._close(texts)}")
        self.adjectives.append(" ".join(texts))
        return end

    def _close(self, texts: Sequence[str]) -> str:
        close = [difflib.get_close_matches(t, self.vocabulary.single, 1, 0.8) for t in texts if len(t) > 3]
        suggestions = [match[0] for match in close if match]
        return f" Did you mean '{suggestions[0]}'?" if suggestions else ""

    def _unclear(self, why: str) -> InputError:
        got = [*self.attributes, *(f"{name} {' or '.join(labels)}" for name, labels in self.groups.items())]
        got += [f"the {self.place}"] if self.place else []
        why = why if why.endswith("?") else why.rstrip(".") + "."
        understood = f"Understood: {', '.join(got)}." if got else f"What can be asked: {self._offered()}."
        return InputError(f"Cannot read '{self.request}': {why} {understood} {_examples()}")

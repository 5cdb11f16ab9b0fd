"""A key found in texts of others, however it is spelled there: as it is, escaped, encoded, or several of these at once.

A text is unescaped until nothing is left to unescape, and what looks like base64, hexadecimal digits or a list of bytes
is decoded. Where the key shows up only then, the unescaped text, without the key, takes the place of the given one.
Letter case does not count, and what breaks a long key into pieces is passed over: the end of a line, a tag, marks.
"""

from __future__ import annotations

import base64
import functools
import html
import re
import urllib.parse
from typing import Any

BLACKED = "[key]"
SHORTEST = 6
"""Shorter keys are placeholders, and may be words of ordinary text."""
ROUNDS = 16
"""How often a text is unescaped or freed of a key; an escape of itself, however often, takes one round."""
DEPTH = 3
"""How often base64 of base64 is decoded."""
NESTED = 100
"""Levels of plain data that are kept; no answer has as many."""
TOO_DEEP = "[nested too deeply]"
LONGEST = 2**18
"""Letters of one string that are kept; no answer is as long."""
LONG = 16
"""Letters of a key that are no ordinary text, whatever stands between them."""
BETWEEN = 8
"""Things between two letters of a key."""
TAG, COLOUR = r"<[^<>]{0,200}>", r"\x1b\[[0-9;]*[A-Za-z]"
BACKSLASHED = re.compile(
    r"\\+(?:u\{?([0-9a-fA-F]{4})\}?|u\{([0-9a-fA-F]{1,6})\}|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([nrt]))?"
)
LAST = 0x10FFFF
BY_NUMBER = re.compile(r"%u(?=[0-9a-fA-F]{4})")
REPEATED = (re.compile(r"%(?:25)+"), "%"), (re.compile(r"&(?:amp;|#0*38;|#[xX]0*26;)+"), "&")
MARKS = re.compile(r"[\\%&]")
RUN = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
HEX = re.compile(r"[0-9a-fA-F]{12,}")
LISTED = r"(?<![A-Za-z0-9]){0}(?:[^A-Za-z0-9]{{1,4}}{0}){{5,}}(?![A-Za-z0-9])"
LISTS = (
    (re.compile(LISTED.format(r"(?:0[xX])?[0-9a-fA-F]{2}")), 16),
    (re.compile(LISTED.format(r"[0-9]{2,3}")), 10),
)
"""Bytes one by one, with marks between: ``73:6b``, ``0x73, 0x6b``, ``[115, 107]``; and the base of their numbers."""
PARTED = re.compile(r"[^A-Za-z0-9]+")
OCTAL = re.compile(r"\\+([0-3][0-7]{2})")
QUOTED = re.compile(r"=(?:([0-9a-fA-F]{2})|[ \t]*\r?\n)")
"""Quoted-printable: a byte, or the soft end of a line."""
URL_SAFE = str.maketrans("-_", "+/")


def tree(value: Any, key: str, nested: int = NESTED) -> Any:
    """Plain data without the key, in whichever of its strings and numbers it stands, names included."""
    if isinstance(value, str):
        return text(value[:LONGEST], key)
    if type(value) is int and key.isdecimal():
        # Compared by its size first: Python does not write numbers of any length.
        return BLACKED if len(key) >= SHORTEST and abs(value) == int(key) else value
    if not isinstance(value, (dict, list)):
        return value
    if not nested:
        return TOO_DEEP
    if isinstance(value, dict):
        return {text(str(name), key): tree(part, key, nested - 1) for name, part in value.items()}
    if _is_spelled(value, key):
        return [BLACKED]
    return [tree(part, key, nested - 1) for part in value]


def _is_spelled(parts: list[Any], key: str) -> bool:
    """Whether a list holds the key in pieces or byte by byte."""
    if len(parts) < 2 or not all(isinstance(p, str) or (type(p) is int and 0 <= p < 256) for p in parts):
        return False
    whole = "".join(p if isinstance(p, str) else chr(p) for p in parts)[:LONGEST]
    return key.lower() in whole.lower() if len(key) >= SHORTEST else False


def text(said: str, key: str, depth: int = DEPTH) -> str:
    """The text without the key."""
    if len(key) < SHORTEST or len(said) < len(key):
        return said
    kept = now = said
    for _ in range(ROUNDS):
        hidden = _without(now, key, depth)
        if hidden == now:
            hidden = _found_otherwise(now, key, depth)
        if hidden != now:
            kept = now = hidden
        elif (now := _unescaped(hidden)) == hidden:
            break
    return kept


def _found_otherwise(said: str, key: str, depth: int) -> str:
    """The text without the key, read in ways by which other texts are spoilt; as it is where none of them shows it."""
    ways = (
        # A line that was wrapped breaks keys and base64.
        "".join(said.split()),
        OCTAL.sub(lambda found: chr(int(found[1], 8)), said),
        QUOTED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "", said),
    )
    for way in dict.fromkeys(ways):
        if way != said and (hidden := _without(way, key, depth)) != way:
            return hidden
    return said


def _without(said: str, key: str, depth: int) -> str:
    """The text without the key as it is, or as nothing in it is left to unescape, and without base64 that holds it."""
    for form in _forms(key):
        said = form.sub(BLACKED, said)
    if not depth or len(said) * 3 < len(key) * 4:
        return said
    said = RUN.sub(lambda found: BLACKED if _holds(found.group(), key, depth) else found.group(), said)
    for listed, base in LISTS:
        shown = functools.partial(_shown, key=key, depth=depth, base=base)
        said = listed.sub(shown, said)
    return said


def _shown(found: re.Match[str], key: str, depth: int, base: int) -> str:
    """A list of bytes as it is, or blacked out where it spells the key."""
    numbers = (int(part, base) for part in PARTED.split(found.group()))
    spelled = "".join(chr(number) if number < 256 else " " for number in numbers)
    return found.group() if text(spelled, key, depth - 1) == spelled else BLACKED


@functools.lru_cache(maxsize=64)
def _forms(key: str) -> tuple[re.Pattern[str], ...]:
    """The key as it is, and as nothing in it is left to unescape, in any letter case."""
    return tuple(_broken(form) for form in dict.fromkeys((key, _plain(key))) if len(form) >= SHORTEST)


def _broken(form: str) -> re.Pattern[str]:
    """The form of a key; of a long one also with things between its letters that are none of its own."""
    if len(form) < LONG:
        return re.compile(re.escape(form), re.IGNORECASE)
    letters = "".join(re.findall("[A-Za-z0-9]", form))
    if len(letters) >= LONG and re.search("[0-9]", letters):
        # Its letters and digits alone tell it, whatever marks stand between, its own or others.
        own, letters_of = "<\x1b" if "<" not in form else "\x1b", letters
    else:
        # None of its own: else there would be many ways to read the same text, all to be tried.
        own, letters_of = "".join(sorted(set(form) | set("<\x1b"))), form
    between = "|".join([f"[^A-Za-z0-9{re.escape(own)}]", COLOUR, *([TAG] if "<" not in form else [])])
    most = BETWEEN if letters_of is form else 2 * BETWEEN
    pieces = f"(?:{between}){{0,{most}}}".join(map(re.escape, letters_of))
    return re.compile(f"{re.escape(form)}|{pieces}", re.IGNORECASE)


def _holds(run: str, key: str, depth: int) -> bool:
    """Whether the key stands in base64 or in hexadecimal digits, which may begin at any letter of a run of letters."""
    letters = run.rstrip("=").translate(URL_SAFE)
    if len(letters) * 3 < len(_plain(key)) * 4:
        return False
    digits = (found[k:] for found in HEX.findall(run) for k in (0, 1))
    bytewise = (bytes.fromhex(some[: len(some) // 2 * 2]).decode("latin-1") for some in digits)
    decoded = [*(_decoded(letters[k:]) for k in range(4)), *bytewise]
    return any(text(one, key, depth - 1) != one for one in decoded)


def _decoded(letters: str) -> str:
    whole = letters[: len(letters) - (len(letters) % 4 == 1)]
    return base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1")


def _plain(key: str) -> str:
    """The key as it looks where nothing in it is left to unescape."""
    while (further := _unescaped(key)) != key:
        key = further
    return key


def _unescaped(said: str) -> str:
    if not MARKS.search(said):
        return said
    said = BACKSLASHED.sub(_letter, BY_NUMBER.sub(r"\\u", said))
    for escape, single in REPEATED:
        said = escape.sub(single, said)
    return html.unescape(urllib.parse.unquote(said, errors="replace"))


def _letter(found: re.Match[str]) -> str:
    """What an escape with backslashes stands for: a letter by its number, a blank, or just the letter behind them."""
    *numbers, blank = found.groups()
    if blank:
        return " "
    number = int(next(filter(None, numbers), "0"), 16)
    return "" if not number or 0xD800 <= number < 0xE000 or number > LAST else chr(number)

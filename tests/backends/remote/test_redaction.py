"""A key is found in every spelling, and what holds none stays as it is."""

from __future__ import annotations

import json
import time

import pytest

from facevlm.backends.remote import redaction
from facevlm.backends.remote.exchange import Completion
from facevlm.backends.remote.keys import Secret
from tests.servers.spelling import mixtures, spelled

KEYS = ("sk-test-9f8e7d6c5b4a39281706", "sk-no/real+key'0000", 'a%2Fb&amp;c\\d"e<f>', "sk-proj-" + "Ab9_-" * 30)


@pytest.mark.parametrize("key", KEYS)
def test_every_spelling_on_every_other_is_blacked_out(key: str) -> None:
    kept = [names for names in mixtures(2) if _shows(f"no such key: {spelled(key, names)} sorry", key)]
    assert kept == []


def _shows(said: str, key: str) -> bool:
    hidden = redaction.text(said, key)
    return redaction.BLACKED not in hidden or key in hidden or not hidden.startswith("no")


BREAKS = ("\n", "\r\n> ", "<br>", "</b><b>", "&shy;", "\u200b", "\x00", "\x1b[31m", " ", "\\n", "%0D%0A", "**")


@pytest.mark.parametrize("key", [KEYS[0], KEYS[1], KEYS[3]])
def test_a_key_that_is_broken_into_pieces_is_blacked_out_however_it_is_spelled(key: str) -> None:
    said = [f"no such key: {key[:9]}{between}{key[9:]} sorry" for between in BREAKS]
    said += [f"no such key: {between.join(key)} sorry" for between in BREAKS[:3]]
    said += [f"no such key: {key.upper()} sorry", f"no such key: {key.lower()} sorry"]
    assert [one for one in said if redaction.BLACKED not in redaction.text(one, key)] == []


LONG = "sk-no/real+key'0000-AbCdEfGh"
BYTES = LONG.encode()
PIECES = {
    "hexadecimal with colons": ":".join(f"{b:02x}" for b in BYTES),
    "hexadecimal with 0x": ", ".join(f"0x{b:02X}" for b in BYTES),
    "decimal": str(list(BYTES)),
    "octal": "".join(f"\\{b:03o}" for b in BYTES),
    "octal in JSON": json.dumps("".join(f"\\{b:03o}" for b in BYTES)),
    "quoted-printable": LONG.replace("-", "=2D").replace("/", "=2F").replace("real", "re=\r\nal"),
    "marks of its own": "-".join(LONG),
    "joined in a program": f"'{LONG[:9]}' + '{LONG[9:]}'",
    "a comment": f"{LONG[:9]}<!-- {'x' * 40} -->{LONG[9:]}",
    "other marks": LONG.replace("-", "_").replace("/", " "),
}


@pytest.mark.parametrize("said", PIECES.values(), ids=list(PIECES))
def test_a_key_is_found_in_bytes_and_pieces(said: str) -> None:
    hidden = redaction.text(f"the key is {said} ok", LONG)
    assert redaction.BLACKED in hidden
    assert hidden.startswith("the key is ")
    assert hidden.endswith(" ok")


@pytest.mark.parametrize("parts", [list(BYTES), list(LONG), [LONG[:9], LONG[9:]]], ids=["bytes", "letters", "parts"])
def test_a_list_that_spells_the_key_is_blacked_out(parts: list[object]) -> None:
    assert redaction.tree({"hair": parts, "n": [1, 2, 3]}, LONG) == {"hair": ["[key]"], "n": [1, 2, 3]}


@pytest.mark.parametrize(
    "said", ["0a " * 80_000, "s<b>" * 60_000, "s<" * 120_000, "=3D" * 80_000, "115, " * 50_000, "s-k---" * 40_000]
)
def test_long_texts_of_others_take_seconds_and_not_minutes(said: str) -> None:
    begun = time.monotonic()
    for key in (LONG, "0a" * 20, "sk-" * 20 + "1"):
        redaction.text(said, key)
    assert time.monotonic() - begun < 60


def test_a_key_of_digits_is_found_as_a_number() -> None:
    secret = Secret("9081726354")
    assert secret.redact({"code": 9081726354, "n": 3, "far": 10**6000}) == {"code": "[key]", "n": 3, "far": 10**6000}


@pytest.mark.parametrize(
    "said",
    [
        '{"gender": "Male", "age5": "20-29"}',
        "C:\\users\\x%20y &amp; z \\u0041 100 % sure",
        "at 12:30:45:10:20:30:40, 2026-12-01, [0.1, 0.2, 115, 107, 45, 99, 100, 101, 102], 00:1A:2B:3C:4D:5E",
        "a = b =3D c =\nd, \\163 and C:\\123",
        "c2stdGVzdC1ub25lLW9mLXRoZXNl and other words",
        "\ud800 \x1b[0m",
        "",
    ],
)
def test_what_holds_no_key_stays_letter_by_letter(said: str) -> None:
    assert all(redaction.text(said, key) == said for key in KEYS)


def test_names_and_values_are_searched_however_deep() -> None:
    secret = Secret(KEYS[1])
    body = {"a": [{KEYS[1]: 1, "b": [None, 2.5, f"x {KEYS[1]}"]}]}
    assert secret.redact(body) == {"a": [{"[key]": 1, "b": [None, 2.5, "x [key]"]}]}
    deep: object = KEYS[1]
    for _ in range(5000):
        deep = [deep]
    assert KEYS[1] not in json.dumps(secret.redact(deep))
    assert secret.redact({"text": "y" * 10**6})["text"] == "y" * redaction.LONGEST


def test_a_key_that_comes_in_parts_is_found_where_they_are_joined() -> None:
    said = Secret(KEYS[0]).redact_completion(Completion("".join(["it is sk-test-9f8e7d", "6c5b4a39281706"])))
    assert said == Completion("it is [key]")

"""How servers spell a text that they repeat: as it is, escaped, encoded, and one of these on top of another."""

from __future__ import annotations

import base64
import html
import itertools
import json
import urllib.parse
from collections.abc import Callable, Iterator

Spelling = Callable[[str], str]
SPELLINGS: dict[str, Spelling] = {
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON by numbers": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "JSON of HTML": lambda text: json.dumps(html.escape(text))[1:-1].replace("&", "\\u0026"),
    "repr of bytes": lambda text: "".join(f"\\x{ord(letter):02x}" for letter in text),
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent throughout": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "HTML": html.escape,
    "HTML by numbers": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "HTML in hex": lambda text: "".join(f"&#x{ord(letter):X};" for letter in text),
    "letters by long numbers": lambda text: "".join(f"\\U{ord(letter):08x}" for letter in text),
    "percent and u": lambda text: "".join(f"%u{ord(letter):04X}" for letter in text),
    "hexadecimal": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "Basic": lambda text: base64.b64encode(b"user:" + text.encode()).decode(),
    "base64 of a URL": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 in lines": lambda text: base64.encodebytes(b"Authorization " * 4 + text.encode()).decode(),
}


def mixtures(most: int) -> Iterator[tuple[str, ...]]:
    """The names of all spellings, and of all that are put on one another, up to so many."""
    for count in range(1, most + 1):
        yield from itertools.product(SPELLINGS, repeat=count)


def spelled(text: str, names: tuple[str, ...]) -> str:
    for name in names:
        text = SPELLINGS[name](text)
    return text

"""What a checkpoint's card says of it, read as anybody may have written it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facevlm.backends import cards
from facevlm.backends.cards import ANY, Card
from facevlm.backends.stated import stated

USUAL = """---
license: apache-2.0
language:
- en
- no
datasets:
- org/faces
- other/faces
tags: [faces]
---
# A model
"""


def said(folder: Path, text: str | bytes) -> dict[str, str]:
    (folder / "README.md").write_bytes(text.encode() if isinstance(text, str) else text)
    [facts] = stated(cards.find(f"hf:{folder}"))
    assert facts["checkpoint"] == str(folder)
    return {name: text for name, text in facts.items() if name != "checkpoint"}


def test_the_metadata_of_a_folder_are_read(tmp_path: Path) -> None:
    assert said(tmp_path, USUAL) == {
        "data": "org/faces, other/faces",
        "licence": "apache-2.0",
        "languages": "en, no",
    }


def test_another_licence_goes_by_its_name(tmp_path: Path) -> None:
    assert said(tmp_path, "---\nlicense: other\nlicense_name: faces-only\n---\n") == {"licence": "faces-only"}
    assert said(tmp_path, "---\nlicense: other\n---\n") == {"licence": "other"}


def test_shipped_cards_speak_for_themselves() -> None:
    [facts] = stated(cards.find("demo"))
    assert facts["checkpoint"] == "package:demo_model"
    assert "UTKFace" in facts["data"]
    assert "FER2013" in facts["data"]
    assert "non-commercial" in facts["licence"]
    assert facts["languages"]


def test_a_model_behind_an_api_has_the_terms_of_its_provider() -> None:
    [facts] = stated(cards.find("openai:some-model"))
    assert facts == {"checkpoint": "openai:some-model", "licence": "the provider's terms"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# no metadata",
        "---\nlicense: apache-2.0\n",
        "---\n- a list\n---\n",
        "---\n{license: [\n---\n",
        "---\nlicense: {a: b}\nlanguage: [[en]]\ndatasets: \n---\n",
        f"---\nlicense: {'[' * 5000}\n---\n",
        f"---\nlong: {'x' * 70_000}\nlicense: mit\n---\n",
        b"---\nlicense: !!python/object/apply:os.system [ls]\n---\n",
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_fact_is_not_stated(tmp_path: Path, text: str | bytes) -> None:
    assert "apply" not in str(said(tmp_path, text))
    assert set(said(tmp_path, text)) <= {"licence"}


def test_facts_are_short_and_without_control_characters(tmp_path: Path) -> None:
    names = "".join(f"- org/faces-{k}\n" for k in range(500))
    facts = said(tmp_path, f'---\nlicense: "a\\e[31m{"b" * 9000}"\ndatasets:\n{names}---\n')
    assert len(facts["licence"]) <= 210
    assert "\x1b" not in facts["licence"]
    assert facts["data"].endswith("org/faces-19, 480 more")


def test_a_readme_that_is_a_pipe_or_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "README.md")
    other = tmp_path / "other"
    (other / "README.md").mkdir(parents=True)
    for folder in (tmp_path, other):
        assert stated(Card("m", {ANY: str(folder)})) == ({"checkpoint": str(folder)},)

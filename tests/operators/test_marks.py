"""What comes from elsewhere is text in the App: no word of a model, a dataset or a server is drawn as Markdown."""

from __future__ import annotations

import ast
import functools
import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, Executor
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL.Image import Image

import facevlm
from facevlm.backends import BackendInfo
from facevlm.types import Question, Reply
from tests.operators.test_operators import APPLY, form
from tests.operators.test_panel import send
from tests.operators.test_plugin import NAME, ROOT

DETECT, DESCRIBE = f"{NAME}/detect_faces", f"{NAME}/describe_people"
HOSTILE = [
    "![x](http://leak.example/a.png)",
    "![x][1]\n\n[1]: http://leak.example/a.png",
    "[x](javascript:alert(1))",
    "<img src=http://leak.example/a.png onerror=alert(1)>",
    "<http://leak.example>",
    "http://leak.example www.leak.example me@leak.example",
    "# Heading\n\nParagraph\n---\n===",
    "`code` ``` fence",
    "a | b\n--- | ---\n1 | 2",
    "> quote\n- item\n1. one\n* star\n+ plus",
    "    indented",
    "**bold** _it_ ~~gone~~ \\![x](http://leak.example)",
    "&lt;img&gt; &#33;",
    "\x1b]0;title\x07\x1b[31mred\u202e\x00",
]
TEXT = {"inline", "text", "paragraph_open", "paragraph_close", "softbreak", "text_special", "code_inline"}


@functools.cache
def marks() -> Any:
    """The module that FiftyOne loaded."""
    foo.get_operator(APPLY)
    return next(module for name, module in sys.modules.items() if name.endswith("operators._marks"))


def drawn(text: str) -> Iterator[str]:
    """What a reader of Markdown makes of a text beside plain words."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    for token in [*tokens, *(child for t in tokens for child in t.children or ())]:
        if token.type not in TEXT:
            yield token.type


def shown(text: str) -> str:
    """The words that a reader of Markdown shows."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return "".join(child.content for token in tokens for child in token.children or ())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts(text: str) -> None:
    told = marks()
    for way in (told.plain, told.code, lambda t: told.marked("said: {}", t), lambda t: told.joined("\n\n", [t, t])):
        assert list(drawn(way(text))) == []
    assert "\x1b" not in told.plain(text) + told.code(text)
    assert not re.search(r"https?://|www\.\w|@\w", told.plain(text))
    table = told.table(["a", text], [[text, told.code(text)], ["x", "y"]])
    parts = ("table", "thead", "tbody", "tr", "th", "td")
    assert set(drawn(table)) <= {f"{part}_{end}" for part in parts for end in ("open", "close")}
    assert table.count("\n") == 3


@given(st.text(max_size=60))
def test_every_text_is_shown_as_it_is(text: str) -> None:
    told = marks()
    line = " ".join(told.visible(text).split())
    assert list(drawn(told.plain(text))) == []
    assert shown(told.plain(text)).replace(told.JOINER, "") == line.replace(told.JOINER, "")
    assert list(drawn(told.code(text))) == []


class Model:
    """Says the same of every face."""

    info = BackendInfo("m", {"m": "1"}, "cpu", "float32", "score")

    def __init__(self, text: str) -> None:
        self._text = text

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        return [[Reply(text=self._text) for _ in questions] for _ in images]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_reply_is_text_in_the_panel(dataset_name: str, pictures: list[str], text: str) -> None:
    dataset = fo.Dataset(dataset_name)
    dataset.add_sample(fo.Sample(filepath=pictures[0]))
    facevlm.apply(dataset, Model(text), ["gender"], prefix="x", progress=False)
    panel = send(dataset, "on_load", current_sample=dataset.first().id).panel
    said = panel["said_x_gender"]["default"]
    assert "Said: " in said
    assert set(drawn(said)) <= {"strong_open", "strong_close"}


def test_a_run_tells_reasons_as_text(dataset_name: str, pictures: list[str]) -> None:
    dataset = fo.Dataset(dataset_name)
    dataset.add_sample(fo.Sample(filepath=pictures[0]))
    result = facevlm.apply(dataset, Model(HOSTILE[0]), ["gender"], prefix="x", progress=False)
    apply = next(module for name, module in sys.modules.items() if name.endswith("operators.apply"))
    text = apply.applied_summary(result)
    assert "leak.example" in text
    assert "image" not in set(drawn(text))


def test_labels_and_names_of_a_dataset_are_text_in_the_panel(dataset_name: str, pictures: list[str]) -> None:
    dataset = fo.Dataset(dataset_name)
    dataset.add_samples(
        [fo.Sample(filepath=p, site=HOSTILE[0], gender=fo.Classification(label="Male")) for p in pictures]
    )
    facevlm.apply(dataset, Model("Male"), ["gender"], prefix="x", progress=False)
    facevlm.evaluate(dataset, ["gender"], prefix="x", groups=["site"], draws=20)
    facevlm.apply(dataset, Model("Female"), ["gender"], prefix="y", progress=False)
    shown = [send(dataset, "on_load", {"tab": tab}).panel for tab in ("errors", "groups", "confidence", "compare")]
    clicked = send(dataset, "on_group", {"tab": "groups"}, params={"idx": 0}).panel
    assert "leak.example" in clicked["header"]["default"].replace("\u2060", "")
    for text in itertools.chain(*map(markdown_in, (*shown, clicked))):
        assert not {"image", "link_open", "html_inline", "heading_open"} & set(drawn(text)), text


def test_a_question_of_a_file_is_text_in_the_form(dataset_name: str, pictures: list[str], tmp_path: Any) -> None:
    dataset = fo.Dataset(dataset_name)
    dataset.add_sample(fo.Sample(filepath=pictures[0]))
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps({"describing": {"free": {"mood": HOSTILE[0]}}}))
    params = {"model": "api", "api_model": "m", "base_url": "http://localhost:1/v1", "template": str(path)}
    for text in markdown_in(form(DESCRIBE, dataset, **params, free_mood=True)):
        assert "image" not in set(drawn(text)), text


def markdown_in(tree: Any) -> Iterator[str]:
    """Texts that the App draws as Markdown: words, titles, descriptions."""
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        if isinstance(value, dict) and isinstance(value.get("view"), dict):
            view = value["view"]
            yield from (view[part] for part in ("label", "description") if isinstance(view.get(part), str))
            if view.get("name") == "MarkdownView" and isinstance(value.get("default"), str):
                yield value["default"]
        yield from markdown_in(value)


# Every surface


SAFE = {"plain", "code", "marked", "joined", "table", "Marked"}
PLAIN_VIEWS = {
    "btn",
    "Button",
    "add_choice",
    "Choices",
    "set_progress",
    "OperatorConfig",
    "operator_config",
    "button",
    "queue",
} | {"ProgressView"}
"""What shows its texts as they are."""


def test_no_surface_takes_a_text_that_was_not_made_safe() -> None:
    """Titles and descriptions are words of this plugin, or were made Markdown by the one module that does so."""
    for path in sorted((ROOT / "operators").rglob("*.py")):
        if path.stem == "_marks":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        safe = {name for node in ast.walk(tree) for name in _made_safe(node)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func).rpartition(".")[2]
            assert called != "md", f"{path}:{node.lineno} shows words past _marks.say"
            for keyword in node.keywords if called not in PLAIN_VIEWS else ():
                if keyword.arg in ("label", "description"):
                    value = keyword.value
                    known = isinstance(value, ast.Constant) or (isinstance(value, ast.Name) and value.id in safe)
                    ours = isinstance(value, ast.Name) and value.id.isupper()
                    made = isinstance(value, ast.Call) and ast.unparse(value.func) in SAFE
                    numbers = isinstance(value, ast.JoinedStr) and all(
                        isinstance(part, ast.Constant) or getattr(part, "format_spec", None) is not None
                        for part in value.values
                    )
                    assert known or ours or made or numbers, f"{path}:{keyword.value.lineno} {ast.unparse(value)}"


def _made_safe(node: ast.AST) -> Iterator[str]:
    """Names that are given to what :data:`SAFE` makes."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, ast.Call) and ast.unparse(value.func) in SAFE:
                    yield name.id


def test_an_error_with_control_bytes_is_made_visible(dataset_name: str, pictures: list[str]) -> None:
    dataset = fo.Dataset(dataset_name)
    dataset.add_sample(fo.Sample(filepath=pictures[0]))
    shape = form(DETECT, dataset, detector="yunet\u202e")
    assert "\u202e" not in json.dumps([p.get("error_message") for p in shape.values()], ensure_ascii=False)
    context = ExecutionContext({"dataset_name": dataset.name, "params": {}}, executor=Executor(), operator_uri=DETECT)
    assert foo.get_operator(DETECT).resolve_input(context) is not None

"""What a label is made of stands once: in the schema, in what is written, and in no other module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import facevlm
from facevlm.detection import FoundFace, Searched
from facevlm.faces.people import PEOPLE, Described, DescribedPerson
from facevlm.faces.quality import Quality
from facevlm.store import descriptions, detections, schema
from facevlm.store.asking import PictureSubjects
from facevlm.store.predictions import FIELDS
from facevlm.tasks import sources
from facevlm.types import Prediction, Question, Reply
from tests.scripted import ScriptedBackend, certain

ROOT = Path(__file__).parents[2]
OWN = schema.NATIVE | {"_id", "_cls", "attributes", "logits", "detections"}
"""Keys of documents that are FiftyOne's."""


def literals(tree: ast.Module) -> Iterator[str]:
    """Texts, parts of texts, and names of parts that are given to FiftyOne's labels."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("fo."):
            yield from (str(keyword.arg) for keyword in node.keywords)


def test_the_key_of_outcomes_stands_in_the_schema_alone() -> None:
    path = re.compile(rf"(?:.*\.)?{schema.OUTCOME}")
    modules = [*(ROOT / "facevlm").rglob("*.py"), *(ROOT / "operators").rglob("*.py")]
    assert len(modules) > 100
    named = [m for m in modules if any(path.fullmatch(text) for text in literals(ast.parse(m.read_text("utf-8"))))]
    assert [str(module.relative_to(ROOT)) for module in named] == ["facevlm/store/schema.py"]


@pytest.mark.parametrize("code", ['x = f"{name}.outcome"', 'd = {"outcome": 1}', "fo.Detection(outcome='ok')"])
def test_the_key_is_found_in_any_form(code: str) -> None:
    assert any(text.endswith(schema.OUTCOME) for text in literals(ast.parse(code)))


def test_schema_and_documents_load_no_fiftyone() -> None:
    code = "import sys, facevlm.store.schema, facevlm.store.documents; sys.exit('fiftyone' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def answer(image: object, question: Question) -> Reply:
    return certain(question.attribute.labels[0], question)


@pytest.fixture(scope="module")
def written() -> Iterator[fo.Dataset]:
    """The group pictures with all that is written to them: answers, descriptions, found faces, judged faces."""
    dataset = sources.sample_groups("test-schema")
    backend = ScriptedBackend(answer)
    facevlm.apply(dataset, backend, ["gender"], prefix="p", progress=False)
    facevlm.apply(dataset, backend, ["gender", "age5"], prefix="f", faces="faces", progress=False)
    facevlm.evaluate(dataset, ["gender"], prefix="f", faces="faces", draws=10)
    pictures = descriptions.read(dataset, "faces")
    stamps = {"gender": "run:1", PEOPLE: "run:1"}
    describe = descriptions.DescriptionWriter(dataset, {"gender": "d_gender"}, "d_people", stamps, ["hair"])
    describe(
        [
            Described(
                picture,
                tuple(
                    DescribedPerson(face, (Prediction(face, "gender", "ok", "Male"),), {"hair": "red"}, "ok")
                    for face in picture.faces or ()
                ),
                "ok",
            )
            for picture in pictures
        ]
    )
    found = FoundFace((0.1, 0.1, 0.2, 0.2), 0.9, ((0.1, 0.1),) * 5)
    detect = detections.DetectionWriter(dataset, "found", "run:2", quality=True)
    quality = Quality(*[0.5] * len(Quality.__dataclass_fields__))
    detect([Searched(face, (found,), "ok", None, (quality,)) for face in PictureSubjects(dataset).faces])
    yield dataset
    dataset.delete()


def stored(dataset: fo.Dataset, path: str) -> list[Mapping[str, Any]]:
    """The documents at a path as the database holds them."""
    name, _, inner = path.partition(".")
    labels = [sample[name] for sample in dataset._sample_collection.find()]
    return [document for label in labels for document in label[inner]] if inner else labels


QUALITY = dict.fromkeys(Quality.__dataclass_fields__, float)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("p_gender", schema.ANSWER),
        ("f_gender.detections", schema.FACE_ANSWER),
        ("f_faces.detections", schema.summary(["gender", "age5"])),
        ("d_gender.detections", schema.FACE_ANSWER),
        ("d_people.detections", {**schema.PERSON, "hair": str}),
        ("d_people", schema.DESCRIBED_PICTURE),
        ("found.detections", {**schema.FOUND_FACE, **QUALITY}),
        ("found", schema.SEARCHED_PICTURE),
        ("f_eval_gender_faces.detections", schema.JUDGED_FACE),
        ("f_eval_gender_told.detections", schema.TOLD_FACE),
    ],
)
def test_what_is_written_has_just_the_parts_of_the_schema(written: fo.Dataset, path: str, parts: schema.Parts) -> None:
    documents = stored(written, path)
    assert documents
    # What FiftyOne's own evaluation adds to boxes is named after the evaluation.
    own = [{part for part in document if part not in OWN and "_eval" not in part} for document in documents]
    assert own == [set(parts) - {schema.LOGITS}] * len(documents)
    if schema.LOGITS in parts:
        assert all(schema.LOGITS in document for document in documents)
    declared = {part: type(written.get_field(f"{path}.{part}")) for part in parts}
    assert declared == {part: FIELDS[kind] for part, kind in parts.items()}

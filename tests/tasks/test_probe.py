"""A probe tallies what is said, reads what is a label, proposes what looks like one, and stores nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import fiftyone as fo
import pytest
from PIL.Image import Image

import facevlm
from facevlm.attributes import get
from facevlm.cli import main
from facevlm.errors import InputError, TargetError
from facevlm.tasks.probe import propose
from facevlm.types import Question, Reply
from tests.scripted import ScriptedBackend, certain

SAID = ["Male", "a man", "Female.", "a lady", "man or woman", "", "a man", "Male", "Male", "Male"]


class Talker(ScriptedBackend):
    """Scores like a scripted backend and says a string for each grey level."""

    def say(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        return [[Reply(text=SAID[level(image)]) for _ in questions] for image in images]


def level(image: Image) -> int:
    pixel = image.getpixel((1, 1))
    assert isinstance(pixel, tuple)
    return round((pixel[0] - 10) / 20)


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    dataset = fo.Dataset(dataset_name)
    dataset.add_samples([fo.Sample(filepath=path) for path in pictures], progress=False)
    return dataset


def talker() -> Talker:
    return Talker(lambda image, question: certain("Male", question, 0.6))


def test_answers_are_tallied_read_and_proposed(dataset: fo.Dataset) -> None:
    before = dataset.get_field_schema()
    (result,) = facevlm.probe(dataset, talker(), ["gender"], prompts={"gender": "who?"})
    told = {a.text: (a.count, a.label, a.proposal) for a in result.answers}
    assert told == {
        "Male": (4, "Male", None),
        "a man": (2, None, "Male"),
        "Female.": (1, "Female", None),
        "a lady": (1, None, None),
        "man or woman": (1, None, None),
        "": (1, None, None),
    }
    assert (result.prompt, result.n, result.readable) == ("who?", 10, 0.5)
    assert result.outcomes == {"ok": 5, "unparsed": 5}
    assert result.coverage == pytest.approx(1.0)
    assert (result.agreement, result.n_compared) == (0.8, 5)
    assert result.proposed_forms() == {"Male": ["Male", "a man"], "Female": ["Female."]}
    assert json.loads(json.dumps(result.to_dict()))["forms"] == result.proposed_forms()
    assert dataset.get_field_schema() == before
    assert not dataset.list_runs()


def test_a_backend_that_gives_no_scores_has_no_coverage(dataset: fo.Dataset) -> None:
    backend = ScriptedBackend(lambda image, question: Reply(text="Female"))
    (result,) = facevlm.probe(dataset, backend, ["gender"], faces=3)
    assert (result.n, result.readable) == (3, 1.0)
    assert (result.coverage, result.agreement, result.n_compared) == (None, None, 0)


def test_the_same_seed_draws_the_same_faces(dataset: fo.Dataset) -> None:
    first, again, other = (
        facevlm.probe(dataset, talker(), ["gender"], faces=4, seed=seed)[0].answers for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("attribute", "text", "label"),
    [
        ("gender", "The person is a woman.", "Female"),
        ("gender", "woman", "Female"),
        ("gender", "human", None),
        ("age5", "between 20-39 years", "20-39"),
        ("age5", "120-39", None),
        ("race7", "South-East", None),
        ("race7", "she looks east asian", "East Asian"),
        ("emotion8", "happy and sad", None),
    ],
)
def test_a_proposal_is_one_label_as_whole_words(attribute: str, text: str, label: str | None) -> None:
    assert propose(get(attribute), text) == label


def test_bad_input_is_named(dataset: fo.Dataset) -> None:
    with pytest.raises(InputError, match="Got faces=0"):
        facevlm.probe(dataset, talker(), ["gender"], faces=0)
    with pytest.raises(InputError, match="Got no attribute"):
        facevlm.probe(dataset, talker(), [])
    with pytest.raises(TargetError, match="type str"):
        facevlm.probe("name", talker(), ["gender"])


def test_on_the_command_line(dataset: fo.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "probe.json"
    assert main(["probe", dataset.name, "--attributes", "gender", "--faces", "4", "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "gender: what is the gender of the person in the image?" in shown
    assert "of 4 answers are read as a label" in shown
    assert "forms for facevlm.json, to be checked by eye" in shown
    (told,) = json.loads(out.read_text())
    assert told["n"] == 4
    assert sum(a["count"] for a in told["answers"]) == 4


def test_the_command_line_refuses_a_model_that_is_not_tuned(
    dataset: fo.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", dataset.name, "--model", "nonsense", "--attributes", "gender"]) == 2
    assert "nonsense" in capsys.readouterr().err

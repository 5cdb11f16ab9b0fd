"""Sets of the labels that are still possible: in Python, on the command line and in reports."""

from __future__ import annotations

import json
from pathlib import Path

import fiftyone as fo
import pytest

import facevlm
from facevlm.cli import main
from facevlm.errors import InputError
from facevlm.reports import text
from facevlm.reports.brief import brief
from facevlm.tasks import sources as sources_task


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    made = sources_task.sample_faces(dataset_name)
    facevlm.apply(made, "demo", ["gender"], progress=False)
    return made


def test_sets_are_made_where_they_are_asked_for(faces: fo.Dataset, tmp_path: Path) -> None:
    usual = facevlm.evaluate(faces, draws=20)["gender"].confidence
    assert usual is not None
    assert usual.sets is None
    result = facevlm.evaluate(faces, draws=20, sets=0.9)
    confidence = result["gender"].confidence
    assert confidence is not None
    found = confidence.sets
    assert found is not None
    assert found.read is not None
    assert (found.wanted, found.chosen_on + found.read.n) == (0.9, confidence.n)
    said = f"Label sets for 90 %: on {found.read.n} faces that chose nothing they hold the true label of "
    for shown in (text.text(result.evaluations), brief(result.evaluations)):
        assert said in " ".join(shown.split())
    assert "Label sets for 90 %:" in text.text(result.evaluations).splitlines()
    facevlm.report(faces, tmp_path)
    for name in ("report.md", "report.html"):
        assert said in (tmp_path / name).read_text()


def test_too_few_faces_say_so(faces: fo.Dataset) -> None:
    result = facevlm.evaluate(faces.limit(40), draws=20, sets=0.9)
    said = "No label sets for 90 %: 40 faces with scores are fewer than 60"
    assert said in " ".join(brief(result.evaluations).split())
    assert json.dumps(result.to_dict(), allow_nan=False)


def test_answers_without_scores_say_so(faces: fo.Dataset) -> None:
    facevlm.apply(faces, "demo", ["gender"], prefix="plain", progress=False)
    labels = faces.values("plain_gender")
    for label in labels:
        label.logits = None
    faces.set_values("plain_gender", labels)
    result = facevlm.evaluate(faces, prefix="plain", draws=20, sets=0.9)
    assert "There are no label sets of gender: none of its answers has scores." in result.warnings


@pytest.mark.parametrize(
    ("wanted", "said"), [(90, "expected a share from 0.5 to 0.99: 0.9 for"), ("0.9", "expected a number or None")]
)
def test_what_is_no_share_is_refused(faces: fo.Dataset, wanted: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        facevlm.evaluate(faces, sets=wanted)  # type: ignore[arg-type]
    assert faces.list_evaluations() == []


def test_the_command_line_takes_per_cent(faces: fo.Dataset, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    main(["evaluate", faces.name, "--draws", "20", "--sets", "80", "--json", str(file)])
    assert "Label sets for 80 %" in capsys.readouterr().out
    (evaluation,) = json.loads(file.read_text())["evaluations"]
    assert evaluation["confidence"]["sets"]["wanted"] == 0.8

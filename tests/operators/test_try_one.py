"""Try a model on one face: the form, what is shown, and that nothing is sent or stored unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

from facevlm.tasks import sources
from tests.operators.test_ends_in_words import URI, failed, sent
from tests.operators.test_operators import APPLY, errors, form
from tests.servers.server import running

TRY = URI + "try_on_one_face"


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources.sample_faces(dataset_name)


def output(steps: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields and values of what is shown last."""
    params = steps[-1]["body"]["params"]
    return params["outputs"]["type"]["properties"], params["results"]


def test_question_shares_words_and_time_are_shown(faces: fo.Dataset) -> None:
    fields, said = output(sent(TRY, faces, attributes=["gender"], wording_of_gender="man or woman?"))
    for part in ("Perceived gender", "Asked: man or woman?", "| Male |", "| Female |", "In its own words", " s."):
        assert part in said["summary"]
    assert said["picture"].startswith("data:image/jpeg;base64,")
    again = fields["again"]["view"]
    assert (again["operator"], again["prompt"]) == (TRY, True)
    assert again["params"]["wording_of_gender"] == "man or woman?"
    assert fields["all"]["view"]["operator"] == APPLY
    assert faces.list_runs() == []
    faces.reload()
    assert "demo_gender" not in faces.get_field_schema()


def test_the_form_needs_an_attribute_and_shows_its_words(faces: fo.Dataset) -> None:
    assert "Got no attribute" in errors(form(TRY, faces))["none_chosen"]
    shown = form(TRY, faces, attributes=["gender"])
    assert errors(shown) == {}
    assert "gender" in shown["wording_of_gender"]["default"]


def test_a_server_is_sent_a_picture_after_a_tick_alone(faces: fo.Dataset, own_cache: Path) -> None:
    with running() as server:
        params: dict[str, Any] = {
            "model": "api",
            "api_model": "m",
            "base_url": server.base_url,
            "attributes": ["gender"],
        }
        shown = form(TRY, faces, **params)
        assert errors(shown) == {"send": "Agree that the picture leaves this process."}
        assert "1 picture" in shown["briefing"]["view"]["label"]
        assert "Agree that the picture leaves" in failed(sent(TRY, faces, **params))["label"]
        assert server.served == 0
        _, said = output(sent(TRY, faces, **params, send=True))
        assert len(server.asked) == 1
    assert "In its own words" in said["summary"]


def test_the_form_for_all_leads_here_with_what_it_says(faces: fo.Dataset) -> None:
    assert "try_on_one" not in form(APPLY, faces)
    button = form(APPLY, faces, attributes=["gender"], margin=0.5)["try_on_one"]["view"]
    assert (button["operator"], button["prompt"]) == (TRY, True)
    assert button["params"]["margin"] == 0.5
    json.dumps(button)

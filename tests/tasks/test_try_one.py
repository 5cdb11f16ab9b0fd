"""One face is asked about, all that the model says is told, and nothing is stored."""

from __future__ import annotations

import pytest

import facevlm
from facevlm.backends import Briefing
from facevlm.errors import FacevlmError
from facevlm.tasks import sources
from tests.servers.server import running


def test_all_that_a_model_says_of_the_first_face(dataset_name: str) -> None:
    faces = sources.sample_faces(dataset_name)
    before = faces.to_dict(include_private=True)
    [gender, age] = facevlm.try_one(faces, "demo", ["gender", "age5"])
    assert gender.face.sample_id == faces.first().id
    assert set(gender.shares) == {"Male", "Female"}
    assert sum(age.shares.values()) == pytest.approx(1)
    assert max(gender.shares, key=lambda label: gender.shares[label]) == gender.prediction.label
    assert gender.text is not None
    assert gender.seconds > 0
    assert faces.to_dict(include_private=True) == before
    [worded] = facevlm.try_one(faces, "demo", ["gender"], prompts={"gender": "man or woman?"})
    assert worded.prompt == "man or woman?"


def test_a_face_in_a_picture(dataset_name: str) -> None:
    groups = sources.sample_groups(dataset_name)
    [said] = facevlm.try_one(groups, "demo", ["gender"], faces="faces")
    assert said.face.label_id == groups.first().faces.detections[0].id
    [said] = facevlm.try_one(groups.to_patches("faces")[3:], "demo", ["gender"])
    assert said.face.label_id == groups.to_patches("faces").skip(3).first().id
    groups.clear_sample_field("faces")
    with pytest.raises(FacevlmError, match="holds no face"):
        facevlm.try_one(groups, "demo", ["gender"], faces="faces")


def test_a_server_is_asked_once_and_only_if_one_may(dataset_name: str, own_cache: object) -> None:
    faces, told = sources.sample_faces(dataset_name), list[Briefing]()

    def agree(briefing: Briefing) -> bool:
        told.append(briefing)
        return True

    with running() as server:
        assert facevlm.try_one(faces, "openai:m", ["gender"], base_url=server.base_url, confirm=lambda b: False) == []
        assert server.served == 0
        agreed = facevlm.try_one(faces, "openai:m", ["gender"], base_url=server.base_url, confirm=agree)
        assert len(server.asked) == 1
    assert agreed[0].text
    assert "1 picture" in told[0].text

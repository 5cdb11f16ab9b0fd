"""Networks and adapters in the forms, from their names to stored answers."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
import pytest

from facevlm.folders import ASSETS
from tests.backends.networks import matrix, network
from tests.backends.test_adapters import made
from tests.operators.test_operators import APPLY, errors, execute, form

GENDER = {"attributes": {"gender": {"labels": ["Male", "Female"]}}}


@pytest.fixture
def dataset(dataset_name: str, pictures: list[str]) -> fo.Dataset:
    dataset = fo.Dataset(dataset_name, persistent=True)
    dataset.add_samples([fo.Sample(filepath=p) for p in pictures[:3]], progress=False)
    return dataset


def test_a_network_is_named_as_another_checkpoint(dataset: fo.Dataset, tmp_path: Path) -> None:
    folder = network(tmp_path / "net", GENDER, weights=matrix(2))
    params = {"model": "other", "checkpoint": f"onnx:{folder}", "ask_gender": True, "loading": True}
    shown = form(APPLY, dataset, **params)
    assert errors(shown) == {}
    assert "ask_age5" not in shown
    # What was written before the model was changed is left out.
    execute(APPLY, dataset, **params, adapter=str(tmp_path / "gone"))
    dataset.reload()
    assert dataset.count("net_gender.label") == 3
    (folder / "card.yaml").write_text("attributes: {}")
    assert "got no attributes" in str(errors(form(APPLY, dataset, **params)))


def test_an_adapter_is_put_on_a_model_in_the_form(dataset: fo.Dataset, tmp_path: Path) -> None:
    own = made(ASSETS / "demo_model", tmp_path / "own")
    params = {"model": "demo", "ask_gender": True, "loading": True, "adapter": str(own)}
    assert errors(form(APPLY, dataset, **params)) == {}
    execute(APPLY, dataset, **params)
    dataset.reload()
    assert dataset.count("own_gender.label") == 3
    assert "is no folder" in str(errors(form(APPLY, dataset, **params | {"adapter": str(tmp_path / "gone")})))
    (own / "adapter_model.safetensors").unlink()
    assert "there are no weights of the adapter" in str(errors(form(APPLY, dataset, **params)))

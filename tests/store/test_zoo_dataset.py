"""The dataset of FiftyOne's zoo: the repository as an archive from a real HTTP server, loaded as FiftyOne loads it."""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import fiftyone.plugins as fop
import fiftyone.zoo as foz
import pytest
import yaml

from facevlm.datasets import catalog
from facevlm.errors import LayoutError
from tests.datasets import layouts

ROOT = Path(__file__).resolve().parents[2]
NAME = "facevlm/faces"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where an archive with the plugin's and the dataset's description is served."""
    with zipfile.ZipFile(tmp_path / "facevlm.zip", "w") as archive:
        for name in ("fiftyone.yml", "zoo/fiftyone.yml", "zoo/__init__.py"):
            archive.write(ROOT / name, f"repository/{name}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/facevlm.zip"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("zoo_of_facevlm", ROOT / "zoo" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "zoo_of_facevlm", found)
    spec.loader.exec_module(found)
    return found


def test_fiftyone_loads_it_from_an_address(address: str, tmp_path: Path, dataset_name: str) -> None:
    root = layouts.fairface(tmp_path / "data")
    try:
        dataset = foz.load_zoo_dataset(
            address, reader="fairface", folder=str(root), part="train", max_samples=2, dataset_name=dataset_name
        )
        assert dataset.values("race.label") == ["East Asian", "Latinx or Hispanic"]
        assert dataset.values("tags") == [["train"]] * 2
        assert dataset.info["facevlm"]["source"] == "FairFace"
        with pytest.raises(LayoutError, match="expected pictures named age_gender_race_date"):
            foz.load_zoo_dataset(
                NAME, reader="utkface", folder=str(root), dataset_name=dataset_name, drop_existing_dataset=True
            )
    finally:
        foz.delete_zoo_dataset(NAME)


def test_its_description_is_one_of_a_dataset() -> None:
    said = yaml.safe_load((ROOT / "zoo" / "fiftyone.yml").read_text(encoding="utf-8"))
    plugin = yaml.safe_load((ROOT / "fiftyone.yml").read_text(encoding="utf-8"))
    assert (said["type"], said["name"]) == ("dataset", NAME)
    assert said["version"] == plugin["version"]
    assert said["fiftyone"] == plugin["fiftyone"]


@pytest.mark.parametrize(("reader", "folder"), [("", "/data"), ("fairfase", "/data"), ("fairface", "")])
def test_reader_and_folder_have_to_be_named(reader: str, folder: str, module: ModuleType) -> None:
    with pytest.raises(ValueError, match=f"Got reader='{reader}' and folder='{folder}', expected one of") as caught:
        module.download_and_prepare("/zoo", reader=reader, folder=folder)
    assert all(name in str(caught.value) for name in catalog.READERS)


def test_without_facevlm_it_says_what_to_install(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facevlm.datasets.catalog", None)
    with pytest.raises(ImportError, match="which is not installed: pip install"):
        module.download_and_prepare("/zoo", reader="fairface", folder="/data")


def test_fiftyone_takes_the_folder_for_no_plugin() -> None:
    names = [plugin.name for plugin in fop.list_plugins(enabled="all")]
    assert names.count("@facevlm/face-attributes") == 1
    assert NAME not in names


def test_other_modules_that_are_missing_are_not_blamed_on_facevlm(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr(module.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="numpy"):
        module.download_and_prepare("/zoo", reader="fairface", folder="/data")

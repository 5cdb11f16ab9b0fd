"""facevlm plugin: linked into FiftyOne's folder of plugins; what somebody else put there stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import fiftyone as fo
import fiftyone.plugins as fop
import pytest

import facevlm
from facevlm.tasks import plugin
from tests.cli.running import JUDGED, Run
from tests.project import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FiftyOne's folder of plugins, which is not there yet."""
    place = tmp_path / "deep" / "plugins"
    monkeypatch.setattr(fo.config, "plugins_dir", str(place))
    return place


def other(place: Path, version: str = "0.0.9") -> Path:
    """Another copy of the plugin, as a download makes it."""
    place.mkdir(parents=True)
    (place / "fiftyone.yml").write_text(f"name: '{plugin.NAME}'\nversion: {version}\n")
    (place / "mine.txt").write_text("kept")
    return place


def found() -> list[str]:
    return [p.name for p in fop.list_plugins(builtin=False)]


def test_it_is_linked_found_and_taken_out_again(folder: Path, run: Run) -> None:
    assert "finds no plugin of facevlm" in run("plugin", "status").out
    assert not facevlm.plugin.is_installed()
    done = run("plugin", "install")
    assert (done.status, done.err) == (0, "")
    link = folder / plugin.FOLDER
    assert link.resolve() == ROOT
    assert f"Linked {link} to {ROOT}." in done.out
    assert found() == [plugin.NAME]
    assert facevlm.plugin.is_installed()
    again = run("plugin", "install")
    assert again.status == 0
    assert "Linked" not in again.out
    assert run("plugin", "uninstall").status == 0
    assert found() == []
    assert not link.is_symlink()
    assert (ROOT / "fiftyone.yml").is_file()
    assert run("plugin", "uninstall").status == 0, "what is not there is out"


def test_what_is_where_is_told_as_json(folder: Path, run: Run, tmp_path: Path) -> None:
    run("plugin", "install")
    assert run("plugin", "status", "--json", str(tmp_path / "is.json")).status == 0
    told = json.loads((tmp_path / "is.json").read_text())
    assert (told["installed"], told["enabled"], told["folder"]) == (True, True, str(folder))
    assert told["places"] == [
        {
            "path": str(folder / plugin.FOLDER),
            "leads_to": str(ROOT),
            "how": "link",
            "version": facevlm.__version__,
        }
    ]


def test_a_download_of_somebody_stays(folder: Path, run: Run) -> None:
    place = other(folder / "@facevlm" / "face-attributes")
    done = run("plugin", "install")
    assert done.status == 2
    assert f"FiftyOne has the plugin already, version 0.0.9, in {place}." in done.err
    assert plugin.REMOVED_BY in done.err
    assert run("plugin", "install", "--replace").status == 2
    assert run("plugin", "uninstall").status == 2
    assert (place / "mine.txt").read_text() == "kept"
    assert f"That is not the plugin of this library, which is in {ROOT}." in run("plugin", "status").out


def test_a_link_to_another_copy_is_replaced_when_that_is_said(folder: Path, run: Run, tmp_path: Path) -> None:
    elsewhere = other(tmp_path / "elsewhere")
    folder.mkdir(parents=True)
    (folder / "facevlm").symlink_to(elsewhere)
    done = run("plugin", "install")
    assert done.status == 2
    assert f"is a link to {elsewhere}, version 0.0.9" in done.err
    done = run("plugin", "install", "--replace")
    assert done.status == 0
    assert f"Removed the link {folder / 'facevlm'}, which led to {elsewhere}." in done.out
    assert (elsewhere / "mine.txt").read_text() == "kept"
    assert [path.name for path in folder.iterdir()] == [plugin.FOLDER]


def test_something_else_of_that_name_stays(folder: Path, run: Run) -> None:
    (folder / plugin.FOLDER).mkdir(parents=True)
    (folder / plugin.FOLDER / "notes.txt").write_text("mine")
    done = run("plugin", "install")
    assert done.status == 2
    assert "It stays; move it, and install again." in done.err
    assert (folder / plugin.FOLDER / "notes.txt").read_text() == "mine"


def test_a_link_that_leads_nowhere_is_in_nobodys_way(folder: Path, run: Run, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    (folder / plugin.FOLDER).symlink_to(tmp_path / "gone")
    done = run("plugin", "install")
    assert done.status == 0
    assert "which led nowhere" in done.out
    assert found() == [plugin.NAME]


def test_it_is_copied_where_links_cannot_be_made(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    done = run("plugin", "install")
    assert done.status == 0
    copy = folder / plugin.FOLDER
    assert f"Copied {ROOT} to {copy}." in done.out
    assert (copy / "operators" / "apply.py").is_file()
    assert not (copy / "tests").exists()
    assert found() == [plugin.NAME]
    (copy / "fiftyone.yml").write_text((copy / "fiftyone.yml").read_text().replace("version: 0.", "version: 9."))
    assert "That is not the plugin of this library" in run("plugin", "status").out
    assert run("plugin", "install").status == 0, "a copy of another version is made anew"
    assert run("plugin", "uninstall").status == 0
    assert not copy.exists()


def test_a_folder_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(fo.config, "plugins_dir", str(tmp_path / "file" / "plugins"))
    done = run("plugin", "install")
    assert done.status == 2
    assert "Cannot write to FiftyOne's folder of plugins" in done.err


def test_a_clone_that_is_the_folder_of_plugins_itself(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(fo.config, "plugins_dir", str(ROOT))
    assert run("plugin", "install").status == 0
    done = run("plugin", "uninstall")
    assert done.status == 2
    assert "unset FIFTYONE_PLUGINS_DIR" in done.err
    assert (ROOT / "fiftyone.yml").is_file()


def test_the_panel_is_announced_where_the_plugin_is(judged: fo.Dataset, folder: Path, run: Run) -> None:
    words = ("evaluate", JUDGED, "--attributes", "gender", "--draws", "20")
    done = run(*words)
    assert "comes with the plugin: facevlm plugin install" in done.out
    assert "workspace" not in done.out
    run("plugin", "install")
    assert "The panel of errors beside the grid: workspace face-attribute-errors" in run(*words).out
    shutil.rmtree(folder)

"""facevlm models and facevlm attributes."""

from __future__ import annotations

import shutil
from pathlib import Path

from facevlm.attributes import shipped
from facevlm.backends import cards, families
from facevlm.backends.remote import services
from facevlm.folders import ASSETS
from tests.backends.networks import matrix, network
from tests.backends.test_adapters import made
from tests.cli.running import Run


def test_models_are_listed_with_whether_they_are_here(run: Run) -> None:
    done = run("models")
    assert (done.status, done.err) == (0, "")
    assert done.rows("demo")[0][-1] == "here"
    assert done.rows("facescan")[0][3:5] == ["4 x 2.9 B", "23.4 GB"]
    assert done.rows("facescan")[0][-1].startswith("not here")
    assert done.rows("facescan")[0][-2] == "facevlm"
    assert all(done.rows(name) for name in cards.shipped())
    assert all(done.rows(name) for name in services.presets())
    assert done.rows("gemini-flash")[0][2:] == [
        "generativelanguage.googleapis.com",
        "GEMINI_API_KEY or GOOGLE_API_KEY",
        "facevlm",
        "384",
    ]
    assert "hf:ID-or-folder takes any checkpoint of these families: " in done.out
    assert all(title in done.out for title in families.titles())


def test_one_model_is_looked_at_by_name_or_folder(run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ASSETS / "demo_model", tmp_path / "mine"))
    for name in (str(folder), f"hf:{folder}", "demo"):
        done = run("models", name)
        assert (done.status, done.err) == (0, "")
        assert "gender, race5, age5, emotion7" in done.out
        assert "PaliGemma" in done.out
    (folder / "config.json").write_text("[]")
    done = run("models", str(folder))
    assert done.status != 0
    assert f"{folder}/config.json: got a list, expected a JSON object" in done.err
    assert "Traceback" not in done.err


def test_attributes_are_listed_with_their_maps(run: Run) -> None:
    done = run("attributes")
    assert (done.status, done.err) == (0, "")
    assert all(done.rows(name)[0][-1] == "facevlm" for name in shipped().attributes)
    assert all(f"\n  {source} -> {target}: " in done.out for source, target in shipped().maps)
    assert "emotion7 -> emotion8: every label as it is\n" in done.out
    assert "age in years -> age5: groups begin at 0, 10, 20, 40, 60\n" in done.out


def test_attributes_tell_why_some_maps_are_not_there_and_what_more_there_is(run: Run) -> None:
    done = run("attributes")
    assert all(f"  {source} -> {target}: {why}\n" in done.out for (source, target), why in shipped().undefined.items())
    assert "  age in years -> age8: groups begin at 0, 7, 13, 20, 31, 46, 56, 67, the last ends before 81\n" in done.out
    assert "  celeba: celeba_5_o_clock_shadow, " in done.out
    more = run("attributes", "--attributes-file", "celeba")
    assert "CelebA: Bangs" in more.out
    assert more.rows("celeba_bangs")[0][-1] == "celeba"


def test_a_network_and_an_adapter_are_looked_at_like_a_checkpoint(run: Run, tmp_path: Path) -> None:
    card = {"attributes": {"gender": {"labels": ["Male", "Female"]}}, "licence": "CC BY 4.0", "title": "A small one"}
    folder = network(tmp_path / "net", card, weights=matrix(2))
    for name in (str(folder), f"onnx:{folder}"):
        done = run("models", name)
        assert (done.status, done.err) == (0, "")
        assert [done.rows(row)[0][1] for row in ("model", "what it is", "licence", "asked for")] == [
            *(f"onnx:{folder}", "A small one", "CC BY 4.0", "gender"),
        ]
    own = made(ASSETS / "demo_model", tmp_path / "own")
    assert run("models", str(own)).rows("adapter of")[0][1] == str(ASSETS / "demo_model")
    assert "onnx:FOLDER" in run("models").out

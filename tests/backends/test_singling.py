"""A picture that a model cannot take is failed with the reason; what is no picture's fault ends the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from facevlm.attributes import get
from facevlm.backends import Options, open_backend
from facevlm.backends.cards import find, questions_for
from facevlm.backends.local import LocalBackend
from facevlm.backends.memory import NoRoom
from facevlm.backends.singling import FEWEST, Singling
from facevlm.engines.local import run
from facevlm.errors import ModelError
from facevlm.types import Face, Prediction, Reply
from tests.backends import tiny

PLAIN = Image.new("RGB", (96, 96))
THIN = (900, 3)


def row(*sizes: int) -> list[Image.Image]:
    """A picture of each width."""
    return [Image.new("RGB", (size, 8)) for size in sizes]


class Model:
    """Takes no picture of the widths in ``bad``, and counts its passes."""

    def __init__(self, *bad: int, error: Exception | None = None) -> None:
        self.bad, self.error, self.passes = bad, error or ValueError("too odd\n  at 0x1"), 0

    def __call__(self, images: Sequence[Image.Image]) -> list[list[Reply]]:
        self.passes += 1
        if any(image.width in self.bad for image in images):
            raise self.error
        return [[Reply(text=str(image.width))] for image in images]


@pytest.mark.parametrize("bad", [(1,), (7,), (3, 4), (1, 3, 5, 7), (1, 2, 3, 4, 5, 6, 7)])
def test_what_cannot_be_taken_is_singled_out(bad: tuple[int, ...]) -> None:
    rows = Singling("m")(Model(*bad), row(*range(1, 8)), PLAIN)
    assert [reply.text for (reply,) in rows] == [None if k in bad else str(k) for k in range(1, 8)]
    assert {reply.error for (reply,) in rows if reply.text is None} == {
        f"the model cannot take this picture of {k}x8: too odd" for k in bad
    }


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("x"), IndexError("x"), ZeroDivisionError("x"), OSError("x")]
)
def test_any_error_about_a_picture_is_its_own(error: Exception) -> None:
    rows = Singling("m")(Model(2, error=error), row(1, 2, 3), PLAIN)
    assert [reply.error is None for (reply,) in rows] == [True, False, True]


def test_one_bad_picture_of_many_costs_a_few_passes() -> None:
    model = Model(40)
    Singling("m")(model, row(*range(1, 65)), PLAIN)
    assert model.passes <= 15


def test_an_error_that_a_plain_picture_meets_ends_the_run_in_one_sentence() -> None:
    model = Model(*range(1, 97))
    with pytest.raises(
        ModelError, match=r"'m' cannot be asked about any picture, not even a plain one: too odd\. Expected"
    ):
        Singling("m")(model, row(*range(1, 65)), PLAIN)
    assert model.passes == 2


def test_a_sentence_of_ones_own_stays_as_it_is() -> None:
    with pytest.raises(ModelError, match=r"^Use smaller pictures$"):
        Singling("m")(Model(*range(97), error=ModelError("Use smaller pictures")), row(1, 2), PLAIN)


@pytest.mark.parametrize("error", [TypeError("x"), AttributeError("x"), AssertionError("x")])
def test_mistakes_of_a_program_are_no_pictures_fault(error: Exception) -> None:
    with pytest.raises(type(error)):
        Singling("m")(Model(2, error=error), row(1, 2, 3), PLAIN)


def test_a_picture_with_which_alone_memory_runs_out_is_failed() -> None:
    rows = Singling("m")(Model(2, error=NoRoom("Out of memory")), row(1, 2, 3), PLAIN)
    assert [reply.error is None for (reply,) in rows] == [True, False, True]


def test_memory_that_a_plain_picture_does_not_find_either_ends_the_run() -> None:
    with pytest.raises(NoRoom, match=r"^Out of memory$"):
        Singling("m")(Model(*range(97), error=NoRoom("Out of memory")), row(1, 2, 3), PLAIN)


def test_a_run_without_any_answer_ends_after_the_first_pictures() -> None:
    singling, model = Singling("m"), Model(5)
    for _ in range(FEWEST - 1):
        assert singling(model, row(5), PLAIN)[0][0].error
    with pytest.raises(ModelError, match=rf"could take none of the first {FEWEST} pictures; the last: too odd"):
        singling(model, row(5), PLAIN)


def test_after_an_answer_any_number_may_fail() -> None:
    singling, model = Singling("m"), Model(5)
    singling(model, row(1), PLAIN)
    assert all(singling(model, row(5, 5), PLAIN)[0][0].error for _ in range(2 * FEWEST))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.qwen2_5_vl(tmp_path_factory.mktemp("qwen") / "q")


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_thin_picture_in_a_run_of_qwen(qwen: Path, tmp_path: Path, batch_size: int) -> None:
    sizes = [(64, 64), THIN, (60, 70), (2, 800), (64, 64)]
    for k, size in enumerate(sizes):
        Image.new("RGB", size, (40 * k, 90, 30)).save(tmp_path / f"{k}.png")
    name, written = f"hf:{qwen}", list[Prediction]()
    asked = questions_for(find(name), [get("gender"), get("age5")])
    faces = [Face(str(k), str(tmp_path / f"{k}.png")) for k in range(len(sizes))]
    for _ in run(faces, open_backend(name), asked, written.extend, batch_size=batch_size):
        pass
    assert [p.outcome for p in written[::2]] == ["ok", "failed", "ok", "failed", "ok"]
    assert [p.outcome for p in written[1::2]] == [p.outcome for p in written[::2]]
    assert "picture of 900x3: absolute aspect ratio must be smaller than 200" in str(written[2].reason)


ODD = [(900, 3), (3, 900), (1, 1), (1, 2000), (2000, 1)]


@pytest.mark.parametrize("name", list(tiny.BUILDERS))
def test_a_picture_of_any_shape_is_answered_or_failed_in_any_family(name: str, tmp_path: Path) -> None:
    folder = tiny.BUILDERS[name](tmp_path)
    card = replace(find(f"hf:{folder}"), questions={"gender": "what is the gender?"})
    backend, asked = LocalBackend(card, Options()), questions_for(card, [get("gender")])
    good = [Image.new("RGB", (96, 96), (90 * k, 50, 9)) for k in range(2)]
    alone = backend.answer(good, asked)
    rows = backend.answer([good[0], *(Image.new("RGB", size) for size in ODD), good[1]], asked)
    for one, other in zip([rows[0], rows[-1]], alone, strict=True):
        assert one[0].log_probs == pytest.approx(other[0].log_probs, abs=1e-4)
    for size, [reply] in zip(ODD, rows[1:-1], strict=True):
        assert reply.log_probs or f"picture of {size[0]}x{size[1]}: " in str(reply.error)


def test_pictures_beside_a_thin_one_are_answered_as_without_it(qwen: Path) -> None:
    name = f"hf:{qwen}"
    backend, asked = open_backend(name), questions_for(find(name), [get("gender")])
    assert isinstance(backend, LocalBackend)
    good = [Image.new("RGB", (64, 64), (40 * k, 90, 30)) for k in range(4)]
    with_thin = backend.answer([*good[:2], Image.new("RGB", THIN), *good[2:]], asked)
    alone = backend.answer(good, asked)
    assert with_thin[2][0].error
    for one, other in zip([*with_thin[:2], *with_thin[3:]], alone, strict=True):
        assert one[0].log_probs == pytest.approx(other[0].log_probs, abs=1e-4)
    assert [r[0].error is None for r in backend.say([good[0], Image.new("RGB", THIN)], asked)] == [True, False]
    assert [r.error is None for r in backend.spell([good[0], Image.new("RGB", THIN)], "what?", 3)] == [True, False]

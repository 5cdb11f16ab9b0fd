"""What every family learns from a batch: what is seen, what is counted, and that it is what the scorer scores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facevlm.backends.families.base import edge_log_probs
from facevlm.backends.linear import features
from facevlm.backends.trie import Branch, LabelTrie
from facevlm.training import recipes
from facevlm.training.lesson import Lesson, Objective, _of_tokens, as_tensors
from facevlm.training.loop import Course, ShownFaces, fit
from facevlm.training.pages import joined, page
from facevlm.training.recipes import PROJECTOR, RECIPES, TOWER, part_of
from tests.backends import tiny
from tests.training import teaching

pytestmark = pytest.mark.contract

BOTH_WAYS = {"paligemma", "paligemma2"}
ENCODED = {"florence2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("families")
    return functools.cache(lambda name: tiny.BUILDERS[name](root / name))


@pytest.fixture(scope="module", params=list(tiny.BUILDERS))
def taught(request: pytest.FixtureRequest, folder: Callable[[str], Path]) -> Lesson:
    return teaching.lesson(folder(request.param), ("gender", "age5"))


def pictures(lesson: Lesson, count: int = 2) -> list[Image.Image]:
    shown = ShownFaces(teaching.faces(count), lesson.questions, lesson.checkpoint)
    return [one[0] for one in (shown[k] for k in range(count)) if one is not None]


def test_the_loss_is_the_models_own_log_probability_of_the_answer(taught: Lesson) -> None:
    """Of its own forward pass over prompt and answer, with the masks that its makers gave it."""
    images, labels = pictures(taught), [[0, 3], [1, -1]]
    family, want = taught.checkpoint.family, []
    with torch.inference_mode():
        for image, own in zip(images, labels, strict=True):
            for question, label in zip(taught.questions, own, strict=True):
                if label >= 0:
                    picture = family.prepare(image)
                    said = family.answers(question.surface_forms[label][0], family.render(question.text))[-1]
                    ids = family.ids(picture, question.text)
                    want.append(-family.plain_log_prob(family.collate([picture]), ids, said))
    assert float(taught.loss(images, labels).detach()) == pytest.approx(np.mean(want), rel=1e-4)


def test_a_token_sees_what_its_family_lets_it_see(taught: Lesson) -> None:
    """A token is changed, and the logits of those that see it change with it; those of no other do."""
    family, image = taught.checkpoint.family, pictures(taught, 1)[0]
    name = Path(taught.checkpoint.name).name
    picture = family.prepare(image)
    ids = family.ids(picture, taught.questions[0].text)
    answer = family.answer_ids("More than 60")
    other = family.answer_ids("Female")[-1]
    earlier = [] if name in ENCODED else [-3]

    def logits(ids: tuple[int, ...], answer: tuple[int, ...]) -> torch.Tensor:
        prefix, tail = family.split(ids)
        trie = LabelTrie([Branch(tail, ((answer,),))], family.ends[:1])
        keep = np.array([*(k + len(tail) for k in earlier), *range(len(tail), trie.n_nodes + 1)], dtype=np.int64)
        with torch.inference_mode():
            return family.logits(family.see(family.collate([picture])), [prefix], trie, keep)[0]

    before = logits(ids, answer)
    for at in range(len(answer)):
        changed = (*answer[:at], other, *answer[at + 1 :])
        moved = (logits(ids, changed) - before).abs().amax(1) > 1e-6
        # Rows: an earlier place of the prompt, its end, and the answer's tokens.
        assert moved.tolist() == [*(False for _ in earlier), False, *(k >= at for k in range(len(answer)))]
    words = [k for k, token in enumerate(ids) if token != family.image_token]
    last = (*ids[: words[-1]], other, *ids[words[-1] + 1 :])
    moved = (logits(last, answer) - before).abs().amax(1) > 1e-6
    assert moved.tolist() == [*(name in BOTH_WAYS for _ in earlier), *(True for _ in range(len(answer) + 1))]


def test_only_the_tokens_of_the_true_answer_and_its_end_count(taught: Lesson) -> None:
    family, label = taught.checkpoint.family, 2
    question = taught.questions[1]
    [asked] = taught.checkpoint.passes(taught.checkpoint.prepare(pictures(taught, 1)), [question])
    asked.logits.retain_grad()
    torch.autograd.backward(_of_tokens(asked, 0, torch.tensor([label]), 0.0).sum())
    assert asked.logits.grad is not None
    counted = asked.keep[asked.logits.grad.abs().sum(-1)[0].numpy() > 0]
    said = family.answers(question.surface_forms[label][0], family.render(question.text))[-1]
    assert [asked.trie.tokens[node - 1] for node in counted[1:].tolist()] == list(said)
    assert len(counted) == len(said) + 1, "the last token of the prompt, and every token of the answer"
    taught.checkpoint.family.model.zero_grad()


def test_pictures_have_features_one_by_one_as_together(taught: Lesson) -> None:
    images = pictures(taught, 3)
    together = features(taught.checkpoint.family, [*images, images[0].resize((40, 90))])
    assert together.ndim == 2
    assert not torch.allclose(together[0], together[1], atol=1e-4)
    for image, row in zip(images, together, strict=False):
        torch.testing.assert_close(features(taught.checkpoint.family, [image])[0], row, atol=1e-4, rtol=1e-4)


def test_every_part_learns_and_is_known_by_its_name(taught: Lesson) -> None:
    taught.checkpoint.family.model.zero_grad()
    torch.autograd.backward(taught.loss(pictures(taught), [[0, 0], [1, 1]]))
    learnt: dict[str, int] = {}
    for name, parameter in taught.checkpoint.family.model.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        learnt[part_of(name)] = learnt.get(part_of(name), 0) + moved
    assert set(learnt) == {"", TOWER, PROJECTOR}
    assert all(learnt.values()), learnt
    taught.checkpoint.family.model.zero_grad()


@pytest.mark.parametrize("name", list(tiny.BUILDERS))
def test_a_step_makes_the_answer_likelier_and_adapters_leave_the_base(
    name: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    examples, recipe = teaching.faces(4), RECIPES["lora"].with_(epochs=2, batch_size=2, learning_rate=1e-3)
    for method in (recipes.LORA, recipes.FROZEN) if name in ("paligemma", "florence2") else (recipes.LORA,):
        lesson = teaching.lesson(folder(name))
        before = lesson.checkpoint.family.model.state_dict()
        kept = {key: value.clone() for key, value in before.items() if part_of(key) == TOWER}
        course = Course(recipe, tmp_path / method, method=method, augment=False)
        learnt = fit(lesson, examples, examples, course)
        assert learnt.losses[-1][1] < learnt.losses[0][1]
        after = dict(learnt.learner.named_parameters())
        if method == recipes.FROZEN:
            assert all(torch.equal(after[key], value) for key, value in kept.items() if key in after)
        else:
            assert all("lora" in key for key, value in after.items() if value.requires_grad)


@pytest.fixture(scope="module")
def small(folder: Callable[[str], Path]) -> Lesson:
    return teaching.lesson(folder("paligemma"))


def test_the_loss_over_labels_is_the_cross_entropy_of_what_the_scorer_says(small: Lesson) -> None:
    images = pictures(small)
    scores = torch.tensor([row[0].log_probs for row in small.checkpoint.score(images, small.questions)])
    truth = torch.tensor([0, 1])
    for smoothing in (0.0, 0.2):
        lesson = Lesson(small.checkpoint, small.questions, Objective("labels", smoothing))
        want = torch.nn.functional.cross_entropy(scores, truth, label_smoothing=smoothing)
        assert float(lesson.loss(images, [[0], [1]]).detach()) == pytest.approx(float(want), abs=1e-5)


def test_label_smoothing_is_that_of_torch_over_the_vocabulary(small: Lesson) -> None:
    images, question = pictures(small, 1), small.questions[0]
    [asked] = small.checkpoint.passes(small.checkpoint.prepare(images), [question])
    edges = asked.trie.paths(0)[0][-1]
    at = np.searchsorted(asked.keep, asked.trie.edge_position[edges])
    tokens = torch.from_numpy(asked.trie.edge_token[edges])
    want = torch.nn.functional.cross_entropy(asked.logits[0, at], tokens, reduction="sum", label_smoothing=0.1)
    lesson = Lesson(small.checkpoint, [question], Objective("tokens", 0.1))
    assert float(lesson.loss(images, [[0]]).detach()) == pytest.approx(float(want.detach()), rel=1e-5)
    assert edge_log_probs(asked.logits, asked.trie, asked.keep).requires_grad


def test_class_weights_weigh_the_answers(small: Lesson) -> None:
    images = pictures(small)
    [first], [second] = (
        [float(small.loss([image], [[label]]).detach())] for image, label in zip(images, (0, 1), strict=True)
    )
    table = as_tensors({"gender": [3.0, 1.0]}, torch.device("cpu"))
    weighed = Lesson(small.checkpoint, small.questions, Objective(weights=table))
    assert float(weighed.loss(images, [[0], [1]]).detach()) == pytest.approx((3 * first + second) / 4, rel=1e-4)


def test_the_demo_learns_all_answers_behind_its_shared_prompt_and_only_those_that_are_known() -> None:
    from facevlm.attributes import get
    from facevlm.backends import Options
    from facevlm.backends.cards import find, questions_for
    from facevlm.backends.checkpoint import Checkpoint
    from facevlm.training.lesson import taught as one_spelling

    card = find("demo")
    questions = [one_spelling(q) for q in questions_for(card, [get("gender"), get("age5")])]
    lesson = Lesson(Checkpoint(card, card.checkpoint("gender"), Options(device="cpu")), questions, Objective())
    images = pictures(lesson)
    found = list(lesson.losses(images, [[0, 1], [-1, 2]]))
    assert sorted(len(losses) for losses, _ in found) == [1, 1, 1], "two of the first face, one of the second"


def test_a_page_tells_prompt_and_answer(small: Lesson) -> None:
    shown = page(small.checkpoint, pictures(small, 1)[0], small.questions[0], "Female")
    assert joined(shown.prompt).startswith("<image> x 16 <bos> ")
    assert shown.answer[-1] == "<eos>"
    assert "".join(shown.answer[:-1]) == "Female"
    assert shown.ahead
    assert "(sees itself both ways; not counted)" in shown.told

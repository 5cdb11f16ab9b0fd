"""Adapters of PEFT on base models, against what PEFT itself makes of both; and adapters from anybody."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as tf
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image
from safetensors.torch import load_file, save_file

import facevlm
from facevlm.attributes import get
from facevlm.backends import Options, hub, open_backend, weights
from facevlm.backends.cards import ANY, find, questions_for
from facevlm.backends.choice import card_of, fingerprint, prefix_of
from facevlm.backends.local import LocalBackend
from facevlm.datasets import samples
from facevlm.errors import InputError, ModelError
from facevlm.folders import ASSETS
from facevlm.types import Question
from tests.backends import tiny
from tests.backends.forcing import Reference, open_reference
from tests.backends.test_inventory import Runs

FAMILIES = ("paligemma", "smolvlm", "qwen2_5_vl")
WORDS = r".*(language_model|text_model).*\.(q_proj|v_proj|down_proj)"
EVERYWHERE = r".*\.(q_proj|v_proj)"
ATTRIBUTES = ("gender", "race5", "age5")
Change = Callable[[Path], object]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint folder of a family, built when it is first asked for."""
    root = tmp_path_factory.mktemp("bases")
    return functools.cache(lambda name: tiny.BUILDERS[name](root / name))


@pytest.fixture(scope="session")
def adapter(base: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An adapter of a family, saved by PEFT, beside which nothing else lies."""
    root = tmp_path_factory.mktemp("adapters")
    return functools.cache(lambda name: made(base(name), root / f"my-{name}"))


def made(base: Path, target: Path, seed: int = 0, **settings: Any) -> Path:
    """An adapter with random matrices, as PEFT saves it after training."""
    model = tf.AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": WORDS, "task_type": "CAUSAL_LM", **settings})
    adapted = peft.get_peft_model(model, config)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.2)
    adapted.save_pretrained(str(target))
    return target


def merged(base: Path, adapter: Path) -> Reference:
    """What PEFT makes of both."""
    plain = open_reference(base)
    adapted = peft.PeftModel.from_pretrained(plain.model, str(adapter)).merge_and_unload()
    return Reference(adapted.eval(), plain.processor, plain.ends)


def asked(model: str) -> list[Question]:
    return questions_for(find(model), [get(name) for name in ATTRIBUTES])


@pytest.fixture(scope="module")
def face() -> Image.Image:
    return Image.open(samples.read("single")[0].filepath).convert("RGB").resize((150, 60))


# Scores


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_model_that_peft_merges(
    family: str, base: Callable[[str], Path], adapter: Callable[[str], Path], face: Image.Image
) -> None:
    model, own = f"hf:{adapter(family)}", f"hf:{base(family)}"
    reference, questions = merged(base(family), adapter(family)), asked(model)
    told = find(model)
    assert (told.checkpoints, told.adapter and told.adapter.source) == ({ANY: str(base(family))}, str(adapter(family)))
    [plain] = open_backend(own).answer([face], questions)
    [alone] = open_backend(model).answer([face], questions)
    [put_on] = open_backend(own, Options(adapter=str(adapter(family)))).answer([face], questions)
    [unmerged] = open_backend(model, Options(merge_adapter=False)).answer([face], questions)
    for k, question in enumerate(questions):
        wanted = reference.log_probs(face, question)
        for row in (alone, put_on, unmerged):
            assert row[k].log_probs == pytest.approx(wanted, abs=2e-4)
            assert row[k].choice == reference.chosen(face, question)
        assert plain[k].log_probs != pytest.approx(wanted, abs=0.05)


def test_an_adapter_of_the_tower_for_pictures_counts_too(
    base: Callable[[str], Path], tmp_path: Path, face: Image.Image
) -> None:
    own = made(
        base("paligemma"), tmp_path / "all", target_modules=EVERYWHERE, use_rslora=True, rank_pattern={"v_proj": 2}
    )
    changed = [name for name in load_file(own / "adapter_model.safetensors") if "vision" in name]
    reference, questions = merged(base("paligemma"), own), asked(f"hf:{own}")
    [row] = open_backend(f"hf:{own}").answer([face], questions)
    assert changed
    for reply, question in zip(row, questions, strict=True):
        assert reply.log_probs == pytest.approx(reference.log_probs(face, question), abs=2e-4)


def test_a_merged_model_has_no_layers_of_peft(adapter: Callable[[str], Path]) -> None:
    def layers(merge: bool) -> int:
        backend = open_backend(f"hf:{adapter('paligemma')}", Options(merge_adapter=merge))
        assert isinstance(backend, LocalBackend)
        [name] = backend._loaded.sizes
        return sum("lora_A" in part for part, _ in backend._loaded[name].family.model.named_modules())

    assert layers(True) == 0
    assert layers(False) > 0


# What it is known by


def test_base_and_adapter_are_both_in_the_identity_before_weights_are_read(
    base: Callable[[str], Path], adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    root, other = base("paligemma"), made(base("paligemma"), tmp_path / "other", seed=7)

    def marks(model: str, put_on: Path | None = None) -> tuple[dict[str, str], str]:
        options = Options(adapter=str(put_on) if put_on else None)
        backend, card = open_backend(model, options), card_of(model, options)
        known = weights.revision(card, card.checkpoint("gender"), options)
        assert backend.info.identity[str(root)] == known
        return dict(backend.info.identity), fingerprint(backend.info, card, asked(model)[0])

    plain, plain_mark = marks(f"hf:{root}")
    alone, alone_mark = marks(f"hf:{adapter('paligemma')}")
    put_on, put_on_mark = marks(f"hf:{root}", adapter("paligemma"))
    another, another_mark = marks(f"hf:{root}", other)
    assert alone == put_on
    assert alone_mark == put_on_mark
    assert len({plain_mark, alone_mark, another_mark}) == 3
    [revision] = plain.values()
    assert alone[str(root)] == f"{revision}+{alone[str(adapter('paligemma'))]}"
    assert another[str(other)] != alone[str(adapter("paligemma"))]


def test_another_scale_in_the_configuration_is_another_adapter(adapter: Callable[[str], Path], tmp_path: Path) -> None:
    own = Path(shutil.copytree(adapter("paligemma"), tmp_path / "own"))
    before = open_backend(f"hf:{own}").info.identity[str(own)]
    telling(lora_alpha=16)(own)
    facevlm.unload()
    assert open_backend(f"hf:{own}").info.identity[str(own)] != before


def test_the_card_beside_an_adapter_says_what_is_asked(
    base: Callable[[str], Path], adapter: Callable[[str], Path], tmp_path: Path
) -> None:
    own = Path(shutil.copytree(adapter("paligemma"), tmp_path / "own"))
    (own / "facevlm.json").write_text(json.dumps({"questions": {"gender": "man or woman?"}}))
    (own / "README.md").write_text("---\nlicense: mit\ndatasets: [fairface]\n---\n# An adapter\n")
    assert find(f"hf:{own}").questions == {"gender": "man or woman?"}
    card = card_of(f"hf:{base('paligemma')}", Options(adapter=str(own)))
    assert card.questions == {"gender": "man or woman?"}
    assert prefix_of(card) == "own"
    info = open_backend(f"hf:{own}").info
    assert (info.decision, "peft" in info.versions) == ("greedy", True)
    assert {"checkpoint": str(own), "licence": "mit", "data": "fairface"} in info.stated


def test_the_shipped_model_takes_an_adapter(tmp_path: Path) -> None:
    own = made(ASSETS / "demo_model", tmp_path / "own")
    telling(base_model_name_or_path="package:demo_model")(own)
    questions = questions_for(find("demo"), [get("gender")])
    face = Image.open(samples.read("single")[0].filepath).convert("RGB")
    rows = [
        open_backend(model, Options(adapter=put_on)).answer([face], questions)
        for model, put_on in (("demo", None), ("demo", str(own)), (f"hf:{own}", None))
    ]
    assert rows[1] == rows[2]
    assert rows[0] != rows[1]
    assert find(f"hf:{own}").questions == find("demo").questions


def test_an_adapter_in_the_hubs_cache_opens_without_the_hub(
    base: Callable[[str], Path], adapter: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"hf:{base('paligemma')}"
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "getproxies", dict)
    cached = Path(HF_HUB_CACHE) / "models--org--own"
    shutil.copytree(adapter("paligemma"), cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    options = Options(adapter="org/own")
    assert card_of(own, options).is_here()
    told, same = open_backend(own, options).info, open_backend(f"hf:{adapter('paligemma')}").info
    assert told.identity["org/own"] == same.identity[str(adapter("paligemma"))]
    with pytest.raises(ModelError, match="Name the base as the model, with adapter='org/own'"):
        find("hf:org/own")
    telling(base_model_name_or_path="org/base")(cached / "snapshots" / "abc")
    assert find("hf:org/own").checkpoints == {ANY: "org/base"}
    shutil.rmtree(cached)
    with pytest.raises(ModelError, match="it is not on this machine and the hub cannot be reached"):
        open_backend("demo", Options(adapter="org/own"))


# Adapters from anybody


def telling(**entries: Any) -> Change:
    def change(root: Path) -> None:
        data = json.loads((root / "adapter_config.json").read_text())
        (root / "adapter_config.json").write_text(json.dumps(data | entries))

    return change


def holding(name: str, content: bytes) -> Change:
    return lambda root: (root / name).write_bytes(content)


def resized(root: Path) -> None:
    path = root / "adapter_model.safetensors"
    tensors = {name: torch.zeros(4, 999) if "lora_A" in name else value for name, value in load_file(path).items()}
    save_file(tensors, path)


def halved(root: Path) -> None:
    path = root / "adapter_model.safetensors"
    save_file(dict(list(load_file(path).items())[::3]), path)


WRONG: dict[str, tuple[Change, str]] = {
    "no weights": (lambda root: (root / "adapter_model.safetensors").unlink(), "there are no weights of the adapter"),
    "cut": (lambda root: os.truncate(root / "adapter_model.safetensors", 900), r"adapter_model\.safetensors"),
    "no JSON": (holding("adapter_config.json", b"{"), r"adapter_config\.json cannot be read as JSON"),
    "a list": (holding("adapter_config.json", b"[]"), "got a list, expected a JSON object"),
    "a classifier": (telling(task_type="SEQ_CLS"), "got task_type = 'SEQ_CLS', expected CAUSAL_LM"),
    "prompts": (telling(peft_type="PROMPT_TUNING"), "got peft_type = 'PROMPT_TUNING', expected 'LORA'"),
    "Megatron": (telling(megatron_config={"a": 1}), "got megatron_config"),
    "a large rank": (telling(r=10**9), "got the rank 1000000000, but the weights beside it have 4"),
    "a rank of words": (telling(r="four"), "got the rank 'four'"),
    "a large rank somewhere": (telling(rank_pattern={"v_proj": 10**9}), "got the rank 1000000000"),
    "no base": (telling(base_model_name_or_path=None), r"names '' as its base model.*Name the base as the model"),
    "a base that is gone": (telling(base_model_name_or_path="/nowhere/base"), "names '/nowhere/base' as its base"),
    "a number for a base": (telling(base_model_name_or_path=5), "of another kind, expected texts"),
    "modules that are not there": (telling(target_modules=["nothing"]), "does not fit the base model .*nothing"),
    "other sizes": (resized, r"does not fit the base model .*changes matrices '\w+' of \d+ x 999, there they are of"),
    "half of it": (halved, "does not fit the base model .*no counterpart"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_adapter_is_one_sentence(case: str, adapter: Callable[[str], Path], tmp_path: Path) -> None:
    own = Path(shutil.copytree(adapter("paligemma"), tmp_path / "own"))
    change, said = WRONG[case]
    change(own)
    with pytest.raises(ModelError, match=said) as caught:
        open_backend(f"hf:{own}")
    assert "xpected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_architecture_is_said_before_the_base_is_loaded(
    base: Callable[[str], Path], tmp_path: Path
) -> None:
    wide = tiny.BUILDERS["paligemma"](tmp_path / "wide")
    data = json.loads((wide / "config.json").read_text())
    data["text_config"]["intermediate_size"] = 96
    (wide / "config.json").write_text(json.dumps(data))
    model = tf.AutoModelForImageTextToText.from_config(tf.AutoConfig.from_pretrained(wide))
    model.save_pretrained(wide)
    own = made(wide, tmp_path / "own")
    card = card_of(f"hf:{base('paligemma')}", Options(adapter=str(own)))
    with pytest.raises(ModelError, match=r"'down_proj' of 64 x 96, there they are of 64 x 128.*was trained on"):
        card.check_here()


def test_an_adapter_of_another_family_does_not_fit(base: Callable[[str], Path], adapter: Callable[[str], Path]) -> None:
    options = Options(adapter=str(adapter("smolvlm")))
    with pytest.raises(ModelError, match=r"does not fit the base model .*no counterpart|does not fit .*not found"):
        open_backend(f"hf:{base('qwen2_5_vl')}", options)


def test_pickled_objects_are_not_run_and_tensors_alone_are_read(adapter: Callable[[str], Path], tmp_path: Path) -> None:
    own = Path(shutil.copytree(adapter("paligemma"), tmp_path / "own"))
    tensors = load_file(own / "adapter_model.safetensors")
    (own / "adapter_model.safetensors").unlink()
    torch.save(tensors, own / "adapter_model.bin")
    assert open_backend(f"hf:{own}").info.decode == "score"
    facevlm.unload()
    torch.save({"a": Runs(tmp_path / "made")}, own / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"its weights are pickled objects.*Expected adapter_model\.safetensors"):
        open_backend(f"hf:{own}")
    assert not (tmp_path / "made").exists()


def test_an_adapter_on_an_adapter_is_refused(adapter: Callable[[str], Path], tmp_path: Path) -> None:
    one, own = str(adapter("paligemma")), Path(shutil.copytree(adapter("paligemma"), tmp_path / "own"))
    telling(base_model_name_or_path=one)(own)
    with pytest.raises(ModelError, match="which is an adapter itself; expected a whole model"):
        find(f"hf:{own}")
    with pytest.raises(InputError, match="which is an adapter itself; expected its base"):
        find(f"hf:{one}", one)


@pytest.mark.parametrize(
    ("model", "put_on", "said"),
    [
        ("gpt-4o", "org/name", "takes no adapter; expected hf:ID-or-folder"),
        ("facescan", "org/name", "which is several checkpoints; expected one"),
        ("demo", "/nowhere/own", "The adapter '/nowhere/own' is no folder"),
        ("demo", str(ASSETS / "demo_model"), r"has no adapter_config\.json"),
        ("demo", " ", "Got adapter='', expected"),
    ],
)
def test_where_no_adapter_can_be_is_said(model: str, put_on: str, said: str) -> None:
    with pytest.raises((InputError, ModelError), match=said):
        card_of(model, Options(adapter=put_on))


def test_without_peft_the_remedy_is_named(adapter: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    facevlm.unload()
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r'Run: pip install "facevlm\[train\]"'):
        open_backend(f"hf:{adapter('paligemma')}")

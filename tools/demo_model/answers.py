"""Teach the whole model to answer: tower, projector and decoder, through the label tries that inference uses.

Every step asks all four attributes with the joint prompt (a branch each) and one of them with its
own prompt. Targets mix the teacher's distribution with the annotated label. The teacher sees the tight picture,
the student sometimes a looser frame of it.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import torch
from PIL.Image import new as new_image
from torch import Tensor
from transformers import PaliGemmaForConditionalGeneration

from facevlm.attributes import get
from facevlm.backends.cards import questions_for
from facevlm.backends.families.base import Prepared, Tools, edge_log_probs
from facevlm.backends.families.paligemma import PaliGemma
from facevlm.backends.trie import LabelTrie
from facevlm.backends.tries import Tries
from tools.demo_model.faces import ATTRIBUTES, Batches, Faces, accuracy, loosen, plain, read
from tools.demo_model.model import CARD, CONTEXT, QUESTIONS, build, processor, save
from tools.demo_model.tower import follow, groups_of, load_teacher, soft_loss, tower_config

DECODER = {"layers": 3, "width": 128, "mlp": 384}
OUT = Path(__file__).resolve().parents[2] / "facevlm" / "assets" / "demo_model"


class Asker:
    """Unnormalised label log-probabilities of the joint prompt or of one attribute's own prompt."""

    def __init__(self, family: PaliGemma) -> None:
        self.family, self._tries = family, Tries(family)
        self._picture = Prepared({}, family.picture_text({}), new_image("RGB", (1, 1)))
        asked = [get(name) for name in ATTRIBUTES]
        self.joint = self._tries.trie(self._picture, questions_for(CARD, asked))
        self.single = [self._tries.trie(self._picture, [q]) for q in questions_for(CARD, asked, joint=False)]

    def together(self, features: Tensor) -> list[Tensor]:
        edges = self._edges(features, CONTEXT, self.joint)
        return [self._labels(edges, self.joint, branch) for branch in range(len(ATTRIBUTES))]

    def alone(self, features: Tensor, attribute: int) -> Tensor:
        trie = self.single[attribute]
        return self._labels(self._edges(features, QUESTIONS[list(ATTRIBUTES)[attribute]], trie), trie, 0)

    def _edges(self, features: Tensor, prompt: str, trie: LabelTrie) -> Tensor:
        ids, keep = self._tries.ids(self._picture, prompt), trie.scored_positions()
        return edge_log_probs(self.family.logits({"features": features}, [ids] * len(features), trie, keep), trie, keep)

    @staticmethod
    def _labels(edges: Tensor, trie: LabelTrie, branch: int) -> Tensor:
        return torch.stack([edges[:, forms[0]].sum(1) for forms in trie.paths(branch)], 1)


def tools_of(proc: Any) -> Tools:
    return Tools(proc.image_processor, proc.tokenizer, processor=proc)


def projected(family: PaliGemma, pixels: Tensor) -> Tensor:
    """Projected picture tokens, with gradients."""
    features: Tensor = family.see({"pixel_values": pixels})["features"]
    return features


def answer_loss(said: list[Tensor], taught: list[Tensor], labels: Tensor, hard: float) -> Tensor:
    """Cross-entropy over the label set plus what lies outside of it."""
    outside = sum(-scores.logsumexp(1).mean() for scores in said)
    return soft_loss(said, taught, labels, hard) + 0.3 * outside


@torch.no_grad()
def evaluate(asker: Asker, held: dict[str, Faces]) -> dict[str, float]:
    """Held-out accuracy with the joint prompt (``gender``) and with separate ones (``gender'``)."""
    out: dict[str, float] = {}
    asker.family.model.eval()
    for faces in held.values():
        rows = []
        for i in range(0, len(faces), 256):
            features = projected(asker.family, plain(faces.pictures[i : i + 256]))
            rows.append([*asker.together(features), *(asker.alone(features, k) for k in range(len(ATTRIBUTES)))])
        table = [torch.cat([row[k] for row in rows]) for k in range(2 * len(ATTRIBUTES))]
        joint, single = accuracy(table[:4], faces.labels), accuracy(table[4:], faces.labels)
        out |= {k: round(v, 4) for k, v in joint.items() if v == v}
        out |= {f"{k}'": round(v, 4) for k, v in single.items() if v == v}
    return out


def start_model(work: Path) -> tuple[PaliGemmaForConditionalGeneration, PaliGemma]:
    """A fresh model with the distilled tower in it."""
    saved = torch.load(work / "student.pt")
    proc = processor()
    vision = tower_config(*saved["shape"])
    vision.projection_dim = DECODER["width"]
    model = build(vision, DECODER["layers"], DECODER["width"], DECODER["mlp"], proc)
    prefix = "tower."
    state = {k.removeprefix(prefix): v for k, v in saved["state"].items() if k.startswith(prefix)}
    model.model.vision_tower.load_state_dict(state)
    return model, PaliGemma(model, tools_of(proc))


def continued(folder: Path) -> tuple[PaliGemmaForConditionalGeneration, PaliGemma]:
    """A saved model, in float32."""
    model = PaliGemmaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return model, PaliGemma(model, tools_of(processor()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--tower-lr", type=float, default=4e-4)
    parser.add_argument("--every", type=int, default=400)
    parser.add_argument("--work", type=Path, default=Path("/tmp/demo_model"))
    parser.add_argument("--resume", type=Path, help="go on from a saved model")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    sets = {name: read(name) for name in ("utkface", "fer2013")}
    held = {k: v["held_out"] for k, v in sets.items()}
    torch.manual_seed(5)
    teacher = load_teacher(args.work)
    model, family = continued(args.resume) if args.resume else start_model(args.work)
    print(f"model {sum(p.numel() for p in model.parameters()):,}", flush=True)
    asker = Asker(family)
    average = copy.deepcopy(model)
    watched = Asker(PaliGemma(average, family.tools))
    tower = model.model.vision_tower
    rest = torch.nn.ModuleList([model.model.multi_modal_projector, model.model.language_model])
    optimizer = torch.optim.AdamW(
        [g | {"base": args.tower_lr} for g in groups_of(tower, 0.05)]
        + [g | {"base": args.lr} for g in groups_of(rest, 0.05)],
        betas=(0.9, 0.98),
    )
    batches = Batches({k: v["train"] for k, v in sets.items()}, args.batch, seed=4)
    start, seconds, step, seen = time.time(), args.minutes * 60, 0, 0
    while (done := (time.time() - start) / seconds) < 1:
        warm = min(1, step / 200)
        for group in optimizer.param_groups:
            settled = warm if group["base"] == args.lr else min(1, max(0, (step - 250) / 250))
            group["lr"] = group["base"] * settled * (1 - done) + 1e-7
        batches.strength = 1.0 if done < 0.7 else 0.6
        pictures, labels = next(batches)
        model.train()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            taught = [t.float() for t in teacher(pictures.contiguous(memory_format=torch.channels_last))]
        with torch.autocast("cpu", torch.bfloat16):
            features = projected(family, loosen(pictures, batches.generator))
            said = asker.together(features)
            k = step % len(ATTRIBUTES)
            own = asker.alone(features, k)
        loss = answer_loss(said, taught, labels, hard=0.35) + answer_loss(
            [own], [taught[k]], labels[:, k : k + 1], 0.35
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, seen = step + 1, seen + len(pictures)
        follow(average, model, step)
        if step % args.every == 0:
            rate = f"{seen / (time.time() - start):.0f}/s"
            print(step, seen, rate, round(float(loss.detach()), 3), evaluate(watched, held), flush=True)
            save(copy.deepcopy(average), family.tools.processor, args.work / "demo")
    print("answers", seen, evaluate(watched, held), flush=True)
    save(average, family.tools.processor, args.out)


if __name__ == "__main__":
    main()

"""The SigLIP tower, started like a convolution and taught by the small network's feature maps.

A transformer this small learns little from 48,000 pictures by itself. Two helps make it
possible: every attention head starts as a look at one neighbouring patch (structured initialisation after
Zheng et al., "Structured Initialization for Vision Transformers", 2024), and every patch token has
to reproduce the teacher's features at its place (dense distillation), which needs no labels.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from tools.demo_model.faces import ATTRIBUTES, SIZE, Batches, read
from tools.demo_model.teacher import WIDTHS, Teacher, evaluate

PATCH = 8
GRID = SIZE // PATCH
FREQUENCIES = 4
OFFSETS = (((0, 1), (0, -1), (1, 0), (-1, 0)), ((1, 1), (-1, 1), (1, -1), (-1, -1)))


def tower_config(width: int, layers: int, heads: int, mlp: int) -> SiglipVisionConfig:
    return SiglipVisionConfig(
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=SIZE,
        patch_size=PATCH,
        vision_use_head=False,
        projection_dim=width,
    )


@torch.no_grad()
def start_local(tower: SiglipVisionModel) -> None:
    """Sinusoidal positions, and query/key weights with which head h attends to offset h; the last head sees all."""
    model = getattr(tower, "vision_model", tower)
    width, heads = tower.config.hidden_size, tower.config.num_attention_heads
    dim, used = width // heads, 4 * FREQUENCIES
    at = torch.arange(GRID * GRID)
    omega = 2 * math.pi * torch.arange(1, FREQUENCIES + 1) / (2 * GRID)
    phase = torch.cat([(at // GRID)[:, None] * omega, (at % GRID)[:, None] * omega], 1)
    position = model.embeddings.position_embedding.weight
    position.normal_(0, 0.02)
    position[:, :used] = torch.cat([phase.cos(), phase.sin()], 1)
    model.embeddings.patch_embedding.weight[:used] = 0
    for depth, layer in enumerate(model.encoder.layers):
        attention = layer.self_attn
        for weight in (attention.q_proj.weight, attention.k_proj.weight):
            weight.normal_(0, 0.02)
        for head, (dy, dx) in enumerate(OFFSETS[depth % 2][: heads - 1]):
            rows = slice(head * dim, head * dim + used)
            angle = torch.cat([dy * omega, dx * omega])
            cos, sin = torch.diag(angle.cos()), torch.diag(angle.sin())
            turn = torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])
            attention.q_proj.weight[rows, :used] += 1.5 * turn
            attention.k_proj.weight[rows, :used] += 1.5 * torch.eye(used)


class Student(nn.Module):
    """The tower with throw-away heads: teacher features per patch, and the four attributes."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.tower = SiglipVisionModel(config)
        start_local(self.tower)
        width = config.hidden_size
        _, b, c, d = WIDTHS
        self.tap = config.num_hidden_layers // 2
        self.early = nn.Linear(width, 4 * b + c)
        self.late = nn.Linear(width, c + d)
        self.heads = nn.ModuleList([nn.Linear(width, len(v)) for v in ATTRIBUTES.values()])

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.classify(self.tower(x).last_hidden_state)

    def classify(self, tokens: Tensor) -> list[Tensor]:
        return [head(tokens.mean(1)) for head in self.heads]

    def learn(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Features foreseen half way and at the end, (n, 64, channels) each, and the logits."""
        out = self.tower(x, output_hidden_states=True)
        tokens = out.last_hidden_state
        return self.early(out.hidden_states[self.tap]), self.late(tokens), self.classify(tokens)


class Targets(nn.Module):
    """The teacher's feature maps as per-patch targets with zero mean and unit variance."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        self.early_norm, self.late_norm = (nn.BatchNorm1d(n, affine=False, momentum=0.02) for n in self.sizes())

    @staticmethod
    def sizes() -> tuple[int, int]:
        _, b, c, d = WIDTHS
        return 4 * b + c, c + d

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        teacher = self.teacher
        x = teacher.stem(x.contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in teacher.stages:
            x = stage(x)
            maps.append(x.float())
        second, third, last = maps[1:]
        wide = F.interpolate(last, (GRID, GRID), mode="bilinear", align_corners=False)
        early = torch.cat([F.pixel_unshuffle(second, 2), third], 1)
        late = torch.cat([third, wide], 1)
        logits = [scores.float() for scores in teacher.classify(last)]
        return self._norm(self.early_norm, early), self._norm(self.late_norm, late), logits

    @staticmethod
    def _norm(norm: nn.BatchNorm1d, maps: Tensor) -> Tensor:
        return norm(maps.flatten(2)).transpose(1, 2)


def soft_loss(logits: list[Tensor], taught: list[Tensor], labels: Tensor, hard: float) -> Tensor:
    """Teacher's distribution on every picture, mixed with the annotated label where there is one."""
    total = logits[0].new_zeros(())
    for k, (scores, teach) in enumerate(zip(logits, taught, strict=True)):
        target = teach.softmax(1)
        known = labels[:, k] >= 0
        truth = F.one_hot(labels[:, k].clamp_min(0), scores.shape[1]).float()
        target = torch.where(known[:, None], (1 - hard) * target + hard * truth, target)
        weight = torch.where(known, 1.0, 0.3)
        loss = -(target * scores.float().log_softmax(1)).sum(1)
        total = total + (loss * weight).sum() / weight.sum()
    return total


def load_teacher(work: Path) -> Teacher:
    teacher = Teacher().to(memory_format=torch.channels_last)
    teacher.load_state_dict(torch.load(work / "teacher.pt"))
    teacher.requires_grad_(False)
    return teacher.eval()


def groups_of(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay on matrices alone."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def follow(average: nn.Module, model: nn.Module, step: int, most: float = 0.998) -> None:
    """Exponential moving average of weights and buffers."""
    keep = min(most, step / (step + 10))
    with torch.no_grad():
        for mean, now in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--shape", type=int, nargs=4, default=(192, 6, 6, 576), help="width layers heads mlp")
    parser.add_argument("--work", type=Path, default=Path("/tmp/demo_model"))
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--every", type=int, default=500)
    args = parser.parse_args()
    sets = {name: read(name) for name in ("utkface", "fer2013")}
    held = {k: v["held_out"] for k, v in sets.items()}
    torch.manual_seed(0)
    targets = Targets(load_teacher(args.work))
    targets.teacher.eval()
    model = Student(tower_config(*args.shape))
    average = copy.deepcopy(model)
    print(f"tower {sum(p.numel() for p in model.tower.parameters()):,}", flush=True)
    optimizer = torch.optim.AdamW(groups_of(model, 0.05), lr=args.lr, betas=(0.9, 0.98))
    batches = Batches({k: v["train"] for k, v in sets.items()}, args.batch, seed=2)
    start, seconds, step, seen = time.time(), args.minutes * 60, 0, 0
    while (done := (time.time() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, step / 300) * (1 - done) + 1e-6
        pictures, labels = next(batches)
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.float32):
            early, late, taught = targets(pictures)
            early_said, late_said, logits = model.learn(pictures)
        dense = F.smooth_l1_loss(early_said.float(), early) + F.smooth_l1_loss(late_said.float(), late)
        loss = 4 * dense + 0.5 * soft_loss(logits, taught, labels, hard=0.3)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, seen = step + 1, seen + len(pictures)
        follow(average, model, step)
        if step % args.every == 0:
            scores = {k: round(v, 3) for k, v in evaluate(average, held).items()}
            rate = f"{seen / (time.time() - start):.0f}/s"
            print(step, seen, rate, round(float(dense.detach()), 4), scores, flush=True)
            torch.save({"shape": args.shape, "state": average.state_dict()}, args.work / "student.pt")
    torch.save({"shape": args.shape, "state": average.state_dict()}, args.work / "student.pt")
    print("tower", seen, {k: round(v, 4) for k, v in evaluate(average, held).items()}, flush=True)


if __name__ == "__main__":
    main()

"""A small residual network that learns the four attributes in minutes; its feature map teaches the tower."""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.demo_model.faces import ATTRIBUTES, Batches, Faces, accuracy, plain, read

WIDTHS = (32, 64, 128, 224)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        same = stride == 1 and c_in == c_out
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.AvgPool2d(stride, stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(c_in, c_out, 1, bias=False),
                nn.BatchNorm2d(c_out),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Teacher(nn.Module):
    """Pictures (n, 3, 64, 64) in [-1, 1] -> one tensor of logits per attribute."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.stem = nn.Sequential(nn.Conv2d(3, a, 3, 2, 1, bias=False), nn.BatchNorm2d(a), nn.ReLU())
        self.stages = nn.ModuleList(
            [
                nn.Sequential(Block(a, a, 1)),
                nn.Sequential(Block(a, b, 2), Block(b, b, 1)),
                nn.Sequential(Block(b, c, 2), Block(c, c, 1)),
                nn.Sequential(Block(c, d, 2), Block(d, d, 1)),
            ]
        )
        self.dropout = nn.Dropout(0.1)
        self.heads = nn.ModuleList([nn.Linear(d, len(v)) for v in ATTRIBUTES.values()])

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps (n, 128, 8, 8) and (n, 224, 4, 4)."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[2], maps[3]

    def classify(self, last: Tensor) -> list[Tensor]:
        pooled = self.dropout(last.mean((2, 3)))
        return [head(pooled) for head in self.heads]

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.classify(self.features(x)[1])


def loss_of(logits: list[Tensor], labels: Tensor) -> Tensor:
    """Sum over attributes of the label-smoothed cross-entropy over labelled pictures."""
    losses = [
        F.cross_entropy(scores, labels[:, k], ignore_index=-1, label_smoothing=0.05) for k, scores in enumerate(logits)
    ]
    return torch.stack(losses).sum()


@torch.no_grad()
def evaluate(model: nn.Module, held: dict[str, Faces]) -> dict[str, float]:
    """Held-out accuracy per attribute; a picture and its mirror image are averaged."""
    model.eval()
    out: dict[str, float] = {}
    for faces in held.values():
        rows = []
        for chunk in plain_chunks(faces):
            rows.append([a + b for a, b in zip(model(chunk), model(chunk.flip(3)), strict=True)])
        logits = [torch.cat([r[k] for r in rows]) for k in range(len(ATTRIBUTES))]
        scores = accuracy(logits, faces.labels)
        out |= {k: v for k, v in scores.items() if v == v}
    return out


def plain_chunks(faces: Faces, size: int = 256) -> list[Tensor]:
    return [
        plain(faces.pictures[i : i + size]).contiguous(memory_format=torch.channels_last)
        for i in range(0, len(faces), size)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--work", type=Path, default=Path("/tmp/demo_model"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    sets = {name: read(name) for name in ("utkface", "fer2013")}
    train = {k: v["train"] for k, v in sets.items()}
    held = {k: v["held_out"] for k, v in sets.items()}
    print({k: (len(v["train"]), len(v["held_out"])) for k, v in sets.items()}, flush=True)
    torch.manual_seed(0)
    model = Teacher().to(memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    batches = Batches(train, args.batch, seed=1)
    start, seconds, step, seen = time.time(), args.minutes * 60, 0, 0
    while (done := (time.time() - start) / seconds) < 1:
        rate = args.lr * min(1, step / 200) * (1 - done) ** 1.2 + 1e-6
        for group in optimizer.param_groups:
            group["lr"] = rate
        pictures, labels = next(batches)
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pictures.contiguous(memory_format=torch.channels_last))
        loss = loss_of([scores.float() for scores in logits], labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step, seen = step + 1, seen + len(pictures)
        with torch.no_grad():
            keep = min(0.998, step / (step + 10))
            for mean, now in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)
        if step % 400 == 0:
            scores = {k: round(v, 3) for k, v in evaluate(average, held).items()}
            print(
                step, seen, f"{seen / (time.time() - start):.0f}/s", round(float(loss.detach()), 3), scores, flush=True
            )
            torch.save(average.state_dict(), args.work / "teacher.pt")
    torch.save(average.state_dict(), args.work / "teacher.pt")
    print("teacher", seen, {k: round(v, 4) for k, v in evaluate(average, held).items()}, flush=True)


if __name__ == "__main__":
    main()

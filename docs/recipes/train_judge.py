"""Train the shipped identity judge.

    python docs/recipes/synthetic_faces.py --families 20000 --output families.safetensors
    python docs/recipes/train_judge.py families.safetensors faces128-train.zip \\
        --output judge.safetensors

Three quarters of each batch are members of one family of generated faces, a quarter are two crops
of one photo. The same command continues a run that was stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylemix.metrics.identity_judge import SIZE, Judge
from stylemix.training.data.dataset import ImageDataset

TEMPERATURE = 0.1
HELD_OUT = 500  # families


def distort(crops: Tensor) -> Tensor:
    """Augmented crops [N, 3, 64, 64] in 0..255: geometry, colour, blur, posterising, cutout."""
    n = len(crops)

    def uniform(low: float, high: float, shape: tuple[int, ...] = (n, 1, 1, 1)) -> Tensor:
        return torch.rand(shape) * (high - low) + low

    angle, zoom = uniform(-0.14, 0.14, (n,)), uniform(0.92, 1.1, (n,))
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift = uniform(-0.08, 0.08, (n, 2))
    theta = torch.stack(
        [
            torch.stack([cos * flip, -sin, shift[:, 0]], 1),
            torch.stack([sin * flip, cos, shift[:, 1]], 1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [n, 3, SIZE, SIZE], align_corners=False)
    x = F.grid_sample(crops / 255, grid, padding_mode="reflection", align_corners=False)
    x = (x * uniform(0.4, 1.6, (n, 3, 1, 1)) + uniform(-0.2, 0.2, (n, 3, 1, 1))).clamp(0, 1)
    x = (x + 1e-3) ** torch.exp(uniform(-0.5, 0.5))
    small = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.3, small, x)
    levels = uniform(3, 8).round()
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.2, (x * levels).round() / levels, x)
    x = x + torch.randn_like(x) * uniform(0, 0.08)
    side, centre = uniform(0, 0.35, (n, 1, 1)), torch.rand(n, 2, 1, 1)
    line = (torch.arange(SIZE) + 0.5) / SIZE
    box = ((line[None, None, :] - centre[:, 0]).abs() < side / 2) & (
        (line[None, :, None] - centre[:, 1]).abs() < side / 2
    )
    box = box & (torch.rand(n, 1, 1) < 0.4)
    return torch.where(box[:, None], uniform(0, 1), x).clamp(0, 1) * 255


def contrast(a: Tensor, b: Tensor) -> Tensor:
    """Symmetric InfoNCE of unit vectors a, b [N, D]; row i of both is a positive pair."""
    logits = a @ b.t() / TEMPERATURE
    labels = torch.arange(len(a))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2


@torch.no_grad()
def retrieval(judge: Judge, families: Tensor) -> float:
    """Top-1 retrieval of the second member by the first, of families [N, K, 3, H, W]."""
    first, second = (judge(families[:, i].float()) for i in (0, 1))
    return float(((first @ second.t()).argmax(dim=1) == torch.arange(len(first))).float().mean())


@click.command()
@click.argument("families", type=click.Path(exists=True, path_type=Path))
@click.argument("photos", type=click.Path(exists=True, path_type=Path))
@click.option("--steps", default=3000, show_default=True)
@click.option("--batch", default=128, show_default=True, help="Pairs.")
@click.option("--lr", default=0.002, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(families: Path, photos: Path, steps: int, batch: int, lr: float, output: Path) -> None:
    """Write the weights in half precision, and print metrics every 100 steps."""
    images = load_file(families)["pictures"]
    images, held_out = images[:-HELD_OUT], images[-HELD_OUT:]
    real = ImageDataset([photos], SIZE)
    judge, first_step = Judge(), 0
    adam = torch.optim.Adam(judge.parameters(), lr=lr, betas=(0.9, 0.99))
    state = output.with_suffix(".state")
    if state.exists():
        first_step, weights, moments = torch.load(state, weights_only=True)
        judge.load_state_dict(weights)
        adam.load_state_dict(moments)
    started = time.monotonic()
    for step in range(first_step, steps):
        torch.manual_seed(step)
        for group in adam.param_groups:
            group["lr"] = (
                lr * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
            )
        chosen = torch.randint(len(images), [batch * 3 // 4])
        members = torch.rand(len(chosen), images.shape[1]).argsort(dim=1)[:, :2]
        photo, _ = real.batch(torch.randint(len(real), [batch // 4]).tolist())
        pair = [torch.cat([images[chosen, members[:, i]], photo]).float() for i in (0, 1)]
        a, b = judge(distort(torch.cat(pair)), torch.bfloat16).chunk(2)
        # Negatives of generated faces are generated faces, those of photos are photos.
        split = len(chosen)
        loss = 0.75 * contrast(a[:split], b[:split]) + 0.25 * contrast(a[split:], b[split:])
        adam.zero_grad()
        loss.backward()
        adam.step()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            metrics = {
                "step": step + 1,
                "loss": round(float(loss.detach()), 3),
                "retrieval": round(retrieval(judge, held_out), 3),
                "seconds": round(time.monotonic() - started),
            }
            click.echo(json.dumps(metrics))
            torch.save((step + 1, judge.state_dict(), adam.state_dict()), f"{state}.new")
            os.replace(f"{state}.new", state)
    tensors = {k: v.half().contiguous() for k, v in judge.state_dict().items()}
    save_file(tensors, output, {"families": families.name, "steps": str(steps)})


if __name__ == "__main__":
    main()

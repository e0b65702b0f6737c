"""What a run writes while it goes on: stats.jsonl, sample grids, snapshots."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from stylemix.alignment import Template
from stylemix.checkpoint import save_model
from stylemix.files import Json, write_text
from stylemix.images import save_image, to_pil
from stylemix.model import Model
from stylemix.sheets import grid
from stylemix.training.config import TrainConfig
from stylemix.training.state import TrainState

Stats = dict[str, list[Tensor]]


def add(stats: Stats, name: str, value: Tensor) -> None:
    """Collects a value without waiting for the device."""
    stats.setdefault(name, []).append(value.detach().float().mean())


def write_stats(folder: Path, state: TrainState, stats: Stats) -> dict[str, float]:
    """Appends one line of means to stats.jsonl, empties `stats` and returns the line."""
    line: dict[str, float] = {
        "Progress/kimg": round(state.cur_nimg / 1000, 3),
        "Progress/augment": round(state.augment_p, 4),
        "Timing/total_sec": round(state.seconds, 1),
    }
    line |= {name: float(torch.stack(values).mean()) for name, values in stats.items()}
    stats.clear()
    with (folder / "stats.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return line


def drop_stats_after(folder: Path, kimg: float) -> None:
    """Removes lines that a run is about to write again, and one that a crash left unfinished."""
    path = folder / "stats.jsonl"
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, KeyError, TypeError):
            if json.loads(line)["Progress/kimg"] <= kimg:
                kept.append(line + "\n")
    write_text(path, "".join(kept))


def save_reals(folder: Path, images: Tensor) -> None:
    """Writes the real images [N, 3, H, W] in [-1, 1] as one picture."""
    _save_grid(folder / "reals.png", images, generated=False)


def save_snapshot(
    folder: Path, state: TrainState, config: TrainConfig, template: Template, data: str
) -> Path:
    """Writes fakes-KIMG.png from fixed latents and snapshot-KIMG.safetensors, both to use."""
    name = f"{state.cur_nimg // 1000:06d}"
    generator = state.generator_ema
    device = next(generator.parameters()).device
    draw = torch.Generator().manual_seed(config.seed)
    z = torch.randn([48, config.z_dim], generator=draw).to(device)
    c = None
    if generator.c_dim:
        c = torch.eye(generator.c_dim, device=device).repeat(48, 1)[:48]
    with torch.no_grad():
        images = generator.synthesis(generator.mapping(z, c), noise_mode="const")
    _save_grid(folder / f"fakes-{name}.png", images, generated=True)
    card: dict[str, Json] = {
        "data": data,
        "kimg": round(state.cur_nimg / 1000, 3),
        "seconds": round(state.seconds),
        "seed": config.seed,
    }
    model = Model(generator, state.discriminator, template, card)
    path = folder / f"snapshot-{name}.safetensors"
    save_model(path, model)
    return path


def _save_grid(path: Path, images: Tensor, generated: bool) -> None:
    cells = [to_pil(image) for image in images.float().cpu()]
    cell = max(images.shape[-1], 64)
    save_image(path, grid(cells, columns=8, cell=cell, gap=2), generated=generated)

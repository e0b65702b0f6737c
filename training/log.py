"""Files that a run writes during training: stats.jsonl, image grids, snapshots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import to_pil
from stylemix.images.write import save_image
from stylemix.io.atomic import Json, write_text
from stylemix.io.json_text import parse_json
from stylemix.memory import peak_memory
from stylemix.models.checkpoint import save_model
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.training.config import ResolvedConfig
from stylemix.training.session import TrainingData
from stylemix.training.snapshots import snapshot_name
from stylemix.training.state import Counters, TrainState

Stats = dict[str, list[Tensor]]
GRID = 48  # images in a grid


def add(stats: Stats, name: str, value: Tensor) -> None:
    """Collects a value without synchronizing with the device."""
    stats.setdefault(name, []).append(value.detach().float().mean())


def report(
    state: TrainState, config: ResolvedConfig, stats: Stats, timing: Timing
) -> dict[str, float]:
    """Returns a line of means (losses, rates, time and memory) and clears `stats`."""
    counters = state.counters
    kimg = counters.cur_nimg / 1000
    line: dict[str, float] = {
        "Progress/kimg": round(kimg, 3),
        "Progress/augment": round(counters.augment_p, 4),
        "Progress/lr": config.value("lr", counters.cur_nimg) * counters.lr_scale,
        "Progress/rollbacks": counters.rollbacks,
        "Timing/total_sec": round(counters.seconds, 1),
        "Timing/sec_per_kimg": round(timing.lap(kimg, counters.seconds), 3),
    } | memory_use(state.sign_sum.device)
    line |= {name: float(torch.stack(values).mean()) for name, values in stats.items()}
    stats.clear()
    return line


class Timing:
    """Seconds per kimg since the last report."""

    def __init__(self, counters: Counters) -> None:
        self.kimg, self.seconds = counters.cur_nimg / 1000, counters.seconds

    def lap(self, kimg: float, seconds: float) -> float:
        """Returns the seconds per kimg since the last call."""
        sec_per_kimg = (seconds - self.seconds) / max(kimg - self.kimg, 1e-9)
        self.kimg, self.seconds = kimg, seconds
        return sec_per_kimg


def memory_use(device: torch.device) -> dict[str, float]:
    """Returns the peak memory in GiB of the process and of the GPU."""
    use: dict[str, float] = {}
    if (peak := peak_memory()) is not None:
        use["Resources/cpu_mem_gb"] = round(peak / 2**30, 3)
    if device.type == "cuda":
        use["Resources/peak_gpu_mem_gb"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    return use


def write_line(path: Path, line: Mapping[str, Json]) -> None:
    """Appends a line of JSON; values that are not finite are written as null."""
    finite = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(finite) + "\n")


class Board:
    """A TensorBoard writer that does nothing unless enabled."""

    def __init__(self, folder: Path, enabled: bool) -> None:
        self.writer = None
        if enabled:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise StylemixError(
                    "got --tensorboard, but it is not installed; "
                    "pip install 'stylemix[tensorboard]'"
                ) from error
            self.writer = SummaryWriter(str(folder))

    def scalars(self, line: Mapping[str, float], cur_nimg: int) -> None:
        """Writes scalars; the step is images seen."""
        if self.writer is not None:
            for name, value in line.items():
                self.writer.add_scalar(name, value, cur_nimg)
            self.writer.flush()

    def image(self, path: Path, cur_nimg: int) -> None:
        """Writes an image file to TensorBoard."""
        if self.writer is not None:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            self.writer.add_image("fakes", pixels, cur_nimg, dataformats="HWC")
            self.writer.flush()


def drop_lines_after(path: Path, kimg: float) -> None:
    """Removes lines that a resumed run will write again, and an incomplete last line."""
    if not path.exists():
        return
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, KeyError, TypeError):
            if parse_json(line)["Progress/kimg"] <= kimg:
                lines.append(line + "\n")
    write_text(path, "".join(lines))


def save_reals(folder: Path, images: Tensor) -> None:
    """Writes a grid of real images [N, 3, H, W] in [-1, 1]."""
    _save_grid(folder / "reals.png", images, generated=False)


def save_snapshot(
    folder: Path, state: TrainState, config: ResolvedConfig, data: TrainingData
) -> Path:
    """Writes fakes-KIMG.png from fixed latents, and snapshot-KIMG.safetensors; see `snapshot_name`.

    With labels in the data, the grid cycles through the distinct labels.
    """
    counters = state.counters
    name = snapshot_name(folder, counters.cur_nimg)
    generator = state.generator_ema
    rng = torch.Generator().manual_seed(config.seed)
    z = torch.randn([GRID, generator.z_dim], generator=rng).to(generator.device)
    c, labels = None, data.images.labels
    if labels is not None:
        distinct = labels.unique(dim=0)
        c = distinct.repeat(-(-GRID // len(distinct)), 1)[:GRID].to(generator.device)
    with torch.no_grad():
        parts = generator.mapping(z, c).split(batch_size(generator, GRID))
        drawn = [generator.synthesis(part, noise_mode="const").float().cpu() for part in parts]
    images = torch.cat(drawn)
    _save_grid(folder / f"fakes-{name}.png", images, generated=True)
    card: dict[str, Json] = {
        "data": data.title,
        "kimg": round(counters.cur_nimg / 1000, 3),
        "seconds": round(counters.seconds),
        "seed": config.seed,
    }
    parent = dict(counters.parent)  # whose licence binds this model, too
    origin = parent.pop("origin", "stylemix")
    if parent:
        card |= {"transfer": parent.pop("fingerprint"), **parent}
    model = Model(generator, state.discriminator, data.template, card, origin)
    path = folder / f"snapshot-{name}.safetensors"
    save_model(path, model)
    return path


def _save_grid(path: Path, images: Tensor, generated: bool) -> None:
    cells = [to_pil(image.nan_to_num(0)) for image in images]  # of a run that diverges
    cell = max(images.shape[-1], 64)
    sheet = grid(cells, columns=8, cell=cell, gap=2)
    save_image(path, sheet, generated, metadata_only=True)  # for the eyes of who trains

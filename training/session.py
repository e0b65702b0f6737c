"""How a run begins (anew, from a model, from its last whole state), and how it goes back."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE, Template
from stylemix.metrics.extractors import PictureSet
from stylemix.models.checkpoint import load_model
from stylemix.models.container import Damaged
from stylemix.models.model import Model
from stylemix.training.config import ResolvedConfig, TrainConfig, continued
from stylemix.training.data.base import PixelDataset
from stylemix.training.distributed import Ranks
from stylemix.training.state import TrainState
from stylemix.training.state_files import Run, read_state, save_state, state_files
from stylemix.training.warm_start import finest_layers, silence, transfer

OLD_STATE = "state.safetensors"


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Args:
        images: the real ones.
        template: how their faces are aligned; stored in the model.
        name: for the model card.
        held_out: images that the metrics compare with; None for the training images.
    """

    images: PixelDataset
    template: Template = NO_TEMPLATE
    name: str = ""
    held_out: PictureSet | None = None


def begin(
    asked: TrainConfig, data: str, c_dim: int, folder: Path, device: torch.device, ranks: Ranks
) -> tuple[TrainState, Run]:
    """The state and settings that a run goes on from, the same on every rank.

    Rank 0 alone reads the folder and the model to start from; its errors end the other ranks too.

    Args:
        asked: settings as given, with gaps.
        data: fingerprint of the data.
        c_dim: width of the labels.
        folder: the run folder.
        device: of this rank.
        ranks: the processes of the run.
    """
    config = asked.resolve(ranks.world, device.type)
    # Processors may differ, and with them the automatic precision: the first one decides for all.
    config = ResolvedConfig(**json.loads(ranks.broadcast_text(json.dumps(asdict(config)))))
    tensors: dict[str, Tensor] = {}
    word: dict[str, Any] = {}
    model: Model | None = None
    if ranks.lead:
        try:
            tensors, word = last_state(folder, asked, data)
            if config.transfer and not word:
                model = load_model(config.transfer)
                config = replace(config, d_fromrgb_at=_fromrgb_at(config, model))
        except StylemixError as error:
            word = {"error": str(error)}
    word, sizes = json.loads(ranks.broadcast_text(json.dumps([word, config.d_fromrgb_at])))
    if "error" in word:
        raise StylemixError(word["error"])
    config = replace(config, d_fromrgb_at=sizes)
    if word:
        config = continued(word["config"], config)
    config.part_size(ranks.world)  # refuses what cannot be split
    run = Run(asked, config, data)
    state = TrainState.create(config, c_dim, device)
    state.frozen = finest_layers(state.discriminator, config.freeze_d)
    if word:
        fill(state, tensors, word["counters"], ranks)
        return state, run
    if config.transfer:
        found = [] if model is None else _common_names(state, model)
        state.mark(json.loads(ranks.broadcast_text(json.dumps(found))))
        if model is not None:
            _transfer(state, model, config)
    ranks.broadcast_(tensor for tensor in state.tensors().values())
    return state, run


def last_state(
    folder: Path, asked: TrainConfig, data: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The newest state of a folder that is whole; nothing where there is none.

    A damaged one is named and passed over; StylemixError where all are damaged.
    """
    damaged = None
    for path in state_files(folder):
        try:
            found = read_state(path, asked, data)
        except Damaged as error:
            damaged = error
            print(f"Passed over: {error}", file=sys.stderr)
            continue
        if damaged:
            print(f"Going on from {path}", file=sys.stderr)
        return found
    if damaged is not None:
        raise StylemixError(f"{damaged}; no other one is left; delete it to start anew")
    if (folder / OLD_STATE).exists():
        raise StylemixError(
            f"got {folder / OLD_STATE} of an older stylemix; expected none; use another --output, "
            "and --transfer with the last snapshot"
        )
    return {}, {}


def fill(
    state: TrainState, tensors: dict[str, Tensor], counters: dict[str, Any], ranks: Ranks
) -> None:
    """Gives every rank the tensors that rank 0 has read."""
    if ranks.world > 1:
        device = state.sign_sum.device
        blob = save_bytes(tensors) if ranks.lead else b""
        size = int(ranks.broadcast_text(str(len(blob))))
        box = torch.zeros([size], dtype=torch.uint8)
        if ranks.lead:
            box = torch.frombuffer(bytearray(blob), dtype=torch.uint8)
        box = box.to(device)
        ranks.broadcast_([box])
        tensors = load_bytes(box.cpu().numpy().tobytes())
    state.fill(tensors, counters)


def go_back(state: TrainState, run: Run, folder: Path, ranks: Ranks) -> None:
    """Loads the last state again with half the rate, and counts it."""
    scale, rollbacks = state.counters.lr_scale / 2, state.counters.rollbacks + 1
    tensors: dict[str, Tensor] = {}
    word: dict[str, Any] = {}
    if ranks.lead:
        tensors, word = last_state(folder, run.asked, run.data)
    word = json.loads(ranks.broadcast_text(json.dumps(word)))
    fill(state, tensors, word["counters"], ranks)
    state.counters.lr_scale, state.counters.rollbacks = scale, rollbacks


def keep(state: TrainState, run: Run, folder: Path, ranks: Ranks) -> None:
    """Writes the state, by rank 0."""
    if ranks.lead:
        save_state(folder, state, run)


def describe(run: Run) -> dict[str, Any]:
    """The resolved settings as JSON."""
    return asdict(run.config)


def _fromrgb_at(config: ResolvedConfig, model: Model) -> str:
    """Blocks of the discriminator that take a reduced image, too; "auto": where the model began.

    That is where blocks are added above its discriminator, and where it grew itself.
    """
    old = model.discriminator
    if config.d_fromrgb_at != "auto" or old is None or config.d_architecture == "skip":
        return config.d_fromrgb_at
    sizes = (*old.config.fromrgb_at, old.img_resolution)
    finest = config.discriminator().img_resolution
    return ",".join(str(size) for size in sizes if 4 < size < finest) or "none"


def _common_names(state: TrainState, model: Model) -> list[str]:
    """Names of the parameters that a model has, too: "G.NAME", "D.NAME"."""
    pairs = {
        "G.": (state.generator, model.generator),
        "D.": (state.discriminator, model.discriminator),
    }
    names = [
        prefix + name
        for prefix, (network, source) in pairs.items()
        if source is not None
        for name in network.state_dict().keys() & source.state_dict().keys()
    ]
    return sorted(names)


def _transfer(state: TrainState, model: Model, config: ResolvedConfig) -> None:
    """Starts from a model: generator from its average, discriminator where the file has one."""
    source = config.transfer
    done = transfer(model.generator.state_dict(), state.generator)
    if not done.copied and not done.widened:
        raise StylemixError(f"got {source} with no weights that fit; expected a like network")
    silence(state.generator.synthesis, config.noise)
    state.generator_ema.load_state_dict(state.generator.state_dict())
    counts = [f"generator {len(done.copied)} copied, {len(done.widened)} widened, "
              f"{len(done.fresh)} fresh"]  # fmt: skip
    if model.discriminator is None:
        counts.append("no discriminator in the file, a fresh one")
    else:
        done = transfer(model.discriminator.state_dict(), state.discriminator)
        counts.append(
            f"discriminator {len(done.copied)} copied, {len(done.widened)} widened, "
            f"{len(done.fresh)} fresh"
        )
    print(f"From {source}: {'; '.join(counts)}", file=sys.stderr)

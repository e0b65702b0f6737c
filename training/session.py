"""Starts a run (new, from a model, or from its last valid state), and rolls it back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE, Template
from stylemix.io.tensor_files import Damaged
from stylemix.messages import note, problem
from stylemix.metrics.extractors import ImageSet
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.training.config import ResolvedConfig, TrainConfig, continued
from stylemix.training.data.base import PixelDataset
from stylemix.training.distributed import Ranks
from stylemix.training.run_lock import claim
from stylemix.training.state import TrainState
from stylemix.training.state_files import Run, read_state, state_files
from stylemix.training.warm_start import finest_layers, silence, transfer

OLD_STATE = "state.safetensors"


@dataclass(frozen=True)
class TrainingData:
    """The training data of a run.

    Args:
        images: the training images.
        template: alignment of their faces; stored in the model.
        name: name for the model card; without one it has a hash of the content, since the names of
            folders and files are private.
        held_out: images that the metrics compare with; None for the training images.
    """

    images: PixelDataset
    template: Template = NO_TEMPLATE
    name: str = ""
    held_out: ImageSet | None = None

    @property
    def title(self) -> str:
        """What the model card calls the data."""
        return self.name or f"dataset {self.images.fingerprint()}"


def begin(
    asked: TrainConfig, data: str, c_dim: int, folder: Path, device: torch.device, ranks: Ranks
) -> tuple[TrainState, Run]:
    """Returns the initial or resumed state and settings of a run, the same on every rank.

    Only rank 0 reads the folder and the model to start from; its errors are raised on all ranks.

    Args:
        asked: settings as given.
        data: fingerprint of the data.
        c_dim: width of the labels.
        folder: the run folder.
        device: device of this rank.
        ranks: the processes of the run.
    """
    config = asked.resolve(ranks.world, device.type)
    # Processors may differ, and with them the automatic precision: rank 0 decides.
    config = ResolvedConfig(**json.loads(ranks.broadcast_text(json.dumps(asdict(config)))))
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {}
    model: Model | None = None
    cause: StylemixError | None = None
    if ranks.lead:
        try:
            claim(folder)
            tensors, header = last_state(folder, asked, data)
            if config.transfer and not header:
                model = load_model(config.transfer)
                config = replace(config, d_fromrgb_at=_fromrgb_at(config, model))
        except StylemixError as error:
            cause, header = error, {"error": str(error)}
    header, sizes = json.loads(ranks.broadcast_text(json.dumps([header, config.d_fromrgb_at])))
    if "error" in header:
        raise StylemixError(header["error"]) from cause
    config = replace(config, d_fromrgb_at=sizes)
    if header:
        config = continued(header["config"], config)
        for name in ("lr", "d_lr") if ranks.lead else ():  # easily forgotten with the same command
            before, now = header["config"].get(name), getattr(config, name)
            if before != now:
                flag = "--" + name.replace("_", "-")
                note(f"Note: {flag} is {now} from here on; it was {before}")
    config.part_size(ranks.world)  # raises where the batch cannot be split
    run = Run(asked, config, data)
    state = TrainState.create(config, c_dim, device)
    state.frozen = finest_layers(state.discriminator, config.freeze_d)
    if header:
        restore(state, tensors, header, config, ranks)
        return state, run
    if config.transfer:
        names = [] if model is None else _common_names(state, model)
        state.mark(json.loads(ranks.broadcast_text(json.dumps(names))))
        if model is not None:
            _transfer(state, model, config)
    ranks.broadcast_(tensor for tensor in state.tensors().values())
    return state, run


def _measure(config: dict[str, Any]) -> tuple[Any, ...]:
    """Returns what the best snapshot is the best by: values of another measure do not compare."""
    first = str(config.get("metrics")).partition(",")[0].strip()
    return first, config.get("metrics_data"), config.get("metrics_count")


def last_state(
    folder: Path, asked: TrainConfig, data: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the newest valid state of a folder; empty where there is none.

    Damaged states are reported and skipped; StylemixError where all are damaged.
    """
    damaged = None
    for path in state_files(folder):
        try:
            tensors, header = read_state(path, asked, data)
        except Damaged as error:
            damaged = error
            problem(f"Skipped: {error}")
            continue
        if damaged:
            note(f"Resuming from {path}")
        return tensors, header
    if damaged is not None:
        raise StylemixError(f"{damaged}; there is no other state; delete it to start over")
    if (folder / OLD_STATE).exists():
        raise StylemixError(
            f"got {folder / OLD_STATE} of an older stylemix; expected none; use another --output, "
            "and --transfer with the last snapshot"
        )
    return {}, {}


def restore(
    state: TrainState,
    tensors: dict[str, Tensor],
    header: dict[str, Any],
    config: ResolvedConfig,
    ranks: Ranks,
) -> None:
    """Broadcasts the tensors that rank 0 has read, and loads them into the state.

    The best metric is forgotten where it is of another measure than that of `config`.
    """
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
    state.fill(tensors, header["counters"])
    if _measure(header["config"]) != _measure(asdict(config)):
        state.counters.best, state.counters.stale = None, 0


def go_back(state: TrainState, run: Run, folder: Path, ranks: Ranks) -> None:
    """Loads the last state with half the learning rate, and counts the rollback."""
    scale, rollbacks = state.counters.lr_scale / 2, state.counters.rollbacks + 1
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {}
    if ranks.lead:
        tensors, header = last_state(folder, run.asked, run.data)
    header = json.loads(ranks.broadcast_text(json.dumps(header)))
    restore(state, tensors, header, run.config, ranks)
    state.counters.lr_scale, state.counters.rollbacks = scale, rollbacks


def _fromrgb_at(config: ResolvedConfig, model: Model) -> str:
    """Returns resolutions of discriminator blocks with an additional fromrgb of the smaller image.

    "auto" gives the input resolution of the source model's discriminator, where new blocks are
    added, and the resolutions at which that itself was grown.
    """
    old = model.discriminator
    if config.d_fromrgb_at != "auto" or old is None or config.d_architecture == "skip":
        return config.d_fromrgb_at
    sizes = (*old.config.fromrgb_at, old.img_resolution)
    finest = config.discriminator().img_resolution
    return ",".join(str(size) for size in sizes if 4 < size < finest) or "none"


def _common_names(state: TrainState, model: Model) -> list[str]:
    """Returns the names of parameters that a model shares: "G.NAME", "D.NAME"."""
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
    """Initializes from a model: generator from its EMA, discriminator where the file has one."""
    source = config.transfer
    result = transfer(model.generator.state_dict(), state.generator)
    if not result.copied and not result.widened:
        raise StylemixError(f"got {source} with no weights that fit; expected a similar network")
    silence(state.generator.synthesis, config.noise)
    state.generator_ema.load_state_dict(state.generator.state_dict())
    state.counters.parent = {"origin": model.origin, "fingerprint": model.fingerprint} | {
        key: str(model.card[key]) for key in ("source", "licence") if key in model.card
    }
    other = "no discriminator in the file, so it is fresh"
    if model.discriminator is not None:
        moved = transfer(model.discriminator.state_dict(), state.discriminator)
        other = f"discriminator {moved}"
    note(f"From {source}: generator {result}; {other}")

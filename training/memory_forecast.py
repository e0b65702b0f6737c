"""Estimates the memory of a training step before the first one, with advice to reduce it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from stylemix.devices import free_memory
from stylemix.memory import peak_memory
from stylemix.training.config import ResolvedConfig
from stylemix.training.microbatches import Microbatch, StepRandom
from stylemix.training.phases import Batch, Step, Sums
from stylemix.training.state import TrainState

WEIGHT_COPIES = 5  # generator: weights, gradients, both moments of Adam, EMA
WORKSPACE = 1.3  # measured peak over saved tensors: convolution workspace, buffers of a layer


def estimate(config: ResolvedConfig, c_dim: int, world: int) -> tuple[int, int]:
    """Returns the peak bytes of one process: for weights, and for activations of a microbatch.

    The networks run on torch's meta device, one phase after the other, while the tensors are
    counted that autograd saves for the backward pass.
    """
    size = config.part_size(world)
    with torch.device("meta"):
        state = TrainState.create(config, c_dim, torch.device("meta"))
        labels = torch.zeros([1, c_dim], device="meta") if c_dim else None
    peak = 0
    step = Step(state, replace(config, augment="none"), {}, all_labels=labels)
    step.state.counters.augment_p = 0.0
    part = Microbatch(0, size, size)
    shape = [size, config.channels, *config.size]
    c = torch.zeros([size, c_dim], device="meta") if c_dim else None
    batch = Batch(part, torch.zeros(shape, device="meta"), c)
    phases = ["Gmain", "Dmain"]
    if config.path_length_weight:
        phases.append("Greg")
    if config.d_reg_interval and any(config.value(k, 0) for k in ("r1_gamma", "r2_gamma")):
        phases.append("Dreg")
    for phase in phases:
        saved = _SavedTensors()
        with saved_tensors_hooks(saved.note, lambda tensor: tensor):
            step.loss(phase, _Shapes(0, 0), batch, _NoSums())
        peak = max(peak, saved.bytes)
    weights = sum(t.numel() * 4 for t in state.generator.parameters()) * WEIGHT_COPIES
    weights += sum(t.numel() * 4 for t in state.discriminator.parameters()) * (WEIGHT_COPIES - 1)
    return weights, int(peak * WORKSPACE)


def forecast(config: ResolvedConfig, c_dim: int, world: int, device: torch.device) -> str:
    """Returns a line on required and free memory, with advice where it may not be enough."""
    weights, images = estimate(config, c_dim, world)
    needed, free = weights + images, free_memory(device)
    loaded = (peak_memory() or 0) if device.type == "cpu" else 0  # libraries, which are not free
    line = f"about {(needed + loaded) / 2**30:.2g} GB of memory per process"
    if free is None:
        return line
    line += f", {free / 2**30:.3g} GB free"
    share = free / (world if device.type == "cpu" else 1)
    if needed <= share:
        return line
    size, group = config.part_size(world), config.mbstd_group
    smaller = max(int(size * max(share - weights, 0) / images) // group * group, group)
    return f"{line}: may not be enough; use --batch-gpu {smaller} or a smaller --channel-base"


class _Shapes(StepRandom):
    """Random numbers without values."""

    def noise(self, name: str, part: Microbatch, width: int, device: torch.device) -> Tensor:
        """Returns empty rows [len(part), width], since meta tensors have no generator."""
        return torch.empty([len(part), width], device=device)


class _SavedTensors:
    """Counts the bytes of distinct tensors that autograd saves."""

    def __init__(self) -> None:
        self.seen: dict[int, Tensor] = {}
        self.bytes = 0

    def note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in self.seen and not isinstance(tensor, torch.nn.Parameter):
            self.seen[id(storage)] = tensor
            self.bytes += tensor.numel() * tensor.element_size()
        return tensor


class _NoSums(Sums):
    def __init__(self) -> None:
        super().__init__(torch.device("meta"))

    def add(self, name: str, value: Tensor) -> None:
        """Ignores the value: a step without data has no statistics."""

"""Benchmarks of whole networks, as callables made from a JSON description."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from stylemix import ops
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.generator import Generator
from stylemix.training.config import TrainConfig
from stylemix.training.microbatches import Microbatch, StepRandom
from stylemix.training.phases import Batch, Step
from stylemix.training.state import TrainState, update_ema
from tests.bench.machine import DTYPES, precision
from tests.bench.textbook import TextbookDiscriminator, TextbookGenerator
from tests.bench.timing import Record

# textbook: tests/bench/textbook.py; literal: the same, upsampling by zero insertion; torch: our
# networks on plain PyTorch ops; ours: our networks as users get them; compiled: torch.compile of
# "torch"; convs: the convolutions of the networks alone, which is the limit.
VARIANTS = ("textbook", "literal", "torch", "ours", "compiled", "convs")
PHASES = ("g_main", "g_reg", "d_main", "d_reg", "ema")
Calls = dict[str, Callable[[], object]]


def make(spec: Record, device: torch.device) -> Calls:
    """Returns the callables of a description, by name; every call is one run."""
    torch.manual_seed(0)
    if spec["variant"] == "convs":
        return {"run": _guarded(spec, _convolutions(spec, device))}
    calls = (_training if spec["kind"] == "training" else _synthesis)(spec, device)
    return {name: _guarded(spec, call) for name, call in calls.items()}


def _backend(variant: str) -> AbstractContextManager[None]:
    return nullcontext() if variant in ("ours", "convs") else ops.use("torch")


def _guarded(spec: Record, call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with precision(spec["dtype"]), _backend(spec["variant"]):
            return call()

    return run


def _synthesis(spec: Record, device: torch.device) -> Calls:
    config = GeneratorConfig(
        spec["resolution"], channel_base=spec["channel_base"], channel_max=spec["channel_max"],
        mapping_layers=2,
    )  # fmt: skip
    with device:
        generator = Generator(config).eval().requires_grad_(False)
    generator = generator.to(memory_format=torch.channels_last)
    ws = generator.mapping(torch.randn([spec["batch"], config.z_dim], device=device))
    synthesis: nn.Module | Callable[..., torch.Tensor] = generator.synthesis
    if spec["variant"] in ("textbook", "literal"):
        synthesis = TextbookGenerator(generator, spec["variant"] == "literal").synthesis
    elif spec["variant"] == "compiled":
        synthesis = torch.compile(generator.synthesis, dynamic=False)
    dtype = DTYPES[spec["dtype"]]

    @torch.no_grad()
    def run() -> torch.Tensor:
        return synthesis(ws, noise_mode="const", dtype=dtype)

    return {"run": run}


def train_config(spec: Record) -> TrainConfig:
    """Returns automatic settings except those in `spec`; training treats "tf32" as "fp32"."""
    given = {k: spec[k] for k in ("batch", "channel_base", "channel_max") if k in spec}
    p = spec.get("augment_p", 0)
    return TrainConfig(
        resolution=spec["resolution"],
        precision="bf16" if spec["dtype"] == "bf16" else "fp32",
        augment="fixed" if p else "none",
        augment_p=p,
        **given,
    ).resolve()


def _training(spec: Record, device: torch.device) -> Calls:
    """Returns the phases of a step, one by one, and both main phases together."""
    config = train_config(spec)
    state = ours = TrainState.create(config, 0, device)
    if spec["variant"] == "textbook":
        state = replace(
            ours,
            generator=TextbookGenerator(ours.generator),
            discriminator=TextbookDiscriminator(ours.discriminator),
        )
    step = Step(state, config, {})
    assert config.batch is not None
    part = Microbatch(0, config.batch, config.batch)
    reals = torch.rand([config.batch, 3, *config.size], device=device) * 2 - 1
    names = {"g_main": "Gmain", "g_reg": "Greg", "d_main": "Dmain", "d_reg": "Dreg"}

    def phase(name: str) -> None:
        state.discriminator.requires_grad_(name.startswith("d"))
        step.phase(names[name], StepRandom(0, 0), [Batch(part, reals, None)])
        step.stats.clear()

    def both() -> None:
        phase("g_main")
        phase("d_main")

    calls: Calls = {name: partial(phase, name) for name in PHASES[:4]}
    return calls | {"ema": partial(update_ema, ours, config), "both": both}


def g_shapes(config: GeneratorConfig) -> list[tuple[int, int, int]]:
    """Returns the 3x3 convolutions of a generator: (in, out, side), the side of the smaller image.

    A transposed convolution multiplies as often as a plain one on its input.
    """
    shapes = []
    for resolution in config.resolutions:
        out = config.channels(resolution)
        if resolution > 4:
            shapes.append((config.channels(resolution // 2), out, resolution // 2))
        shapes.append((out, out, resolution))
    return shapes


def d_shapes(config: DiscriminatorConfig) -> list[tuple[int, int, int]]:
    """The 3x3 convolutions of a discriminator; a strided one at the size that it leaves."""
    shapes = [(config.channels(4) + config.mbstd_num_channels, config.channels(4), 4)]
    for resolution in config.resolutions[1:]:
        width = config.channels(resolution)
        shapes.append((width, width, resolution))
        shapes.append((width, config.channels(resolution // 2), resolution // 2))
    return shapes


def _shapes(spec: Record) -> list[tuple[int, int, int]]:
    sizes = {"channel_base": spec["channel_base"], "channel_max": spec["channel_max"]}
    if spec.get("network") == "d":
        return d_shapes(DiscriminatorConfig(spec["resolution"], **sizes))
    return g_shapes(GeneratorConfig(spec["resolution"], **sizes))


def conv_flops(spec: Record) -> int:
    """Operations of the 3x3 convolutions of one forward pass; a multiply-add is two."""
    return sum(2 * 9 * i * o * side**2 for i, o, side in _shapes(spec)) * spec["batch"]


def _convolutions(spec: Record, device: torch.device) -> Callable[[], None]:
    """All 3x3 convolutions of a network one after another, on inputs that are there already."""
    dtype, layout = DTYPES[spec["dtype"]], torch.channels_last
    pairs = []
    for i, o, side in _shapes(spec):
        x = torch.randn([spec["batch"], i, side, side], device=device)
        w = torch.randn([o, i, 3, 3], device=device) / (3 * i**0.5)
        pairs.append((x.to(dtype, memory_format=layout), w.to(dtype, memory_format=layout)))

    @torch.no_grad()
    def run() -> None:
        for x, w in pairs:
            F.conv2d(x, w, padding=1)

    return run

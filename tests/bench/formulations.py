"""Compares formulations of a modulated convolution: `python -m tests.bench.formulations`.

    scaled      activations scaled before and after one convolution for the whole batch
    per sample  weights scaled per image, a convolution with one group per image
    zeros       (up) zeros inserted, filtered, then convolved at the full size
    polyphase   (up) the filter folded into the weights: four 3x3 convolutions, then interleaved
    compiled    scaled, by torch.compile

Prints JSON: medians of seconds forward, and forward with backward.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.networks.layers import modulated_conv2d, modulation
from stylemix.ops import setup_filter, upsample2d
from tests.bench import machine
from tests.bench.timing import Effort, interleave, timed

# Batch, channels in, channels out, resolution of the result, up.
CASES = [
    (16, 128, 128, 64, 1), (16, 256, 128, 64, 2), (16, 256, 256, 16, 1), (16, 256, 256, 16, 2),
    (1, 256, 256, 16, 1), (1, 256, 128, 64, 2), (4, 64, 64, 256, 1), (4, 128, 64, 256, 2),
]  # fmt: skip
FILTER = (1, 3, 3, 1)


def scaled(x: Tensor, w: Tensor, s: Tensor, up: int) -> Tensor:
    m = modulation(w, s, x.dtype)
    return modulated_conv2d(x, m, setup_filter(FILTER), up, padding=1)


def _weights(x: Tensor, w: Tensor, s: Tensor) -> Tensor:
    w = w * s[:, None, :, None, None]
    return (w * (w.square().sum([2, 3, 4], keepdim=True) + 1e-8).rsqrt()).to(x.dtype)


def per_sample(x: Tensor, w: Tensor, s: Tensor, up: int) -> Tensor:
    n, c, h, width = x.shape
    w = _weights(x, w, s)
    if up == 1:
        y = F.conv2d(x.reshape(1, n * c, h, width), w.flatten(0, 1), padding=1, groups=n)
    else:
        w = w.transpose(1, 2).flatten(0, 1)
        y = F.conv_transpose2d(x.reshape(1, n * c, h, width), w, stride=2, groups=n)
        y = F.conv2d(y, _taps(y), padding=1, groups=y.shape[1])
    return y.reshape(n, -1, *y.shape[2:])


def _taps(y: Tensor) -> Tensor:
    return (setup_filter(FILTER) * 4).to(y.dtype).expand(y.shape[1], 1, -1, -1)


def zeros(x: Tensor, w: Tensor, s: Tensor, up: int) -> Tensor:
    m = modulation(w, s, x.dtype)
    large = upsample2d(x * s.to(x.dtype)[:, :, None, None], setup_filter(FILTER))
    y = F.conv2d(large, m.weight, padding=1)
    return y * m.demod.to(x.dtype)[:, :, None, None]


def polyphase(x: Tensor, w: Tensor, s: Tensor, up: int) -> Tensor:
    """As `zeros`: each of the four phases of the result sees 3x3 inputs."""
    m = modulation(w, s, x.dtype)
    out, c = w.shape[:2]
    taps = (setup_filter(FILTER) * 4).to(w.dtype).expand(out * c, 1, -1, -1)
    # 3x3 weights over 4x4 taps: 6x6 at the larger size, every other element of it per phase.
    folded = F.conv2d(m.weight.float().reshape(1, out * c, 3, 3), taps, padding=3, groups=out * c)
    folded = folded.reshape(out, c, 6, 6)
    phases = [folded[:, :, 1 - i :: 2, 1 - j :: 2] for i in (0, 1) for j in (0, 1)]
    kernel = torch.stack(phases, dim=1).flatten(0, 1).to(x.dtype)
    y = F.pixel_shuffle(F.conv2d(x * s.to(x.dtype)[:, :, None, None], kernel, padding=1), 2)
    return y * m.demod.to(x.dtype)[:, :, None, None]


def contestants(up: int, compiled: bool) -> dict[str, Callable[..., Tensor]]:
    """Returns the formulations that support `up`."""
    functions: dict[str, Callable[..., Tensor]] = {"scaled": scaled, "per sample": per_sample}
    if up == 2:
        functions |= {"zeros": zeros, "polyphase": polyphase}
    if compiled:
        functions["compiled"] = torch.compile(scaled, dynamic=False)
    return functions


def measure(case: tuple[int, ...], dtype: torch.dtype, effort: Effort, compiled: bool) -> object:
    """Returns medians by formulation, forward and with backward."""
    n, c_in, c_out, size, up = case
    device = torch.device("cpu")
    x = torch.randn(n, c_in, size // up, size // up, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(c_out, c_in, 3, 3, requires_grad=True)
    s = (torch.rand(n, c_in) + 0.5).requires_grad_()
    results = {}
    for step in ("forward", "with backward"):

        def run(function: Callable[..., Tensor], step: str = step) -> Callable[[int], float]:
            def once() -> None:
                with torch.set_grad_enabled(step != "forward"):
                    y = function(x, w, s, up)
                if step != "forward":
                    torch.autograd.grad(y.sum(), [x, w, s])

            return lambda loops: timed(once, device, loops)

        every = {name: run(f) for name, f in contestants(up, compiled).items()}
        results[step] = interleave(every, effort)
    return results


@click.command()
@click.option(
    "--dtype", "dtypes", multiple=True, default=["float32", "bfloat16"], show_default=True
)
@click.option("--repeats", default=5, show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="Also torch.compile.")
def main(dtypes: tuple[str, ...], repeats: int, compiled: bool) -> None:
    """Measure formulations of the modulated convolution on the CPU."""
    machine.keep_memory(torch.device("cpu"))
    for dtype in dtypes:
        for case in CASES:
            seconds = measure(case, getattr(torch, dtype), Effort(repeats=repeats), compiled)
            names = ("batch", "in", "out", "resolution", "up")
            click.echo(
                json.dumps(
                    {"dtype": dtype, **dict(zip(names, case, strict=True)), "seconds": seconds}
                )
            )


if __name__ == "__main__":
    main()

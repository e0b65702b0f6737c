"""Bandwidth of the ops at the sizes of a generator: ours, plain PyTorch, the textbook.

Bytes are the minimum: every input read once, every output written once. The ceiling is a copy of
as many bytes, measured in the same rounds, since caches speed up small sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch._functorch.config as functorch
from torch import Tensor

from stylemix import ops
from stylemix.networks.config import GeneratorConfig
from stylemix.training.augment.geometry import SYM6
from tests.bench import textbook
from tests.bench.machine import DTYPES, copying
from tests.bench.timing import Clock, Contestant, Job, Record, bounded, interleave, timed

BATCH = 4
COMPILED = ("bias_act", "epilogue_filter", "upfirdn2d_up_4x4")  # one of each kind
COMPILING = 20  # seconds, limit of torch.compile for one op
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
SHORT, LONG = (1.0, 3.0, 3.0, 1.0), SYM6  # 4x4 taps as one image, 12 taps as rows and columns


@dataclass
class Operands:
    """Tensors of one case; `x` is the first input, `differentiated` are those with a gradient."""

    x: Tensor
    others: tuple[Tensor | None, ...]
    differentiated: list[Tensor]


Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """An op at one size: ours and the textbook's, as functions of Operands.x and .others."""

    op: str
    channels: int
    side: int  # of the result
    ours: Forward
    theirs: Forward
    grown: float = 1  # side of the input by side of the result
    more: int = 0  # pixels that the input is larger by

    def operands(self, dtype: torch.dtype, layout: str, device: torch.device) -> Operands:
        torch.manual_seed(0)
        side = round(self.side * self.grown) + self.more
        x = torch.randn([BATCH, self.channels, side, side], device=device, dtype=dtype)
        x = x.to(memory_format=LAYOUTS[layout]).requires_grad_(True)
        if self.op.startswith("upfirdn2d"):
            taps = ops.setup_filter(LONG if "12" in self.op else SHORT).to(device)
            return Operands(x, (taps,), [x])
        b = torch.randn([self.channels], device=device, requires_grad=True)
        if self.op == "bias_act":
            return Operands(x, (b,), [x, b])
        f = ops.setup_filter(SHORT).to(device) if self.more else None
        demod = torch.rand([BATCH, self.channels], device=device, requires_grad=True)
        noise = torch.randn([BATCH, 1, self.side, self.side], device=device)
        strength = torch.full([], 0.1, device=device, requires_grad=True)
        return Operands(x, (f, demod, noise, strength, b), [x, demod, strength, b])


def _bias_act(x: Tensor, b: Tensor) -> Tensor:
    return ops.bias_act(x, b, act="lrelu")


def _epilogue(
    x: Tensor, f: Tensor | None, demod: Tensor, noise: Tensor, strength: Tensor, b: Tensor
) -> Tensor:
    padding, gain = (0, 1) if f is None else (1, 4)
    rest = {"demod": demod, "noise": noise, "strength": strength, "b": b}
    return ops.epilogue(x, f, padding, filter_gain=gain, act="lrelu", **rest)


def _filter(x: Tensor, f: Tensor) -> Tensor:
    """At the same size."""
    taps = f.shape[-1]
    return ops.upfirdn2d(x, f, padding=(taps // 2, (taps - 1) // 2) * 2)


def cases(config: GeneratorConfig, smallest: int) -> Iterator[Case]:
    """Every op at every size of a generator, the largest first."""
    for side in reversed(config.resolutions):
        if side < smallest:
            continue
        c = config.channels(side)
        yield Case("bias_act", c, side, _bias_act, textbook.bias_act)
        yield Case("epilogue", c, side, _epilogue, textbook.epilogue)
        yield Case("epilogue_filter", c, side, _epilogue, textbook.epilogue, more=1)
        for taps in ("4x4", "12"):
            name = f"upfirdn2d_{{}}_{taps}".format
            yield Case(name("up"), c, side, ops.upsample2d, textbook.upsample2d, grown=0.5)
            yield Case(name("down"), c, side, ops.downsample2d, textbook.downsample2d, grown=2)
            yield Case(name("filter"), c, side, _filter, textbook.filter2d)


def _runs(
    function: Forward, operands: Operands, backward: bool, device: torch.device
) -> Callable[[], object]:
    """Returns one pass as in training: with saved tensors forward, with gradients backward."""
    if not backward:
        return lambda: function(operands.x, *operands.others)
    y = function(operands.x, *operands.others)
    dy = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, operands.differentiated, dy, retain_graph=True)


def _contestant(
    function: Forward, backend: str | None, operands: Operands, backward: bool,
    device: torch.device,
) -> Contestant:  # fmt: skip
    made: list[Callable[[], object]] = []

    def run(loops: int) -> float:
        with nullcontext() if backend is None else ops.use(backend):
            if not made:  # here, so that an unsupported op is one missing result
                made.append(_runs(function, operands, backward, device))
            return timed(made[0], device, loops)

    return run


def contestants(
    case: Case, dtype: str, layout: str, backward: bool, compiled: bool, device: torch.device
) -> tuple[dict[str, Contestant], int]:
    """Returns the implementations to compare, and the bytes that the case moves."""
    operands = case.operands(DTYPES[dtype], layout, device)
    plain = Operands(*_contiguous(operands))
    name = case.op.split("_")[0] if case.op != "bias_act" else case.op
    competitors = {
        "textbook": _contestant(case.theirs, None, plain, backward, device),
        "torch": _contestant(case.ours, "torch", operands, backward, device),
    }
    if "native" in ops.backends(name, device.type):
        competitors["native"] = _contestant(case.ours, "native", operands, backward, device)
    if compiled:
        function = torch.compile(case.ours, dynamic=False)
        contestant = _contestant(function, "torch", operands, backward, device)
        competitors["compiled"] = bounded(contestant, COMPILING)
    result = BATCH * case.channels * case.side**2
    count = operands.x.numel() + result
    if backward and not case.op.startswith("upfirdn2d"):
        count += result  # the result, or the input, for the sign in the derivative
    size = count * operands.x.element_size()
    competitors["copy"] = copying(size // 2, device)
    return competitors, size


def _contiguous(operands: Operands) -> tuple[Tensor, tuple[Tensor | None, ...], list[Tensor]]:
    """Returns contiguous operands for the textbook, which supports one layout only."""
    x = operands.x.detach().contiguous().requires_grad_(True)
    return x, operands.others, [x, *operands.differentiated[1:]]


def measure(case: Case, dtype: str, layout: str, compiled: bool, job: Job) -> list[Record]:
    """Two records: forward and backward."""
    records = []
    for direction in ("forward", "backward"):
        if compiled:
            torch._dynamo.reset()
        backward = direction == "backward"
        running, size = contestants(case, dtype, layout, backward, compiled, job.device)
        with functorch.patch(donated_buffer=False):  # it forbids a second backward pass
            results = interleave(running, job.effort)
        copy = results.pop("copy")
        for result in results.values():
            if "median" in result and "median" in copy:
                result["bytes_per_second"] = float(f"{size / result['median']:.4g}")
                result["share"] = round(copy["median"] / result["median"], 4)
        records.append({
            "op": case.op, "pass": direction, "side": case.side, "channels": case.channels,
            "batch": BATCH, "dtype": dtype, "layout": layout, "bytes": size,
            "results": results, "copy": copy,
        })  # fmt: skip
    return records


def run(job: Job) -> list[Record]:
    """Records of every op, size, dtype and layout.

    With torch.compile, which takes seconds for each: some of the first generator's at its largest
    size once more, in one dtype.
    """
    # There is no matrix product in here that TF32 could change.
    dtypes = list(dict.fromkeys("fp32" if name == "tf32" else name for name in job.dtypes))
    last = "bf16" if "bf16" in dtypes else dtypes[0]
    todo: list[tuple[Case, str, str, bool]] = []
    compiling: list[tuple[Case, str, str, bool]] = []
    for resolution in (16,) if job.quick else job.resolutions:
        base = 256 if job.quick else 32768 if resolution >= 512 else 16384
        config = GeneratorConfig(resolution, channel_base=base, channel_max=512)
        smallest = 16 if resolution <= 256 else 512  # the others are those of 256 px
        all_cases = list(cases(config, smallest))
        todo += [(c, d, layout, False) for layout in LAYOUTS for c in all_cases for d in dtypes]
        if "ops" in job.compiled and not compiling:
            selected = [
                case for case in all_cases if case.side == resolution and case.op in COMPILED
            ]
            compiling = [(case, last, "channels_last", True) for case in selected]
    todo.sort(key=lambda one: (one[2], -one[0].side))  # what matters most, while there is time
    if job.on_gpu:  # where small sizes say how long a launch takes, not how fast memory is
        whole = job.resolutions
        todo.sort(key=lambda one: (one[2], one[0].side not in whole, dtypes.index(one[1])))
    first = [one for one in todo if one[2] == "channels_last" and one[0].side in job.resolutions]
    todo = [*first, *compiling, *(one for one in todo if one not in first)]
    clock, records = Clock(job.budget), []
    for case, dtype, layout, compiled in todo:
        if clock.allows(f"{case.op} {case.side} px, {dtype}, {layout}"):
            records += measure(case, dtype, layout, compiled, job)
    return records + [{"op": "left out", "case": case} for case in clock.left_out]

"""Devices, and the precision that is fast on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from stylemix.errors import StylemixError, shown
from stylemix.ops import architectures

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
END = object()
CGROUP = Path("/sys/fs/cgroup")  # of a container: what it may use, and uses
# What fills weights with random numbers; these functions of `nn.init` call the last two.
FILLING = (init.kaiming_uniform_, init.uniform_, init.normal_, Tensor.uniform_, Tensor.normal_)


def find_device(name: str | torch.device) -> torch.device:
    """The device called "cpu", "cuda", "cuda:N" or "auto" (CUDA if there is one)."""
    if not isinstance(name, str | torch.device):
        raise StylemixError(f"got device {shown(name)}; expected cpu, cuda, cuda:N or auto")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise StylemixError(f"got device {name!r}; expected cpu, cuda, cuda:N or auto") from error
    if device.type == "cuda" and (
        not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()
    ):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise StylemixError(f"got device {name!r} with {count} CUDA devices here; use --device cpu")
    if device.type not in ("cpu", "cuda"):
        raise StylemixError(f"got device {name!r}; expected cpu, cuda, cuda:N or auto")
    return device


def launched_rank() -> tuple[int, int]:
    """Rank and number of processes by torchrun's variables; (0, 1) for a process alone.

    Raises StylemixError for values that are none, by which work would be left out.
    """
    rank, world = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "1")
    if world == "1":
        return 0, 1
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise StylemixError(
            f"got RANK={shown(rank)} and WORLD_SIZE={shown(world)} in the environment; expected "
            "those of torchrun; unset both"
        )
    return int(rank), int(world)


@contextmanager
def usual_modes() -> Iterator[None]:
    """Runs a block in PyTorch's usual modes, for which our numbers hold, whatever the caller's are.

    Searches need gradients, which the inference mode forbids; autocast would round colours, and the
    weights that are learned, to 8 bits. Raises StylemixError for another default precision: it
    belongs to the whole process, so that to change it here would change what other threads do.
    """
    if (dtype := torch.get_default_dtype()) != torch.float32:
        raise StylemixError(
            f"got {dtype} as PyTorch's default precision; expected torch.float32; call "
            "torch.set_default_dtype(torch.float32) before, and your own again after"
        )
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        # PyTorch 2.4 does not tell the device of a `with torch.device(...)`, but uses it.
        if torch.empty(0).device.type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield


def in_usual_modes(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A function that runs in `usual_modes`, as do the steps of an iterator that it returns."""

    @wraps(function)
    def run(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        with usual_modes():
            result = function(*arguments, **options)
        return _steps(result) if isinstance(result, Iterator) else result  # type: ignore[return-value]

    return run


def _steps(items: Iterator[Result]) -> Iterator[Result]:
    while True:
        with usual_modes():
            item = next(items, END)
        if item is END:
            return
        yield item  # type: ignore[misc]


class no_random_weights(TorchFunctionMode):
    """Networks built in this context have empty weights, which a file's replace.

    Random ones would take time, and PyTorch's random numbers: `torch.random.fork_rng` returns those
    of the caller, but also rewinds what other threads have drawn meanwhile.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls a function of PyTorch, or one that draws nothing in its place."""
        kwargs = kwargs or {}
        if func in FILLING and kwargs.get("generator") is None:
            return args[0] if args else kwargs["tensor"]
        if func is torch.randn and "generator" not in kwargs:
            func = torch.empty
        return func(*args, **kwargs)


def repeat_shapes(device: torch.device) -> None:
    """Lets cuDNN benchmark its algorithms for each shape, which pays if shapes repeat."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True


def cpu_has_bf16() -> bool:
    """Whether the processor has bfloat16 instructions; without them it is many times slower.

    False if its features are not known, as outside of Linux.
    """
    return not architectures.BF16.isdisjoint(architectures.cpu_features())


def search_dtype(device: torch.device) -> torch.dtype:
    """The fastest precision of latent optimisation: bfloat16 if the device supports it.

    Gradients are then rounded to 8 bits, which the optimisation tolerates.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = cpu_has_bf16()
    return torch.bfloat16 if fast else torch.float32


def slow_precision(precision: str, device: torch.device) -> str:
    """A warning about "bf16" on a processor without instructions for it, else ""."""
    if precision != "bf16" or device.type != "cpu" or cpu_has_bf16():
        return ""
    return (
        "got --precision bf16 on a processor without known bf16 instructions, which takes many "
        "times as long as fp32; --precision auto continues the same run"
    )


def free_memory(device: torch.device) -> int | None:
    """Returns the free bytes of a device, None where they are unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        table = dict(line.split(":") for line in lines)
        free = int(table["MemAvailable"].split()[0]) * 1024
        limit = CGROUP / "memory.max"
        if limit.exists() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
            used = int((CGROUP / "memory.current").read_text(encoding="ascii"))
            lines = (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
            # Files that were read and are in use no more make room for others, as in MemAvailable.
            used -= int(dict(line.split() for line in lines)["inactive_file"])
            free = min(free, max(int(text) - used, 0))
        return free
    except (OSError, ValueError, KeyError):
        return None

"""Devices, and the precision that is fast on them."""

from __future__ import annotations

from pathlib import Path

import torch

from stylemix.errors import StylemixError
from stylemix.ops import architectures


def find_device(name: str) -> torch.device:
    """The device called "cpu", "cuda", "cuda:N" or "auto" (CUDA if there is one)."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:  # TypeError: None and other objects
        raise StylemixError(f"got device {name!r}; expected cpu, cuda, cuda:N or auto") from error
    if device.type == "cuda" and (
        not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()
    ):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise StylemixError(f"got device {name!r} with {count} CUDA devices here; use --device cpu")
    if device.type not in ("cpu", "cuda"):
        raise StylemixError(f"got device {name!r}; expected cpu, cuda, cuda:N or auto")
    return device


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
        limit = Path("/sys/fs/cgroup/memory.max")  # of a container
        if limit.exists() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
            used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
            free = min(free, max(int(text) - used, 0))
        return free
    except (OSError, ValueError, KeyError):
        return None

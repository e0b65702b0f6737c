"""Choice of the device."""

from __future__ import annotations

import torch

from stylemix.errors import StylemixError


def find_device(name: str) -> torch.device:
    """The device called "cpu", "cuda", "cuda:N" or "auto" (CUDA if there is one)."""
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


def search_dtype(device: torch.device) -> torch.dtype:
    """The precision that searches are fastest in: bfloat16 where the device computes in it.

    Gradients are rounded to 8 bits there, and the search takes the step after them anyway.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32

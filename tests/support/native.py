"""Where the compiled ops must be there."""

import pytest
import torch

from stylemix.ops import backends, toolchain


def skip_if_torch_is_old() -> None:
    """Skips where PyTorch is too old for the compiled ops."""
    if toolchain.torch_release() < toolchain.TORCH_TARGET:
        pytest.skip(f"torch {torch.__version__} is too old for the compiled ops")


def expect_native(op: str, device: torch.device) -> None:
    """Fails where the compiled ops are missing; skips where PyTorch is too old for them."""
    skip_if_torch_is_old()
    if "native" not in backends(op, device.type):
        pytest.fail(f"no native ops for {device.type}: see stylemix doctor")

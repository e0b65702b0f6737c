"""Where the compiled ops must be there."""

import pytest
import torch

from stylemix.ops import backends, toolchain


def expect_native(op: str, device: torch.device) -> None:
    """Fails where the compiled ops are missing; skips where PyTorch is too old for them."""
    if "native" in backends(op, device.type):
        return
    if toolchain.torch_release() < toolchain.TORCH_TARGET:
        pytest.skip(f"torch {torch.__version__} is too old for the compiled ops")
    pytest.fail(f"no native ops for {device.type}: see stylemix info")

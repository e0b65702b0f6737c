"""Tensor operations of the networks, with a plain PyTorch and a compiled implementation each."""

if __name__ != "stylemix.ops":
    raise ImportError(f"imported as {__name__!r}; expected 'stylemix.ops'; import stylemix.ops")

from stylemix.ops.backend import backends, use
from stylemix.ops.bias_act import ACTIVATIONS, bias_act
from stylemix.ops.conv2d_resample import conv2d_before_filter, conv2d_resample
from stylemix.ops.epilogue import epilogue
from stylemix.ops.grid_sample import grid_sample
from stylemix.ops.upfirdn2d import downsample2d, setup_filter, upfirdn2d, upsample2d

__all__ = [
    "ACTIVATIONS",
    "backends",
    "bias_act",
    "conv2d_before_filter",
    "conv2d_resample",
    "downsample2d",
    "epilogue",
    "grid_sample",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
    "use",
]

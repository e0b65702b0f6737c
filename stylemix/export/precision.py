"""Weights of an ONNX file in fewer bytes: halves, or bytes with a scale for each row.

Only what is stored changes: the file multiplies the values back into float32 when it is loaded, so
it runs wherever the float32 file does, and at the same speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

PRECISIONS = ("fp32", "fp16", "int8")
MIN_VALUES = 256  # of a tensor that is stored in fewer bytes
LEVELS = 127  # of int8, on either side of zero


def shrink_weights(model: ModelProto, precision: str) -> None:
    """Stores the weights of a model with two dimensions or more in a precision, in place."""
    from onnx import TensorProto, numpy_helper

    graph, nodes, stored = model.graph, [], []
    for tensor in graph.initializer:
        large = tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1
        values = numpy_helper.to_array(tensor)
        if precision == "fp32" or not large or values.size < MIN_VALUES:
            stored.append(tensor)
            continue
        # Matrices are small, and what they get wrong is wrong in the whole image.
        shrink = _bytes if precision == "int8" and values.ndim > 2 else _halves
        tensors, steps = shrink(tensor.name, values)
        stored += tensors
        nodes += steps
    nodes += graph.node
    for kept, items in ((graph.initializer, stored), (graph.node, nodes)):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del kept[:]
        kept.extend(copies)


def _halves(name: str, values: NDArray[np.float32]) -> tuple[list[TensorProto], list[NodeProto]]:
    from onnx import TensorProto, helper, numpy_helper

    with np.errstate(over="ignore"):
        halves = numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16")
    return [halves], [helper.make_node("Cast", [f"{name}.fp16"], [name], to=TensorProto.FLOAT)]


def _bytes(name: str, values: NDArray[np.float32]) -> tuple[list[TensorProto], list[NodeProto]]:
    from onnx import TensorProto, helper, numpy_helper

    rows = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    scale = np.maximum(rows / LEVELS, np.finfo(np.float32).tiny)
    levels = numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}.int8")
    factors = numpy_helper.from_array(scale, f"{name}.scale")
    cast = helper.make_node("Cast", [f"{name}.int8"], [f"{name}.levels"], to=TensorProto.FLOAT)
    multiply = helper.make_node("Mul", [f"{name}.levels", f"{name}.scale"], [name])
    return [levels, factors], [cast, multiply]

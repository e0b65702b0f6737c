"""Weights in fewer bytes: what is stored, and what a runtime reads back."""

import numpy as np
import pytest

from stylemix.export.precision import shrink_weights

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

WEIGHT = np.random.RandomState(0).randn(16, 8, 3, 3).astype(np.float32)
MATRIX = np.random.RandomState(1).randn(32, 16).astype(np.float32)


def _model():
    """Adds the sum of a matrix, which stays as it is where it is used, to a convolution."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["y"]),
        helper.make_node("ReduceSum", ["matrix"], ["sum"], keepdims=0),
        helper.make_node("Add", ["y", "sum"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8, 5, 5])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 16, 3, 3])],
        [numpy_helper.from_array(WEIGHT, "weight"), numpy_helper.from_array(MATRIX, "matrix")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _run(model):
    onnx.checker.check_model(model)
    x = np.random.RandomState(2).randn(2, 8, 5, 5).astype(np.float32)
    return runtime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def test_fp32_changes_nothing():
    model = _model()
    before = model.SerializeToString()
    shrink_weights(model, "fp32")
    assert model.SerializeToString() == before


def test_fp16_stores_halves():
    model, expected = _model(), _run(_model())
    shrink_weights(model, "fp16")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(stored["weight.fp16"], WEIGHT.astype(np.float16))
    np.testing.assert_array_equal(stored["matrix.fp16"], MATRIX.astype(np.float16))
    assert np.abs(_run(model) - expected).max() < 0.03


def test_int8_has_a_scale_for_each_row_and_keeps_matrices_as_halves():
    model, expected = _model(), _run(_model())
    shrink_weights(model, "int8")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert sorted(stored) == ["matrix.fp16", "weight.int8", "weight.scale"]
    assert stored["weight.int8"].dtype == np.int8
    assert np.abs(stored["weight.int8"]).max(axis=(1, 2, 3)).tolist() == [127] * 16
    values = stored["weight.int8"] * stored["weight.scale"]
    assert (np.abs(values - WEIGHT) <= stored["weight.scale"] / 2 + 1e-6).all()
    assert 1e-4 < np.abs(_run(model) - expected).max() < 0.3


def test_a_row_of_zeros_stays_zero():
    from onnx import numpy_helper

    model = _model()
    zero = WEIGHT.copy()
    zero[3] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(zero, "weight"))
    expected = _run(model)
    shrink_weights(model, "int8")
    np.testing.assert_allclose(_run(model)[:, 3], expected[:, 3], atol=0.05)

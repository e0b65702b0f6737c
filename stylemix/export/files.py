"""Graphs as files: ONNX by PyTorch's exporter, or programs of torch.export, both checked."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.export.graphs import MAX_SIDE, Graph, Tensors
from stylemix.export.precision import shrink_weights
from stylemix.io.atomic import Json, atomic_write, write_bytes
from stylemix.io.files import StrPath
from stylemix.ops import use

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
MIN_TORCH = (2, 7)  # the first release whose exporter can do it
# The largest difference from PyTorch's result that a file may have; for int8, whose outliers are
# single pixels, the root mean square.
MAX_ERROR = {"fp32": 1e-3, "fp16": 1e-2, "int8": 2e-2}
MIN_SIDE = 12  # px, of the smallest image that any network takes
BATCHES = (1, 3)
SEED = 0

Run = Callable[[Tensors], list[Tensor]]


def onnx_bytes(
    graph: Graph, facts: dict[str, Json], precision: str = "fp32"
) -> tuple[bytes, Deviation]:
    """The ONNX file of a graph with facts as its metadata, and its deviation from PyTorch.

    Raises StylemixError for a deviation above `MAX_ERROR` of the precision.
    """
    model = onnx_model(graph)
    shrink_weights(model, precision)
    deviation = measure(graph, _onnx_runner(model))
    check(deviation, precision)
    from onnx import helper

    about = {**facts, "precision": precision, "error": str(deviation)}
    helper.set_model_props(model, {key: _text(value) for key, value in about.items()})
    return model.SerializeToString(), deviation


def write_onnx(
    path: StrPath, graph: Graph, facts: dict[str, Json], precision: str = "fp32"
) -> Deviation:
    """Writes the file of `onnx_bytes`."""
    data, deviation = onnx_bytes(graph, facts, precision)
    write_bytes(path, data)
    return deviation


def write_program(path: StrPath, graph: Graph, facts: dict[str, Json]) -> Deviation:
    """Writes a graph as a program of torch.export; see `write_onnx`."""
    _check_torch()
    with _quiet():
        program = torch.export.export(
            graph.network, (), graph.examples(2), dynamic_shapes=_dimensions(graph)
        )
    run = program.module()
    deviation = measure(graph, lambda inputs: _list(run(**inputs)))
    check(deviation, "fp32")
    about = {**facts, "error": str(deviation)}
    with atomic_write(path) as temporary:
        torch.export.save(
            program, temporary, extra_files={"stylemix.json": json.dumps(about, indent=1)}
        )
    return deviation


def onnx_model(graph: Graph) -> ModelProto:
    """The ONNX model of a graph, in float32."""
    _check_torch()
    check_packages()
    inputs = graph.examples(2)
    with _quiet():
        program = torch.onnx.export(
            graph.network,
            (),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=_dimensions(graph),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@dataclass(frozen=True)
class Deviation:
    """How far a file's outputs are from PyTorch's: the largest difference, root mean square.

    In parts of the largest magnitude of the outputs, if that is above 1.
    """

    largest: float
    rms: float

    def __str__(self) -> str:
        """Both numbers."""
        return f"{self.largest:.1e} at most, {self.rms:.1e} root mean square"


def measure(graph: Graph, run: Run) -> Deviation:
    """The deviation of what `run` computes from a graph's network, for 1 and 3 images."""
    parts = []
    with torch.random.fork_rng(devices=[]), torch.inference_mode(), use("torch"):
        torch.default_generator.manual_seed(SEED)
        for count in BATCHES:
            inputs = graph.examples(count)
            for ours, theirs in zip(_list(graph.network(**inputs)), run(inputs), strict=True):
                difference = (theirs - ours) / ours.abs().amax().clamp(min=1)
                parts.append(difference.flatten().nan_to_num(torch.inf))
    every = torch.cat(parts)
    return Deviation(float(every.abs().max()), float(every.square().mean().sqrt()))


def check(deviation: Deviation, precision: str) -> None:
    """Raises StylemixError for a deviation above `MAX_ERROR` of a precision."""
    error = deviation.rms if precision == "int8" else deviation.largest
    if error > MAX_ERROR[precision]:
        raise StylemixError(
            f"got an error of {error:.2g} from PyTorch's result in {precision}; expected at most "
            f"{MAX_ERROR[precision]:g}; use a higher --precision"
        )


def _onnx_runner(model: ModelProto) -> Run:
    onnxruntime = _runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda inputs: [
        torch.from_numpy(value)
        for value in session.run(None, {name: value.numpy() for name, value in inputs.items()})
    ]


def _dimensions(graph: Graph) -> dict[str, Any]:
    """The free dimensions of each input."""
    batch, out = torch.export.Dim("batch", min=1, max=4096), {}
    for name, value in graph.examples(2).items():
        free: dict[int, Any] = {} if name in graph.single else {0: batch}
        if graph.step and value.ndim == 4:
            for dim, side in ((2, "rows"), (3, "columns")):
                least, most = max(2, MIN_SIDE // graph.step), MAX_SIDE // graph.step
                free[dim] = torch.export.Dim(side, min=least, max=most)
                if graph.step > 1:
                    free[dim] = graph.step * free[dim]
        out[name] = free or None
    return out


@contextmanager
def _quiet() -> Iterator[None]:
    """Plain operations, without gradients and without the exporter's remarks on its insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), use("torch"):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_torch() -> None:
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if release < MIN_TORCH:
        raise StylemixError(
            f"got PyTorch {torch.__version__}; expected {'.'.join(map(str, MIN_TORCH))} or newer "
            "for exports; upgrade it"
        )


def check_packages() -> None:
    """Raises StylemixError if a package is missing that ONNX files need."""
    try:
        _runtime()
        import onnxscript  # noqa: F401 (an extra)
    except ImportError as error:
        raise StylemixError(
            f"got no {error.name}; expected it for ONNX files; pip install 'stylemix[onnx]'"
        ) from error


def _runtime() -> ModuleType:
    """ONNX Runtime, an extra; new versions of it tell their makers about each use, unless told."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported
    return import_module("onnxruntime")


def _list(value: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)

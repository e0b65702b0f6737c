"""Exported networks that tests share: the exporter needs half a minute for one."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from stylemix.export import files
from stylemix.export.graphs import Graph
from stylemix.io.atomic import write_bytes

if TYPE_CHECKING:
    from onnx import ModelProto

PLAIN = (str, int, float, bool, tuple)


def share_exports(factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> None:
    """Lets the same graph be exported once in all processes of this run, as `onnx_model` does.

    What tells graphs apart are their modules with plain attributes, weights and inputs.
    """
    base = factory.getbasetemp()  # of this process; all have the folder above it
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported"
    export = files.onnx_model

    def onnx_model(graph: Graph) -> ModelProto:
        from onnx import load_model_from_string

        path = folder / _key(graph)
        if not path.exists():
            folder.mkdir(exist_ok=True)
            write_bytes(path, export(graph).SerializeToString())
        return load_model_from_string(path.read_bytes())

    patch.setattr(files, "onnx_model", onnx_model)


def _key(graph: Graph) -> str:
    modules = [
        (name, type(part).__name__, {k: v for k, v in vars(part).items() if type(v) in PLAIN})
        for name, part in graph.network.named_modules()
    ]
    inputs = {name: tuple(value.shape) for name, value in graph.examples(2).items()}
    key = hashlib.sha256(repr((modules, inputs, graph.outputs, graph.step)).encode())
    for name, value in graph.network.state_dict().items():
        key.update(name.encode() + value.contiguous().numpy().tobytes())
    return key.hexdigest()

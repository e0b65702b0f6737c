"""Graphs as files: any number of images, the same result in another program, a checked error."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.export import files
from stylemix.export.files import Deviation, check, measure, onnx_bytes, write_onnx, write_program
from stylemix.export.graphs import Graph, model_graph, student_graph
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.networks.student import Student, StudentConfig
from stylemix.styles.style import Style
from tests.support.models import tiny_model

RELEASE = tuple(map(int, torch.__version__.split(".")[:2]))
exports = pytest.mark.skipif(
    RELEASE < files.MIN_TORCH, reason="PyTorch 2.7 is the first whose exporter can do it"
)


def _session(data):
    return pytest.importorskip("onnxruntime").InferenceSession(data)


def _equal(session, graph, count):
    inputs = graph.examples(count)
    results = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.no_grad():
        expected = graph.network(**inputs)
    expected = [expected] if isinstance(expected, torch.Tensor) else expected
    for ours, theirs in zip(expected, results, strict=True):
        torch.testing.assert_close(torch.from_numpy(theirs), ours, atol=1e-3, rtol=0)


@pytest.mark.slow  # an export takes ten seconds
@exports
@pytest.mark.parametrize(
    ("part", "options"),
    [
        ("synthesis", {"resolution": 128}),
        ("generator", {"classes": 3}),
        ("synthesis", {"architecture": "resnet", "channels": 1}),
        ("synthesis", {"architecture": "orig", "base": (4, 6), "template": NO_TEMPLATE}),
        ("synthesis", {"head": "haar"}),
    ],
)
def test_onnx_renders_any_number_of_images(part, options):
    pytest.importorskip("onnxscript")
    graph = model_graph(tiny_model(**{"resolution": 16} | options), part)
    data, deviation = onnx_bytes(graph, {"name": "test", "offsets": {"b4.conv1": 32}})
    session = _session(data)
    for count in (1, 3, 8):
        _equal(session, graph, count)
    assert deviation.largest < 1e-3
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["name"] == "test"
    assert facts["offsets"] == '{"b4.conv1": 32}'
    assert facts["precision"] == "fp32"


@pytest.mark.slow
@exports
def test_onnx_draws_photos_of_any_size(tmp_path):
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    style = Style("a", student=Student(StudentConfig((8, 12, 16))).eval(), hand="toon")
    graph = student_graph(style)
    write_onnx(tmp_path / "drawn.onnx", graph, {})
    assert [file.name for file in tmp_path.iterdir()] == ["drawn.onnx"]
    session = _session((tmp_path / "drawn.onnx").read_bytes())
    for count, height, width in ((1, 64, 64), (3, 32, 128)):
        photo = torch.rand([count, 3, height, width]) * 2 - 1
        curve = torch.tensor([[0.05, 0.8, 1.1]]).expand(count, -1)
        (drawn,) = session.run(None, {"photo": photo.numpy(), "curve": curve.numpy()})
        with torch.no_grad():
            expected = style.drawing(photo, curve)
        torch.testing.assert_close(torch.from_numpy(drawn), expected, atol=1e-3, rtol=0)


@exports
def test_a_program_of_torch_export_is_reloaded(tmp_path):
    graph = model_graph(tiny_model(resolution=8), "mapping")
    deviation = write_program(tmp_path / "mapping.pt2", graph, {"name": "test"})
    assert deviation.largest < 1e-6
    facts = {"stylemix.json": ""}
    program = torch.export.load(tmp_path / "mapping.pt2", extra_files=facts).module()
    assert '"name": "test"' in facts["stylemix.json"]
    for count in (1, 3):
        inputs = graph.examples(count)
        torch.testing.assert_close(program(**inputs), graph.network(**inputs))


def _doubling() -> Graph:
    network = torch.nn.Linear(1, 1, bias=False).requires_grad_(False)
    network.weight.fill_(2)
    return Graph(network, lambda n: {"input": torch.arange(1.0, n + 1)[:, None]}, ("y",))


def test_the_deviation_is_the_worst_of_one_and_three_images():
    found = measure(_doubling(), lambda inputs: [2.3 * inputs["input"]])
    # Of 2, and of 2, 4 and 6; in parts of the largest of each call.
    assert found.largest == pytest.approx(0.15)
    rows = np.array([0.3 / 2, 0.3 / 6, 0.6 / 6, 0.9 / 6])
    assert found.rms == pytest.approx(np.sqrt(np.square(rows).mean()))


def test_what_is_no_number_is_no_small_error():
    found = measure(_doubling(), lambda inputs: [torch.nan * inputs["input"]])
    with pytest.raises(StylemixError, match="got an error of inf"):
        check(found, "int8")


def test_an_error_above_the_limit_of_its_precision_is_refused():
    check(Deviation(9e-4, 1e-4), "fp32")
    check(Deviation(0.5, 1.9e-2), "int8")
    with pytest.raises(StylemixError, match=r"got an error of 0\.0011 .* in fp32"):
        check(Deviation(1.1e-3, 1e-4), "fp32")
    with pytest.raises(StylemixError, match=r"use a higher --precision"):
        check(Deviation(0.5, 2.1e-2), "int8")


@pytest.mark.slow
def test_onnx_runtime_tells_nobody_that_it_is_used(tmp_path):
    """Version 1.32 makes an identity of the machine, keeps events with it and sends them."""
    pytest.importorskip("onnxruntime")
    code = "from stylemix.export.files import check_packages; check_packages()"
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    environment = os.environ | dict.fromkeys(names, str(tmp_path))
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_old_versions_and_missing_packages_are_named(monkeypatch, tmp_path):
    graph = _doubling()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.6.0+cpu")
        with pytest.raises(StylemixError, match=r"got PyTorch 2\.6\.0\+cpu; expected 2\.7"):
            write_program(tmp_path / "a.pt2", graph, {})
    for name in ("onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "__version__", "2.9.0")
            patch.setitem(__import__("sys").modules, name, None)
            with pytest.raises(StylemixError, match=r"pip install 'stylemix\[onnx\]'"):
                write_onnx(tmp_path / "a.onnx", graph, {})
    assert list(tmp_path.iterdir()) == []

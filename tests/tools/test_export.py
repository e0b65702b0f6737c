"""`stylemix export`: options, and what it says."""

import json

import pytest
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.export.export import Exported
from stylemix.export.files import Deviation
from stylemix.tools import export as command


def _run(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_a_file_is_described(tmp_path, monkeypatch):
    calls = []

    def export_model(what, path, **options):
        calls.append((what, options))
        path.write_bytes(bytes(2_000_000))
        return Exported(path, "synthesis", ("ws", "offsets"), ("image",), Deviation(2e-4, 3e-5))

    monkeypatch.setattr(command, "export_model", export_model)
    path = tmp_path / "a.onnx"
    result = _run(
        "noir", "--part", "synthesis", "--precision", "fp16", "--strength", 0.5, "--output", path
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f"Wrote {path} (2.0 MB)\nsynthesis: ws, offsets to image\n"
        "Difference from PyTorch: 2.0e-04 at most, 3.0e-05 root mean square\n"
    )
    options = {"part": "synthesis", "precision": "fp16", "strength": 0.5, "model": "faces-64"}
    assert calls[0][0] == "noir"
    assert calls[0][1].items() >= options.items()


def test_a_page_is_written(tmp_path, monkeypatch):
    calls = []

    def write_page(page, runtime, names, **_):
        calls.append((runtime, names))
        return {"mapping": Deviation(1e-6, 1e-7)}

    monkeypatch.setattr(command, "write_page", write_page)
    (tmp_path / "page").mkdir()  # an earlier one, which is kept
    result = _run("comic", "toon", "--page", tmp_path / "page", "--runtime", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["written"] == [{"path": str(tmp_path / "page-2")}]
    assert facts["result"] == {"errors": {"mapping": {"largest": 1e-6, "rms": 1e-7}}}
    assert calls == [(tmp_path, ("comic", "toon"))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["comic"], "got --output and --page, or neither"),
        (["comic", "--output", "a.onnx", "--page", "b"], "got --output and --page, or neither"),
        (["comic", "toon", "--output", "a.onnx"], "got several names"),
        (["comic", "--output", "a.onnx", "--runtime", "b"], "or --runtime with --output"),
        (["comic", "--page", "b"], "npm install onnxruntime-web"),
        (["comic", "--page", "b", "--runtime", "c", "--precision", "int8"], "leave it out"),
        (["comic", "--output", "a.onx"], "expected .onnx or .pt2 at its end"),
    ],
)
def test_contradicting_options_are_one_line(arguments, message):
    result = _run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1

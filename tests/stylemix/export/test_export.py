"""Names, parts and precisions of an export, and what the file says of itself."""

import errno
import tempfile

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.export import export
from stylemix.export.export import export_model
from stylemix.export.files import MIN_TORCH, Deviation
from stylemix.models.loading import use_model
from stylemix.networks.student import Student, StudentConfig
from stylemix.styles.style import Style, load_style
from tests.support.models import tiny_model

RELEASE = tuple(map(int, torch.__version__.split(".")[:2]))


@pytest.fixture
def written(monkeypatch):
    """What would be written: graphs, facts and precisions."""
    calls = []

    def write(path, graph, facts, precision="fp32"):
        calls.append((graph, facts, precision))
        return Deviation(0.0, 0.0)

    monkeypatch.setattr(export, "write_onnx", write)
    monkeypatch.setattr(export, "write_program", write)
    return calls


def test_a_model_is_a_generator_unless_a_part_is_named(written):
    model = tiny_model()
    model.card["licence"] = "CC0-1.0"
    assert export_model(model, "a.onnx").inputs == ("z", "psi", "offsets")
    assert export_model(model, "a.pt2", part="mapping").outputs == ("ws",)
    assert export_model(model, "a.onnx", part="synthesis", precision="int8").inputs[0] == "ws"
    facts = written[2][1]
    assert (facts["licence"], facts["model"]) == ("CC0-1.0", model.fingerprint)
    assert facts["generated"].endswith("trainedAlgorithmicMedia")
    assert facts["offsets"]["b4.conv1"] == 32
    assert [precision for *_, precision in written] == ["fp32", "fp32", "int8"]


def test_a_missing_folder_for_temporary_files_is_said_before_pytorch_fails(written, monkeypatch):
    monkeypatch.setattr(tempfile, "_get_default_tempdir", _no_folder)
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(FileNotFoundError, match="No usable temporary directory"):
        export_model(tiny_model(), "a.onnx")
    assert written == []


def _no_folder(*_):
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")


def test_the_progress_is_that_of_all_functions(written):
    steps = []
    export_model(tiny_model(), "a.onnx", progress=lambda done, total: steps.append((done, total)))
    assert steps == [(0, 1), (1, 1)]
    for shown in (True, False):
        assert export_model(tiny_model(), "a.onnx", progress=shown).part == "generator"
    with pytest.raises(StylemixError, match="got 3 as the progress"):
        export_model(tiny_model(), "a.onnx", progress=3)


def test_a_shipped_style_is_its_student_or_a_generator(written):
    assert export_model("comic", "a.onnx").part == "student"
    assert written[0][1]["name"] == "comic"
    assert export_model("noir", "a.onnx", strength=0.5).part == "generator"
    assert (written[1][1]["name"], written[1][1]["licence"]) == ("noir", "Apache-2.0")


def test_a_style_with_a_student_beside_other_parts_has_both(written):
    model = tiny_model()
    style = Style(model.fingerprint, shift=torch.zeros([model.generator.num_ws, 16]))
    style.student = Student(StudentConfig((8, 12)))
    assert export_model(style, "a.onnx", model=model).part == "generator"
    assert export_model(style, "a.onnx", model=model, part="student").part == "student"


@pytest.mark.parametrize(
    ("what", "path", "options", "message"),
    [
        ("comic", "a.onx", {}, "expected .onnx or .pt2"),
        ("comic", "a.pt2", {"precision": "fp16"}, "fp16 or int8 for ONNX"),
        ("comic", "a.onnx", {"precision": "fp8"}, "got the precision fp8"),
        ("comic", "a.onnx", {"part": "mapping"}, "a student alone"),
        ("comic", "a.onnx", {"strength": 0.5}, "got --strength"),
        ("noir", "a.onnx", {"part": "student"}, "make it with stylemix distill"),
        ("faces-64", "a.onnx", {"part": "student"}, "expected a style"),
        ("faces-64", "a.onnx", {"part": "discriminator"}, "expected one of generator, mapping"),
        ("commic", "a.onnx", {}, "a shipped model .*faces-64.* or a shipped style .*comic"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(written, what, path, options, message):
    with pytest.raises(StylemixError, match=message):
        export_model(what, path, **options)
    assert not written


@pytest.mark.slow
@pytest.mark.skipif(RELEASE < MIN_TORCH, reason="PyTorch 2.7 is the first whose exporter can do it")
def test_the_shipped_model_is_the_same_elsewhere(tmp_path, exported_once):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = use_model("faces-64", "cpu")
    path, generator = tmp_path / "faces.onnx", model.generator
    limits = {  # of the largest difference, its root mean square, and bytes
        "fp32": (1e-3, 1e-4, 11.5e6), "fp16": (1e-2, 1e-3, 6e6), "int8": (0.3, 2e-2, 3.5e6),
    }  # fmt: skip
    for precision, (largest, rms, size) in limits.items():
        result = export_model("faces-64", path, part="synthesis", precision=precision)
        session = runtime.InferenceSession(str(path))
        rng = torch.Generator().manual_seed(1)
        for count in (1, 3):
            ws = generator.mapping(torch.randn([count, generator.z_dim], generator=rng))
            offsets = torch.zeros([count, session.get_inputs()[1].shape[1]])
            (image,) = session.run(None, {"ws": ws.detach().numpy(), "offsets": offsets.numpy()})
            with torch.no_grad():
                difference = (torch.from_numpy(image) - generator.synthesis(ws, "const")).abs()
            assert difference.max() < largest
            assert difference.square().mean().sqrt() < rms
        assert path.stat().st_size < size
        assert session.get_modelmeta().custom_metadata_map["error"] == str(result.deviation)


@pytest.mark.slow
@pytest.mark.skipif(RELEASE < MIN_TORCH, reason="PyTorch 2.7 is the first whose exporter can do it")
def test_a_shipped_drawn_style_is_exported_with_its_hand(tmp_path, exported_once):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_model("comic", tmp_path / "comic.onnx", precision="fp16")
    session = runtime.InferenceSession(str(tmp_path / "comic.onnx"))
    torch.manual_seed(0)
    photo, curve = torch.rand([3, 3, 64, 48]) * 2 - 1, torch.tensor([[0.1, 0.8, 0.9]])
    curve = curve.repeat(3, 1)
    (drawn,) = session.run(None, {"photo": photo.numpy(), "curve": curve.numpy()})
    expected = load_style("comic").drawing(photo, curve)
    torch.testing.assert_close(torch.from_numpy(drawn), expected, atol=1e-3, rtol=0)

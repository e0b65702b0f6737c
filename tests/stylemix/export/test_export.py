"""Students as ONNX files: another program draws what PyTorch draws."""

import pytest
import torch
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.networks.student import Student, StudentConfig, tone_curve
from stylemix.styles.onnx_export import export_student
from stylemix.styles.style import Style

RELEASE = tuple(map(int, torch.__version__.split(".")[:2]))


@pytest.mark.slow  # the export takes ten seconds
@pytest.mark.skipif(RELEASE < (2, 7), reason="PyTorch 2.7 is the first whose exporter can do it")
def test_another_program_draws_the_same(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    student = Student(StudentConfig((8, 12, 16))).eval()
    style = tmp_path / "drawn.safetensors"
    Style("a", student=student.half().float()).save(style)
    path = tmp_path / "drawn.onnx"
    result = CliRunner().invoke(main, ["convert", str(style), str(path)])
    assert result.exit_code == 0, result.output
    assert [file.name for file in tmp_path.glob("drawn.onnx*")] == ["drawn.onnx"]
    session = runtime.InferenceSession(str(path))
    for height, width in ((64, 64), (32, 128)):
        photo = torch.rand([1, 3, height, width]) * 2 - 1
        curve = tone_curve(photo)
        (drawn,) = session.run(None, {"photo": photo.numpy(), "curve": curve.numpy()})
        expected = student(photo, curve).clamp(-1, 1).detach()
        torch.testing.assert_close(torch.from_numpy(drawn), expected, atol=2e-5, rtol=0)


def test_a_style_without_a_student_and_options_of_models_are_refused(tmp_path, monkeypatch):
    with pytest.raises(StylemixError, match="make it with stylemix distill"):
        export_student(tmp_path / "a.onnx", Style("a"))
    result = CliRunner().invoke(
        main, ["convert", "noir", str(tmp_path / "a.onnx"), "--no-discriminator"]
    )
    assert result.exit_code == 2
    assert "leave it out" in result.output
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(StylemixError, match=r"pip install 'stylemix\[onnx\]'"):
        export_student(tmp_path / "a.onnx", Style("a", student=Student(StudentConfig((8, 12)))))
    assert list(tmp_path.iterdir()) == []

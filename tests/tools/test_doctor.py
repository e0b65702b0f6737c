"""`stylemix doctor`: the lines for a bug report, and compiling the ops on request."""

import platform
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from stylemix import __version__, cli
from stylemix.ops import jit, toolchain
from stylemix.tools import doctor
from tests.support.toy_ops import Toy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return Toy(tmp_path, monkeypatch)


def _run(*arguments):
    result = CliRunner().invoke(cli.main, ["doctor", *arguments], prog_name="stylemix")
    lines = result.output.splitlines()
    return result.exit_code, [line for line in lines if not line.startswith("stylemix: compiling")]


def _lines():
    return dict(doctor.describe())


def test_names_versions_and_devices():
    lines = _lines()
    assert lines["stylemix"] == __version__
    assert lines["python"].startswith(platform.python_version())
    assert lines["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert lines["numpy"] == np.__version__
    assert torch.cuda.is_available() == ("GiB" in lines["cuda"])


def test_command_prints_one_line_each(toy):
    code, lines = _run()
    assert code == 0
    assert len(lines) == len(doctor.describe()) + 1
    assert lines[-1].startswith("works  an image of faces-64 was generated in ")


def test_a_broken_core_is_an_error(toy, monkeypatch):
    def fail(*_):
        raise OSError("no kernel")

    monkeypatch.setattr(doctor, "sample_images", fail)
    code, lines = _run()
    assert code == 2
    assert lines[-1].startswith("Error: got OSError when generating an image (no kernel); expected")


def test_missing_extras_say_how_to_get_them(monkeypatch):
    wanted = [
        "torch>=2.4", "av>=14; extra == 'video'", "no-such-package>=1; extra == \"hub\"",
        "ruff>=0.12; extra == 'lint'",
    ]  # fmt: skip
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: wanted)
    assert doctor.extras() == {"video": ["av"], "hub": ["no-such-package"]}
    line = doctor._extra("hub", ["no-such-package"])
    assert line == (
        "missing no-such-package, for models of the Hugging Face Hub: pip install 'stylemix[hub]'"
    )
    assert doctor._extra("x", ["numpy"]) == f"numpy {np.__version__}"


def test_extras_are_those_of_the_package_and_documented():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert set(doctor.PURPOSES) <= extras
    page = (ROOT / "docs" / "install.md").read_text()
    assert [name for name in sorted(extras - {"lint"}) if f"| `.[{name}]` |" not in page] == []


def test_a_checkout_without_metadata_has_no_extras(monkeypatch):
    def missing(_):
        raise doctor.metadata.PackageNotFoundError("stylemix")

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    assert doctor.extras() == {}


def test_names_the_compilers(toy):
    lines = _lines()
    assert lines["c++"].endswith(f" ({toy.compiler})")
    assert lines["ninja"][0].isdigit()
    assert lines["nvcc"].startswith(("none: no nvcc; ", "Cuda compilation tools, release "))


def test_names_missing_tools(toy, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(toolchain, "ninja", lambda: [str(toy.folder / "ninja")])
    lines = _lines()
    reason = "none: CXX names 'no-such-compiler', which is not there; correct or unset it"
    assert lines["c++"] == lines["cpu ops"] == reason
    assert lines["op bias_act"] == "cpu: torch"
    assert lines["ninja"].startswith("none: ")


def test_prints_the_backends_and_reasons(toy, monkeypatch):
    lines = _lines()
    assert toy.runs() == 0
    assert lines["op bias_act"] == lines["op upfirdn2d"] == "cpu: native, once it is compiled"
    assert lines["op grid_sample"] == "torch"
    assert lines["cpu ops"] == "compiled at first use, or now by stylemix doctor --build"
    path = jit.library("cpu")
    lines = _lines()
    assert lines["op bias_act"] == "cpu: native"
    assert lines["cpu ops"] == f"loaded: {path}"
    monkeypatch.setenv("STYLEMIX_OPS", "torch")
    lines = _lines()
    assert lines["op bias_act"] == "cpu: torch"
    assert lines["cpu ops"] == "none: STYLEMIX_OPS=torch"


def test_prints_a_library_that_does_not_load(toy):
    toy.write("one.cpp", "int nowhere(); int one = nowhere();\n")
    jit.library("cpu")
    lines = _lines()
    assert lines["op bias_act"] == "cpu: torch"
    assert lines["cpu ops"].startswith("none: the library does not load (")


def test_prints_why_a_library_beside_the_sources_is_ignored(toy):
    jit.build_into("cpu", toy.sources)
    assert _lines()["cpu ops"].endswith("_native_cpu.so (built ahead of time)")
    toy.forget()
    toy.write("value.h", "#define VALUE 2\n")
    reason = "(ignores _native_cpu.so: it was built from other sources)"
    assert (
        _lines()["cpu ops"] == f"compiled at first use, or now by stylemix doctor --build {reason}"
    )


@pytest.mark.skipif(bool(torch.version.cuda), reason="needs a PyTorch without CUDA")
def test_prints_why_there_are_no_cuda_ops(toy):
    assert "is a build without CUDA" in _lines()["cuda ops"]


def test_build_compiles_once_and_prints_the_seconds(toy):
    code, lines = _run("--build")
    path = jit.library("cpu")
    assert code == 0
    assert lines[0].startswith("cpu ops  compiled in ")
    assert lines[0].endswith(f" s: {path}")
    assert f"loaded: {path}" in "\n".join(lines[1:])
    toy.forget()
    code, lines = _run("--build")
    assert (code, lines[0]) == (0, f"cpu ops  already compiled: {path}")
    assert toy.runs() == 1


def test_build_works_where_compiled_ops_are_turned_off(toy, monkeypatch):
    monkeypatch.setenv("STYLEMIX_OPS", "torch")
    assert _run("--build")[0] == 0
    assert toy.runs() == 1


@pytest.mark.parametrize(
    ("source", "start"),
    [
        ("nonsense", "Error: cannot compile the cpu ops: compiling failed ("),
        ("int no(); int x = no();", "Error: cannot use the cpu ops: the library does not load ("),
    ],
)
def test_build_fails_with_one_line(toy, source, start):
    toy.write("one.cpp", source)
    code, lines = _run("--build")
    assert code == 2
    assert lines[-1].startswith(start)
    assert len(lines) == 1


def test_build_for_cuda_on_request(toy, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setenv("STYLEMIX_CUDA_ARCHS", "9.0")
    code, lines = _run("--build")
    assert code == 2
    assert lines[-1].startswith("Error: cannot compile the cuda ops: torch ")
    assert jit.status("cpu").state == "loaded"

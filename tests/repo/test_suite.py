"""The tests as a whole: which warnings are errors, which are skipped, on which Python they run."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def _warn(category, module):
    warnings.warn_explicit("said in a test", category, "file.py", 1, module)


def test_convolutions_are_not_rounded_on_a_gpu():
    """Their results are compared with those of float64, and of a CPU."""
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(
    ("category", "module"),
    [
        (DeprecationWarning, "stylemix"),
        (FutureWarning, "stylemix.ops.jit"),
        (ResourceWarning, "stylemix.io.atomic"),
        (UserWarning, "tests.support.models"),
        (RuntimeWarning, "test_losses"),
    ],
)
def test_a_warning_of_ours_is_an_error(category, module):
    with pytest.raises(category):
        _warn(category, module)


@pytest.mark.parametrize(
    ("category", "module"),
    [
        (UserWarning, "torch._tensor"),
        (DeprecationWarning, "tensorboard.compat"),
        (DeprecationWarning, "test_losses"),
        (FutureWarning, "tests.support.models"),
        (pytest.PytestDeprecationWarning, "/a/checkout/tests/test_losses"),
    ],
)
def test_a_warning_of_another_package_is_only_shown(category, module):
    with warnings.catch_warnings(record=True) as shown:
        _warn(category, module)
    assert [str(warning.message) for warning in shown] == ["said in a test"]


def _collect(*options):
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    file = ROOT / "tests" / "ops" / "test_compile.py"
    done = subprocess.run([*command, *options, file], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_one_line_reports_skipped_tests_and_how_to_run_them():
    (line,) = re.findall("^Left out.*$", _collect(), re.M)
    assert re.fullmatch(
        r"Left out, with what runs them: \d+ marked gpu \(pytest --device cuda\), "
        r"\d+ marked slow \(pytest --slow\)",
        line,
    )
    output = _collect("--slow")
    assert "test_inductor_equals_eager[cpu]" in output
    assert "marked slow" not in output


def test_archives_are_unpacked_on_every_python():
    """By tests/support/archives.py: Python 3.11.2, Debian 12's, has no filters in tarfile yet."""
    by_hand = re.compile(r"\.extract(?:all)?\([^)]*\bfilter=")
    files = sorted(ROOT.glob("tests/**/*.py"))
    assert len(files) > 200
    assert [path.name for path in files if by_hand.search(path.read_text(encoding="utf-8"))] == []

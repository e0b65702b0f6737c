"""Twenty seconds of fuzzing for each reader; `python -m tests.fuzz --all` takes longer."""

import importlib.util
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fuzz import readers
from tests.fuzz.__main__ import NAMES

ROOT = Path(__file__).parents[2]
ATHERIS = importlib.util.find_spec("atheris") is not None


@pytest.mark.slow
@pytest.mark.skipif(not ATHERIS, reason="needs atheris: pip install '.[fuzz]' on Python 3.11, 3.12")
def test_fuzzing_finds_nothing(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", "--all", "--seconds", "20"]
    command += ["--findings", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("no finding") == len(NAMES)


COSTLY = {"archive", "latent"}  # whose seeds take seconds to make


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in COSTLY)) for n in NAMES]
)
def test_a_reader_takes_its_seeds(tmp_path, name, monkeypatch):
    """Without atheris: valid files are read, others are refused, and nothing else happens."""
    monkeypatch.setattr(readers, "PLACE", tmp_path)
    reader = readers.READERS[name]
    read = 0
    for data in reader.seeds()[:8]:
        with suppress(readers.StylemixError):
            reader.read(data)
            read += 1
    if name in ("pickle", "safetensors", "tensorflow", "options", "labels", "header"):
        assert read

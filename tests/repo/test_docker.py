"""The Docker files: what they copy, install and run is there. No test here builds an image."""

import json
import re
import shlex
from pathlib import Path

import pytest

from stylemix.cli import COMMANDS
from stylemix.ops import jit

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "Dockerfile", ROOT / "Dockerfile.cuda"]


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a file, without comments, each on one line."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(name, rest) for name, rest in pairs]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_extras_exist(path):
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.findall(r"'\.\[([\w,]+)\]'", path.read_text())
    assert len(asked) == 1
    assert set(asked[0].split(",")) <= set(known)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_runs_in_the_end(path):
    last = dict(instructions(path))  # the last of each kind
    assert last["USER"] == "stylemix", "not as root"
    assert json.loads(last["ENTRYPOINT"]) == ["stylemix"]
    command = json.loads(last["CMD"])
    assert command[0] in COMMANDS
    kinds = re.findall(r"STYLEMIX_BUILD_OPS=([\w,]+)", path.read_text())[0].split(",")
    assert set(kinds) <= set(jit.KINDS)
    for name, rest in instructions(path):
        if name == "RUN":
            shlex.split(rest)  # quotes are closed


def test_what_is_copied_has_all_that_a_wheel_needs():
    ignored = (ROOT / ".dockerignore").read_text().split()
    needed = ["setup.py", "pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY_NOTICES"]
    needed += ["stylemix", "ops", "training", "tools"]
    assert [name for name in needed if name in ignored or not (ROOT / name).exists()] == []

"""A few kills; `python -m tests.hostile.kills` makes a hundred over all commands that write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile import kills

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_commands_leave_no_half_file_and_go_on():
    names = ["generate", "pack", "pack to a folder", "convert", "blend", "train"]
    command = [sys.executable, "-m", "tests.hostile.kills", "--count", "6", "--only", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kills: 6 right, 0 wrong" in done.stdout


def test_what_a_kill_could_leave_is_seen(tmp_path):
    """The check itself: half files, missing files, other files, and files beside the results."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.json").write_text('{"a": 1, "seconds": 2}')
    (out / ".a.1.tmp.json").write_text("{")
    expected = {"a.json": {"a": 1}}
    assert list(kills.faults(tmp_path, expected, ended=True)) == []
    (out / "a.json").write_text('{"a":')
    assert list(kills.faults(tmp_path, expected, ended=False)) == [
        "a.json is incomplete: JSONDecodeError"
    ]
    (out / "a.json").write_text('{"a": 2}')
    (out / "b.txt").write_text("")
    assert list(kills.faults(tmp_path, expected | {"c": 1}, ended=True)) == [
        "a.json differs", "c is missing", "b.txt left"
    ]  # fmt: skip

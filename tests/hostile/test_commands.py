"""Some dozens of hostile files through the real command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_commands_end_with_2_and_one_line(tmp_path):
    place = tmp_path / "work"
    place.mkdir()
    command = [sys.executable, "-m", "tests.hostile.commands", str(place)]
    environment = os.environ | {"STYLEMIX_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 50
    wrong = []
    for row in rows:
        left = [name for name in row["left"] if row["arguments"][0] != "pack"]  # its report stays
        (*notes, line, end) = row["err"].split("\n")
        told = row["code"] == 2 and line.startswith("Error: ") and line.isprintable() and not end
        told = told and all(note.startswith("Left out: ") for note in notes)  # broken shards
        cheap = row["seconds"] < 10 and row["megabytes"] < 1024
        if not told or (row["out"] and row["arguments"][0] != "train") or left or not cheap:
            wrong.append(row)
    assert not wrong

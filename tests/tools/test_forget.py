"""`stylemix forget`: nothing of a photo is left in the cache."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from stylemix import cli
from stylemix.inversion import cache

PORTRAITS = Path(__file__).resolve().parents[1] / "data" / "portraits"


def run(*words):
    return CliRunner().invoke(cli.main, list(words), prog_name="stylemix")


@pytest.mark.slow
def test_after_a_mix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(PORTRAITS / "obama.jpg", "me.jpg")
    small = ["--w-steps", "1", "--steps", "1", "--refine-steps", "1", "--device", "cpu"]
    done = run("mix", "me.jpg", "noir", "--output", "a.png", *small)
    assert done.exit_code == 0, done.output
    folder = cache.cache_folder("latents")
    assert len(list(folder.iterdir())) == 1
    shutil.move("me.jpg", "renamed.jpg")
    done = run("forget", "renamed.jpg")
    assert (done.exit_code, done.stdout) == (0, "Removed 1 file\n")
    assert list(folder.iterdir()) == []
    assert run("forget", "renamed.jpg").stdout == "Removed 0 files\n"


@pytest.mark.parametrize("words", [[], ["me.jpg", "--all"]])
def test_one_of_both(words):
    done = run("forget", *words)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: got neither photos nor --all, or both; expected one")


def test_a_photo_that_is_not_there():
    done = run("forget", "none.jpg")
    assert done.exit_code == 2
    assert "none.jpg" in done.stderr

"""One training at a time in a run folder, whatever became of the one before."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stylemix.errors import StylemixError
from stylemix.io.atomic import atomic_write
from stylemix.training.run_lock import NAME, claim, run_folder

pytest.importorskip("fcntl", reason="this system has no such locks")
ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import multiprocessing, sys, time
from pathlib import Path
from stylemix.training.run_lock import claim
claim(Path(sys.argv[1]))
worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
worker.start()
print(worker.pid, flush=True)
time.sleep(300)
"""


def test_a_process_may_claim_twice(tmp_path):
    claim(tmp_path)
    claim(tmp_path)
    assert f"process {os.getpid()} on " in (tmp_path / NAME).read_text()


def test_unfinished_files_of_a_killed_training_are_removed(tmp_path):
    for target in ("state-000000000064.safetensors", "best.safetensors", "fakes-000001.png"):
        with atomic_write(tmp_path / target) as temporary:
            pass
        (tmp_path / target).rename(temporary)  # as if killed before the end
    others = [".best.tmp.png", ".mine.0123456789ab.tmp.safetensors", "state-1.safetensors"]
    for name in others:
        (tmp_path / name).touch()
    claim(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, NAME])


def test_another_process_is_named_and_its_death_ends_the_claim(tmp_path):
    """Also when it is killed, and a worker of it lives on."""
    words, environment = [sys.executable, "-c", HOLD, tmp_path], {**os.environ, "PYTHONPATH": ROOT}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        worker = int(holder.stdout.readline())
        try:
            with pytest.raises(
                StylemixError, match=rf"process {holder.pid} on .* since 2\d+-.* trains; expected"
            ):
                claim(tmp_path)
            holder.kill()
            holder.wait()
            os.kill(worker, 0)  # the worker is there
            claim(tmp_path)
        finally:
            holder.kill()
            os.kill(worker, signal.SIGKILL)
    assert f"process {os.getpid()} on " in (tmp_path / NAME).read_text()
    assert multiprocessing.active_children() == []


def _fail(folder: Path, file: str = "", error: type[Exception] = StylemixError) -> None:
    with run_folder(folder):
        claim(folder)
        if file:
            (folder / file).touch()
        raise error("got no model; expected one; name one")


def test_a_new_folder_is_removed_where_a_training_cannot_begin(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("new", "old"):
        with pytest.raises(StylemixError, match="got no model"):
            _fail(tmp_path / name)
    with pytest.raises(FileNotFoundError):  # such as of the system's folder for temporary files
        _fail(tmp_path / "new", error=FileNotFoundError)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    with pytest.raises(StylemixError, match="got no model"):
        _fail(tmp_path / "used", "state")
    with run_folder(tmp_path / "new"):
        claim(tmp_path / "new")
    assert (tmp_path / "new" / NAME).exists()
    assert (tmp_path / "used" / "state").exists()

"""Every file of the corpus gets its line; `python -m tests.hostile` prints a tally with costs."""

import os
import socket
from pathlib import Path

import pytest

from tests.hostile import corpus
from tests.hostile.check import check
from tests.hostile.corpus import KINDS, files

ALL = {kind.name: kind for kind in KINDS}
SLOW = {"pickles", "headers of safetensors", "archives of arrays", "archives of images"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in ALL]
)
def test_every_file_is_answered_in_one_line(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the attacks would make the folder "mark"
    kind, faults = ALL[name], []
    for file, path in files(kind, tmp_path / "files"):
        for read in kind.readers:
            result = check(read, path, kind.intact)
            if result.fault:
                faults.append(f"{file}, {read.__name__}: {result.fault}")
    assert not faults
    assert [entry.name for entry in tmp_path.iterdir()] == ["files"]


def test_the_corpus_has_hundreds_of_files():
    counts = {n: len(kind.make()) for n, kind in ALL.items() if n.startswith(("headers of", "b"))}
    assert sum(counts.values()) >= 500


READERS = {read for kind in KINDS for read in kind.readers if read is not corpus._dataset}


@pytest.mark.parametrize("read", sorted(READERS, key=lambda read: read.__name__))
def test_what_is_no_file_is_refused_by_every_reader(tmp_path, read):
    """Nothing waits for a pipe, and nothing reads a device for ever."""
    ending = next(kind.ending for kind in KINDS if read in kind.readers)
    places = {
        name: tmp_path / f"{name}{ending}" for name in ("folder", "pipe", "zero", "gone", "loop")
    }
    places["folder"].mkdir()
    os.mkfifo(places["pipe"])
    places["zero"].symlink_to("/dev/zero")
    places["gone"].symlink_to(tmp_path / "nowhere")
    places["loop"].symlink_to(places["loop"])
    names = {**places, "long": tmp_path / f"{'x' * 300}{ending}", "nul": Path(f"nul\0{ending}")}
    names["socket"] = tmp_path / f"s{ending}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(names["socket"]))
        faults = {name: check(read, path).fault for name, path in names.items()}
    assert {name: fault for name, fault in faults.items() if fault} == {}
    assert places["pipe"].is_fifo()

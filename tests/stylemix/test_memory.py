"""Memory of a process: kept while it works, given back between many photos."""

import platform
import subprocess
import sys

import pytest
import torch

from stylemix import memory

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

FAULTS = """
import resource, sys, torch
from stylemix.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(16 * 2**20).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(20):  # until the heap has its final size
    last = faults()
print(last)
"""

GAPS = """
from pathlib import Path
import torch
from stylemix.memory import keep_memory, release_memory, releasing
def resident():  # MiB
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
assert keep_memory()
before = resident()
kept = []
for _ in range(64):
    large = torch.ones(2**20)  # 4 MiB, freed below; what is behind it stays
    kept.append(torch.ones(2**14))
    del large
    kept.append(torch.ones(2**20 + 2**14))
kept = kept[::2]
full = resident() - before
for _ in releasing(range(16)):
    pass
print(full, resident() - before)
"""


@pytest.mark.slow
@needs_glibc
def test_memory_is_kept():
    faults = {}
    for how in ("keep", "not"):
        command = [sys.executable, "-c", FAULTS, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        faults[how] = int(done.stdout)
    assert faults["keep"] < 100  # of 16,384 pages
    assert faults["keep"] < faults["not"]


@pytest.mark.slow
@needs_glibc
def test_gaps_are_given_back_after_some_items():
    command = [sys.executable, "-c", GAPS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    full, released = map(float, done.stdout.split())
    assert full > 200
    assert released < 50


def test_items_pass_as_they_come():
    taken = []
    items = memory.releasing(taken.append(i) or i for i in range(40))
    assert next(items) == 0
    assert taken == [0]  # lazily
    assert list(items) == list(range(1, 40))


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert memory.keep_memory() is False
    assert memory.release_memory() is False


def test_the_peak_is_reported_where_the_system_does(monkeypatch):
    assert 10 * 2**20 < memory.peak_memory() < 2**40
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert memory.peak_memory() is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (ImportError("cannot import name"), False),
        (RuntimeError("shapes"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_errors_that_say_that_memory_is_out(error, expected):
    assert memory.is_out_of_memory(error) is expected

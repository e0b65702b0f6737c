"""Compiling at first use: once per machine, again when something changed, found where it lies."""

import json
import os
import re
import shutil
import threading
import time

import pytest
import torch

from stylemix.ops import architectures, cache, jit, lock, toolchain
from tests.support.toy_ops import value

STABLE = """
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

torch::stable::Tensor twice(const torch::stable::Tensor& x) {
  auto y = torch::stable::empty_like(x);
  for (int64_t i = 0; i < x.numel(); ++i)
    static_cast<float*>(y.data_ptr())[i] = 2 * static_cast<const float*>(x.data_ptr())[i];
  return y;
}

STABLE_TORCH_LIBRARY(stylemix_toy, m) { m.def("twice(Tensor x) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(stylemix_toy, CPU, m) { m.impl("twice", TORCH_BOX(&twice)); }
"""


def _wait_for(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("waited for a minute")


@pytest.mark.slow
def test_compiles_loads_and_runs_an_op(toy):
    toy.write("twice.cpp", STABLE)
    assert jit.status("cpu") == ("not built", None, "")
    assert jit.load("cpu")
    assert toy.runs() == 2
    x = torch.arange(3.0)
    torch.testing.assert_close(torch.ops.stylemix_toy.twice(x), 2 * x)
    path = jit.library("cpu")
    assert jit.status("cpu") == ("loaded", path, "")
    assert path.parent.parent == toy.cache / "ops"


@pytest.mark.slow
def test_what_is_there_is_not_compiled_again(toy):
    path = jit.library("cpu")
    assert value(path) == 1
    assert jit.status("cpu") == ("built", path, "")
    assert jit.library("cpu") == path
    assert jit.load("cpu")
    toy.forget()
    assert jit.load("cpu")
    assert toy.start().wait() == 0
    assert toy.runs() == 1
    names = {file.name for file in path.parent.iterdir()} - {".ninja_log"}
    assert names == {"_native_cpu.so", "_native_cpu.json", "_native_cpu.log", "build.ninja"}
    assert [folder.name for folder in path.parent.parent.iterdir()] == [path.parent.name]


def test_the_manifest_tells_how_it_was_built(toy):
    about = json.loads(jit.library("cpu").with_suffix(".json").read_text())
    assert about["sources"] == toolchain.source_hash("cpu", toy.sources)
    assert str(toy.compiler) in about["compiler"]
    assert about["architecture"] == "native"
    assert about["processor"] == architectures.processor()
    assert float(about["seconds"]) > 0


def test_a_change_of_a_header_is_seen(toy):
    before = jit.library("cpu")
    toy.write("value.h", "#define VALUE 2\n")
    after = jit.library("cpu")
    assert (value(before), value(after)) == (1, 2)
    toy.write("notes.md", "not compiled")
    toy.write("gpu.cu", "for another library")
    assert jit.library("cpu") == after


def test_each_change_makes_another_library(toy, monkeypatch):
    def name():
        return toolchain.recipe("cpu", toy.sources).name

    names = [name()]
    toy.write("two.cpp", "int two() { return 2; }")
    names.append(name())
    monkeypatch.setattr(architectures, "cpu_features", lambda: {"less"})
    names.append(name())
    monkeypatch.setenv("STYLEMIX_MARCH", "x86-64")
    names.append(name())
    monkeypatch.setattr(toolchain, "CPU_FLAGS", [*toolchain.CPU_FLAGS, "-g"])
    names.append(name())
    monkeypatch.setattr(torch, "__version__", "2.99.0")
    names.append(name())
    monkeypatch.setenv("CXX", f"'{toy.script('other', toy.compiler.read_text())}'")
    names.append(name())
    monkeypatch.setattr(toolchain, "version_of", lambda command: "another version")
    names.append(name())
    assert len(set(names)) == len(names)


def test_a_library_is_found_when_the_compiler_is_gone(toy, monkeypatch):
    path = jit.library("cpu")
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    assert jit.library("cpu") == path
    assert jit.load("cpu")


@pytest.mark.slow
def test_two_processes_compile_once(toy):
    toy.hold()
    processes = [toy.start() for _ in range(2)]
    _wait_for(toy.runs)
    toy.release()
    assert [process.wait() for process in processes] == [0, 0]
    assert toy.runs() == 1


def test_two_threads_compile_once(toy):
    found = []
    threads = [threading.Thread(target=lambda: found.append(jit.load("cpu"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True, True, True]
    assert toy.runs() == 1


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_to_wait_for(toy, capfd):
    toy.hold()
    process = toy.start()
    _wait_for(toy.runs)
    process.kill()
    process.wait()
    toy.release()  # or its compiler would stay as well
    assert jit.load("cpu")
    assert toy.runs() == 2
    assert "waiting" not in capfd.readouterr().err


def test_what_killed_processes_left_is_swept_away(toy):
    place = toy.cache / "ops"
    old, young = place / ".cpu-1.a.tmp", place / ".cpu-2.b.tmp"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    jit.library("cpu")
    assert (old.exists(), young.exists()) == (False, True)


def test_who_waits_says_for_what(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "SAY_AFTER", 0.0)
    path, entered = tmp_path / "lock", threading.Event()

    def second():
        with lock.one_at_a_time(path, "the first"):
            entered.set()

    thread = threading.Thread(target=second)
    with lock.one_at_a_time(path, "nobody"):
        thread.start()
        assert not entered.wait(0.3)
    thread.join()
    assert entered.is_set()
    said = "stylemix: waiting for the first"
    assert capsys.readouterr().err == f"{said}\n{said} took 0 s\n"


def test_nobody_waits_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    path = tmp_path / "lock"
    with lock.one_at_a_time(path, "nobody"), lock.one_at_a_time(path, "who is stuck"):
        pass
    with lock.one_at_a_time(tmp_path / "no folder" / "lock", "nobody"):
        pass


def test_a_damaged_library_is_compiled_again(toy):
    path = jit.library("cpu")
    path.write_bytes(path.read_bytes()[:1000])
    assert jit.load("cpu")
    assert value(path) == 1
    assert toy.runs() == 2


def test_a_library_that_does_not_load_is_compiled_again_once(toy):
    path = jit.library("cpu")
    path.unlink()
    path.write_bytes(b"of another system")
    cache.seal(path.parent, "cpu", cache.manifest(path.parent, "cpu"))
    assert jit.load("cpu")
    assert jit.status("cpu").where == path
    assert toy.runs() == 2


def test_what_the_compilers_say_is_told_when_asked_for(toy, capsys):
    jit.library("cpu", verbose=True)
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert first == f"stylemix: compiling the cpu ops, once (about {jit.SECONDS['cpu']} s)"
    assert re.fullmatch(r"stylemix: compiling the cpu ops took \d+ s", second)
    assert any("one.cpp" in line for line in rest)
    jit.library("cpu", verbose=True)
    assert capsys.readouterr().err == ""


def test_the_cache_is_where_it_is_expected(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache.usual() == tmp_path / "a" / "ops"
    monkeypatch.delenv("STYLEMIX_CACHE")
    assert cache.usual() == tmp_path / "b" / "stylemix" / "ops"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert (tmp_path / "c") in cache.usual().parents
    for ignored in ("", "relative", "~/caches"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert (tmp_path / "c") in cache.usual().parents
    monkeypatch.setenv("HOME", "relative")
    assert cache.usual() is None


def test_libraries_of_others_are_kept_when_they_come_first(toy):
    path = jit.library("cpu")
    inode = path.stat().st_ino
    copy = path.parent.with_name(".copy.tmp")
    shutil.copytree(path.parent, copy)
    cache.settle(copy, path.parent, "cpu", replace=False)
    assert path.stat().st_ino == inode
    cache.settle(copy, path.parent, "cpu", replace=True)
    assert path.stat().st_ino != inode
    assert [folder.name for folder in path.parent.parent.iterdir()] == [path.parent.name]


# Ahead of time


def test_a_library_beside_the_sources_is_taken_first(toy):
    path = jit.build_into("cpu", toy.sources)
    assert path == toy.sources / "_native_cpu.so"
    assert jit.library("cpu") == path
    assert jit.status("cpu") == ("built", path, "built ahead of time")
    assert jit.load("cpu")
    assert toy.runs() == 1
    assert not toy.cache.exists()


def _other_sources(toy, monkeypatch):
    toy.write("value.h", "#define VALUE 3\n")


def _cut_off(toy, monkeypatch):
    (toy.sources / "_native_cpu.so").write_bytes(b"half")


def _no_manifest(toy, monkeypatch):
    (toy.sources / "_native_cpu.json").unlink()


def _older_processor(toy, monkeypatch):
    manifest = toy.sources / "_native_cpu.json"
    about = json.loads(manifest.read_text()) | {"architecture": "x86-64-v3"}
    manifest.write_text(json.dumps(about))
    monkeypatch.setattr(architectures, "cpu_features", lambda: {"sse2"})


def _other_machine(toy, monkeypatch):
    monkeypatch.setattr(toolchain, "_system", lambda: "Linux toaster")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_sources, "it was built from other sources"),
        (_no_manifest, "it was built from other sources"),
        (_cut_off, "it is damaged"),
        (_older_processor, "the processor has no avx2, which x86-64-v3 needs"),
        (_other_machine, "it is for Linux"),
    ],
)
def test_a_library_that_does_not_fit_is_ignored(toy, monkeypatch, change, reason):
    bundled = jit.build_into("cpu", toy.sources)
    change(toy, monkeypatch)
    found = jit.status("cpu")
    assert found.state == "not built"
    assert reason in found.reason
    assert jit.library("cpu") != bundled
    assert jit.load("cpu")
    assert reason in jit.status("cpu").reason


def test_a_library_beside_the_sources_that_does_not_load_is_replaced(toy):
    bundled = jit.build_into("cpu", toy.sources)
    bundled.write_bytes(b"of another system")
    cache.seal(toy.sources, "cpu", cache.manifest(toy.sources, "cpu"))
    for _ in range(2):
        toy.forget()
        assert jit.load("cpu")
        status = jit.status("cpu")
        assert status.where != bundled
        assert status.reason == "ignores _native_cpu.so: it does not load"
    assert toy.runs() == 2

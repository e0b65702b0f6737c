"""What can go wrong with compiled ops: one warning with cause and cure, then plain PyTorch."""

import errno
import importlib.util
import os
import sys
import warnings
from pathlib import Path

import pytest
import torch

from stylemix.ops import cache, jit, toolchain


def _no_compiler(toy, monkeypatch):
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")


def _wrong_compiler(toy, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")


def _broken_compiler(toy, monkeypatch):
    monkeypatch.setenv("CXX", str(toy.script("broken", "#!/bin/sh\necho no licence >&2\nexit 1\n")))


def _hanging_compiler(toy, monkeypatch):
    monkeypatch.setattr(toolchain, "PATIENCE", 0.2)
    monkeypatch.setenv("CXX", str(toy.script("hanging", "#!/bin/sh\nexec sleep 20\n")))


def _no_ninja(toy, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(toy.folder / "python"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(toy.temporary))


def _broken_ninja(toy, monkeypatch):
    monkeypatch.setattr(toolchain, "ninja", lambda: [str(toy.folder / "ninja")])


def _old_torch(toy, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")


def _no_headers(toy, monkeypatch):
    monkeypatch.setattr(toolchain, "torch_folder", lambda name: toy.folder / name)


def _no_sources(toy, monkeypatch):
    (toy.sources / "one.cpp").unlink()


def _compile_error(toy, monkeypatch):
    toy.write("one.cpp", "int one() { return nonsense; }\n")


def _link_error(toy, monkeypatch):
    monkeypatch.setitem(toolchain.LIBRARIES, "cpu", ["no_such_library"])


def _undefined(toy, monkeypatch):
    toy.write("one.cpp", "int nowhere(); int one = nowhere();\n")


def _full_disk(toy, monkeypatch):
    def seal(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "seal", seal)


def _changing_sources(toy, monkeypatch):
    header = toy.sources / "value.h"
    text = toy.compiler.read_text().replace("echo run", f"echo '//' >> '{header}'; echo run")
    toy.script("c++", text)


FAILURES = [
    (_no_compiler, "no C++ compiler; install g++ or clang++, or set CXX"),
    (_wrong_compiler, "CXX names 'no-such-compiler', which is not there; correct or unset it"),
    (_broken_compiler, "--version fails (no licence); set CXX to a working one"),
    (_hanging_compiler, "--version fails (no answer in 0.2 s); set CXX to a working one"),
    (_no_ninja, "no ninja; pip install ninja"),
    (_broken_ninja, "pip install ninja"),
    (_old_torch, "got torch 2.9.1+cpu; upgrade it to 2.10 or later"),
    (_no_headers, "install torch from its own wheels"),
    (_no_sources, "install stylemix again"),
    (_compile_error, "error: "),
    (_link_error, "no_such_library"),
    (_undefined, "set STYLEMIX_CACHE to a folder that programs may be run from"),
    (_full_disk, "(No space left on device); free some room or set STYLEMIX_CACHE"),
    (_changing_sources, "the sources changed while they were compiled; start again"),
]


@pytest.mark.parametrize(("failure", "text"), FAILURES)
def test_one_warning_with_cause_and_cure(toy, monkeypatch, failure, text):
    failure(toy, monkeypatch)
    with pytest.warns(RuntimeWarning) as caught:
        assert jit.load("cpu") is False
    assert len(caught) == 1
    message = str(caught[0].message)
    assert message.startswith("the compiled cpu ops are not used: ")
    assert message.endswith(" (STYLEMIX_OPS=torch silences this)")
    assert text in message
    assert ";" in message
    assert "\n" not in message
    runs = toy.runs()
    assert jit.load("cpu") is False  # and no second warning, which would be an error
    assert toy.runs() == runs <= 1
    status = jit.status("cpu")
    assert (status.state, status.where) == ("failed", None)
    assert status.reason in message


def test_a_failure_is_told_although_warnings_are_errors(toy, monkeypatch):
    _compile_error(toy, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            jit.load("cpu")
        assert jit.load("cpu") is False
    assert toy.runs() == 1


def test_the_log_of_a_failure_is_kept_until_it_is_cured(toy):
    good = (toy.sources / "one.cpp").read_text()
    toy.write("one.cpp", "int one() { return nonsense; }\n")
    with pytest.raises(jit.NativeUnavailable, match="nonsense") as caught:
        jit.library("cpu")
    log = Path(str(caught.value).rsplit("; see ", 1)[1])
    assert "nonsense" in log.read_text()
    assert list(log.parent.iterdir()) == [log]
    with pytest.raises(jit.NativeUnavailable):
        jit.library("cpu")
    toy.write("one.cpp", good)
    jit.library("cpu")


@pytest.mark.slow
def test_another_process_tries_again(toy):
    toy.write("value.h", "")
    assert [toy.start().wait() for _ in range(2)] == [1, 1]  # the warning, as an error
    assert toy.runs() == 2


@pytest.mark.parametrize("failure", [_no_compiler, _no_ninja, _old_torch, _no_sources])
def test_the_status_tells_what_is_missing_before_anything_is_tried(toy, monkeypatch, failure):
    failure(toy, monkeypatch)
    status = jit.status("cpu")
    assert (status.state, status.where) == ("not built", None)
    assert status.reason


def test_systems_without_compiled_ops_are_not_warned(toy, monkeypatch):
    monkeypatch.setattr(toolchain.platform, "system", lambda: "Windows")
    assert jit.load("cpu") is False
    text = "the compiled ops are for Linux and macOS; use WSL for them"
    assert jit.status("cpu") == ("failed", None, text)


def test_turned_off(toy, monkeypatch):
    monkeypatch.setenv("STYLEMIX_OPS", "torch")
    _no_compiler(toy, monkeypatch)
    assert jit.load("cpu") is False
    assert jit.status("cpu") == ("off", None, "STYLEMIX_OPS=torch")


# The cache


def test_a_cache_that_cannot_be_written_is_replaced_by_a_private_one(toy, monkeypatch):
    toy.cache.mkdir()
    toy.cache.chmod(0o500)
    if os.access(toy.cache, os.W_OK):  # nothing stops root, but for a folder that is none
        monkeypatch.setenv("STYLEMIX_CACHE", str(toy.sources / "value.h"))
    assert jit.load("cpu")
    status = jit.status("cpu")
    assert toy.temporary in status.where.parents
    assert "cannot be written" in status.reason
    assert status.where.parents[2].stat().st_mode & 0o777 == 0o700
    toy.forget()
    assert jit.load("cpu")
    assert toy.runs() == 1


def test_a_cache_that_cannot_be_entered_is_replaced_by_a_private_one(toy, monkeypatch):
    """Such as in the home of another user; here a name that no file system has."""
    monkeypatch.setenv("STYLEMIX_CACHE", str(toy.cache / ("x" * 300)))
    assert jit.load("cpu")
    assert toy.temporary in jit.status("cpu").where.parents


def test_without_a_folder_for_temporary_files_the_usual_cache_is_used(toy, monkeypatch):
    """As in a container whose file systems are read-only but for a volume or two."""

    def refuse():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(cache.tempfile, "gettempdir", refuse)
    assert cache.private().is_absolute()
    monkeypatch.setattr(cache, "private", lambda: toy.sources / "value.h" / "ops")
    assert jit.load("cpu")
    assert toy.cache in jit.status("cpu").where.parents


def test_a_library_that_is_only_found_in_the_private_cache(toy, monkeypatch):
    nowhere = toy.sources / "value.h"
    with monkeypatch.context() as before:
        before.setenv("STYLEMIX_CACHE", str(nowhere))
        assert jit.load("cpu")
    toy.forget()
    assert jit.load("cpu")
    status = jit.status("cpu")
    assert toy.temporary in status.where.parents
    assert "cannot be written" not in status.reason
    assert status.reason.startswith("found in ")


def test_no_place_at_all(toy, monkeypatch):
    nowhere = toy.sources / "value.h"
    monkeypatch.setenv("STYLEMIX_CACHE", str(nowhere))
    monkeypatch.setattr(cache.tempfile, "tempdir", str(nowhere))
    with pytest.raises(jit.NativeUnavailable, match="; set STYLEMIX_CACHE to a folder of your own"):
        jit.library("cpu")


def test_a_cache_that_others_may_write_to_is_refused(toy):
    path = jit.library("cpu")
    place = path.parent.parent
    for folder, mode in ((toy.cache, 0o777), (place, 0o775), (path.parent, 0o777), (path, 0o775)):
        before = folder.stat().st_mode
        folder.chmod(mode)
        with pytest.raises(
            jit.NativeUnavailable, match=f"others may write to {folder}; chmod go-w"
        ):
            jit.library("cpu")
        folder.chmod(before)
    toy.cache.chmod(0o775)  # a group may share the folder above ours
    assert jit.library("cpu") == path
    toy.cache.chmod(0o777)
    toy.write("value.h", "#define VALUE 2\n")
    with pytest.warns(RuntimeWarning, match="others may write to"):
        assert not jit.load("cpu")
    assert toy.runs() == 1


def test_a_cache_of_another_user_is_refused(toy, monkeypatch):
    path = jit.library("cpu")
    real = Path.stat

    def stat(self, **options):  # not even root may give files away in a user namespace
        about = real(self, **options)
        if self != path.parent:
            return about
        return os.stat_result((*about[:4], 12345, *about[5:10]))

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(jit.NativeUnavailable, match="belongs to another user; set STYLEMIX_CACHE"):
        jit.library("cpu")


def test_a_link_in_place_of_the_private_folder_is_refused(toy, monkeypatch):
    (toy.folder / "elsewhere").mkdir()
    cache.private().parent.symlink_to(toy.folder / "elsewhere")
    monkeypatch.setenv("STYLEMIX_CACHE", str(toy.sources / "value.h"))
    with pytest.raises(jit.NativeUnavailable, match="is a link; remove it"):
        jit.library("cpu")

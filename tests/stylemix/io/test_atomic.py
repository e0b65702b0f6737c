"""Atomic writes."""

import errno
import json
import os
import stat
import subprocess
import sys

import pytest

from stylemix.errors import StylemixError
from stylemix.io.atomic import (
    atomic_write,
    expect_new,
    forget_new,
    write_bytes,
    write_json,
    write_text,
)

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions and devices")


def test_error_is_one_printable_line():
    error = StylemixError("got  a\n b\x1b[31m\udcff;\texpected c")
    assert str(error) == "got a b?[31m?; expected c"


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "\u00e9\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    write_bytes(str(path), b"2")
    assert path.read_bytes() == b"2"
    assert os.listdir(path.parent) == ["a.txt"]


def test_temporary_path_is_a_neighbour_with_the_same_extension(tmp_path):
    with atomic_write(tmp_path / "model.safetensors") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".model.")
        assert temporary.suffix == ".safetensors"
        assert not (tmp_path / "model.safetensors").exists()
        temporary.write_bytes(b"1")
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), OSError(2, "none")])
def test_failure_leaves_the_existing_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_signal_while_the_file_is_created_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(_handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fstat", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a.txt"):
        pass
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@posix
def test_what_a_signal_left_behind_is_removed_at_the_end(tmp_path):
    """As one that comes when the block was entered and its end is not yet known."""
    program = [
        "import ctypes, os, sys", "from stylemix.io.atomic import atomic_write",
        "block = atomic_write('a.txt')", "block.__enter__().write_text('half')",
        "ctypes.pythonapi.Py_IncRef(ctypes.py_object(block))",  # so that nothing else ends it
        "os.fork() or sys.exit(0)", "os.wait()", "print(len(os.listdir()))",
    ]  # fmt: skip
    command = [sys.executable, "-c", "\n".join(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"  # the end of a copy of the process removes nothing
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_line(tmp_path):
    def fail() -> None:
        with atomic_write(tmp_path / "a.bin"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StylemixError, match=r"a.bin: got 'No space left on device'; expected"):
        fail()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_the_cause_whatever_the_writer_raises(tmp_path):
    def fail() -> None:
        with atomic_write(tmp_path / "a.bin"):
            raise RuntimeError("I/O error: No space left on device (os error 28)")  # safetensors

    with pytest.raises(StylemixError, match=r"a.bin: got 'No space left on device'") as caught:
        fail()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC


def test_json_is_readable_and_has_no_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"name": "\u00e9", "sizes": (1, 2.5)})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "\u00e9", "sizes": [1, 2.5]}
    assert "\u00e9" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert "sizes" in path.read_text(encoding="utf-8")


def test_half_letters_are_escaped_as_in_json(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"name": "\udcff.jpg", "path": "\\\ud800"})
    assert json.loads(path.read_bytes()) == {"name": "\udcff.jpg", "path": "\\\ud800"}
    write_text(path, "\udcff.jpg")
    assert path.read_bytes() == b"\\udcff.jpg"


def test_folder_as_output(tmp_path):
    with pytest.raises(StylemixError, match="got a folder; expected a file name"):
        write_bytes(tmp_path, b"")


def test_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(StylemixError, match=r"cannot write .*file.a.png: got '"):
        write_bytes(tmp_path / "file" / "a.png", b"")


def test_name_of_200_letters(tmp_path):
    path = tmp_path / ("\u00e9" * 100 + ".png")
    write_bytes(path, b"1")
    assert os.listdir(tmp_path) == [path.name]


@posix
def test_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real" / "a.txt")
    write_text(link, "1")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text(encoding="utf-8") == "1"
    cycle = tmp_path / "cycle"
    cycle.symlink_to(cycle)
    with pytest.raises(StylemixError, match="cannot write"):
        write_text(cycle, "1")


@posix
def test_permissions_follow_the_umask_or_the_existing_file(tmp_path):
    before = os.umask(0o022)
    try:
        write_bytes(tmp_path / "new", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644
    (tmp_path / "new").chmod(0o600)
    write_bytes(tmp_path / "new", b"2")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@posix
def test_what_replaces_a_private_file_is_private_from_the_start(tmp_path):
    (tmp_path / "a").touch(0o600)
    before = os.umask(0o000)
    try:
        with atomic_write(tmp_path / "a") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        with atomic_write(tmp_path / "b") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o666
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


@posix
def test_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StylemixError, match="got a device or pipe; expected a file"):
        write_bytes(tmp_path / "pipe", b"")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.fixture(params=["links", "no links"])
def new_path(tmp_path, monkeypatch, request):
    def fail(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if request.param == "no links":
        monkeypatch.setattr("os.link", fail)
    expect_new([tmp_path / "a.txt"])
    yield tmp_path / "a.txt"
    forget_new()


def test_what_others_wrote_meanwhile_is_kept(new_path):
    new_path.write_text("theirs")
    with pytest.raises(StylemixError, match="which another program wrote meanwhile") as caught:
        write_text(new_path, "ours")
    assert str(new_path.with_name("a-2.txt")) in str(caught.value)
    files = {path.name: path.read_text() for path in new_path.parent.iterdir()}
    assert files == {"a.txt": "theirs", "a-2.txt": "ours"}


def test_a_file_that_this_process_created_is_replaced(new_path):
    for text in ("1", "2"):
        write_text(new_path, text)
        assert [path.name for path in new_path.parent.iterdir()] == ["a.txt"]
        assert new_path.read_text() == text

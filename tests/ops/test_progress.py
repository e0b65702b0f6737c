"""What a person sees while ops are compiled or waited for, and that Ctrl-C ends all of it."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from stylemix.ops import jit, lock, progress
from stylemix.ops.progress import Line


class Terminal(io.StringIO):
    """A terminal that calls something at each write of a text."""

    def __init__(self, text="", do=None):
        super().__init__()
        self.text, self.do = text, do

    def isatty(self):
        return True

    def write(self, text):
        if self.do is not None and self.text in text:
            do, self.do = self.do, None
            do()
        return super().write(text)

    def lines(self):
        """All that was shown, one after the other."""
        assert self.getvalue().startswith("\r")
        return self.getvalue().replace(progress.ERASE, "").split("\r")[1:]


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return now


def _show(clock, seconds, **options):
    clock[0] = 100
    with Line("baking", **options) as line:
        for passed in seconds:
            clock[0] = 100 + passed
            line.tick()


def test_on_a_terminal_one_line_counts_the_seconds(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    _show(clock, [0, 0.3, 1, 1.2, 1.9, 3, 4.4], about=3)
    _show(clock, [0, 1])
    assert terminal.lines() == [
        "stylemix: baking, once: 0 s of about 3 s",
        "stylemix: baking, once: 1 s of about 3 s",
        "stylemix: baking, once: 3 s of about 3 s",
        "stylemix: baking, once: 4 s",
        "stylemix: baking took 4 s\n",
        "stylemix: baking: 0 s",
        "stylemix: baking: 1 s",
        "stylemix: baking took 1 s\n",
    ]


def test_a_narrow_terminal_gets_a_short_line(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "20")
    _show(clock, [0])
    assert terminal.lines() == ["stylemix: baking: 0", "stylemix: baking to\n"]


@pytest.mark.parametrize("dumb", [False, True])
def test_elsewhere_there_are_two_plain_lines(clock, monkeypatch, capsys, dumb):
    if dumb:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "dumb")
    _show(clock, [0, 1, 7], about=3)
    said = "stylemix: baking, once (about 3 s)\nstylemix: baking took 7 s\n"
    assert capsys.readouterr().err == said


def test_what_is_over_soon_is_not_told(clock, capsys):
    _show(clock, [0, 1, 1.9], after=2)
    _show(clock, [])
    assert capsys.readouterr().err == ""
    _show(clock, [1, 2, 3], after=2)
    assert capsys.readouterr().err == "stylemix: baking\nstylemix: baking took 3 s\n"


def _fail(error):
    with Line("baking") as line:
        line.tick()
        raise error


@pytest.mark.parametrize(
    ("error", "word"), [(ValueError, "failed"), (KeyboardInterrupt, "stopped")]
)
def test_how_it_ended(clock, capsys, error, word):
    with pytest.raises(error):
        _fail(error)
    assert capsys.readouterr().err == f"stylemix: baking\nstylemix: baking {word} after 0 s\n"


def test_only_the_first_process_of_a_launcher_speaks(clock, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    _show(clock, [0])
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LOCAL_RANK", "0")
    _show(clock, [0])
    assert capsys.readouterr().err


def test_work_goes_on_where_nobody_listens(clock, monkeypatch):
    closed = Terminal()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        _show(clock, [0, 1])


# The compilers


@pytest.mark.slow
def test_compiling_is_seen_on_a_terminal(toy, monkeypatch):
    toy.hold()
    terminal = Terminal(": 1 s of about", toy.release)  # else it would never end
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    jit.library("cpu")
    first, second, *_, last = terminal.lines()
    assert first == f"stylemix: compiling the cpu ops, once: 0 s of about {jit.SECONDS['cpu']} s"
    assert second == f"stylemix: compiling the cpu ops, once: 1 s of about {jit.SECONDS['cpu']} s"
    assert re.fullmatch(r"stylemix: compiling the cpu ops took \d+ s\n", last)


def test_a_failure_ends_the_line_and_leaves_no_thread(toy, capfd):
    before = threading.enumerate()
    toy.write("one.cpp", "int one() { return nonsense; }\n")
    with pytest.raises(jit.NativeUnavailable):
        jit.library("cpu")
    _, last = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"stylemix: compiling the cpu ops failed after \d+ s", last)
    assert threading.enumerate() == before


@pytest.mark.slow
def test_waiting_for_another_process_is_seen(toy, monkeypatch):
    monkeypatch.setattr(lock, "SAY_AFTER", 0.0)
    toy.hold()
    other = toy.start()
    _wait_for(toy.runs)
    terminal = Terminal("compiles the cpu ops: 1 s", toy.release)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    jit.library("cpu")
    assert other.wait() == 0
    said = "stylemix: waiting for another process that compiles the cpu ops"
    assert terminal.lines()[:2] == [f"{said}: 0 s", f"{said}: 1 s"]
    assert re.fullmatch(rf"{said} took \d+ s\n", terminal.lines()[-1])
    assert toy.runs() == 1


@pytest.mark.slow
def test_ctrl_c_ends_the_compilers_too(toy):
    toy.hold()
    process = toy.start(stderr=subprocess.PIPE)
    _wait_for(toy.runs)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode not in (0, 3)
    assert "stylemix: compiling the cpu ops, once (about" in said
    assert "stylemix: compiling the cpu ops stopped after" in said
    (compiler,) = toy.compilers()
    _wait_for(lambda: not _alive(compiler))
    toy.release()
    assert not list((toy.cache / "ops").glob(".*.tmp"))
    assert jit.load("cpu")


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_for(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("waited for a minute")


def test_silenced_lines_print_nothing(capsys):
    with progress.silenced(), progress.Line("building") as line:
        line.tick()
    assert capsys.readouterr().err == ""
    with progress.Line("building") as line:
        line.tick()
    assert "building" in capsys.readouterr().err

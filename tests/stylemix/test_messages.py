"""What commands say: text, or one line of JSON."""

import errno
import io
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from stylemix import __version__, messages
from stylemix.messages import (
    detail,
    note,
    problem,
    result,
    say,
    say_table,
    session,
    show_error,
    wrote,
    wrote_all,
)


def _say_all():
    say("table\nof two lines")
    wrote(Path("a.png"), "64 px", identity=np.float32(0.5))
    wrote_all(["b.png", "c.png"], "2 images to out")
    note("Note: one face")
    problem("Error: no face")
    detail("Model x")
    result(folder=Path("out"), loss=float("nan"), sizes=(1, 2), by_name={"x": np.int64(3)})


def test_results_go_to_standard_output_and_the_rest_to_standard_error(capsys):
    with session("probe"):
        _say_all()
    out, err = capsys.readouterr()
    assert out == "table\nof two lines\nWrote a.png (64 px)\nWrote 2 images to out\n"
    assert err == "Note: one face\nError: no face\n"


def test_quiet_leaves_results_and_errors(capsys):
    with session("probe") as said:
        said.quiet = True
        _say_all()
    assert capsys.readouterr() == ("table\nof two lines\n", "Error: no face\n")


def test_verbose_adds_details(capsys):
    with session("probe") as said:
        said.verbose = True
        _say_all()
    assert capsys.readouterr().err.endswith("Model x\n")


def test_json_is_one_line_with_everything(capsys):
    with session("probe") as said:
        said.json = True
        _say_all()
        said.finish()
        said.finish("got a; expected b")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first.pop("seconds") >= 0
    assert first == {
        "command": "probe",
        "version": __version__,
        "written": [{"path": "a.png", "identity": 0.5}, {"path": "b.png"}, {"path": "c.png"}],
        "notes": ["Note: one face", "Error: no face"],
        "result": {"folder": "out", "loss": None, "sizes": [1, 2], "by_name": {"x": 3}},
    }
    assert second["error"] == "got a; expected b"


def test_without_a_command_nothing_is_collected(capsys):
    note("Note: from Python")
    result(loss=1)
    wrote("a.png")
    assert capsys.readouterr().err == "Note: from Python\n"
    assert (messages.current().notes, messages.current().result) == ([], {})
    assert messages.current().written == []


@pytest.mark.parametrize("name", ["\u7167\u7247.jpg", "caf\udce9.jpg", "a\x1b[31mb\n.jpg"])
def test_any_file_name_can_be_printed(name, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", stream)
    wrote(name)
    stream.flush()
    text = stream.buffer.getvalue()
    assert text.startswith(b"Wrote ")
    assert b"\x1b" not in text
    assert text.count(b"\n") == 1


@pytest.mark.parametrize(
    "tell", [wrote, note, problem, show_error, lambda text: say_table([("name", text)])]
)
def test_a_name_forges_no_line(capsys, tell):
    tell("a\nError: b\rc\u2028d.png")
    assert "".join(capsys.readouterr()).endswith("a?Error: b?c?d.png\n")


@pytest.mark.parametrize(
    "tell", [note, problem, show_error, lambda text: say_table([("name", text)])]
)
def test_a_long_text_of_a_file_is_cut(capsys, tell):
    tell("x" * 100_000 + "; change it")
    assert len("".join(capsys.readouterr())) < 1010


def test_commands_print_through_this_module_alone():
    """So that --json has one line on standard output, and --quiet is quiet."""
    files = sorted((Path(__file__).resolve().parents[2] / "tools").rglob("*.py"))
    assert len(files) > 20
    pattern = re.compile(r"(?<![\w.])(print|click\.s?echo)\(")
    assert [file.name for file in files if pattern.search(file.read_text(encoding="utf-8"))] == []


class _Broken(io.StringIO):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, _):
        raise OSError(self.number, os.strerror(self.number))


def test_a_full_disk_for_the_log_ends_no_work(monkeypatch):
    monkeypatch.setattr(sys, "stderr", _Broken(errno.ENOSPC))
    note("Note: one face")
    problem("Error: no face")
    monkeypatch.setattr(sys, "stderr", _Broken(errno.EPIPE))
    with pytest.raises(BrokenPipeError):  # who read it has gone
        note("Note: one face")


def test_closed_standard_error_is_not_standard_output(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    note("Note: one face")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", None)
    say("table")

"""The command line: its list of commands, and how it prints errors."""

import errno
import functools
import json
import os
import signal
import subprocess
import sys
import time
from types import ModuleType

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from stylemix import __version__, cli
from stylemix.errors import StylemixError


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's class, which the CLI recognises by name only."""


def _run(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, *args: str) -> Result:
    """Runs `stylemix probe ARGS`, a command that raises `error`."""

    @click.command()
    @click.option("--size", type=click.IntRange(1))
    def probe(size: int | None) -> None:
        if error is not None:
            raise error
        click.echo(f"size {size}")

    module = ModuleType("stylemix_probe")
    module.probe = probe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stylemix_probe", module)
    monkeypatch.setitem(cli.COMMANDS, "probe", ("stylemix_probe:probe", "Test."))
    return CliRunner().invoke(cli.main, ["probe", *args], prog_name="stylemix")


def test_lists_commands_in_the_order_of_the_table():
    result = CliRunner().invoke(cli.main, ["--help"])
    listed = [line.split()[0] for line in result.output.split("Commands:\n")[1].splitlines()]
    assert result.exit_code == 0
    first = "demo app mix project edit drag video adapt distill evaluate-style generate"
    last = (
        "align pack train sweep metrics audit blend convert export forget inspect doctor completion"
    )
    assert " ".join(listed) == f"{first} {last}"


def test_every_short_help_is_a_sentence_on_one_line():
    for text in [text for _, text in cli.COMMANDS.values()]:
        assert text[0].isupper()
        assert text.endswith(".")
        assert len(text) <= 60


def test_version():
    result = CliRunner().invoke(cli.main, ["--version"])
    assert result.output == f"stylemix, version {__version__}\n"


def test_a_command_runs(monkeypatch):
    result = _run(monkeypatch, None, "--size", "3")
    assert (result.exit_code, result.output) == (0, "size 3\n")


def test_help_imports_no_command(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "probe", ("no_such_module:probe", "Shown all the same."))
    result = CliRunner().invoke(cli.main, ["--help"])
    assert result.exit_code == 0
    assert "Shown all the same." in result.output


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StylemixError("got a cat;\n expected a face; do: use --face 1"), "got a cat; expected a"),
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), "No space left on device: a"),
        (PermissionError(errno.EACCES, "Permission denied", "b"), "Permission denied: b"),
        (FileNotFoundError(errno.ENOENT, "No such file", "c.jpg"), "No such file: c.jpg"),
        (OSError("image file is truncated"), "image file is truncated"),
        (
            OSError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "got no usable temporary directory found in ['/tmp']; expected one that can be "
            "written; set TMPDIR to a folder with some free space",
        ),
        (OutOfMemoryError("CUDA out of memory. Tried 2 GiB"), "got out of memory; expected room"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "got out of memory"),
        (MemoryError(), "got out of memory"),
        (click.UsageError("give --a or --b"), "give --a or --b; see 'stylemix probe --help'"),
    ],
)
def test_user_errors_are_one_line_and_code_2(monkeypatch, error, line):
    result = _run(monkeypatch, error)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {line}")
    assert result.stderr.count("\n") == 1


def test_a_wrong_option_value_is_one_line_and_code_2(monkeypatch):
    result = _run(monkeypatch, None, "--size", "0")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "'--size': 0 is not in the range x>=1; see 'stylemix probe --help'" in result.stderr


@pytest.mark.parametrize("arguments", [["nosuch"], ["--nosuch"]])
def test_an_unknown_word_is_one_line_and_code_2(arguments):
    result = CliRunner().invoke(cli.main, arguments, prog_name="stylemix")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "nosuch" in result.stderr
    assert result.stderr.endswith("; see 'stylemix --help'\n")


@pytest.mark.parametrize("words", [["--smile"], ["--nosuch"], ["--size", "big"], []])
def test_words_of_a_command_lead_to_its_own_help(words):
    result = CliRunner().invoke(cli.main, ["edit", *words], prog_name="stylemix")
    assert result.exit_code == 2
    assert result.stderr.endswith("; see 'stylemix edit --help'\n")


def test_ctrl_c_prints_stopped_and_exits_with_130(monkeypatch):
    result = _run(monkeypatch, KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr == "Stopped.\n"


def test_ctrl_c_waits_for_the_end_of_imports(monkeypatch, tmp_path):
    """NumPy catches it in places, and what it has imported by then is half of a module."""
    lines = ["import signal", "try:", "    signal.raise_signal(signal.SIGINT)"]
    lines += ["except KeyboardInterrupt:", "    half = True", "probe = 3"]
    (tmp_path / "stylemix_heavy.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "probe", ("stylemix_heavy:probe", "Test."))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = CliRunner().invoke(cli.main, ["probe"], prog_name="stylemix")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, result.stderr) == (130, "Stopped.\n")
    assert not hasattr(sys.modules["stylemix_heavy"], "half")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (getattr(signal, "SIGHUP", 15), 129)],
    ids=["term", "int", "hup"],
)
def test_signals_stop_a_command_with_one_line(tmp_path, number, code):
    """And leave whole images only; the same command goes on to the end."""
    words = [sys.executable, "-m", "stylemix", "generate", "--output", "out", "--seeds", "0-3999"]
    # What a shell starts in the background ignores Ctrl-C, and so would what it starts in turn.
    reset = functools.partial(signal.signal, number, signal.SIG_DFL)
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                          stdout=subprocess.DEVNULL, preexec_fn=reset) as process:  # fmt: skip
        while not list(tmp_path.glob("out/seed*.png")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert said.splitlines()[-1] == "Stopped."
    assert "Traceback" not in said
    files = list((tmp_path / "out").iterdir())
    assert {path.suffix for path in files} == {".png"}
    assert not [path for path in files if path.name.startswith(".")]
    for path in files:
        Image.open(path).load()


def test_an_empty_output():
    for words in (["--output", ""], ["--output="]):
        result = CliRunner().invoke(cli.main, ["generate", *words], prog_name="stylemix")
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: got an empty --output; expected the name")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["project", ""], "word"),
        (["forget", ""], "word"),
        (["convert", "faces-64", ""], "word"),
        (["mix", "seed:1", "noir", ""], "word"),
        (["audit", "faces-64", "--data", ""], "--data"),
        (["project", "me.jpg", "--mask="], "--mask"),
    ],
)
def test_an_empty_word_is_not_the_current_folder(words, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.main, words, prog_name="stylemix")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: got an empty {what}; expected the name of a file")
    assert result.stderr.count("\n") == 1


def test_texts_may_be_empty_and_end_with_an_equals_sign():
    words = ["adapt", "--consent", "", "--credit=", "--output=a=", "none="]
    result = CliRunner().invoke(cli.main, words, prog_name="stylemix")
    assert result.stderr.startswith("Error: got the style file name a=; expected .pkl")


def test_a_closed_pipe_is_quiet(monkeypatch):
    before = sys.stdout, sys.stderr
    result = _run(monkeypatch, BrokenPipeError(errno.EPIPE, "Broken pipe"))
    sys.stdout, sys.stderr = before  # click silences both for the final flush of the interpreter
    assert result.exit_code == 1
    assert result.output == ""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("words", "line"),
    [(["inspect", "--json"], "No space left on device"), (["nosuch", "--json"], "No such command")],
)
def test_a_full_disk_for_standard_output(words, line):
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "stylemix", *words]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {line}")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_for_standard_error():
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "stylemix", "nosuch"]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=full, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_closed_standard_streams_are_empty_ones():
    """As from some services: no file of ours gets their numbers, and no error a traceback."""
    code = (
        "import os; from stylemix import cli; cli.main(['inspect'], standalone_mode=False); "
        "[os.fstat(n) for n in range(3)]; assert os.open(os.devnull, os.O_RDONLY) > 2"
    )
    words = ["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code]
    assert subprocess.run(words, check=False).returncode == 0
    words = ["sh", "-c", '"$0" -m stylemix nosuch 2>&-', sys.executable]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (2, b""), "the error is no result"


def test_a_current_folder_that_was_removed(monkeypatch):
    def gone():
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    result = CliRunner().invoke(cli.main, ["inspect", "--json"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: got a current folder that cannot be used")
    assert "current folder" in json.loads(result.stdout)["error"]


def test_bugs_keep_their_traceback(monkeypatch):
    result = _run(monkeypatch, RuntimeError("shapes differ"))
    assert isinstance(result.exception, RuntimeError)
    assert result.exit_code == 1


def test_no_arguments_show_the_help():
    result = CliRunner().invoke(cli.main, [])
    assert "Commands:" in result.output
    assert "Error" not in result.output


@pytest.mark.slow
@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(given, expected):
    """It must be set before torch is imported, whose threads spin while they wait otherwise."""
    code = (
        "import sys, os, stylemix.cli; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", expected]

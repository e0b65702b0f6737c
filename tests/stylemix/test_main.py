"""How the process of a command ends: at once, and with nothing lost."""

import os
import subprocess
import sys

import pytest

# A command in place of the real one, in a process that begins as `stylemix` does. What an object
# says when Python takes its modules apart tells whether it came to that.
PROGRAM = """
import atexit, os, sys, threading, time, types
from stylemix.__main__ import run
class Last:
    def __del__(self, write=os.write):
        write(1, b" taken apart")
last = Last()
def main(prog_name):
    atexit.register(print, "at the end,", end="")
    print("written,", end=" ")
    {what}
    sys.exit({code})
sys.modules["stylemix.cli"] = types.SimpleNamespace(main=main)
run()
"""
CUDA = "sys.modules['torch.cuda'] = types.SimpleNamespace({})"


def ended(code, what="pass", stdout=subprocess.PIPE):
    program = PROGRAM.format(what=what, code=code)
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, stdout=stdout, stderr=-1, text=True, env=buffered)


@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("None", 0), ("2", 2), ("143", 143)])
def test_a_command_ends_at_once_with_its_code_and_all_its_output(code, expected):
    done = ended(code)
    assert (done.returncode, done.stdout, done.stderr) == (expected, "written, at the end,", "")


def test_threads_are_waited_for():
    thread = "threading.Timer(.3, print, ['thread,'], {'end': ' '}).start()"
    assert ended(0, thread).stdout == "written, thread, at the end,"


def test_a_process_with_a_gpu_ends_in_the_usual_way():
    done = ended(0, CUDA.format("is_initialized=lambda: True"))
    assert done.stdout == "written, at the end, taken apart"
    assert ended(0, CUDA.format("")).stdout == "written, at the end,"  # half imported


def test_an_error_keeps_its_traceback():
    done = ended(0, "raise TypeError('a bug')")
    assert done.returncode == 1
    assert "TypeError: a bug" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_output_that_cannot_be_written_is_no_success():
    with open("/dev/full", "w") as full:
        assert ended(0, stdout=full).returncode == 120

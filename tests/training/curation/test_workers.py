"""Processes that crop photos, and what ends them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SLOW = """
import os
import signal
import time
from stylemix.training.curation.workers import _run

class Slow:
    def cut(self, source):
        os.write(1, b"cutting\\n")  # in one piece: two workers come here at the same time
        time.sleep(300)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below nohup
    list(_run(dict.fromkeys("abcd"), Slow(), 2))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_stays(tmp_path, number):
    """After a second Ctrl-C, which ends the wait for photos in work, and after a kill."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    words, environment = [sys.executable, script], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        start_new_session=True,
    ) as main:  # fmt: skip
        try:
            assert main.stdout.readline() == b"cutting\n"
            for _ in range(2):
                main.send_signal(number)
                time.sleep(0.5)
            main.communicate(timeout=30)  # until all of them have closed their outputs
        finally:
            if main.poll() is None:
                os.killpg(main.pid, signal.SIGKILL)
    assert main.returncode == -number

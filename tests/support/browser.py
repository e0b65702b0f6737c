"""A running `stylemix app` and a browser without a window, for tests of pages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")
QUICK = "tests.support.few_steps"  # the command with short projections
PATIENCE = 180_000  # ms; machines are slow, and tests assert no durations


def free_port() -> int:
    """A port of the loopback address that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_app(
    temporary: Path, *options: str, program: str = "stylemix", stderr: int | None = None
) -> tuple[subprocess.Popen[str], str]:
    """Starts the app as a process with its files in a folder; returns it and its address.

    Its errors are shown with those of a test that fails, unless `stderr` is PIPE.
    """
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'stylemix[app]'")
    env = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", program, "app", "--port", str(free_port()), *options]
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=stderr,
        preexec_fn=_heed_interrupts,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    if "http://" not in line:
        process.kill()
        raise AssertionError(line + (process.communicate()[1] or ""))
    return process, next(word for word in line.split() if word.startswith("http://"))


def _heed_interrupts() -> None:
    """Tests in the background of a shell, or below nohup, ignore SIGINT; the app must not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running_app(temporary: Path, *options: str) -> Iterator[str]:
    """The app while the context lasts, with short projections; yields its address."""
    process, address = start_app(temporary, *options, program=QUICK)
    try:
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert list(temporary.glob("stylemix-app-*")) == []


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there")
    with driver.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()

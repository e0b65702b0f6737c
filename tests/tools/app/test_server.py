"""The web server of the app: where it listens, and what the command says about it."""

import asyncio
import logging
import os
import time

import pytest
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.tools.app import command
from stylemix.tools.app.server import (
    HALF_UPLOAD,
    WHOLE_UPLOAD,
    OwnPagesOnly,
    is_loopback,
    is_news,
    prepare,
    private_folder,
    remove_half_uploads,
    remove_old_uploads,
)


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("localhost", True), ("::1", True),
     ("0.0.0.0", False), ("192.168.1.5", False)],
)  # fmt: skip
def test_other_hosts_are_warned_about(host, own, monkeypatch):
    served = []
    monkeypatch.setattr(command, "serve", lambda *how: served.append(how[1:4]))
    result = CliRunner().invoke(main, ["app", "--host", host, "--port", "8123"])
    assert result.exit_code == 0, result.output
    assert is_loopback(host) == own
    assert ("everybody who reaches this machine" in result.stderr) != own
    assert served == [(host, 8123, False)]


def test_the_folder_is_private_and_goes():
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "photo.jpg").touch()
    assert not folder.exists()


def test_half_uploads_go_and_running_ones_stay(tmp_path):
    for name in ("tmpabandoned", "tmprunning", "photo"):
        (tmp_path / name).touch()
    (tmp_path / "tmpsession").mkdir()
    for name in ("tmpabandoned", "photo", "tmpsession"):
        then = time.time() - HALF_UPLOAD - 1
        os.utime(tmp_path / name, (then, then))
    remove_half_uploads(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tmprunning", "photo", "tmpsession"}


def test_whole_uploads_that_nobody_took_go_after_an_hour(tmp_path):
    old, new, visitor = "a1" * 32, "b2" * 32, "kX3_" * 8
    for name in (old, new, visitor):
        (tmp_path / name).mkdir()
        (tmp_path / name / "me.jpg").touch()
    for name in (old, visitor):
        then = time.time() - WHOLE_UPLOAD - 1
        os.utime(tmp_path / name, (then, then))
    remove_old_uploads(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {new, visitor}


@pytest.mark.parametrize(
    ("method", "site", "served"),
    [("POST", "same-origin", True), ("POST", "none", True), ("POST", None, True),
     ("GET", "cross-site", True), ("POST", "cross-site", False), ("PUT", "same-site", False)],
)  # fmt: skip
def test_pages_of_other_sites_may_send_nothing(method, site, served):
    answers, calls = [], []

    async def app(scope, receive, send):
        calls.append(scope["method"])

    async def send(message):
        answers.append(message.get("status"))

    headers = [] if site is None else [(b"sec-fetch-site", site.encode())]
    scope = {"type": "http", "method": method, "headers": headers}
    asyncio.run(OwnPagesOnly(app)(scope, None, send))
    assert (calls, answers) == (([method], []) if served else ([], [403, None]))


def test_a_closed_browser_is_no_news():
    requests = pytest.importorskip("starlette.requests", reason="gradio is not installed")
    error = requests.ClientDisconnect()
    how = (type(error), error, None)
    assert not is_news(logging.LogRecord("", logging.ERROR, "", 0, "", None, how))


def test_gradio_is_told_to_call_nobody(monkeypatch, tmp_path):
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY", "GRADIO_SHARE", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    prepare(tmp_path)
    assert {os.environ[name] for name in (
        "GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY", "GRADIO_SHARE",
    )} == {"False"}  # fmt: skip
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
    assert os.environ["NO_PROXY"] == "127.0.0.1,localhost"


@pytest.mark.parametrize(
    ("missing", "told"), [(FileNotFoundError("gone"), False), (OSError(), True)]
)
def test_an_image_that_is_gone_is_no_news(missing, told):
    """A browser asks for one that was replaced meanwhile, and starlette names it in an error."""
    named, cancelled = RuntimeError("File at path does not exist."), type(missing)()
    named.__context__, cancelled.__context__ = missing, TimeoutError()
    for error in (missing, named, cancelled):
        how = (type(error), error, None)
        assert is_news(logging.LogRecord("", logging.ERROR, "", 0, "", None, how)) == told
    assert is_news(logging.LogRecord("", logging.WARNING, "", 0, "words", None, None))

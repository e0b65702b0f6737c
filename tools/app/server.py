"""The web server of the app: where it listens, what it never calls, and how it ends."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError
from stylemix.models.model import Model

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_UPLOAD = "2gb"  # a model of 1024 px has 400 MB
HALF_UPLOAD = 600  # seconds without a further byte after which an upload is given up
WHOLE_UPLOAD = 3600  # seconds after which a page has not asked for one that is complete
# Gradio asks for its newest version, reports its use, and keeps a history of runs otherwise.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_MCP_SERVER": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    return host in LOOPBACK or host.startswith("127.")


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read, and that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="stylemix-app-", ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


def prepare(folder: Path) -> None:
    """Sets what gradio reads from the environment: no calls to other machines, files in `folder`.

    To be called before gradio is imported.
    """
    os.environ.update(QUIET, GRADIO_TEMP_DIR=str(folder))
    # It asks itself whether it is there, which is no business of a proxy.
    own = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), "127.0.0.1,localhost"]))
    os.environ.update(NO_PROXY=own, no_proxy=own)


def remove_half_uploads(folder: Path) -> None:
    """Removes the parts of files whose browsers went away; the web server keeps these for ever."""
    for path in folder.glob("tmp*"):  # a whole upload gets a folder of its own
        with suppress(OSError):
            if path.is_file() and time.time() - path.stat().st_mtime > HALF_UPLOAD:
                path.unlink()


def remove_old_uploads(folder: Path) -> None:
    """Removes files that are complete and that no visitor took, as of a page that was closed."""
    for path in folder.glob("[0-9a-f]" * 64):  # of a checksum; a visitor's folder is shorter
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > WHOLE_UPLOAD:
                shutil.rmtree(path)


class OwnPagesOnly:
    """Answers "no" to what pages of other sites send: browsers say from where a request comes.

    Without it every page on the web could send this machine files.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serves a request, as ASGI has it."""
        headers = dict(scope.get("headers", ()))
        other = headers.get(b"sec-fetch-site", b"") in (b"cross-site", b"same-site")
        if other and scope.get("method") not in ("GET", "HEAD", "OPTIONS"):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"expected the app's own page"})
        else:
            await self.app(scope, receive, send)


def is_news(record: logging.LogRecord) -> bool:
    """Whether a message of the web server says more than what browsers do all the time.

    They ask for images of a photo that has been replaced or deleted meanwhile, and are closed in
    the middle of an upload.
    """
    error = record.exc_info[1] if record.exc_info else None
    cause = error.__context__ if error else None  # starlette names it in an error of its own
    usual = {"FileNotFoundError", "ClientDisconnect"}  # the second of starlette
    return usual.isdisjoint(type(each).__name__ for each in (error, cause))


@contextmanager
def serving(model: Model, host: str, port: int, folder: Path, show: bool = False) -> Iterator[str]:
    """Serves the app while the context lasts; yields its address.

    Raises StylemixError if gradio is missing, or the address cannot be used.
    """
    prepare(folder)
    from stylemix.tools.app.page import build, load_gradio, look
    from stylemix.tools.app.session import close_sessions

    gr = load_gradio()
    from starlette.middleware import Middleware  # of gradio

    logging.getLogger("uvicorn.error").addFilter(is_news)
    blocks = build(model, folder)
    try:
        _, address, _ = blocks.launch(
            server_name=host, server_port=port, inbrowser=show, share=False, quiet=True,
            prevent_thread_lock=True, show_error=False, max_file_size=MAX_UPLOAD,
            enable_monitoring=False, app_kwargs={"middleware": [Middleware(OwnPagesOnly)]},
            **look(gr),
        )  # fmt: skip
    except OSError as error:
        raise StylemixError(
            f"got the address {host}:{port}, which cannot be used; expected a host of this machine "
            "and a free port; choose another --port"
        ) from error
    try:
        yield address
    finally:
        with suppress(Exception):  # it may be gone already
            blocks.close(verbose=False)
        close_sessions(folder)


def serve(model: Model, host: str, port: int, show: bool, on_start: Callable[[str], None]) -> None:
    """Serves the app until Ctrl-C or a signal to end; then removes all files of visitors."""
    end = threading.Event()
    with private_folder() as folder, serving(model, host, port, folder, show) as address:
        numbers = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # a closed terminal
        heard = [one for one in numbers if signal.getsignal(one) is not signal.SIG_IGN]  # by nohup
        before = {number: signal.signal(number, lambda *_: end.set()) for number in heard}
        try:
            on_start(address)
            while not end.wait(1.0):
                remove_half_uploads(folder)
                remove_old_uploads(folder)
        except KeyboardInterrupt:
            pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

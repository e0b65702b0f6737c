"""A headless Chromium with a camera that shows an image, and pages that are open in it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 240  # seconds, on a busy machine


def camera_arguments(camera: Path) -> list[str]:
    """Arguments of a Chromium whose camera shows the video of a file, and is allowed."""
    return [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ]


@contextmanager
def open_page(url: str, camera: Path, width: int = 1100, height: int = 1300) -> Iterator[Any]:
    """A page of Playwright with its `problems` (console errors) and `requests` (URLs)."""
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    arguments = camera_arguments(camera)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.problems, page.requests = [], []
            page.on("pageerror", lambda error: page.problems.append(str(error)))
            page.on(
                "console",
                lambda line: page.problems.append(line.text) if line.type == "error" else None,
            )
            page.on("request", lambda request: page.requests.append(request.url))
            page.goto(url)
            yield page
        finally:
            browser.close()


def wait_for(page: Any, expression: str) -> Any:
    """The value of a JavaScript expression once it is true; its policy forbids Playwright's own."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := page.evaluate(expression):
            return value
        time.sleep(0.2)
    status = page.evaluate("document.body.innerText")
    raise AssertionError(f"{expression} is not true: {page.problems}, {status[:500]}")


def write_camera(path: Path, image: Image.Image) -> None:
    """Writes an image of even sides as a video of two frames (YUV4MPEG2, BT.601)."""
    y, cb, cr = (np.asarray(plane) for plane in image.convert("YCbCr").split())
    luma = 16 + np.rint(y * (219 / 255)).astype(np.uint8)
    chroma = []
    for plane in (cb, cr):
        mean = plane.reshape(plane.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3)) - 128
        chroma.append(np.rint(128 + mean * (224 / 255)).astype(np.uint8))
    frame = b"FRAME\n" + b"".join(plane.tobytes() for plane in (luma, *chroma))
    head = f"YUV4MPEG2 W{image.width} H{image.height} F25:1 Ip A1:1 C420jpeg\n"
    path.write_bytes(head.encode() + 2 * frame)

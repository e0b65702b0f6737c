"""The images of docs/app.md: the app in a browser, step by step, with a shipped portrait.

With --runtime, the folder of onnxruntime-web, that of docs/export.md: an exported page.

python docs/recipes/app_screens.py --runtime node_modules/onnxruntime-web
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from PIL import Image

from stylemix.export.browser import write_page
from stylemix.io.assets import ASSETS
from stylemix.io.atomic import atomic_write

PORTRAIT = ASSETS / "portraits" / "collins.jpg"
BROWSER = "/usr/bin/chromium"
WIDE, PHONE = (1180, 900), (390, 844)
PATIENCE = 300_000  # ms


@contextmanager
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            chromium.close()


def open_page(chromium: Any, address: str, size: tuple[int, int]) -> Any:
    """A page of the app in a window of a size in px."""
    page = chromium.new_context(viewport={"width": size[0], "height": size[1]}).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector("#photo input[type=file]", state="attached")
    return page


def shot(page: Any, path: Path, full: bool = False) -> None:
    """Writes what the page shows, all images included."""
    page.wait_for_function(
        "[...document.images].every(one => !one.offsetParent || (one.complete && one.naturalWidth))"
    )
    image = Image.open(io.BytesIO(page.screenshot(full_page=full))).convert("RGB")
    with atomic_write(path) as temporary:
        image.save(temporary, "JPEG", quality=72)


def take(chromium: Any, address: str, output: Path, started: float) -> None:
    """Takes the screenshots, and prints the seconds since the start of the program."""
    page = open_page(chromium, address, WIDE)
    shot(page, output / "app-start.jpg")
    dropped = time.monotonic()
    page.set_input_files("#photo input[type=file]", str(PORTRAIT))
    page.wait_for_selector("#gallery img")
    now = time.monotonic()
    click.echo(f"first avatar {now - dropped:.1f} s after the photo, {now - started:.1f} s in all")
    for count in (6, 9):
        page.wait_for_function(f"document.querySelectorAll('#gallery img').length == {count}")
        click.echo(f"{count} styles after {time.monotonic() - dropped:.1f} s")
    choose(page, "toon")
    clicked = time.monotonic()
    page.click("#full")
    page.wait_for_selector("#status:has-text('Ready')")
    click.echo(f"full picture {time.monotonic() - clicked:.1f} s after the click")
    shot(page, output / "app-adjust.jpg", full=True)
    phone = open_page(chromium, address, PHONE)
    phone.set_input_files("#photo input[type=file]", str(PORTRAIT.with_name("hopper.jpg")))
    phone.wait_for_function("document.querySelectorAll('#gallery img').length == 9")
    choose(phone, "illustration")
    shot(phone, output / "app-phone.jpg", full=True)
    drag(page, output)


def choose(page: Any, style: str) -> None:
    """Chooses a style of the gallery, and waits for its picture."""
    page.click(f"#gallery button[aria-label={style}]")
    page.wait_for_selector(f"#status:has-text('{style}: ')")
    page.wait_for_selector("#slider img")
    page.wait_for_timeout(2000)  # until the page has scrolled, and nothing fades


def drag(page: Any, output: Path) -> None:
    """Drags the corners of the mouth of the photo."""
    page.evaluate("window.scrollTo(0, 0)")
    page.locator("button[role=tab]:has-text('Drag points')").last.click()
    page.click("button:has-text('Show my face')")
    page.wait_for_selector("#drag-face img")
    page.wait_for_timeout(1000)
    box = page.locator("#drag-face img").bounding_box()
    for x, y in ((0.32, 0.68), (0.28, 0.65), (0.67, 0.68), (0.71, 0.65)):
        before = page.locator("#drag-points textarea, #drag-points input").input_value()
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_function(
            "before => document.querySelector('#drag-points textarea, #drag-points input').value"
            " != before", arg=before,
        )  # fmt: skip
        page.wait_for_timeout(1500)
    started = time.monotonic()
    page.click("#drag-go")
    page.wait_for_selector("#drag-status:has-text('Step 8')")
    page.wait_for_timeout(500)
    shot(page, output / "app-drag.jpg")
    page.wait_for_selector("#drag-status:has-text('Dragged')")
    click.echo(f"drag: {time.monotonic() - started:.1f} s, {page.inner_text('#drag-status')}")


def take_export(chromium: Any, runtime: Path, output: Path) -> None:
    """Exports a page, and takes its screenshot with a photo and two seeds."""
    with tempfile.TemporaryDirectory() as folder:
        write_page(Path(folder, "page"), runtime, ["comic", "toon", "pencil"])
        page = chromium.new_context(viewport={"width": 850, "height": 900}).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(Path(folder, "page", "index.html").as_uri())
        page.wait_for_selector("#photo:enabled", state="attached")
        page.set_input_files("#photo", str(PORTRAIT))
        page.wait_for_selector("#rate:not([data-frames='0'])")
        page.wait_for_selector("#mix-time:has-text('ms')")
        click.echo(f"page: {page.inner_text('#rate')}; {page.inner_text('#mix-time')}")
        shot(page, output / "browser.jpg", full=True)


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/images"))
@click.option("--port", type=int, default=7875)
@click.option("--runtime", type=click.Path(path_type=Path), help="Take the exported page, too.")
def main(output: Path, port: int, runtime: Path | None) -> None:
    """Take the screenshots of an app that is started for it."""
    if runtime is not None:
        with browser() as chromium:
            take_export(chromium, runtime, output)
    started = time.monotonic()
    command = [sys.executable, "-m", "stylemix", "app", "--port", str(port)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            click.echo(f"the app is there after {time.monotonic() - started:.1f} s")
            with browser() as chromium:
                take(chromium, f"http://127.0.0.1:{port}/", output, started)
        finally:
            process.terminate()


if __name__ == "__main__":
    main()

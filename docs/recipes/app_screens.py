"""The images of docs/app.md: the app in a browser, step by step, with a shipped portrait.

python docs/recipes/app_screens.py
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from PIL import Image

from stylemix.io.assets import ASSETS
from stylemix.io.atomic import atomic_write
from stylemix.models.checkpoint import load_model
from stylemix.tools.app.server import private_folder, serving

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
    """Writes what the page shows."""
    image = Image.open(io.BytesIO(page.screenshot(full_page=full))).convert("RGB")
    with atomic_write(path) as temporary:
        image.save(temporary, "JPEG", quality=80)


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/images"))
def main(output: Path) -> None:
    """Take the screenshots."""
    model = load_model("faces-64")
    with (
        private_folder() as folder,
        serving(model, "127.0.0.1", 7875, folder) as address,
        browser() as chromium,
    ):
        page = open_page(chromium, address, WIDE)
        page.on("console", lambda message: print("console:", message.text))
        shot(page, output / "app-start.jpg")
        started = time.monotonic()
        page.set_input_files("#photo input[type=file]", str(PORTRAIT))
        page.wait_for_selector("#gallery img")
        click.echo(f"first avatar after {time.monotonic() - started:.1f} s")
        page.wait_for_function("document.querySelectorAll('#gallery img').length == 9")
        click.echo(f"gallery after {time.monotonic() - started:.1f} s")
        shot(page, output / "app-gallery.jpg", full=True)
        page.click("#gallery button:has-text('toon')")
        page.wait_for_selector("#slider img")
        page.wait_for_timeout(4000)
        shot(page, output / "app-adjust.jpg", full=True)


if __name__ == "__main__":
    main()

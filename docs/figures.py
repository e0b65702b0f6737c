"""The pictures of the pages that have them made: each command of a page is run when it is built.

    python docs/figures.py docs/gallery.md docs/concepts.md

In the blocks `bash` and `python` of a page, in their order, in a folder with the shipped portraits.
What they write is put into docs/_figures, as JPEGs of at most 1200 px; animations stay as they are.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from stylemix.cli import main
from stylemix.io.assets import ASSETS

DOCS = Path(__file__).resolve().parent
FIGURES = DOCS / "_figures"
PAGES = (DOCS / "gallery.md", DOCS / "concepts.md")
MAX_SIDE = 1200  # px
ANIMATED = {".webp", ".gif"}


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and text of each block of a page that is run."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(bash|python)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def named(page: Path) -> set[str]:
    """The names of the figures that a page shows."""
    return set(re.findall(r"\(_figures/([\w.-]+)\)", page.read_text(encoding="utf-8")))


def make(page: Path) -> None:
    """Makes the figures of a page, unless all are there; raises if one is not made.

    Delete docs/_figures to have them made again.
    """
    wanted = named(page)
    if all((FIGURES / name).exists() for name in wanted):
        return
    with _workplace() as folder:
        for language, text in blocks(page):
            if language == "python":
                subprocess.run([sys.executable, "-c", text], check=True)
                continue
            for line in re.sub(r"\\\n\s*", " ", text).splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["stylemix"]:
                    main(words[1:], standalone_mode=False)
        _collect(folder, wanted)
    missing = {name for name in wanted if not (FIGURES / name).exists()}
    if missing:
        raise ValueError(f"{page.name}: no command makes {', '.join(sorted(missing))}")


@contextmanager
def _workplace() -> Iterator[Path]:
    """A current folder with the shipped portraits, for the time of a `with`."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for portrait in (ASSETS / "portraits").glob("*.jpg"):
            shutil.copy(portrait, folder)
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def _collect(folder: Path, wanted: set[str]) -> None:
    FIGURES.mkdir(exist_ok=True)
    for name in wanted:
        found = sorted(folder.rglob(f"{Path(name).stem}.*"))
        if not found:
            continue
        if Path(name).suffix in ANIMATED:
            shutil.copy(found[0], FIGURES / name)
            continue
        with Image.open(found[0]) as image:
            image = image.convert("RGB")
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        image.save(FIGURES / name, quality=88)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        make(Path(argument).resolve())

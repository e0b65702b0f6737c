"""Where commands write: never over an input, and over an earlier result with --overwrite only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.global_options import may_overwrite
from stylemix.images.provenance import Generated
from stylemix.images.write import as_written
from stylemix.io.atomic import check_writable, expect_new, forget_new
from stylemix.io.files import StrPath, open_file
from stylemix.io.outputs import Beside, check_not_input, free_path
from stylemix.messages import note

OUTPUTS = ("output", "target", "style_file", "sheet", "page")  # parameters of commands


def output_file(path: Path, inputs: Iterable[StrPath] = (), beside: Beside = lambda _: ()) -> Path:
    """The file for the output `path`, chosen before the work: NAME-2.EXT if there is one already.

    A note says so. `beside` returns further files that are written with an output. Raises
    StylemixError for an output that is an input, even with --overwrite, and for a folder that
    cannot be written.
    """
    check_writable(path)
    inputs = [*inputs, *_named_files()]
    if may_overwrite():
        for file in (path, *beside(path)):
            check_not_input(file, inputs)
        return path
    check_not_input(path, [name for name in inputs if not os.path.isdir(os.path.expanduser(name))])
    free = free_path(path, beside)
    _create_only(free, beside)
    if free != path:
        taken = [file for file in (path, *beside(path)) if os.path.lexists(file)]
        how = f"{path} exists and is kept" if taken else f"another command is writing {path}"
        note(f"Note: {how}; this writes {free}; --overwrite replaces it")
    return free


def output_in(
    path: Path,
    image: Image.Image,
    inputs: Iterable[StrPath] = (),
    beside: Beside = lambda _: (),
    generated: Generated = False,
) -> Path:
    """The file for one of many images in a folder; the caller says where it is NAME-2.EXT.

    A file with the very same image is written again, so that the same command ends with the same
    files after it was interrupted. `generated` is that of `save_image`.
    """
    if not may_overwrite():
        free = free_path(path, beside, lambda other: _shows(other, as_written(image, generated)))
        _create_only(free, beside)
        return free
    check_not_input(path, [*inputs, *_named_files()])
    return path


def _create_only(path: Path, beside: Beside) -> None:
    """Lets the command replace no file that appears at a free path until it writes there."""
    context = click.get_current_context(silent=True)
    if context is not None and not os.path.lexists(path):
        expect_new([path, *beside(path)])
        context.call_on_close(forget_new)


def _named_files() -> list[str]:
    """The files of all options and words that are no outputs, such as masks and directions."""
    context = click.get_current_context(silent=True)
    given = {} if context is None else context.params
    named = []
    for value in (value for key, value in given.items() if key not in OUTPUTS):
        for word in value if isinstance(value, tuple | list) else [value]:
            text = str(word) if isinstance(word, str | Path) else ""
            named += [text, text.rpartition(":")[0]]  # NAME:STRENGTH
    return [text for text in named if os.path.isfile(os.path.expanduser(text))]


def _shows(path: Path, image: Image.Image) -> bool:
    """Whether a PNG file has the pixels of an image; other formats lose some of them."""
    try:
        with open_file(path) as stream, Image.open(stream, formats=("PNG",)) as there:
            same = (there.size, there.mode) == (image.size, image.mode)
            return same and there.tobytes() == image.tobytes()
    except (OSError, ValueError, SyntaxError, StylemixError, Image.DecompressionBombError):
        return False


def kept(path: Path, asked: Path) -> str:
    """Which file was kept, for the line about a file written instead; "" if it is the one asked."""
    return "" if path == asked else f"{asked.name} is kept"

"""What notebooks show of latents, styles and models: a few images and a table."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

from PIL import Image

MIN_SIDE = 128  # px at which small images are shown
MOST_TEXT = 200  # characters of a value
ROUNDED = 4  # digits of a number


def card(title: str, rows: Mapping[str, object], images: Sequence[Image.Image] = ()) -> str:
    """A piece of HTML with the images, and a table of the rows that are not None.

    All text is escaped, since it may come from a file of somebody else.
    """
    pictures = "".join(_picture(image, f"{title}, image {i}") for i, image in enumerate(images, 1))
    lines = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(_text(value))}</td></tr>"
        for name, value in rows.items()
        if value is not None
    )
    return f"<div><strong>{escape(title)}</strong><br>{pictures}<table>{lines}</table></div>"


def _text(value: object) -> str:
    text = f"{value:.{ROUNDED}g}" if isinstance(value, float) else str(value)
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "..."


def _picture(image: Image.Image, text: str) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    width = max(MIN_SIDE, image.width)
    return f"<img alt='{escape(text)}' width='{width}' src='data:image/png;base64,{data}'>"

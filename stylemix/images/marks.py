"""The marks of generated images that `images.write` leaves, read from a file."""

from __future__ import annotations

import os
import re

from PIL import Image

from stylemix.images.write import SOURCE_TYPE_KEY

_XMP_TYPE = re.compile(r'DigitalSourceType[=>\s]*["\'>]?([\w:/.-]{1,200})')
_XMP_TOOL = re.compile(r'CreatorTool[=>\s]*["\'>]?([\w ./-]{1,80})')


def read_marks(path: str | os.PathLike[str]) -> dict[str, str]:
    """The type of source ("trainedAlgorithmicMedia", ...) and the software; {} without marks.

    Keys are "source type" and "software". Nothing is decoded; a file that Pillow cannot open has
    no marks.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            info = dict(image.info)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return {}
    packet = info.get("xmp", b"")
    text = packet.decode("utf-8", "replace")[:100_000] if isinstance(packet, bytes) else ""
    kind, tool = _XMP_TYPE.search(text), _XMP_TOOL.search(text)
    marks = {
        "source type": str(info.get(SOURCE_TYPE_KEY, kind[1] if kind else "")).split("/")[-1],
        "software": str(info.get("Software", tool[1] if tool else "")),
    }
    return {key: value for key, value in marks.items() if value}

"""What files of generated images say about themselves, and whether they say it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from PIL import PngImagePlugin

from stylemix.errors import check_choice
from stylemix.version import __version__

# Generated altogether, composed with generated content (as an edited photo), or neither.
Generated = Literal["composite"] | bool

SOURCE_TYPE_KEY = "IPTC DigitalSourceType"
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"

_wanted = True


@contextmanager
def use_marks(wanted: bool) -> Iterator[None]:
    """Leaves all marks out of the files that are written in the context, unless they are wanted.

    Metadata, watermark and Content Credentials alike, as the option --no-marks does.
    """
    global _wanted
    before, _wanted = _wanted, wanted
    try:
        yield
    finally:
        _wanted = before


def source_type(generated: Generated) -> str:
    """IPTC's digital source type of a generated or composed image, an address."""
    term = "compositeWithTrained" if generated == "composite" else "trained"
    return f"{_SOURCE_TYPE}{term}AlgorithmicMedia"


def provenance_marks(generated: Generated) -> dict[str, str]:
    """Returns the metadata that mark generated images, by key; none for other images."""
    check_choice("generated", generated, (True, False, "composite"))
    if not (generated and _wanted):
        return {}
    return {SOURCE_TYPE_KEY: source_type(generated), "Software": f"stylemix {__version__}"}


def png_text(marks: dict[str, str]) -> PngImagePlugin.PngInfo:
    """Returns the marks as text chunks of a PNG file."""
    text = PngImagePlugin.PngInfo()
    for key, value in marks.items():
        text.add_itxt(key, value)
    return text


def xmp_packet(marks: dict[str, str]) -> bytes:
    """Returns the marks as an XMP packet (ISO 16684-1); empty without marks."""
    if not marks:
        return b""
    from xml.sax.saxutils import quoteattr  # imports urllib

    kind, software = (quoteattr(value) for value in marks.values())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f"Iptc4xmpExt:DigitalSourceType={kind} xmp:CreatorTool={software}/>"
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()

"""Image files that Pillow does not write: unusual bit depths, false headers, truncated data."""

import io
import struct
import zlib
from types import ModuleType

import numpy as np
from PIL import Image


def png(width: int, height: int, bits: int, color: int, rows: bytes, *chunks: bytes) -> bytes:
    """Returns a PNG; `rows` are the scan lines, each behind its filter byte 0."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IEND", b"")])


def chunk(kind: bytes, data: bytes) -> bytes:
    """Returns one PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(values: np.ndarray, *chunks: bytes) -> bytes:
    """Returns a 16-bit PNG of uint16 [H, W] (grey) or [H, W, 3] (RGB)."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, 16, 0 if values.ndim == 2 else 2, rows, *chunks)


def huge_png(width: int, height: int) -> bytes:
    """Returns a PNG whose header says width x height px, with hardly any data."""
    return png(width, height, 8, 2, b"\0" * 100)


def tiff12(side: int, value: int) -> bytes:
    """Returns a 12-bit grey TIFF of one value, as film scanners write it: 2 samples in 3 bytes."""
    pixels = bytes([value >> 4, (value & 15) << 4 | value >> 8, value & 255]) * (side * side // 2)
    tags = [(256, side), (257, side), (258, 12), (259, 1), (262, 1), (277, 1), (278, side)]
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags = sorted([*tags, (273, start), (279, len(pixels))])
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, number) for tag, number in tags)
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return header + entries + struct.pack("<I", 0) + pixels


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Returns `image` as a file of the format `kind`."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int = 48, height: int = 40) -> Image.Image:
    """Returns an RGB image that compresses badly, so that half a file contains half the image."""
    pixels = np.random.RandomState(1).randint(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def cut(data: bytes) -> bytes:
    """Returns the first 60 % of a file."""
    return data[: len(data) * 6 // 10]


def heic() -> bytes:
    """Returns the first bytes of an iPhone's photo."""
    return struct.pack(">I", 24) + b"ftypheic" + b"\0\0\0\0mif1heic" + b"\0" * 64


def heif(package: ModuleType, image: Image.Image, **options: object) -> bytes:
    """Returns an image as an iPhone stores it, encoded by pillow_heif."""
    stream = io.BytesIO()
    package.from_pillow(image).save(stream, quality=-1, chroma=444, **options)
    return stream.getvalue()


def swapped_profile() -> bytes:
    """Returns an sRGB profile with red and green exchanged."""
    from PIL import ImageCms

    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = struct.unpack(">I", data[128:132])[0]
    table = data[132 : 132 + 12 * count]
    names = [table[at : at + 4] for at in range(0, len(table), 12)]
    assert {b"rXYZ", b"gXYZ"} <= set(names)
    other = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}
    entries = (
        other.get(name, name) + table[12 * i + 4 : 12 * i + 12] for i, name in enumerate(names)
    )
    return data[:132] + b"".join(entries) + data[132 + 12 * count :]

"""Image files that are damaged, lie about their size, or cost too much."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

import tests.support.hostile_images as images
from tests.support.hostile_images import chunk, cut, encoded, noise

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _png(width: int, height: int, bits: int, color: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return SIGNATURE + b"".join([chunk(b"IHDR", header), *chunks, chunk(b"IEND", b"")])


def _rows(width: int, height: int, channels: int) -> bytes:
    """Image data of a PNG of zeros, packed a thousand times smaller."""
    pack, row = zlib.compressobj(9), bytes(1 + width * channels)
    return b"".join(pack.compress(row) for _ in range(height)) + pack.flush()


def broken() -> dict[str, bytes]:
    """Files that are no complete image; all have to be refused."""
    found = {}
    for kind in KINDS:
        data = encoded(noise(), kind)
        found[f"{kind}_cut"] = cut(data)
        found[f"{kind}_header"] = data[:30]
        found[f"{kind}_first"] = data[:4]
    found |= {
        "empty": b"",
        "nul": bytes(1000),
        "text": b"hello\n" * 99,
        "terminal": b"\x1b[2J" * 99,
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "svg_xml": b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY a 'b'>]><svg>&a;</svg>",
        "html": b"<!DOCTYPE html><html></html>",
        "pdf": b"%PDF-1.7 ...",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "tga": bytes(2) + b"\x02" + bytes(9) + struct.pack("<HH", 99, 99) + b"\x18\0" + bytes(99),
        "xcf": b"gimp xcf file\0" + bytes(99),
        "psd": b"8BPS\0\1" + bytes(99),
        "ico": b"\0\0\1\0\1\0" + bytes(99),
        "webp_head": b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(20),
        "avif_head": struct.pack(">I", 24) + b"ftypavif" + bytes(60),
        "heic_head": images.heic(),
        "jxl": b"\xff\x0a" + bytes(60),
        "mp4": b"\0\0\0\x18ftypmp42" + bytes(50),
        "mkv": b"\x1aE\xdf\xa3" + bytes(60),
        "zip": b"PK\x03\x04" + bytes(60),
        "gif_no_frames": b"GIF89a\x20\0\x20\0\x80\0\0" + bytes(6) + b";",
        "gif_frame_outside": encoded(noise(), "GIF")[:6]
        + b"\x10\0\x10\0"
        + encoded(noise(), "GIF")[10:400],
    }
    return found | _of_formats()


def _of_formats() -> dict[str, bytes]:
    """Files whose headers lie, by format."""
    found = {
        "jpeg_65535": _jpeg_of(65535, 65535),
        "jpeg_0": _jpeg_of(0, 0),
        "jpeg_no_tables": b"\xff\xd8\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(99),
        "jpeg_segments": b"\xff\xd8" + (b"\xff\xe1\0\2" * 100_000),
        "png_0": images.huge_png(0, 0),
        "png_huge": images.huge_png(2**31 - 1, 2**31 - 1),
        "png_negative": images.huge_png(2**32 - 1, 16),
        "png_20000": images.huge_png(20_000, 20_000),
        "png_wide": images.huge_png(6_000_000, 16),
        "png_thin": images.huge_png(400, 3),
        "png_no_data": _png(20, 20, 8, 2),
        "png_bits": _png(20, 20, 7, 2, chunk(b"IDAT", b"x")),
        "png_colour": _png(20, 20, 8, 9, chunk(b"IDAT", b"x")),
        "png_bad_zlib": _png(20, 20, 8, 2, chunk(b"IDAT", b"x" * 99)),
        "png_crc": encoded(noise(), "PNG").replace(b"IDAT", b"IDAT\0", 1),
        "png_chunk_length": SIGNATURE + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(99),
        "ppm_huge": b"P6\n99999999 99999999\n255\n" + bytes(99),
        "ppm_text": b"P6\nabc def\n255\n",
        "pgm_values": b"P2\n20 20\n255\n" + b"9999 " * 400,
        "pbm_long": b"P1\n" + b"1" * 100_000,
        "pfm": b"Pf\n20 20\n-1.0\n" + bytes(99),
        "bmp_negative": encoded(noise(), "BMP")[:18] + struct.pack("<ii", -99, -99) + bytes(99),
        "bmp_huge": encoded(noise(), "BMP")[:18] + struct.pack("<ii", 2**30, 2**30) + bytes(99),
        "bmp_offset": b"BM" + bytes(8) + b"\xff\xff\xff\x7f" + encoded(noise(), "BMP")[14:],
        "tiff_loop": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        "tiff_offset": b"II*\0\xff\xff\xff\xff",
        "tiff_entries": b"MM\0*\0\0\0\x08\xff\xff" + bytes(99),
        "bigtiff": b"II+\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        "jp2_head": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99),
        "j2k_head": b"\xff\x4f\xff\x51" + bytes(99),
    }
    grey = Image.new("F", (20, 20), 1e30)
    found |= {
        "float_range": encoded(grey, "TIFF"),
        "float_nan": encoded(Image.new("F", (20, 20), float("nan")), "TIFF"),
        "int_range": encoded(Image.new("I", (20, 20), 2**30), "TIFF"),
    }
    return found


def _jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    data = encoded(noise(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def costly() -> dict[str, bytes]:
    """Files of some kilobytes that stand for far more; all have to be refused."""
    side = 9_999
    text = zlib.compress(bytes(50_000_000), 9)
    profile = b"icc\0\0" + zlib.compress(bytes(50_000_000), 9)
    return {
        "png_rgb": _png(side, side, 8, 2, chunk(b"IDAT", _rows(side, 400, 3))),
        "png_rgba16": _png(side, side, 16, 6, chunk(b"IDAT", _rows(side, 400, 8))),
        "png_grey16": _png(side, side, 16, 0, chunk(b"IDAT", _rows(side, 400, 2))),
        "png_palette": _png(
            side, side, 8, 3, chunk(b"PLTE", bytes(768)), chunk(b"IDAT", _rows(side, 400, 1))
        ),
        "png_one_bit": _png(side, side, 1, 0, chunk(b"IDAT", _rows(1250, 400, 1))),
        "png_text": _png(20, 20, 8, 2, chunk(b"zTXt", b"a\0\0" + text), chunk(b"IDAT", b"x")),
        "png_itxt": _png(20, 20, 8, 2, chunk(b"iTXt", b"a\0\1\0\0\0" + text), chunk(b"IDAT", b"x")),
        "png_texts": _png(
            20, 20, 8, 2, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000)))] * 90
        ),
        "png_profile": _png(20, 20, 8, 2, chunk(b"iCCP", profile), chunk(b"IDAT", b"x")),
        "gif": b"GIF89a"
        + struct.pack("<HH", side, side)
        + b"\xf0\0\0"
        + bytes(6)
        + b"\x2c"
        + bytes(4)
        + struct.pack("<HH", side, side)
        + b"\0\x02\x02\x4c\x01\0;",
        "jpeg_scans": _scans(200),
    }


def _scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encoded(noise(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def odd() -> dict[str, bytes]:
    """Intact pictures of 48 x 40 px beside something odd; all have to be drawn."""
    picture = noise()
    png, jpeg = encoded(picture, "PNG"), encoded(picture, "JPEG")
    head, rest = png[:33], png[33:]
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\x08\0\0\0"  # in a loop

    def segment(kind: int, data: bytes) -> bytes:
        return jpeg[:2] + bytes([0xFF, kind]) + struct.pack(">H", len(data) + 2) + data + jpeg[2:]

    return {
        "exif_loop": segment(0xE1, exif),
        "exif_cut": segment(0xE1, exif[:12]),
        "exif_offset": segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        "profile_broken": segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(200)),
        "profile_number": segment(0xE2, b"ICC_PROFILE\0\0\0abc"),
        "adobe": segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09"),
        "comment": segment(0xFE, b"\x1b[2J\n" * 99),
        "photoshop": segment(0xED, b"Photoshop 3.0\0" + b"8BIM" * 9),
        "mpf": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<!DOCTYPE x [<!ENTITY a 'b'>]>"),
        "bytes_after": jpeg + bytes(10_000),
        "no_end": jpeg[:-2],
        "half_end": jpeg[:-1],
        "jpeg_after": jpeg + jpeg,
        "png_after": png + b"hello",
        "png_time": head + chunk(b"tIME", b"\xff" * 7) + rest,
        "png_gamma": head + chunk(b"gAMA", bytes(4)) + rest,
        "png_exif": head + chunk(b"eXIf", exif[6:]) + rest,
        "png_text": head + chunk(b"tEXt", b"\x1b[2J\0\xff") + rest,
        "png_unknown": head + chunk(b"abCd", b"x" * 99) + rest,
        "png_physical": head + chunk(b"pHYs", bytes(9)) + rest,
        "gif": encoded(picture, "GIF"),
        "animation": encoded(picture, "GIF", save_all=True, append_images=[picture] * 3),
        "webp_animation": encoded(
            picture, "WEBP", save_all=True, append_images=[picture.rotate(90)] * 3, lossless=True
        ),
        "tiff_pages": encoded(picture, "TIFF", save_all=True, append_images=[picture] * 3),
        "webp": encoded(picture, "WEBP"),
        "cmyk": encoded(picture.convert("CMYK"), "JPEG"),
    }

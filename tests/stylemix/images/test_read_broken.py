"""Files that are no complete image of an allowed size raise an error of one line."""

import os
import re
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

import tests.support.hostile_images as hostile
from stylemix.errors import StylemixError
from stylemix.images import read
from stylemix.images.read import load_image

JPEG, PNG = (hostile.encoded(hostile.noise(), kind) for kind in ("JPEG", "PNG"))
BROKEN = {
    "empty": (b"", "got an empty file"),
    "text": (b"I am a photo, honestly.\n" * 9, "got text"),
    "Cyrillic text": (("x" + "\u0444\u043e\u0442\u043e " * 99).encode(), "got text"),
    "web page": (b"<!DOCTYPE html><html><body>404</body></html>", "got a web page"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "got an SVG drawing"),
    "noise": (bytes(range(128, 256)) * 4, "got bytes of no known image format"),
    "cut JPEG": (hostile.cut(JPEG), "got a damaged or truncated JPEG"),
    "cut PNG": (hostile.cut(PNG), "got a damaged or truncated PNG"),
    "JPEG of 20 bytes": (JPEG[:20], "got a damaged or truncated image"),
    "PNG of 20 bytes": (PNG[:20], "got a damaged or truncated image"),
    "1 x 1": (hostile.encoded(Image.new("RGB", (1, 1)), "PNG"), "1 x 1 px; expected at least 16"),
    "thin": (hostile.encoded(Image.new("RGB", (400, 15)), "PNG"), "400 x 15 px; expected at least"),
    "20,000 x 20,000": (
        hostile.huge_png(20_000, 20_000),
        "of 400 megapixels; expected at most 100",
    ),
    "14,000 x 7,500": (
        hostile.huge_png(14_000, 7_500),
        "of 14000 x 7500 px .105 megapixels.; expected at most 100",
    ),
    "7,500 x 7,500": (hostile.huge_png(7_500, 7_500), "got a damaged or truncated PNG"),
    "9,500 x 9,500": (hostile.huge_png(9_500, 9_500), "90 megapixels. as PNG"),
    "0 x 0": (hostile.huge_png(0, 0), "got a"),
    "PDF": (b"%PDF-1.7 ...", "got a PDF"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "got PostScript"),
    "video": (b"\0\0\0\x18ftypmp42" + b"\0" * 50, "got a video"),
    "zip": (b"PK\x03\x04" + b"\0" * 50, "got a zip"),
}


def _load(folder: Path, data: bytes, name: str = "photo.bin") -> Image.Image:
    (folder / name).write_bytes(data)
    return load_image(folder / name)


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_in_one_line(tmp_path, case):
    data, message = BROKEN[case]
    path = tmp_path / "me.jpg"
    path.write_bytes(data)
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        with pytest.raises(StylemixError, match=message) as caught:
            load_image(path)
    text = str(caught.value)
    assert (leaked, Image.MAX_IMAGE_PIXELS) == ([], limit)
    assert re.fullmatch(r"[^;]+: got [^;]+; expected [^;]+; [^;]+", text)
    assert text.count("me.jpg") == 1
    assert text.isprintable()


def test_heic_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    read._load_heif.cache_clear()
    monkeypatch.setattr(Image, "OPEN", {k: v for k, v in Image.OPEN.items() if k != "HEIF"})
    try:
        with pytest.raises(StylemixError, match=r"HEIC photo.*pip install 'stylemix\[heic\]'"):
            _load(tmp_path, hostile.heic(), "me.heic")
    finally:
        read._load_heif.cache_clear()


@pytest.mark.parametrize("count", [76, 200, 0.5, 0.98])
def test_damaged_heic(tmp_path, count):
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    data = hostile.heif(pillow_heif, hostile.noise())
    if count == 76:
        data = hostile.heic()
    elif isinstance(count, int):
        data = data[:count]
    else:
        data = data[: int(len(data) * count)]
    with pytest.raises(StylemixError, match="got a damaged or truncated"):
        _load(tmp_path, data, "me.heic")


def test_paths_that_are_no_file(tmp_path):
    for path, message in (
        (tmp_path, "got a folder"),
        (tmp_path / "none.jpg", "none.jpg: got no such file; expected an image; check the name"),
        (tmp_path / "a\nb.jpg", "a b.jpg: got no such file"),
        (tmp_path / ("x" * 300), "got 'File name too long'"),
        ("nul\0.jpg", "nul\\?.jpg: got "),
    ):
        with pytest.raises(StylemixError, match=message) as caught:
            load_image(path)
        assert str(caught.value).isprintable()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
        with pytest.raises(StylemixError, match="got a device or pipe"):
            load_image(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("min_side", [None, 20])
def test_a_jpeg_that_lacks_only_its_end_marker_is_shown(tmp_path, options, missing, min_side):
    data = hostile.encoded(hostile.noise(), "JPEG", **options)
    path = tmp_path / "whole.jpg"
    path.write_bytes(data)
    expected = load_image(path, min_side)
    path.write_bytes(data[:-missing])
    assert load_image(path, min_side).tobytes() == expected.tobytes()
    for end in (-4, -9, len(data) // 2, len(data) * 9 // 10):
        path.write_bytes(data[:end])
        with pytest.raises(StylemixError, match="got a damaged or truncated JPEG"):
            load_image(path)


def test_huge_header_is_refused_without_decoding(tmp_path, monkeypatch):
    def fail(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    for width, height in ((20_000, 20_000), (14_000, 7_500)):
        with pytest.raises(StylemixError, match="megapixels"):
            _load(tmp_path, hostile.huge_png(width, height))


def test_camera_raw_is_not_read_as_its_preview(tmp_path):
    data = hostile.encoded(hostile.noise(), "TIFF")
    assert _load(tmp_path, data, "scan.tif").size == (48, 40)
    with pytest.raises(StylemixError, match=r"photo.NEF: got a camera's raw file"):
        _load(tmp_path, data, "photo.NEF")


def test_insufficient_memory_is_an_error_of_one_line(tmp_path, monkeypatch):
    def fail(image):
        raise MemoryError

    monkeypatch.setattr(read, "to_rgb", fail)
    with pytest.raises(StylemixError, match=r"got an image of 48 x 40 px; expected .* memory"):
        _load(tmp_path, PNG)

"""What an image costs is known from its header, and more than that is refused or reduced."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import tests.support.hostile_images as hostile
from stylemix.errors import StylemixError
from stylemix.images import cost
from stylemix.images.cost import prepare_decoding
from stylemix.images.read import load_image


def opened(kind, mode, width, height, **info):
    """An image of a format and mode whose header says this size; nothing is decoded."""
    image = Image.new(mode, (1, 1))
    image._size, image.format, image.info = (width, height), kind, info
    image.draft = lambda mode, size: setattr(image, "_size", (width // 2, height // 2))
    return image


@pytest.mark.parametrize("size", [(8064, 6048), (8160, 6120)])  # 48 and 50 megapixels
@pytest.mark.parametrize("profile", [None, b"P3"])
def test_photos_of_phones_are_read_whole(size, profile):
    image = opened("JPEG", "RGB", *size, icc_profile=profile)
    prepare_decoding(image, BytesIO(), "me.jpg")
    assert image.size == size


def test_heic_of_48_megapixels_is_read_whole():
    image = opened("HEIF", "RGB", 8064, 6048, icc_profile=b"P3")
    prepare_decoding(image, BytesIO(), "me.heic")
    assert image.size == (8064, 6048)


def test_jpeg_of_100_megapixels_is_read_at_half_its_width():
    image = opened("JPEG", "RGB", 11648, 8584)
    prepare_decoding(image, BytesIO(), "me.jpg")
    assert image.size == (5824, 4292)


@pytest.mark.parametrize(
    ("kind", "mode", "most"),
    [
        ("PNG", "RGB", 64), ("PNG", "RGBA", 32), ("PNG", "LA", 32), ("PNG", "I;16", 52),
        ("TIFF", "F", 26), ("TIFF", "I", 35), ("TIFF", "RGB", 59), ("GIF", "P", 64),
        ("WEBP", "RGB", 26), ("AVIF", "RGB", 35), ("JPEG2000", "RGB", 21), ("BMP", "RGB", 64),
    ],
)  # fmt: skip
def test_other_formats_have_limits_by_what_they_cost(kind, mode, most):
    width = 5000
    prepare_decoding(opened(kind, mode, width, int(most * 0.99e6 / width)), BytesIO(), "a")
    with pytest.raises(StylemixError, match=f"as {kind} .*expected at most {most} megapixels"):
        prepare_decoding(opened(kind, mode, width, int(most * 1.02e6 / width)), BytesIO(), "a")


def test_scans_of_a_progressive_jpeg_are_counted(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(hostile.encoded(hostile.noise(), "JPEG", progressive=True))
    assert load_image(path).size == (48, 40)
    monkeypatch.setattr(cost, "MAX_SCANS", 5)
    with pytest.raises(StylemixError, match="got a JPEG of 10 scans; expected at most 5"):
        load_image(path)


def test_an_image_is_not_held_twice(tmp_path, monkeypatch):
    """Plain photos keep the decoder's pixels; others are closed once they are converted."""
    plain, grey = tmp_path / "a.png", tmp_path / "b.png"
    hostile.noise().save(plain)
    hostile.noise().convert("L").save(grey)
    monkeypatch.setattr(Image.Image, "copy", lambda self: pytest.fail("copied"))
    closed = []
    monkeypatch.setattr(Image.Image, "close", lambda self: closed.append(self.mode))
    assert np.array_equal(np.asarray(load_image(plain)), np.asarray(hostile.noise()))
    assert not closed
    load_image(grey)
    assert closed == ["L"]

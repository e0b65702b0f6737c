"""Reading photos of all common formats and modes."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

import tests.support.hostile_images as hostile
from stylemix.errors import StylemixError
from stylemix.images import read
from stylemix.images.read import load_image
from stylemix.images.sources import list_images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def _load(folder: Path, data: bytes, name: str = "photo.bin") -> Image.Image:
    path = folder / name
    path.write_bytes(data)
    image = load_image(path)
    assert image.mode == "RGB"
    assert type(image) is Image.Image
    assert image.info == {}
    assert dict(image.getexif()) == {}
    return image


def _near(image: Image.Image, xy: tuple[int, int], color: tuple[int, ...], by: int = 0) -> bool:
    pixel = image.getpixel(xy)
    assert isinstance(pixel, tuple)
    return max(abs(a - b) for a, b in zip(pixel, color, strict=True)) <= by


def _quarters() -> np.ndarray:
    """Returns [32, 64, 3]: red and green above blue and white."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :32], pixels[:16, 32:] = RED, GREEN
    pixels[16:, :32], pixels[16:, 32:] = BLUE, WHITE
    return pixels


# EXIF 2.3, tag 274: which side of the upright image the first stored row and column show.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", SIDES)
def test_exif_orientation(tmp_path, orientation, kind):
    row, column = SIDES[orientation]
    stored = _quarters()
    if orientation > 4:
        stored = stored.transpose(1, 0, 2)
    stored = stored[::-1] if row in ("bottom", "right") else stored
    stored = stored[:, ::-1] if column in ("bottom", "right") else stored
    exif = Image.Exif()
    exif[274] = orientation
    image = _load(tmp_path, hostile.encoded(Image.fromarray(stored.copy()), kind, exif=exif))
    assert image.size == (64, 32)
    assert _near(image, (8, 8), RED, 12)
    assert _near(image, (56, 8), GREEN, 12)
    assert _near(image, (8, 24), BLUE, 12)
    assert _near(image, (56, 24), WHITE, 12)


def test_broken_exif_counts_as_upright(tmp_path):
    data = hostile.encoded(Image.fromarray(_quarters()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff")
    assert _load(tmp_path, data).size == (64, 32)


def test_grey_16_bit_is_scaled_not_clipped(tmp_path):
    values = np.full((16, 16), 30000, np.uint16)
    values[0, :6] = [0, 128, 129, 257 * 100, 257 * 100 + 129, 65535]
    image = _load(tmp_path, hostile.png16(values))
    assert [image.getpixel((x, 0))[0] for x in range(6)] == [0, 0, 1, 100, 101, 255]
    assert image.getpixel((8, 8)) == (117, 117, 117)  # 30000 / 257 = 116.7


def test_rgb_16_bit_is_scaled_not_clipped(tmp_path):
    values = np.zeros((16, 16, 3), np.uint16)
    values[:] = [65535, 257 * 100, 300]
    assert _near(_load(tmp_path, hostile.png16(values)), (3, 3), (255, 100, 1), 1)


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_grey_of_fewer_bits_than_its_samples(tmp_path, kind, bits):
    """As microscopes, scanners and programs store it: 8 or 12 bits in 16 or 32."""
    highest = (1 << bits) - 1
    values = np.linspace(0, highest, 20 * 20).reshape(20, 20).astype(kind)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    grey = np.asarray(load_image(tmp_path / "a.tiff", mode="L"))
    expected = np.rint(values.astype(np.float64) * 255 / highest)
    assert np.abs(grey - expected).max() <= 1
    assert (grey.min(), grey.max()) == (0, 255)


def test_grey_12_bit_tiff(tmp_path):
    for value, expected in ((4095, 255), (2048, 128), (0, 0)):
        image = _load(tmp_path, hostile.tiff12(16, value))
        assert image.getcolors() == [(256, (expected,) * 3)]


def test_white_is_zero_16_bit_tiff(tmp_path):
    grey = Image.fromarray(np.full((16, 16), 4095 * 16, np.uint16))
    data = hostile.encoded(grey, "TIFF", tiffinfo={262: 0})
    expected = 255 - round(4095 * 16 / 257)
    assert _load(tmp_path, data).getpixel((0, 0)) == (expected,) * 3


def test_float_tiff(tmp_path):
    ones = np.full((16, 16), 0.5, np.float32)
    assert _load(tmp_path, hostile.encoded(Image.fromarray(ones), "TIFF")).getpixel((0, 0)) == (
        128,
        128,
        128,
    )
    with pytest.raises(StylemixError, match="got float values from 1000 to 1000; expected 0 to 1"):
        _load(tmp_path, hostile.encoded(Image.fromarray(ones * 2000), "TIFF"))


@pytest.mark.parametrize("highest", [1.02, 8])
def test_highlights_above_1_are_no_black_picture(tmp_path, highest):
    values = np.full((16, 16), 0.5, np.float32)
    values[3] = highest
    with pytest.raises(StylemixError, match=f"from 0.5 to {highest:g}; expected 0 to 1 or 0 to 25"):
        _load(tmp_path, hostile.encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_black_and_white(tmp_path, mode):
    image = Image.new(mode, (20, 20), 255)
    image.putpixel((3, 3), 0)
    loaded = _load(tmp_path, hostile.encoded(image, "PNG"))
    assert (loaded.getpixel((3, 3)), loaded.getpixel((4, 4))) == ((0, 0, 0), WHITE)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(tmp_path, kind):
    # Pillow writes CMYK JPEGs as Adobe does: inverted, with Adobe's marker.
    data = hostile.encoded(Image.fromarray(_quarters()).convert("CMYK"), kind)
    image = _load(tmp_path, data)
    assert _near(image, (8, 8), RED, 12)
    assert _near(image, (56, 24), WHITE, 12)


def test_palette(tmp_path):
    image = Image.fromarray(_quarters()).quantize(4)
    assert _near(_load(tmp_path, hostile.encoded(image, "PNG")), (56, 8), GREEN)
    assert _near(_load(tmp_path, hostile.encoded(image, "GIF")), (8, 8), RED)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_palette_with_transparency_is_composited_on_white(tmp_path, kind):
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 10, 20))
    source = image if kind != "WEBP" else image.convert("RGBA")
    if kind == "WEBP":
        source.paste((0, 0, 0, 0), (0, 0, 10, 20))
    options = {"lossless": True} if kind == "WEBP" else {"transparency": 0}
    loaded = _load(tmp_path, hostile.encoded(source, kind, **options))
    assert (loaded.getpixel((3, 3)), loaded.getpixel((15, 3))) == (WHITE, BLUE)


def test_palette_with_partial_transparency(tmp_path):
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 0, 0, 255])
    data = hostile.encoded(image, "PNG", transparency=bytes([255, 128]))
    assert _near(_load(tmp_path, data), (0, 0), (127, 127, 255), 1)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 255, 128), (127, 127, 255)),
        ("RGBA", (1, 2, 3, 255), (1, 2, 3)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 128), (127, 127, 127)),
    ],
)
def test_transparent_images_are_composited_on_white(tmp_path, mode, color, expected):
    assert _near(
        _load(tmp_path, hostile.encoded(Image.new(mode, (20, 20), color), "PNG")),
        (5, 5),
        expected,
        1,
    )


def test_one_color_declared_transparent(tmp_path):
    rgb = hostile.encoded(Image.fromarray(_quarters()), "PNG", transparency=RED)
    assert _load(tmp_path, rgb).getpixel((8, 8)) == WHITE
    assert _load(tmp_path, rgb).getpixel((8, 24)) == BLUE
    grey = hostile.encoded(Image.new("L", (20, 20), 7), "PNG", transparency=7)
    assert _load(tmp_path, grey).getpixel((8, 8)) == WHITE
    values = np.full((16, 16), 5, np.uint16)
    values[0, 0] = 0
    deep = _load(tmp_path, hostile.png16(values, hostile.chunk(b"tRNS", b"\0\5")))
    assert (deep.getpixel((0, 0)), deep.getpixel((1, 1))) == ((0, 0, 0), WHITE)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_returns_its_first_frame(tmp_path, kind):
    first, second = Image.new("RGB", (20, 20), RED), Image.new("RGB", (20, 20), BLUE)
    data = hostile.encoded(first, kind, save_all=True, append_images=[second])
    assert _near(_load(tmp_path, data), (5, 5), RED, 2)


def test_profile_is_converted_to_srgb(tmp_path):
    image = Image.fromarray(_quarters())
    swapped = _load(tmp_path, hostile.encoded(image, "PNG", icc_profile=hostile.swapped_profile()))
    assert _near(swapped, (8, 8), GREEN, 2)
    assert _near(swapped, (56, 8), RED, 2)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = _load(tmp_path, hostile.encoded(image, "PNG", icc_profile=srgb))
    assert np.abs(np.asarray(same).astype(int) - _quarters()).max() <= 1


def test_transparency_survives_a_profile(tmp_path):
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 128))
    data = hostile.encoded(image, "PNG", icc_profile=hostile.swapped_profile())
    assert _near(_load(tmp_path, data), (5, 5), (127, 255, 127), 2)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_damaged_profile_or_one_of_another_space_is_ignored(tmp_path, mode):
    image = Image.new(mode, (20, 20))
    plain = image.convert("RGB").getpixel((0, 0))
    for profile in (b"no profile", hostile.swapped_profile()[:200], hostile.swapped_profile()):
        loaded = _load(tmp_path, hostile.encoded(image, "TIFF", icc_profile=profile))
        assert _near(loaded, (0, 0), plain, 1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("WEBP", {"quality": 90}), ("BMP", {}), ("PPM", {}), ("JPEG2000", {}), ("AVIF", {})],
)
def test_other_formats(tmp_path, kind, options):
    if kind not in Image.SAVE:
        Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    image = Image.fromarray(_quarters())
    assert _near(_load(tmp_path, hostile.encoded(image, kind, **options)), (8, 8), RED, 16)


def test_metadata_is_dropped(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "private")
    _load(tmp_path, hostile.encoded(hostile.noise(), "PNG", exif=exif, pnginfo=text, dpi=(72, 72)))
    _load(tmp_path, hostile.encoded(hostile.noise(), "JPEG", exif=exif, comment=b"private"))


def test_large_jpegs_are_decoded_smaller_where_that_is_enough(tmp_path):
    path = tmp_path / "large.jpg"
    Image.new("RGB", (1000, 800), RED).save(path)
    assert load_image(path).size == (1000, 800)
    assert load_image(path, min_side=128).size == (250, 200)
    assert load_image(path, min_side=800).size == (1000, 800)


def test_extension_may_be_wrong(tmp_path):
    assert _load(tmp_path, hostile.encoded(hostile.noise(), "WEBP"), "photo.jpg").size == (48, 40)


def test_large_image_below_the_limit_gives_no_warning(tmp_path, monkeypatch):
    # As a 90-megapixel photo does with the default limit of Pillow, at a hundredth of the cost.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 200)
    assert _load(tmp_path, hostile.encoded(Image.new("L", (300, 250)), "PNG")).size == (300, 250)


def test_threads_decode_at_the_same_time(tmp_path, monkeypatch):
    """Threads that read ahead must not wait for each other."""
    path = tmp_path / "a.png"
    Image.new("RGB", (16, 16), (1, 2, 3)).save(path)
    meet = threading.Barrier(3, timeout=20)
    real = read.to_rgb
    monkeypatch.setattr(read, "to_rgb", lambda image: (meet.wait(), real(image))[1])
    filters = list(warnings.filters)
    with ThreadPoolExecutor(3) as pool:
        images = list(pool.map(load_image, [path] * 3))
    assert [image.getpixel((0, 0)) for image in images] == [(1, 2, 3)] * 3
    assert list(warnings.filters) == filters


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_modes(tmp_path, mode):
    Image.new("RGBA", (16, 16), (200, 100, 50, 102)).save(tmp_path / "a.png")
    expected = {"L": 203, "RGB": (233, 193, 173), "RGBA": (200, 100, 50, 102)}[mode]
    image = load_image(tmp_path / "a.png", mode=mode)
    assert (image.mode, image.getpixel((3, 3)), image.info) == (mode, expected, {})


def _heif(image: Image.Image, **options: object) -> bytes:
    package = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    return hostile.heif(package, image, **options)


@pytest.mark.parametrize("orientation", SIDES)
def test_heic_is_upright(tmp_path, orientation):
    """A phone stores the pixels as its sensor has them, and how it was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(_quarters())
    expected = _load(tmp_path, hostile.encoded(stored, "PNG", exif=exif.tobytes()), "photo.png")
    image = _load(tmp_path, _heif(stored, exif=exif.tobytes()), "photo.heic")
    assert image.size == expected.size
    for xy in ((4, 4), (image.width - 5, 4), (4, image.height - 5)):
        assert _near(image, xy, expected.getpixel(xy), by=6)


def test_heic_with_a_profile(tmp_path):
    """Red and green exchanged by the profile; phones have Display P3."""
    stored = Image.fromarray(_quarters())
    image = _load(tmp_path, _heif(stored, icc_profile=hostile.swapped_profile()), "a.heic")
    assert _near(image, (4, 4), GREEN, by=12)
    assert _near(image, (60, 4), RED, by=12)


def test_heic_in_a_folder_of_photos(tmp_path):
    (tmp_path / "me.HEIC").write_bytes(_heif(Image.fromarray(_quarters())))
    (source,) = list_images(tmp_path)
    assert source.open().size == (64, 32)

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

import tests.support.hostile_images as hostile
from stylemix.errors import StylemixError
from stylemix.images.read import load_image

SIDE = 16


def _tiff(tags: dict[int, list[int]], strips: list[bytes]) -> bytes:
    """A little-endian TIFF of SIDE px; tags are of 16 bits."""
    start = 8 + 2 + 12 * (len(tags) + 7) + 4
    size = {256: [SIDE], 257: [SIDE], 259: [1], 277: [len(tags[258])], 278: [SIDE]}
    tables, entries = b"", []
    place = start + sum(2 * len(v) for v in tags.values() if len(v) > 2) + 8 * len(strips)
    offsets = [place + sum(map(len, strips[:i])) for i in range(len(strips))]
    table = {**size, **tags, 273: offsets, 279: list(map(len, strips))}
    for tag, values in sorted(table.items()):
        wide = tag in (273, 279)
        data = struct.pack(f"<{len(values)}{'I' if wide else 'H'}", *values)
        if len(data) > 4:
            data, tables = struct.pack("<I", start + len(tables)), tables + data
        entries.append(
            struct.pack("<HHI", tag, 4 if wide else 3, len(values)) + data.ljust(4, b"\0")
        )
    assert len(entries) == len(tags) + 7
    tables = tables.ljust(place - start, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(entries) + bytes(4) + tables + b"".join(strips)


def _load(tmp_path, data):
    path = tmp_path / "image"
    path.write_bytes(data)
    return np.asarray(load_image(path))


@pytest.fixture
def pixels():
    return np.random.RandomState(0).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_channels_one_after_the_other(tmp_path, pixels, alpha):
    channels = [pixels[..., i].astype("<u2") * 257 for i in range(3)]
    tags = {258: [16] * (3 + alpha), 262: [2], 284: [2]}
    if alpha:
        channels.append(np.full((SIDE, SIDE), 65535, "<u2"))
        tags[338] = [2]
    read = _load(tmp_path, _tiff(tags, [channel.tobytes() for channel in channels]))
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(("bits", "photometric", "count"), [(16, 5, 4), (8, 1, 2)])
def test_channels_one_after_the_other_that_are_not_read(tmp_path, bits, photometric, count):
    tags = {258: [bits] * count, 262: [photometric], 284: [2]}
    if count == 2:
        tags[338] = [2]
    with pytest.raises(StylemixError, match="one after the other"):
        _load(tmp_path, _tiff(tags, [bytes(SIDE * SIDE * bits // 8)] * count))


@pytest.mark.parametrize("factor", [1, 257])
def test_palette_of_8_and_of_16_bits_a_value(tmp_path, factor):
    colors = np.random.RandomState(1).randint(0, 256, (256, 3))
    colors[0] = 255
    tags = {258: [8], 262: [3], 320: (colors.T * factor).ravel().tolist()}
    indices = np.arange(256, dtype=np.uint8)
    read = _load(tmp_path, _tiff(tags, [indices.tobytes()]))
    np.testing.assert_array_equal(read.reshape(256, 3), colors)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_transparent_grey_of_few_bits(tmp_path, bits):
    """Only the pixels of the transparent value become white."""
    most = 2**bits - 1
    values = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % (most + 1)
    shifts = np.arange(bits - 1, -1, -1)
    packed = np.packbits((values[..., None] >> shifts & 1).reshape(SIDE, -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    transparent = hostile.chunk(b"tRNS", struct.pack(">H", most // 2))
    read = _load(tmp_path, hostile.png(SIDE, SIDE, bits, 0, rows, transparent))
    expected = np.where(values == most // 2, 255, values * 255 // most)
    np.testing.assert_array_equal(read[..., 0], expected)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="libtiff is within Pillow there")
def test_nothing_but_the_error_is_printed(tmp_path):
    """libtiff prints a line for each damaged row, and Pillow logs some errors."""
    data = zlib.compress(bytes(range(256)))
    broken = _tiff({258: [8], 262: [1]}, [data[:9] + b"\xff" * 20]).replace(
        struct.pack("<HHII", 259, 3, 1, 1), struct.pack("<HHII", 259, 3, 1, 8)
    )
    samples = _tiff({258: [8], 262: [1]}, [bytes(256)]).replace(
        struct.pack("<HHII", 277, 3, 1, 1), struct.pack("<HHII", 277, 3, 1, 60000)
    )
    for name, file in (("deflate.tif", broken), ("samples.tif", samples)):
        (tmp_path / name).write_bytes(file)
        done = subprocess.run(
            [sys.executable, "-m", "stylemix", "align", name], cwd=tmp_path, capture_output=True
        )
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr

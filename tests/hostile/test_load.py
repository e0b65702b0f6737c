"""The photos of the load test; `python -m tests.hostile.load FOLDER` gives them to the commands."""

import random

import pytest
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.images.read import load_image
from tests.hostile import load


@pytest.mark.slow
def test_a_tenth_of_the_photos_is_bad(tmp_path):
    bad = load.make_photos(tmp_path / "photos", 10)
    assert bad == ["0007-truncated.jpg"]
    good = [path for path in (tmp_path / "photos").iterdir() if path.name not in bad]
    sizes = [load_image(path).size for path in good]
    assert len(sizes) == 9
    assert all(height >= width for width, height in sizes)


@pytest.mark.parametrize("kind", load.BAD)
def test_bad_photos_are_bad(tmp_path, kind):
    path = tmp_path / "a.jpg"
    path.write_bytes(load._bad(kind, [Image.new("RGB", (64, 64))] * 2, random.Random(0)))
    if kind in ("no face", "flat", "two faces"):  # what aligns them has to refuse them
        assert min(load_image(path).size) >= 400
    else:
        with pytest.raises(StylemixError):
            load_image(path)

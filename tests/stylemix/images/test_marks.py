"""The marks of generated images, read back."""

import pytest
from PIL import Image, PngImagePlugin

from stylemix.images.marks import read_marks
from stylemix.images.write import save_image
from stylemix.version import __version__


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
@pytest.mark.parametrize(
    ("generated", "term"),
    [(True, "trainedAlgorithmicMedia"), ("composite", "compositeWithTrainedAlgorithmicMedia")],
)
def test_what_is_written_is_read(tmp_path, name, generated, term):
    save_image(tmp_path / name, Image.new("RGB", (32, 32)), generated=generated)
    assert read_marks(tmp_path / name) == {
        "source type": term, "software": f"stylemix {__version__}",
    }  # fmt: skip


def test_other_images_have_none(tmp_path):
    save_image(tmp_path / "a.png", Image.new("RGB", (32, 32)), generated=False)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    Image.new("RGB", (32, 32)).save(tmp_path / "c.bmp")
    for name in ("a.png", "b.png", "c.bmp", "gone.png"):
        assert read_marks(tmp_path / name) == {}


def test_the_software_of_others_is_named(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "a camera")
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png", pnginfo=text)
    assert read_marks(tmp_path / "a.png") == {"software": "a camera"}

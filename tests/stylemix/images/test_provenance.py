"""The metadata of generated images, and the switch that leaves them out."""

import pytest
from PIL import Image

from stylemix.images.provenance import provenance_marks, source_type, use_marks, xmp_packet
from stylemix.images.video import save_video
from stylemix.images.write import save_image
from stylemix.version import __version__

TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def test_marks_by_what_an_image_is():
    assert source_type(True) == TERMS + "trainedAlgorithmicMedia"
    assert source_type("composite") == TERMS + "compositeWithTrainedAlgorithmicMedia"
    assert provenance_marks(False) == {}
    assert xmp_packet(provenance_marks(False)) == b""
    assert provenance_marks(True) == {
        "IPTC DigitalSourceType": TERMS + "trainedAlgorithmicMedia",
        "Software": f"stylemix {__version__}",
    }


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_without_marks_an_image_is_written_as_one_that_was_not_generated(tmp_path, name):
    image = Image.effect_noise((300, 256), 40).convert("RGB")
    save_image(tmp_path / f"plain-{name}", image, generated=False)
    plain = (tmp_path / f"plain-{name}").read_bytes()
    with use_marks(False):
        save_image(tmp_path / name, image)
    assert (tmp_path / name).read_bytes() == plain
    assert b"tylemix" not in plain
    save_image(tmp_path / name, image)
    assert b"stylemix" in (tmp_path / name).read_bytes()  # the switch is back


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.mp4"])
def test_without_marks_a_video_says_nothing(tmp_path, name):
    if name == "a.mp4":
        pytest.importorskip("av", reason="MP4 needs the extra video")
    frames = [Image.effect_noise((256, 256), 40).convert("RGB") for _ in range(2)]
    save_video(tmp_path / "b.webp", frames, [1, 1], 10)
    assert b"stylemix" in (tmp_path / "b.webp").read_bytes()
    save_video(tmp_path / name, frames, [1, 1], 10, generated=False)
    data = (tmp_path / name).read_bytes()
    assert b"tylemix" not in data
    assert b"lgorithmicMedia" not in data
    with use_marks(False):
        save_video(tmp_path / name, frames, [1, 1], 10)
    assert (tmp_path / name).read_bytes() == data


def test_an_error_switches_the_marks_on_again():
    with pytest.raises(ZeroDivisionError), use_marks(False):
        raise ZeroDivisionError
    assert provenance_marks(True)

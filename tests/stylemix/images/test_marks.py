"""The marks of generated images, read back."""

import struct
import sys
import weakref

import pytest
from PIL import Image, PngImagePlugin

from stylemix.errors import StylemixError
from stylemix.images import marks
from stylemix.images.credentials import has_package
from stylemix.images.marks import find_marks, read_marks, video_size
from stylemix.images.video import save_video
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


@pytest.mark.filterwarnings("error")
def test_warnings_of_the_decoder_are_not_printed(tmp_path):
    picture().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture()])
    broken = (tmp_path / "a.jpg").read_bytes().replace(b"MPF\0II", b"MPF\0XX")
    (tmp_path / "a.jpg").write_bytes(broken)
    with pytest.raises(UserWarning, match="malformed MPO"), Image.open(tmp_path / "a.jpg"):
        pass
    assert find_marks(tmp_path / "a.jpg").metadata == {}


def picture(size=(300, 256)):
    return Image.effect_noise(size, 40).convert("RGB")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_all_marks_of_an_image(tmp_path, name):
    save_image(tmp_path / name, picture())
    found = find_marks(tmp_path / name)
    assert found.metadata["source type"] == "trainedAlgorithmicMedia"
    assert found.has_watermark
    lines = dict(found.lines())
    assert lines["watermark"] == f"found, score {found.score:.1f} (from 6.5 on)"
    if has_package():
        assert lines["credentials"] == (
            f"valid, trainedAlgorithmicMedia, stylemix {__version__}; signed by stylemix local "
            "certificate (self-made)"
        )


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.webp", "a.mp4"])
def test_all_marks_of_a_video(tmp_path, name):
    if name == "a.mp4":
        pytest.importorskip("av", reason="MP4 needs the extra video")
    save_video(tmp_path / name, [picture() for _ in range(3)], [2, 1, 1], fps=10)
    found = find_marks(tmp_path / name)
    assert found.metadata == {
        "source type": "compositeWithTrainedAlgorithmicMedia",
        "software": f"stylemix {__version__}",
    }
    assert found.has_watermark
    save_video(tmp_path / name, [picture() for _ in range(3)], [2, 1, 1], 10, generated=False)
    found = find_marks(tmp_path / name)
    assert (found.metadata, found.has_watermark, found.credentials) == ({}, False, None)


def test_a_photo_has_none(tmp_path):
    picture().save(tmp_path / "a.png")
    found = find_marks(tmp_path / "a.png")
    assert (found.metadata, found.has_watermark, found.credentials) == ({}, False, None)
    lines = dict(found.lines())
    assert lines["marks"] == "none of generated images"
    assert lines["watermark"].startswith("not found, score ")
    if has_package():
        assert lines["credentials"] == "none that can be read"


def test_a_small_image_is_not_measured(tmp_path):
    save_image(tmp_path / "a.png", picture((100, 90)))
    found = find_marks(tmp_path / "a.png")
    assert (found.score, found.has_watermark) == (None, False)
    assert dict(found.lines())["watermark"] == "not looked for in an image under 128 px"


def test_without_the_package_the_credentials_are_not_looked_for(tmp_path, monkeypatch):
    save_image(tmp_path / "a.png", picture())
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = find_marks(tmp_path / "a.png")
    assert dict(found.lines())["credentials"] == "not looked for; pip install 'stylemix[c2pa]'"


def test_frames_that_are_read():
    assert list(marks._numbers(1)) == [0]
    assert list(marks._numbers(5)) == [0, 1, 2, 3, 4]
    assert list(marks._numbers(33)) == list(range(0, 33, 3))
    assert list(marks._numbers(sys.maxsize)) == list(range(0, 160, 10))  # as a header may say
    assert marks._most_frames((64, 64)) == 160
    assert marks._most_frames((3840, 2160)) == 16
    assert marks._most_frames((8000, 8000)) == 1


def many_frames(path, count, size=(1, 1)):
    """A GIF whose further frames have a few bytes each."""
    Image.new("P", (200, 150)).save(path, "GIF")
    further = b"\x2c" + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02\x02\x44\x01\x00"
    path.write_bytes(path.read_bytes()[:-1] + further * count + b";")


def test_not_all_frames_of_a_gif_are_looked_for(tmp_path):
    many_frames(tmp_path / "a.gif", 500)
    assert marks._count(tmp_path / "a.gif") == 160
    assert len(list(marks._frames(tmp_path / "a.gif"))) == 16


def test_a_gif_that_grows_is_measured_by_its_first_frames(tmp_path):
    many_frames(tmp_path / "a.gif", 5, (9000, 9000))
    assert [frame.size for frame in marks._frames(tmp_path / "a.gif")] == [(200, 150)]


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.mp4"])
def test_large_frames_are_read_up_to_a_number_of_pixels(tmp_path, name, monkeypatch):
    if name == "a.mp4":
        pytest.importorskip("av", reason="MP4 needs the extra video")
    monkeypatch.setattr(marks, "MAX_READ_PIXELS", 3 * 300 * 256)
    save_video(tmp_path / name, [picture() for _ in range(8)], [1] * 8, fps=10)
    read = marks._mp4_frames if name == "a.mp4" else marks._frames
    assert len(list(read(tmp_path / name))) == 3
    assert find_marks(tmp_path / name).has_watermark


def test_frames_are_measured_one_after_the_other(monkeypatch):
    made, most = [], []

    def frames(path):
        for _ in range(5):
            made.append(weakref.ref(image := picture()))
            most.append(sum(each() is not None for each in made))
            yield image
            del image

    monkeypatch.setattr(marks, "_frames", frames)
    assert marks._score("a.png") < 6.5
    assert most == [1, 2, 2, 2, 2]


def test_a_video_beyond_8k_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("av", reason="MP4 needs the extra video")
    save_video(tmp_path / "a.mp4", [picture()], [1], fps=10)
    monkeypatch.setattr(marks, "MAX_FRAME_PIXELS", 70_000)
    with pytest.raises(StylemixError, match=r"got a video of 300 x 256 px; expected at most"):
        find_marks(tmp_path / "a.mp4")


def test_damaged_and_missing_videos(tmp_path):
    pytest.importorskip("av", reason="MP4 needs the extra video")
    save_video(tmp_path / "a.mp4", [picture() for _ in range(2)], [1, 1], fps=10)
    assert video_size(tmp_path / "a.mp4") == (300, 256)
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:900])
    (tmp_path / "c.mp4").write_bytes(b"")
    for name in ("b.mp4", "c.mp4"):
        with pytest.raises(StylemixError, match=r"got a damaged video; expected an MP4 file"):
            find_marks(tmp_path / name)
        assert read_marks(tmp_path / name) == {}


def test_an_animation_that_breaks_off_is_measured_by_what_is_there(tmp_path):
    save_video(tmp_path / "a.gif", [picture() for _ in range(4)], [1] * 4, fps=10)
    whole = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "b.gif").write_bytes(whole[: len(whole) * 2 // 3])
    assert find_marks(tmp_path / "b.gif").has_watermark

"""Written videos: frames, durations and metadata of each format."""

import sys

import numpy as np
import pytest
from PIL import Image

import stylemix
from stylemix.errors import StylemixError
from stylemix.images import video
from stylemix.images.video import check_video_path, save_video

COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
ANIMATIONS = ["a.gif", "a.png", "a.APNG", "a.webp"]


@pytest.fixture(autouse=True)
def unsigned(monkeypatch):
    """Files without Content Credentials, whether the package for them is here or not."""
    monkeypatch.setattr("stylemix.images.credentials.has_package", lambda: False)


def noise(count, size=(32, 24), mode="RGB"):
    random = np.random.RandomState(0)
    shape = size[::-1] if mode == "L" else (*size[::-1], len(mode))
    return [Image.fromarray(random.randint(0, 256, shape).astype(np.uint8)) for _ in range(count)]


def plain(colors, size=(32, 24)):
    return [Image.new("RGB", size, color) for color in colors]


def read_back(path):
    """Returns the frames of an animation and their durations in ms."""
    frames, times = [], []
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            frames.append(np.asarray(image.convert("RGB")).astype(int))
            times.append(image.info["duration"])
        return frames, times


@pytest.mark.parametrize("name", ANIMATIONS)
def test_frames_and_times_come_back(tmp_path, name):
    images = noise(4)
    save_video(tmp_path / name, iter(images), [3, 1, 1, 2], fps=25)
    frames, times = read_back(tmp_path / name)
    assert times == [120, 40, 40, 80]
    worst = {".webp": 60, ".gif": 40}.get((tmp_path / name).suffix, 0)  # noise is hard for both
    for frame, image in zip(frames, images, strict=True):
        assert np.abs(frame - np.asarray(image)).mean() <= worst
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ANIMATIONS)
def test_colors_come_back(tmp_path, name):
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    save_video(tmp_path / name, plain(colors), [1, 1, 1], fps=10)
    for frame, color in zip(read_back(tmp_path / name)[0], colors, strict=True):
        assert np.abs(frame - color).max() <= 6


@pytest.mark.parametrize(("name", "tick"), [("a.gif", 10), ("a.png", 1), ("a.webp", 1)])
def test_rounded_times_do_not_add_up_to_an_error(tmp_path, name, tick):
    save_video(tmp_path / name, noise(31), [1] * 31, fps=30)
    times = read_back(tmp_path / name)[1]
    assert abs(sum(times) - 31000 / 30) <= tick / 2
    assert set(times) == {30, 40} if tick == 10 else set(times) == {33, 34}


def repeats(path):
    """Returns the loop count: 0 is for ever; None, or 1 in some formats, is once."""
    with Image.open(path) as image:
        return image.info.get("loop")


@pytest.mark.parametrize(("name", "once"), [("a.gif", None), ("a.png", 1), ("a.webp", 1)])
def test_for_ever_or_once(tmp_path, name, once):
    save_video(tmp_path / name, noise(2), [1, 1], fps=10)
    assert repeats(tmp_path / name) == 0
    save_video(tmp_path / name, noise(2), [1, 1], fps=10, repeat=False)
    assert repeats(tmp_path / name) == once


@pytest.mark.parametrize("name", ANIMATIONS)
def test_metadata_mark_the_video_as_composite(tmp_path, name):
    images = noise(2)
    images[0].info = {"comment": b"secret", "exif": b"Exif\0\0secret", "icc_profile": b"secret"}
    save_video(tmp_path / name, images, [1, 1], fps=10)
    data = (tmp_path / name).read_bytes()
    assert data.count(COMPOSITE.encode()) == 1
    assert f"stylemix {stylemix.__version__}".encode() in data
    assert b"secret" not in data
    assert b"iccp" not in data.lower()
    if name == "a.png":
        with Image.open(tmp_path / name) as image:
            assert image.text["IPTC DigitalSourceType"].endswith(COMPOSITE)


def test_transparency_is_preserved_or_on_white(tmp_path):
    clear = [Image.new("RGBA", (16, 16), (200, 30, 30, alpha)) for alpha in (0, 255)]
    for name in ("a.png", "a.webp"):
        save_video(tmp_path / name, clear, [1, 1], fps=10)
        with Image.open(tmp_path / name) as image:
            assert image.convert("RGBA").getpixel((3, 3))[3] == 0
    save_video(tmp_path / "a.gif", clear, [1, 1], fps=10)
    frames, _ = read_back(tmp_path / "a.gif")
    assert np.abs(frames[0] - 255).max() <= 6
    assert np.abs(frames[1] - (200, 30, 30)).max() <= 6


@pytest.mark.parametrize("name", ANIMATIONS)
def test_grey_images(tmp_path, name):
    save_video(tmp_path / name, [Image.new("L", (16, 16), v) for v in (50, 200)], [1, 1], fps=10)
    frames, _ = read_back(tmp_path / name)
    assert [round(frame.mean() / 50) for frame in frames] == [1, 4]


def mp4(path):
    """The stream, the frames and the metadata of an MP4 file."""
    av = pytest.importorskip("av", reason="MP4 needs the extra video")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, list(container.decode(stream)), container.metadata


def test_mp4_frames_times_colors_and_mark(tmp_path):
    pytest.importorskip("av", reason="MP4 needs the extra video")
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    save_video(tmp_path / "a.mp4", iter(plain(colors)), [3, 1, 2], fps=10)
    stream, frames, metadata = mp4(tmp_path / "a.mp4")
    assert stream.codec_context.name == "h264"
    assert stream.codec_context.pix_fmt == "yuv420p"
    assert (stream.average_rate, len(frames)) == (10, 6)
    assert [round(frame.time, 3) for frame in frames] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    # BT.709 of the colours, in 16 to 235, and the file says so.
    luma = [16 + 219 / 255 * (0.2126 * r + 0.7152 * g + 0.0722 * b) for r, g, b in colors]
    got = [frame.to_ndarray()[:24].mean() for frame in frames]  # the rows of the luma
    assert got == pytest.approx([luma[i] for i in (0, 0, 0, 1, 2, 2)], abs=3)
    assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
    assert COMPOSITE in metadata["comment"]
    assert f"stylemix {stylemix.__version__}" in metadata["comment"]


def test_mp4_of_odd_sides_loses_a_row(tmp_path):
    pytest.importorskip("av", reason="MP4 needs the extra video")
    save_video(tmp_path / "a.mp4", noise(2, (33, 25)), [1, 1], fps=10)
    _, frames, _ = mp4(tmp_path / "a.mp4")
    assert [(frame.width, frame.height) for frame in frames] == [(32, 24)] * 2


def test_missing_package_av(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(StylemixError) as caught:
        check_video_path("a.mp4", 25)
    assert str(caught.value) == (
        "a.mp4: got .mp4 without the package av; expected av to be installed; "
        "pip install 'stylemix[video]', or use .webp"
    )
    save_video(tmp_path / "a.webp", noise(2), [1, 1], fps=25)


def test_wrong_names_and_rates_raise():
    with pytest.raises(StylemixError, match=r"a\.avi: got the extension '\.avi'; expected \.mp4"):
        check_video_path("a.avi", 25)
    with pytest.raises(StylemixError, match="a: got no extension; expected"):
        check_video_path("a", 25)
    with pytest.raises(StylemixError, match=r"got 60 frames a second; expected at most 50"):
        check_video_path("a.gif", 60)
    assert [check_video_path(name, 50) for name in ("a.GIF", "a.png", "a.webp")] == [
        "GIF", "PNG", "WEBP",
    ]  # fmt: skip


def test_excessive_memory_raises_at_the_first_image(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_MAX_MEMORY", 3 * 32 * 24 * 10)
    save_video(tmp_path / "a.webp", noise(10), [1] * 10, fps=10)
    used = []
    images = (used.append(1) or image for image in noise(11))
    with pytest.raises(StylemixError, match=r"got 11 frames of 32x24 px, .* for \.webp; expected"):
        save_video(tmp_path / "a.webp", images, [1] * 11, fps=10)
    assert len(used) == 1


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.mp4"])
def test_failing_write_leaves_the_existing_video(tmp_path, name):
    if name == "a.mp4":
        pytest.importorskip("av", reason="MP4 needs the extra video")
    (tmp_path / name).write_bytes(b"former")

    def failing():
        yield from noise(2)
        raise RuntimeError("the third")

    with pytest.raises(RuntimeError, match="the third"):
        save_video(tmp_path / name, failing(), [1] * 3, fps=10)
    assert (tmp_path / name).read_bytes() == b"former"
    assert [path.name for path in tmp_path.iterdir()] == [name]

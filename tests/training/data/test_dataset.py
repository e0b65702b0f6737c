"""Training images: their sources, cropping and order."""

import json
import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.training.data import base
from stylemix.training.data.dataset import ImageDataset, open_dataset
from stylemix.training.data.sampler import epoch_order, indices_at


def _png(picture):
    stream = BytesIO()
    picture.save(stream, "png")
    return stream.getvalue()


def _plain(value, size=(16, 16)):
    return Image.new("RGB", size, (value, 2 * value, 255 - value))


@pytest.fixture
def folder(tmp_path):
    """Ten plain images, three of them in a folder below, the n-th with n of red."""
    path = tmp_path / "pictures"
    (path / "more").mkdir(parents=True)
    for i in range(10):
        name = f"more/{i}.png" if i > 6 else f"{i}.png"
        _plain(i).save(path / name)
    return path


def _reds(data, indices=range(10)):
    return data.batch(list(indices))[0][:, 0, 0, 0].tolist()


def test_folder(folder):
    data = ImageDataset(folder, 8)
    images, labels = data.batch([3, 9, 3])
    assert (len(data), data.c_dim, labels, data.broken) == (10, 0, None, [])
    assert (images.dtype, images.shape) == (torch.uint8, (3, 3, 8, 8))
    assert images[0, :, 4, 4].tolist() == [3, 6, 252]
    assert torch.equal(images[0], images[2])
    assert _reds(data) == list(range(10))


def test_zip(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(4):
            archive.writestr(f"00000/img{i:08d}.png", _png(_plain(i)))
    data = ImageDataset(path, 8)
    assert len(data) == 4
    assert _reds(data, range(4)) == [0, 1, 2, 3]


def test_several_sources(folder, tmp_path):
    single = tmp_path / "one.png"
    _plain(77).save(single)
    data = ImageDataset([single, folder], 8)
    assert len(data) == 11
    assert _reds(data, [0, 1]) == [77, 0]


@pytest.mark.parametrize("size", [(40, 16), (16, 40), (16, 16)])
def test_the_middle_is_cut_out_and_resized(tmp_path, size):
    base = np.zeros([size[1], size[0], 3], np.uint8)
    top, left = (size[1] - 16) // 2, (size[0] - 16) // 2
    base[top : top + 16, left : left + 16] = 200
    base[top : top + 16, left : left + 8, 0] = 40
    Image.fromarray(base).save(tmp_path / "a.png")
    images, _ = ImageDataset(tmp_path / "a.png", 8).batch([0])
    assert images.shape == (1, 3, 8, 8)
    assert images[0, 1].float().mean().item() == pytest.approx(200, abs=1)
    assert images[0, 0, :, 1].tolist() == pytest.approx([40] * 8, abs=2)
    assert images[0, 0, :, 6].tolist() == pytest.approx([200] * 8, abs=2)


def test_small_images_are_upsampled(tmp_path):
    _plain(9).save(tmp_path / "a.png")
    images, _ = ImageDataset(tmp_path / "a.png", 32).batch([0])
    assert images.shape == (1, 3, 32, 32)
    assert images[:, 0].eq(9).all()


def test_mirror(tmp_path):
    base = np.random.RandomState(0).randint(0, 256, [16, 16, 3], dtype=np.uint8)
    Image.fromarray(base).save(tmp_path / "a.png")
    _plain(5).save(tmp_path / "b.png")
    data = ImageDataset(tmp_path, 16, mirror=True)
    images, _ = data.batch(range(4))
    assert len(data) == 4
    assert torch.equal(images[0], torch.from_numpy(base).permute(2, 0, 1))
    assert torch.equal(images[2], images[0].flip(2))
    assert _reds(data, range(4))[1::2] == [5, 5]


def test_broken_files_are_named_and_left_out(folder, capsys):
    (folder / "3.png").write_text("not an image")
    whole = (folder / "5.png").read_bytes()
    (folder / "5.png").write_bytes(whole[: len(whole) // 2])
    data = ImageDataset(folder, 8)
    assert _reds(data) == [0, 1, 2, 4, 4, 6, 6, 7, 8, 9]  # the next one replaces it
    assert len(data.broken) == 2
    assert "3.png" in data.broken[0]
    assert "5.png" in data.broken[1]
    assert capsys.readouterr().err.count("Left out: ") == 2
    assert _reds(data) == [0, 1, 2, 4, 4, 6, 6, 7, 8, 9]
    assert len(data.broken) == 2


def test_a_broken_file_is_named_once_though_memory_is_full(folder, monkeypatch, capsys):
    monkeypatch.setattr(base, "CACHE_BYTES", 3 * 8 * 8 * 2)  # two images
    (folder / "3.png").write_text("not an image")
    data = ImageDataset(folder, 8)
    for _ in range(15):
        assert _reds(data) == [0, 1, 2, 4, 4, 5, 6, 7, 8, 9]
    assert len(data.broken) == 1
    assert capsys.readouterr().err.count("Left out") == 1


def test_too_many_broken_files_stop_the_work(tmp_path):
    for i in range(40):
        (tmp_path / f"{i:02d}.png").write_text("not an image")
    _plain(1).save(tmp_path / "99.png")
    with pytest.raises(StylemixError, match="got 11 unreadable images of 41") as caught:
        ImageDataset(tmp_path, 8).batch([0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_but_broken_files(tmp_path, count):
    for i in range(count):
        (tmp_path / f"{i}.png").write_text("not an image")
    data = ImageDataset(tmp_path, 8)
    for _ in range(2):
        with pytest.raises(StylemixError, match=f"got {count} unreadable images of {count}"):
            data.batch([0])


def test_reading_twice_uses_the_memory(folder):
    data = ImageDataset(folder, 8)
    before = data.batch(range(10))[0]
    for path in folder.rglob("*.png"):
        path.unlink()
    assert torch.equal(data.batch(range(10))[0], before)


SIZES = {"wide": (12, 40), "high": (24, 16), "square": (16, 16)}  # height, width


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("shape", [(48, 160), (40, 160), (64, 100)])
def test_the_middle_is_cut_to_the_proportions(tmp_path, size, shape):
    """The part that stays is marked: a green field with a red left half, on blue."""
    height, width = size
    across = min(shape[1], round(shape[0] * width / height))
    down = min(shape[0], round(shape[1] * height / width))
    top, left = (shape[0] - down) // 2, (shape[1] - across) // 2
    picture = np.zeros([*shape, 3], np.uint8)
    picture[:, :] = (0, 0, 255)
    picture[top : top + down, left : left + across] = (0, 200, 0)
    picture[top : top + down, left : left + across // 2] = (180, 200, 0)
    Image.fromarray(picture).save(tmp_path / "a.png")
    data = ImageDataset(tmp_path / "a.png", size)
    images, _ = data.batch([0])
    assert images.shape == (1, 3, height, width)
    assert (data.height, data.width, data.channels) == (height, width, 3)
    red, green, blue = images[0].float()
    assert green.sub(200).abs().max() <= 2
    assert blue.max() <= 2
    assert red[:, : width // 2 - 3].sub(180).abs().max() <= 8  # Lanczos rings a little
    assert red[:, width // 2 + 3 :].max() <= 8


def test_images_of_the_right_size_are_unchanged(tmp_path):
    noise = np.random.RandomState(3).randint(0, 256, [24, 40, 3], dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    images, _ = ImageDataset(tmp_path, (24, 40)).batch([0])
    assert images[0].permute(1, 2, 0).numpy().tolist() == noise.tolist()


RGBA = (200, 100, 50, 102)  # 40 % opaque
ON_WHITE = [233, 193, 173]  # 255 + (colour - 255) * 0.4
LUMA = {"RGBA": 203, "RGB": 124}  # 0.299 R + 0.587 G + 0.114 B: of the above, and of (200, 100, 50)


def _of_mode(mode):
    if mode == "grey16":
        return Image.fromarray(np.full([16, 16], 0x8000, np.uint16))  # 32768 / 257 = 127.5
    if mode == "palette":
        return Image.new("RGB", (16, 16), RGBA[:3]).quantize(4)
    return Image.new(mode, (16, 16), {"L": 77, "RGB": RGBA[:3], "RGBA": RGBA}[mode])


@pytest.mark.parametrize(
    ("mode", "channels", "expected"),
    [
        ("L", 1, [77]),
        ("L", 3, [77, 77, 77]),
        ("L", 4, [77, 77, 77, 255]),
        ("grey16", 1, [128]),
        ("grey16", 3, [128, 128, 128]),
        ("RGB", 1, [LUMA["RGB"]]),
        ("RGB", 3, [200, 100, 50]),
        ("RGB", 4, [200, 100, 50, 255]),
        ("palette", 4, [200, 100, 50, 255]),
        ("RGBA", 1, [LUMA["RGBA"]]),
        ("RGBA", 3, ON_WHITE),
        ("RGBA", 4, list(RGBA)),
    ],
)
def test_channels(tmp_path, mode, channels, expected):
    _of_mode(mode).save(tmp_path / "a.png")
    images, _ = ImageDataset(tmp_path, 16, channels=channels).batch([0])
    assert images.shape == (1, channels, 16, 16)
    assert images[0, :, 7, 7].tolist() == expected
    assert images[0, :, 0, 0].tolist() == expected


def test_clear_pixels_do_not_color_their_neighbours(tmp_path):
    base = np.zeros([32, 32, 4], np.uint8)
    base[:, :16] = (250, 0, 0, 255)
    base[:, 16:] = (0, 250, 0, 0)  # green, but not to be seen
    Image.fromarray(base).save(tmp_path / "a.png")
    images, _ = ImageDataset(tmp_path, 16, channels=4).batch([0])
    seen = images[0, 3] > 0
    assert images[0, 1][seen].max() == 0
    assert images[0, 3, 0, :6].min() >= 253


def test_other_numbers_of_channels(folder):
    with pytest.raises(StylemixError, match="got 2 channels; expected 1, 3 or 4"):
        ImageDataset(folder, 8, channels=2)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_formats(tmp_path, kind):
    Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / f"a.{kind}")
    images, _ = ImageDataset(tmp_path, 8).batch([0])
    assert images[0, :, 4, 4].tolist() == pytest.approx([200, 100, 50], abs=4)


def test_photos_are_rotated_upright(tmp_path):
    picture = Image.new("RGB", (32, 16), (0, 0, 0))
    picture.paste((255, 255, 255), (0, 0, 16, 16))  # the left half, and the top once upright
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    images, _ = ImageDataset(tmp_path, (32, 16)).batch([0])
    assert images[0, :, 4, 8].min() > 240
    assert images[0, :, 28, 8].max() < 15


def test_open_dataset_passes_everything_on(folder):
    pairs = [[f"more/{i}.png" if i > 6 else f"{i}.png", i] for i in range(10)]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    data = open_dataset([folder], (8, 16), channels=1, mirror=True, use_labels=True)
    images, labels = data.batch([0, 10])
    assert (len(data), images.shape, labels.shape) == (20, (2, 1, 8, 16), (2, 10))


def test_nothing_there(tmp_path):
    with pytest.raises(StylemixError, match="got no such file or folder"):
        ImageDataset(tmp_path / "nosuch", 8)


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (7, 7), (3, 8), (1, 4)])
def test_each_epoch_shows_every_image_once(count, batch):
    walk = [
        i
        for start in range(0, 6 * count * batch, batch)
        for i in indices_at(start, batch, count, 5)
    ]
    epochs = [walk[k : k + count] for k in range(0, len(walk), count)]
    assert len(epochs) == 6 * batch
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count > 5:
        assert len({tuple(epoch) for epoch in epochs}) > 4


def test_the_walk_is_reproducible():
    assert indices_at(13, 9, 10, 3) == indices_at(13, 9, 10, 3)
    assert indices_at(13, 9, 10, 3) != indices_at(13, 9, 10, 4)
    whole = indices_at(0, 40, 10, 3)
    parts = [i for start in (0, 8, 16, 24, 32) for i in indices_at(start, 8, 10, 3)]
    assert whole == parts
    assert whole[10:20] == epoch_order(10, 3, 1).tolist()


def test_an_epoch_is_shuffled_once(monkeypatch):
    """Indices of a step must not require a shuffle of all images."""
    calls = []
    real = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: calls.append(seed) or real(seed))
    for step in range(50):
        indices_at(4 * step, 4, 100, 987)
    assert calls == [[987, 0], [987, 1]]


def test_the_order_of_a_data_set_is_that_of_all_its_images(folder):
    data = ImageDataset(folder, 8, mirror=True)
    assert data.indices_at(33, 9, 4) == indices_at(33, 9, 20, 4)

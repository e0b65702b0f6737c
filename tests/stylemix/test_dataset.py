"""Training images: where they come from, how they are cropped, in what order they are shown."""

import json
import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from stylemix import dataset
from stylemix.dataset import ImageDataset, epoch_order, indices_at
from stylemix.errors import StylemixError


def _png(picture):
    stream = BytesIO()
    picture.save(stream, "png")
    return stream.getvalue()


def _plain(value, size=(16, 16)):
    return Image.new("RGB", size, (value, 2 * value, 255 - value))


@pytest.fixture
def folder(tmp_path):
    """Ten plain pictures, three of them in a folder below, the n-th with n of red."""
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
    pixels = np.zeros([size[1], size[0], 3], np.uint8)
    top, left = (size[1] - 16) // 2, (size[0] - 16) // 2
    pixels[top : top + 16, left : left + 16] = 200
    pixels[top : top + 16, left : left + 8, 0] = 40
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images, _ = ImageDataset(tmp_path / "a.png", 8).batch([0])
    assert images.shape == (1, 3, 8, 8)
    assert images[0, 1].float().mean().item() == pytest.approx(200, abs=1)
    assert images[0, 0, :, 1].tolist() == pytest.approx([40] * 8, abs=2)
    assert images[0, 0, :, 6].tolist() == pytest.approx([200] * 8, abs=2)


def test_small_pictures_are_enlarged(tmp_path):
    _plain(9).save(tmp_path / "a.png")
    images, _ = ImageDataset(tmp_path / "a.png", 32).batch([0])
    assert images.shape == (1, 3, 32, 32)
    assert images[:, 0].eq(9).all()


def test_mirror(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, [16, 16, 3], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    _plain(5).save(tmp_path / "b.png")
    data = ImageDataset(tmp_path, 16, mirror=True)
    images, _ = data.batch(range(4))
    assert len(data) == 4
    assert torch.equal(images[0], torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(images[2], images[0].flip(2))
    assert _reds(data, range(4))[1::2] == [5, 5]


def test_broken_files_are_named_and_left_out(folder, capsys):
    (folder / "3.png").write_text("not a picture")
    whole = (folder / "5.png").read_bytes()
    (folder / "5.png").write_bytes(whole[: len(whole) // 2])
    data = ImageDataset(folder, 8)
    assert _reds(data) == [0, 1, 2, 4, 4, 6, 6, 7, 8, 9]  # the next one stands in
    assert len(data.broken) == 2
    assert "3.png" in data.broken[0]
    assert "5.png" in data.broken[1]
    assert capsys.readouterr().err.count("Left out: ") == 2
    assert _reds(data) == [0, 1, 2, 4, 4, 6, 6, 7, 8, 9]
    assert len(data.broken) == 2


def test_a_broken_file_is_named_once_though_memory_is_full(folder, monkeypatch, capsys):
    monkeypatch.setattr(dataset, "CACHE_BYTES", 3 * 8 * 8 * 2)  # two pictures
    (folder / "3.png").write_text("not a picture")
    data = ImageDataset(folder, 8)
    for _ in range(15):
        assert _reds(data) == [0, 1, 2, 4, 4, 5, 6, 7, 8, 9]
    assert len(data.broken) == 1
    assert capsys.readouterr().err.count("Left out") == 1


def test_too_many_broken_files_stop_the_work(tmp_path):
    for i in range(40):
        (tmp_path / f"{i:02d}.png").write_text("not a picture")
    _plain(1).save(tmp_path / "99.png")
    with pytest.raises(StylemixError, match="got 11 unreadable images of 41") as caught:
        ImageDataset(tmp_path, 8).batch([0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_but_broken_files(tmp_path, count):
    for i in range(count):
        (tmp_path / f"{i}.png").write_text("not a picture")
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


def _labelled(folder, labels):
    names = [f"more/{i}.png" if i > 6 else f"{i}.png" for i in range(10)]
    pairs = [list(pair) for pair in zip(names, labels, strict=False)]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))


def test_class_labels(folder):
    _labelled(folder, [i % 3 for i in range(10)])
    data = ImageDataset(folder, 8, mirror=True, use_labels=True)
    _, labels = data.batch([0, 4, 18])
    assert data.c_dim == 3
    assert labels.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert ImageDataset(folder, 8).c_dim == 0


def test_label_vectors(folder):
    _labelled(folder, [[i, 0.5] for i in range(10)])
    data = ImageDataset(folder, 8, use_labels=True)
    assert data.c_dim == 2
    assert data.batch([7])[1].tolist() == [[7, 0.5]]
    assert data.batch([7])[1].dtype == torch.float32


def test_labels_of_a_zip(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(3):
            archive.writestr(f"00000/img{i:08d}.png", _png(_plain(i)))
        pairs = [[f"00000/img{i:08d}.png", 2 - i] for i in range(3)]
        archive.writestr("dataset.json", json.dumps({"labels": pairs}))
    data = ImageDataset(path, 8, use_labels=True)
    assert data.batch([0, 2])[1].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_stand_in_brings_its_own_label(folder):
    _labelled(folder, range(10))
    (folder / "3.png").write_text("not a picture")
    images, labels = ImageDataset(folder, 8, use_labels=True).batch([3])
    assert images[0, 0, 0, 0] == labels.argmax() == 4


@pytest.mark.parametrize(
    "labels",
    [
        None,
        "{",
        '{"labels": null}',
        '{"labels": [["0.png", 1]]}',
        [-1] * 10,
        ["smile"] * 10,
        [0, [1, 2]] * 5,
    ],
)
def test_wrong_labels(folder, labels):
    if isinstance(labels, list):
        _labelled(folder, labels)
    elif labels is not None:
        (folder / "dataset.json").write_text(labels)
    with pytest.raises(StylemixError, match=r"expected a dataset\.json with one per image"):
        ImageDataset(folder, 8, use_labels=True)


def test_labels_need_one_source(folder):
    with pytest.raises(StylemixError, match="got 2 data sources; expected one"):
        ImageDataset([folder, folder], 8, use_labels=True)
    with pytest.raises(StylemixError, match="got no labels for"):
        ImageDataset(folder / "1.png", 8, use_labels=True)


def test_fingerprint(folder):
    first = ImageDataset(folder, 8).fingerprint()
    assert len(first) == 16
    assert first == ImageDataset(folder, 8, mirror=True).fingerprint()
    assert first != ImageDataset(folder, 16).fingerprint()
    _labelled(folder, [i % 3 for i in range(10)])
    labelled = ImageDataset(folder, 8, use_labels=True).fingerprint()
    _labelled(folder, [i % 2 for i in range(10)])
    others = [first, labelled, ImageDataset(folder, 8, use_labels=True).fingerprint()]
    (folder / "0.png").rename(folder / "00.png")
    others.append(ImageDataset(folder, 8).fingerprint())
    assert len(set(others)) == 4


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

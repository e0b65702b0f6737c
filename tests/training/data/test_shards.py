"""WebDataset shards: every sample once an epoch, in an order that can be resumed anywhere."""

import io
import itertools
import json
import sys
import tarfile

import pytest
import torch
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.training.data import shard_store
from stylemix.training.data.dataset import ImageDataset, open_dataset
from stylemix.training.data.loader import Loader
from stylemix.training.data.shards import SPAN, ShardDataset
from tests.support.toy_shards import open_shards, png, reds, write_shards, write_tar

pytest.importorskip("webdataset", reason="needs the extra shards")
SEED = 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("form", ["folder", "braces", "files"])
def test_pictures_and_labels(tmp_path, form):
    folder = write_shards(tmp_path / "s", [4, 1, 3])
    paths = {
        "folder": [folder],
        "braces": [folder / "data-{000..002}.tar"],
        "files": sorted(folder.iterdir()),
    }
    data = open_shards(*paths[form], use_labels=True)
    assert isinstance(data, ShardDataset)
    images, labels = data.batch(range(8))
    assert (images.dtype, images.shape) == (torch.uint8, (8, 3, 8, 8))
    assert images[:, 0, 4, 4].tolist() == list(range(8))
    assert labels.argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert (len(data), data.c_dim) == (8, 3)
    assert data.name(5) == f"{folder}/data-002.tar/0005.png"


def test_size_channels_and_mirror(tmp_path):
    folder = write_shards(tmp_path / "s", [3])
    data = open_dataset([folder], (8, 24), channels=1, mirror=True)
    assert len(data) == 6
    assert data.batch([0, 5])[0].shape == (2, 1, 8, 24)
    picture = Image.new("RGB", (16, 16))
    picture.paste((255, 255, 255), (0, 0, 8, 16))
    stream = io.BytesIO()
    picture.save(stream, "png")
    write_tar(folder / "data-000.tar", [("a.png", stream.getvalue())])
    images, _ = open_dataset([folder], 16, mirror=True).batch([0, 1])
    assert images[0, 0, 0].tolist() == [255] * 8 + [0] * 8
    assert torch.equal(images[1], images[0].flip(2))


def test_labels_from_json(tmp_path):
    members = []
    for name, label in (("a", [0.5, 1]), ("b", [2, -3])):
        members += [(f"{name}.jpg.png", png(1)), (f"{name}.png", png(2))]
        members += [(f"{name}.json", json.dumps({"label": label, "more": 1}).encode())]
    write_tar(tmp_path / "a.tar", members)
    data = open_shards(tmp_path / "a.tar", use_labels=True)
    images, labels = data.batch([0, 1])
    assert labels.tolist() == [[0.5, 1], [2, -3]]
    assert images[:, 0, 0, 0].tolist() == [2, 2]  # a.png rather than a.jpg.png


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("cls", b"cat", "0001.png: got the class 'cat'"),
        ("cls", b"-1", "0001.png: got the class -1"),
        ("txt", b"1", "got no label for 1 of 2 images, the first is .*a.tar/0001.png"),
        ("json", b"{", "got no label for 1 of 2 images"),
        ("json", b'{"label": [1]}', r"0001.png: got the label \[1\]"),
    ],
)
def test_wrong_labels(tmp_path, ending, content, message):
    members = [("0000.png", png(0)), ("0000.cls", b"1\n")]
    write_tar(tmp_path / "a.tar", [*members, ("0001.png", png(0)), (f"0001.{ending}", content)])
    with pytest.raises(StylemixError, match=message):
        open_shards(tmp_path / "a.tar", use_labels=True)
    assert len(open_shards(tmp_path / "a.tar")) == 2


@pytest.mark.parametrize("counts", [[5], [4, 1, 3], [2] * 30])
@pytest.mark.parametrize("mirror", [False, True])
def test_an_epoch_has_every_sample_once(tmp_path, counts, mirror):
    data = open_shards(write_shards(tmp_path / "s", counts), mirror=mirror)
    epochs = [data.indices_at(k * len(data), len(data), SEED) for k in range(3)]
    assert all(sorted(epoch) == list(range(len(data))) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert data.indices_at(0, len(data), SEED + 1) != epochs[0]
    whole = [*epochs[0], *epochs[1], *epochs[2]]
    for position, batch in ((0, 1), (3, 7), (len(data) - 1, 4), (len(data), 2)):
        assert data.indices_at(position, batch, SEED) == whole[position : position + batch]


def test_few_shards_are_in_use_at_a_time(tmp_path):
    """Only these are needed at a time, and their images are mixed."""
    data = open_shards(write_shards(tmp_path / "s", [6] * 40))
    order = data.indices_at(0, 240, SEED)
    shards = [index // 6 for index in order]
    spans = [len(set(shards[i : i + 24])) for i in range(216)]
    assert max(spans) <= SPAN + 5  # 24 samples are the length of four shards
    assert min(spans) >= SPAN - 2  # the beginning and the end are no exceptions


def test_resumed_anywhere_the_stream_is_the_same(tmp_path):
    data = open_shards(write_shards(tmp_path / "s", [4, 1, 3, 7]), use_labels=True)
    stream = Loader(data, SEED, 4).read(0)
    whole = list(itertools.islice(stream, 10))
    stream.close()
    again = open_shards(tmp_path / "s", use_labels=True)
    for start, stop in ((0, 4), (0, 2), (2, 4)):
        stream = Loader(again, SEED, 4, start, stop, workers=2).read(12)
        for images, labels in whole[3:]:
            found, theirs = next(stream)
            assert torch.equal(found, images[start:stop])
            assert torch.equal(theirs, labels[start:stop])
        stream.close()


def test_a_cut_shard_is_left_out_and_named(tmp_path, capsys):
    folder = write_shards(tmp_path / "s", [4, 4, 4])
    shard = folder / "data-001.tar"
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        second = tar.getmembers()[3]  # the first one of the second sample
    for size in (len(whole) // 2, second.offset, second.offset + 512, second.offset_data + 1, 300):
        shard.write_bytes(whole[:size])
        data = open_shards(folder)
        assert reds(data, range(8)) == [0, 1, 2, 3, 8, 9, 10, 11]
        assert len(data.broken) == 1
        assert f"{shard}: got a damaged shard (" in data.broken[0]
        assert capsys.readouterr().err.count("Left out: ") == 1
    shard.write_bytes(whole)
    assert len(open_shards(folder)) == 12


def test_a_damaged_header_ends_no_shard_unnoticed(tmp_path):
    """tarfile takes a wrong header in the middle for the end of the file."""
    folder = write_shards(tmp_path / "s", [4, 1])
    shard = folder / "data-000.tar"
    data = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        data[tar.getmembers()[6].offset + 3] ^= 1
    shard.write_bytes(data)
    assert len(open_shards(folder)) == 1


def test_a_broken_picture_moves_no_other(tmp_path, capsys):
    members = [(f"{i}.png", png(i) if i != 2 else b"no image") for i in range(5)]
    write_tar(tmp_path / "a.tar", members)
    data = open_shards(tmp_path / "a.tar")
    assert reds(data, range(5)) == [0, 1, 3, 3, 4]
    assert "a.tar/2.png: got text" in data.broken[0]


def test_nothing_to_train_on(tmp_path):
    write_tar(tmp_path / "a.tar", [("a.txt", b"text")])
    with pytest.raises(StylemixError, match="got 1 shards and no image"):
        open_shards(tmp_path / "a.tar")
    with pytest.raises(StylemixError, match=r"b.tar: got no such file; expected a shard"):
        open_shards(tmp_path / "b.tar")


def test_shards_and_pictures_do_not_mix(tmp_path):
    folder = write_shards(tmp_path / "s", [1])
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(png(1))
    with pytest.raises(StylemixError, match=r"got shards \(.*\) and images \(.*\); expected one"):
        open_shards(folder, tmp_path / "p")
    (folder / "a.png").write_bytes(png(1))  # a folder of images in which a tar lies about
    assert isinstance(open_shards(folder), ImageDataset)


def test_fingerprint(tmp_path):
    folder = write_shards(tmp_path / "s", [4, 3])
    prints = [open_shards(folder).fingerprint(), open_shards(folder, use_labels=True).fingerprint()]
    folder.rename(tmp_path / "t")
    assert open_shards(tmp_path / "t").fingerprint() == prints[0]
    prints.append(open_shards(tmp_path / "t", mirror=True).fingerprint())
    prints.append(
        open_shards(write_shards(tmp_path / "u", [3, 4])).fingerprint()
    )  # in another order
    shard = tmp_path / "t" / "data-001.tar"
    data = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        data[tar.getmember("0005.png").offset_data + 30] ^= 1
    shard.write_bytes(data)
    prints.append(open_shards(tmp_path / "t").fingerprint())
    assert len(set(prints)) == 5


def test_shards_are_counted_once(tmp_path, monkeypatch):
    folder = write_shards(tmp_path / "s", [4, 3])
    first = open_shards(folder, use_labels=True)
    scanned = []
    real = shard_store.scan
    monkeypatch.setattr(shard_store, "scan", lambda *args: scanned.append(args[1]) or real(*args))
    again = open_shards(folder, use_labels=True)
    assert scanned == []
    assert again.fingerprint() == first.fingerprint()
    assert reds(again, range(7)) == list(range(7))
    write_tar(folder / "data-001.tar", [("x.png", png(99)), ("x.cls", b"1")])
    assert reds(open_shards(folder), range(5)) == [0, 1, 2, 3, 99]
    assert scanned == [str(folder / "data-001.tar")]


def test_an_index_holds_from_every_working_folder(tmp_path, monkeypatch):
    write_shards(tmp_path / "s", [2])
    monkeypatch.chdir(tmp_path)
    assert len(open_shards("s")) == 2
    monkeypatch.chdir(tmp_path / "s")
    data = open_shards("data-000.tar")
    assert (reds(data, [0, 1]), data.name(0)) == ([0, 1], "data-000.tar/0000.png")


def test_a_shard_that_changed_meanwhile_is_noticed(tmp_path):
    folder = write_shards(tmp_path / "s", [4, 3])
    data = open_shards(folder)
    (folder / "data-001.tar").write_bytes(bytes(20000))
    assert reds(data, [0, 4]) == [0, 0]  # replaced by the first image of the next shard
    assert "0004.png: got other bytes than when the shard was counted" in data.broken[0]


def test_without_the_library_the_error_names_the_package(tmp_path, monkeypatch):
    folder = write_shards(tmp_path / "s", [1])
    monkeypatch.setitem(sys.modules, "webdataset.shardlists", None)
    with pytest.raises(StylemixError, match=r"pip install 'stylemix\[shards\]'"):
        open_shards(folder)

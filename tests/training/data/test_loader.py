"""Batches prefetched by threads: the same as read directly, from any position, for any ranks."""

import itertools
import json
import threading
import time

import pytest
import torch
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.training.data import loader
from stylemix.training.data.dataset import ImageDataset
from stylemix.training.data.loader import Loader

COUNT, BATCH, SEED = 21, 8, 5


@pytest.fixture
def folder(tmp_path):
    """Images of one colour, the n-th with n of red and the label n."""
    for i in range(COUNT):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(tmp_path / f"{i:02d}.png")
    pairs = [[f"{i:02d}.png", i] for i in range(COUNT)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": pairs}))
    return tmp_path


def _dataset(folder):
    return ImageDataset(folder, 8, use_labels=True)


def _take(loader, position, batches):
    stream = loader.read(position)
    try:
        return list(itertools.islice(stream, batches))
    finally:
        stream.close()


def _direct(data, position, batches):
    starts = range(position, position + batches * BATCH, BATCH)
    return [data.batch(data.indices_at(start, BATCH, SEED)) for start in starts]


def _equal(one, other):
    assert len(one) == len(other)
    return all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 3, 11])
def test_threads_change_nothing(folder, workers):
    result = _take(Loader(_dataset(folder), SEED, BATCH, workers=workers), 0, 7)
    assert result[0][0].shape == (BATCH, 3, 8, 8)
    assert result[0][0].dtype == torch.uint8
    assert _equal(result, _direct(_dataset(folder), 0, 7))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_all_ranks_together_read_the_whole_batch(folder, world):
    share = BATCH // world
    loaders = [
        Loader(_dataset(folder), SEED, BATCH, rank * share, (rank + 1) * share)
        for rank in range(world)
    ]
    parts = [_take(each, 3, 5) for each in loaders]
    assert {len(images) for part in parts for images, _ in part} == {share}
    whole = [
        (torch.cat([images for images, _ in step]), torch.cat([labels for _, labels in step]))
        for step in zip(*parts, strict=True)
    ]
    assert _equal(whole, _direct(_dataset(folder), 3, 5))


def test_from_any_position_on_it_is_the_rest_of_the_stream(folder):
    whole = _take(Loader(_dataset(folder), SEED, BATCH), 0, 9)
    for done in (1, 4):
        rest = _take(Loader(_dataset(folder), SEED, BATCH), done * BATCH, 9 - done)
        assert _equal(rest, whole[done:])


def test_one_loader_can_begin_again(folder):
    """As after a rollback: the old stream is dropped in the middle."""
    each = Loader(_dataset(folder), SEED, BATCH)
    stream = each.read(0)
    first = [next(stream) for _ in range(3)]
    stream = each.read(BATCH)
    assert _equal([next(stream), next(stream)], first[1:])


def test_labels_may_be_missing(folder):
    images, labels = _take(Loader(ImageDataset(folder, 8), SEED, BATCH), 0, 1)[0]
    assert (len(images), labels) == (BATCH, None)


def test_a_broken_picture_moves_no_other(folder):
    before = _take(Loader(_dataset(folder), SEED, BATCH), 0, 6)
    data = (folder / "07.png").read_bytes()
    (folder / "07.png").write_bytes(data[: len(data) // 2])
    dataset = _dataset(folder)
    after = _take(Loader(dataset, SEED, BATCH), 0, 6)
    assert len(dataset.broken) == 1
    for (images, labels), (others, their_labels) in zip(before, after, strict=True):
        reds = images[:, 0, 0, 0].tolist()
        assert others[:, 0, 0, 0].tolist() == [8 if red == 7 else red for red in reds]
        kept = [i for i, red in enumerate(reds) if red != 7]
        assert torch.equal(labels[kept], their_labels[kept])
        assert their_labels.argmax(1).tolist() == others[:, 0, 0, 0].tolist()


class _Trouble(ImageDataset):
    """Raises at one image."""

    def _open(self, index, min_side):
        if index == self.bad:
            raise self.trouble
        return super()._open(index, min_side)


@pytest.mark.parametrize("trouble", [RuntimeError("at 9"), MemoryError(), KeyboardInterrupt()])
def test_errors_in_a_thread_are_raised_at_their_batch(folder, trouble):
    data = _Trouble(folder, 8)
    data.trouble = trouble
    step = 2
    data.bad = data.indices_at(step * BATCH, BATCH, SEED)[0]
    stream = Loader(data, SEED, BATCH).read(0)
    assert len(list(itertools.islice(stream, step))) == step
    with pytest.raises(type(trouble)) as caught:
        next(stream)
    assert caught.value is trouble
    assert _readers() == []


def test_too_many_broken_pictures_end_the_stream(folder):
    for i in range(12):
        (folder / f"{i:02d}.png").write_text("no image")
    with pytest.raises(StylemixError, match=r"got 1[1-9] unreadable images of 21"):
        _take(Loader(_dataset(folder), SEED, BATCH), 0, 9)


def _readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("stylemix-read")]


def test_threads_end_with_the_stream(folder):
    stream = Loader(_dataset(folder), SEED, BATCH, workers=3).read(0)
    assert _readers() == []
    next(stream)
    assert len(_readers()) == 3
    assert all(thread.daemon for thread in _readers())
    stream.close()
    assert _readers() == []
    stream = Loader(_dataset(folder), SEED, BATCH).read(0)
    next(stream)
    del stream
    assert _readers() == []


class _Slow(ImageDataset):
    """Counts how many images were opened, and waits at one until it is let go."""

    def _open(self, index, min_side):
        self.opened.append(index)
        if index == self.slow:
            self.gate.wait(20)
        return super()._open(index, min_side)


def _slow(folder, index):
    data = _Slow(folder, 8)
    data.opened, data.slow, data.gate = [], index, threading.Event()
    return data


def _wait_for(what):
    end = time.monotonic() + 30
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    assert what()


def test_reading_ahead_is_bounded(folder):
    data = _slow(folder, None)
    stream = Loader(data, SEED, 2, workers=2).read(0)
    next(stream)
    _wait_for(lambda: len(data.opened) >= 2 * loader.AHEAD)
    time.sleep(0.1)
    assert len(data.opened) == 2 * loader.AHEAD
    stream.close()


def test_a_stall_names_the_picture(folder, monkeypatch):
    monkeypatch.setattr(loader, "STALL_SECONDS", 0.02)
    index = _dataset(folder).indices_at(0, BATCH, SEED)[2]
    data = _slow(folder, index)
    messages = []

    def show(line):
        messages.append(line)
        if line.endswith(f"seconds, reading {folder}/{index:02d}.png"):
            data.gate.set()

    monkeypatch.setattr(loader, "problem", show)
    assert len(_take(Loader(data, SEED, BATCH, workers=1), 0, 1)) == 1
    assert data.gate.is_set()
    assert messages[0].startswith("Waiting for images for 0.02 seconds, reading ")


def test_a_thread_that_hangs_does_not_hold_up_the_end(folder, monkeypatch):
    monkeypatch.setattr(loader, "STOP_SECONDS", 0.05)
    data = _slow(folder, _dataset(folder).indices_at(BATCH, BATCH, SEED)[0])
    stream = Loader(data, SEED, BATCH, workers=4).read(0)
    next(stream)
    _wait_for(lambda: data.slow in data.opened)
    stream.close()
    assert len(_readers()) >= 1  # the hanging thread was abandoned
    data.gate.set()
    _wait_for(lambda: not _readers())

"""Remote shards: when and how many are downloaded, which are stored, and errors."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stylemix.errors import StylemixError
from stylemix.training.data import shard_store
from stylemix.training.data.shard_store import ShardStore
from stylemix.training.data.shards import SPAN
from tests.support.toy_shards import open_shards, png, reds, write_shards, write_tar

pytest.importorskip("webdataset", reason="needs the extra shards")
SEED = 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _pipes(folder, counts):
    """Commands that print the shards, and append a line to a file at each run."""
    write_shards(folder, counts)
    log, cat = folder / "log", f"cat {folder}/data"
    return log, [f"pipe:echo {k} >> {log}; {cat}-{k:03d}.tar" for k in range(len(counts))]


def test_pipes(tmp_path, cache):
    log, pipes = _pipes(tmp_path / "s", [4, 1, 3])
    data = open_shards(*pipes, use_labels=True)
    images, labels = data.batch(range(8))
    assert images[:, 0, 4, 4].tolist() == list(range(8))
    assert labels.argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert sorted(log.read_text().split()) == ["0", "1", "2"]
    assert open_shards(*pipes).fingerprint() == open_shards(tmp_path / "s").fingerprint()
    assert sorted(log.read_text().split()) == ["0", "1", "2"]


def test_only_some_downloaded_shards_are_stored(tmp_path, cache):
    _, pipes = _pipes(tmp_path / "s", [3] * 30)
    data = open_shards(*pipes)
    (folder,) = (cache / "shards").iterdir()
    if os.name == "posix":  # they are images
        assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.glob("*.tar"))) == 3 * SPAN
    for name, age in ((".dead.tmp.tar", 9999), (".new.tmp.tar", 60)):  # of other processes
        (folder / name).write_text("")
        os.utime(folder / name, (time.time() - age,) * 2)
    order = data.indices_at(0, 90, SEED)
    assert reds(data, order) == order
    end = time.monotonic() + 20  # one that is fetched ahead is there before room is made for it
    while len(list(folder.glob("[!.]*.tar"))) > 3 * SPAN and time.monotonic() < end:
        time.sleep(0.02)
    assert len(list(folder.glob("[!.]*.tar"))) <= 3 * SPAN
    assert (folder / ".new.tmp.tar").exists()
    assert not (folder / ".dead.tmp.tar").exists()


def test_room_is_made_beside_a_file_that_vanishes(tmp_path, cache):
    """Another process removes a shard while its date is read: the others still make room."""
    _, pipes = _pipes(tmp_path / "s", [3] * 30)
    data = open_shards(*pipes)
    (folder,) = (cache / "shards").iterdir()
    (folder / "vanished.tar").symlink_to(folder / "nowhere")
    order = data.indices_at(0, 90, SEED)
    assert reds(data, order) == order
    end = time.monotonic() + 20
    while len(list(folder.glob("*.tar"))) > 3 * SPAN + 1 and time.monotonic() < end:
        time.sleep(0.02)
    assert len(list(folder.glob("*.tar"))) <= 3 * SPAN + 1


def test_the_next_shards_are_fetched_ahead(tmp_path, cache):
    log, pipes = _pipes(tmp_path / "s", [6] * 40)
    data = open_shards(*pipes)
    for file in (cache / "shards").rglob("*.tar"):
        file.unlink()
    log.unlink()
    soon = {index // 6 for index in data.indices_at(100, 8, SEED)}
    soon |= {index // 6 for index in data.indices_at(108, 6, SEED)}
    fetched: set[int] = set()
    end = time.monotonic() + 20
    while not fetched >= soon and time.monotonic() < end:
        time.sleep(0.02)
        fetched = {int(k) for k in log.read_text().split()} if log.exists() else fetched
    assert fetched >= soon


def test_a_shard_that_cannot_be_fetched_stops_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_store.time, "sleep", lambda seconds: None)
    with pytest.raises(
        StylemixError, match=r"pipe:exit 3: got exit code 3 of the program for it; "
    ):
        open_shards("pipe:exit 3")
    with pytest.raises(StylemixError, match=r"nosuch://x: got .*; expected a shard"):
        open_shards("nosuch://x")


def test_no_room_for_shards(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "file"))
    assert len(open_shards(write_shards(tmp_path / "s", [2]))) == 2  # local ones need none
    with pytest.raises(StylemixError, match=r"'Not a directory' for .*; set STYLEMIX_CACHE to one"):
        open_shards(f"pipe:cat {tmp_path}/s/data-000.tar")


def test_a_full_disk_replaces_no_image(tmp_path, cache, monkeypatch):
    _, pipes = _pipes(tmp_path / "s", [2, 2])
    data = open_shards(*pipes)
    for file in (cache / "shards").rglob("*.tar"):
        file.unlink()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_store.shutil, "copyfileobj", full)
    with pytest.raises(StylemixError, match=r"cannot write .*'No space left on device'"):
        data.batch([0])
    assert data.broken == []


def test_a_fetch_that_fails_at_first_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_store.time, "sleep", lambda seconds: None)
    folder = write_shards(tmp_path / "s", [2])
    flag = tmp_path / "flag"
    command = f"test -e {flag} || {{ touch {flag}; exit 1; }}; cat {folder}/data-000.tar"
    assert reds(open_shards(f"pipe:{command}"), [0, 1]) == [0, 1]


def test_a_remote_shard_that_changed_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(shard_store.time, "sleep", lambda seconds: None)
    _, pipes = _pipes(tmp_path / "s", [2, 2])
    data = open_shards(*pipes)
    for file in (cache / "shards").rglob("*.tar"):
        file.unlink()
    write_tar(tmp_path / "s" / "data-001.tar", [(f"{i}.png", png(i)) for i in range(30)])
    assert reds(data, [0, 1]) == [0, 1]
    with pytest.raises(StylemixError, match=r"where \d+ were counted"):
        data.batch([2])  # no image replaces it: that would change the data
    assert data.broken == []


def test_processes_share_downloads(tmp_path):
    """Stores of one folder, as the processes of a machine have; the lock is one between files."""
    log, pipes = _pipes(tmp_path / "s", [2])
    slow = f"{pipes[0]}; sleep 0.2"
    with ThreadPoolExecutor(3) as pool:
        places = list(pool.map(lambda _: ShardStore([slow], 3).local(slow), range(3)))
    assert len(set(places)) == 1
    assert places[0].is_file()
    assert log.read_text().split() == ["0"]


def test_reading_outside_the_store(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"0123456789")
    store = ShardStore([str(path)], 1)
    assert store.read(str(path), 3, 4) == b"3456"
    path.unlink()
    with pytest.raises(StylemixError, match=r"a\.tar: got 'No such file or directory'"):
        store.read(str(path), 3, 4)

"""Heartbeats: errors name the rank that hangs or is lost; the launcher's errors are one line."""

import json
import re
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
import torch.distributed as dist

from stylemix.errors import StylemixError
from stylemix.training import heartbeat as module
from stylemix.training.distributed import Ranks
from stylemix.training.heartbeat import Heartbeat


@pytest.fixture
def store():
    return dist.HashStore()


def _message(beats, step, doing="Dmain", host="other", pid=77):
    return json.dumps({"host": host, "pid": pid, "beats": beats, "step": step, "doing": doing})


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.05)


class Script:
    """A store in which each other rank beats by a script: at which polls there is a new heartbeat.

    Results depend on the number of polls, and not on the speed of the machine.
    """

    def __init__(self, *scripts):
        self.scripts = dict(enumerate(scripts, start=1))
        self.counts = dict.fromkeys(self.scripts, 0)
        self.beats = dict.fromkeys(self.scripts, 0)
        self.broke = threading.Event()  # polls before a collective broke are not in the scripts

    def set(self, key, message):
        self.own = json.loads(message)

    def check(self, keys):
        return True

    def get(self, key):
        rank = int(key)
        poll, self.counts[rank] = self.counts[rank], self.counts[rank] + self.broke.is_set()
        self.beats[rank] += not self.broke.is_set() or self.scripts[rank](poll)
        return _message(self.beats[rank], 9, host=f"host{rank}", pid=70 + rank)


def _missing(script):
    beat = Heartbeat(Ranks(0, 1 + len(script.scripts), script), 60)
    script.broke.set()
    lost = beat.missing()
    beat.close()
    return [int(part.split()[1]) for part in lost.split("; ") if part]


def _until(polls):
    return lambda poll: poll < polls


def _every(polls):
    return lambda poll: poll % polls == polls - 1


def test_one_process_has_no_thread():
    beat = Heartbeat(Ranks(), 1)
    beat.at("Gmain")
    assert beat.missing() == ""
    beat.close()


def test_a_lost_rank_is_named(quick, store):
    store.set("1", _message(5, 9))
    beat = Heartbeat(Ranks(0, 2, store), 60)
    lost = beat.missing()
    beat.close()
    assert lost.startswith("rank 1 (host other, process 77), last heartbeat ")
    assert "in Dmain for" in lost
    mine = json.loads(store.get("0"))
    assert mine["doing"] == "starting"
    assert mine["beats"] >= 3  # its own heartbeat continued


@pytest.mark.parametrize("unread", [0, 1, 2])
def test_a_last_heartbeat_that_is_read_late_does_not_count_as_live(quick, unread):
    assert _missing(Script(_until(unread))) == [1]


def test_a_rank_that_dies_slowly_is_named(quick):
    assert _missing(Script(_until(5))) == [1]


def test_live_ranks_are_not_named(quick):
    assert _missing(Script(_every(1), _every(1))) == []


def test_dead_ranks_are_distinguished_from_slow_ranks_and_from_consequences(quick):
    assert _missing(Script(_every(3), _until(1))) == [2]
    assert _missing(Script(_until(2), _until(0), _every(1))) == [2, 1]


def test_without_the_store_all_ranks_are_lost(quick):
    class Gone(Script):
        def check(self, keys):
            if self.broke.is_set():
                raise dist.DistNetworkError("Connection reset by peer")
            return True

    assert sorted(_missing(Gone(_every(1), _every(1)))) == [1, 2]


HANG = """
import sys, time, json
import torch.distributed as dist
from stylemix.training import heartbeat as module
from stylemix.training.distributed import Ranks
module.INTERVAL = 0.05
store = dist.HashStore()
store.set("1", json.dumps({"host": "b", "pid": 7, "beats": 1, "step": 3, "doing": sys.argv[1]}))
beat = module.Heartbeat(Ranks(0, 2, store), timeout=0.5)
beat.at(sys.argv[2])
for i in range(60):
    time.sleep(0.05)
    message = {"host": "b", "pid": 7, "beats": i, "step": 3, "doing": sys.argv[1]}
    store.set("1", json.dumps(message))
print("still here")
beat.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theirs", "mine", "ends"),
    [
        ("reading images", "waiting for the others in Dmain", True),
        ("waiting for the others in Dmain", "waiting for the others in Dmain", False),
        ("reading images", "Gmain", False),  # this one is busy itself
    ],
)
def test_a_rank_that_hangs_ends_the_waiting_ranks(theirs, mine, ends):
    result = subprocess.run(
        [sys.executable, "-c", HANG, theirs, mine], capture_output=True, text=True, timeout=120
    )
    assert (result.returncode == module.EXIT_CODE) == ends
    assert ("still here" in result.stdout) != ends
    if ends:
        assert re.search(r"rank 0 waited \d+ s for rank 1 \(host b, process 7\)", result.stderr)
        assert "in reading images for" in result.stderr


def test_a_broken_collective_names_the_rank(quick, store):
    store.set_timeout(timedelta(seconds=5))
    store.set("1", _message(5, 9))
    beat = Heartbeat(Ranks(0, 2, store), 60)
    text = r"rank 0 lost rank 1 \(host other, process 77\).*--max-restarts all start again"
    with pytest.raises(StylemixError, match=text), beat.watching():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"), beat.watching():
        raise RuntimeError("shapes do not match")  # our own bugs keep their traceback
    beat.close()


def test_a_rank_that_hangs_is_named_when_the_collective_times_out_first(quick):
    """It still beats, and the timeout of the collective is the same as that of the heartbeat."""

    class Hanging(Script):
        def get(self, key):
            message = json.loads(super().get(key))
            return json.dumps(message | {"doing": DOING[key]})

    DOING = {"1": "waiting for the others in Dmain", "2": "reading images"}
    script = Hanging(_every(1), _every(1))
    beat = Heartbeat(Ranks(0, 3, script), 60)
    script.broke.set()
    text = r"rank 0 lost rank 2 \(host host2, process 72\), .* in reading images for \d+ s; under"
    with pytest.raises(StylemixError, match=text), beat.watching():
        raise RuntimeError("[gloo/unbound_buffer.cc:78] Timed out waiting 6000ms for recv")
    beat.close()


def test_a_rank_that_dies_before_its_first_heartbeat_is_named(store):
    store.set_timeout(timedelta(seconds=0.1))
    with pytest.raises(StylemixError, match="rank 0 lost rank 1 before its first heartbeat"):
        Heartbeat(Ranks(0, 2, store), 60)

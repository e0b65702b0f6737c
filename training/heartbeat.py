"""Heartbeats of every rank, so that errors can name a rank that hangs or died."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from stylemix.errors import StylemixError
from stylemix.messages import show_error
from stylemix.training.distributed import Ranks

INTERVAL = 1.0  # seconds between heartbeats
SILENCE = 3  # polls, one per interval, without a new heartbeat after which a rank is lost
PATIENCE = 10  # intervals in which a rank that broke a collective stops its heartbeat
EXIT_CODE = 3  # of a process that ends because another one hangs


@dataclass
class _Seen:
    """The last heartbeat of a rank, and when its beat and its step last changed."""

    message: dict[str, object]
    beat_at: float  # seconds, time.monotonic
    step_at: float
    poll: int = 0  # the poll that found its last heartbeat


class Heartbeat:
    """Sends the activity of this rank to the other ranks, and watches theirs.

    A collective that waits for a rank cannot be interrupted. So where a rank hangs for longer than
    `timeout` seconds, the thread reports it and ends the process, so that torchrun can restart.
    With one rank nothing happens.
    """

    def __init__(self, ranks: Ranks, timeout: float) -> None:
        self.ranks, self.timeout = ranks, timeout
        self.step, self.doing, self.beats = 0, "starting", 0
        self.seen: dict[int, _Seen] = {}
        self.polls, self.polled = 0, time.monotonic()  # number of polls, and time of the last
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if ranks.store is not None:
            self._send(ranks.store)
            for rank in range(ranks.world):  # waits for the first heartbeat of all ranks
                if rank != ranks.rank:
                    self._note(rank, _first_message(ranks, rank))
            self._thread = threading.Thread(target=self._run, args=[ranks.store], daemon=True)
            self._thread.start()

    def at(self, doing: str) -> None:
        """Sets the activity of this rank; "waiting ..." is not taken for a hang of its own."""
        self.step += 1
        self.doing = doing

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * INTERVAL)

    def missing(self) -> str:
        """Returns the ranks without heartbeats, the longest silent first; "" where none is.

        The last heartbeat of a rank is often read only after a collective broke, and a failing
        rank may send some more; so this waits up to `PATIENCE` before it takes all for live. It
        counts polls and not seconds: on a busy machine polls are as rare as heartbeats.
        """
        first, silent = self.polls, list[int]()
        for _ in range(2 * PATIENCE):
            if self._thread is None:
                return ""
            time.sleep(INTERVAL / 2)
            silent = [r for r, seen in self.seen.items() if self.polls - seen.poll > SILENCE]
            # By then ranks that died earlier are included, whose last heartbeat came late.
            if silent and self.polls - first > SILENCE + 2:
                break
        else:
            if _since(self.polled) > SILENCE * INTERVAL:  # the store does not answer
                silent = [r for r, s in self.seen.items() if _since(s.beat_at) > SILENCE * INTERVAL]
        silent.sort(key=lambda rank: self.seen[rank].beat_at)
        return "; ".join(self._name(rank) for rank in silent)

    def stuck(self) -> str:
        """Returns the live ranks that neither advance nor wait for others; "" where none is.

        A collective may time out before `_judge` takes a rank for hanging: its timeout is the same,
        and began when the collective did. `missing` has watched for `PATIENCE` before.
        """
        late = [
            rank
            for rank, seen in self.seen.items()
            if _since(seen.step_at) > PATIENCE * INTERVAL
            and "waiting" not in str(seen.message["doing"])
        ]
        late.sort(key=lambda rank: self.seen[rank].step_at)
        return "; ".join(self._name(rank) for rank in late)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Converts the error of a broken collective into a StylemixError with the lost rank."""
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if self.ranks.world == 1 or not (
                isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text
            ):
                raise
            lost = self.missing() or self.stuck()
            lost = lost or f"a rank; all still live ({text.splitlines()[0][:160]})"
            raise StylemixError(
                f"rank {self.ranks.rank} lost {lost}; under torchrun with --max-restarts all start "
                "again and resume from the last state, else run the same command again"
            ) from error

    def _run(self, store: Store) -> None:
        while not self._stop.wait(INTERVAL):
            try:
                self._send(store)
                for rank in range(self.ranks.world):
                    if rank != self.ranks.rank and store.check([str(rank)]):
                        self._note(rank, json.loads(store.get(str(rank))))
            except (RuntimeError, OSError):  # the store is lost; the main thread reports it
                return
            self.polls, self.polled = self.polls + 1, time.monotonic()
            self._judge()

    def _send(self, store: Store) -> None:
        self.beats += 1
        message = {
            "host": socket.gethostname(), "pid": os.getpid(), "beats": self.beats,
            "step": self.step, "doing": self.doing,
        }  # fmt: skip
        store.set(str(self.ranks.rank), json.dumps(message))

    def _note(self, rank: int, message: dict[str, object]) -> None:
        """Records a heartbeat by the local time of its changes, since clocks of hosts differ."""
        now = time.monotonic()
        old = self.seen.get(rank)
        if old is None:
            self.seen[rank] = _Seen(message, now, now)
            return
        if message["beats"] != old.message["beats"]:
            old.beat_at, old.poll = now, self.polls
        old.step_at = now if message["step"] != old.message["step"] else old.step_at
        old.message = message

    def _judge(self) -> None:
        late = [
            rank
            for rank, seen in self.seen.items()
            if _since(seen.beat_at) > self.timeout
            or (_since(seen.step_at) > self.timeout and "waiting" not in str(seen.message["doing"]))
        ]
        if late and self.doing.startswith("waiting"):
            names = "; ".join(self._name(rank) for rank in late)
            show_error(
                f"rank {self.ranks.rank} waited {self.timeout:.0f} s for {names}; "
                "this process ends so that the launcher can restart the run"
            )
            os._exit(EXIT_CODE)

    def _name(self, rank: int) -> str:
        seen = self.seen[rank]
        message = seen.message
        return (
            f"rank {rank} (host {message['host']}, process {message['pid']}), last heartbeat "
            f"{_since(seen.beat_at):.0f} s ago, in {message['doing']} for "
            f"{_since(seen.step_at):.0f} s"
        )


def _first_message(ranks: Ranks, rank: int) -> dict[str, object]:
    """The first heartbeat of another rank; StylemixError where none comes."""
    assert ranks.store is not None
    try:
        message: dict[str, object] = json.loads(ranks.store.get(str(rank)))
    except RuntimeError as error:
        raise StylemixError(
            f"rank {ranks.rank} lost rank {rank} before its first heartbeat; expected all ranks to "
            "start; see its own messages, and run the same command again"
        ) from error
    return message


def _since(moment: float) -> float:
    return time.monotonic() - moment

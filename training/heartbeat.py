"""Signs of life of every rank, so that a hang or a death has a name."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from stylemix.errors import StylemixError
from stylemix.training.distributed import Ranks

INTERVAL = 1.0  # seconds between signs of life
SILENCE = 3  # looks at the others, one an interval, that find no new sign of a rank: it is gone
PATIENCE = 10  # intervals in which a rank that broke a collective falls silent
EXIT_CODE = 3  # of a process that ends because another one hangs


@dataclass
class _Seen:
    """What is known of a rank: its last words, and when they and its step last changed."""

    word: dict[str, object]
    spoke: float
    moved: float
    look: int = 0  # at which its last words were new


class Heartbeat:
    """Tells the other ranks what this one is at, and watches what they are at.

    A collective that waits for a rank cannot be interrupted. So where a rank hangs for longer than
    `timeout` seconds, the thread says which one, and ends the process: torchrun can then restart.
    With one rank nothing happens.
    """

    def __init__(self, ranks: Ranks, timeout: float) -> None:
        self.ranks, self.timeout = ranks, timeout
        self.step, self.doing, self.beats = 0, "starting", 0
        self.seen: dict[int, _Seen] = {}
        self.looks, self.looked = 0, time.monotonic()  # how often at the others, and when last
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if ranks.store is not None:
            self._tell(ranks.store)
            for rank in range(ranks.world):  # waits until all have said their names
                if rank != ranks.rank:
                    self._note(rank, json.loads(ranks.store.get(str(rank))))
            self._thread = threading.Thread(target=self._run, args=[ranks.store], daemon=True)
            self._thread.start()

    def at(self, doing: str) -> None:
        """Says what this rank does next; names that start with "waiting" are no hang of its own."""
        self.step += 1
        self.doing = doing

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * INTERVAL)

    def missing(self) -> str:
        """Names the ranks that fall silent, the longest silent first; "" where none does.

        A rank's last words are often read only after a collective broke, and one that fails may
        speak on for a while; so nobody is taken for live before the patience is over. It counts
        looks and not seconds: on a busy machine this rank looks as seldom as the others speak.
        """
        first, silent = self.looks, list[int]()
        for _ in range(2 * PATIENCE):
            if self._thread is None:
                return ""
            time.sleep(INTERVAL / 2)
            silent = [r for r, seen in self.seen.items() if self.looks - seen.look > SILENCE]
            # By then whoever was dead before is among them, with words that were still on the way.
            if silent and self.looks - first > SILENCE + 2:
                break
        else:
            if _since(self.looked) > SILENCE * INTERVAL:  # the store does not answer
                silent = [r for r, s in self.seen.items() if _since(s.spoke) > SILENCE * INTERVAL]
        silent.sort(key=lambda rank: self.seen[rank].spoke)
        return "; ".join(self._name(rank) for rank in silent)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Turns a collective that broke into one line with the name of the rank that is missing."""
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if self.ranks.world == 1 or not (
                isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text
            ):
                raise
            who = self.missing() or f"a rank; all still live ({text.splitlines()[0][:160]})"
            raise StylemixError(
                f"rank {self.ranks.rank} lost {who}; under torchrun with --max-restarts all start "
                "again and go on from the last state, else give the same command again"
            ) from error

    def _run(self, store: Store) -> None:
        while not self._stop.wait(INTERVAL):
            try:
                self._tell(store)
                for rank in range(self.ranks.world):
                    if rank != self.ranks.rank and store.check([str(rank)]):
                        self._note(rank, json.loads(store.get(str(rank))))
            except (RuntimeError, OSError):  # the store went with its host; main thread will tell
                return
            self.looks, self.looked = self.looks + 1, time.monotonic()
            self._judge()

    def _tell(self, store: Store) -> None:
        self.beats += 1
        word = {
            "host": socket.gethostname(), "pid": os.getpid(), "beats": self.beats,
            "step": self.step, "doing": self.doing,
        }  # fmt: skip
        store.set(str(self.ranks.rank), json.dumps(word))

    def _note(self, rank: int, word: dict[str, object]) -> None:
        """Clocks of hosts differ, so only the time of a change here counts."""
        now = time.monotonic()
        old = self.seen.get(rank)
        if old is None:
            self.seen[rank] = _Seen(word, now, now)
            return
        if word["beats"] != old.word["beats"]:
            old.spoke, old.look = now, self.looks
        old.moved = now if word["step"] != old.word["step"] else old.moved
        old.word = word

    def _judge(self) -> None:
        late = [
            rank
            for rank, seen in self.seen.items()
            if _since(seen.spoke) > self.timeout
            or (_since(seen.moved) > self.timeout and "waiting" not in str(seen.word["doing"]))
        ]
        if late and self.doing.startswith("waiting"):
            names = "; ".join(self._name(rank) for rank in late)
            print(
                f"Error: rank {self.ranks.rank} waited {self.timeout:.0f} s for {names}; "
                "this process ends so that the launcher can restart the run",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            os._exit(EXIT_CODE)

    def _name(self, rank: int) -> str:
        seen = self.seen[rank]
        word = seen.word
        return (
            f"rank {rank} (host {word['host']}, process {word['pid']}), last heard of "
            f"{_since(seen.spoke):.0f} s ago, in {word['doing']} for {_since(seen.moved):.0f} s"
        )


def _since(moment: float) -> float:
    return time.monotonic() - moment

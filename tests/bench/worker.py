"""Runs subjects in this process, or in a child process with its own allocator setting.

The settings of glibc's allocator are per process. To compare both "as in normal use" and "all under
the same setting" with interleaved samples, each setting gets its own child process.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch

from stylemix.devices import repeat_shapes
from tests.bench.machine import ROOT, keep_memory
from tests.bench.subjects import Calls, make
from tests.bench.timing import Contestant, Effort, Record, interleave, reason, timed

ALLOCATORS = ("default", "kept")  # kept: as the commands of stylemix set it
# Normal use: the textbook with the default allocator, ours as in its commands. On a GPU no choice.
USERS = ("textbook@default", "ours@kept", "textbook", "ours")


class Local:
    """Makes subjects, runs them and measures their memory, in this process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        repeat_shapes(device)  # as training does
        self.subjects: dict[str, Calls] = {}

    def make(self, name: str, spec: Record) -> None:
        self.subjects[name] = make(spec, self.device)

    def run(self, name: str, call: str, loops: int) -> float:
        return timed(self.subjects[name][call], self.device, loops)

    def peak(self, name: str, call: str) -> int:
        """Returns the additional peak bytes of one run.

        On a CPU that is the growth of the process's peak, so only the first run is meaningful.
        """
        function = self.subjects[name][call]
        if self.device.type == "cuda":
            function()  # plans and workspaces
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            function()
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - before
        before = _resident("VmRSS")
        function()
        return max(_resident("VmHWM") - before, 0)

    def drop(self, name: str) -> None:
        self.subjects.pop(name, None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        self.subjects.clear()


def _resident(field: str) -> int:
    """Returns the current (VmRSS) or peak (VmHWM) resident bytes."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:  # not Linux: the largest so far, in either case
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    match = re.search(rf"{field}:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


class Worker:
    """The same in a child process under one of ALLOCATORS."""

    def __init__(self, allocator: str, threads: int) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        command = [sys.executable, "-m", "tests.bench.worker", allocator, str(threads)]
        self.child = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, *message: object) -> float:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        try:
            self.child.stdin.write(json.dumps(message) + "\n")
            self.child.stdin.flush()
            line = self.child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the child ended with code {self.child.wait()}")
        reply = json.loads(line)
        if isinstance(reply, str):
            raise RuntimeError(reply)
        return float(reply or 0)

    def make(self, name: str, spec: Record) -> None:
        self.ask("make", name, spec)

    def run(self, name: str, call: str, loops: int) -> float:
        return self.ask("run", name, call, loops)

    def peak(self, name: str, call: str) -> int:
        return int(self.ask("peak", name, call))

    def drop(self, name: str) -> None:
        self.ask("drop", name)

    def close(self) -> None:
        self.child.communicate()  # it ends with its input


class Crew:
    """A player for each label: "VARIANT@ALLOCATOR" in its own child, "VARIANT" in this process."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.local = device, Local(device)
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def player(self, label: str) -> Local | Worker:
        """Returns the player of a label; children are reused for later cases."""
        if "@" not in label:
            return self.local
        if label not in self.workers:
            self.workers[label] = Worker(label.split("@")[1], torch.get_num_threads())
        return self.workers[label]

    def measure(
        self, spec: Record, labels: list[str], calls: list[str], effort: Effort
    ) -> dict[str, dict[str, Record]]:
        """Returns summaries by call and label of the subject `spec` in each label's variant."""
        failed: dict[str, Record] = {}
        players = {label: self.player(label) for label in labels}  # all children start at once
        for label in labels:
            try:
                players[label].make(label, spec | {"variant": label.split("@")[0]})
            except (RuntimeError, MemoryError) as error:
                failed[label] = {"error": reason(error)}
        made = [label for label in labels if label not in failed]
        summaries = {}
        for call in calls:
            contestants = {label: contestant(players[label], label, call) for label in made}
            summaries[call] = interleave(contestants, effort) | failed
        for label in made:
            with suppress(RuntimeError):  # of a child that has ended
                players[label].drop(label)
        return summaries


def peaks(device: torch.device, spec: Record, labels: list[str], call: str) -> dict[str, Record]:
    """Returns the peak bytes of one run of `call` by label, each in a new process."""
    results: dict[str, Record] = {}
    for label in labels:
        with Crew(device) as crew:
            player = crew.player(label)
            try:
                player.make(label, spec | {"variant": label.split("@")[0]})
                results[label] = {"bytes": player.peak(label, call)}
            except (RuntimeError, MemoryError) as error:
                results[label] = {"error": reason(error)}
    return results


def contestant(player: Local | Worker, name: str, call: str = "run") -> Contestant:
    """Returns a subject of a player as a contestant for `interleave`."""
    return lambda loops: player.run(name, call, loops)


def serve(allocator: str, threads: int) -> None:
    """Answers requests [method, arguments...], a JSON line each: a number, null, or an error."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of compilers and libraries must not be read as a reply
    device = torch.device("cpu")
    torch.set_num_threads(threads)
    if allocator == "kept" and not keep_memory(device):
        print("this system's allocator cannot be told to keep memory", file=sys.stderr)
    local = Local(device)
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        try:
            reply: object = getattr(local, verb)(*arguments)
        except Exception as error:  # the parent reports it
            reply = f"{type(error).__name__}: {error}"
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))

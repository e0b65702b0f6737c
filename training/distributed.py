"""Distributed training: launch, rendezvous, collectives. Other modules are unaware of ranks."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from stylemix.devices import launched_rank
from stylemix.errors import StylemixError

RESTARTS = 3  # by torchrun


@dataclass(frozen=True)
class Ranks:
    """The processes of a run; the default is one process alone."""

    rank: int = 0
    world: int = 1
    store: Store | None = None

    @property
    def lead(self) -> bool:
        """Whether this process is rank 0, which writes the files."""
        return self.rank == 0

    def all_reduce_(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors by their sum over all ranks, with one collective per dtype."""
        self._collect_(tensors, dist.all_reduce)

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors by those of rank 0."""
        self._collect_(tensors, lambda flat: dist.broadcast(flat, src=0))

    def _collect_(self, tensors: Iterable[Tensor], collective: Callable[[Tensor], object]) -> None:
        if self.world == 1:
            return
        for group in _by_dtype(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            collective(flat)
            for tensor, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
                tensor.copy_(part.view(tensor.shape))

    def broadcast_text(self, value: str) -> str:
        """Returns the text of rank 0; the arguments of other ranks are ignored."""
        if self.world == 1:
            return value
        box: list[str | None] = [value]
        dist.broadcast_object_list(box, src=0)
        return str(box[0])

    def all_equal(self, tensors: Iterable[Tensor]) -> bool:
        """Returns whether all ranks hold the same bits, by the sums of their bytes."""
        if self.world == 1:
            return True
        sums = [t.detach().reshape(-1).view(torch.uint8).sum(dtype=torch.int64) for t in tensors]
        local = torch.stack(sums)
        lead = local.clone()
        self.broadcast_([lead])
        differ = (local != lead).any().to(torch.int64).reshape(1)
        self.all_reduce_([differ])
        return int(differ) == 0

    def close(self) -> None:
        """Leaves the process group; a process that continues alone needs `Ranks()`."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()


def _by_dtype(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


def local_device(name: str) -> str:
    """Returns the device of this process: `cuda` becomes the GPU of its local rank."""
    local = os.environ.get("LOCAL_RANK", "")
    if not local.isdecimal() or name not in ("cuda", "auto") or not torch.cuda.is_available():
        return name
    count = torch.cuda.device_count()
    if int(local) >= count:
        raise StylemixError(
            f"got local rank {local} on {socket.gethostname()} with {count} CUDA devices; "
            f"expected one process per device; start at most {count} processes per node"
        )
    return f"cuda:{local}"


def join(device: torch.device, timeout: float) -> Ranks:
    """Joins the processes that torchrun started, by its environment variables.

    Args:
        device: device of this rank; CUDA uses the NCCL backend, anything else gloo.
        timeout: seconds after which a missing rank is an error.
    """
    if launched_rank() == (0, 1):
        return Ranks()
    limit = timedelta(seconds=timeout)
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        store, rank, world = next(rendezvous("env://", timeout=limit))
        store.set_timeout(limit)
        store = PrefixStore(meet(store, rank, world, timeout), store)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, store=PrefixStore("stylemix", store), rank=rank, world_size=world,
            timeout=limit,
        )  # fmt: skip
        dist.barrier()
    except (RuntimeError, ValueError, OSError) as error:
        raise StylemixError(
            f"rank {os.environ.get('RANK')} on {socket.gethostname()} could not join a run of "
            f"{os.environ.get('WORLD_SIZE')} ranks at {os.environ.get('MASTER_ADDR')}:"
            f"{os.environ.get('MASTER_PORT')} ({error}); check address, firewall and that every "
            "node was started"
        ) from error
    return Ranks(rank, world, PrefixStore("heartbeat", store))


def meet(store: Store, rank: int, world: int, timeout: float) -> str:
    """Waits for all ranks and returns a name of this attempt that no earlier attempt had.

    torchrun keeps its store when it restarts processes. Without their own name new processes
    would read addresses and heartbeats of dead ones; and the number of restarts cannot be the
    name, since each node counts for itself.

    Raises:
        TimeoutError: names the ranks that did not join within `timeout` seconds.
    """
    hellos = [f"hello/{other}" for other in range(world)]
    store.set(hellos[rank], uuid.uuid4().hex)
    deadline = time.monotonic() + timeout
    pause = 0.02
    while True:
        signed = hellos
        if store.check(hellos):
            # A hello may be that of a dead rank, but only live ranks sign the list with it.
            name = hashlib.sha256(b"".join(store.multi_get(hellos))).hexdigest()[:16]
            signed = [f"{name}/{other}" for other in range(world)]
            store.set(signed[rank], "here")
            if store.check(signed):
                return name
        if time.monotonic() > deadline:
            missing = [str(other) for other in range(world) if not store.check([signed[other]])]
            raise TimeoutError(f"nothing heard of rank {', '.join(missing)} in {timeout:g} s")
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


# `stylemix train --gpus N` runs the same command once for each device through torchrun.


def is_rank() -> bool:
    """Returns whether torchrun, or a launcher with its environment variables, started this."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def torchrun_command(processes: int, arguments: Sequence[str]) -> list[str]:
    """Returns the torchrun command line for `processes` ranks on this machine, with restarts."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        f"--nproc-per-node={processes}", f"--max-restarts={RESTARTS}",
        "-m", "stylemix", *without_gpus(arguments),
    ]  # fmt: skip


def without_gpus(arguments: Sequence[str]) -> list[str]:
    """Returns a command line without its --gpus option."""
    out: list[str] = []
    skip = False
    for argument in arguments:
        if not skip and argument != "--gpus" and not argument.startswith("--gpus="):
            out.append(argument)
        skip = argument == "--gpus" and not skip
    return out


def launch(processes: int) -> None:
    """Replaces this process by torchrun and `processes` ranks; does not return."""
    # Oversubscribed cores are far slower than few threads; torchrun's default is one thread each.
    threads = max((os.cpu_count() or 1) // processes, 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    command = torchrun_command(processes, sys.argv[1:])
    os.execv(command[0], command)

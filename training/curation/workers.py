"""Crops many photos in several processes; stopped work resumes without repeating a photo."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

import PIL
import torch

from stylemix.errors import StylemixError
from stylemix.images.sources import ImageSource
from stylemix.io.journal import WorkFile
from stylemix.progress import progress_bar
from stylemix.training.curation.crop import Crop, CropSettings, Measures, Refusal, cut_photo
from stylemix.training.curation.select import Candidate, LeftOut
from stylemix.version import __version__

MAX_WORKERS = 16  # each takes about 0.4 GB
PHOTOS_PER_WORKER = 32  # at least, since a process needs seconds to start


@dataclass(frozen=True)
class Job:
    """Settings of a worker process for cropping photos."""

    crops: CropSettings
    device: str
    identity: bool

    def key(self, source: ImageSource) -> str:
        """Returns the key of a photo's result: its content and everything that determines it."""
        size, crc = source.checksum()
        about = [asdict(self.crops), self.identity, __version__, PIL.__version__]
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
        return f"{size:x}-{crc:08x}-{digest}"

    def cut(self, source: ImageSource) -> list[Crop | Refusal]:
        """Crops one photo."""
        return cut_photo(source, self.crops, self.device, self.identity)


def cut_all(
    sources: dict[str, ImageSource], job: Job, work: WorkFile, workers: int, show: bool
) -> tuple[list[Candidate], list[LeftOut]]:
    """Crops photos that are not in the work file; returns results for all photos in order."""
    keys: dict[str, str] = {}
    left_out: list[LeftOut] = []
    todo: dict[str, ImageSource] = {}
    for name, source in sources.items():
        try:
            keys[name] = job.key(source)
        except (OSError, StylemixError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            left_out.append(LeftOut(name, "broken", f"got {reason!r}; expected to read it"))
            continue
        if work.get(keys[name]) is None:
            todo.setdefault(keys[name], source)
    done = len(sources) - len(todo)
    with progress_bar("Cropping", "photo", show) as progress:
        for key, results in _run(todo, job, workers):
            crops = [result for result in results if isinstance(result, Crop)]
            refused = [asdict(result) for result in results if isinstance(result, Refusal)]
            value = {"crops": [asdict(crop.measures) for crop in crops], "refused": refused}
            work.put(key, value, [crop.data for crop in crops])
            done += 1
            progress(done, len(sources))
    candidates = []
    for name, key in keys.items():
        value = work.get(key)
        left_out += [LeftOut(name, **refusal) for refusal in value["refused"]]
        for number, measures in enumerate(value["crops"]):
            candidates.append(Candidate(name, Measures(**measures), key, number))
    return candidates, left_out


def _run(
    todo: dict[str, ImageSource], job: Job, workers: int
) -> Iterator[tuple[str, list[Crop | Refusal]]]:
    """Crops photos in one process or several, with one thread each for reproducible results."""
    workers = workers or min(_cores(), MAX_WORKERS, 1 + len(todo) // PHOTOS_PER_WORKER)
    if workers == 1 or len(todo) <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for key, source in todo.items():
                yield key, job.cut(source)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")  # forking after torch has started threads hangs
    ended, end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(min(workers, len(todo)), context, _start_worker, (ended,))
    waiting: deque[tuple[str, Future[list[Crop | Refusal]]]] = deque()
    try:
        for key, source in todo.items():
            waiting.append((key, pool.submit(job.cut, source)))
            if len(waiting) >= 4 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for key, future in waiting:
            yield key, future.result()
    except BrokenProcessPool as error:
        raise StylemixError(
            f"got the end of a worker process before it was done; expected {workers} to fit into "
            "memory; run the same command with fewer --workers to resume"
        ) from error
    finally:
        try:
            pool.shutdown(wait=True, cancel_futures=True)
        finally:
            # After a second Ctrl-C there are workers still, for which Python would wait for ever.
            end.close()
            ended.close()


def _start_worker(ended: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    threading.Thread(target=_end_with_parent, args=(ended,), daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent(ended: Connection) -> None:
    """Ends this worker when the main process was killed or has closed its end of the pipe."""
    with suppress(EOFError, OSError):
        ended.recv()
    os._exit(1)


def _cores() -> int:
    """Returns the number of cores of this process, which a cluster may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

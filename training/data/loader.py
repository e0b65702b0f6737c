"""Training batches in order from any position, prefetched by threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, wait
from queue import Empty, SimpleQueue
from threading import Thread

import torch
from torch import Tensor

from stylemix.messages import problem
from stylemix.training.data.base import PixelDataset

WORKERS = 3
AHEAD = 3  # batches that are prefetched
STALL_SECONDS = 60.0  # between messages about a batch that is not read
STOP_SECONDS = 5.0  # for threads to finish their current images

Batch = tuple[Tensor, Tensor | None]
Job = tuple["Future[Batch]", list[int]]


class Loader:
    """Images `start` to `stop` of each batch, the share of one rank.

    The images depend only on the seed and the position: all ranks together read the same batch,
    whatever their number. Threads prefetch up to 3 batches.

    Args:
        dataset: images and their order.
        seed: seed of the order.
        batch: images per step, of all ranks together.
        start: the first image of the batch that this rank reads.
        stop: the end of its images, exclusive; None for the whole batch.
        workers: reading threads.
    """

    def __init__(
        self,
        dataset: PixelDataset,
        seed: int,
        batch: int,
        start: int = 0,
        stop: int | None = None,
        workers: int = WORKERS,
    ) -> None:
        self.dataset, self.seed, self.batch = dataset, seed, batch
        self.own = slice(start, batch if stop is None else stop)
        self.workers = workers

    def read(self, position: int) -> Generator[Batch, None, None]:
        """Yields images uint8 [stop - start, C, H, W] and their labels without end.

        Errors in a thread are raised here, at the batch that they belong to. The threads end when
        the generator is closed or garbage-collected, and with the program.
        """
        jobs: SimpleQueue[Job | None] = SimpleQueue()
        threads = [
            Thread(None, _work, f"stylemix-read-{i}", (self.dataset, jobs), daemon=True)
            for i in range(self.workers)
        ]
        pending: deque[list[Future[Batch]]] = deque()
        try:
            for thread in threads:
                thread.start()
            while True:
                while len(pending) < AHEAD:
                    indices = self.dataset.indices_at(position, self.batch, self.seed)
                    pending.append(_submit(jobs, indices[self.own], self.workers))
                    position += self.batch
                yield _join([_result(future, self.dataset) for future in pending.popleft()])
        finally:
            _stop(jobs, threads)


def _submit(jobs: SimpleQueue[Job | None], indices: list[int], parts: int) -> list[Future[Batch]]:
    """Queues a batch split among all threads, so that it is ready as soon as possible."""
    futures: list[Future[Batch]] = []
    size = -(-len(indices) // parts)
    for start in range(0, len(indices), size):
        futures.append(Future())
        jobs.put((futures[-1], indices[start : start + size]))
    return futures


def _work(dataset: PixelDataset, jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        future, indices = job
        try:
            future.set_result(dataset.batch(indices))
        except BaseException as error:
            future.set_exception(error)


def _result(future: Future[Batch], dataset: PixelDataset) -> Batch:
    waited = 0.0
    while not wait([future], timeout=STALL_SECONDS).done:
        waited += STALL_SECONDS
        names = [dataset.name(index) for index in sorted(set(dataset.reading.copy().values()))]
        problem(f"Waiting for images for {waited:g} seconds, reading {', '.join(names) or 'none'}")
    return future.result()


def _join(parts: list[Batch]) -> Batch:
    labels = [part for _, part in parts if part is not None]
    return torch.cat([images for images, _ in parts]), torch.cat(labels) if labels else None


def _stop(jobs: SimpleQueue[Job | None], threads: list[Thread]) -> None:
    while True:
        try:
            jobs.get_nowait()
        except Empty:
            break
    for _ in threads:
        jobs.put(None)
    deadline = time.monotonic() + STOP_SECONDS
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))

"""The base class of datasets: images cropped to one size, cached in memory, broken ones skipped."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.images.tensors import resize
from stylemix.io.cache import Checksum
from stylemix.messages import problem
from stylemix.training.data.fingerprints import fingerprint_of
from stylemix.training.data.sampler import indices_at

CACHE_BYTES = 2 * 2**30
SHARD_END = (0, 0)  # among the checksums of images in shards
MODES = {1: "L", 3: "RGB", 4: "RGBA"}

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


class DataUnreachable(StylemixError):
    """Data that is temporarily unreachable; the image itself is not broken."""


class PixelDataset(ABC):
    """Images uint8 [C, H, W], read at first use and then cached in memory.

    Unreadable images are listed in `broken`, once, and replaced by the next image, so that the
    positions of all others do not change. Threads may share a dataset; `reading` maps each thread
    to the image that it reads.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        mirror: bool,
        channels: int,
        prepare: Callable[[Image.Image], Image.Image] | None = None,
    ) -> None:
        if channels not in MODES:
            raise StylemixError(f"got {channels} channels; expected 1, 3 or 4; choose one of these")
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.channels, self.mirror, self.prepare = channels, mirror, prepare
        self.labels: Tensor | None = None
        self.broken: list[str] = []
        self.reading: dict[int, int] = {}
        self._cache: dict[int, Pixels] = {}
        self._capacity = CACHE_BYTES // (channels * self.height * self.width)  # images
        self._replacements: dict[int, int] = {}
        self._left_out: set[int] = set()
        self._lock = threading.Lock()
        self._fingerprint: str | None = None

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of images without flipped copies."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Returns the name of an image for messages."""

    @abstractmethod
    def checksums(self) -> Iterable[Checksum]:
        """Returns size and CRC-32 of each image file."""

    @abstractmethod
    def _open(self, index: int, min_side: int | None) -> Image.Image:
        """Reads an image in the mode of the channels; StylemixError for a broken one."""

    def __len__(self) -> int:
        """Number of images including flipped copies."""
        return self.count * (2 if self.mirror else 1)

    @property
    def c_dim(self) -> int:
        """Width of the labels, 0 without labels."""
        return 0 if self.labels is None else self.labels.shape[1]

    def indices_at(self, position: int, batch: int, seed: int) -> list[int]:
        """Returns the indices of a batch after `position` images, endless and reproducible."""
        return indices_at(position, batch, len(self), seed)

    def fingerprint(self) -> str:
        """Returns a hash of file bytes and order, labels, size, channels, mirror."""
        if self._fingerprint is None:
            shape = f"{self.channels} {self.height} {self.width} {self.mirror}".encode()
            labels = b"" if self.labels is None else self.labels.numpy().tobytes()
            self._fingerprint = fingerprint_of(self.checksums(), shape, labels)
        return self._fingerprint

    def covers(self, other: PixelDataset) -> bool:
        """Whether all images of another dataset are among these, by their bytes."""
        return set(self.checksums()).issuperset(set(other.checksums()) - {SHARD_END})

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Returns images uint8 [N, C, H, W] and labels float32 [N, c_dim], None without labels."""
        items = [self._read(index % self.count) for index in indices]
        images = [
            pixels[:, ::-1] if index >= self.count else pixels
            for index, (_, pixels) in zip(indices, items, strict=True)
        ]
        # NumPy, since PyTorch would start a thread pool for each reader, which would compete with
        # the training for the cores.
        tensor = torch.from_numpy(np.stack([pixels.transpose(2, 0, 1) for pixels in images]))
        return tensor, self.labels_at([where for where, _ in items])  # a replacement has its own

    def labels_at(self, indices: Sequence[int]) -> Tensor | None:
        """Returns labels float32 [N, c_dim] without reading the images; None without labels."""
        if self.labels is None:
            return None
        return self.labels[[index % self.count for index in indices]]

    def stand_in(self, index: int) -> int:
        """The index of an image, or of the one read in its place where it is known as broken."""
        return self._replacements.get(index, index)

    def _read(self, index: int) -> tuple[int, Pixels]:
        """Returns the index of an image, or of its replacement if it is broken, and [H, W, C]."""
        image, where = None, self.stand_in(index)
        while image is None:
            if where in self._cache:
                return where, self._cache[where]
            self.reading[threading.get_ident()] = where
            try:
                image = self._open(where, None if self.prepare else max(self.height, self.width))
                image = image if self.prepare is None else self._prepare(image, where)
            except DataUnreachable:
                raise
            except StylemixError as error:
                self._leave_out(where, error)
                # The next image replaces a broken one, so that positions do not change.
                where = (where + 1) % self.count
                self._replacements[index] = where
            finally:
                del self.reading[threading.get_ident()]
        pixels = np.asarray(fit(image, self.height, self.width), dtype=np.uint8)
        pixels = pixels.reshape(self.height, self.width, self.channels)
        if len(self._cache) < self._capacity:
            self._cache[where] = pixels
        return where, pixels

    def _prepare(self, image: Image.Image, index: int) -> Image.Image:
        assert self.prepare is not None
        try:
            return self.prepare(image)
        except StylemixError as error:  # which does not know the name
            raise StylemixError(f"{self.name(index)}: {error}") from error

    def _leave_out(self, index: int, error: StylemixError) -> None:
        """Reports a broken image, once; StylemixError when there are too many."""
        with self._lock:
            new = index not in self._left_out
            if new:
                self._left_out.add(index)
                self.broken.append(str(error))
            count = len(self._left_out)
        if count == self.count or count > max(10, self.count // 10):
            raise StylemixError(
                f"got {count} unreadable images of {self.count}; expected few; "
                f"check the data; the last one: {error}"
            ) from error
        if new:
            problem(f"Left out: {error}")


def fit(image: Image.Image, height: int, width: int) -> Image.Image:
    """Crops the centre to the aspect ratio of `height` x `width` px and resizes it (Lanczos)."""
    across = min(image.width, max(1, round(image.height * width / height)))
    down = min(image.height, max(1, round(image.width * height / width)))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    if image.size != (across, down):
        image = image.crop((left, top, left + across, top + down))
    return image if image.size == (width, height) else resize(image, (width, height))

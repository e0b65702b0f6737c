"""WebDataset shards: tar files of images, local or at a URL, for datasets larger than a disk."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from io import BytesIO

import numpy as np
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.images.read import read_image
from stylemix.images.sources import has_images
from stylemix.io.cache import Checksum
from stylemix.io.files import StrPath
from stylemix.messages import problem
from stylemix.progress import track
from stylemix.training.data.base import MODES, SHARD_END, PixelDataset
from stylemix.training.data.fingerprints import SHOW_AFTER
from stylemix.training.data.labels import label_vectors
from stylemix.training.data.sampler import shard_order, walk
from stylemix.training.data.shard_store import Shard, ShardStore, expand, is_remote

SPAN = 8  # shards whose images are shuffled together
READERS = 4  # shards indexed at a time

Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]  # [N, 3]: offset, size, CRC-32


def is_shards(path: StrPath) -> bool:
    """Returns whether a path is shards: *.tar, a URL, a pipe, or a folder of .tar files only."""
    text = os.fspath(path)
    if is_remote(text) or text.endswith(".tar"):
        return True
    if not os.path.isdir(text):
        return False
    return any(name.endswith(".tar") for name in os.listdir(text)) and not has_images(text)


class ShardDataset(PixelDataset):
    """Images in the samples of WebDataset shards, with labels from their `cls` or `json`.

    Each shard is read once, and its index stored in the user's cache. Images are then read by
    their offset; shards at a URL are downloaded a few at a time. Damaged shards are skipped and
    listed in `broken`.

    Args:
        paths: .tar files, with {000..099} for many; folders of them; URLs; "pipe:COMMAND".
        size: (height, width) in px, or the side of a square.
        mirror: add every image flipped left to right.
        use_labels: read the label of each sample: its `cls`, or "label" in its `json`.
        channels: 1 grey, 3 RGB, 4 RGB and opacity.
    """

    def __init__(
        self,
        paths: Sequence[StrPath],
        size: int | tuple[int, int],
        mirror: bool = False,
        use_labels: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__(size, mirror, channels)
        urls = expand(paths)
        self._store = ShardStore(urls, keep=3 * SPAN)
        self._urls: list[str] = []
        self._names: list[str] = []  # one string per shard, since there may be millions of names
        values: list[object] = []
        places: list[Places] = []
        for shard in _read_indices(self._store, urls):
            if not shard.names:
                self._leave_out_shard(shard)
                continue
            self._urls.append(shard.url)
            self._names.append("\n".join(shard.names))
            places.append(np.array([shard.offsets, shard.sizes, shard.crcs], np.int64).T)
            values += shard.labels if use_labels else []
        if not places:
            raise StylemixError(
                f"got {len(urls)} shards and no image; expected .tar files with images; check them"
            )
        self._places: Places = np.concatenate(places)
        self._ends = np.cumsum([len(part) for part in places])
        self._shard_of = np.searchsorted(self._ends, np.arange(len(self)) % self.count, "right")
        self._remote = any(map(is_remote, self._urls))
        self._order = lru_cache(maxsize=3)(partial(shard_order, self._shard_of, SPAN))
        if use_labels:
            self._check_labels(values)
            self.labels = label_vectors(values, self.name)

    @property
    def count(self) -> int:
        """Number of images without flipped copies."""
        return len(self._places)

    def name(self, index: int) -> str:
        """Returns shard and sample of an image."""
        shard = self._shard_of[index]
        first = self._ends[shard - 1] if shard else 0
        return f"{self._urls[shard]}/{self._names[shard].split(chr(10))[index - first]}"

    def checksums(self) -> Iterable[Checksum]:
        """Yields size and CRC-32 of each image, and shard ends, as the order depends on them."""
        start = 0
        for end in self._ends:
            yield from map(tuple, self._places[start:end, 1:].tolist())
            yield SHARD_END
            start = end

    def indices_at(self, position: int, batch: int, seed: int) -> list[int]:
        """Returns the indices of a batch after `position` images; 8 shards are mixed."""
        order = partial(self._order, seed)
        if self._remote:
            # Looks ahead by the length of a shard, so that the next one is there in time.
            ahead = batch + len(self) // len(self._urls)
            soon = np.unique(self._shard_of[walk(position, ahead, len(self), order)])
            self._store.want([self._urls[shard] for shard in soon])
        return walk(position, batch, len(self), order)

    def _open(self, index: int, min_side: int | None) -> Image.Image:
        offset, size, crc = self._places[index].tolist()
        data = self._store.read(self._urls[self._shard_of[index]], offset, size)
        if zlib.crc32(data) != crc:
            raise StylemixError(
                f"{self.name(index)}: got other bytes than when the shard was counted; expected "
                "the same; start again"
            )
        return read_image(BytesIO(data), self.name(index), min_side, MODES[self.channels])

    def _leave_out_shard(self, shard: Shard) -> None:
        cause = f"a damaged shard ({shard.damage})" if shard.damage else "a shard without images"
        self.broken.append(f"{shard.url}: got {cause}; expected a whole one; copy it again")
        problem(f"Left out: {self.broken[-1]}")

    def _check_labels(self, values: Sequence[object]) -> None:
        missing = [index for index, value in enumerate(values) if value is None]
        if missing:
            raise StylemixError(
                f"got no label for {len(missing)} of {len(values)} images, the first is "
                f"{self.name(missing[0])}; expected a cls or a json with one in each sample; "
                "pack the shards again"
            )


def _read_indices(store: ShardStore, urls: Sequence[str]) -> Iterator[Shard]:
    """Yields the index of each shard, in order."""
    pool = ThreadPoolExecutor(READERS)
    try:
        shards = pool.map(store.index, urls)
        yield from track(shards, "Counting", len(urls), "shard", leave=False, after=SHOW_AFTER)
    finally:
        pool.shutdown(cancel_futures=True)

"""Training images: a folder or zip, cropped square, at one resolution, as bytes in memory."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.images import resize
from stylemix.sources import ImageSource, list_images

CACHE_BYTES = 2 * 2**30


class ImageDataset:
    """Square images at `resolution` px, read when first asked for and then kept in memory.

    Files that cannot be read are left out and named in `broken`. Labels come from a
    `dataset.json` beside the images: {"labels": [[name, class number or vector], ...]}.

    Args:
        paths: folders, zips or files.
        resolution: side in px; other sizes are cropped to their middle and resized.
        mirror: every image a second time, flipped left to right.
        use_labels: read labels; False gives an unconditional data set.
        prepare: applied to each picture first, as to cut out its face; StylemixError from it
            counts as a broken picture.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        resolution: int,
        mirror: bool = False,
        use_labels: bool = False,
        prepare: Callable[[Image.Image], Image.Image] | None = None,
    ) -> None:
        self.resolution, self.mirror, self.prepare = resolution, mirror, prepare
        self.sources: list[ImageSource] = list_images(paths)
        self.broken: list[str] = []
        self._pixels: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = {}
        self._left_out: set[int] = set()
        self._instead: dict[int, int] = {}
        self._room = CACHE_BYTES // (3 * resolution**2)
        self.labels: Tensor | None = None
        if use_labels:
            self.labels = _read_labels(Path(os.fspath(_only(paths))), self.sources)

    def __len__(self) -> int:
        """Number of images, flipped ones counted."""
        return len(self.sources) * (2 if self.mirror else 1)

    @property
    def c_dim(self) -> int:
        """Width of the labels, 0 without."""
        return 0 if self.labels is None else self.labels.shape[1]

    def fingerprint(self) -> str:
        """Hash of names, labels and resolution: tells data sets apart when a run continues."""
        text = "\n".join([str(self.resolution), *(s.name for s in self.sources)])
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()[:16]

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Images uint8 [N, 3, H, W] and their labels [N, c_dim], for indices below len(self)."""
        count = len(self.sources)
        pixels = [self._image(i % count) for i in indices]
        pixels = [p[:, ::-1] if i >= count else p for i, p in zip(indices, pixels, strict=True)]
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        if self.labels is None:
            return images, None
        return images, self.labels[[self._instead.get(i % count, i % count) for i in indices]]

    def _image(self, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        if index in self._pixels:
            return self._pixels[index]
        picture = None
        while picture is None:
            # The next one stands in for a broken one, so that positions stay what they were.
            where = self._instead.get(index, index)
            try:
                picture = self._read(where)
            except StylemixError as error:
                self._leave_out(where, error)
                self._instead[index] = (where + 1) % len(self.sources)
        pixels = np.asarray(_square(picture, self.resolution), dtype=np.uint8)
        if len(self._pixels) < self._room:
            self._pixels[index] = pixels
        return pixels

    def _read(self, index: int) -> Image.Image:
        picture = self.sources[index].open(min_side=None if self.prepare else self.resolution)
        return picture if self.prepare is None else self.prepare(picture)

    def _leave_out(self, index: int, error: StylemixError) -> None:
        """Names a broken image, once; StylemixError when there are too many of them."""
        new = index not in self._left_out
        if new:
            self._left_out.add(index)
            self.broken.append(str(error))
        count = len(self.broken)
        if count == len(self.sources) or count > max(10, len(self.sources) // 10):
            raise StylemixError(
                f"got {count} unreadable images of {len(self.sources)}; expected few; "
                f"check the data; the last one: {error}"
            ) from error
        if new:
            print(f"Left out: {error}", file=sys.stderr)


def _only(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> str:
    if isinstance(paths, str | os.PathLike):
        return os.fspath(paths)
    if len(paths) != 1:
        raise StylemixError(f"got {len(paths)} data sources; expected one that has a dataset.json")
    return os.fspath(paths[0])


def _square(picture: Image.Image, resolution: int) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    if picture.size != (side, side):
        picture = picture.crop((left, top, left + side, top + side))
    return picture if side == resolution else resize(picture, resolution)


def _read_labels(path: Path, sources: Sequence[ImageSource]) -> Tensor:
    try:
        if path.is_dir():
            text = (path / "dataset.json").read_text(encoding="utf-8")
        else:
            with zipfile.ZipFile(path) as archive:
                text = archive.read("dataset.json").decode()
        table = dict(json.loads(text)["labels"])
        labels = torch.as_tensor([table[source.name] for source in sources])
        if labels.ndim == 1:
            return torch.nn.functional.one_hot(labels.long()).float()
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise StylemixError(
            f"got no labels for {path} ({error}); expected a dataset.json with one per image"
        ) from error
    return labels.float()


def epoch_order(
    count: int, seed: int, epoch: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The order of one pass over `count` images; depends on nothing but its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def indices_at(position: int, batch: int, count: int, seed: int) -> list[int]:
    """The images shown from `position` images on: an endless, reproducible walk in epochs."""
    orders: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.int64]]] = {}
    out = []
    for i in range(position, position + batch):
        epoch = i // count
        if epoch not in orders:
            orders[epoch] = epoch_order(count, seed, epoch)
        out.append(int(orders[epoch][i % count]))
    return out

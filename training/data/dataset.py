"""Training images from folders and zips, cropped to one size and cached in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.images.sources import ImageSource, list_images, read_beside
from stylemix.io.cache import Checksum
from stylemix.io.files import StrPath
from stylemix.networks.config import GeneratorConfig
from stylemix.training.data.base import MODES, PixelDataset
from stylemix.training.data.fingerprints import read_checksums
from stylemix.training.data.labels import label_vectors, labels_of, parse_labels
from stylemix.training.data.shards import ShardDataset, is_shards


class ImageDataset(PixelDataset):
    """Images from folders, zips and files, read at first use and then cached in memory.

    Unreadable files are skipped and listed in `broken`. Labels come from a `dataset.json` beside
    the images: {"labels": [[name, label], ...]}.

    Args:
        paths: folders, zips or files.
        size: (height, width) in px, or the side of a square; images of another size are cropped
            to their centre and resized.
        mirror: add every image flipped left to right.
        use_labels: read labels; False gives an unconditional dataset.
        prepare: applied to each image first, such as face alignment; an image for which it
            raises StylemixError counts as broken.
        channels: 1 grey, 3 RGB, 4 RGB and opacity.
    """

    def __init__(
        self,
        paths: StrPath | Sequence[StrPath | ImageSource],
        size: int | tuple[int, int],
        mirror: bool = False,
        use_labels: bool = False,
        prepare: Callable[[Image.Image], Image.Image] | None = None,
        channels: int = 3,
    ) -> None:
        super().__init__(size, mirror, channels, prepare)
        parts = [(path, list_images(path)) for path in _several(paths)]
        self.sources: list[ImageSource] = [source for _, part in parts for source in part]
        if use_labels:
            self.labels = _read_labels(parts)

    @property
    def count(self) -> int:
        """Number of images without flipped copies."""
        return len(self.sources)

    def name(self, index: int) -> str:
        """Returns the path of an image."""
        return str(self.sources[index])

    def checksums(self) -> Iterable[Checksum]:
        """Returns size and CRC-32 of each image file, cached between runs."""
        return read_checksums(self.sources)

    def _open(self, index: int, min_side: int | None) -> Image.Image:
        return self.sources[index].open(min_side, MODES[self.channels])


def open_dataset(
    paths: StrPath | Sequence[StrPath],
    size: int | tuple[int, int],
    channels: int = 3,
    mirror: bool = False,
    use_labels: bool = False,
) -> ImageDataset | ShardDataset:
    """Opens images, or WebDataset shards where the paths are .tar files, URLs or pipes."""
    several = _several(paths)
    shards = [path for path in several if is_shards(path)]
    if not shards:
        return ImageDataset(several, size, mirror, use_labels, channels=channels)
    if len(shards) < len(several):
        other = next(path for path in several if path not in shards)
        raise StylemixError(
            f"got shards ({shards[0]}) and images ({other}); expected one kind; pack the "
            "images into shards, or unpack the shards"
        )
    return ShardDataset(shards, size, mirror, use_labels, channels)


def open_for(
    paths: StrPath | Sequence[StrPath], config: GeneratorConfig
) -> ImageDataset | ShardDataset:
    """Opens images at the size, with the channels and, if it is conditional, labels of a model."""
    size = (config.height, config.width)
    return open_dataset(paths, size, config.img_channels, use_labels=config.c_dim > 0)


def _several(paths: Any) -> list[Any]:
    """Returns one path or a sequence of paths as a list."""
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not several:
        raise StylemixError("got no images; expected files, folders or zips; name one")
    return several


def _read_labels(parts: Sequence[tuple[StrPath | ImageSource, Sequence[ImageSource]]]) -> Tensor:
    values: list[object] = []
    class_counts: list[int] = []
    for path, part in parts:
        text = None if isinstance(path, ImageSource) else read_beside(path, "dataset.json")
        if text is None:
            raise StylemixError(
                f"{path}: got no dataset.json; expected one with a label for each image at the "
                "top of the folder or zip; add it"
            )
        table, classes = parse_labels(text, f"{path}/dataset.json")
        values += labels_of([source.name for source in part], table, f"{path}/dataset.json")
        class_counts += [] if classes is None else [classes]
    names = [source for _, part in parts for source in part]
    return label_vectors(values, lambda i: str(names[i]), max(class_counts, default=None))

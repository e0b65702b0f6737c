"""Latents of photos that commands have projected, kept so that the next style is quick.

A latent is somebody's face: the folder is the user's alone, files are named by hashes and, where
there is a passphrase, encrypted, the oldest ones go, and `forget` removes those of a photo.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.images.sources import ImageSource, Photo
from stylemix.inversion.latent import Latent, decode_latent, encode_latent
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.inversion.settings import ProjectionSettings
from stylemix.io.atomic import write_bytes
from stylemix.io.cache import cache_folder
from stylemix.io.encryption import VARIABLE, decrypt, encrypt, passphrase
from stylemix.io.files import read_file
from stylemix.messages import note
from stylemix.models.model import Model
from stylemix.networks.labels import label_of

MAX_FILES = 200  # about 1 MB each
ABANDONED = 3600.0  # seconds; a file of 1 MB is written in one
PLAIN, SEALED = ".safetensors", ".encrypted"  # endings of kept latents
# Folders of the cache about images.
KEPT = ("latents", "features", "checksums", "shard-indices", "shards")


class LatentCache:
    """Latents by what their projection depends on: pixels, model, label, template and settings."""

    def __init__(self, model: Model, settings: ProjectionSettings) -> None:
        self.model, self.settings, self.folder = model, settings, cache_folder("latents")
        self.phrase = passphrase()

    def load(self, photo: AlignedPhoto) -> Latent | None:
        """The latent of a photo, None where there is none that can be read."""
        path = self._path(photo)
        if path is None or not os.path.isfile(path):  # nor where the folder may not be entered
            return None
        with suppress(StylemixError, OSError):
            latent = self._read(path)
            if latent.template in (None, self.model.template):
                path.touch()  # the ones that are used stay
                return latent
        return None

    def save(self, photo: AlignedPhoto, latent: Latent) -> None:
        """Keeps a latent, where that is possible: it saves time only."""
        path = self._path(photo)
        if path is None:
            return
        with suppress(StylemixError, OSError):
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            data = encode_latent(latent)
            write_bytes(path, data if self.phrase is None else encrypt(data, self.phrase))
            path.chmod(0o600)
            if self.phrase is not None:  # what was kept before there was a passphrase
                path.with_suffix(PLAIN).unlink(missing_ok=True)
            files = sorted(path.parent.glob("[0-9a-f]*"), key=lambda file: file.stat().st_mtime)
            begun = [file for file in path.parent.glob(".*") if _is_abandoned(file)]
            for old in files[:-MAX_FILES] + begun:
                old.unlink(missing_ok=True)

    def _path(self, photo: AlignedPhoto) -> Path | None:
        if self.folder is None:
            return None
        about = f"{self.model.fingerprint} {sorted(asdict(self.settings).items())}"
        if (label := label_of(self.model.generator.mapping)) is not None:
            about += f" {label}"
        digest = hashlib.blake2b(about.encode(), digest_size=16)
        digest.update(photo.image.cpu().float().contiguous().numpy().tobytes())
        digest.update(photo.alignment.matrix.tobytes())
        kind = PLAIN if self.phrase is None else SEALED
        return self.folder / f"{photo_key(photo.source)}-{digest.hexdigest()}{kind}"

    def _read(self, path: Path) -> Latent:
        """The latent of a file; StylemixError for one that cannot be read, with a line."""
        data = read_file(path)
        if self.phrase is not None:
            try:
                data = decrypt(data, self.phrase)
            except StylemixError:
                note(f"Note: {VARIABLE} does not open the kept latent of a photo; it is made again")
                raise
        return decode_latent(data, self.model)


def _is_abandoned(file: Path) -> bool:
    """Whether a file was begun so long ago that its process was killed."""
    return file.stat().st_mtime < time.time() - ABANDONED


def photo_key(photo: Photo) -> str:
    """16 hex digits of the content of a photo's file, whatever its name; zeros for what is none."""
    try:
        if isinstance(photo, ImageSource):
            data = photo.read()
        else:
            data = read_file(photo) if isinstance(photo, str | os.PathLike) else b""
    except (OSError, StylemixError):
        data = b""
    return hashlib.blake2b(data, digest_size=8).hexdigest() if data else "0" * 16


def forget(photos: Sequence[Photo]) -> int:
    """Removes the kept latents of photos, of all their faces; returns the number of files."""
    folder = cache_folder("latents")
    keys = [photo_key(photo) for photo in photos]
    # Files with a dot are those that a killed process has begun.
    return sum(_remove(folder, f"{dot}{key}-*") for key in keys for dot in ("", "."))


def forget_all() -> int:
    """Removes all kept latents, and what is kept about images: features, checksums, indices."""
    return sum(_remove(cache_folder(name), "**/*") for name in KEPT)


def _remove(folder: Path | None, pattern: str) -> int:
    files = [] if folder is None else [path for path in folder.glob(pattern) if path.is_file()]
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)

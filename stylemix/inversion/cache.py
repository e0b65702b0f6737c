"""Latents of photos that commands have projected, kept so that the next style is quick.

A latent is somebody's face: the folder is the user's alone, files are named by a hash, and the
oldest ones go.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.inversion.latent import Latent, load_latent, save_latent
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.inversion.settings import ProjectionSettings
from stylemix.io.cache import cache_folder
from stylemix.models.model import Model
from stylemix.networks.labels import label_of

MAX_FILES = 200  # about 1 MB each


class LatentCache:
    """Latents by what their projection depends on: pixels, model, label, template and settings."""

    def __init__(self, model: Model, settings: ProjectionSettings) -> None:
        self.model, self.settings, self.folder = model, settings, cache_folder("latents")

    def load(self, photo: AlignedPhoto) -> Latent | None:
        """The latent of a photo, None where there is none that can be read."""
        path = self._path(photo)
        if path is None or not path.is_file():
            return None
        with suppress(StylemixError, OSError):
            latent = load_latent(path, self.model)
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
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            save_latent(path, latent)
            files = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
            for old in files[:-MAX_FILES]:
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
        return self.folder / f"{digest.hexdigest()}.safetensors"

"""Lists of images from files, folders (recursively) and zips."""

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError, similar_file
from stylemix.images.cost import check_size
from stylemix.images.read import cannot_read, load_image, plain_image, read_image
from stylemix.images.tensors import picture
from stylemix.io.files import MAX_BYTES, StrPath, open_file, read_file, too_long, user_path
from stylemix.io.sniff import ZIP_ERRORS, directory_bytes

# HEIC is listed also where no package reads it, so that an error says which one does.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp"}
    | {".tif", ".tiff", ".avif", ".jp2", ".heic", ".heif", ".mpo"}
)
MAX_DIRECTORY_BYTES = 40 * 2**20  # of a zip, of which Python makes objects ten times as large
MAX_MEMBER_BYTES = 256 * 2**20  # a 100-megapixel PNG of a photo is about as large


@dataclass(frozen=True)
class ImageSource:
    """An image that can be opened: a file, or a member of a zip.

    `name` is a safe base for an output name: relative, with "/" between folders, never "..".
    """

    name: str
    path: Path
    member: str | None = None

    @property
    def stem(self) -> str:
        """The name without folders or extension."""
        return PurePosixPath(self.name).stem

    def open(self, min_side: int | None = None, mode: str = "RGB") -> Image.Image:
        """Reads the image as `load_image` does; StylemixError where it cannot be read."""
        if self.member is None:
            return load_image(self.path, min_side, mode)
        return read_image(BytesIO(_read_member(self.path, self.member)), str(self), min_side, mode)

    def read(self) -> bytes:
        """Returns the bytes of the file; StylemixError or OSError where it cannot be read."""
        if self.member is None:
            return read_file(self.path)
        return _read_member(self.path, self.member)

    def checksum(self) -> tuple[int, int]:
        """Returns size in bytes and CRC-32 of the file, from the directory of a zip if in one."""
        if self.member is not None:
            info = _open_zip(self.path).getinfo(self.member)
            return info.file_size, info.CRC
        size = crc = 0
        with open_file(self.path) as stream:
            while block := stream.read(2**20):
                size, crc = size + len(block), zlib.crc32(block, crc)
                if size > MAX_BYTES:
                    raise too_long(self.path, MAX_BYTES)
        return size, crc

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"


# An image in any form that `open_image` accepts.
Photo = StrPath | ImageSource | Image.Image | NDArray[np.uint8] | Tensor


def open_image(photo: Photo, mode: str = "RGB") -> Image.Image:
    """Converts an image in any form to a PIL image as `load_image` returns.

    Arrays are uint8 [H, W] or [H, W, 1, 3 or 4]. Tensors are uint8, or floating point in [-1, 1],
    [1, 3 or 4, H, W] or a batch of one. Raises StylemixError for other dtypes, shapes and sizes.
    """
    if isinstance(photo, ImageSource):
        return photo.open(mode=mode)
    if isinstance(photo, str | os.PathLike):
        return load_image(user_path(photo), mode=mode)
    if isinstance(photo, Tensor):
        photo = picture(photo)
    elif isinstance(photo, np.ndarray):
        pixels = photo[:, :, 0] if photo.ndim == 3 and photo.shape[2] == 1 else photo
        color = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
        if photo.dtype != np.uint8 or not (pixels.ndim == 2 or color):
            raise StylemixError(
                f"got an array of {photo.dtype} {list(photo.shape)}; expected uint8 [H, W], or "
                "[H, W, C] with 1, 3 or 4 channels; convert it"
            )
        photo = Image.fromarray(np.ascontiguousarray(pixels))
    elif not isinstance(photo, Image.Image):
        raise StylemixError(
            f"got {type(photo).__name__} as an image; expected a path, a PIL image, an array or a "
            "tensor; convert it"
        )
    check_size(photo.size, "image")
    try:
        return plain_image(photo, mode)
    except (OSError, SyntaxError, ValueError) as error:  # of a damaged file that is read only now
        raise cannot_read(error) from error


@dataclass(frozen=True)
class PixelSource(ImageSource):
    """An image in memory, as a source among files."""

    image: Image.Image = field(default_factory=lambda: Image.new("RGB", (1, 1)), compare=False)

    def open(self, min_side: int | None = None, mode: str = "RGB") -> Image.Image:
        """Returns the image in `mode`."""
        del min_side
        return plain_image(self.image, mode)

    def checksum(self) -> tuple[int, int]:
        """Returns size in bytes and CRC-32 of the pixels."""
        pixels = self.image.tobytes()
        return len(pixels), zlib.crc32(pixels)


def list_images(paths: StrPath | ImageSource | Sequence[Photo]) -> list[ImageSource]:
    """Lists images in the given order; the contents of a folder (recursively) or zip by name.

    Folders and zips yield files with common image extensions that are not hidden. Files are not
    decoded here, so a damaged image raises only when it is read. Raises StylemixError for a missing
    path, an unreadable zip, and a folder or zip without images.
    """
    single = isinstance(paths, str | os.PathLike | ImageSource)
    photos: list[Photo] = [paths] if single else list(paths)  # type: ignore[list-item, arg-type]
    if not photos:
        raise StylemixError("got no images; expected files, folders or zips; name one")
    sources: list[ImageSource] = []
    for number, photo in enumerate(photos):
        if isinstance(photo, str | os.PathLike):
            sources += _list_path(user_path(photo))
        elif isinstance(photo, ImageSource):
            sources.append(photo)
        else:
            name = f"image{number}"
            sources.append(PixelSource(name, Path(name), image=open_image(photo, "RGBA")))
    return sources


def has_images(path: StrPath) -> bool:
    """Returns whether `list_images` finds any image; none is decoded."""
    try:
        return bool(list_images(path))
    except StylemixError:
        return False


def read_beside(path: StrPath, name: str) -> bytes | None:
    """Reads a file at the top level of a folder or zip of images; None if it is missing."""
    path = Path(path)
    try:
        if path.is_dir():
            return read_file(path / name) if (path / name).exists() else None
        if not _is_zip(path) or name not in _open_zip(path).namelist():
            return None
    except OSError as error:
        raise StylemixError(
            f"{path / name}: got {error.strerror!r}; expected a readable file; "
            "change its permissions"
        ) from error
    return _read_member(path, name)


def _list_path(path: Path) -> list[ImageSource]:
    try:
        if path.is_dir():
            return _list_folder(path)
        if path.is_file() and _is_zip(path):
            return _list_zip(path)
        if path.exists():
            return [ImageSource(path.name, path)]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StylemixError(
            f"{path}: got {reason!r}; expected a readable image, folder or zip; "
            "check its permissions"
        ) from error
    raise StylemixError(
        f"{path}: got no such file or folder; expected images; check the name{similar_file(path)}"
    )


def _list_folder(folder: Path) -> list[ImageSource]:
    images: list[tuple[str, Path]] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a parent folder
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if _is_image_folder(name))
        for name in files:
            if _is_image_name(name):
                path = Path(place, name)
                images.append((path.relative_to(folder).as_posix(), path))
    if not images:
        raise _no_images(folder, "folder")
    return [ImageSource(name, path) for name, path in sorted(images)]


def _list_zip(path: Path) -> list[ImageSource]:
    images = []
    for member in _open_zip(path).namelist():
        # Members may be named "../../x" or "C:\x"; source names must stay within a folder.
        parts = [part for part in member.replace("\\", "/").split("/") if part not in ("", "..")]
        if member.endswith("/") or not parts or not all(map(_is_image_folder, parts[:-1])):
            continue
        if _is_image_name(parts[-1]):
            images.append(("/".join(part.replace(":", "_") for part in parts), member))
    if not images:
        raise _no_images(path, "zip")
    return [ImageSource(name, path, member) for name, member in sorted(images)]


def _is_image_folder(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def _no_images(path: Path, kind: str) -> StylemixError:
    return StylemixError(
        f"{path}: got a {kind} without images; expected .jpg, .png, .webp or other image "
        f"files in it; choose another {kind}"
    )


def _is_zip(path: Path) -> bool:
    """Returns whether a file is a zip by its first bytes or its extension."""
    with open_file(path) as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06") or path.suffix.lower() == ".zip"


def _open_zip(path: Path) -> zipfile.ZipFile:
    status = path.stat()
    return _cached_zip(path, status.st_size, status.st_mtime_ns, os.getpid())


@lru_cache(maxsize=4)
def _cached_zip(path: Path, size: int, changed: int, process: int) -> zipfile.ZipFile:
    """Opens a zip once, since reading the index of a large zip for each image takes minutes.

    Keyed by process too, since processes share the file position after a fork.
    """
    del size, changed, process
    try:
        if directory_bytes(path) > MAX_DIRECTORY_BYTES:
            raise StylemixError(
                f"{path}: got a zip with far too many members; expected at most about 500,000 "
                "images; use a folder or shards"
            )
        return zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise StylemixError(
            f"{path}: got a damaged zip ({error}); expected a zip of images; "
            "copy or download it again"
        ) from error


def _read_member(path: Path, member: str) -> bytes:
    """Reads a member of a zip; StylemixError above `MAX_MEMBER_BYTES`."""
    try:
        archive = _open_zip(path)
        info = archive.getinfo(member)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile("it is compressed by bzip2, LZMA or another method")
        small = info.file_size <= MAX_MEMBER_BYTES
        data = archive.read(member) if small else b""  # no more than its size, which may be false
    except Exception as error:  # malformed zips raise errors of zlib, struct, zipfile and others
        reason = str(error) or type(error).__name__
        if "password" in reason:
            reason = "a password is set"
        raise StylemixError(
            f"{path}/{member}: got a member that cannot be read ({reason}); expected a complete "
            "image without a password; pack the zip again"
        ) from error
    if not small:
        raise StylemixError(
            f"{path}/{member}: got a member of over {MAX_MEMBER_BYTES // 2**20} MB; expected an "
            "image; remove it from the zip"
        )
    return data


def unique_names(names: Iterable[str]) -> Iterator[str]:
    """Appends numbers to repeated names, so that no output overwrites another."""
    seen: set[str] = set()
    for name in names:
        unique, number = name, 2
        while unique.casefold() in seen:
            unique, number = f"{name}-{number}", number + 1
        seen.add(unique.casefold())
        yield unique

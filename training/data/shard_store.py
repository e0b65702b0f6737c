"""Shards as local files: listed, indexed, and downloaded where they are remote."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from stylemix.errors import StylemixError
from stylemix.images.sources import EXTENSIONS, MAX_MEMBER_BYTES
from stylemix.io.atomic import atomic_write
from stylemix.io.cache import (
    MIN_FILE_AGE,
    cache_folder,
    load_table,
    make_private,
    save_table,
    stamp_of,
)
from stylemix.io.files import StrPath, open_file
from stylemix.io.json_text import parse_json
from stylemix.training.data.base import DataUnreachable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TRIES = 3
FORMAT = 1  # version of the index
ABANDONED = 3600.0  # seconds without a write after which a temporary file is removed


@dataclass(frozen=True)
class Shard:
    """The index of a tar file: name, offset, size, CRC-32 and label of each image."""

    url: str
    bytes: int
    names: list[str]
    offsets: list[int]
    sizes: list[int]
    crcs: list[int]
    labels: list[object]
    damage: str = ""


def is_remote(url: str) -> bool:
    """Returns whether a shard has to be downloaded: a URL, or the output of a command."""
    return re.match(r"pipe:|file:|[A-Za-z][A-Za-z0-9+.-]+://", url) is not None


def expand(paths: Sequence[StrPath]) -> list[str]:
    """Lists shards: expands names with {000..099}, and folders to their .tar files."""
    try:
        from webdataset.shardlists import expand_urls
    except ImportError as error:
        raise StylemixError(
            f"got shards, but no WebDataset ({error}); expected the package webdataset; "
            "run: pip install 'stylemix[shards]'"
        ) from error
    urls: list[str] = []
    for path in [os.fspath(path) for path in paths]:
        if os.path.isdir(path):
            urls += map(str, sorted(Path(path).glob("*.tar")))
        elif path.startswith("pipe:") and not re.search(r"\{\w+\.\.\w+\}", path):
            urls.append(path)  # braces may be the shell's
        else:
            urls += expand_urls(path)
    return urls


def scan(path: Path, url: str) -> Shard:
    """Reads a tar once and indexes its images; a damaged tar gives its `damage` only."""
    shard = Shard(url, path.stat().st_size, [], [], [], [], [])
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for name, members in itertools.groupby(_members(tar), lambda member: member[0]):
                _add_sample(shard, tar, name, {ending: member for _, ending, member in members})
            if not tar.getmembers():
                raise tarfile.ReadError("it has no members")
            last = tar.getmembers()[-1]
            end = last.offset_data + -(-last.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        with open_file(path) as stream:
            stream.seek(end)
            # Two empty blocks mark the end. tarfile does not require them, so it would accept a
            # file that was truncated between two members.
            if stream.read(2 * tarfile.BLOCKSIZE) != bytes(2 * tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it ends in the middle")
    except Exception as error:  # malformed tars raise nearly any exception, of int() and of text
        return Shard(url, 0, [], [], [], [], [], damage=str(error) or type(error).__name__)
    return shard


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Yields sample, extension and member of each regular file, named as in WebDataset."""
    from webdataset.tariterators import base_plus_ext

    last = -1
    for member in tar:
        if member.offset <= last or member.size < 0:  # else a negative size is read for ever
            raise tarfile.ReadError("its members overlap")
        last = member.offset
        sample, ending = base_plus_ext(member.name)
        if member.isreg() and not member.issparse() and sample is not None:
            yield sample, ending.lower(), member


def _add_sample(
    shard: Shard, tar: tarfile.TarFile, name: str, members: dict[str, tarfile.TarInfo]
) -> None:
    # Prefers "img.jpg" to "img.mask.png".
    endings = sorted((e for e in members if f".{e.split('.')[-1]}" in EXTENSIONS), key=_dots)
    if not endings:
        return
    member = members[endings[0]]
    shard.names.append(f"{name}.{endings[0]}")
    shard.offsets.append(member.offset_data)
    shard.sizes.append(member.size)
    shard.crcs.append(zlib.crc32(_read(tar, member)))
    label: object = None
    if "cls" in members:
        text = _read(tar, members["cls"]).decode("utf-8", "replace").strip()
        label = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text
    elif "json" in members:
        with suppress(ValueError):
            document = parse_json(_read(tar, members["json"]))
            label = document.get("label") if isinstance(document, dict) else None
    shard.labels.append(label)


def _dots(ending: str) -> int:
    return ending.count(".")


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None  # regular files only
    if member.size > MAX_MEMBER_BYTES:
        raise tarfile.ReadError(f"a member of over {MAX_MEMBER_BYTES // 2**20} MB")
    return stream.read()


class ShardStore:
    """Shards as local files. Remote shards are downloaded; the last `keep` of them are stored.

    All processes of a machine share the folder, so that each shard is downloaded once.
    """

    def __init__(self, urls: Sequence[str], keep: int) -> None:
        self.keep = keep
        self._sizes: dict[str, int] = {}
        self._queue: SimpleQueue[str] = SimpleQueue()
        self._requested: set[str] = set()
        self._thread: threading.Thread | None = None
        self.folder = Path()
        if any(map(is_remote, urls)):
            base = cache_folder("shards") or Path(tempfile.mkdtemp(prefix="stylemix-"))
            self.folder = base / _hash("\n".join(urls))

    def index(self, url: str) -> Shard:
        """Returns the index of a shard; read once, then cached in the user's cache."""
        remote = is_remote(url)
        if not remote and not os.path.isfile(url):
            raise StylemixError(f"{url}: got no such file; expected a shard; check the name")
        folder = cache_folder("shard-indices")
        key = _hash(url if remote else os.path.abspath(url))
        place = None if folder is None else folder / f"{key}.json"
        stamp = None if remote else [*stamp_of(url)]
        table, started = load_table(place), time.time_ns()
        shard = None
        if (table.get("format"), table.get("stamp")) == (FORMAT, stamp):
            with suppress(KeyError, TypeError):
                shard = Shard(**table["shard"] | {"url": url})
        if shard is None:
            shard = scan(self.local(url), url)
            if remote and shard.damage:  # perhaps a download error: the next run tries again
                self._place(url).unlink(missing_ok=True)
            elif stamp is None or stamp[1] < started - MIN_FILE_AGE:
                save_table(place, {"format": FORMAT, "stamp": stamp, "shard": vars(shard)})
        self._sizes[url] = shard.bytes
        return shard

    def read(self, url: str, offset: int, size: int) -> bytes:
        """Returns `size` bytes of a shard from `offset`."""
        problem = ""
        for _ in range(TRIES):
            try:
                with self.local(url).open("rb") as stream:
                    stream.seek(offset)
                    return stream.read(size)
            except OSError as error:  # another process may just have removed the shard
                problem = error.strerror or str(error)
        raise DataUnreachable(f"{url}: got {problem!r}; expected the shard; put it back")

    def want(self, urls: Sequence[str]) -> None:
        """Downloads shards in the background that are needed soon."""
        new = [url for url in urls if url not in self._requested and is_remote(url)]
        self._requested = set(urls)
        for url in new:
            self._queue.put(url)
        if new and self._thread is None:
            self._thread = threading.Thread(target=self._fetch_queued, daemon=True)
            self._thread.start()

    def local(self, url: str) -> Path:
        """Returns the file of a shard, downloaded if necessary."""
        if not is_remote(url):
            return Path(url)
        place = self._place(url)
        try:
            if not place.exists():
                make_private(self.folder.parent)
                self.folder.mkdir(exist_ok=True)
                with _locked(place.with_suffix(".lock")):
                    if not place.exists():
                        self._fetch(url, place)
        except OSError as error:
            raise DataUnreachable(
                f"{url}: got {error.strerror!r} for {self.folder}; expected a folder for shards; "
                "set STYLEMIX_CACHE to one"
            ) from error
        return place

    def _place(self, url: str) -> Path:
        return self.folder / f"{_hash(url)}.tar"

    def _fetch_queued(self) -> None:
        while True:
            with suppress(StylemixError, OSError):  # the reader tries again and reports the error
                self.local(self._queue.get())

    def _fetch(self, url: str, place: Path) -> None:
        problem = ""
        for attempt in range(TRIES):
            time.sleep(2**attempt - 1)
            try:
                with atomic_write(place) as temporary:
                    self._copy(url, temporary)
            except (OSError, ValueError) as error:
                code = re.search(r"exit (\d+) \(read\)", str(error))
                problem = f"exit code {code[1]} of the program for it" if code else str(error)
            except StylemixError as error:  # no space left
                raise DataUnreachable(str(error)) from error
            else:
                self._make_room()
                return
        raise DataUnreachable(
            f"{url}: got {problem}; expected a shard; check the address and the network"
        )

    def _copy(self, url: str, path: Path) -> None:
        from webdataset import gopen

        with gopen(url, "rb") as stream, path.open("wb") as out:
            shutil.copyfileobj(stream, out, 2**20)
        size, expected = path.stat().st_size, self._sizes.get(url)
        if expected not in (None, size):
            raise OSError(f"{size} bytes, where {expected} were counted")

    def _make_room(self) -> None:
        dates: dict[Path, float] = {}
        with suppress(OSError):
            for file in self.folder.glob("*.tar"):
                with suppress(OSError):  # another thread or process has just removed it
                    dates[file] = file.stat().st_mtime
        whole = sorted((f for f in dates if not f.name.startswith(".")), key=dates.__getitem__)
        # Files with a leading dot are being written, or were when their process died.
        stale = [f for f in dates.keys() - whole if dates[f] < time.time() - ABANDONED]
        for file in whole[: -self.keep] + stale:
            with suppress(OSError):
                file.unlink()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds an exclusive file lock; the kernel frees the lock of a process that died."""
    with path.open("a") as handle:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks: a shard may be fetched twice
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield

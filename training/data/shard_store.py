"""Shards as files: which ones, what lies where in them, and those of other machines fetched."""

from __future__ import annotations

import hashlib
import itertools
import json
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
from stylemix.images.sources import EXTENSIONS
from stylemix.io.atomic import atomic_write
from stylemix.io.cache import MIN_FILE_AGE, cache_folder, load_table, save_table, stamp_of
from stylemix.training.data.base import DataUnreachable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TRIES = 3
FORMAT = 1  # of the index
ABANDONED = 3600.0  # seconds without a byte


@dataclass(frozen=True)
class Shard:
    """What lies in one tar: for each image its name, place, size, CRC-32 and label."""

    url: str
    bytes: int
    names: list[str]
    offsets: list[int]
    sizes: list[int]
    crcs: list[int]
    labels: list[object]
    damage: str = ""


def is_remote(url: str) -> bool:
    """Whether a shard has to be fetched: a URL, or the output of a command."""
    return re.match(r"pipe:|file:|[A-Za-z][A-Za-z0-9+.-]+://", url) is not None


def expand(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """List shards: names with {000..099} written out, the .tar files of folders."""
    try:
        from webdataset.shardlists import expand_urls
    except ImportError as error:
        raise StylemixError(
            f"got shards, but no WebDataset ({error}); expected the package webdataset; "
            "run: pip install 'stylemix[shards]'"
        ) from error
    found: list[str] = []
    for path in [os.fspath(path) for path in paths]:
        if os.path.isdir(path):
            found += map(str, sorted(Path(path).glob("*.tar")))
        elif path.startswith("pipe:") and not re.search(r"\{\w+\.\.\w+\}", path):
            found.append(path)  # braces may be the shell's
        else:
            found += expand_urls(path)
    return found


def scan(path: Path, url: str) -> Shard:
    """Read a tar once and list its images; a tar that is not whole gives its `damage` only."""
    shard = Shard(url, path.stat().st_size, [], [], [], [], [])
    try:
        with tarfile.open(path, "r:") as tar:
            for name, members in itertools.groupby(_members(tar), lambda found: found[0]):
                _add_sample(shard, tar, name, {ending: member for _, ending, member in members})
            last = tar.getmembers()[-1]
            end = last.offset_data + -(-last.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        with path.open("rb") as stream:
            stream.seek(end)
            # The end is marked by two empty blocks. The reader of tars needs none, so that it
            # takes a file that was cut between two members for a whole one.
            if stream.read(2 * tarfile.BLOCKSIZE) != bytes(2 * tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it ends in the middle")
    except (tarfile.TarError, OSError, EOFError, IndexError) as error:
        return Shard(url, 0, [], [], [], [], [], damage=str(error) or type(error).__name__)
    return shard


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Yield sample, ending and member of each plain file, named as WebDataset does it."""
    from webdataset.tariterators import base_plus_ext

    for member in tar:
        sample, ending = base_plus_ext(member.name)
        if member.isreg() and not member.issparse() and sample is not None:
            yield sample, ending.lower(), member


def _add_sample(
    shard: Shard, tar: tarfile.TarFile, name: str, members: dict[str, tarfile.TarInfo]
) -> None:
    # "img.jpg" rather than "img.mask.png", where both are there.
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
        with suppress(ValueError, RecursionError):
            about = json.loads(_read(tar, members["json"]))
            label = about.get("label") if isinstance(about, dict) else None
    shard.labels.append(label)


def _dots(ending: str) -> int:
    return ending.count(".")


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None  # plain files only
    return stream.read()


class ShardStore:
    """Shards as local files. Remote ones are fetched, and the last `keep` of them kept.

    All processes of a machine share the folder, so that each shard is fetched once for them.
    """

    def __init__(self, urls: Sequence[str], keep: int) -> None:
        self.keep = keep
        self._sizes: dict[str, int] = {}
        self._wanted: SimpleQueue[str] = SimpleQueue()
        self._asked: set[str] = set()
        self._thread: threading.Thread | None = None
        self.folder = Path()
        if any(map(is_remote, urls)):
            base = cache_folder("shards") or Path(tempfile.mkdtemp(prefix="stylemix-"))
            self.folder = base / _hash("\n".join(urls))

    def index(self, url: str) -> Shard:
        """What lies in a shard; read once, then known from the user's cache."""
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
            if remote and shard.damage:  # perhaps only on its way here: the next run looks again
                self._place(url).unlink(missing_ok=True)
            elif stamp is None or stamp[1] < started - MIN_FILE_AGE:
                save_table(place, {"format": FORMAT, "stamp": stamp, "shard": vars(shard)})
        self._sizes[url] = shard.bytes
        return shard

    def read(self, url: str, offset: int, size: int) -> bytes:
        """Return a part of a shard."""
        problem = ""
        for _ in range(TRIES):
            try:
                with self.local(url).open("rb") as stream:
                    stream.seek(offset)
                    return stream.read(size)
            except OSError as error:  # another process may just have made room
                problem = error.strerror or str(error)
        raise DataUnreachable(f"{url}: got {problem!r}; expected the shard; put it back")

    def want(self, urls: Sequence[str]) -> None:
        """Fetch shards in the background, since they are needed soon."""
        new = [url for url in urls if url not in self._asked and is_remote(url)]
        self._asked = set(urls)
        for url in new:
            self._wanted.put(url)
        if new and self._thread is None:
            self._thread = threading.Thread(target=self._fetch_wanted, daemon=True)
            self._thread.start()

    def local(self, url: str) -> Path:
        """The file of a shard, fetched if need be."""
        if not is_remote(url):
            return Path(url)
        place = self._place(url)
        try:
            if not place.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                with _alone(place.with_suffix(".lock")):
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

    def _fetch_wanted(self) -> None:
        while True:
            with suppress(StylemixError, OSError):  # who needs the shard tries again, and says so
                self.local(self._wanted.get())

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
            except StylemixError as error:  # no room
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
        with suppress(OSError):
            dates = {file: file.stat().st_mtime for file in self.folder.glob("*.tar")}
            whole = sorted((f for f in dates if not f.name.startswith(".")), key=dates.__getitem__)
            # What has a dot is still being written, or was when its process died.
            dead = [f for f in dates.keys() - whole if dates[f] < time.time() - ABANDONED]
            for file in whole[: -self.keep] + dead:
                file.unlink(missing_ok=True)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One thread of one process at a time; the kernel frees the lock of a process that died."""
    with path.open("a") as handle:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks: then it is fetched twice
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield

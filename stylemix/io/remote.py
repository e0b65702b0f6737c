"""Files that a user names by an address: https://... and hf://OWNER/REPOSITORY/FILE.

Nothing is fetched but what is named so. What was fetched stays in the cache and is used from there,
without a network. An address may end in #sha256=..., which the file must have.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib import error as url_errors
from urllib import request
from urllib.parse import unquote, urlsplit

from stylemix.errors import StylemixError
from stylemix.io.atomic import atomic_write, write_text
from stylemix.io.cache import cache_folder, make_private
from stylemix.messages import note

SCHEMES = ("https://", "hf://")
MAX_BYTES = 4 * 2**30
CHUNK = 2**20
TIMEOUT = 30.0  # seconds without a byte
DIGEST = re.compile(r"#sha256=([0-9a-f]{64})")
HUB_NAME = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+?))?(?:/([\w./ -]+))?")
HUB_DEFAULT = "model.safetensors"


@dataclass(frozen=True)
class Address:
    """An address without its checksum, and the checksum, if it has one."""

    url: str
    digest: str | None

    @classmethod
    def parse(cls, name: str) -> Address:
        """Parses an address; raises StylemixError for a checksum that is not 64 hex digits."""
        url, mark, _ = name.partition("#")
        if not mark:
            return cls(name, None)
        match = DIGEST.fullmatch(name[len(url) :].lower())
        if match is None:
            raise StylemixError(
                f"got {name[len(url) :][:80]} at the end of an address; expected #sha256= and 64 "
                "hex digits; change it or leave it out"
            )
        return cls(url, match[1])


def is_address(name: object) -> bool:
    """Whether a name is an address of a file elsewhere, an http:// one included."""
    return isinstance(name, str) and name.startswith((*SCHEMES, "http://"))


def fetch(name: str) -> Path:
    """The file of an address, from the cache or else from the network, and then kept in the cache.

    Raises StylemixError where it cannot be had, where it is larger than 4 GiB, and where it has not
    the checksum of the address; nothing is kept then.
    """
    if name.startswith("http://"):
        raise StylemixError(
            f"got the address {name[:200]}; expected https:// or hf://, since what http:// sends "
            "can be changed on the way; change it"
        )
    address = Address.parse(name)
    if name.startswith("hf://"):
        path = _from_hub(address.url)
        if address.digest is not None:
            _check_digest(address, _digest_of(path))
        return path
    path = _place(address)
    if not path.exists():
        _download(address, path)
    return path


def _place(address: Address) -> Path:
    """Where a download is kept: by address and checksum, with the ending of its name."""
    folder = cache_folder("downloads")
    if folder is None:
        raise StylemixError(
            "got no folder for downloads; expected a home directory or STYLEMIX_CACHE; set one"
        )
    key = hashlib.sha256(f"{address.url}#{address.digest}".encode()).hexdigest()[:16]
    last = unquote(urlsplit(address.url).path).rsplit("/", 1)[-1]
    return folder / key / (re.sub(r"[^\w.-]", "_", last)[-80:].lstrip(".") or "file")


def _download(address: Address, path: Path) -> None:
    digest = hashlib.sha256()
    try:
        with request.urlopen(_request(address.url), timeout=TIMEOUT) as answer:
            if not answer.url.startswith("https://"):
                raise StylemixError(
                    f"got {answer.url[:200]} instead of {address.url[:200]}; expected an address "
                    "that stays with https://; ask its author"
                )
            make_private(path.parent.parent)  # an address may be a secret
            with atomic_write(path) as temporary, temporary.open("wb") as target:
                _copy(answer, target, digest, address)
                _check_digest(address, digest.hexdigest())
    except url_errors.HTTPError as error:
        raise _cannot_fetch(address, f"{error.code} {error.reason}") from error
    except (url_errors.URLError, TimeoutError, ConnectionError, ValueError) as error:
        raise _cannot_fetch(address, str(getattr(error, "reason", error))) from error
    if address.digest is None:
        write_text(path.with_name("address.txt"), f"{address.url}#sha256={digest.hexdigest()}\n")
        note(
            f"Downloaded {address.url}; add #sha256={digest.hexdigest()} to it, and no other file "
            "is ever taken for it"
        )


def _request(url: str) -> request.Request:
    return request.Request(url, headers={"User-Agent": "stylemix"})


def _copy(source: BinaryIO, target: BinaryIO, digest: hashlib._Hash, address: Address) -> None:
    size = 0
    while block := source.read(CHUNK):
        size += len(block)
        if size > MAX_BYTES:
            raise StylemixError(
                f"got more than {MAX_BYTES // 2**30} GiB from {address.url[:200]}; expected a "
                "model or style file; download it by hand if it is one"
            )
        digest.update(block)
        target.write(block)


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _check_digest(address: Address, digest: str) -> None:
    if address.digest not in (None, digest):
        raise StylemixError(
            f"got a file with sha256 {digest} from {address.url[:200]}; expected "
            f"{address.digest}; the file was changed: ask its author"
        )


def _from_hub(url: str) -> Path:
    match = HUB_NAME.fullmatch(url)
    if match is None:
        raise StylemixError(
            f"got {url[:200]}; expected hf://OWNER/REPOSITORY/FILE, or with a revision "
            "hf://OWNER/REPOSITORY@REVISION/FILE; change it"
        )
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from huggingface_hub import hf_hub_download  # an extra
    except ImportError as error:
        raise StylemixError(
            "got an address of the Hugging Face Hub and no huggingface_hub; expected the package; "
            "pip install 'stylemix[hub]'"
        ) from error
    repository, file = match[1], match[3] or HUB_DEFAULT
    with suppress(OSError, ValueError):  # asked for newer ones, an offline library tries for long
        return Path(hf_hub_download(repository, file, revision=match[2], local_files_only=True))
    try:
        return Path(hf_hub_download(repository, file, revision=match[2]))
    except (OSError, ValueError) as error:  # the bases of all errors of the Hub's library
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise _cannot_fetch(Address(url, None), reason) from error


def _cannot_fetch(address: Address, reason: str) -> StylemixError:
    return StylemixError(
        f"got no file from {address.url[:200]} ({reason[:200]}); expected a model or style file; "
        "check the address and the network"
    )

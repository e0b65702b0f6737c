"""Detection of file types by content, never by extension.

Failed downloads (a web page, a Git LFS pointer) get error messages of their own, since they are
the most common mistakes.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from typing import BinaryIO, Literal

from stylemix.errors import StylemixError, similar_file
from stylemix.io.files import StrPath, damaged, open_file
from stylemix.io.tensor_files import MAX_HEADER_BYTES

Kind = Literal["safetensors", "torch-zip", "torch-stream", "npz", "npy", "pickle"]

HEAD_BYTES = 512
MAX_DIRECTORY_BYTES = 16 * 2**20  # of a zip with weights, which has some thousand members
_MAGIC_NUMBER = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # at the start of every torch stream

# Pickle protocol 0 is text: containers, quoted strings and names, one per line.
_OLD_PICKLE = re.compile(
    rb"\((?:[dlt]p?\d*\n|[dlt][pS.(]|S['\"]|V|[IFL]-?\d|c[\w.]+\n)|c[\w.]+\n[\w.]+\n"
)

# All exceptions of Python's zip reader for damaged files: bad names, wrong sizes, encryption flags.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
)

_IMAGE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_OTHER_MAGIC = {
    b"\x1f\x8b": "gzip archive",
    b"7z\xbc\xaf": "7-zip archive",
    b"Rar!": "RAR archive",
    b"\x28\xb5\x2f\xfd": "zstd archive",
    b"\xfd7zXZ": "xz archive",
    b"\x89HDF": "Keras or HDF5 file",
    b"%PDF": "PDF document",
}


def sniff(path: StrPath) -> Kind:
    """Returns the type of a file; StylemixError for a missing, empty or unsupported file."""
    try:
        with open_file(path) as handle:
            size = os.fstat(handle.fileno()).st_size
            head = handle.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise StylemixError(
            f"{path}: no such file; expected a model, style or latent file; check the "
            f"name{similar_file(path)}"
        ) from error
    except OSError as error:
        raise StylemixError(
            f"{path}: got {error.strerror}; expected a readable file; check name and permissions"
        ) from error
    if not size:
        raise StylemixError(f"{path}: got an empty file; expected weights; download it again")
    return _by_content(path, head, size)


def is_torch_stream(head: bytes) -> bool:
    """Returns whether a file starts like the legacy stream format of `torch.save`."""
    return _MAGIC_NUMBER in head[:32]


def _by_content(path: StrPath, head: bytes, size: int) -> Kind:
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if is_torch_stream(head):
        return "torch-stream"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    # A safetensors file with a header of 128, 384, ... bytes also starts with 0x80.
    if head[:1] == b"\x80" and head[1:2] <= b"\x05" and head[4:9] != b"\0\0\0\0{":
        return "pickle"
    if head[8:9] == b"{" and len(head) > 9:
        _check_header(path, int.from_bytes(head[:8], "little"), size)
        return "safetensors"
    if _OLD_PICKLE.match(head):
        return "pickle"
    _refuse_known(path, head)
    if head[:1] in b"(}]Nc":  # pickle protocol 1 has no magic number
        return "pickle"
    raise StylemixError(
        f"{path}: got a file of an unknown kind; expected .safetensors, .pkl, .pt or .npz; "
        "check that it is the right file"
    )


def _check_header(path: StrPath, length: int, size: int) -> None:
    if length > MAX_HEADER_BYTES:
        raise StylemixError(
            f"{path}: got a header of {length} bytes; expected at most {MAX_HEADER_BYTES}; "
            "the file is damaged or malicious: get it again from its author"
        )
    if length + 8 > size:
        raise StylemixError(
            f"{path}: got a truncated file, {size} bytes, less than its header; "
            "expected a complete one; download or copy it again"
        )


def _kind_of_zip(path: StrPath) -> Kind:
    try:
        if directory_bytes(path) > MAX_DIRECTORY_BYTES:
            raise StylemixError(
                f"{path}: got a zip with far more members than any model has; expected a model, "
                "style or latent file; give the other file"
            )
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except ZIP_ERRORS as error:
        raise damaged(path) from error
    if any(name.endswith("data.pkl") for name in names):
        return "torch-zip"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise StylemixError(
        f"{path}: got a zip archive; expected a model, style or latent file; unpack it first"
    )


def directory_bytes(path: StrPath) -> int:
    """The size in bytes of a zip's directory, of which Python makes objects ten times as large.

    Raises BadZipFile for a file without one.
    """
    with open_file(path) as stream:
        return directory_bytes_of(stream)


def directory_bytes_of(stream: BinaryIO) -> int:
    """`directory_bytes` of a zip that is open."""
    # Python's own search for the last record, since any other could take another one for it: files
    # may hold several, and one of zip64, which counts whatever the one beside it says.
    record = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
    if not record:
        raise zipfile.BadZipFile("no directory")
    return int(record[5])


def _refuse_known(path: StrPath, head: bytes) -> None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        raise StylemixError(
            f"{path}: got a web page, not the file itself (Google Drive and other hosts send one "
            "when a download needs a click or is over its quota); expected weights; "
            "download it with a browser"
        )
    if text.startswith(b"version https://git-lfs"):
        raise StylemixError(
            f"{path}: got a Git LFS pointer, not the file itself; expected weights; "
            "run `git lfs pull` in its repository"
        )
    if head.startswith(_IMAGE_MAGIC):
        raise StylemixError(
            f"{path}: got an image; expected a model, style or latent file; give the other file"
        )
    for start, kind in _OTHER_MAGIC.items():
        if head.startswith(start):
            raise StylemixError(
                f"{path}: got a {kind}; expected a model, style or latent file; unpack or export it"
            )
    if head[257:262] == b"ustar":
        raise StylemixError(
            f"{path}: got a tar archive; expected a model, style or latent file; unpack it first"
        )
    if _is_text(head):
        raise StylemixError(
            f"{path}: got a text file; expected a model, style or latent file; "
            "check that it is the right file"
        )


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # an incomplete character at the end is allowed
            return False
        text = head[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter in "\t\r\n\f" for letter in text)

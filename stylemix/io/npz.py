"""Reading numeric `.npz` and `.npy` arrays; every size is checked before memory is allocated."""

from __future__ import annotations

import io
import tokenize
import zipfile
from math import prod

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from stylemix.errors import StylemixError
from stylemix.io.files import StrPath, damaged, read_file
from stylemix.io.sniff import ZIP_ERRORS

MAX_BYTES = 2**26  # a W+ code of 18 x 512 floats takes 36 kB
MAX_DIMENSIONS = 32  # those of numpy
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_HEADER = 10_000  # characters, numpy's own default

Array = NDArray[np.generic]


def read_npz(path: StrPath) -> dict[str, Array]:
    """Reads the arrays of a `.npz` by name; StylemixError for objects, damage or over 64 MB."""
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise StylemixError(
                    f"{path}: got arrays of more than {MAX_BYTES >> 20} MB; expected latents; "
                    "choose another file"
                )
            if any(member.compress_type not in _COMPRESSIONS for member in members):
                raise StylemixError(
                    f"{path}: got arrays compressed by bzip2 or LZMA; expected those of numpy, "
                    "stored or deflated; save it again with numpy.savez"
                )
            for member in members:
                name = member.filename.removesuffix(".npy")
                arrays[name] = _array(archive.read(member), str(path))
    except ZIP_ERRORS as error:
        raise damaged(path) from error
    return arrays


def read_npy(path: StrPath) -> Array:
    """Reads the array of a `.npy`; StylemixError for objects, damage or over 64 MB."""
    data = read_file(path)
    if len(data) > MAX_BYTES:
        raise StylemixError(
            f"{path}: got an array of more than {MAX_BYTES >> 20} MB; expected latents; "
            "choose another file"
        )
    return _array(data, str(path))


def _array(data: bytes, name: str) -> Array:
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0
        if version != (1, 0):
            read = npy_format.read_array_header_2_0
        shape, fortran, dtype = read(stream, max_header_size=_MAX_HEADER)
    except (
        ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError,
    ) as error:  # fmt: skip
        raise damaged(name) from error
    if dtype.kind not in "biuf":
        raise StylemixError(
            f"{name}: refused, it holds an array of {dtype.kind!a} objects; nothing in it was run; "
            "expected a numeric array; get the file again from its author"
        )
    content = memoryview(data)[stream.tell() :]
    if len(shape) > MAX_DIMENSIONS or not all(type(size) is int and size > 0 for size in shape):
        raise damaged(name)
    if prod(shape) * dtype.itemsize != len(content):
        raise damaged(name)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")

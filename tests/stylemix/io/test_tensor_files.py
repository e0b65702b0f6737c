"""Safetensors files: the same as the library reads, and every lie in a header is found."""

import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from stylemix.io import tensor_files
from stylemix.io.tensor_files import DTYPES, Damaged, read_header, read_tensors

GOOD = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
DATA = struct.pack("<4f", 1, 2, 3, 4)


def build(header: object, data: bytes = DATA) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_the_same_as_the_library(tmp_path):
    draw = torch.Generator().manual_seed(0)
    tensors = {name: (torch.rand([3, 2], generator=draw) * 9).to(kind)
               for name, kind in DTYPES.items()}  # fmt: skip
    tensors |= {"scalar": torch.tensor(3.0), "empty": torch.zeros([0, 4])}
    save_file(tensors, tmp_path / "a", {"format": "x", "b": "\u2603"})
    metadata, found = read_tensors(tmp_path / "a")
    expected = load_file(tmp_path / "a")
    assert metadata == {"format": "x", "b": "\u2603"}
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert torch.equal(found[name], value)
    found["F32"] += 1  # its own memory
    assert torch.equal(load_file(tmp_path / "a")["F32"], expected["F32"])


def test_a_file_built_by_hand(tmp_path):
    (tmp_path / "a").write_bytes(build({"x": GOOD}))
    assert read_tensors(tmp_path / "a")[1]["x"].tolist() == [[1, 2], [3, 4]]
    assert read_header(tmp_path / "a").entries["x"].shape == (2, 2)


LIES = {
    "empty": b"",
    "seven bytes": b"1234567",
    "header beyond the end": (2**40).to_bytes(8, "little") + b"{}",
    "no JSON": build(b"{nonsense}"),
    "a list": build([], b""),
    "nested": build(b"[" * 100_000 + b"]" * 100_000),
    "a name twice": build(b'{"x":%s,"x":%s}' % ((json.dumps(GOOD).encode(),) * 2)),
    "metadata of numbers": build({"__metadata__": {"a": 1}, "x": GOOD}),
    "metadata as a list": build({"__metadata__": [], "x": GOOD}),
    "an entry as a number": build({"x": 1}),
    "an entry without a shape": build({"x": {"dtype": "F32", "data_offsets": [0, 16]}}),
    "an unknown key": build({"x": {**GOOD, "more": 1}}),
    "fp8": build({"x": {**GOOD, "dtype": "F8_E4M3", "shape": [16]}}),
    "fp4": build({"x": {**GOOD, "dtype": "F4", "shape": [32]}}),
    "a type as a list": build({"x": {**GOOD, "dtype": []}}),
    "a shape of 2^64": build({"x": {**GOOD, "shape": [0, 2**64]}}),
    "a shape of 400 digits": build({"x": {**GOOD, "shape": [10**400]}}),
    "a shape of 5000 digits": build(b'{"x":{"dtype":"F32","shape":[%s],"data_offsets":[0,16]}}'
                                    % (b"9" * 5000)),
    "a negative shape": build({"x": {**GOOD, "shape": [-2, -2]}}),
    "a shape of booleans": build({"x": {**GOOD, "shape": [True, 4]}}),
    "a shape of floats": build({"x": {**GOOD, "shape": [4.0]}}),
    "a shape of text": build({"x": {**GOOD, "shape": "22"}}),
    "a hundred dimensions": build({"x": {**GOOD, "shape": [1] * 99 + [4]}}),
    "too small a shape": build({"x": {**GOOD, "shape": [3]}}),
    "offsets of three": build({"x": {**GOOD, "data_offsets": [0, 8, 16]}}),
    "offsets beyond the end": build({"x": {**GOOD, "shape": [5], "data_offsets": [0, 20]}}),
    "offsets backwards": build({"x": {**GOOD, "shape": [0], "data_offsets": [16, 0]}}),
    "a gap": build({"x": {**GOOD, "shape": [2], "data_offsets": [8, 16]}}),
    "an overlap": build({"x": GOOD, "y": GOOD}),
    "a tail": build({"x": GOOD}, DATA + b"more"),
    "cut": build({"x": GOOD}, DATA[:-1]),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_lies_are_found(tmp_path, name):
    (tmp_path / "a").write_bytes(LIES[name])
    with pytest.raises(Damaged, match=r"a: got a truncated or damaged .*; expected a complete one"):
        read_tensors(tmp_path / "a")
    if name not in ("cut", "a tail"):
        with pytest.raises(Damaged):
            read_header(tmp_path / "a")


def test_a_long_header_is_not_read(tmp_path):
    with (tmp_path / "a").open("wb") as stream:
        stream.write((80 * 2**20).to_bytes(8, "little") + b"{")
        stream.truncate(81 * 2**20)
    with pytest.raises(Damaged, match="its header is too long"):
        read_tensors(tmp_path / "a")


def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    """With files mapped into memory this ends the process."""
    path = tmp_path / "a"
    save_file({"x": torch.zeros([2**18]), "y": torch.ones([2**18])}, path)
    read = tensor_files._tensor

    def shrink(stream, entry):
        os.truncate(path, path.stat().st_size // 2)
        return read(stream, entry)

    monkeypatch.setattr(tensor_files, "_tensor", shrink)
    with pytest.raises(Damaged, match="shorter while it was read"):
        read_tensors(path)

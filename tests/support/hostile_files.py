"""Model files that try to run code or to exhaust memory, or that are another kind of file.

Each function returns {name: bytes}. The attacks create the folder `mark` when Python's own loader
reads them; a safe reader does not create it.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping

import numpy as np
import torch


class _Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.pair = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.pair


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _blob(raw: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(raw)) + raw


def _name(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93"


def _call(module: str, name: str, *arguments: bytes) -> bytes:
    """Opcodes that call `module.name` with arguments given as opcodes."""
    return _name(module, name) + b"(" + b"".join(arguments) + b"tR"


def _whole(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def _number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def _sizes(*values: int) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"


def torch_zip(
    main: bytes, blocks: dict[str, bytes], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """A file in the zip form of torch.save around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", main)
        for key, raw in blocks.items():
            archive.writestr(f"archive/data/{key}", raw)
    return stream.getvalue()


def torch_stream(main: bytes, after: bytes = b"\x80\x02].") -> bytes:
    """A file in the stream form of torch.save around any pickle."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    return b"".join(pickle.dumps(part, protocol=2) for part in head) + main + after


def storage(raw: bytes, count: int | None = None, key: str = "0") -> bytes:
    """A float storage as in a network pickle, optionally with a false count."""
    count = len(raw) // 4 if count is None else count
    identity = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu")
    main = b"\x80\x02" + identity + _number(count) + b"NtQ."
    after = pickle.dumps([key], protocol=2) + struct.pack("<q", count) + raw
    return torch_stream(main, after)


def nested(raw: bytes) -> bytes:
    """Opcodes that load a storage from bytes."""
    return _call("torch.storage", "_load_from_bytes", _blob(raw))


def tensor(block: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A pickle of one tensor over a storage given as opcodes."""
    view = [block, _number(offset), _sizes(*size), _sizes(*stride), b"\x89", b"N"]
    return _whole(_call("torch._utils", "_rebuild_tensor_v2", *view))


def that_run_code(mark: str) -> dict[str, bytes]:
    """Files whose loading with Python's or torch's own loader makes the folder `mark`."""
    evil = _Call(os.mkdir, mark)
    one_line = f"__import__('os').mkdir({mark!r})"
    main = pickle.dumps({"g_ema": evil}, protocol=2)
    inside = io.BytesIO()
    torch.save({"g_ema": evil}, inside)
    files = {f"reduce_{p}": pickle.dumps(evil, protocol=p) for p in range(6)}
    files |= {
        "in_a_network": pickle.dumps({"G_ema": evil, "D": None}, protocol=4),
        "eval": _whole(_call("builtins", "eval", _text(one_line))),
        "exec": _whole(_call("builtins", "exec", _text(one_line))),
        "inst": b"(S" + repr(one_line).encode() + b"\nibuiltins\neval\n.",
        "obj": b"(cbuiltins\neval\n" + _text(one_line) + b"o.",
        "newobj_ex": _whole(_name("builtins", "eval") + _text(one_line) + b"\x85}\x92"),
        "zip": torch_zip(main, {}),
        "zip_of_torch": inside.getvalue(),
        "stream": torch_stream(main),
        "stream_after_pickle": torch_stream(b"\x80\x02N.", pickle.dumps(evil, protocol=2)),
        "storage_pickle": _whole(nested(pickle.dumps(evil, protocol=2))),
        "storage_zip": _whole(nested(torch_zip(main, {}))),
        "storage_stream": _whole(nested(torch_stream(main))),
    }
    return files


def that_ask_for_names() -> dict[str, bytes]:
    """Pickles that look up names outside the whitelist, some through allowed names."""
    names = {
        "os": ("os", "system"),
        "posix": ("posix", "system"),
        "subprocess": ("subprocess", "Popen"),
        "getattr": ("builtins", "getattr"),
        "import": ("builtins", "__import__"),
        "dotted": ("collections", "OrderedDict.__init__.__globals__"),
        "dotted_torch": ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        "torch_load": ("torch", "load"),
        "torch_hub": ("torch.hub", "load"),
        "numpy_load": ("numpy", "load"),
        "numpy_f2py": ("numpy.f2py.crackfortran", "getlincoef"),
        "partial": ("functools", "partial"),
        "attrgetter": ("operator", "attrgetter"),
        "codec": ("codecs", "encode"),
        "dill": ("dill._dill", "_create_function"),
        "jit": ("torch.jit._script", "unpackage_script_module"),
        "ours": ("stylemix.io.atomic", "write_bytes"),
        "line_feed": ("os\nsystem", "x"),
        "long": ("a" * 5000, "b" * 5000),
    }
    return {f"name_{key}": _whole(_name(*pair)) for key, pair in names.items()} | {
        "extension": _whole(b"\x82\x01"),
        "persistent_id": b"P0\n.",
        "persistent_object": _whole(_text("x") + b"Q"),
        "buffer": b"\x80\x05\x97.",
        "call_of_data": _whole(_text("x") + b")R"),
        "build_on_list": _whole(b"]" + _text("x") + b"b"),
        "build_on_storage": _whole(nested(storage(bytes(8))) + b"}b"),
        "protocol_6": b"\x80\x06N.",
    }


def _laughs(depth: int, add: bytes = b"\x86") -> bytes:
    """Opcodes for a tuple of twice a tuple of twice a tuple...: 2 ** depth leaves."""
    return _text("ha") + (b"2" + add) * depth


def that_cost_too_much() -> dict[str, bytes]:
    """Small files that would exhaust memory or time in an unsafe reader."""
    block = nested(storage(bytes(48)))
    zipped = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu")
    many = b"(" + (_text("a") + b"N\x86") * 300 + b"l\x94"
    copies = (_name("collections", "OrderedDict") + b"h\x00\x85R0") * 60_000
    return {
        "memo_index": _whole(b"Nr\xff\xff\xff\xff0"),
        "bytes_length": _whole(b"\x8e" + struct.pack("<Q", 2**60)),
        "bytearray_length": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        "text_length": _whole(b"\x8d" + struct.pack("<Q", 2**62)),
        "frame_length": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"\x8e.",
        "long_number": _whole(b"\x8b" + struct.pack("<I", 100_000) + bytes(100_000)),
        "long_decimal": b"L" + b"9" * 100_000 + b"L\n.",
        "bytearray_of_number": _whole(_call("builtins", "bytearray", _number(10**12))),
        "laughs_as_key": _whole(b"}" + _laughs(70) + b"Ns"),
        "laughs_in_set": _whole(b"\x8f(" + _laughs(70) + b"\x90"),
        "laughs_as_encoding": _whole(_call("_codecs", "encode", _text("x"), _laughs(70))),
        "laughs_in_device": _whole(_call("torch", "device", _laughs(70)) + b"}b"),
        "colliding_keys": _whole(b"}" + _number((2**61 - 1) * 3) + b"Ns"),
        "copies_of_a_dict": _whole(many + copies),
        "offset": tensor(block, 12, (1,), (1,)),
        "size": tensor(block, 0, (13,), (1,)),
        "stride": tensor(block, 0, (2, 2), (12, 1)),
        "repeated": tensor(block, 0, (2**40,), (0,)),
        "overflow": tensor(block, 2**61, (2**61, 2**61), (2**61, 2**61)),
        "negative": tensor(block, -1, (2,), (1,)),
        "negative_stride": tensor(block, 11, (2,), (-1,)),
        "many_dimensions": tensor(block, 0, (1,) * 80, (1,) * 80),
        "empty_but_huge": tensor(block, 0, (0, 2**62, 2**62), (1, 1, 1)),
        "storage_count": _whole(nested(storage(bytes(48), count=2**45))),
        "storage_count_short": _whole(nested(storage(bytes(48), count=11))),
        "storage_in_storage": _whole(nested(_whole(nested(_whole(nested(storage(bytes(8)))))))),
        "zip_count": torch_zip(b"\x80\x02" + zipped + _number(10**9) + b"tQ.", {"0": bytes(8)}),
        "zip_key": torch_zip(b"\x80\x02" + zipped + _number(2) + b"tQ.", {"1": bytes(8)}),
        "zip_bomb": torch_zip(_whole(b"N"), {"0": bytes(10**7)}, zipfile.ZIP_DEFLATED),
        "zip_script": torch_zip(_whole(b"N"), {}).replace(b"data.pkl", b"code/mod"),
        "array_shape": _whole(_array(b"f4", (2**40,), bytes(8))),
        "array_of_objects": pickle.dumps(np.array([{}, None], dtype=object), protocol=4),
        "array_of_records": pickle.dumps(np.zeros(2, dtype=[("a", "f4")]), protocol=4),
        "array_of_text": pickle.dumps(np.array(["a", "b"]), protocol=4),
    }


def _array(kind: bytes, shape: tuple[int, ...], raw: bytes) -> bytes:
    core = "numpy.core.multiarray"
    begin = [_name("numpy", "ndarray"), _sizes(0), b"C\x01b"]
    dtype = _call("numpy", "dtype", _text(kind.decode()), b"\x89", b"\x88")
    state = b"(" + _number(1) + _sizes(*shape) + dtype + b"\x89" + _blob(raw) + b"t"
    return _call(core, "_reconstruct", *begin) + state + b"b"


def that_are_something_else() -> dict[str, bytes]:
    """Files that users pass instead of a model, by the kind that the message has to name."""
    tar = b"pickle".ljust(257, b"\0") + b"ustar\x0000" + bytes(300)
    return {
        "web page": b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>",
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
        "text file": "It was a dark and stormy night; größer".encode() * 20,
        "image": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "empty file": b"",
        "gzip archive": b"\x1f\x8b\x08\x00" + bytes(40),
        "tar archive": tar,
        "zip archive": torch_zip(b"", {}).replace(b"data.pkl", b"photo.jp"),
        "unknown kind": bytes(range(1, 200)),
    }


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header, optionally with a false length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def broken_safetensors() -> dict[str, bytes]:
    """Files with false lengths, offsets and types in their headers."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    deep = b'{"__metadata__":' + b"[" * 200_000
    return {
        "huge_header": safetensors({}, length=2**63),
        "large_header": safetensors({"a": entry}, bytes(8), length=99_000_000),
        "outside": safetensors({"a": {**entry, "data_offsets": [0, 800]}}, bytes(8)),
        "overlap": safetensors({"a": entry, "b": entry}, bytes(8)),
        "shape": safetensors({"a": {**entry, "shape": [2**40]}}, bytes(8)),
        "overflow": safetensors({"a": {**entry, "shape": [2**40, 2**40]}}, bytes(8)),
        "dtype": safetensors({"a": {**entry, "dtype": "O"}}, bytes(8)),
        "not_json": safetensors(b"{oh dear"),
        "deep_json": safetensors(deep),
        "no_tensors": safetensors({}),
    }


def npy(description: str, shape: str, raw: bytes) -> bytes:
    """A .npy file with any header."""
    text = f"{{'descr': {description}, 'fortran_order': False, 'shape': {shape}}}".encode()
    text = text.ljust(118, b" ") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + raw


def zipped(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def zips_of_hidden_directories(count: int) -> dict[str, bytes]:
    """Zips of so many members whose last record, or the record nearest to it, says a few."""
    entry = struct.pack("<I", 0x02014B50) + bytes(24) + struct.pack("<H", 5) + bytes(16) + b"a.png"
    data, size, start = b"PK\3\4" + entry * count, len(entry) * count, 4
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, 100, 0, 0)
    zip64 = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, start)
    zip64 += struct.pack("<IIQI", 0x07064B50, 0, len(data), 1)
    # The numbers of disks, which nothing reads, look like the begin of another record.
    record = struct.pack("<IIHHIIH", 0x06054B50, 0x06054B50, 65535, 65535, size, start, 0)
    return {"zip64": data + zip64 + end, "record_in_record": data + record}


def storage_of_many_members(count: int) -> bytes:
    """A pickle that loads a storage from a zip of so many members."""
    return _whole(nested(zips_of_hidden_directories(count)["zip64"]))

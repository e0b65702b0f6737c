"""Hostile files for the readers of models, styles, latents and encoders."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np
import torch

import tests.support.hostile_files as files
from tests.support.hostile_files import npy, safetensors, zipped

HUGE = int("9" * 400)  # a whole number that no float holds
NUMBERS = {
    "huge": HUGE,
    "nan": float("nan"),
    "infinite": float("inf"),
    "negative": -1,
    "zero": 0,
    "text": "7",
    "none": None,
    "list": [1],
    "bool": True,
    "table": {"a": 1},
}


def weights_in_pickles(mark: str) -> dict[str, bytes]:
    """Pickles that call, ask for names, cost too much or are damaged; `mark` shows a call."""
    found = {**files.that_run_code(mark), **files.that_ask_for_names()}
    found |= files.that_cost_too_much()
    whole = pickle.dumps({"g_ema": {"input.input": np.ones((1, 4, 4, 4), np.float32)}}, protocol=4)
    found |= {f"cut_{n}": whole[:n] for n in (3, 11, 40, len(whole) // 2, len(whole) - 1)}
    opcodes = {"sets": b"\x8f", "dicts": b"}", "lists": b"]", "marks": b"(", "nones": b"N"}
    found |= {
        f"many_{name}": b"\x80\x04" + code * 1_500_000 + b"." for name, code in opcodes.items()
    }
    found |= {
        "memo_of_many": b"\x80\x04N" + b"\x94" * 1_500_000 + b".",
        "nested_tuples": b"\x80\x04)" + b"\x85" * 900_000 + b".",
        "nested_lists": b"\x80\x04" + b"]" * 400_000 + b"a" * 399_999 + b".",
        "list_in_itself": b"\x80\x04]\x94h\x00a.",
        "table_in_itself": b"\x80\x04}\x94\x8c\x05g_emah\x00s.",
        "persistent_text": b"\x80\x02Q.",
        "stack_underflow": b"\x80\x040000.",
        "no_stop": b"\x80\x04N",
        "two_objects": b"\x80\x04NN.",
        "float_text": b"F" + b"1" * 200_000 + b"\n.",
        "unicode_cut": b"\x80\x04X\x05\x00\x00\x00\xed\xa0\x80\xff\xff.",
        "latent_of_a_list": pickle.dumps({"w": [[1.0, 2.0]]}, protocol=4),
        "deep_latent": pickle.dumps({"a": {"b": {"c": {"d": 1}}}}, protocol=4),
        "directory_in_a_storage": files.storage_of_many_members(400_000),
        "tensor_of_complex": _torch_file(
            {"g_ema": {"input.input": torch.ones(2, 2, dtype=torch.complex64)}}
        ),
        "g_ema_is_tensor": _torch_file({"g_ema": torch.ones(1, 1, 1, 3)}),
        "g_ema_is_empty": _torch_file({"g_ema": {"input.input": torch.ones(0)}}),
        "g_ema_of_lists": pickle.dumps(
            {"g_ema": {"input.input": [1.0], "style.1.weight": [1.0]}}, protocol=4
        ),
        "latent_avg_of_text": _torch_file(
            {"g_ema": {"input.input": torch.ones(1, 4, 4, 4)}, "latent_avg": "x"}
        ),
        "huge_layer_number": _torch_file(
            {"g_ema": {"input.input": torch.ones(1, 4, 4, 4), "to_rgbs.999.bias": torch.ones(1)}}
        ),
    }
    return found


def _torch_file(data: object) -> bytes:
    stream = io.BytesIO()
    torch.save(data, stream)
    return stream.getvalue()


def torch_zips() -> dict[str, bytes]:
    """Damaged zips of torch.save: directory, members, names and byte orders."""
    whole = _torch_file({"g_ema": {"input.input": torch.ones(1, 4, 4, 4)}})
    end = whole.rfind(b"PK\5\6")
    directory = struct.unpack("<I", whole[end + 16 : end + 20])[0]

    def at(position: int, data: bytes) -> bytes:
        return whole[:position] + data + whole[position + len(data) :]

    found = {
        "no_end": whole[:end],
        "cut": whole[: len(whole) // 2],
        "count": at(end + 8, b"\xff\xff\xff\xff"),
        "directory_outside": at(end + 16, b"\xff\xff\xff\x7f"),
        "directory_size": at(end + 12, b"\xff\xff\xff\x7f"),
        "member_offset": at(directory + 42, b"\xff\xff\xff\x7f"),
        "member_size": at(directory + 20, b"\xff\xff\xff\x7f" * 2),
        "encrypted": at(directory + 8, b"\x01\x00"),
        "method": at(directory + 10, b"\x63\x00"),
        "disk": at(end + 4, b"\x07\x00"),
        "bytes_before": b"#!/bin/sh\n" + whole,
        "deflated": zipped(
            {"a/data.pkl": pickle.dumps({}), "a/byteorder": b"little"}, zipfile.ZIP_DEFLATED
        ),
        "no_pickle": zipped({"a/data.pkl/": b""}),
        "twice": zipped({"a/data.pkl": b"\x80\x02N.", "b/data.pkl": b"\x80\x02N."}),
        "byteorder": zipped({"a/data.pkl": pickle.dumps({}), "a/byteorder": b"\xff" * 1000}),
        "names": zipped({"../../etc/data.pkl": pickle.dumps({})}),
        "terminal": zipped({"\x1b[31m\n/data.pkl": pickle.dumps({})}),
    }
    found |= files.zips_of_hidden_directories(400_000)
    many = struct.pack("<I", 0x02014B50) + bytes(42)
    found["members"] = (
        b"PK\x03\x04"
        + many * 400_000
        + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 65535, 65535, len(many) * 400_000, 4, 0)
    )
    return found


def headers(
    form: str, tensors: Mapping[str, tuple[int, ...]], config: Mapping[str, object]
) -> dict[str, bytes]:
    """Safetensors of a format of ours: a valid one, with each value of its header made absurd."""
    found = {}
    for key in config:
        for name, value in NUMBERS.items():
            if value is not config[key] and type(value) is not type(config[key]):
                found[f"{form}_{key}_{name}"] = own(form, tensors, {**config, key: value})
    return found


def own(
    form: str, tensors: Mapping[str, tuple[int, ...]], config: object, version: str = "1"
) -> bytes:
    """A safetensors file of a format of ours with zeros for all tensors."""
    table: dict[str, object] = {
        "__metadata__": {
            "format": f"stylemix-{form}",
            "version": version,
            "config": config if isinstance(config, str) else json.dumps(config),
        }
    }
    position = 0
    for name, shape in tensors.items():
        size = 4 * int(np.prod(shape))
        table[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [position, position + size],
        }
        position += size
    return safetensors(table, bytes(position))


def broken_headers() -> dict[str, bytes]:
    """Safetensors whose header is wrong by itself, for any reader."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    found = dict(files.broken_safetensors())
    for name, dtype in {
        "F8": "F8_E4M3",
        "F8_E5M2": "F8_E5M2",
        "F4": "F4",
        "F6": "F6_E2M3",
        "C64": "C64",
        "U64": "U64",
        "list": ["F32"],
        "none": None,
    }.items():
        found[f"dtype_{name}"] = safetensors({"w": {**entry, "dtype": dtype}}, bytes(8))
    for name, shape in {
        "2^64": [2**64],
        "2^63": [2**63, 2],
        "huge": [HUGE],
        "negative": [-2],
        "bool": [True, 2],
        "float": [2.0],
        "text": "2",
        "many": [1] * 65,
        "zeros": [0, 2**62],
        "nested": [[2]],
        "none": None,
    }.items():
        found[f"shape_{name}"] = safetensors({"w": {**entry, "shape": shape}}, bytes(8))
    for name, offsets in {
        "one": [0],
        "three": [0, 4, 8],
        "backwards": [8, 0],
        "huge": [0, HUGE],
        "negative": [-8, 0],
        "text": ["0", "8"],
        "none": None,
    }.items():
        found[f"offsets_{name}"] = safetensors({"w": {**entry, "data_offsets": offsets}}, bytes(8))
    return found | _whole_headers(entry)


def _whole_headers(entry: dict[str, object]) -> dict[str, bytes]:
    """Headers that are wrong as a whole, with the description of an intact tensor."""
    return {
        "metadata_of_numbers": safetensors({"__metadata__": {"format": 1}, "w": entry}, bytes(8)),
        "metadata_is_list": safetensors({"__metadata__": [], "w": entry}, bytes(8)),
        "twice": safetensors(b'{"w":{},"w":{}}'),
        "list": safetensors([entry]),
        "extra_key": safetensors({"w": {**entry, "x": 1}}, bytes(8)),
        "not_utf8": safetensors(b'{"\xff\xfe":1}'),
        "surrogates": safetensors(b'{"\\ud800":1}'),
        "gap": safetensors({"w": {**entry, "data_offsets": [4, 12]}}, bytes(12)),
        "bytes_after": safetensors({"w": entry}, bytes(80)),
        "cut": safetensors({"w": entry}, bytes(7)),
        "no_data": safetensors({"w": entry}),
        "terminal_name": safetensors({"\x1b]0;x\x07\n": {**entry, "dtype": "O"}}, bytes(8)),
        "many_names": safetensors(
            {str(i): {**entry, "shape": [0], "data_offsets": [0, 0]} for i in range(30_000)}
        ),
        "config_deep": safetensors(
            {
                "__metadata__": {
                    "format": "stylemix-model",
                    "version": "1",
                    "config": "[" * 200_000,
                },
                "w": entry,
            },
            bytes(8),
        ),
        "config_lists": safetensors(
            {
                "__metadata__": {
                    "format": "stylemix-model",
                    "version": "1",
                    "config": "[" + "[]," * 900_000 + "0]",
                },
                "w": entry,
            },
            bytes(8),
        ),
        "version_long": safetensors(
            {"__metadata__": {"format": "stylemix-model", "version": "9" * 5000}, "w": entry},
            bytes(8),
        ),
    }


def arrays() -> dict[str, bytes]:
    """Files of numpy that are no latent."""
    f4, shape = "'<f4'", "(2, 4)"
    whole = npy(f4, shape, bytes(32))
    found = {
        "objects": npy("'|O'", shape, bytes(64)),
        "records": npy("[('a', '<f4')]", shape, bytes(32)),
        "text": npy("'<U4'", shape, bytes(128)),
        "dates": npy("'<M8[s]'", shape, bytes(64)),
        "void": npy("'|V4'", shape, bytes(32)),
        "complex": npy("'<c8'", shape, bytes(64)),
        "integers": npy("'<i4'", shape, bytes(32)),
        "nan": npy(f4, shape, np.full(8, np.nan, np.float32).tobytes()),
        "cut": whole[:-1],
        "cut_header": whole[:60],
        "magic_only": whole[:6],
        "version_9": whole[:6] + b"\x09" + whole[7:],
        "long_header": whole[:8] + b"\xff\xff" + whole[10:],
        "version_2_long": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100),
        "huge": npy(f4, "(1000000000000,)", b""),
        "negative": npy(f4, "(-2, 4)", bytes(32)),
        "overflow": npy(f4, "(4611686018427387904, 4)", bytes(32)),
        "zeros": npy(f4, "(0, 18446744073709551616)", b""),
        "empty": npy(f4, "(0,)", b""),
        "scalar": npy(f4, "()", bytes(4)),
        "bools": npy(f4, "(True, 8)", bytes(32)),
        "float_shape": npy(f4, "(2.0, 4)", bytes(32)),
        "list_shape": npy(f4, "[2, 4]", bytes(32)),
        "many_axes": npy(f4, "(" + "1, " * 40 + ")", bytes(4)),
        "four_axes": npy(f4, "(1, 1, 2, 4)", bytes(32)),
        "two_latents": npy(f4, "(2, 2, 4)", bytes(64)),
        "many_layers": npy(f4, "(100, 4)", bytes(1600)),
        "call": npy("__import__('os')", shape, bytes(32)),
        "lambda": npy(f4, "(lambda: 2)()", bytes(32)),
        "comprehension": npy(f4, "[9 for _ in (1,)]", bytes(32)),
        "brackets": npy(f4, "(" * 60, bytes(32)),
        "align": npy("{'names': ['a'], 'formats': ['<f4']}", shape, bytes(32)),
        "unicode": npy("'<f4\u00e9'", shape, bytes(32)),
        "subarray": npy("('<f4', (1000000, 1000000))", shape, bytes(32)),
    }
    deep = b"(" * 9000
    found["brackets_deep"] = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(deep)) + deep
    return found


def archives_of_arrays() -> dict[str, bytes]:
    """npz files that are no latent, or cost too much."""
    w = npy("'<f4'", "(2, 4)", bytes(32))
    zeros = bytes(100_000_000)
    end = zipped({"w.npy": w})
    return {
        "bomb_deflate": zipped({"w.npy": zeros}, zipfile.ZIP_DEFLATED),
        "bomb_bzip2": zipped({"w.npy": zeros[:30_000_000]}, zipfile.ZIP_BZIP2),
        "bomb_lzma": zipped({"w.npy": zeros[:30_000_000]}, zipfile.ZIP_LZMA),
        "many": zipped({f"{i}.npy": b"" for i in range(3000)}),
        "two": zipped({"a.npy": w, "b.npy": w}),
        "empty_member": zipped({"w.npy": b""}),
        "nothing": zipped({}),
        "objects": zipped({"w.npy": npy("'|O'", "(1,)", bytes(8))}),
        "no_array": zipped({"w.npy": b"hello"}),
        "crc": end.replace(bytes(32), bytes(31) + b"\x01", 1),
        "cut": end[:-30],
        "false_size": end[:-30] + end[-30:].replace(b"PK\5\6", b"PK\5\7"),
    }

"""Hostile labels, templates, options, shards, archives of images and records of runs."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile

import tests.support.hostile_images as images
from tests.support.hostile_files import zipped, zips_of_hidden_directories

PNG = images.encoded(images.noise(), "PNG")
DEEP = "[" * 100_000
HUGE = "9" * 400


def tables_of_labels() -> dict[str, bytes]:
    """dataset.json of folders and zips."""
    one = '{"labels": [["a.png", %s]]}'
    values = {
        "text": '"cat"',
        "float": "1.5",
        "negative": "-1",
        "huge": HUGE,
        "bool": "true",
        "none": "null",
        "nan": "[NaN]",
        "infinite": "[1e999]",
        "huge_vector": f"[{HUGE}]",
        "nested": "[[1]]",
        "text_vector": '["a"]',
        "empty_vector": "[]",
        "classes_text": '{"classes": "ab"}',
        "classes_none": '{"classes": null}',
        "classes_huge": f'{{"classes": [{HUGE}]}}',
        "classes_deep": '{"classes": [[1]]}',
        "table": '{"a": 1}',
        "many_classes": "99999999",
    }
    found = {f"value_{name}": (one % value).encode() for name, value in values.items()}
    found |= {
        "empty": b"",
        "not_json": b"{labels",
        "deep": DEEP.encode(),
        "deep_label": (one % ("[" * 900 + "]" * 900)).encode(),
        "list": b"[]",
        "number": b"7",
        "labels_none": b'{"labels": null}',
        "labels_text": b'{"labels": "abc"}',
        "labels_table": b'{"labels": {"a.png": 1}}',
        "labels_pairs_short": b'{"labels": [["a.png"]]}',
        "labels_numbers": b'{"labels": [1, 2]}',
        "other_name": b'{"labels": [["b.png", 0]]}',
        "name_terminal": b'{"labels": [["\\u001b[2J.png", 0]]}',
        "classes_of_text": b'{"labels": [["a.png", 0]], "classes": "two"}',
        "classes_zero": b'{"labels": [["a.png", 0]], "classes": 0}',
        "classes_huge_number": b'{"labels": [["a.png", 0]], "classes": %s}' % HUGE.encode(),
        "not_utf8": b'{"labels": [["\xff\xfe", 0]]}',
        "long_number": (one % ("9" * 5000)).encode(),
        "many_lists": b'{"labels": [' + b"[]," * 5_000_000 + b"0]}",
        "many_numbers": b'{"labels": [' + b"1," * 9_000_000 + b"0]}",
        "mixed": b'{"labels": [["a.png", 0], ["a.png", [1]]]}',
        "surrogate": b'{"labels": [["\\ud800", 0]]}',
    }
    return found


def files_of_labels() -> dict[str, bytes]:
    """Files for `pack --labels`, by their names."""
    return {
        "empty.json": b"",
        "deep.json": DEEP.encode(),
        "list.json": b"[]",
        "text.json": b'"a"',
        "none.json": b'{"a.png": null}',
        "floats.json": b'{"a.png": 0.5}',
        "nan.json": b'{"a.png": [NaN]}',
        "huge.json": f'{{"a.png": [{HUGE}]}}'.encode(),
        "lengths.json": b'{"a": [1], "b": [1, 2]}',
        "mixed.json": b'{"a": 1, "b": [1]}',
        "nested.json": b'{"a": [[1]]}',
        "bool.json": b'{"a": true}',
        "tables.json": b'{"a": {"b": 1}}',
        "pairs.json": b'{"labels": [[1]]}',
        "utf16.json": "{}".encode("utf-16"),
        "unhashable.json": b'{"labels": [[[1], 2]]}',
        "many.json": b"[" + b"[]," * 5_000_000 + b"0]",
        "long_number.json": b'{"a": ' + b"9" * 5000 + b"}",
        "empty.csv": b"",
        "header.csv": b"name,label\n",
        "one.csv": b"a.png\n",
        "null.csv": b"a.png,\0\n\0",
        "long.csv": b'a.png,"' + b"x" * 200_000 + b'"\n',
        "quotes.csv": b'a,"' * 999,
        "latin.csv": b"\xe9.png,1",
        "words.csv": b"a.png,1,two\n",
        "nan.csv": b"a.png,nan,1\n",
        "digits.csv": b"a.png," + b"9" * 5000,
        "many.csv": b"a,1\n" * 5_000_000,
        "uneven.csv": b"a,1,2\nb,1,2,3\n",
        "binary.csv": PNG,
    }


def templates() -> dict[str, bytes]:
    """Files for `--template`."""

    def one(points: str, kind: str = '"points"') -> bytes:
        return f'{{"name": "t", "kind": {kind}, "points": {points}}}'.encode()

    return {
        "empty": b"",
        "deep": DEEP.encode(),
        "list": b"[]",
        "number": HUGE.encode(),
        "none": b"null",
        "kind": one("[[0.3, 0.3], [0.7, 0.3]]", '"circle"'),
        "kind_list": one("[]", "[]"),
        "no_points": one("null"),
        "text": one('"abc"'),
        "huge": one(f"[[{HUGE}, 0], [1, 1]]"),
        "nan": one("[[NaN, 0.3], [0.7, 0.3]]"),
        "infinite": one("[[1e999, 0.3], [0.7, 0.3]]"),
        "far": one("[[9, 9], [99, 9]]"),
        "one_point": one("[[0.3, 0.3]]"),
        "ragged": one("[[1], [1, 2]]"),
        "many": one("[" + "[0.3,0.3]," * 50_000 + "[0.7,0.3]]"),
        "swapped": one("[[0.7, 0.3], [0.3, 0.3]]"),
        "name": b'{"name": 7, "kind": "none"}',
        "inner": b'{"template": {"template": {}}}',
        "image": PNG,
        "not_utf8": b'{"name": "\xff"}',
        "large": b" " * 2_000_000,
    }


def options() -> dict[str, bytes]:
    """stylemix.toml."""
    return {
        "not_toml": b"[mix",
        "binary": PNG,
        "not_utf8": b"[mix]\npreset = '\xff'",
        "deep": b"a = " + DEEP.encode(),
        "deep_tables": b"[" + b"a." * 3000 + b"a]",
        "number": b"[mix]\npreset = " + b"9" * 5000,
        "unknown_table": b"[mixx]\n",
        "value": b"mix = 3",
        "terminal": b'["\\u001b[2J"]\n',
        "twice": b"[mix]\n[mix]\n",
        "date": b"[mix]\npreset = 1979-99-99",
        "control": b"[mix]\npreset = '\x00'",
        "array": b"[[mix]]\n",
        "open_text": b'[mix]\npreset = "' + b"x" * 100_000,
        "inline": b"mix = " + b"{a=" * 3000,
    }


def _tar(*members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _member(name: bytes, size: bytes, kind: bytes = b"0", data: bytes = b"") -> bytes:
    """One member of a tar with any size field."""
    head = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size.ljust(12, b"\0")
    head += b"00000000000\0" + b" " * 8 + kind + bytes(100) + b"ustar\x0000"
    head = head.ljust(512, b"\0")
    checksum = f"{sum(head):06o}\0 ".encode()
    return head[:148] + checksum + head[156:] + data.ljust(-(-len(data) // 512) * 512, b"\0")


def _pax(records: bytes) -> bytes:
    return _member(b"x", f"{len(records):011o}".encode(), b"x", records)


def _record(text: bytes) -> bytes:
    size = len(text) + 3
    while len(str(size)) + len(text) + 2 != size:
        size = len(str(size)) + len(text) + 2
    return str(size).encode() + b" " + text + b"\n"


def shards() -> dict[str, bytes]:
    """Tar files of WebDataset."""
    whole = _tar(("a.png", PNG), ("a.cls", b"1"))
    image = _member(b"a.png", f"{len(PNG):011o}".encode(), b"0", PNG)
    end = bytes(1024)
    negative = b"\xff" * 8 + struct.pack(">i", -1024)
    return {
        "empty": b"",
        "zeros": bytes(10_240),
        "text": b"hello" * 999,
        "cut": whole[:700],
        "cut_end": whole[:-9999],
        "no_images": _tar(("a.txt", b"x")),
        "not_image": _tar(("a.png", b"hello")),
        "empty_image": _tar(("a.png", b"")),
        "cut_image": _tar(("a.png", PNG[:400])),
        "class_text": _tar(("a.png", PNG), ("a.cls", b"cat")),
        "class_huge": _tar(("a.png", PNG), ("a.cls", b"9" * 400)),
        "json_deep": _tar(("a.png", PNG), ("a.json", DEEP.encode())),
        "json_label": _tar(("a.png", PNG), ("a.json", b'{"label": {"a": 1}}')),
        "no_label": _tar(("a.png", PNG)),
        "negative_size": _member(b"a.png", negative) + end,
        "huge_size": _member(b"a.png", b"77777777777\0") + end,
        "huger_size": _member(b"a.png", b"\x80" + b"\xff" * 11) + end,
        "bad_octal": _member(b"a.png", b"99x") + end,
        "checksum": whole[:148] + b"0" * 8 + whole[156:],
        "pax_size": _pax(_record(b"size=abc")) + image + end,
        "pax_negative": _pax(_record(b"size=-99999")) + image + end,
        "pax_chain": _pax(_record(b"a=b")) * 2500 + image + end,
        "pax_length": _pax(b"999999999 a=b\n") + image + end,
        "pax_bytes": _pax(b"\xff\xfe\xfd") + image + end,
        "sparse": _pax(_record(b"GNU.sparse.map=1,x,2") + _record(b"GNU.sparse.size=9"))
        + image
        + end,
        "sparse_1_0": _pax(_record(b"GNU.sparse.major=1") + _record(b"GNU.sparse.minor=0"))
        + image
        + end,
        "long_name": _member(b"x", b"00077777777", b"L") + end,
        "link": _member(b"a.png", b"0", b"2") + end,
        "fifo": _member(b"a.png", b"0", b"6") + end,
        "gzip": b"\x1f\x8b\x08" + bytes(500),
        "terminal": _tar(("\x1b[2J\n.png", b"hello")),
    }


def archives_of_images() -> dict[str, bytes]:
    """Zips of images that are damaged, dangerous or cost too much."""
    whole = zipped({"a.png": PNG})
    entry = whole.rfind(b"PK\1\2")
    many = struct.pack("<I", 0x02014B50) + bytes(24) + struct.pack("<H", 5) + bytes(16) + b"a.png"

    def at(offset: int, data: bytes) -> bytes:
        return whole[: entry + offset] + data + whole[entry + offset + len(data) :]

    return {
        **zips_of_hidden_directories(900_000),
        "cut": whole[: len(whole) // 2],
        "empty": zipped({}),
        "no_images": zipped({"a.txt": b""}),
        "text": b"PK\x03\x04hello",
        "not_image": zipped({"a.png": b"hello"}),
        "bomb": zipped({"a.png": bytes(300_000_000)}, zipfile.ZIP_DEFLATED),
        "bzip2": zipped({"a.png": PNG}, zipfile.ZIP_BZIP2),
        "lzma": zipped({"a.png": PNG}, zipfile.ZIP_LZMA),
        "encrypted": at(8, b"\x01\x00"),
        "method": at(10, b"\x63\x00"),
        "offset": at(42, b"\xff\xff\xff\x7f"),
        "size": at(20, b"\xff\xff\xff\x7f" * 2),
        "crc": at(16, b"\0\0\0\0"),
        "terminal": zipped({"\x1b[2J\n.png": b"hello"}),
        "outside": zipped({"../../a.png": b"hello"}),
        "zip_in_zip": zipped({"a.png": whole}),
        "nul": zipped({"a.png": b""}),
        "directory": many * 900_000
        + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 65535, 65535, len(many) * 900_000, 0, 0),
    }


def states() -> dict[str, bytes]:
    """States of trainings, for `inspect`."""
    from tests.support.hostile_files import safetensors

    def state(**metadata: str) -> bytes:
        base = {
            "format": "stylemix-state",
            "version": "1",
            "asked": "{}",
            "config": '{"kimg": 1}',
            "counters": '{"cur_nimg": 1000}',
        }
        return safetensors({"__metadata__": base | metadata})

    values = {"deep": DEEP, "list": "[]", "text": '"a"', "empty": "", "none": "null"}
    found = {
        f"{key}_{name}": state(**{key: value})
        for key in ("config", "counters")
        for name, value in values.items()
    }
    for name, value in {"huge": HUGE, "text": '"a"', "list": "[1]", "nan": "null"}.items():
        found[f"nimg_{name}"] = state(counters=f'{{"cur_nimg": {value}}}')
        found[f"kimg_{name}"] = state(config=f'{{"kimg": {value}}}')
    return found


def labels_json(rows: int) -> bytes:
    """A valid dataset.json of so many images."""
    return json.dumps({"labels": [[f"{i}.png", i % 2] for i in range(rows)]}).encode()

"""Malicious and wrong files: an error of one line, no code run, limited memory and time."""

import pickle
import random
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import tests.support.hostile_files as hostile
from stylemix.errors import StylemixError
from stylemix.inversion.latent import load_latent
from stylemix.models.checkpoint import load_model
from stylemix.safe_pickle import limits, reader

GOLDEN = Path(__file__).parents[2] / "golden"
SECONDS = 5.0
BYTES = 100e6

CODE = sorted(hostile.that_run_code("mark"))
NAMES = hostile.that_ask_for_names()
COSTLY = hostile.that_cost_too_much()
MISTAKES = hostile.that_are_something_else()
BROKEN = hostile.broken_safetensors()


def refusal(path, read=load_model):
    """Returns the error message for a file."""
    with pytest.raises(StylemixError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 600
    return text


@pytest.mark.parametrize("name", CODE)
@pytest.mark.parametrize("suffix", [".pkl", ".pt"])
def test_no_file_runs_code(tmp_path, name, suffix):
    mark, path = tmp_path / "mark", tmp_path / f"evil{suffix}"
    path.write_bytes(hostile.that_run_code(str(mark))[name])
    for read in (load_model, load_latent, reader.load):
        text = refusal(path, read)
        assert "refused, it asks for" in text or "unknown form" in text
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["reduce_0", "reduce_2", "reduce_5", "inst", "obj", "storage_pickle"]
)
def test_the_attacks_are_real(tmp_path, name, monkeypatch):
    # What the test above keeps from happening: Python's own loader does run these.
    mark = tmp_path / "mark"
    nested = name == "storage_pickle"
    monkeypatch.setattr(torch.storage, "_load_from_bytes", pickle.loads)
    pickle.loads(hostile.that_run_code(str(mark))[name])
    assert mark.is_dir(), nested


@pytest.mark.parametrize("name", sorted(NAMES))
def test_other_names_are_refused(tmp_path, name):
    path = tmp_path / "evil.pkl"
    path.write_bytes(NAMES[name])
    assert "refused" in refusal(path)


def test_the_refusal_names_what_was_asked_for(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(NAMES["name_subprocess"])
    text = refusal(path)
    assert "asks for subprocess.Popen, which is not plain data; nothing in it was run" in text
    path.write_bytes(pickle.dumps({"G": torch.nn.Linear}, protocol=4))
    assert "whole pickled program (torch.nn.modules.linear.Linear)" in refusal(path)


@pytest.mark.parametrize("name", sorted(COSTLY))
def test_costly_files_are_refused_quickly(tmp_path, name):
    path = tmp_path / "bomb.pkl"
    path.write_bytes(COSTLY[name])
    tracemalloc.start()
    start = time.process_time()
    try:
        refusal(path)
        assert time.process_time() - start < SECONDS
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()


def test_endless_pickles_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_OPCODES", 1000)
    path = tmp_path / "long.pkl"
    path.write_bytes(b"\x80\x04" + b"N0" * 600 + b"N.")
    assert "far longer" in refusal(path)


def test_overlapping_members_are_refused(tmp_path):
    # Many entries of the central directory for one member.
    plain = hostile.torch_zip(b"\x80\x02N.", {"0": bytes(5000)})
    start = plain.index(b"PK\x01\x02", plain.index(b"PK\x01\x02") + 1)
    end = plain.index(b"PK\x05\x06")
    entry = plain[start:end]
    copies = b"".join(entry[:-1] + bytes([65 + i]) for i in range(26))
    tail = bytearray(plain[end:])
    tail[8:10] = tail[10:12] = (28).to_bytes(2, "little")
    tail[12:16] = (len(plain[:end]) + len(copies) - plain.index(b"PK\x01\x02")).to_bytes(
        4, "little"
    )
    path = tmp_path / "overlap.pt"
    path.write_bytes(plain[:end] + copies + bytes(tail))
    assert "overlap" in refusal(path)


@pytest.mark.parametrize("name", sorted(MISTAKES))
@pytest.mark.parametrize("suffix", [".pkl", ".safetensors", ".pt"])
def test_mistakes_are_named(tmp_path, name, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(MISTAKES[name])
    assert name in refusal(path)
    assert name in refusal(path, load_latent)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_safetensors_are_refused(tmp_path, name):
    path = tmp_path / "model.safetensors"
    path.write_bytes(BROKEN[name])
    refusal(path)
    refusal(path, load_latent)


@pytest.mark.parametrize("name", ["uncond_32_skip_resnet.pkl", "rosinality_32.pt"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.99999])
def test_truncated_files_are_refused(tmp_path, name, share):
    whole = (GOLDEN / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "truncated or damaged" in refusal(path)


def test_damaged_pickles_never_surprise(tmp_path):
    # A damaged file gives plain data or the error; no other exception may come out.
    content = {
        "t": torch.arange(6.0).reshape(2, 3).t(),
        "list": [1, 2.5, "text", None, (True, b"x")],
        "n": torch.ones(2).numpy(),
    }
    draw = random.Random(0)
    for protocol in (0, 2, 4):
        whole = pickle.dumps(content, protocol=protocol)
        for _ in range(300):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 3)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            with suppress(StylemixError):
                reader.loads(bytes(data))


def test_object_arrays_are_refused(tmp_path):
    path = tmp_path / "w.npz"
    evil = pickle.dumps(NAMES, protocol=2)
    path.write_bytes(hostile.npy("'|O'", "(1,)", evil))
    assert "objects" in refusal(path, load_latent)
    for shape in ("(1000000000000,)", "(-1, -2)", "(3,)"):
        path.write_bytes(hostile.npy("'<f4'", shape, bytes(8)))
        assert "damaged" in refusal(path, load_latent)

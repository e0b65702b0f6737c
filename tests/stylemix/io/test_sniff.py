"""File types by content."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import tests.support.hostile_files as hostile
from stylemix.errors import StylemixError
from stylemix.io.sniff import directory_bytes, sniff


def test_kinds(tmp_path):
    path = tmp_path / "file.png"  # the extension is ignored
    save_file({"a": torch.ones(2)}, path)
    assert sniff(path) == "safetensors"
    torch.save([torch.ones(2)], path)
    assert sniff(path) == "torch-zip"
    torch.save([torch.ones(2)], path, _use_new_zipfile_serialization=False)
    assert sniff(path) == "torch-stream"
    with path.open("wb") as handle:
        np.save(handle, np.ones(2))
    assert sniff(path) == "npy"
    with path.open("wb") as handle:
        np.savez(handle, w=np.ones(2))
    assert sniff(path) == "npz"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "content", [{"a": 1}, {}, [], [1], (1, "a"), ("a", "b"), {"a": [np.ones(2)]}]
)
def test_pickles_of_every_protocol(tmp_path, protocol, content):
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    assert sniff(path) == "pickle"


@pytest.mark.parametrize(
    "text", ["(see below)\nand above.", "name,value\n1,2\n", "[1, 2]\n", "c\n"]
)
def test_text_is_no_pickle(tmp_path, text):
    (tmp_path / "notes.pkl").write_text(text)
    with pytest.raises(StylemixError, match="got a text file"):
        sniff(tmp_path / "notes.pkl")


@pytest.mark.parametrize("lead", ["", "\ufeff", "\n\n  "])
def test_web_pages(tmp_path, lead):
    (tmp_path / "ffhq.pkl").write_text(f"{lead}<HTML><body>Quota exceeded</body>", encoding="utf-8")
    with pytest.raises(StylemixError, match="a web page, not the file itself"):
        sniff(tmp_path / "ffhq.pkl")


def test_missing_files(tmp_path):
    with pytest.raises(StylemixError, match="no such file"):
        sniff(tmp_path / "nothing.pkl")
    with pytest.raises(StylemixError, match="got a folder"):
        sniff(tmp_path)


def test_impossible_header_sizes(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(hostile.safetensors({}, length=2**62))
    with pytest.raises(StylemixError, match="got a header of 4611686018427387904 bytes"):
        sniff(path)
    path.write_bytes(hostile.safetensors({}, length=5000))
    with pytest.raises(StylemixError, match="got a truncated file"):
        sniff(path)


@pytest.mark.parametrize("name", hostile.zips_of_hidden_directories(1))
def test_the_directory_of_a_zip_is_the_one_that_is_read(tmp_path, name):
    """Whatever other records in the file say about its size."""
    path = tmp_path / "file.zip"
    path.write_bytes(hostile.zips_of_hidden_directories(3000)[name])
    assert directory_bytes(path) == 3000 * 51
    path.write_bytes(hostile.zips_of_hidden_directories(400_000)[name])
    with pytest.raises(StylemixError, match="got a zip with far more members than any model has"):
        sniff(path)

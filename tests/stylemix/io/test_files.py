"""The door of files: nothing is waited for, and nothing but regular files is read."""

import os
import socket
from pathlib import Path

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.inversion.encoder import load_encoder
from stylemix.inversion.latent import load_latent
from stylemix.io.files import open_file, read_file
from stylemix.models.checkpoint import load_model
from stylemix.safe_pickle.reader import load
from stylemix.styles.style import load_style
from tests.support.models import tiny_model

MODEL = tiny_model()


@pytest.fixture
def strange(tmp_path):
    """What stands where a file should, and would be waited for, or never end."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes as files")
    os.mkfifo(tmp_path / "pipe.pkl")
    (tmp_path / "zero.pkl").symlink_to("/dev/zero")
    (tmp_path / "to-pipe.pkl").symlink_to(tmp_path / "pipe.pkl")
    (tmp_path / "folder.pkl").mkdir()
    before = Path.cwd()
    os.chdir(tmp_path)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as there:
            there.bind("socket.pkl")
    finally:
        os.chdir(before)
    return sorted(tmp_path.iterdir())


def test_regular_files_alone(strange, tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert read_file(tmp_path / "file") == b"abc"
    for path in strange:
        with pytest.raises((StylemixError, OSError)):  # a socket cannot be opened at all
            open_file(path)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none")


@pytest.mark.parametrize(
    "read",
    [load_model, load_style, load_latent, load, lambda path: load_encoder(path, MODEL)],
    ids=["model", "style", "latent", "pickle", "encoder"],
)
def test_every_reader_refuses_at_once(strange, read):
    for path in strange:
        with pytest.raises(StylemixError, match="expected"):
            read(path)
    assert torch.is_tensor(MODEL.generator.mapping.w_avg)


def test_no_more_is_read_than_fits(tmp_path):
    """A sparse file has any length for nothing; files of the kernel say none and may never end."""
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(2**40)
    endless = [path for path in (Path("/proc/self/pagemap"),) if path.exists()]
    for path in [tmp_path / "sparse", *endless]:
        with pytest.raises(StylemixError, match="got a file of more than 1 MB; expected a smaller"):
            read_file(path, 2**20)
    with pytest.raises(StylemixError, match="got a file of more than 512 MB"):
        read_file(tmp_path / "sparse")
    (tmp_path / "file").write_bytes(b"abc")
    assert read_file(tmp_path / "file", 3) == b"abc"

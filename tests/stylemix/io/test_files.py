"""The door of files: nothing is waited for, and nothing but regular files is read."""

import os
import socket
from pathlib import Path

import pytest
import torch
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.images.marks import find_marks
from stylemix.images.sources import list_images, open_image
from stylemix.images.write import save_image
from stylemix.inversion.encoder import load_encoder
from stylemix.inversion.latent import Latent, load_latent
from stylemix.io.files import open_file, read_file, user_path
from stylemix.models.checkpoint import load_model, save_model
from stylemix.safe_pickle.reader import load
from stylemix.styles.style import Style, load_style
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


def test_a_path_of_the_user_may_begin_with_their_folder(tmp_path, monkeypatch):
    """Readers and writers alike: what is saved as ~/a is not in a folder of the name ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # of Windows
    monkeypatch.chdir(tmp_path)
    save_model("~/model.safetensors", MODEL)
    save_image("~/a.png", Image.new("RGB", (32, 32)))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "model.safetensors"]
    assert load_model("~/model.safetensors").fingerprint == MODEL.fingerprint
    assert open_image("~/a.png").size == (32, 32)
    assert not find_marks("~/a.png").has_watermark


@pytest.mark.parametrize("wrong", [None, 3, b"name.pkl", ["name.pkl"]])
def test_what_is_no_path_is_refused(wrong):
    calls = [
        load_model,
        load_style,
        load_latent,
        find_marks,
        lambda path: load_encoder(path, MODEL),
    ]
    calls.append(lambda path: save_image(path, Image.new("RGB", (32, 32))))
    calls += [MODEL.save, Style("").save, Latent(torch.zeros(1, 1)).save]
    for call in calls:
        with pytest.raises(StylemixError, match=r"got (NoneType|int|bytes|list) as a file"):
            call(wrong)


def test_an_empty_name_is_not_the_current_folder():
    for call in (user_path, load_model, load_style, load_latent, list_images):
        with pytest.raises(StylemixError, match="got an empty name; expected that of a file"):
            call("")
    assert user_path(Path()) == Path()


def test_a_path_of_bytes_is_refused():
    class BytesPath:
        def __fspath__(self):
            return b"me.jpg"

    with pytest.raises(StylemixError, match="got BytesPath as a file; expected its name or path"):
        user_path(BytesPath())

"""Content Credentials: what is signed, by whom, what stays private, and that no image is lost."""

import errno
import getpass
import os
import shutil
import signal
import socket
import stat
import sys

import numpy as np
import pytest
from PIL import Image

from stylemix import messages
from stylemix.images import credentials
from stylemix.images.credentials import ISSUER, Credentials, has_package, read_credentials
from stylemix.images.provenance import use_marks
from stylemix.images.video import save_video
from stylemix.images.write import save_image
from stylemix.version import __version__

needs_package = pytest.mark.skipif(not has_package(), reason="needs the extra c2pa")
AGENT = f"stylemix {__version__}"


@pytest.fixture
def image():
    return Image.effect_noise((280, 260), 40).convert("RGB")


@pytest.fixture
def key(tmp_path, monkeypatch):
    """The file of the key, in a folder of this test."""
    monkeypatch.setattr(credentials, "cache_folder", lambda name: tmp_path / "cache" / name)
    credentials._tell.cache_clear()
    return tmp_path / "cache" / "credentials" / "signer.pem"


@needs_package
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_images_are_signed(tmp_path, image, key, name):
    path = tmp_path / name
    save_image(path, image, generated="composite")
    kind = "compositeWithTrainedAlgorithmicMedia"
    assert read_credentials(path) == Credentials(True, ISSUER, AGENT, kind)
    with Image.open(path) as there:
        there.load()
        assert there.size == image.size


@needs_package
@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.mp4"])
def test_videos_are_signed(tmp_path, image, key, name):
    if name == "a.mp4":
        pytest.importorskip("av", reason="MP4 needs the extra video")
    save_video(tmp_path / name, [image, image.rotate(180)], [1, 1], 10)
    found = read_credentials(tmp_path / name)
    assert found is not None
    assert (found.valid, found.issuer) == (True, ISSUER)


@needs_package
def test_pixels_are_the_same_with_and_without_it(tmp_path, image, key, monkeypatch):
    save_image(tmp_path / "a.png", image)
    monkeypatch.setattr(credentials, "has_package", lambda: False)
    save_image(tmp_path / "b.png", image)
    with Image.open(tmp_path / "a.png") as first, Image.open(tmp_path / "b.png") as second:
        assert np.array_equal(np.asarray(first), np.asarray(second))
    assert read_credentials(tmp_path / "b.png") is None


@needs_package
def test_a_changed_file_is_not_valid(tmp_path, image, key):
    path = tmp_path / "a.png"
    save_image(path, image)
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    found = read_credentials(path)
    assert found is not None
    assert not found.valid


@needs_package
def test_the_key_is_private_and_made_once(tmp_path, image, key):
    save_image(tmp_path / "a.png", image)
    first = key.read_bytes()
    save_image(tmp_path / "b.png", image)
    assert key.read_bytes() == first
    assert first.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert [path.name for path in key.parent.iterdir()] == ["signer.pem"]
    if os.name == "posix":
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


@needs_package
@pytest.mark.parametrize("content", [b"", bytes(1000), b"-----BEGIN PRIVATE KEY-----\nMIG"])
def test_a_key_that_was_cut_short_is_made_again(content, tmp_path, image, key):
    """As by a loss of power: else nothing would ever be signed again."""
    key.parent.mkdir(parents=True)
    key.write_bytes(content)
    with messages.session("mix") as said:
        save_image(tmp_path / "a.png", image)
    assert said.notes == []
    assert read_credentials(tmp_path / "a.png") is not None


@needs_package
def test_nobody_is_named(tmp_path, image, key, monkeypatch):
    from cryptography import x509

    path = tmp_path / "grandma.png"
    save_image(path, image)
    names = [path.stem, str(tmp_path), socket.gethostname(), getpass.getuser()]
    unsigned = tmp_path / "plain.png"
    monkeypatch.setattr(credentials, "has_package", lambda: False)
    save_image(unsigned, image)
    added = path.read_bytes().replace(unsigned.read_bytes()[-60:], b"")
    assert not [name for name in names if len(name) > 4 and name.encode() in added]
    for certificate in x509.load_pem_x509_certificates(key.read_bytes()):
        said = {attribute.value for attribute in certificate.subject}
        assert said <= {ISSUER, "stylemix local root", "stylemix local signer"}


@needs_package
def test_a_failing_signature_says_so_once_and_the_image_is_written(tmp_path, image, key):
    key.parent.mkdir(parents=True)
    key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nof another kind\n-----END CERTIFICATE-----\n")
    with messages.session("mix") as said:
        save_image(tmp_path / "a.png", image)
        save_image(tmp_path / "b.png", image)
    assert len(said.notes) == 1
    assert said.notes[0].startswith("Note: written without Content Credentials, which could not")
    assert read_credentials(tmp_path / "a.png") is None
    with Image.open(tmp_path / "b.png") as there:
        there.load()


@needs_package
@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_where_the_manifest_has_no_room_the_image_is_whole(tmp_path, image, key, monkeypatch, name):
    def fill(source, target):
        target.write(source.read(1000))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", fill)
    with messages.session("mix") as said:
        save_image(tmp_path / name, image)
    assert [line.rpartition(": ")[2] for line in said.notes] == ["No space left on device"]
    with Image.open(tmp_path / name) as there:
        there.load()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [name]


@needs_package
def test_without_a_home_folder_the_image_is_written(tmp_path, image, monkeypatch):
    credentials._tell.cache_clear()
    monkeypatch.setattr(credentials, "cache_folder", lambda name: None)
    with messages.session("mix") as said:
        save_image(tmp_path / "a.png", image)
    assert ["no home folder" in line for line in said.notes] == [True]
    assert (tmp_path / "a.png").exists()


@needs_package
def test_what_is_not_marked_is_not_signed(tmp_path, image, key):
    save_image(tmp_path / "a.png", image, generated=False)
    save_image(tmp_path / "b.png", image, metadata_only=True)
    with use_marks(False):
        save_image(tmp_path / "c.png", image)
    assert [read_credentials(tmp_path / f"{name}.png") for name in "abc"] == [None] * 3
    assert not key.exists()


@needs_package
def test_files_without_credentials(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "b.txt").write_bytes(b"text")
    assert read_credentials(tmp_path / "a.png") is None
    assert read_credentials(tmp_path / "b.txt") is None


def test_without_the_package_nothing_is_signed(tmp_path, image, key, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert not has_package()
    save_image(tmp_path / "a.png", image)
    assert b"c2pa" not in (tmp_path / "a.png").read_bytes()
    assert not key.exists()


@needs_package
def test_a_signal_while_the_library_frees_its_objects_is_not_lost(
    tmp_path, image, key, monkeypatch
):
    """Python drops what is raised in `__del__`, and the command would go on."""
    from c2pa.c2pa import ManagedResource

    freed = []

    def clean_up(self):
        freed.append(type(self).__name__)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ManagedResource, "_cleanup_resources", clean_up)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            save_image(tmp_path / "a.png", image)
        assert {"Settings", "Context", "Signer", "Builder"} <= set(freed)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", 15)])
def test_a_signal_waits_until_the_library_is_done(monkeypatch, number):
    """Else a picture's signature, interrupted in a callback, aborts the process."""

    def handle(_number, _frame):
        raise KeyboardInterrupt

    reached = []

    def sign():
        with credentials.hold_signals():
            signal.raise_signal(number)
            reached.append(number)

    before = signal.signal(number, handle)
    try:
        with pytest.raises(KeyboardInterrupt):
            sign()
        assert signal.getsignal(number) is handle
    finally:
        signal.signal(number, before)
    assert reached == [number]

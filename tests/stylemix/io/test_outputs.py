"""Names of outputs that replace nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from stylemix.errors import StylemixError
from stylemix.io import outputs
from stylemix.io.outputs import check_not_input, free_path, is_input

CLAIM = """
import sys, pathlib
from stylemix.io.outputs import claim
print(*[claim(pathlib.Path(name)) for name in sys.argv[1:]], flush=True)
input()
"""


@pytest.mark.parametrize(
    ("name", "second", "third"),
    [
        ("out.png", "out-2.png", "out-3.png"),
        ("me.latent.safetensors", "me-2.latent.safetensors", "me-3.latent.safetensors"),
        ("me.aligned.png", "me-2.aligned.png", "me-3.aligned.png"),
        ("a.b.png", "a.b-2.png", "a.b-3.png"),
        ("folder", "folder-2", "folder-3"),
    ],
)
def test_the_first_free_name(tmp_path, name, second, third):
    assert free_path(tmp_path / name) == tmp_path / name
    (tmp_path / name).touch()
    assert free_path(tmp_path / name) == tmp_path / second
    (tmp_path / second).symlink_to("nowhere")  # a broken link is a file of the user's, too
    assert free_path(tmp_path / name) == tmp_path / third


def test_companions_are_free_too(tmp_path):
    (tmp_path / "a.json").touch()
    beside = lambda path: [path.with_suffix(".json")]  # noqa: E731
    assert free_path(tmp_path / "a.png", beside) == tmp_path / "a-2.png"


def test_a_file_with_the_same_content_is_free(tmp_path):
    (tmp_path / "a.png").write_text("x")
    (tmp_path / "a-2.png").write_text("y")
    for content, name in (("x", "a.png"), ("y", "a-2.png"), ("z", "a-3.png")):
        same = lambda path, content=content: path.exists() and path.read_text() == content  # noqa: E731
        assert free_path(tmp_path / "a.png", is_same=same) == tmp_path / name


def _claimed_elsewhere(path):
    done = subprocess.run([sys.executable, "-c", CLAIM, str(path)], input="\n", text=True,
                          capture_output=True, check=True)  # fmt: skip
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(outputs.fcntl is None, reason="needs the locks of POSIX")
def test_a_name_that_another_process_has_claimed_is_not_free_until_it_ends(tmp_path):
    path = tmp_path / "a.png"
    (tmp_path / "link").symlink_to(tmp_path)
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", CLAIM, str(tmp_path / "link/a.png"), str(tmp_path / "a-3.json")]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "True True\n"
        assert free_path(path) == tmp_path / "a-2.png"
        (tmp_path / "a-2.png").touch()
        beside = lambda path: [path.with_suffix(".json")]  # noqa: E731
        assert free_path(path, beside) == tmp_path / "a-4.png"
        other.kill()
    assert free_path(path) == path
    assert free_path(path) == path  # its own claim
    assert _claimed_elsewhere(path) == "False\n"
    path.touch()
    assert free_path(path) == tmp_path / "a-3.png"
    assert _claimed_elsewhere(path) == "True\n"  # many files would make many locks


def test_without_a_place_for_locks_names_are_free(tmp_path, monkeypatch):
    monkeypatch.setattr("stylemix.ops.cache.private", lambda: tmp_path / "file" / "ops")
    (tmp_path / "file").touch()
    monkeypatch.setattr(outputs, "_locks", outputs._locks.__wrapped__)
    assert free_path(tmp_path / "a.png") == tmp_path / "a.png"


def test_inputs_are_recognised_by_file_and_by_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/me.jpg", "photos/toon.pkl", "photos/me.latent.safetensors"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("link.jpg").symlink_to("photos/me.jpg")
    assert is_input(Path("link.jpg"), ["photos/me.jpg"])
    assert is_input(Path("photos/me.jpg"), ["seed:3", "photos"])
    assert is_input(Path("photos/me.latent.safetensors"), ["."])
    assert not is_input(Path("photos/toon.pkl"), ["photos"])  # no image: never an input of it
    assert not is_input(Path("photos/you.jpg"), ["photos"])
    with pytest.raises(StylemixError, match=r"the output .*, which is an input, too"):
        check_not_input(Path("link.jpg"), ["photos/me.jpg"])

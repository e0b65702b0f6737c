"""Names of outputs that replace nothing."""

from pathlib import Path

import pytest

from stylemix.errors import StylemixError
from stylemix.io.outputs import check_not_input, free_path, is_input


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

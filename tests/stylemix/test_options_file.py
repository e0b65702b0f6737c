"""The file with a user's own defaults."""

from pathlib import Path

import pytest

from stylemix.errors import StylemixError
from stylemix.options_file import at_home, find_options_file, read_options_file


@pytest.fixture
def user(tmp_path, monkeypatch):
    """The user's folder of settings; the current folder is another one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "settings"))
    monkeypatch.delenv("STYLEMIX_CONFIG", raising=False)
    folder = tmp_path / "settings" / "stylemix"
    folder.mkdir(parents=True)
    return folder


def test_the_nearest_file_is_read(user, monkeypatch, tmp_path):
    assert find_options_file() is None
    (user / "stylemix.toml").touch()
    assert find_options_file() == user / "stylemix.toml"
    Path("stylemix.toml").touch()
    assert find_options_file() == Path("stylemix.toml")
    (tmp_path / "mine.toml").touch()
    monkeypatch.setenv("STYLEMIX_CONFIG", str(tmp_path / "mine.toml"))
    assert find_options_file() == tmp_path / "mine.toml"
    monkeypatch.setenv("STYLEMIX_CONFIG", "")
    assert find_options_file() is None


def test_a_relative_folder_of_settings_is_ignored(user, monkeypatch):
    (user / "stylemix.toml").touch()
    monkeypatch.chdir(user.parents[1])
    monkeypatch.setattr(Path, "home", lambda: Path("/nobody"))
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, "settings")
    assert find_options_file() is None


def test_a_folder_of_settings_that_cannot_be_entered_has_none(user, monkeypatch):
    """Such as the home of the user who called sudo; here a name that no file system has."""
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(user / ("x" * 300)))
    assert find_options_file() is None


def test_a_missing_file_is_named(user, monkeypatch):
    monkeypatch.setenv("STYLEMIX_CONFIG", "gone.toml")
    with pytest.raises(StylemixError, match=r"got STYLEMIX_CONFIG=gone\.toml, which is no file"):
        find_options_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mix\n", "got a file that cannot be read"),
        (b"[mix]\na = '\xff'", "got a file that cannot be read"),
        ("[mx]\npreset = 'fast'", "got 'mx'; expected tables .* did you mean mix?"),
        ("mix = 3", "got 'mix'; expected tables"),
    ],
)
def test_a_broken_file_is_one_sentence(text, message, tmp_path):
    path = tmp_path / "stylemix.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StylemixError, match=message):
        read_options_file(path, ["mix", "train"])


def test_tables_by_command(tmp_path):
    path = tmp_path / "stylemix.toml"
    path.write_text('[all]\ndevice = "cpu"\n[mix]\nstyle = ["a", "b"]\n')
    assert read_options_file(path, ["mix"]) == {
        "all": {"device": "cpu"},
        "mix": {"style": ["a", "b"]},
    }


def test_the_folder_of_the_user_is_found_where_the_shell_leaves_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # of Windows
    assert at_home("--output=~/a.png") == f"--output={tmp_path}/a.png"
    assert at_home("~/a.png") == f"{tmp_path}/a.png"
    for word in ("--output=a~.png", "a=~/b", "--credit=me", "-", "--", "", "x~"):
        assert at_home(word) == word

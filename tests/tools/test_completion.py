"""What shells complete, and that this does not import torch."""

import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from stylemix import cli, completion
from stylemix.io.cache import cache_folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path))
    return tmp_path


def _complete(*words):
    """The values that the last of `stylemix WORDS` is completed to, and the types of the others."""
    shell = ShellComplete(cli.main, {}, "stylemix", "_STYLEMIX_COMPLETE")
    items = shell.get_completions(list(words[:-1]), words[-1])
    return [item.value if item.type == "plain" else item.type for item in items]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_that_of_the_shell(shell, cache):
    done = CliRunner().invoke(cli.main, ["completion", shell], prog_name="stylemix")
    assert done.exit_code == 0, done.output
    assert f"_STYLEMIX_COMPLETE={shell}_complete" in done.stdout
    assert len(list((cache / "completion").iterdir())) == 1


def test_the_script_needs_no_cache(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "file"))
    done = CliRunner().invoke(cli.main, ["completion", "bash"], prog_name="stylemix")
    assert done.exit_code == 0, done.output
    assert "_STYLEMIX_COMPLETE=bash_complete" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="needs HOME")
@pytest.mark.parametrize("base", ["", "relative"])
def test_a_relative_cache_is_ignored(base, tmp_path, monkeypatch):
    monkeypatch.delenv("STYLEMIX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert completion.table_file().parent == tmp_path / ".cache" / "stylemix" / "completion"


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_the_cache_is_that_of_all_else(system, tmp_path, monkeypatch):
    monkeypatch.delenv("STYLEMIX_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: system)
    assert completion.table_file().parent == cache_folder("completion")


def test_another_shell_is_refused():
    done = CliRunner().invoke(cli.main, ["completion", "csh"], prog_name="stylemix")
    assert done.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr


EXAMPLES = [
    ("mi", ["mix"]),
    ("mix --min", ["--min-identity"]),
    ("mix --style to", ["toon", "file"]),
    ("mix me.jpg go", ["golden-hour", "file"]),
    ("mix --model fa", ["faces-64", "file"]),
    ("mix --preset ", ["fast", "balanced", "best"]),
    ("edit me.jpg --direction smile", ["smile", "smile-channels", "file"]),
    ("adapt --start gold", ["golden-hour", "file"]),
    ("align ", ["file"]),
    ("mix --js", ["--json"]),
    ("completion z", ["zsh"]),
]


def test_commands_options_and_names():
    CliRunner().invoke(cli.main, ["completion", "bash"], prog_name="stylemix")
    assert completion.read_table()
    for words, expected in EXAMPLES:
        assert _complete(*words.split(" ")) == expected, words


def test_without_a_table_the_commands_themselves_answer():
    assert completion.read_table() == {}
    assert _complete("mix", "--preset", "f") == ["fast"]


def test_a_damaged_table_is_as_none(cache):
    completion.table_file().parent.mkdir()
    completion.table_file().write_text("[1")
    assert completion.read_table() == {}


def test_completing_imports_no_torch(cache):
    CliRunner().invoke(cli.main, ["completion", "bash"], prog_name="stylemix")
    code = (
        "import sys\nfrom stylemix.cli import main\n"
        "try:\n    main(prog_name='stylemix')\n"
        "finally:\n    print('torch' in sys.modules, 'numpy' in sys.modules)\n"
    )
    asked = {"COMP_WORDS": "stylemix mix --style to", "COMP_CWORD": "3",
             "_STYLEMIX_COMPLETE": "bash_complete"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True
    )
    assert done.stdout.split() == ["plain,toon", "file,to", "False", "False"]

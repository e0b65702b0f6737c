"""Built and installed files equal those of the tree: wheel, sdist, editable, in place."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from stylemix.version import __version__
from tests.support.archives import unpack

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"stylemix": "stylemix", "ops": "stylemix/ops"}
FOLDERS |= {"training": "stylemix/training", "tools": "stylemix/tools"}
JUNK = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
LARGE = 100_000  # bytes; larger files are copied as empty ones: only their names matter here

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""
WHERE = """
import sys, site
site.addsitedir(sys.argv[1])
from importlib.util import find_spec
import stylemix, stylemix.training, stylemix.tools
print(stylemix.__file__, find_spec("stylemix.ops").origin)
print(stylemix.training.__file__, stylemix.tools.__file__)
"""


def _run(*command: str | Path, cwd: Path) -> str:
    # Without the caller's variables only `command` determines which copy is imported.
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _copy(source: str, target: str) -> None:
    if os.path.getsize(source) > LARGE and not source.endswith(".py"):
        Path(target).touch()
    else:
        shutil.copyfile(source, target)


def _build(kind: str, tree: Path, to: Path) -> Path:
    """Builds one `kind` (wheel, sdist, editable) of `tree` into the folder `to`."""
    to.mkdir()
    printed = _run(sys.executable, "-c", BUILD, kind, to, cwd=tree)
    return to / printed.splitlines()[-1]


def _wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that builds do not change it."""
    copy = tmp_path_factory.mktemp("copy") / "tree"
    copy.mkdir()
    ignore = shutil.ignore_patterns(*JUNK)
    for name in [*FOLDERS, "docs", ".ci"]:
        shutil.copytree(ROOT / name, copy / name, True, ignore, copy_function=_copy)
    (copy / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", copy / "tests")
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            _copy(str(path), str(copy / path.name))
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    stale = tree / "build" / "lib" / "stylemix" / "renamed_since.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    return _build("wheel", tree, tmp_path_factory.mktemp("wheel") / "out")


def test_the_wheel_holds_every_file_of_the_tree_and_no_other(wheel):
    expected = set()
    for folder, package in FOLDERS.items():
        for parent, folders, files in os.walk(ROOT / folder):  # does not follow the links
            folders[:] = [name for name in folders if name not in JUNK]
            inside = Path(package, os.path.relpath(parent, ROOT / folder))
            expected |= {(inside / name).as_posix() for name in files}
    assert _wheel_names(wheel) == expected
    assert "stylemix/py.typed" in expected


def test_the_wheel_installs_one_name_and_one_command(wheel):
    assert {name.split("/")[0] for name in _wheel_names(wheel)} == {"stylemix"}
    with zipfile.ZipFile(wheel) as archive:
        info = {name.split("/", 1)[1]: name for name in archive.namelist() if "-info/" in name}
        scripts = archive.read(info["entry_points.txt"]).decode()
        metadata = archive.read(info["METADATA"]).decode()
    assert scripts.split("\n")[:2] == ["[console_scripts]", "stylemix = stylemix.__main__:run"]
    assert "licenses/LICENSE" in info
    assert "License-Expression: Apache-2.0" in metadata


def test_core_dependencies_are_the_agreed_eight(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(name).decode().splitlines()
    required = [line.split()[1] for line in lines if line.startswith("Requires-Dist:")]
    extras = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" in line]
    core = {name.split(">")[0] for name in required[: len(required) - len(extras)]}
    core.remove("tomli")  # what Python has itself from 3.11 on
    assert core == {"torch", "numpy", "scipy", "pillow", "click", "ninja", "safetensors", "tqdm"}
    assert any(re.fullmatch(r"Requires-Dist: tomli>=2; python_version < .3\.11.", x) for x in lines)


def test_an_unpacked_wheel_imports_from_itself(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    # -I -S: neither the working folder nor an installed stylemix can answer instead
    printed = _run(sys.executable, "-I", "-S", "-c", WHERE, tmp_path, cwd=ROOT).split()
    package = tmp_path / "stylemix"
    parts = [package, package / "ops", package / "training", package / "tools"]
    assert printed == [str(part / "__init__.py") for part in parts]


@pytest.mark.slow
def test_the_sdist_builds_the_same_wheel(tree, wheel, tmp_path):
    sdist = _build("sdist", tree, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        names = [name.split("/", 1)[-1] for name in archive.getnames()]
        unpack(archive, tmp_path)
    for name in ["setup.py", "LICENSE", "tests/conftest.py", "docs/conf.py", ".ci/run"]:
        assert name in names
    assert not [name for name in names if name.startswith("stylemix/ops/")]  # via a link: twice
    again = _build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "again")
    assert _wheel_names(again) == _wheel_names(wheel)


def test_an_editable_install_imports_from_the_tree(tree, tmp_path):
    editable = _build("editable", tree, tmp_path / "out")
    with zipfile.ZipFile(editable) as archive:
        archive.extractall(tmp_path / "site")
    printed = _run(sys.executable, "-I", "-S", "-c", WHERE, tmp_path / "site", cwd=tmp_path)
    folders = ["stylemix", "ops", "training", "tools"]
    assert printed.split() == [str(tree / folder / "__init__.py") for folder in folders]


def test_it_runs_in_place():
    printed = _run(sys.executable, "-m", "stylemix", "--version", cwd=ROOT)
    assert printed.startswith("stylemix, version ")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the links come with a git checkout only")
def test_links_for_programs_that_read_code_point_at_the_folders():
    for name in ["ops", "training", "tools"]:
        link = ROOT / "stylemix" / name
        assert link.resolve() == ROOT / name


def test_every_folder_with_python_files_is_a_package():
    without = {
        path.parent.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if not (path.parent / "__init__.py").is_file()
    }
    assert not without


def test_the_version_has_a_changelog_entry():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{__version__}]" in changelog or "## [Unreleased]" in changelog

"""The lock file: one known version of everything that the checks need, for each Python."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = re.findall(r":: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.M)


def _needed(extra):
    for text in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if requirement.name == "stylemix":
            for inner in requirement.extras:
                yield from _needed(inner)
        else:
            yield requirement


def _locked(python):
    where = {"python_version": python, "python_full_version": f"{python}.0",
             "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
             "platform_machine": "x86_64", "platform_python_implementation": "CPython",
             "implementation_name": "cpython"}  # fmt: skip
    text = (ROOT / ".ci" / "lock.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    versions: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line
            requirement = Requirement(line.split(" --hash")[0])
            if requirement.marker is None or requirement.marker.evaluate(where):
                assert canonicalize_name(requirement.name) not in versions, line
                ((pin),) = requirement.specifier
                assert pin.operator == "=="
                versions[canonicalize_name(requirement.name)] = pin.version
    return where, versions


@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_has_a_version_of_everything(python):
    where, versions = _locked(python)
    needed = [*map(Requirement, PROJECT["dependencies"]), *_needed("dev")]
    for requirement in needed:
        if requirement.marker is None or requirement.marker.evaluate(where):
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_lock_file_names_no_host():
    text = (ROOT / ".ci" / "lock.txt").read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|index", text)

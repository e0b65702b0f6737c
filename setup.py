"""Which folder becomes which package, and ops compiled ahead of time; all else: pyproject.toml."""

import os
import shutil
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# Each folder of the top level, with the package that it becomes; those inside them follow.
FOLDERS = {"stylemix": "stylemix"} | {
    f"stylemix.{name}": name for name in ("ops", "training", "tools")
}
PACKAGES = {
    f"{package}.{inner.parent.name}": f"{folder}/{inner.parent.name}"
    for package, folder in FOLDERS.items()
    for inner in sorted((ROOT / folder).glob("*/__init__.py"))
    if not inner.parent.is_symlink()
}
PACKAGES = FOLDERS | PACKAGES

PACKAGE_DATA = {
    "stylemix": ["py.typed", "assets/**/*"],
    "stylemix.export": ["page/*"],
    "stylemix.ops": ["*.cpp", "*.cu", "*.cuh", "*.h"],
}

# STYLEMIX_BUILD_OPS=cpu,cuda compiles these into the wheel; else ops are compiled at first use.
KINDS = os.environ.get("STYLEMIX_BUILD_OPS", "").replace(",", " ").split()


def compile_ops(folder: Path) -> None:
    """Compiles the ops that were asked for into `folder`, with the torch that is installed."""
    sys.path.insert(0, str(ROOT))
    try:
        from stylemix.ops import jit
    except ImportError as error:
        cure = "install torch first, then stylemix with pip's option --no-build-isolation"
        raise SystemExit(f"STYLEMIX_BUILD_OPS: {error}; {cure}") from error
    for kind in KINDS:
        if kind not in jit.KINDS:
            raise SystemExit(f"STYLEMIX_BUILD_OPS: got {kind!r}; expected cpu, cuda or cpu,cuda")
        try:
            print(f"compiled {jit.build_into(kind, folder)}")
        except jit.NativeUnavailable as error:
            raise SystemExit(f"STYLEMIX_BUILD_OPS={kind}: {error}") from error


class FreshBuild(build_py):
    """Build into an empty folder: a file that was renamed must not live on in later wheels."""

    def run(self) -> None:
        """Removes what an earlier build left, then builds."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if KINDS and not self.editable_mode:  # a checkout compiles when its sources change
            compile_ops(Path(self.build_lib, "stylemix", "ops"))


class Package(Distribution):
    """A package of Python files, or one for this platform only."""

    def has_ext_modules(self) -> bool:
        """Whether it holds compiled ops."""
        return bool(KINDS)


class Wheel(bdist_wheel):
    """A wheel for any Python 3; for one platform when it holds compiled ops."""

    def get_tag(self) -> tuple[str, str, str]:
        """Python, ABI and platform; the ops use torch's stable C interface, not Python's."""
        tag: tuple[str, str, str] = super().get_tag()
        return ("py3", "none", tag[2]) if KINDS else tag


setup(
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data=PACKAGE_DATA,
    distclass=Package,
    cmdclass={"build_py": FreshBuild, "bdist_wheel": Wheel},
)

"""Which folder becomes which package; all else is in pyproject.toml."""

import shutil

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = {
    "stylemix": "stylemix",
    "stylemix.ops": "ops",
    "stylemix.training": "training",
    "stylemix.tools": "tools",
}

PACKAGE_DATA = {
    "stylemix": ["py.typed", "assets/**/*"],
    "stylemix.ops": ["*.cpp", "*.cu", "*.cuh", "*.h"],
}


class FreshBuild(build_py):
    """Build into an empty folder: a file that was renamed must not live on in later wheels."""

    def run(self) -> None:
        """Remove what an earlier build left, then build."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(
    packages=list(FOLDERS),
    package_dir=FOLDERS,
    package_data=PACKAGE_DATA,
    cmdclass={"build_py": FreshBuild},
)

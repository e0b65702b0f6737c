"""One running app for all tests of its page: it takes ten seconds to start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import running_app


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="session")
def app(folder: Path) -> Iterator[str]:
    """The address of the app, whose files are in `folder`."""
    with running_app(folder) as address:
        yield address

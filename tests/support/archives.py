"""Archives in tests, on every Python that pyproject.toml allows."""

import tarfile
from pathlib import Path


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpacks an archive; Python 3.11.2 (Debian 12) knows no filters, and 3.12 warns without."""
    options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    archive.extractall(folder, **options)

"""The folder of the cache, whoever is the first to need it."""

import os
import stat

import pytest

from stylemix.io.cache import cache_folder, load_table, save_table
from stylemix.ops import cache as ops_cache


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_tables_about_images_are_for_their_user_alone(tmp_path):
    save_table(tmp_path / "checksums" / "a.json", {"a": 1})
    assert load_table(tmp_path / "checksums" / "a.json") == {"a": 1}
    assert (tmp_path / "checksums").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_nobody_else_may_write_to_the_cache_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "new" / "cache"))
    before = os.umask(0)
    try:
        folder = cache_folder("latents")
        folder.mkdir(0o700, parents=True)
        ops_cache.prepare(ops_cache.usual())  # refuses a folder of everybody
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o755


def test_without_a_place_for_it_the_cache_is_only_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "file" / "cache"))
    assert cache_folder("latents") == tmp_path / "file" / "cache" / "latents"

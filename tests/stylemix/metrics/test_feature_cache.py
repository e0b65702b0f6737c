"""The cache of features of real images: keys, and damaged files."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stylemix.io.cache import cache_folder
from stylemix.metrics.extractors import Extractor
from stylemix.metrics.feature_cache import cached_real_features
from stylemix.training.data.dataset import ImageDataset
from tests.support.images import COLORS, Pictures, colors, write_pictures


class Counting:
    """The colours of images, and how many images were looked at."""

    def __init__(self):
        self.count = 0
        self.extractor = Extractor("Colours", self.extract, "1")

    def extract(self, images):
        self.count += len(images)
        return colors(images)


def test_features_are_computed_once(tmp_path):
    seen = Counting()
    first = cached_real_features(Pictures(), seen.extractor, tmp_path, batch=5)
    again = cached_real_features(Pictures(), seen.extractor, tmp_path)
    assert seen.count == 12
    assert np.array_equal(first, again)
    assert np.array_equal(first, colors(Pictures().floats).numpy())
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_other_images_or_extractors_are_computed(tmp_path):
    seen = Counting()
    cached_real_features(Pictures(), seen.extractor, tmp_path)
    cached_real_features(Pictures(seed=1), seen.extractor, tmp_path)
    assert seen.count == 24
    cached_real_features(Pictures(), replace(seen.extractor, version="2"), tmp_path)
    assert seen.count == 36
    cached_real_features(Pictures(), replace(seen.extractor, name="Hues"), tmp_path)
    assert seen.count == 48
    assert len(list(tmp_path.iterdir())) == 4


def test_the_key_is_the_content_and_not_the_path(tmp_path):
    seen = Counting()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        dataset = ImageDataset(write_pictures(tmp_path / name, seed=seed), 32)
        cached_real_features(dataset, seen.extractor, tmp_path / "cache")
        assert seen.count == (24 if name == "c" else 12)
    if os.name == "posix":
        assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    (tmp_path / "a" / "003.png").write_bytes((tmp_path / "c" / "003.png").read_bytes())
    changed = cached_real_features(
        ImageDataset(tmp_path / "a", 32), seen.extractor, tmp_path / "cache"
    )
    assert seen.count == 36
    former = cached_real_features(
        ImageDataset(tmp_path / "b", 32), seen.extractor, tmp_path / "cache"
    )
    assert seen.count == 36
    assert (changed != former).any(axis=1).nonzero()[0].tolist() == [3]


@pytest.mark.parametrize("version", ["", "1"])
def test_nothing_is_cached_without_a_folder_or_a_version(version, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = None if version else tmp_path
    for _ in range(2):
        seen = Counting()
        cached_real_features(Pictures(), replace(seen.extractor, version=version), folder)
        assert seen.count == 12
    assert list(tmp_path.iterdir()) == []


def _flip_last_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        _flip_last_bit,
        lambda path: path.write_bytes(path.read_bytes()[:-8]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no features at all"),
    ],
    ids=["a bit", "cut short", "empty", "another file"],
)
def test_damaged_features_are_computed_again_with_a_warning(damage, tmp_path, capsys):
    seen = Counting()
    first = cached_real_features(Pictures(), seen.extractor, tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path)
    again = cached_real_features(Pictures(), seen.extractor, tmp_path)
    assert np.array_equal(first, again)
    assert seen.count == 24
    assert "got damaged features; computing them again" in capsys.readouterr().err
    cached_real_features(Pictures(), seen.extractor, tmp_path)  # it was repaired
    assert seen.count == 24
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["file/folder", "x" * 300])  # no system has the latter
def test_a_cache_that_cannot_be_used_is_no_error(name, tmp_path, capsys):
    (tmp_path / "file").touch()
    features = cached_real_features(Pictures(), COLORS, tmp_path / name)
    assert np.array_equal(features, colors(Pictures().floats).numpy())
    assert "are not cached" in capsys.readouterr().err


def test_the_default_folder_is_beside_that_of_the_ops(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path))
    assert cache_folder("features") == tmp_path / "features"

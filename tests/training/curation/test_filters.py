"""Perceptual hashes, duplicates, sharpness and groups of people."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.fft import dct

from stylemix.images.read import load_image
from stylemix.images.tensors import to_pil
from stylemix.models.checkpoint import load_generator, shipped_models
from stylemix.networks.latents import map_latents, z_from_seed
from stylemix.training.curation.filters import (
    BLURRED,
    find_duplicates,
    group_people,
    hamming_distance,
    perceptual_hash,
    sharpness,
)

PORTRAITS = sorted((Path(__file__).parents[2] / "data" / "portraits").glob("*.jpg"))


def photo(name: str) -> Image.Image:
    return load_image(next(path for path in PORTRAITS if path.stem == name))


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def brute_force(hashes: list[int], distance: int) -> list[int]:
    """A reference for `find_duplicates`, one pair at a time: the nearest kept image, then first."""
    same: list[int] = []
    for value in hashes:
        kept = [i for i, other in enumerate(same) if other < 0]
        near = [(hamming_distance(value, hashes[i]), i) for i in kept]
        same.append(min((pair for pair in near if pair[0] <= distance), default=(0, -1))[1])
    return same


def test_hash_is_the_sign_of_low_frequencies():
    grey = np.random.RandomState(0).randint(0, 256, (32, 32)).astype(np.uint8)  # the thumbnail
    low = dct(dct(grey.astype(float), axis=0), axis=1)[:8, :8].ravel()
    bits = [0, *(low[1:] > np.median(low[1:])).astype(int)]
    expected = int("".join(map(str, bits)), 2)
    assert hamming_distance(perceptual_hash(Image.fromarray(grey)), expected) == 0
    assert expected.bit_count() == 31  # half of those above the first
    assert perceptual_hash(Image.new("RGB", (50, 40), (90, 20, 200))) == 0


def test_hash_is_robust_to_copying():
    image = photo("obama")
    original = perceptual_hash(image)
    copies = [
        image.resize((96, 120)),
        recompressed(image, 30),
        image.filter(ImageFilter.GaussianBlur(2)),
        image.point(lambda v: round(v * 0.8)),
    ]
    assert max(hamming_distance(original, perceptual_hash(copy)) for copy in copies) <= 4
    others = [perceptual_hash(photo(name)) for name in ("astronaut", "two_people")]
    assert min(hamming_distance(original, other) for other in others) > 16


@pytest.mark.parametrize("distance", [0, 3, 10])
def test_duplicates_equal_brute_force(monkeypatch, distance):
    monkeypatch.setattr("stylemix.training.curation.filters._BLOCK", 16)  # several blocks
    rng = np.random.RandomState(distance)
    hashes = [int(value) for value in rng.randint(0, 2**63, 40, dtype=np.int64)]
    for _ in range(60):  # copies of copies, so that there are chains
        value = hashes[rng.randint(len(hashes))]
        for bit in rng.choice(64, rng.randint(5), replace=False):
            value ^= 1 << int(bit)
        hashes.append(value)
    result = find_duplicates(hashes, distance).tolist()
    expected = brute_force(hashes, distance)
    assert [other < 0 for other in result] == [other < 0 for other in expected]
    for index, other in enumerate(result):
        if other >= 0:
            assert other < index
            assert result[other] == -1
            assert hamming_distance(hashes[index], hashes[other]) <= distance


def test_no_chains_and_no_pictures():
    # The second is near the first, the third near the second only: it is no duplicate.
    assert find_duplicates([0b0, 0b11, 0b1111], 2).tolist() == [-1, 0, -1]
    assert find_duplicates([5], 2).tolist() == [-1]
    assert find_duplicates([], 2).tolist() == []


def test_planted_duplicates_among_twenty_thousand():
    rng = np.random.RandomState(0)
    hashes = [int(value) for value in rng.randint(0, 2**63, 20000, dtype=np.int64)]
    planted = [hashes[i] ^ (0b1111 << i % 60) for i in range(0, 1000, 10)]
    result = find_duplicates([*hashes, *planted], 4)
    assert result[20000:].tolist() == list(range(0, 1000, 10))
    assert (result[:20000] == -1).all()


def test_sharpness_is_the_variance_of_the_laplacian():
    board = np.indices((64, 64)).sum(axis=0) % 2  # each pixel differs from its four neighbours
    picture = Image.fromarray((100 + 10 * board).astype(np.uint8))
    assert sharpness(picture) == pytest.approx(40.0**2)  # the Laplacian is 40 or -40
    edge = np.zeros((64, 64), np.uint8)
    edge[:, :8] = 255  # outside the middle
    assert sharpness(Image.fromarray(edge)) == 0


def test_sharpness_at_a_fixed_scale():
    small = photo("obama").crop((60, 0, 316, 256))
    large = small.resize((1024, 1024), Image.Resampling.NEAREST)
    assert sharpness(large) == pytest.approx(sharpness(small), rel=1e-6)


@pytest.mark.parametrize("path", PORTRAITS, ids=lambda path: path.stem)
def test_limit_lies_between_ordinary_photos_and_blurred_ones(path):
    photograph = load_image(path)
    side = min(photograph.size)
    image = photograph.crop((0, 0, side, side)).resize((256, 256), Image.Resampling.LANCZOS)
    assert sharpness(image) > 5 * BLURRED
    assert sharpness(image.filter(ImageFilter.GaussianBlur(1))) > BLURRED
    assert sharpness(image.filter(ImageFilter.GaussianBlur(4))) < BLURRED


def test_limit_leaves_generated_faces_alone():
    if "faces-64" not in shipped_models():
        pytest.skip("the model is not there")
    generator = load_generator("faces-64")
    for seed in range(4):
        w = map_latents(generator, z_from_seed(seed, generator.config.z_dim), psi=0.7)
        image = to_pil(generator.synthesis(w))
        assert sharpness(image) > 5 * BLURRED
        assert sharpness(image.filter(ImageFilter.GaussianBlur(3))) < BLURRED


def test_people_are_grouped_by_the_nearest_mean():
    line = np.array([[0.0], [1.0], [0.3], [0.9], [0.5], [5.0]])
    # 0.3 joins 0 (mean 0.15), 0.9 joins 1 (mean 0.95), 0.5 joins the first (0.35 < 0.45).
    assert group_people(line, 0.4).tolist() == [0, 1, 0, 1, 0, 2]
    assert group_people(line, 0.2).tolist() == [0, 1, 2, 1, 2, 3]
    assert group_people(np.zeros((0, 128))).tolist() == []

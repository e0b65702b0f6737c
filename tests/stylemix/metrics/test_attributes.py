"""What avatars keep of a face, where the answer is known."""

import pytest
import torch

import stylemix
from stylemix.faces.attributes import smile_log_odds
from stylemix.faces.templates import FACES128
from stylemix.images.tensors import to_tensor
from stylemix.io.assets import ASSETS
from stylemix.metrics import attributes
from stylemix.metrics.attributes import (
    kept_attributes,
    mean_colors,
    probabilities,
    steady_smiles,
)
from stylemix.networks.sampling import sample_images

NAMES = ("biden", "collins", "hopper", "obama")


@pytest.fixture(scope="module")
def photos():
    crops = [stylemix.align(ASSETS / "portraits" / f"{name}.jpg", size=256) for name in NAMES]
    return torch.cat([to_tensor(crop) for crop in crops])


@pytest.mark.slow
def test_who_wears_glasses_and_who_smiles(photos):
    read = probabilities(photos, FACES128)
    assert [p > 0.5 for p in read["glasses"].tolist()] == [False, False, True, False]
    assert [p > 0.5 for p in read["smile"].tolist()] == [True, True, False, True]
    assert [p > 0.5 for p in read["mouth"].tolist()] == [True, True, False, True]
    assert all(p < 0.5 for p in read["beard"].tolist())


def test_a_smile_is_the_same_in_the_mirror(photos):
    """One reading is not: it moves by 5 log-odds in one of these four."""
    mirrored = steady_smiles(photos.flip(3), FACES128)
    torch.testing.assert_close(steady_smiles(photos, FACES128), mirrored, atol=1e-3, rtol=0)
    one = smile_log_odds(photos, FACES128) - smile_log_odds(photos.flip(3), FACES128)
    assert one.abs().max() > 1


@pytest.mark.slow
def test_labelled_faces():
    """Faces that a person labelled, as docs/recipes/train_attributes.py has them."""
    generator = stylemix.load_model("faces-64").generator
    glasses, beard, neither = [105, 136, 266, 330, 405], [30, 283, 297, 305, 371], [96, 106, 122]
    faces = sample_images(generator, [*glasses, *beard, *neither], 0.9)
    read = probabilities(faces, FACES128)
    assert (read["glasses"][:5] > 0.5).all()
    assert (read["beard"][5:10] > 0.5).all()
    assert (read["glasses"][10:] < 0.5).all()
    assert (read["beard"][10:] < 0.5).all()


@pytest.mark.slow
def test_the_photo_keeps_all_and_another_person_does_not(photos):
    kept = kept_attributes(photos, [photos, photos.roll(1, dims=0)], FACES128)
    for name in ("glasses", "beard", "smile", "mouth"):
        assert kept[f"{name} kept"][0].tolist() == [1, 1, 1, 1]
    # Hopper, the third, is the only one with glasses and the only one who does not smile.
    assert kept["glasses kept"][1].tolist() == [1, 1, 0, 0]
    assert kept["smile kept"][1].tolist() == [1, 1, 0, 0]
    for name in ("skin color", "hair color"):
        assert kept[name][0].max() < 1e-3
        assert kept[name][1].min() > 3


@pytest.mark.slow
def test_smaller_avatars_and_grey_ones(photos):
    small = torch.nn.functional.interpolate(photos, [128, 128], mode="area")
    grey = photos.mean(dim=1, keepdim=True).expand_as(photos)
    kept = kept_attributes(photos, [small, grey], FACES128)
    assert kept["glasses kept"][0].tolist() == [1, 1, 1, 1]
    assert kept["skin color"][0].max() < 1.5
    assert kept["skin color"][1].min() > 10  # of skin that is grey


def test_mean_colors_are_of_the_mask():
    image = torch.zeros([1, 3, 4, 4])
    image[:, :, :2], image[:, :, 2:] = 1.0, -1.0
    mask = torch.zeros([1, 1, 4, 4])
    mask[:, :, :2] = 1
    torch.testing.assert_close(
        mean_colors(image, mask)[0, 0], torch.tensor(100.0), atol=0.01, rtol=0
    )
    torch.testing.assert_close(mean_colors(image, 1 - mask)[0], torch.zeros(3), atol=0.1, rtol=0)


def test_an_attribute_is_kept_within_half_a_probability(monkeypatch):
    read = iter([0.3, 0.75, 0.85])
    monkeypatch.setattr(
        attributes, "probabilities", lambda *_: {"beard": torch.tensor([next(read)])}
    )
    monkeypatch.setattr(attributes, "region_mask", lambda _, images, __: images[:, :1] * 0 + 1)
    images = torch.zeros([1, 3, 8, 8])
    kept = kept_attributes(images, [images, images], FACES128)
    assert kept["beard kept"].tolist() == [[1], [0]]
    assert kept["skin color"].tolist() == [[0], [0]]

"""The finisher: sharper, the same picture, and only for faces that it knows."""

import pytest
import torch
from torch.nn import functional

import stylemix
from stylemix.avatars.finish import model_image
from stylemix.avatars.finisher import enlarge
from stylemix.faces.templates import FACES128, FFHQ
from stylemix.images.tensors import to_tensor
from stylemix.io.assets import ASSETS
from stylemix.networks.sampling import sample_images


@pytest.fixture(scope="module")
def faces():
    generator = stylemix.load_model("faces-64").generator
    return sample_images(generator, [1, 3, 105, 150], 0.7).clamp(-1, 1)


def edges(images):
    return float((images[:, :, :, 1:] - images[:, :, :, :-1]).abs().mean())


def test_the_same_picture_but_sharper(faces):
    large = enlarge(faces, FACES128)
    assert large.shape == (4, 3, 256, 256)
    small = functional.interpolate(large, [64, 64], mode="area")
    assert float((small - faces).abs().mean()) < 0.05
    plain = functional.interpolate(faces, [256, 256], mode="bicubic")
    assert edges(large) > 1.1 * edges(plain)
    one = enlarge(faces[2:3], FACES128)
    torch.testing.assert_close(one, large[2:3], atol=1e-4, rtol=0)


def test_it_is_nearer_to_a_photo_than_the_enlarged_image():
    names = ("biden", "collins", "hopper", "obama")
    crops = [stylemix.align(ASSETS / "portraits" / f"{name}.jpg", size=256) for name in names]
    photos = torch.cat([to_tensor(crop) for crop in crops])
    small = functional.interpolate(photos, [64, 64], mode="bicubic", antialias=True).clamp(-1, 1)
    plain = functional.interpolate(small, [256, 256], mode="bicubic")
    error = [float((images - photos).abs().mean()) for images in (plain, enlarge(small, FACES128))]
    assert error[1] < 0.95 * error[0]


def test_other_images_stay(faces):
    for images, template in (
        (faces, FFHQ), (faces[:, :1], FACES128), (faces[:, :, :32, :32], FACES128),
    ):  # fmt: skip
        assert enlarge(images, template) is images


def test_the_size_of_an_image_of_the_model(faces):
    assert model_image(faces[:1], FACES128).size == (256, 256)
    assert model_image(faces[:1], FACES128, 100).size == (100, 100)
    assert model_image(faces[:1, :, :32, :32], FFHQ).size == (256, 256)

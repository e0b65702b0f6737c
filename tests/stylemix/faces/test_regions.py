"""Regions of real faces, and painted masks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from stylemix.errors import StylemixError
from stylemix.faces.alignment import align_photo
from stylemix.faces.landmarks import landmarks
from stylemix.faces.regions import REGIONS, feather, painted_mask, region_mask
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.images.tensors import to_tensor

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"
SIZE = 96


def portrait(name: str, template=FACES128) -> torch.Tensor:
    return to_tensor(align_photo(load_image(PORTRAITS / f"{name}.jpg"), template, SIZE).crop)


@pytest.mark.parametrize("template", [FACES128, FFHQ], ids=lambda template: template.name)
@pytest.mark.parametrize("name", ["obama", "astronaut"])
def test_a_face_contains_its_landmarks_and_no_corner(name, template):
    image = portrait(name, template)
    mask = region_mask(["face"], image, template)[0, 0]
    assert mask.shape == (SIZE, SIZE)
    inner = landmarks(image, template)[0, 27:] * SIZE  # eyes, nose, mouth
    assert all(mask[int(y), int(x)] > 0.95 for x, y in inner.tolist())
    assert mask[-1].max() < 0.5  # the chin is not below the image
    assert mask[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 0.1
    assert 0.1 < mask.mean() < 0.75


def synthetic_head(hair=(60, 30, 10), skin=(220, 170, 140), wall=(40, 90, 200)) -> torch.Tensor:
    """Returns a head of flat colours with the facial features of a portrait."""
    crop = align_photo(load_image(PORTRAITS / "astronaut.jpg"), FFHQ, 128).crop
    image = Image.new("RGB", (128, 128), wall)
    pen = ImageDraw.Draw(image)
    pen.ellipse((28, 8, 100, 80), fill=hair)
    pen.rectangle((50, 80, 78, 128), fill=skin)
    pen.rectangle((91, 64, 96, 76), fill=skin)  # an ear
    face = Image.new("L", (128, 128))
    ImageDraw.Draw(face).ellipse((38, 34, 90, 104), fill=255)
    pen.ellipse((38, 34, 90, 104), fill=skin)
    image.paste(crop.convert("L").convert("RGB"), (0, 0), face.point(lambda v: v * 2 // 5))
    return to_tensor(image)


def test_hair_skin_and_background_by_color():
    masks = {name: region_mask([name], synthetic_head(), FFHQ)[0, 0] for name in REGIONS}
    places = {
        "hair": (slice(13, 19), slice(56, 72)),
        "face": (slice(50, 90), slice(54, 74)),
        "background": (slice(4, 110), slice(4, 18)),
    }
    for name, place in places.items():
        for other, mask in masks.items():
            if other == name or (name, other) == ("face", "skin"):
                assert mask[place].min() > 0.9, (name, other)
            else:
                assert mask[place].max() < 0.1, (name, other)
    neck = slice(112, 126), slice(56, 72)
    assert masks["skin"][neck].min() > 0.9
    assert max(masks[name][neck].max() for name in ("face", "hair", "background")) < 0.1
    ear = slice(69, 71), slice(92, 94)
    assert masks["skin"][ear].min() > 0.6
    assert max(masks[name][ear].max() for name in ("hair", "background")) < 0.4


def test_a_wall_like_the_skin_is_background_all_the_same():
    mask = region_mask(["background"], synthetic_head(wall=(220, 170, 140)), FFHQ)[0, 0]
    assert mask[4:110, 4:14].min() > 0.9


def test_several_regions_are_one():
    image = portrait("astronaut")
    both = region_mask(["hair", "face"], image, FACES128)
    for name in ("hair", "face"):
        alone = region_mask([name], image, FACES128)
        assert (both >= alone - 1e-3).all()
        assert (both - alone).max() > 0.5


def test_each_image_has_its_own_mask():
    images = torch.cat([portrait("obama"), portrait("astronaut")])
    masks = region_mask(["hair"], images, FACES128)
    assert masks.shape == (2, 1, SIZE, SIZE)
    assert torch.allclose(masks[1:], region_mask(["hair"], images[1:], FACES128), atol=1e-3)


def test_the_size_of_the_image_hardly_matters():
    image = portrait("obama")
    small = torch.nn.functional.interpolate(image, scale_factor=0.5, mode="area")
    mask = torch.nn.functional.interpolate(region_mask(["face"], image, FACES128), 48, mode="area")
    assert (mask - region_mask(["face"], small, FACES128)).abs().mean() < 0.02


def test_edges_are_soft():
    half = torch.zeros(1, 1, 100, 100)
    half[..., 50:] = 1
    soft = feather(half)[0, 0, 50]
    assert soft[40] < 0.001
    assert soft[59] > 0.999
    assert soft[49] + soft[50] == pytest.approx(1, abs=1e-5)
    assert (soft.diff() >= -1e-6).all()
    assert soft[47] == pytest.approx(0.106, abs=0.01)  # 2.5 px, 1.25 deviations, from the edge


def test_unknown_regions_raise():
    image = portrait("obama")
    with pytest.raises(StylemixError, match="got the region 'eyes'; expected face, skin, hair"):
        region_mask(["face", "eyes"], image, FACES128)
    with pytest.raises(StylemixError, match="got the region 'none'"):
        region_mask([], image, FACES128)
    with pytest.raises(StylemixError, match="has no eye positions"):
        region_mask(["face"], image, NO_TEMPLATE)


def painted(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGBA", size, (0, 0, 0, 255))
    image.paste((255, 255, 255, 255), box)
    return image


def test_a_square_mask_is_aligned_with_the_crop():
    mask = painted_mask(painted((64, 64), (0, 0, 32, 64)), (16, 16))
    assert mask.shape == (1, 1, 16, 16)
    assert mask[0, 0, :, :7].min() > 0.99
    assert mask[0, 0, :, 9:].max() < 0.01
    # An alignment does not change that, nor does a photo of another size.
    for photo in (None, (300, 300)):
        again = painted_mask(painted((64, 64), (0, 0, 32, 64)), (16, 16), np.eye(3), photo)
        assert torch.equal(again, mask)


@pytest.mark.parametrize("photo", [None, (300, 200)])
def test_a_mask_of_the_photo_is_aligned_with_it(photo):
    # The crop is the square from (100, 50) to (180, 130) of the photo.
    matrix = np.array([[0.2, 0, -20], [0, 0.2, -10], [0, 0, 1]])
    mask = painted_mask(painted((300, 200), (100, 50, 140, 130)), (16, 16), matrix, photo)
    assert mask[0, 0, :, :7].min() > 0.9
    assert mask[0, 0, :, 9:].max() < 0.1


def test_a_square_mask_of_a_square_photo_is_aligned_with_it():
    matrix = np.array([[0.2, 0, -20], [0, 0.2, -10], [0, 0, 1]])
    image = painted((200, 200), (100, 50, 140, 130))
    mask = painted_mask(image, (16, 16), matrix, (200, 200))
    assert mask[0, 0, :, :7].min() > 0.9
    assert mask[0, 0, :, 9:].max() < 0.1
    assert painted_mask(image, (16, 16), matrix)[0, 0, 0].max() < 0.01  # else on the crop


def test_transparent_pixels_are_not_painted():
    image = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    image.paste((255, 255, 255, 128), (0, 0, 32, 16))
    mask = painted_mask(image, (32, 32))
    assert mask[0, 0, 20:].max() == 0
    assert mask[0, 0, :12].mean() == pytest.approx(0.5, abs=0.01)


def test_a_mask_is_cropped_for_a_model_that_is_not_square():
    mask = painted_mask(painted((100, 100), (0, 0, 100, 50)), (16, 32))
    assert mask.shape == (1, 1, 32, 16)
    assert mask[0, 0, :14].min() > 0.99


def test_a_mask_of_another_photo_raises():
    image = painted((300, 200), (0, 0, 10, 10))
    with pytest.raises(StylemixError, match=r"m.png: got a mask of 300 x 200 px; expected a sq"):
        painted_mask(image, (16, 16), name="m.png")
    with pytest.raises(StylemixError, match="or 600 x 400 px, as the photo"):
        painted_mask(image, (16, 16), np.eye(3), (600, 400))

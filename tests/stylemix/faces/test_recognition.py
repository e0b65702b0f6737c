"""Face recognition: known people, every template, gradients with respect to the image."""

from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.alignment import cut_face
from stylemix.faces.detector import Face, load_detector
from stylemix.faces.recognition import (
    CHIP_SIZE,
    DLIB_CHIP,
    SAME_PERSON,
    embed,
    identity_cosine,
    identity_distance,
    identity_kept,
    load_identity_network,
    make_chips,
)
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE, Template
from stylemix.images.tensors import to_tensor

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"
# Obama twice (the second photo shows him at the left), Biden, and an astronaut.
PEOPLE = [("obama", None), ("two_people", "left"), ("two_people", "right"), ("astronaut", None)]


@cache
def detected(name: str, side: str | None) -> tuple[Image.Image, Face]:
    image = Image.open(PORTRAITS / f"{name}.jpg").convert("RGB")
    middle = image.width // 2
    if side is not None:
        image = image.crop(
            (0, 0, middle, image.height) if side == "left" else (middle, 0, *image.size)
        )
    return image, load_detector().detect(image)[0]


def crop(name: str, side: str | None, template: Template, size: int) -> Tensor:
    image, face = detected(name, side)
    return to_tensor(cut_face(image, face, template, size).crop)


@pytest.mark.parametrize(
    ("template", "size"), [(DLIB_CHIP, CHIP_SIZE), (FACES128, 64), (FACES128, 256), (FFHQ, 512)]
)
def test_distances_within_and_between_people(template, size):
    with torch.no_grad():
        codes = torch.cat([embed(crop(*person, template, size), template) for person in PEOPLE])
    assert codes.shape == (4, 128)
    distances = torch.cdist(codes, codes)
    assert distances[0, 1] < 0.5 < SAME_PERSON < distances[0, 2]
    for other in (distances[0, 3], distances[1, 2], distances[1, 3], distances[2, 3]):
        assert 0.58 < other < 1.0
    assert identity_distance(codes[:1], codes[1:2]).item() == pytest.approx(distances[0, 1].item())
    assert identity_cosine(codes[:1], codes[1:2]) > identity_cosine(codes[:1], codes[2:3]) + 0.03


@pytest.mark.parametrize("template", [FACES128, FFHQ, DLIB_CHIP])
@pytest.mark.parametrize("size", [64, 150, 512])
def test_chips_have_eyes_in_place(template, size):
    image = torch.full((1, 3, size, size), -1.0)
    for x, y in template.eyes:
        row, column = int(y * size), int(x * size)
        image[:, :, row - size // 50 : row + size // 50 + 1, column] = 1.0
        image[:, :, row, column - size // 50 : column + size // 50 + 1] = 1.0
    chip = make_chips(image, template)[0, 0]
    assert chip.shape == (CHIP_SIZE, CHIP_SIZE)
    weights = (chip - chip.min()).double()
    weights[:49] = weights[66:] = 0  # rows away from the eyes, which are padding
    for half, eye in ((slice(0, 75), 49), (slice(75, 150), 101)):
        part = weights[:, half]
        columns = torch.arange(150)[half] + 0.5
        rows = torch.arange(150) + 0.5
        assert (part.sum(0) @ columns.double() / part.sum()).item() == pytest.approx(eye, abs=1.5)
        assert (part.sum(1) @ rows.double() / part.sum()).item() == pytest.approx(57, abs=1.5)


def test_chip_of_a_chip_is_itself():
    image = torch.rand(2, 3, CHIP_SIZE, CHIP_SIZE) * 2 - 1
    assert torch.allclose(make_chips(image, DLIB_CHIP), (image + 1) * 127.5, atol=0.05)


def test_gradients_reach_the_image():
    image = crop("obama", None, FACES128, 64)
    with torch.no_grad():
        target = embed(crop("two_people", "left", FACES128, 64), FACES128)
    moved = image.clone().requires_grad_()
    before = identity_distance(embed(moved, FACES128), target)
    (gradient,) = torch.autograd.grad(before.sum(), moved)
    assert gradient.isfinite().all()
    assert gradient.abs().amax(dim=(0, 1, 3))[:60].gt(0).all()  # all rows down to the chin
    with torch.no_grad():
        step = image - 0.02 * gradient / gradient.abs().max()
        assert identity_distance(embed(step, FACES128), target) < before


def test_images_of_a_batch_are_independent():
    images = torch.cat([crop("obama", None, FACES128, 64), crop("astronaut", None, FACES128, 64)])
    with torch.no_grad():
        batched = embed(images, FACES128)
        single = torch.cat([embed(image[None], FACES128) for image in images])
    assert torch.allclose(batched, single, atol=1e-5)


def test_network_is_frozen_and_shared():
    network = load_identity_network()
    assert network is load_identity_network(torch.device("cpu"))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_template_without_eyes_raises():
    with pytest.raises(StylemixError, match="has no eye positions"):
        embed(torch.zeros(1, 3, 64, 64), NO_TEMPLATE)


def test_identity_kept():
    before = torch.zeros(5, 128)
    after = before.clone()
    after[:, 0] = torch.tensor([0, 0.3, 0.6, 1.2, 3.0])
    assert torch.allclose(identity_kept(before, after), torch.tensor([1, 0.75, 0.5, 0, 0]))
    photos = [("obama", None), ("two_people", "left"), ("two_people", "right"), ("astronaut", None)]
    images = torch.cat([crop(name, where, FACES128, 64) for name, where in photos])
    with torch.no_grad():
        first, again, *strangers = embed(images, FACES128)
    assert identity_kept(first, again) > 0.6
    assert all(identity_kept(first, stranger) < 0.5 for stranger in strangers)

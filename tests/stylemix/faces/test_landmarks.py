"""Landmarks, yaw and expression: known and mirrored portraits, and gradients."""

from pathlib import Path

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.faces.alignment import align_photo
from stylemix.faces.landmarks import (
    CHIN,
    EXPRESSIONS,
    LEFT_EYE,
    NOSE_TIP,
    RIGHT_EYE,
    expressions,
    landmarks,
    yaw,
)
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.images.tensors import to_tensor

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"


def aligned(name, template=FACES128, size=128):
    photo = load_image(PORTRAITS / f"{name}.jpg", mode="RGB")
    return to_tensor(align_photo(photo, template, size).crop)


@pytest.mark.parametrize(("template", "size"), [(FACES128, 64), (FACES128, 256), (FFHQ, 512)])
@pytest.mark.parametrize("name", ["obama", "astronaut"])
def test_landmarks_agree_with_the_template(name, template, size):
    points = landmarks(aligned(name, template, size), template)[0]
    left, right = (torch.tensor(eye) for eye in template.eyes)
    tolerance = 0.1 * float(right[0] - left[0])
    assert (points[LEFT_EYE].mean(dim=0) - left).norm() < tolerance
    assert (points[RIGHT_EYE].mean(dim=0) - right).norm() < tolerance
    assert left[0] < points[NOSE_TIP, 0] < right[0]
    jaw, mouth = points[:17], points[48:68]
    assert points[CHIN, 1] == jaw[:, 1].max() > mouth[:, 1].max()
    assert jaw[0, 0] < left[0] < right[0] < jaw[16, 0]


def test_smiles_are_recognised():
    happy = EXPRESSIONS.index("happy")
    smiling = expressions(aligned("astronaut"), FACES128)
    torch.testing.assert_close(smiling.sum(dim=1), torch.ones([1]))
    assert smiling[0, happy] > 0.95
    assert expressions(aligned("obama"), FACES128)[0, happy] > 0.95


def test_a_mirrored_face_has_the_opposite_yaw():
    face = aligned("astronaut")
    both = torch.cat([face, face.flip(3)])
    points = landmarks(both, FACES128)
    yaws = yaw(points)
    assert abs(float(yaws[0] + yaws[1])) < 0.04
    torch.testing.assert_close(
        points[0, NOSE_TIP, 0], 1 - points[1, NOSE_TIP, 0], atol=0.04, rtol=0
    )


def test_yaw_is_the_displacement_of_the_nose_tip():
    points = torch.zeros([2, 68, 2])
    points[:, LEFT_EYE], points[:, RIGHT_EYE] = torch.tensor([0.3, 0.3]), torch.tensor([0.7, 0.3])
    points[0, NOSE_TIP], points[1, NOSE_TIP] = torch.tensor([0.6, 0.5]), torch.tensor([0.4, 0.5])
    torch.testing.assert_close(yaw(points), torch.tensor([0.25, -0.25]))
    tilted = points @ torch.tensor([[0.8, 0.6], [-0.6, 0.8]])  # a tilted head has the same yaw
    torch.testing.assert_close(yaw(tilted), yaw(points))


def test_gradients_reach_the_image():
    face = aligned("obama", size=64).requires_grad_(True)
    yaw(landmarks(face, FACES128)).sum().backward()
    assert float(face.grad.abs().sum()) > 0
    face.grad = None
    expressions(face, FACES128)[:, 0].sum().backward()
    assert float(face.grad.abs().sum()) > 0


def test_a_template_without_eyes_raises():
    with pytest.raises(StylemixError, match="has no eye positions"):
        landmarks(torch.zeros([1, 3, 64, 64]), NO_TEMPLATE)

"""Edits on the photo itself: which light it takes over, and what the model draws into the mouth."""

import numpy as np
import pytest
import torch

from stylemix.avatars import motion
from stylemix.avatars.motion import fit_motion
from stylemix.faces.templates import FACES128
from stylemix.images.tensors import to_pil, to_tensor

SIZE = 64


@pytest.mark.slow
def test_what_an_opened_mouth_shows_is_drawn(mixer, person):
    """A mouth that was painted over is new, so the model's image shows there."""
    before = mixer.draw(person)
    template = mixer.model.template
    points = motion.landmarks(before, template)
    mouth = motion.ellipses(points[:, motion.MOUTH], SIZE)
    stripes = torch.ones_like(before)
    stripes[:, :, ::2] = -1
    after = before.lerp(stripes, mouth)
    found = fit_motion(before, after, template)
    assert float((found.mouth * mouth).sum() / mouth.sum()) > 0.4
    assert found.mouth[:, :, :32].max() == 0


def test_nothing_but_what_is_between_the_lips_is_drawn(mixer, person):
    """The model's soft lips and corners of the mouth were once pale spots on the photo."""
    before = mixer.draw(person)
    template = mixer.model.template
    points = motion.landmarks(before, template)
    lips = motion.ellipses(points[:, motion.MOUTH], SIZE)
    lips = lips * (1 - motion.ellipses(points[:, motion.INSIDE], SIZE))
    stripes = torch.ones_like(before)
    stripes[:, :, ::2] = -1
    found = fit_motion(before, before.lerp(stripes, 0.3 * lips), template)
    assert float((found.mouth * lips).sum() / lips.sum()) < 0.1


def test_a_drawn_mouth_has_the_light_around_it(face):
    """A red light on the whole face, which the photo leaves out, is no red patch in its mouth."""
    points = motion.landmarks(face, FACES128)
    mouth = motion.ellipses(points[:, motion.MOUTH], SIZE)
    red = torch.tensor([0.5, -0.3, -0.3]).view(1, 3, 1, 1)
    after = (face.lerp(face - 0.6, mouth * 0.5) + red).clamp(-1, 1)
    found = fit_motion(face, after, FACES128)
    scale = np.diag([1 / SIZE, 1 / SIZE, 1.0])
    image = to_tensor(found.apply(to_pil(face), scale, after))
    hues = [(one[:, :1] - one[:, 1:]).mean(dim=1, keepdim=True) for one in (image, face)]
    redder = float(((hues[0] - hues[1]) * mouth).sum() / mouth.sum())
    assert found.mouth.max() > 0.5
    assert redder < 0.3  # of 0.8


def test_light_is_followed_and_another_thing_in_its_place_is_not(face):
    """Where the model draws a blue wall in place of a cheek, the photo keeps its cheek."""
    cheek = torch.zeros(1, 1, SIZE, SIZE)
    cheek[:, :, 24:40, 10:22] = 1
    blue = torch.tensor([-0.6, -0.1, 0.7]).view(1, 3, 1, 1)
    changes = [
        fit_motion(face, face.lerp(other.expand_as(face), cheek), FACES128).colors
        for other in (blue, face - 0.4)
    ]
    pixels_before = (face + 1) / 2
    walls, light = (
        motion.apply_planes(c.local[None], pixels_before) + c.remainder - pixels_before
        for c in changes
    )
    place = cheek.expand_as(face) > 0
    assert walls[place].abs().mean() < 0.03
    assert light[place].abs().mean() > 0.06


def test_a_turned_head_leaves_no_stain_beside_it(face):
    """What a head uncovers has sharp borders, which light has not, also in the head's own hue."""
    bands = [torch.zeros(1, 1, SIZE, SIZE) for _ in range(2)]
    bands[0][..., 10:54, 3:8] = 1  # beside the head
    bands[1] += torch.linspace(0, 1, SIZE)
    uncovered, light = (
        fit_motion(face, face - depth * band, FACES128).colors
        for band, depth in zip(bands, (0.8, 0.4), strict=True)
    )
    colors = (face + 1) / 2
    stain, shade = (
        (motion.apply_planes(c.local[None], colors) + c.remainder - colors)[..., 10:54, lines]
        for c, lines in ((uncovered, slice(3, 8)), (light, slice(36, 44)))
    )
    assert stain.abs().mean() < 0.03
    assert shade.abs().mean() > 0.06

"""Edits on the photo itself: the flow that is found, where it applies, and what comes of it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from stylemix.avatars import motion
from stylemix.avatars.drawing import crop_photo, shrink_photo
from stylemix.avatars.finish import finish
from stylemix.avatars.inputs import style_arguments
from stylemix.avatars.mixer import direction_styles
from stylemix.avatars.motion import edit_photo, estimate_flow, fit_motion, follow, move
from stylemix.faces.attributes import readings
from stylemix.faces.templates import FACES128, NO_TEMPLATE
from stylemix.faces.warp import transform_points
from stylemix.images.read import load_image
from stylemix.images.tensors import to_tensor

ROOT = Path(__file__).parents[3]
PORTRAIT = Path(__file__).parents[2] / "data" / "portraits" / "obama.jpg"
SIZE = 64


def pixels(image):
    return np.asarray(image).astype(float)


def wave(size=SIZE, px=2.0):
    """A smooth flow [1, 2, S, S] of up to `px` px in each direction."""
    steps = (torch.arange(size) + 0.5) / size * 2 * torch.pi
    x, y = torch.cos(steps)[:, None].expand(size, size), torch.sin(steps).expand(size, size)
    return torch.stack([x, y])[None] * px / size


def no_mouth(size=SIZE):
    return torch.zeros(1, 1, size, size)


def test_a_known_flow_is_found(face):
    flow = wave()
    found = estimate_flow(face, follow(face, flow), no_mouth())
    inside = slice(12, 52)
    error = SIZE * (found - flow)[..., inside, inside].norm(dim=1)
    assert error.median() < 0.35  # px; the flow is up to 2.8 px long
    assert error.mean() < 0.5


def test_nothing_moves_where_only_the_light_changes(face):
    light = torch.linspace(-0.25, 0.15, SIZE)
    lit = (0.9 * face + light).clamp(-1, 1)
    assert SIZE * estimate_flow(face, lit, no_mouth()).norm(dim=1).mean() < 0.3
    found = fit_motion(face, lit, FACES128)
    assert found.error < 0.04
    assert found.mouth.mean() < 0.01


def test_the_photo_moves_as_the_flow_says():
    """A flow that is the same everywhere shifts the crop, also a turned one, by whole photo px."""
    rng = np.random.default_rng(0)
    smooth = functional.interpolate(
        torch.from_numpy(rng.random([1, 3, 30, 40])), [300, 400], mode="bicubic"
    )
    photo = Image.fromarray((smooth[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy())
    flow = torch.tensor([0.1, -0.05]).view(1, 2, 1, 1).expand(1, 2, SIZE, SIZE)
    side, middle = 128, (200.0, 150.0)
    for degrees in (0, 30):
        angle = np.deg2rad(degrees)
        turn = (
            np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            * SIZE
            / side
        )
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = turn, SIZE / 2 - turn @ middle
        moved = move(photo, matrix, flow)
        shift = np.linalg.inv(turn) @ (SIZE * np.array([0.1, -0.05]))
        expected = photo.transform(
            photo.size,
            Image.Transform.AFFINE,
            (1, 0, shift[0], 0, 1, shift[1]),
            Image.Resampling.BICUBIC,
        )
        inside = slice(120, 180), slice(170, 230)
        assert np.abs(pixels(moved)[inside] - pixels(expected)[inside]).max() <= 4
        assert np.abs(pixels(moved)[inside] - pixels(photo)[inside]).mean() > 3
        corner = transform_points(np.linalg.inv(matrix), np.array([[SIZE / 2, -SIZE * 0.55]]))[0]
        assert 0 < corner[0] < 400  # half a crop beyond it nothing moves
        y, x = int(max(corner[1], 0)), int(corner[0])
        assert (pixels(moved)[y, x] == pixels(photo)[y, x]).all()
    no_flow = move(photo, matrix, torch.zeros(1, 2, SIZE, SIZE))
    assert np.abs(pixels(no_flow) - pixels(photo)).max() <= 1


@pytest.mark.slow
def test_a_turned_head_on_the_photo(mixer, person):
    """The photo turns as the model's image does, stays sharp, and is as before beyond the head."""
    template = mixer.model.template
    before = mixer.draw(person)
    after = mixer.draw(person, direction_styles(mixer, {"yaw": 1.5}))
    edited = edit_photo(person.photo, before, after, template)
    turn = [
        float(readings(image, template)["yaw"])
        for image in (before, after, to_tensor(crop_photo(person.photo, 256)), edited.image[None])
    ]
    wanted = turn[1] - turn[0]
    assert wanted > 0.02
    assert 0.4 * wanted < turn[3] - turn[2] < 1.4 * wanted
    photo, image = load_image(PORTRAIT), edited.source
    assert image.size == photo.size
    edges = [
        np.abs(np.diff(pixels(one.crop((130, 20, 250, 150))).mean(axis=2))).mean()
        for one in (photo, image)
    ]
    assert edges[1] > 0.8 * edges[0]
    below = pixels(image)[300:] - pixels(photo)[300:]
    assert np.abs(below).max() == 0


def test_how_far_a_flow_stretches():
    """A shift stretches nothing; half the size, a turn and a mirror are read as such."""
    steps = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    x, y = steps.expand(SIZE, SIZE), steps[:, None].expand(SIZE, SIZE)
    shown = {"still": (x, y, 1.0), "double": (x / 2, y, 0.5), "turn": (-y, x, 1.0)}
    shown["mirror"] = (-x, y, -1.0)
    for name, (across, down, scale) in shown.items():
        flow = torch.stack([across - x, down - y])[None] + 0.1
        assert (motion.smallest_scale(flow) - scale).abs().max() < 1e-2, name


def test_strong_edits_tear_nothing(mixer, person):
    """A head turned far once smeared hair and ear over the background."""
    before = mixer.draw(person)
    after = mixer.draw(person, direction_styles(mixer, {"yaw": 3.0}))
    assert motion.smallest_scale(fit_motion(before, after, FACES128).flow).min() > 0.15


@pytest.mark.slow
def test_what_a_photo_cannot_follow(mixer, person, monkeypatch):
    blue = torch.tensor([-0.6, -0.1, 0.7]).view(1, 3, 1, 1)
    painted = person.photo.image[None].lerp(blue, 0.6)
    assert edit_photo(person.photo, person.photo.image[None], painted, FACES128) is None
    before, other = mixer.draw(person), mixer.draw(mixer.read(["seed:8"], [])[0][0])
    assert edit_photo(person.photo, before, other, mixer.model.template) is None
    assert edit_photo(person.photo, before, before, NO_TEMPLATE) is None
    grey = before.mean(dim=1, keepdim=True)
    assert edit_photo(person.photo, grey, grey, mixer.model.template) is None
    same = edit_photo(person.photo, before, before, mixer.model.template)
    assert np.abs(pixels(same.source) - pixels(load_image(PORTRAIT))).mean() < 1


@pytest.mark.slow
def test_a_photo_between_two(person):
    """With the same images of the model nothing moves: one photo fades into the other."""
    photo = person.photo
    mirrored = replace(photo, source=load_image(PORTRAIT).transpose(Image.Transpose.ROTATE_180))
    still = [photo.image[None]] * 3
    for share in (0.0, 0.25, 1.0):
        found = motion.morph_photos((photo, mirrored), still, share, FACES128, 96)
        assert found.photo_size == (96, 96)
        assert found.image.shape == photo.image.shape
        ends = [pixels(crop_photo(one, 96)) for one in (photo, mirrored)]
        mean = (1 - share) * ends[0] + share * ends[1]
        assert np.abs(pixels(crop_photo(found, 96)) - mean).mean() < 2


def test_a_photo_goes_on_mirrored_where_it_ends():
    """As its crop does: the last column alone would be drawn out to streaks."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    flow = torch.zeros(1, 2, SIZE, SIZE)
    flow[:, 0] = 8 / SIZE
    moved = np.asarray(move(Image.fromarray(pixels), np.eye(3), flow))
    expected = np.concatenate([pixels[:, 8:], pixels[:, :55:-1]], axis=1)
    np.testing.assert_allclose(moved.astype(int), expected.astype(int), atol=1)


@pytest.mark.parametrize(
    ("jacobian", "share"),
    [
        ([[1, 0], [0, 1]], 0.0),
        ([[0, -1], [1, 0]], 0.0),  # a turn
        ([[0.7, 0], [0, 0.7]], 0.0),  # 1.4 times as large
        ([[2, 0], [0, 2]], 0.0),
        ([[0.49, 0], [0, 1]], 0.5),  # twice as wide
        ([[0, 2], [-0.49, 0]], 0.5),  # turned
        ([[0.25, 0], [0, 1]], 1.0),
        ([[1, 3], [0, 1]], 1.0),  # sheared
        ([[-1, 0], [0, 1]], 1.0),  # folded
    ],
)
def test_where_a_flow_smears(jacobian, share):
    """`jacobian` is that of the places which pixels come from."""
    places = (torch.arange(SIZE) + 0.5) / SIZE
    y, x = torch.meshgrid(places, places, indexing="ij")
    own = torch.stack([x, y])
    flow = torch.einsum("ij,jhw->ihw", torch.tensor(jacobian, dtype=torch.float32), own) - own
    inside = motion.smear(flow[None])[..., 8:-8, 8:-8]
    assert inside.mean() == pytest.approx(share, abs=1e-4)
    assert inside.std() < 1e-4


def test_a_smeared_photo_gives_way_to_the_image_of_the_model(person, monkeypatch):
    flow = torch.zeros(1, 2, SIZE, SIZE)
    places = (torch.arange(SIZE) + 0.5) / SIZE
    flow[:, 0] = (0.75 - 0.75 * places).clamp(max=0.375)  # the right half is four times as wide
    monkeypatch.setattr(motion, "estimate_flow", lambda *_: flow)
    middle = -person.photo.image[None]
    images = [person.photo.image[None], person.photo.image[None], middle]
    found = motion.morph_photos((person.photo, person.photo), images, 0.5, FACES128, SIZE)
    difference = (to_tensor(found.source) - middle.clamp(-1, 1)).abs().mean(dim=(0, 1, 2))
    assert difference[44:-4].max() < 0.1
    assert difference[4:20].min() > 0.1


def test_larger_models_are_measured_small():
    large = torch.rand(1, 3, 300, 300) * 2 - 1
    assert fit_motion(large, large, FACES128).flow.shape == (1, 2, motion.SIDE, motion.SIDE)


def test_a_shrunk_photo_has_the_same_crop(person):
    small = shrink_photo(person.photo, 80)
    assert max(small.photo_size) < max(person.photo.photo_size)
    difference = pixels(crop_photo(small, 64)) - pixels(crop_photo(person.photo, 64))
    assert np.abs(difference).mean() < 3
    assert shrink_photo(person.photo, 4000) is person.photo


def test_it_works_wherever_it_is_called(mixer, person):
    """Callers may be in inference mode, and the flow is found by gradients."""
    template = mixer.model.template
    with torch.inference_mode():
        before = mixer.draw(person)
        after = mixer.draw(person, direction_styles(mixer, {"smile": -2.0}))
        one = fit_motion(before, after, template)
    with torch.no_grad():
        two = fit_motion(before.clone(), after.clone(), template)
    assert torch.equal(one.flow, two.flow)
    assert not one.flow.requires_grad


@pytest.mark.slow
def test_edits_beside_a_look(mixer):
    """A look and an edit together: the photo in the look, moved."""
    people, styles = mixer.read([str(PORTRAIT)], style_arguments(["noir", "yaw:1.5"]))
    noir, yaw = (mixer.apply(style, people[0]) for style in styles)
    assert yaw.is_edit
    assert not noir.is_edit
    done = finish(mixer, people[0], mixer.avatar(people[0], [noir, yaw]), [noir, yaw])
    still = finish(mixer, people[0], mixer.avatar(people[0], [noir]), [noir])
    assert done.image.size == still.image.size == load_image(PORTRAIT).size
    grey = [pixels(one.image).std(axis=2).mean() for one in (done, still)]
    assert abs(grey[0] - grey[1]) < 2  # both in the look
    crops = [crop_photo(replace(people[0].photo, source=one.image), 256) for one in (done, still)]
    turned, straight = (
        float(readings(to_tensor(crop), mixer.model.template)["yaw"]) for crop in crops
    )
    assert turned - straight > 0.015


@pytest.mark.slow
def test_a_flow_does_not_load_the_compiler():
    """Importing torch._dynamo takes two to three seconds of an edit."""
    code = """
import sys
import torch
from stylemix.avatars.motion import estimate_flow
image = torch.zeros([1, 3, 32, 32])
estimate_flow(image, image, image[:, :1])
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_curvature_is_the_sum_of_squared_second_differences():
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    bends = {"across": x**2 / 2, "down": y**2 / 2, "both": x * y}
    got = {k: motion._curvature((v / 8**2 * 64)[None, None]) for k, v in bends.items()}
    assert {k: v.unique().tolist() for k, v in got.items()} == {
        "across": [1], "down": [1], "both": [2],
    }  # fmt: skip

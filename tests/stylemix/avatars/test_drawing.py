"""Avatars that students draw: on the photo, with other styles, in parts, in every size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import stylemix
from stylemix.avatars import drawing
from stylemix.avatars.animation import Timing, read_animation
from stylemix.avatars.avatar import AvatarOptions
from stylemix.avatars.drawing import (
    box_canvas,
    canvas_side,
    crop_photo,
    photo_canvas,
    portrait_box,
)
from stylemix.avatars.finish import finish
from stylemix.avatars.inputs import style_arguments
from stylemix.avatars.mixer import Mixer
from stylemix.avatars.sheets import SheetMaker
from stylemix.errors import StylemixError
from stylemix.faces.caricature import Shape
from stylemix.faces.landmarks import LEFT_EYE, RIGHT_EYE, landmarks
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.images.tensors import to_tensor
from stylemix.inversion.portraits import read_portrait
from stylemix.inversion.settings import ProjectionSettings
from stylemix.networks.student import Student, StudentConfig
from stylemix.styles.style import Style
from tests.support.models import tiny_model

PORTRAIT = Path(__file__).parents[2] / "data" / "portraits" / "obama.jpg"
FEW = ProjectionSettings(w_steps=20, plus_steps=10, refine_steps=0)


class Flat(Student):
    """Draws one colour, or the red channel everywhere."""

    def __init__(self, color=None):
        super().__init__(StudentConfig((4, 4)))
        self.color = color

    def draw(self, images):
        large = functional.interpolate(images, scale_factor=2.0)
        if self.color is None:
            return large[:, :1].expand(-1, 3, -1, -1).clone()
        return torch.tensor(self.color).view(1, 3, 1, 1).expand_as(large).clone()


class Plain(Student):
    """Draws what it sees."""

    def draw(self, images):
        return functional.interpolate(images, scale_factor=2.0, mode="bicubic")


PLAIN = Style("", student=Plain(StudentConfig((4, 4))).eval(), info={"name": "plain"})
BLUE = Style("", student=Flat((-1.0, -1.0, 1.0)).eval(), info={"name": "blue"})
RED = Style("", student=Flat((1.0, -1.0, -1.0)).eval(), info={"name": "red"})
GREY = Style("", student=Flat().eval(), info={"name": "grey"})


@pytest.fixture(scope="module")
def mixer():
    return Mixer(stylemix.load_model("faces-64"), settings=FEW, progress=False)


@pytest.fixture
def no_projection(monkeypatch):
    def refused(*_args, **_options):
        raise AssertionError("projected")

    monkeypatch.setattr("stylemix.avatars.reader.project_portraits", refused)


def draw(mixer, styles, options=None, source=PORTRAIT, strength=None):
    (person,), inputs = mixer.read([source], style_arguments(styles))
    applied = mixer.apply_all(inputs, person, strength)
    return person, applied, mixer.avatar(person, applied, options)


def test_the_canvas_is_the_crop_at_the_students_size(mixer, no_projection):
    person, _, _ = draw(mixer, [BLUE])
    canvas = photo_canvas(person.photo, FACES128)
    assert canvas.image.shape == (1, 3, 256, 256)
    assert canvas.size == (512, 512)
    small = functional.interpolate(canvas.image, [64, 64], mode="area")[0]
    assert float((small - person.photo.image).abs().mean()) < 0.05
    eyes = [canvas.points[part].mean(dim=0) for part in (LEFT_EYE, RIGHT_EYE)]
    assert float((eyes[1] - eyes[0]).norm()) == pytest.approx(90, abs=6)
    assert canvas_side(FFHQ) == round(93.44 / 0.248)  # farther away in these crops


def test_the_whole_photo_has_the_face_where_it_is(mixer, no_projection):
    person, _, _ = draw(mixer, [BLUE])
    whole = box_canvas(person.photo, FACES128, (0, 0, *person.photo.photo_size))
    eyes = [whole.points[part].mean(dim=0) for part in (LEFT_EYE, RIGHT_EYE)]
    assert float((eyes[1] - eyes[0]).norm()) == pytest.approx(90, abs=6)
    found = stylemix.align(PORTRAIT, size=256)
    again = landmarks(to_tensor(found), FACES128)[0] * 256
    matrix = torch.from_numpy(person.photo.alignment.matrix).float()
    photo_px = torch.linalg.solve(matrix, torch.cat([again / 4, torch.ones(68, 1)], dim=1).T).T[
        :, :2
    ]
    scale = whole.image.shape[3] / person.photo.photo_size[0]
    assert float((photo_px * scale - whole.points).norm(dim=1).mean()) < 3
    torch.testing.assert_close(whole.curve, photo_canvas(person.photo, FACES128).curve)


def test_a_portrait_has_head_and_shoulders_within_the_photo(mixer, no_projection):
    person, _, _ = draw(mixer, [BLUE])
    photo = person.photo
    left, top, right, bottom = portrait_box(photo)
    assert 0 <= left < right <= photo.photo_size[0]
    assert 0 <= top < bottom <= photo.photo_size[1]
    corners = np.linalg.inv(photo.alignment.matrix) @ np.array([[0, 64], [0, 64], [1, 1]])
    assert left <= corners[0, 0] + 2
    assert right >= corners[0, 1] - 2
    assert top <= corners[1, 0]
    assert bottom >= corners[1, 1]
    part = box_canvas(photo, FACES128, (left, top, right, bottom))
    whole = box_canvas(photo, FACES128, (0, 0, *photo.photo_size))
    shift = (whole.points - part.points).mean(dim=0)
    scale = whole.image.shape[3] / photo.photo_size[0]
    assert shift.tolist() == pytest.approx([scale * left, scale * top], abs=1.5)


def test_a_small_face_of_a_large_photo_is_drawn_apart(mixer, no_projection, monkeypatch):
    """Students that know faces of one size draw smaller ones without eyes."""
    person, applied, avatar = draw(mixer, [PLAIN])
    left, top, right, bottom = portrait_box(person.photo)
    quarter = (right - left) // 4
    head = (left + quarter, top + quarter, right - quarter, bottom - quarter)
    below = (0, bottom + 1, *person.photo.photo_size)
    edges = []
    monkeypatch.setattr(drawing, "MAX_SIDE", 200)
    for small in (0, 1):
        monkeypatch.setattr(drawing, "SMALL", small)
        done = finish(mixer, person, avatar, applied, "photo").image.convert("L")
        assert done.size == person.photo.photo_size
        parts = [np.asarray(done.crop(box)).astype(float) for box in (head, below)]
        edges.append([np.abs(np.diff(part)).mean() for part in parts])
    assert edges[1][0] > 1.15 * edges[0][0]
    assert edges[1][1] == edges[0][1]
    seam = np.asarray(drawing._seam((20, 0, 120, 100), (300, 100)))
    assert seam[50, 0] < 3  # fades into the photo
    assert seam[0, 50] == seam[-1, 50] == 255  # but not at the photo's own sides


def test_a_photo_is_drawn_without_projection(mixer, no_projection):
    person, applied, avatar = draw(mixer, [BLUE])
    assert avatar.drawn
    assert avatar.image.shape == (1, 3, 512, 512)
    assert (avatar.image[:, 2] == 1).all()
    done = finish(mixer, person, avatar, applied)
    left, top, right, bottom = portrait_box(person.photo)
    assert right - left == bottom - top
    scale = 2 * 256 / (64 / np.hypot(*person.photo.alignment.matrix[:2, 0]))
    assert done.image.width == pytest.approx(scale * (right - left), abs=3)
    assert done.how == f"drawn, {done.image.width} x {done.image.height} px"
    assert finish(mixer, person, avatar, applied, 300).image.size == (300, 300)
    whole = finish(mixer, person, avatar, applied, "photo")
    assert whole.image.size == person.photo.photo_size
    crop = finish(mixer, person, avatar, applied, "crop").image
    assert crop.width == round(64 / np.hypot(*person.photo.alignment.matrix[:2, 0]))


def test_strength_and_the_sum_of_students(mixer, no_projection):
    person, _, none = draw(mixer, [BLUE], strength=0.0)
    photo = to_tensor(crop_photo(person.photo, 512))
    assert float((none.image - photo).abs().mean()) < 0.05
    full = draw(mixer, [BLUE])[2].image
    half = draw(mixer, [BLUE], strength=0.5)[2].image
    torch.testing.assert_close(half, (none.image + full) / 2, atol=1e-5, rtol=0)
    # Weights beyond one in sum are shares, and less than one leaves the photo.
    both = draw(mixer, [BLUE, RED])[2].image
    torch.testing.assert_close(both.mean(dim=(0, 2, 3)), torch.tensor([0.0, -1, 0]))
    weak = draw(mixer, [BLUE, RED], strength=0.25)[2].image
    torch.testing.assert_close(weak, (none.image + both) / 2, atol=1e-5, rtol=0)
    assert torch.equal(draw(mixer, [BLUE], strength=3.0)[2].image, full)


@pytest.mark.slow
def test_a_black_and_white_look_makes_a_drawing_black_and_white(mixer):
    _, _, drawn = draw(mixer, [BLUE, "noir"])
    assert drawn.image.shape == (1, 3, 512, 512)
    chroma = (drawn.image - drawn.image.mean(dim=1, keepdim=True)).abs().mean()
    assert float(chroma) < 0.12
    _, _, warm = draw(mixer, [GREY, "golden-hour"])
    means = warm.image.mean(dim=(0, 2, 3))
    assert float(means[0] - means[2]) > 0.05


def test_without_a_photo_the_models_image_is_drawn(mixer):
    person, applied, avatar = draw(mixer, [GREY], source="seed:5")
    plain = mixer.draw(person)
    small = functional.interpolate(avatar.image, [64, 64], mode="area")
    alike = torch.corrcoef(torch.stack([small[0, 0].flatten(), plain[0, 0].flatten()]))[0, 1]
    assert float(alike) > 0.8
    with pytest.raises(StylemixError, match="no photo to draw on"):
        finish(mixer, person, avatar, applied, "photo")


@pytest.mark.slow
def test_what_moves_the_face_is_drawn_after_it(mixer):
    (person,), inputs = mixer.read([str(PORTRAIT)], style_arguments([GREY, "seed:9"]))
    applied = mixer.apply_all(inputs, person, 1.0, layers="coarse")
    moved = mixer.avatar(person, applied).image
    still = mixer.avatar(person, applied[:1]).image
    assert float((moved - still).abs().mean()) > 0.05


def test_regions_and_colors(mixer):
    options = AvatarOptions(regions=("face",))
    person, applied, avatar = draw(mixer, [BLUE], options)
    blue = (avatar.image[0, 2] - avatar.image[0, 0]).sub(2).abs() < 0.05
    assert bool(blue[300, 256])
    assert not blue[:, :8].any()
    photo = finish(mixer, person, avatar, applied, "photo").image
    assert photo.size == person.photo.photo_size
    both = AvatarOptions(regions=("face",), keep_color=1.0)
    with pytest.raises(StylemixError, match=r"colours to keep beside a drawn style"):
        finish(mixer, person, draw(mixer, [BLUE], both)[2], applied, "photo")
    kept = draw(mixer, [GREY], AvatarOptions(keep_color=1.0))[2].image
    grey = draw(mixer, [GREY])[2].image
    saturation = [(im.amax(dim=1) - im.amin(dim=1))[0, 200:350, 180:330] for im in (kept, grey)]
    assert float(saturation[1].mean()) < 0.02 < 0.1 < float(saturation[0].mean())


def test_a_guarded_identity_weakens_the_drawing(mixer, no_projection):
    _, _, avatar = draw(mixer, [BLUE], AvatarOptions(min_identity=0.6))
    assert 0 < avatar.share < 1
    assert 0.6 <= avatar.identity < 0.65
    _, _, nearly = draw(mixer, [GREY], AvatarOptions(min_identity=0.95))
    assert nearly.share > 0.1  # weak drawings are the person: nothing else than strength counts


def test_a_shape_moves_the_face_with_the_strength(mixer, no_projection):
    wide = Style("", student=GREY.student, shape=Shape(eyes=1.0))

    def eye(image):
        points = landmarks(image, FACES128)[0]
        return float(points[40:42, 1].mean() - points[37:39, 1].mean())

    opened = [eye(draw(mixer, [wide], strength=s)[2].image) for s in (0.0, 0.5, 1.0)]
    assert opened[0] < opened[1] < opened[2]


@pytest.mark.slow
def test_fast_uses_the_student_of_a_style_of_the_model(mixer):
    looks = stylemix.Style.load("noir")
    looks.student = RED.student
    assert not looks.is_student
    assert not draw(mixer, [looks])[2].drawn
    quick = Mixer(mixer.model, settings=FEW, progress=False, fast=True)
    _, _, avatar = draw(quick, [looks])
    assert avatar.drawn
    torch.testing.assert_close(avatar.image.mean(dim=(0, 2, 3)), torch.tensor([1.0, -1, -1]))


@pytest.mark.slow
def test_a_video_goes_from_the_photo_to_the_drawing(mixer):
    timing = Timing(seconds=0.2, hold=0, fps=10, loop=False)
    animation = read_animation(mixer, [str(PORTRAIT)], style_arguments([BLUE]), {}, timing)
    frames = [np.asarray(image).astype(float) for image in animation.images()]
    assert {frame.shape for frame in frames} == {(512, 512, 3)}
    blues = [frame[..., 2].mean() - frame[..., 0].mean() for frame in frames]
    assert blues == sorted(blues)
    photo = np.asarray(crop_photo(animation.people[0].photo, 512)).astype(float)
    assert np.abs(frames[0] - photo).mean() < 6
    turning = read_animation(mixer, ["seed:1"], style_arguments([BLUE]), {"yaw": 1.0}, timing)
    assert next(turning.images()).size == (512, 512)


def test_what_is_drawn_of_an_edited_photo_is_that_of_the_photo(mixer):
    """A student that repeats its canvas shows where it drew: on the photo after the edit."""
    (person,), (grey, yaw) = mixer.read([str(PORTRAIT)], style_arguments([GREY, "yaw:1.5"]))
    parts = [mixer.apply(style, person) for style in (grey, yaw)]
    drawn, photo = finish(mixer, person, mixer.avatar(person, parts), parts), person.photo
    assert drawn.area == "portrait"
    assert drawn.how.startswith("drawn, ")
    turned = finish(mixer, person, mixer.avatar(person, parts[1:]), parts[1:], "portrait").image
    still = load_image(PORTRAIT).crop(portrait_box(photo))
    size = drawn.image.size

    def red(image):
        return np.asarray(image.resize(size)).astype(float)[..., 0]

    face = slice(size[1] // 4, 3 * size[1] // 4), slice(size[0] // 4, 3 * size[0] // 4)
    alike = [
        np.corrcoef(red(drawn.image)[face].ravel(), red(image)[face].ravel())[0, 1]
        for image in (turned, still)
    ]
    assert alike[0] > 0.97
    assert 1 - alike[1] > 3 * (1 - alike[0])
    crop = finish(mixer, person, mixer.avatar(person, parts), parts, 256).image
    assert np.abs(red(crop) - red(crop_photo(photo, 256))).mean() > 2


@pytest.mark.slow
def test_a_sheet_shows_heads_and_shoulders(mixer):
    people, styles = mixer.read([str(PORTRAIT), "seed:1"], style_arguments([BLUE, "noir"]))
    maker = SheetMaker(mixer, people, styles, size="portrait")
    sheet = maker.style_grid()
    assert sheet.width > 3 * 256
    assert sheet.height > 2 * 256
    photo = maker.plain(people[0])
    expected = load_image(PORTRAIT).crop(portrait_box(people[0].photo)).resize((256, 256))
    assert np.abs(np.asarray(photo).astype(float) - np.asarray(expected)).mean() < 3
    avatar = mixer.avatar(people[0], [mixer.apply(styles[1], people[0])])
    grey = np.asarray(maker.show(people[0], avatar)).astype(float)
    alike = np.corrcoef(grey.mean(axis=2).ravel(), np.asarray(photo).mean(axis=2).ravel())[0, 1]
    assert alike > 0.8  # the same places in the same look
    with pytest.raises(StylemixError, match="expected portrait or px"):
        SheetMaker(mixer, people, styles, size="photo")


def test_other_models_of_faces_take_drawn_styles_and_no_others():
    model = stylemix.load_model("faces-64")
    assert BLUE.check(model) is BLUE
    model.template = stylemix.faces.templates.NO_TEMPLATE
    with pytest.raises(StylemixError, match="expected a model of faces"):
        BLUE.check(model)


def test_a_portrait_is_drawn_once(mixer, monkeypatch):
    """The drawing of the crop, which is not written, is left out."""
    person, applied, avatar = draw(mixer, [BLUE])

    def not_needed(*arguments):
        raise AssertionError("the crop is drawn, too")

    monkeypatch.setattr("stylemix.avatars.avatar.draw_students", not_needed)
    assert finish(mixer, person, avatar, applied).how.startswith("drawn")


@pytest.mark.parametrize("base", [(4, 6), (6, 4)])
def test_the_crop_of_an_oblong_model_shows_all_of_it(base):
    image = Image.effect_noise((12, 10), 60).resize((120, 100), Image.Resampling.BICUBIC)
    photo = read_portrait(image, tiny_model(template=NO_TEMPLATE, base=base))
    crop = crop_photo(photo, 96)
    assert crop.size == (16 * base[1], 16 * base[0])
    small = to_tensor(crop.resize((8 * base[1], 8 * base[0]), Image.Resampling.BOX))[0]
    assert (small - photo.image).abs().mean() < 0.03

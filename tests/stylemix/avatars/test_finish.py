"""What is written of an avatar: the photo in a look, its crop, or the model's image enlarged."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.nn.functional import interpolate as resize
from torch.nn.functional import pad

from stylemix.avatars import motion
from stylemix.avatars.avatar import Avatar, AvatarOptions
from stylemix.avatars.drawing import crop_photo, portrait_box
from stylemix.avatars.finish import finish, parse_output_size
from stylemix.avatars.inputs import style_arguments
from stylemix.avatars.lift import MAX_MOVEMENT, STILL, movement, on_faces, style_saturation
from stylemix.avatars.mixer import direction_styles
from stylemix.errors import StylemixError
from stylemix.faces.warp import warp
from stylemix.images.read import load_image

PORTRAIT = Path(__file__).parents[2] / "data" / "portraits" / "obama.jpg"


@pytest.fixture(scope="module")
def read(mixer):
    return mixer.read([str(PORTRAIT), "seed:1"], style_arguments(["golden-hour", "noir"]))


def pixels(image):
    return np.asarray(image).astype(float)


def in_style(mixer, person, style, size=None, options=None):
    """A person in one style, as it is written."""
    parts = [mixer.apply(style, person)]
    return finish(mixer, person, mixer.avatar(person, parts, options), parts, size)


@pytest.mark.slow
def test_a_look_goes_onto_the_whole_photo(mixer, read):
    (person, _), (look, _) = read
    done, photo = in_style(mixer, person, look), load_image(PORTRAIT)
    assert done.image.size == photo.size
    assert done.how == "the photo in this look, 384 x 480 px"
    change = pixels(done.image).mean(axis=(0, 1)) - pixels(photo).mean(axis=(0, 1))
    assert change[0] - change[2] > 10  # warmer, far beyond the face
    greys = [pixels(one).mean(axis=2) for one in (photo, done.image)]
    edges = [np.abs(np.diff(grey)).mean() / grey.std() for grey in greys]
    assert edges[1] > 0.9 * edges[0]  # as sharp as the photo, in the contrast of the look


def colors(image, box):
    """How far the pixels of a box are from grey."""
    part = pixels(image.crop(box))
    return float((part.max(axis=2) - part.min(axis=2)).mean())


@pytest.mark.parametrize(("region", "grey"), [("face", "face"), ("background", "rest")])
def test_a_look_in_a_region_leaves_the_rest_of_the_photo(mixer, read, region, grey):
    """In black and white: the face alone, or all but the face, also far from the crop."""
    (person, _), (_, noir) = read
    options = AvatarOptions(regions=(region,))
    done, photo = in_style(mixer, person, noir, options=options).image, load_image(PORTRAIT)
    x, y = (np.linalg.inv(person.photo.alignment.matrix) @ np.array([32, 40, 1]))[:2]
    boxes = {
        "face": (round(x) - 12, round(y) - 12, round(x) + 12, round(y) + 12),
        "rest": (0, 360, 384, 480),
    }
    for name, box in boxes.items():
        before, after = colors(photo, box), colors(done, box)
        assert before > 20
        if name == grey:
            assert after < 0.3 * before
        else:
            assert np.abs(pixels(done.crop(box)) - pixels(photo.crop(box))).max() <= 2
    crop = in_style(mixer, person, noir, 64, options).image  # the same in the crop by itself
    again = warp(done, person.photo.alignment.matrix, 64)
    assert np.abs(pixels(again) - pixels(crop)).mean() < 2


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, "photo"])
def test_a_drawing_in_a_region_leaves_the_rest_of_the_photo(mixer, size):
    """It was once the aligned face alone, whose background is small."""
    (person,), (comic,) = mixer.read([str(PORTRAIT)], style_arguments(["comic"]))
    parts = [mixer.apply(comic, person)]
    every, around = (
        finish(mixer, person, mixer.avatar(person, parts, options), parts, size)
        for options in (AvatarOptions(), AvatarOptions(regions=("background",)))
    )
    assert around.area == every.area == (size or "portrait")
    assert around.image.size == every.image.size
    left, top, right, bottom = portrait_box(person.photo) if size is None else (0, 0, 384, 480)
    photo = load_image(PORTRAIT).resize(every.image.size, box=(left, top, right, bottom))
    zoom = every.image.width / (right - left)
    x, y = (np.linalg.inv(person.photo.alignment.matrix) @ np.array([32, 40, 1]))[:2]
    x, y = round(zoom * (x - left)), round(zoom * (y - top))
    face, corner = (x - 12, y - 12, x + 12, y + 12), (0, 0, 12, 12)
    assert np.abs(pixels(around.image.crop(face)) - pixels(photo.crop(face))).mean() < 4
    assert (pixels(around.image.crop(corner)) == pixels(every.image.crop(corner))).all()


def test_a_mask_of_the_photo_applies_to_all_of_it(mixer, read, tmp_path):
    (person, _), (_, noir) = read
    photo, mask = load_image(PORTRAIT), Image.new("L", (384, 480), 0)
    mask.paste(255, (0, 0, 384, 400))
    mask.save(tmp_path / "mask.png")
    options = AvatarOptions(regions=(str(tmp_path / "mask.png"),))
    done = in_style(mixer, person, noir, options=options).image
    assert colors(done, (0, 380, 384, 400)) < 0.1 * colors(photo, (0, 380, 384, 400))
    assert (pixels(done)[400:] == pixels(photo)[400:]).all()


@pytest.mark.slow
def test_sizes(mixer, read):
    (person, _), (_, noir) = read
    natural = in_style(mixer, person, noir, "crop").image
    assert natural.width == natural.height
    scale = np.hypot(*person.photo.alignment.matrix[:2, 0])
    assert abs(natural.width - 64 / scale) <= 1
    assert in_style(mixer, person, noir, 300).image.size == (300, 300)
    whole = in_style(mixer, person, noir, "photo").image
    assert (pixels(whole) == pixels(in_style(mixer, person, noir).image)).all()
    # The crop of the whole photo and the crop by itself show the same.
    again = warp(whole, person.photo.alignment.matrix, 64)
    own = in_style(mixer, person, noir, 64).image
    assert np.abs(pixels(again) - pixels(own)).mean() < 2


def test_what_moves_or_has_no_photo_is_the_models_own(mixer, read):
    (person, seed), (look, _) = read
    _, (shape,) = mixer.read([], style_arguments(["seed:5"]))
    parts = [mixer.apply(shape, person, layers="all")]
    other = mixer.avatar(person, parts)
    done = finish(mixer, person, other, parts)
    assert (done.image.size, done.how) == ((256, 256), "generated, 256 x 256 px")
    avatar = mixer.avatar(seed, [mixer.apply(look, seed)])
    assert finish(mixer, seed, avatar, (), 100).image.size == (100, 100)
    for who, image, cause in ((person, other, "moves the face"), (seed, avatar, "no photo")):
        with pytest.raises(StylemixError, match=f"{cause}.*give a size in px"):
            finish(mixer, who, image, parts, "photo")


def test_a_look_without_colors_has_none_on_any_photo(mixer, read):
    """A projection's residual brings colours of its photo into the model's image of a look."""
    (person, _), (warm, noir) = read
    plain = mixer.draw(person)
    grey = plain.mean(dim=1, keepdim=True).expand_as(plain)
    for style, share, least, most in ((noir, 0.8, 0, 0.05), (warm, 0.3, 1, 2), (noir, 1.5, 1.4, 2)):
        parts = [mixer.apply(style, person)]
        faces = partial(on_faces, mixer.model, [], parts)
        left = style_saturation(plain, grey.lerp(plain, share), faces)
        assert least <= left <= most
    tinted = Avatar(lambda: grey.lerp(plain, 0.8))
    saturation = [
        colors(finish(mixer, person, each, [mixer.apply(noir, person)], 64).image, (0, 0, 64, 64))
        for each in (tinted, replace(tinted, keeps_colors=True))
    ]
    assert saturation[0] < 1 < 5 < saturation[1]


@pytest.mark.parametrize("margin", [5, 20])
def test_where_landmarks_seem_to_move_faces_of_the_model_decide(mixer, read, margin):
    """Those of a grainy photo are noise in part, and those of a drawing may move by chance less."""
    (person, _), (_, look) = read
    narrow = resize(mixer.draw(person), [128, 128 - 2 * margin], mode="bilinear")
    wide = pad(narrow, [margin, margin, 0, 0], mode="replicate")
    seen = Avatar(lambda: resize(wide, [64, 64], mode="area"))
    distance = movement(mixer.draw(person), seen.image, mixer.model.template)
    assert distance > STILL
    assert (distance < MAX_MOVEMENT) == (margin == 5)
    parts = [mixer.apply(look, person)]
    assert finish(mixer, person, seen, parts).how.startswith("the photo in this look")
    _, (shape,) = mixer.read([], style_arguments(["seed:5"]))
    moving = [mixer.apply(shape, person, layers="all")]
    assert finish(mixer, person, seen, moving).how.startswith("generated")


@pytest.mark.slow
def test_an_edit_moves_the_photo(mixer, read):
    """Alone it changes nothing but the face, in every size; of strength 0 it changes nothing."""
    (person, seed), _ = read
    smile = direction_styles(mixer, {"smile": -2.0})
    photo = load_image(PORTRAIT)
    avatar = mixer.avatar(person, smile)
    done = finish(mixer, person, avatar, smile)
    assert (done.how, done.area) == ("the photo with this edit, 384 x 480 px", "photo")
    change = np.abs(pixels(done.image) - pixels(photo)).mean(axis=2)
    assert change[60:140, 150:240].mean() > 2
    assert change[300:].max() == 0
    crop = finish(mixer, person, avatar, smile, 128).image
    natural = crop_photo(replace(person.photo, source=done.image), 128)
    assert np.abs(pixels(crop) - pixels(natural)).mean() < 4
    assert finish(mixer, person, avatar, smile, "portrait").area == "portrait"
    none = direction_styles(mixer, {"smile": 0.0})
    same = finish(mixer, person, mixer.avatar(person, none), none)
    assert (pixels(same.image) == pixels(photo)).all()
    drawn = finish(mixer, seed, mixer.avatar(seed, smile), smile)
    assert (drawn.how, drawn.on_photo) == ("generated, 256 x 256 px", False)


def test_an_edit_that_the_photo_cannot_follow_is_the_models_own(mixer, read, monkeypatch):
    (person, _), _ = read
    smile = direction_styles(mixer, {"smile": -2.0})
    avatar = mixer.avatar(person, smile)
    monkeypatch.setattr(motion, "MAX_ERROR", 0.0)
    done = finish(mixer, person, avatar, smile)
    assert (done.how, done.on_photo) == ("generated, 256 x 256 px", False)
    with pytest.raises(StylemixError, match=r"an edit that it can follow.*give a size in px"):
        finish(mixer, person, avatar, smile, "photo")


def test_an_edit_in_a_region_is_part_of_the_look(mixer, read):
    """The photo has no regions, so the model's image decides what is shown."""
    (person, _), _ = read
    smile = direction_styles(mixer, {"smile": -2.0})
    avatar = mixer.avatar(person, smile, AvatarOptions(keep_color=1.0))
    assert avatar.masked
    assert finish(mixer, person, avatar, smile).how.startswith(("the photo in", "generated"))


@pytest.mark.slow
def test_the_same_style_on_a_photo_in_memory(mixer):
    photo = load_image(PORTRAIT)
    (person,), (look,) = mixer.read([photo], style_arguments("noir"))
    assert in_style(mixer, person, look).image.size == photo.size


@pytest.mark.parametrize("wrong", ["huge", "15", "4097", 0, "3.5"])
def test_other_sizes_are_refused(wrong):
    with pytest.raises(StylemixError, match="expected photo, portrait, crop or px from 16 to 4096"):
        parse_output_size(wrong)
    assert [parse_output_size(x) for x in (None, "photo", "portrait", "crop", "300", 300)] == [
        None, "photo", "portrait", "crop", 300, 300,
    ]  # fmt: skip

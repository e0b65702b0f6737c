"""Alignment: templates, the choice of a face, crops, and pasting back."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stylemix.errors import StylemixError
from stylemix.faces.alignment import (
    align_face,
    align_photo,
    choose_face,
    crop_subject,
    cut_face,
    face_matrix,
)
from stylemix.faces.detector import Face, load_detector
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE, Template, template_for
from stylemix.faces.warp import paste_back, similarity, transform_points, warp

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"
SHAPE = np.array(FACES128.points)


def photo(name: str) -> Image.Image:
    return Image.open(PORTRAITS / f"{name}.jpg").convert("RGB")


def dot_photo(points: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Returns a grey image with a disc of another colour at each of five points."""
    image = Image.new("RGB", size, (90, 90, 90))
    draw = ImageDraw.Draw(image)
    for (x, y), color in zip(points, COLORS, strict=True):
        draw.ellipse((x - 12, y - 12, x + 12, y + 12), fill=color)
    return image


COLORS = ["red", "lime", "blue", "yellow", "magenta"]
RGB = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)]


def transformed(degrees: float, scale: float, offset: tuple[float, float]) -> np.ndarray:
    """Returns the five points of the template, rotated about the centre, scaled and translated."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (SHAPE - 0.5) @ rotation.T * scale + offset


def face(x: float, y: float, side: float, score: float = 1.0) -> Face:
    return Face(np.array([x, y, x + side, y + side]), score, SHAPE * side + (x, y))


def test_template_json_round_trip():
    for template in (FACES128, FFHQ, NO_TEMPLATE):
        assert Template.from_json(template.to_json()) == template
    assert FACES128.to_json()["points"] == [
        [0.317, 0.302], [0.682, 0.302], [0.5, 0.52], [0.35, 0.7], [0.65, 0.7]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        None, 7, [], {}, {"name": "a"}, {"name": "a", "kind": "circle"},
        {"name": 3, "kind": "ffhq"},
        {"name": "a", "kind": "ffhq", "points": [[0, 0]]}, {"name": "a", "kind": "points"},
        {"name": "a", "kind": "points", "points": "xy"},
        {"name": "a", "kind": "points", "points": [[0.3, 0.3]]},
        {"name": "a", "kind": "points", "points": [[0.3, 0.3], [0.6]]},
        {"name": "a", "kind": "points", "points": [[0.3, 0.3], [float("nan"), 0.3]]},
        {"name": "a", "kind": "points", "points": [[0.3, 0.3], [1e9, 0.3]]},
        {"name": "a", "kind": "points", "points": [[0.7, 0.3], [0.3, 0.3]]},
        {"name": "a", "kind": "points", "points": [[0.3, 0.3], [0.7, 0.3]] * 3},
    ],
)  # fmt: skip
def test_invalid_template_json_is_refused(data):
    with pytest.raises(StylemixError, match="--template") as caught:
        Template.from_json(data)
    assert "\n" not in str(caught.value)


def test_template_for_models_of_several_origins():
    assert template_for(1024, "nvidia") == FFHQ
    assert template_for(256, "rosinality") == FFHQ
    assert template_for(512, "unknown") == FFHQ
    assert template_for(128, "nvidia") == NO_TEMPLATE
    assert template_for(64, "stylemix") == FACES128


def test_similarity_recovers_a_known_transform():
    matrix = similarity(transformed(25, 180, (40, 70)), SHAPE * 128)
    assert np.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(128 / 180)
    assert np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])) == pytest.approx(-25)
    assert np.allclose(transform_points(matrix, transformed(25, 180, (40, 70))), SHAPE * 128)
    with pytest.raises(StylemixError, match="coincide"):
        similarity(np.ones((5, 2)), SHAPE)


def test_ffhq_quad_by_hand():
    # Level eyes 40 apart at y = 100, mouth 50 below: the side is 4 * max(40, .9 * 50) = 180, the
    # centre is at a tenth of the distance to the mouth.
    points = np.array([[80, 100], [120, 100], [100, 120], [90, 150], [110, 150]], dtype=float)
    matrix = face_matrix(points, FFHQ, 360)
    assert np.allclose(matrix, [[2, 0, -2 * 10], [0, 2, -2 * 15], [0, 0, 1]])


@pytest.mark.parametrize("degrees", [-40, 0, 15])
@pytest.mark.parametrize("scale", [60, 200, 900])
def test_points_land_on_the_template(degrees, scale):
    points = transformed(degrees, scale, (scale, 0.8 * scale))
    size = (2 * scale, 2 * scale)
    alignment = align_face(dot_photo(points, size), points, FACES128, 128)
    assert alignment.crop.size == (128, 128)
    assert np.allclose(alignment.points, SHAPE * 128)
    if scale > 100:  # the discs of a small face overlap
        for (x, y), color in zip(SHAPE * 128, RGB, strict=True):
            pixel = alignment.crop.getpixel((int(x), int(y)))
            assert np.abs(np.subtract(pixel, color)).max() < 60


def test_warp_preserves_pixels():
    pixels = np.random.RandomState(1).randint(0, 256, (40, 40, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    assert np.array_equal(np.asarray(warp(image, np.eye(3), 40)), pixels)
    translation = np.array([[1, 0, -7], [0, 1, -3], [0, 0, 1]], dtype=float)
    assert np.array_equal(np.asarray(warp(image, translation, 20)), pixels[3:23, 7:27])


def test_downsampling_is_antialiased():
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    small = np.asarray(warp(Image.fromarray(stripes), np.diag([0.1, 0.1, 1]), 64), dtype=float)
    assert np.abs(small[1:-1, 1:-1] - 127.5).max() < 2


@pytest.mark.parametrize("blend", [False, True])
def test_padding_is_filled(blend):
    image = photo("astronaut")
    matrix = np.array([[0.5, 0, 60], [0, 0.5, 60], [0, 0, 1]], dtype=float)
    crop = np.asarray(warp(image, matrix, 256, blend=blend), dtype=float)
    assert crop[:10].mean() > 30  # not black
    inner = np.asarray(image.reduce(2), dtype=float)[90:110, 90:110]
    assert np.abs(crop[150:170, 150:170] - inner).mean() < 3
    if not blend:  # mirrored at the border
        assert np.abs(crop[55:60] - crop[60:65][::-1]).mean() < 10


@pytest.mark.parametrize("name", ["astronaut", "obama"])
@pytest.mark.parametrize("size", [64, 256])
def test_portraits_are_aligned_to_the_template(name, size):
    alignment = align_photo(photo(name), FACES128, size)
    error = alignment.points / size - SHAPE
    assert np.abs(error).max() < 0.06
    assert np.abs(error.mean(axis=0)).max() < 1e-6  # least squares leaves no common translation
    tilt = alignment.points[1] - alignment.points[0]
    assert abs(np.degrees(np.arctan2(tilt[1], tilt[0]))) < 3
    assert alignment.score > 0.99


def test_ffhq_crop_puts_eyes_where_template_says():
    alignment = align_photo(photo("obama"), FFHQ, 256)
    assert np.abs(alignment.points[:2] / 256 - np.array(FFHQ.eyes)).max() < 0.02


def test_aligned_crop_is_unchanged():
    crop = align_photo(photo("obama"), FACES128, 128).crop
    again = align_photo(crop, FACES128, 128)
    assert np.array_equal(again.matrix, np.eye(3))
    assert np.array_equal(np.asarray(again.crop), np.asarray(crop))
    half = align_photo(crop, FACES128, 64)
    assert np.array_equal(half.matrix, np.diag([0.5, 0.5, 1]))


def test_no_template_crops_the_centre():
    alignment = align_photo(photo("obama"), NO_TEMPLATE, 96)
    assert alignment.points.shape == (0, 2)
    assert transform_points(alignment.matrix, [[192, 240]]).tolist() == [[48, 48]]


def test_no_face_is_one_line():
    with pytest.raises(StylemixError, match=r"^got no face in wall\.png; expected") as caught:
        align_photo(Image.new("RGB", (200, 200), "grey"), FACES128, 64, name="wall.png")
    assert "\n" not in str(caught.value)


def test_several_faces_are_listed():
    image = photo("two_people")
    with pytest.raises(StylemixError) as caught:
        align_photo(image, FACES128, 64, name="two.jpg")
    line = str(caught.value)
    assert "got 2 faces in two.jpg; expected one; choose with --face N: 1 = top " in line
    sizes = re.findall(r"([0-9]+) x ([0-9]+) px", line)
    areas = [int(width) * int(height) for width, height in sizes]
    assert areas == sorted(areas, reverse=True)  # the order that the numbers say
    faces = load_detector().detect(image)
    assert choose_face(faces, 1, "two.jpg", image.size) is faces[0]
    assert choose_face(faces, 2, "two.jpg", image.size) is faces[1]
    with pytest.raises(StylemixError, match=r"got --face 3 for two\.jpg; expected 1 to 2"):
        choose_face(faces, 3, "two.jpg", image.size)


def test_a_dominant_face_is_chosen():
    large, small, uncertain = face(0, 0, 100), face(200, 0, 45), face(300, 0, 90, 0.8)
    assert choose_face([large, small], None, "a", (400, 300)) is large
    assert choose_face([large, small], 2, "a", (400, 300)) is small
    with pytest.raises(StylemixError, match="1 = top left, 100 x 100 px; 2 = top centre, 90 x 90"):
        choose_face([large, face(180, 0, 90)], None, "a", (400, 300))
    with pytest.raises(StylemixError, match=r"got no clear face in a;.*--face 1"):
        choose_face([uncertain], None, "a", (400, 300))
    assert choose_face([uncertain], 1, "a", (400, 300)) is uncertain


def test_a_pattern_like_a_face_does_not_count_beside_a_sure_one():
    sure, pattern = face(0, 0, 100, 0.998), face(200, 0, 120, 0.93)
    assert choose_face([pattern, sure], None, "a", (400, 300)) is sure
    assert choose_face([pattern, sure], 1, "a", (400, 300)) is pattern
    assert choose_face([pattern], None, "a", (400, 300)) is pattern
    with pytest.raises(StylemixError, match="got 2 faces"):  # no one is sure
        choose_face([pattern, face(0, 0, 100, 0.95)], None, "a", (400, 300))


def test_listing_of_many_faces_is_limited():
    crowd = [face(0, 0, 100 - number) for number in range(20)]
    with pytest.raises(StylemixError, match=r"; and 12 smaller$"):
        choose_face(crowd, None, "a", (400, 300))


def test_tiny_face_is_refused():
    with pytest.raises(StylemixError, match="eyes are 9 pixels apart; expected 10 or more"):
        cut_face(Image.new("RGB", (400, 300)), face(10, 10, 25), FACES128, 64)


@pytest.mark.parametrize("template", [FACES128, FFHQ])
def test_paste_back_of_the_same_crop_changes_little(template):
    image = photo("obama")
    alignment = align_photo(image, template, 256)
    pasted = paste_back(image, alignment.crop, alignment.matrix)
    difference = np.abs(np.subtract(np.asarray(pasted, float), np.asarray(image, float)))
    assert pasted.size == image.size
    assert difference.mean() < 1.5


def test_paste_back_changes_the_face_only_and_softly():
    image = photo("obama")
    alignment = align_photo(image, FACES128, 128)
    pasted = paste_back(image, Image.new("RGB", (128, 128), "red"), alignment.matrix)
    x, y = transform_points(np.linalg.inv(alignment.matrix), [[64, 64]])[0]
    assert pasted.getpixel((int(x), int(y))) == (255, 0, 0)
    before, after = np.asarray(image, float), np.asarray(pasted, float)
    assert np.array_equal(after[-100:], before[-100:])
    inside = transform_points(np.linalg.inv(alignment.matrix), [[64, 124]])[0].astype(int)
    soft = after[inside[1], inside[0]] - before[inside[1], inside[0]]
    full = np.subtract((255, 0, 0), before[inside[1], inside[0]])
    assert 0.02 < np.abs(soft).sum() / np.abs(full).sum() < 0.5


def test_paste_back_through_a_mask():
    image = photo("obama")
    alignment = align_photo(image, FACES128, 128)
    mask = Image.new("L", (128, 128))
    mask.paste(255, (0, 0, 64, 128))  # the left half
    pasted = paste_back(image, Image.new("RGB", (128, 128), "red"), alignment.matrix, mask=mask)
    places = transform_points(np.linalg.inv(alignment.matrix), [[3, 64], [56, 64], [72, 64]])
    got = [pasted.getpixel((int(x), int(y))) for x, y in places]
    x, y = places[2]
    assert got == [(255, 0, 0), (255, 0, 0), image.getpixel((int(x), int(y)))]


@pytest.mark.parametrize("size", [(80, 48), (16, 64)])
def test_paste_back_of_an_oblong_crop_fills_its_shape_and_no_more(size):
    """It was taken for a square, whose missing part was black."""
    image = Image.new("RGB", (300, 300), "blue")
    alignment = crop_subject(image, *size, (100, 100, 10 * size[0] // 8, 10 * size[1] // 8))
    pasted = paste_back(image, Image.new("RGB", size, "red"), alignment.matrix)
    red, _, blue = (np.asarray(band, int) for band in pasted.split())
    assert np.abs(red + blue - 255).max() <= 1  # nothing black
    rows, columns = np.nonzero(red)
    for places, side in ((columns, size[0]), (rows, size[1])):
        assert abs(places.min() - 100) <= 1
        assert abs(places.max() - 100 - 10 * side / 8) <= 2


def test_paste_back_of_a_transparent_crop_shows_the_photo():
    image = Image.new("RGB", (200, 200), "blue")
    crop = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    crop.paste((255, 0, 0, 255), (50, 0, 100, 100))
    pasted = paste_back(image, crop, np.eye(3))
    assert [pasted.getpixel((x, 50)) for x in (30, 70)] == [(0, 0, 255), (255, 0, 0)]


def test_paste_back_outside_the_photo_changes_nothing():
    image = photo("astronaut")
    away = np.array([[1, 0, 5000], [0, 1, 5000], [0, 0, 1]], dtype=float)
    pasted = paste_back(image, Image.new("RGB", (64, 64)), away)
    assert np.array_equal(np.asarray(pasted), np.asarray(image))


def _ramp(width: int, height: int) -> Image.Image:
    """An image whose red is x and whose green is y, in px."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, 0 * x], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("box", "size", "left_top_side"),
    [
        ((50, 40, 60, 60), (30, 30), (50, 40, 2)),  # a square
        ((50, 40, 60, 20), (30, 30), (50, 20, 2)),  # of the longer side, around the middle
        ((0, 0, 20, 60), (30, 30), (0, 0, 2)),  # moved into the photo
        ((170, 60, 30, 60), (30, 30), (140, 60, 2)),
        ((50, 40, 60, 30), (40, 20), (50, 40, 1.5)),  # of the model's aspect ratio
        (None, (30, 30), (40, 0, 4)),  # the centre
    ],
)
def test_a_subject_is_cropped_around_its_box(box, size, left_top_side):
    crop = crop_subject(_ramp(200, 120), *size, box)
    left, top, scale = left_top_side
    assert crop.crop.size == size
    corners = transform_points(np.linalg.inv(crop.matrix), [[0, 0], size])
    assert np.allclose(corners, [[left, top], [left + scale * size[0], top + scale * size[1]]])
    middle = np.asarray(crop.crop)[size[1] // 2, size[0] // 2].astype(float)
    centre = [[size[0] // 2 + 0.5, size[1] // 2 + 0.5]]
    x, y = transform_points(np.linalg.inv(crop.matrix), centre)[0]
    assert np.abs(middle[:2] + 0.5 - (x, y)).max() < 1


def test_a_subject_longer_than_the_photo_is_mirrored():
    alignment = align_photo(_ramp(200, 120), NO_TEMPLATE, 40, box=(10, 30, 160, 60))
    rows = np.asarray(alignment.crop)[:, 20, 1].astype(float)
    assert np.allclose(transform_points(alignment.matrix, [[10, -20]]), [[0, 0]])
    assert np.abs(rows[:5] - rows[9:4:-1]).max() < 3  # rows 0 to 4 mirror those from 0 px on
    assert np.abs(rows[5] - 2) < 2


@pytest.mark.parametrize(
    "box", [(0, 0, 201, 10), (-1, 0, 10, 10), (0, 0, 0, 10), (0, 110, 10, 11), (0, 0, 9, np.nan)]
)
def test_a_box_outside_the_photo_is_one_line(box):
    with pytest.raises(
        StylemixError, match=r"for me.jpg of 200 x 120 px; expected left, top"
    ) as no:
        crop_subject(_ramp(200, 120), 32, 32, box, "me.jpg")
    assert "\n" not in str(no.value)


def test_faces_have_no_box():
    with pytest.raises(StylemixError, match="got a box for a model of faces"):
        align_photo(photo("obama"), FACES128, 64, box=(0, 0, 10, 10))

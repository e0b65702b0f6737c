"""Face detection: boxes by hand, photos with known faces, images without faces."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.faces.detector import Face, Stage, load_detector, regress, square, suppress
from stylemix.io import assets
from stylemix.io.assets import load_weights

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"

# Eyes, nose and mouth corners in these files by another implementation of MTCNN.
POINTS = {
    "astronaut": [[159.8, 80.2], [193.1, 82.2], [175.7, 101.0], [158.2, 109.6], [192.1, 111.0]],
    "obama": [[186.7, 90.2], [232.5, 89.2], [212.7, 118.0], [185.2, 135.7], [235.6, 134.8]],
}
LEFT_MAN = [[165.4, 55.3], [203.6, 59.9], [188.2, 73.3], [165.1, 95.6], [199.5, 100.4]]
RIGHT_MAN = [[481.1, 70.4], [517.5, 78.3], [500.0, 97.2], [476.2, 113.5], [508.2, 118.7]]


def photo(name: str) -> Image.Image:
    return Image.open(PORTRAITS / f"{name}.jpg").convert("RGB")


def worst(face: Face, points: ArrayLike) -> float:
    """Returns the largest distance to `points`, in eye distances."""
    return float(np.hypot(*(face.points - np.array(points)).T).max() / face.eye_distance)


def test_suppress_values():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [2, 2, 6, 6]], dtype=float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    # 0 and 1 share 90 of 110; 3 shares 16 of 100 with 1, and all of itself.
    assert suppress(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, 0.85).tolist() == [1, 0, 2, 3]
    assert suppress(boxes, scores, 0.5, of_smaller=True).tolist() == [1, 2]
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []


def test_equal_scores_keep_their_order():
    boxes = np.array([[0, 0, 4, 4], [8, 0, 12, 4], [0, 0, 4, 4]], dtype=float)
    assert suppress(boxes, np.ones(3), 0.5).tolist() == [0, 1]


def test_regress_and_square_values():
    boxes = np.array([[0.0, 0.0, 10.0, 20.0]])
    moved = regress(boxes, np.array([[0.1, -0.1, 0.2, 0.0]]))
    assert moved.tolist() == [[1.0, -2.0, 12.0, 20.0]]
    assert square(boxes).tolist() == [[-5.0, 0.0, 15.0, 20.0]]
    assert square(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(
    ("prefix", "pools", "size", "shapes"),
    [
        ("pnet.", (2, 0, 0), 32, [(2, 11, 11), (2, 4, 11, 11)]),
        ("rnet.", (3, 3, 0), 24, [(2,), (2, 4)]),
        ("onet.", (3, 3, 2, 0), 48, [(2,), (2, 4), (2, 10)]),
    ],
)
def test_stage_shapes(prefix, pools, size, shapes):
    stage = Stage(load_weights("mtcnn"), prefix, pools)
    outputs = stage(torch.zeros(2, 3, size, size))
    assert [tuple(output.shape) for output in outputs] == shapes
    assert ((outputs[0] >= 0) & (outputs[0] <= 1)).all()


@pytest.mark.parametrize("name", ["astronaut", "obama"])
def test_detects_the_face_of_a_portrait(name):
    (face,) = load_detector().detect(photo(name))
    assert face.score > 0.99
    assert worst(face, POINTS[name]) < 0.08
    x0, y0, x1, y1 = face.box
    inside = (face.points > (x0, y0)).all() and (face.points < (x1, y1)).all()
    assert inside
    assert face.area == pytest.approx((x1 - x0) * (y1 - y0))


def test_detects_both_faces_largest_first():
    faces = load_detector().detect(photo("two_people"))
    assert len(faces) == 2
    assert faces[0].area >= faces[1].area
    left, right = sorted(faces, key=lambda face: face.box[0])
    assert worst(left, LEFT_MAN) < 0.08
    assert worst(right, RIGHT_MAN) < 0.08


def test_detection_is_deterministic():
    first, again = (load_detector().detect(photo("astronaut")) for _ in range(2))
    assert np.array_equal(first[0].points, again[0].points)
    assert first[0].score == again[0].score


def test_points_are_in_pixels_of_a_large_photo():
    image = photo("astronaut")
    (face,) = load_detector().detect(image.resize((1800, 1800)))
    assert worst(face, 4.5 * np.array(POINTS["astronaut"])) < 0.08


def test_mirrored_photo_gives_mirrored_points():
    image = photo("obama")
    (face,) = load_detector().detect(image)
    (mirrored,) = load_detector().detect(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert worst(mirrored, face.points[[1, 0, 2, 4, 3]] * (-1, 1) + (image.width, 0)) < 0.04


def test_tight_crop_is_detected_with_mirrored_borders():
    crop = photo("obama").crop((172, 66, 248, 158))
    (face,) = load_detector().detect(crop)
    assert face.clear
    assert worst(face, np.array(POINTS["obama"]) - (172, 66)) < 0.2


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (300, 20), (256, 256)])
def test_no_face_in_noise(size):
    pixels = np.random.RandomState(0).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    assert load_detector().detect(Image.fromarray(pixels)) == []


def test_grey_photo():
    assert len(load_detector().detect(photo("obama").convert("L"))) == 1


def test_damaged_file_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    (tmp_path / "mtcnn.safetensors").write_bytes(b"not weights")
    for name in ("mtcnn", "missing"):
        with pytest.raises(StylemixError, match="install stylemix again"):
            load_weights(name)

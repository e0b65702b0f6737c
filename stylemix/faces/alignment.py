"""Where a model wants the face: templates, the choice of a face, and its crop.

Coordinates and matrices are those of `stylemix.faces.warp`: continuous pixels, photo to crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.faces.detector import Face, FaceDetector, load_detector
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE, TEMPLATES, Template, template_for
from stylemix.faces.warp import centre_matrix, paste_back, similarity, transform_points, warp

__all__ = [
    "DOMINANT_AREA",
    "FACES128",
    "FFHQ",
    "NO_TEMPLATE",
    "TEMPLATES",
    "Alignment",
    "Template",
    "align_face",
    "align_photo",
    "choose_face",
    "cut_face",
    "face_matrix",
    "paste_back",
    "template_for",
    "transform_points",
]

Array = NDArray[np.float64]

MIN_EYE_DISTANCE = 10.0  # photo pixels; below that a crop shows blocks rather than a face
DOMINANT_AREA = 4.0  # a face this many times larger than the next is the one that is meant
SAME_PLACE = 0.04  # of the side: corners that move less mean "this is already an aligned crop"


@dataclass(frozen=True)
class Alignment:
    """A crop, the 3x3 matrix photo px -> crop px, its [5, 2] points and their score."""

    crop: Image.Image
    matrix: Array
    points: Array
    score: float


def face_matrix(points: Array, template: Template, size: int) -> Array:
    """The 3x3 matrix photo px -> crop px for five points [5, 2] of a face."""
    points = np.asarray(points, dtype=np.float64)
    if template.points is not None:
        target = np.array(template.points) * size
        return similarity(points[: len(target)], target)
    # FFHQ (Karras et al. 2019, appendix; inputs are the eyes' centres and the mouth's corners).
    left, right, _, mouth_left, mouth_right = points
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    eye_to_eye, eye_to_mouth = right - left, mouth - eyes
    x = eye_to_eye + np.array([eye_to_mouth[1], -eye_to_mouth[0]])
    x *= max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth)) / max(np.hypot(*x), 1e-9)
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * eye_to_mouth
    quad = np.stack([centre - x - y, centre + x - y, centre + x + y, centre - x + y])
    return similarity(quad, np.array([[0, 0], [size, 0], [size, size], [0, size]], dtype=float))


def align_face(
    image: Image.Image, points: Array, template: Template, size: int, score: float = 1.0
) -> Alignment:
    """The crop of a face whose five points [5, 2] in photo pixels are known."""
    matrix = face_matrix(points, template, size)
    if _already_aligned(image, matrix, size):
        matrix = centre_matrix(*image.size, size)
    crop = warp(image, matrix, size, blend=template.kind == "ffhq")
    return Alignment(crop, matrix, transform_points(matrix, points), score)


def align_photo(
    image: Image.Image,
    template: Template,
    size: int,
    face: int | None = None,
    name: str = "photo",
    detector: FaceDetector | None = None,
) -> Alignment:
    """Find the face of a photo (or face number `face`, from 1, largest first) and crop it.

    Raises StylemixError when there is no face, when several could be meant, or when it is tiny.
    """
    if template.kind == "none":
        matrix = centre_matrix(*image.size, size)
        return Alignment(warp(image, matrix, size), matrix, np.zeros((0, 2)), 1.0)
    faces = (detector or load_detector()).detect(image)
    return cut_face(image, choose_face(faces, face, name, image.size), template, size, name)


def cut_face(
    image: Image.Image, face: Face, template: Template, size: int, name: str = "photo"
) -> Alignment:
    """The crop of a detected face; StylemixError when it is tiny."""
    if face.eye_distance < MIN_EYE_DISTANCE:
        raise StylemixError(
            f"got a face in {name} whose eyes are {face.eye_distance:.0f} pixels apart; expected "
            f"{MIN_EYE_DISTANCE:.0f} or more; use a larger photo or one taken closer"
        )
    return align_face(image, face.points, template, size, face.score)


def choose_face(
    faces: list[Face], face: int | None, name: str, photo_size: tuple[int, int]
) -> Face:
    """The face that is meant: number `face`, the only one, or one that dwarfs the others."""
    if not faces or (face is None and not any(one.clear for one in faces)):
        doubt = f", or say --face 1 to take a doubtful one: {_listing(faces, photo_size)}"
        raise StylemixError(
            f"got no {'clear ' if faces else ''}face in {name}; expected one that looks at the "
            f"camera, upright, eyes and mouth visible; use another photo{doubt if faces else ''}"
        )
    if face is not None:
        if not 1 <= face <= len(faces):
            raise StylemixError(
                f"got --face {face} for {name}; expected 1 to {len(faces)}, since it shows "
                f"{_count(len(faces))}; choose one of {_listing(faces, photo_size)}"
            )
        return faces[face - 1]
    rivals = [one for one in faces if one.area * DOMINANT_AREA > faces[0].area]
    if len(rivals) > 1:
        raise StylemixError(
            f"got {_count(len(faces))} in {name}; expected one; choose with --face N: "
            f"{_listing(faces, photo_size)}"
        )
    return rivals[0]


def _count(number: int) -> str:
    return "1 face" if number == 1 else f"{number} faces"


def _listing(faces: list[Face], photo_size: tuple[int, int], limit: int = 8) -> str:
    """Faces numbered as `--face` counts them, each with its place and its width in pixels."""
    words = []
    for number, face in enumerate(faces[:limit], start=1):
        x = (face.box[0] + face.box[2]) / 2 / photo_size[0]
        y = (face.box[1] + face.box[3]) / 2 / photo_size[1]
        across = "left" if x < 1 / 3 else "right" if x > 2 / 3 else "centre"
        down = "top " if y < 1 / 3 else "bottom " if y > 2 / 3 else ""
        words.append(f"{number} = {down}{across}, {face.box[2] - face.box[0]:.0f} px wide")
    more = f"; and {len(faces) - limit} smaller" if len(faces) > limit else ""
    return "; ".join(words) + more


def _already_aligned(image: Image.Image, matrix: Array, size: int) -> bool:
    """True for a square image whose corners the matrix would hardly move."""
    if image.width != image.height:
        return False
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float64)
    moved = transform_points(matrix, corners * image.width) / size - corners
    return bool(np.abs(moved).max() < SAME_PLACE)

"""Face alignment: the choice of a face in a photo, and its crop to a template.

Coordinates and matrices are those of `stylemix.faces.warp`: continuous pixels, photo to crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from PIL import Image

from stylemix.errors import StylemixError, is_number, shown
from stylemix.faces.detector import Face, FaceDetector, load_detector
from stylemix.faces.templates import Template
from stylemix.faces.warp import (
    Array,
    centre_matrix,
    crop_rectangle,
    similarity,
    transform_points,
    warp,
)
from stylemix.images.tensors import resize

Box = tuple[float, float, float, float]  # left, top, width and height in px of the upright photo

MIN_EYE_DISTANCE = 10.0  # px of the photo; upsampling a smaller face gives a blocky crop
DOMINANT_AREA = 4.0  # a face whose area is this many times that of the next is chosen
# Beside a face of this score one of less is taken for a pattern that looks like a face. In 500
# images made from eight portraits the least sure face had .997, and the one pattern .93.
SURE_SCORE = 0.96
MAX_LISTED = 8  # faces in a message
MAX_ALIGNED_SHIFT = 0.04  # of the side; the corners of an aligned crop move less than this


@dataclass(frozen=True)
class Alignment:
    """A face crop, its matrix [3, 3] from photo px to crop px, points [5, 2] and score."""

    crop: Image.Image
    matrix: Array
    points: Array
    score: float


def face_matrix(points: Array, template: Template, size: int) -> Array:
    """Returns the matrix [3, 3] from photo px to crop px for the five points [5, 2] of a face."""
    points = np.asarray(points, dtype=np.float64)
    if template.points is not None:
        target = np.array(template.points) * size
        return similarity(points[: len(target)], target)
    # FFHQ (Karras et al. 2019, appendix), from the eye centres and the mouth corners.
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
    """Crops a face by its five points [5, 2] in photo pixels."""
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
    box: Box | None = None,
) -> Alignment:
    """Detects the face of a photo (or face number `face`, from 1, largest first) and crops it.

    The template "none" crops the centre, or the subject in `box`. Raises StylemixError if there is
    no face, if several faces are of similar size, if the face is too small, and for a box with a
    template of faces.
    """
    if box is not None:
        if template.kind != "none":
            raise StylemixError(
                f"got a box for a model of faces (template {template.name}); expected none; choose "
                "with --face, or use --template none"
            )
        return crop_subject(image, size, size, box, name)
    if template.kind == "none":
        matrix = centre_matrix(*image.size, size)
        return Alignment(warp(image, matrix, size), matrix, np.zeros((0, 2)), 1.0)
    faces = (detector or load_detector()).detect(image)
    return cut_face(image, choose_face(faces, face, name, image.size), template, size, name)


def crop_subject(
    image: Image.Image, width: int, height: int, box: Box | None = None, name: str = "photo"
) -> Alignment:
    """Crops the subject of a photo of any mode, or its centre, to `width` x `height` px.

    The crop is the smallest of that aspect ratio around the box, moved into the photo as far as it
    fits, and mirrored beyond it. Raises StylemixError for a box that is not in the photo.
    """
    rectangle: Box = (0, 0, *image.size)
    if box is not None:
        rectangle = _around(box, width / height, image.size, name)
    crop, (left, top) = crop_rectangle(image, rectangle)
    scale = max(width / crop.width, height / crop.height)  # `resize` crops what is left over
    x, y = (width - scale * crop.width) / 2, (height - scale * crop.height) / 2
    matrix = np.array([[scale, 0, x - scale * left], [0, scale, y - scale * top], [0, 0, 1]])
    return Alignment(resize(crop, (width, height)), matrix, np.zeros((0, 2)), 1.0)


def _around(box: Box, aspect: float, photo_size: tuple[int, int], name: str) -> Box:
    """Returns the rectangle of an aspect ratio (width over height) around a box of a photo."""
    numbers = box.tolist() if isinstance(box, np.ndarray) else box
    if not isinstance(numbers, Sequence) or len(numbers) != 4 or not all(map(is_number, numbers)):
        raise StylemixError(
            f"got the box {shown(box)}; expected left, top, width and height in px; change --box"
        )
    x, y, across, down = numbers
    width, height = photo_size
    if not (0 <= x < x + across <= width and 0 <= y < y + down <= height):
        raise StylemixError(
            f"got the box {','.join(f'{value:g}' for value in numbers)} for {name} of {width} x "
            f"{height} px; expected left, top, width and height inside it; change --box"
        )
    sides = max(across, down * aspect), max(down, across / aspect)
    corner = [x + (across - sides[0]) / 2, y + (down - sides[1]) / 2]
    for axis, (side, limit) in enumerate(zip(sides, photo_size, strict=True)):
        if side <= limit:
            corner[axis] = min(max(corner[axis], 0), limit - side)
    return (corner[0], corner[1], *sides)


def cut_face(
    image: Image.Image, face: Face, template: Template, size: int, name: str = "photo"
) -> Alignment:
    """Crops a detected face; StylemixError if its eye distance is below `MIN_EYE_DISTANCE`."""
    if face.eye_distance < MIN_EYE_DISTANCE:
        raise StylemixError(
            f"got a face in {name} whose eyes are {face.eye_distance:.0f} pixels apart; expected "
            f"{MIN_EYE_DISTANCE:.0f} or more; use a larger photo or one taken closer"
        )
    return align_face(image, face.points, template, size, face.score)


def choose_face(
    faces: list[Face], face: int | None, name: str, photo_size: tuple[int, int]
) -> Face:
    """Returns face number `face`, else the only face or the dominant face (`DOMINANT_AREA`).

    Beside a face of `SURE_SCORE`, others of less do not count. Raises StylemixError if there is
    none, with the positions of the faces if there are several.
    """
    if not faces or (face is None and not any(each.clear for each in faces)):
        advice = f", or use --face 1 to select an uncertain one: {_listing(faces, photo_size)}"
        raise StylemixError(
            f"got no {'clear ' if faces else ''}face in {name}; expected an upright face that "
            "looks at the camera with eyes and mouth visible; "
            f"use another photo{advice if faces else ''}"
        )
    if face is not None:
        if not (isinstance(face, Integral) and 1 <= face <= len(faces)):
            raise StylemixError(
                f"got --face {shown(face)} for {name}; expected 1 to {len(faces)}, since it has "
                f"{_count(len(faces))}; choose one of {_listing(faces, photo_size)}"
            )
        return faces[face - 1]
    sure = [each for each in faces if each.score >= SURE_SCORE] or faces
    candidates = [each for each in sure if each.area * DOMINANT_AREA > sure[0].area]
    if len(candidates) > 1:
        raise StylemixError(
            f"got {_count(len(faces))} in {name}; expected one; choose with --face N: "
            f"{_listing(faces, photo_size)}"
        )
    return candidates[0]


def _count(number: int) -> str:
    return "1 face" if number == 1 else f"{number} faces"


def _listing(faces: list[Face], photo_size: tuple[int, int]) -> str:
    """Lists faces by their number for `--face`, each with its position and its size in pixels."""
    entries = []
    for number, face in enumerate(faces[:MAX_LISTED], start=1):
        x = (face.box[0] + face.box[2]) / 2 / photo_size[0]
        y = (face.box[1] + face.box[3]) / 2 / photo_size[1]
        horizontal = "left" if x < 1 / 3 else "right" if x > 2 / 3 else "centre"
        vertical = "top " if y < 1 / 3 else "bottom " if y > 2 / 3 else ""
        width, height = face.box[2] - face.box[0], face.box[3] - face.box[1]
        entries.append(f"{number} = {vertical}{horizontal}, {width:.0f} x {height:.0f} px")
    more = f"; and {len(faces) - MAX_LISTED} smaller" if len(faces) > MAX_LISTED else ""
    return "; ".join(entries) + more


def _already_aligned(image: Image.Image, matrix: Array, size: int) -> bool:
    """Returns whether a square image is an aligned crop, whose corners the matrix hardly moves."""
    if image.width != image.height:
        return False
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float64)
    moved = transform_points(matrix, corners * image.width) / size - corners
    return bool(np.abs(moved).max() < MAX_ALIGNED_SHIFT)

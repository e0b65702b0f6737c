"""Students as ONNX files, for browsers, phones and other programs."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from stylemix.errors import StylemixError
from stylemix.images.hands import LIGHT, draw_by_hand
from stylemix.io.atomic import atomic_write
from stylemix.networks.student import Student, even_light, soften_curve, tone_curve
from stylemix.styles.style import Style

MAX_SIDE = 4096  # px of a photo that the file takes


class _Drawing(nn.Module):
    """What the file computes: photos [N, 3, H, W] and tone curves [N, 3] to drawings."""

    def __init__(self, student: Student, hand: str) -> None:
        super().__init__()
        self.student, self.hand = student, hand

    def forward(self, photo: Tensor, curve: Tensor) -> Tensor:
        curve = soften_curve(curve, LIGHT[self.hand]) if self.hand else curve
        even = even_light(photo, curve)
        drawn = self.student.head(self.student.trunk(even), even).clamp(-1, 1)
        return draw_by_hand(self.hand, drawn) if self.hand else drawn


def export_student(path: str | os.PathLike[str], style: Style) -> None:
    """Writes the student of a style as an ONNX file.

    Its inputs are "photo" [1, 3, H, W] in [-1, 1], with sides that are multiples of 16 px, and
    "curve" [1, 3], the face's `tone_curve`; its output is "drawing" [1, 3, 2H, 2W]. The style's
    hand is part of it, a shape that it exaggerates is not. Raises StylemixError for a style without
    a student, and where the package onnxscript is missing.
    """
    if style.student is None:
        raise StylemixError(
            "got a style without a student; expected one that has it; make it with stylemix distill"
        )
    try:
        import onnxscript  # noqa: F401 (an extra)
    except ImportError as error:
        raise StylemixError(
            "got no onnxscript; expected it for ONNX files; pip install 'stylemix[onnx]'"
        ) from error
    step = style.student.config.multiple
    sides = {
        dim: step * torch.export.Dim(name, min=2, max=MAX_SIDE // step)
        for dim, name in ((2, "rows"), (3, "columns"))
    }
    photo = torch.zeros([1, 3, 8 * step, 8 * step])
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # about packages that it can do without
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own insides
        program = torch.onnx.export(
            _Drawing(style.student, style.hand).eval(),
            (photo, tone_curve(photo)),
            input_names=["photo", "curve"],
            output_names=["drawing"],
            dynamic_shapes=(sides, None),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    with atomic_write(path) as temporary:
        target = Path(temporary)
        program.save(target, external_data=False)

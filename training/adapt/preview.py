"""Whether a learned style is seen: a small sheet of faces without and with it, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from PIL import Image

from stylemix.avatars.finish import MIN_OUTPUT, model_image
from stylemix.faces.recognition import SAME_PERSON
from stylemix.images.contact_sheet import grid
from stylemix.models.model import Model
from stylemix.styles.style import Style
from stylemix.training.adapt.scores import faces_in_style

COUNT = 4  # faces on a sheet
HARDLY = 0.1  # style accuracy up to which a style hardly shows


@torch.no_grad()
def preview_sheet(model: Model, style: Style) -> Image.Image:
    """Generated faces without the style (above) and with it, in its recommended strength."""
    rows = faces_in_style(model, style, COUNT)
    return grid(
        [model_image(image[None], model.template, MIN_OUTPUT) for row in rows for image in row],
        columns=COUNT,
        row_labels=["without", "with"],
    )


def visibility(scores: Mapping[str, float]) -> str:
    """A sentence on the scores of `score_style`: whether the style and the person are seen."""
    accuracy, distance = scores["style accuracy"], scores.get("identity distance")
    if accuracy <= HARDLY:
        seen = (
            f"The style will hardly be seen: it covers {max(accuracy, 0):.0%} of the way from the "
            "model's faces to your images; give it more images or steps, or mix with a higher "
            "--strength"
        )
    else:
        seen = (
            f"The style will be seen: it covers {accuracy:.0%} of the way from the model's faces "
            "to your images"
        )
    if distance is None:
        return seen
    person = "stays recognisable" if distance < SAME_PERSON else "is hard to recognise"
    return f"{seen}; the person {person} (identity distance {distance:.2f}, limit {SAME_PERSON:g})"

"""Whether a learned style is seen."""

import numpy as np
import pytest
import torch

from stylemix.styles.style import Style
from stylemix.training.adapt.preview import preview_sheet, visibility
from tests.support.models import tiny_model


@pytest.mark.parametrize(
    ("scores", "start", "end"),
    [
        ({"style accuracy": 0.51}, "The style will be seen: it covers 51% of the way", "images"),
        ({"style accuracy": 0.1}, "The style will hardly be seen: it covers 10% of", "--strength"),
        ({"style accuracy": -0.3}, "The style will hardly be seen: it covers 0% of", "--strength"),
        (
            {"style accuracy": 0.9, "identity distance": 0.43},
            "The style will be seen",
            "; the person stays recognisable (identity distance 0.43, limit 0.6)",
        ),
        (
            {"style accuracy": 0.9, "identity distance": 0.75},
            "The style will be seen",
            "; the person is hard to recognise (identity distance 0.75, limit 0.6)",
        ),
    ],
)
def test_the_sentence_follows_the_scores(scores, start, end):
    text = visibility(scores)
    assert text.startswith(start)
    assert text.endswith(end)


def test_the_sheet_shows_faces_without_and_with_the_style():
    model = tiny_model(resolution=16)
    shift = torch.full([model.generator.num_ws, model.generator.w_dim], 3.0)
    sheets = [preview_sheet(model, Style(model.fingerprint, shift=s)) for s in (shift * 0, shift)]
    same, other = (np.asarray(sheet).astype(int) for sheet in sheets)
    assert same.shape == other.shape
    assert same.shape[1] > 4 * 192
    middle = same.shape[0] // 2
    assert np.abs(same - other)[: middle - 16].max() == 0  # the upper row is the plain faces
    assert np.abs(same - other)[middle:].mean() > 1

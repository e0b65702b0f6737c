"""Scores of a style at known fixed points."""

import pytest
import torch
from torch import Tensor

from stylemix.avatars.render import AppliedStyle, render
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.metrics.style_distance import style_statistics
from stylemix.models.model import Model
from stylemix.styles.style import Style
from stylemix.training.adapt.scores import score_style, worth
from tests.support.models import tiny_model, ws_of


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(template=NO_TEMPLATE)


@pytest.fixture(scope="module")
def style(model) -> Style:
    """A style of other colours: the last toRGB negated."""
    last = model.generator.synthesis.get_parameter("b32.torgb.weight")
    return Style(model.fingerprint, weights={"b32.torgb.weight": -2 * last})


@pytest.fixture(scope="module")
def images(model, style) -> Tensor:
    return render(model.generator, 0.8 * ws_of(model, 24, seed=11), [AppliedStyle(style)])


def test_no_change_scores_zero_exactly(model, images):
    assert score_style(model, Style(model.fingerprint), images, 4) == {"style accuracy": 0.0}


def test_the_style_of_the_images_scores_nearly_one(model, style, images):
    assert 0.85 < score_style(model, style, images, 24)["style accuracy"] <= 1


def test_score_grows_with_strength_and_is_negative_in_the_other_direction(model, style, images):
    scores = []
    for strength in (-0.5, 0.3, 1.0):
        style = Style(style.base, strength, weights=style.weights)
        scores.append(score_style(model, style, images, 8)["style accuracy"])
    assert scores[0] < 0 < scores[1] < scores[2]


def test_identity_is_scored_where_the_model_has_faces(images):
    model = tiny_model()
    assert score_style(model, Style(model.fingerprint), images, 2) == {
        "style accuracy": 0.0,
        "identity distance": 0.0,
    }
    last = model.generator.synthesis.get_parameter("b32.torgb.weight")
    style = Style(model.fingerprint, weights={"b32.torgb.weight": -2 * last})
    assert score_style(model, style, images, 2)["identity distance"] > 0.1


def test_statistics_do_not_depend_on_order_or_on_which_part_comes_first():
    images = torch.rand([40, 3, 32, 32], generator=torch.Generator().manual_seed(0)) * 2 - 1
    result = style_statistics(images)
    assert torch.allclose(result, style_statistics(images.flip(0)), atol=1e-5)
    assert result.square().sum() == pytest.approx(4, abs=1e-4)  # four stages of equal weight
    assert result.shape == (2 * (16 + 24 + 32 + 96),)
    assert torch.equal(style_statistics(images[:1]), style_statistics(images[:1].clone()))


@pytest.mark.parametrize(
    ("accuracy", "distance", "expected"),
    [(0.5, 0.6, 0.25), (0.5, 0.0, 0.5), (1.0, 1.2, 0.0), (-0.3, 0.2, 0.0), (0.5, 1.5, 0.0)],
)
def test_worth_combines_both_scores(accuracy, distance, expected):
    scores = {"style accuracy": accuracy, "identity distance": distance}
    assert worth(scores) == pytest.approx(expected)


def test_worth_without_faces_is_style_accuracy():
    assert worth({"style accuracy": 0.4}) == 0.4

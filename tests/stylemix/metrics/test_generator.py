"""Metrics of a generator by name, as used in training and on the command line."""

import numpy as np
import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.metrics.distances import (
    density_coverage,
    frechet,
    frechet_interval,
    kernel_distance,
    precision_recall,
)
from stylemix.metrics.extractors import generator_features
from stylemix.metrics.generator import compare, path_length, score
from tests.support.images import COLORS, Pictures, colors
from tests.support.models import tiny_model


def test_compare_names_the_metrics_after_the_extractor():
    random = np.random.RandomState(0)
    fake, real = random.randn(30, 4) + 1, random.randn(40, 4)

    def compared(metrics, *rest):
        return {k: v for name in metrics for k, v in compare(fake, real, name, *rest).items()}

    values = compared(("fd", "kid", "pr", "dc"), "MobileNetV2", True)
    kid, precision, density = (
        metric(fake, real) for metric in (kernel_distance, precision_recall, density_coverage)
    )
    interval = frechet_interval(fake, real)
    assert values == {
        "FD-MobileNetV2": frechet(fake, real),
        "FD-low-MobileNetV2": interval[0],
        "FD-high-MobileNetV2": interval[1],
        "KID-MobileNetV2": kid[0],
        "KID-std-MobileNetV2": kid[1],
        "precision-MobileNetV2": precision[0],
        "recall-MobileNetV2": precision[1],
        "density-MobileNetV2": density[0],
        "coverage-MobileNetV2": density[1],
    }
    published = compared(("fd", "kid", "pr"), "Inception")
    assert list(published) == ["FID", "KID", "KID-std", "precision-Inception", "recall-Inception"]
    assert published["FID"] == values["FD-MobileNetV2"]


def test_score_compares_both_sets(tmp_path):
    generator, reals = tiny_model().generator, Pictures()
    fake = generator_features(generator, range(12), COLORS)
    real = colors(reals.floats).numpy()
    values = score(generator, reals, ("dc", "fd"), features=COLORS, cache=tmp_path)
    expected = compare(fake, real, "dc", "Colours") | compare(fake, real, "fd", "Colours")
    assert values == pytest.approx(expected, rel=1e-3)
    assert list(values) == list(expected)  # in the order of the names
    assert len(list(tmp_path.iterdir())) == 1
    fake = generator_features(generator, range(7, 27), COLORS)
    values = score(generator, reals, features=COLORS, count=20, seed=7, batch=6, cache=tmp_path)
    assert values == {"FD-Colours": pytest.approx(frechet(fake, real), rel=1e-3)}


@pytest.mark.slow
def test_score_with_mobilenet_and_path_length():
    generator, reals = tiny_model().generator, Pictures(4)
    values = score(generator, reals, ("fd", "ppl"), cache=False)
    assert set(values) == {"FD-MobileNetV2", "PPL-MobileNetV2"}
    assert values["PPL-MobileNetV2"] == pytest.approx(
        path_length(generator, range(4))["PPL-MobileNetV2"]
    )
    assert values["FD-MobileNetV2"] > 10  # noise against smooth images


def test_worse_images_have_a_larger_distance():
    generator, reals = tiny_model().generator, Pictures()
    near = score(generator, reals, features=COLORS, cache=False)["FD-Colours"]
    for name, bias in generator.named_parameters():
        if name.endswith("torgb.bias"):
            bias += 5  # nearly white
    assert score(generator, reals, features=COLORS, cache=False)["FD-Colours"] > near + 0.1


def test_scoring_leaves_random_state_and_gradients_alone():
    generator = tiny_model().generator
    torch.manual_seed(5)
    np.random.seed(5)
    before, state = torch.get_rng_state(), np.random.get_state()[1].copy()
    score(generator, Pictures(), ("fd", "kid", "ppl"), features=COLORS, count=4, cache=False)
    assert torch.equal(before, torch.get_rng_state())
    assert (state == np.random.get_state()[1]).all()
    assert torch.is_grad_enabled()


def test_labels_of_the_reals_reach_the_generator():
    generator = tiny_model(classes=3).generator
    reals = [Pictures(labels=torch.eye(3)[[label] * 12]) for label in (0, 1)]
    first, second = (
        score(generator, each, ("fd", "ppl"), features=COLORS, count=6, cache=False)
        for each in reals
    )
    assert first["FD-Colours"] != second["FD-Colours"]
    assert first["PPL-MobileNetV2"] != second["PPL-MobileNetV2"]


@pytest.mark.parametrize("metrics", [(), ("fid",), ("fd", "lpips")])
def test_unknown_metrics_raise(metrics):
    with pytest.raises(StylemixError, match="expected some of fd, kid, pr, dc, ppl"):
        score(tiny_model().generator, Pictures(), metrics)

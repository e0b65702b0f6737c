"""Forecasts of memory and time follow the model's size and the settings."""

from dataclasses import replace

import pytest
import torch

from stylemix.inversion import forecast
from stylemix.inversion.forecast import (
    duration,
    forecast_image,
    forecast_projection,
    image_operations,
)
from stylemix.inversion.settings import PRESETS
from stylemix.models.loading import adjust
from stylemix.models.model import Model
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.generator import Generator
from tests.support.models import tiny_model


@pytest.fixture(autouse=True)
def _speed(monkeypatch):
    monkeypatch.setattr(forecast, "speed", lambda device: 1e11)


def test_operations_of_a_small_image():
    """4 px: 8 channels; 8 px: 8. 9 taps, two operations each, and the colours."""
    config = GeneratorConfig(8, channel_base=64, channel_max=8, z_dim=8, w_dim=8)
    first = 2 * 9 * 8 * 8 * 16 + 2 * 8 * 3 * 16
    second = 2 * 9 * 8 * 8 * (16 + 64) + 2 * 8 * 3 * 64
    assert image_operations(config) == first + second


def test_config_f_takes_more_at_every_size(monkeypatch):
    monkeypatch.setattr(forecast, "shipped_encoder", lambda model: None)
    models = []
    for side in (256, 512, 1024):
        with torch.device("meta"):
            models.append(Model(Generator(GeneratorConfig(side))))
    images = [forecast_image(model) for model in models]
    assert images[0].seconds < images[1].seconds < images[2].seconds
    photos = [forecast_projection(model, PRESETS["balanced"]) for model in models]
    assert photos[0].bytes < photos[1].bytes < photos[2].bytes < 8 * 2**30
    fast = forecast_projection(models[2], PRESETS["fast"])
    assert fast.seconds < 0.6 * photos[2].seconds


def test_steps_and_budget():
    model, settings = tiny_model(), PRESETS["balanced"]
    one = forecast_projection(model, settings)
    more = forecast_projection(model, replace(settings, refine_steps=300))
    assert more.seconds > one.seconds
    timed = forecast_projection(model, replace(settings, budget=5))
    assert timed.seconds == pytest.approx(5, abs=1)


def test_the_search_of_a_class_takes_its_time():
    """Images of all classes are compared, unless the class is given."""
    settings = PRESETS["fast"]
    seconds = {}
    for classes in (1, 100, 1000):
        model = tiny_model(classes=classes, resolution=16)
        seconds[classes] = forecast_projection(model, settings).seconds
        given = forecast_projection(adjust(model, None, 0), settings).seconds
        search = classes * min(32, 2**22 // (classes * 256))
        assert seconds[classes] - given == pytest.approx(search * 0.005, rel=0.05)
    assert seconds[1] < seconds[100] < seconds[1000]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.01, "0.1 s"), (3.14, "3.1 s"), (45.2, "45 s"), (600, "10 min"), (9000, "2.5 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text

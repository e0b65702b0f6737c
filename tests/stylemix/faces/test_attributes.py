"""Readings of a face, by the places of its landmarks."""

import pytest
import torch

from stylemix.faces import attributes
from stylemix.faces.attributes import readings
from stylemix.faces.templates import FACES128


def test_readings_of_known_landmarks(monkeypatch):
    points = torch.zeros([1, 68, 2])
    points[:, 36:42], points[:, 42:48] = torch.tensor([0.3, 0.3]), torch.tensor([0.7, 0.3])
    points[:, 30] = torch.tensor([0.54, 0.45])  # the tip of the nose
    points[:, 48:68] = torch.tensor([0.5, 0.7])  # the mouth
    points[:, 62, 1], points[:, 66, 1] = 0.68, 0.72  # the lips
    monkeypatch.setattr(attributes, "landmarks", lambda images, template: points)
    images = torch.zeros([1, 3, 64, 64])
    images[:, :, :, 32:] = 1
    read = {name: value.item() for name, value in readings(images, FACES128).items()}
    assert read["pitch"] == pytest.approx((0.45 - 0.3) / (0.7 - 0.3), rel=1e-4)
    assert read["yaw"] == pytest.approx(0.04 / 0.4, rel=1e-4)
    assert read["mouth"] == pytest.approx(0.04 / 0.4, rel=1e-4)
    assert read["light"] == pytest.approx((1 - 0.5) / (1 + 0.5), rel=1e-4)

"""The class of a photo: found by the images of each class."""

import torch

from stylemix.inversion import label_search
from stylemix.inversion.label_search import nearest_classes
from stylemix.inversion.settings import ProjectionSettings
from tests.support.models import tiny_model
from tests.support.shapes import SHAPES, draw_shapes, shapes_model

SETTINGS = ProjectionSettings()


def test_drawings_are_of_their_class(monkeypatch):
    monkeypatch.setattr(label_search, "MAX_CANDIDATES", 12)
    classes = torch.tensor([2, 0, 1, 1, 0, 2])
    z = torch.randn([6, 8], generator=torch.Generator().manual_seed(9))
    assert len(SHAPES) == 3
    assert nearest_classes(shapes_model(), draw_shapes(classes, z), SETTINGS) == classes.tolist()


def test_one_image_of_each_class_is_the_least(monkeypatch):
    monkeypatch.setattr(label_search, "MAX_PIXELS", 1)
    model = tiny_model(classes=5, resolution=16)
    w = model.generator.mapping(
        torch.randn([200, 16], generator=torch.Generator().manual_seed(0)),
        torch.eye(5)[3].expand(200, -1),
    )
    mean = model.generator.synthesis(w.mean(dim=0, keepdim=True), noise_mode="const")
    seen = []
    found = nearest_classes(model, mean, SETTINGS, lambda *step: seen.append(step))
    assert found == [3]
    assert seen == [(number, 5) for number in range(1, 6)]  # many classes take their time

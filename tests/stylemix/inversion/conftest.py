"""A small model without a face template, and images that it generates."""

import pytest
import torch
from torch import Tensor

from stylemix.faces.templates import NO_TEMPLATE
from stylemix.inversion import loss
from stylemix.models.model import Model
from tests.support.models import tiny_model, ws_of


@pytest.fixture
def full_precision(monkeypatch) -> None:
    """Makes results independent of whether the processor has bfloat16."""
    monkeypatch.setattr(loss, "search_dtype", lambda device: torch.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(template=NO_TEMPLATE)


@pytest.fixture(scope="module")
def images(model) -> Tensor:
    return model.generator.synthesis(ws_of(model), noise_mode="const")

"""JoJoGAN's published method."""

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.training.adapt.jojogan import learn_jojogan
from tests.support.models import tiny_model


@pytest.mark.parametrize("model", [tiny_model(resolution=4), tiny_model(discriminator=False)])
def test_a_model_without_features_of_a_discriminator_is_refused(model):
    """A discriminator of 4 px has no blocks, so it has no features."""
    with pytest.raises(StylemixError, match="got a model without a discriminator's features"):
        learn_jojogan(model, torch.zeros([1, 3, 4, 4]), steps=1)

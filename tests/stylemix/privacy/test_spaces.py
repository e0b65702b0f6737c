"""Feature spaces of audits: what they compare, and that they are what their names say."""

import pytest
import torch

from stylemix.faces.recognition import embed
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE
from stylemix.metrics.identity_judge import judged_embedding
from stylemix.metrics.mobilenet import load_feature_network
from stylemix.privacy.spaces import PIXELS, feature_spaces


@pytest.fixture(scope="module")
def images():
    return torch.rand([2, 3, 64, 64], generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_they_are_the_networks_that_are_shipped(images):
    spaces = {space.name: space.extractor.extract for space in feature_spaces(FACES128)}
    assert list(spaces) == ["MobileNetV2-112", "dlib-face", "judge"]
    with torch.no_grad():
        torch.testing.assert_close(spaces["dlib-face"](images), embed(images, FACES128))
        torch.testing.assert_close(spaces["judge"](images), judged_embedding(images, FACES128))
        large = torch.rand([2, 3, PIXELS, PIXELS])
        torch.testing.assert_close(
            spaces["MobileNetV2-112"](large), load_feature_network().pooled(large),
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip


def test_one_image_and_its_neighbourhood(images):
    """A little noise is nearer than another image, in every space."""
    for space in feature_spaces(FACES128):
        with torch.no_grad():
            first, second = space.extractor.extract(images)
            again = space.extractor.extract(images[:1] + 0.01 * torch.randn(1, 3, 64, 64))[0]
        assert (first - again).norm() < 0.3 * (first - second).norm(), space.name


def test_faces_are_compared_only_where_there_are_any():
    assert [space.faces for space in feature_spaces(FACES128)] == [False, True, True]
    assert [space.name for space in feature_spaces(NO_TEMPLATE)] == ["MobileNetV2-112"]


def test_the_cache_knows_the_alignment():
    versions = [{s.extractor.version for s in feature_spaces(t)} for t in (FACES128, FFHQ)]
    assert len(versions[0] & versions[1]) == 1  # the one of the whole image

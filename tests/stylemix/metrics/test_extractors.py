"""Extractors, and features of real and generated images."""

import hashlib
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stylemix.errors import StylemixError
from stylemix.metrics import extractors
from stylemix.metrics.extractors import (
    Extractor,
    feature_input,
    features_of,
    generator_features,
    load_extractor,
    real_features,
)
from stylemix.metrics.mobilenet import load_feature_network
from stylemix.networks.labels import at_label
from stylemix.networks.sampling import sample_images
from tests.support.images import PIXELS, Pictures, pixels
from tests.support.models import tiny_model


def test_mobilenet_features_are_pooled_at_224_px():
    extractor = load_extractor("mobilenet")
    images = Pictures(2).floats
    resized = F.interpolate(images, 224, mode="bilinear", antialias=True)
    expected = load_feature_network().pooled(resized)
    assert torch.allclose(extractor.extract(images), expected, atol=1e-5)
    assert extractor.name == "MobileNetV2"
    assert extractor.version  # so that its features are cached


def test_images_that_are_not_square_are_resized_to_squares():
    assert feature_input(torch.zeros(1, 3, 48, 32)).shape == (1, 3, 224, 224)


def test_real_features_are_those_of_the_indices_in_their_order():
    reals = Pictures(7)
    features = real_features(reals, [6, 0, 3], PIXELS, batch=2)
    assert features.dtype == np.float32
    assert np.array_equal(features, reals.floats[[6, 0, 3]].flatten(1).numpy())


def test_generated_images_are_those_of_the_generator_clamped():
    generator = tiny_model().generator
    expected = sample_images(generator, [5, 6, 7]).flatten(1)
    assert expected.abs().max() > 1.1
    features = generator_features(generator, range(5, 8), PIXELS, batch=2)
    assert np.allclose(features, expected.clamp(-1, 1), atol=1e-5)


def test_psi_zero_gives_one_image():
    features = generator_features(tiny_model().generator, [1, 2], PIXELS, psi=0)
    assert np.allclose(features[0], features[1], atol=1e-5)


def test_labels_are_sampled_from_the_reals():
    generator = tiny_model(classes=3).generator
    only_two = Pictures(4, labels=torch.eye(3)[[2, 2, 2, 2]])
    features = generator_features(generator, [1, 2], PIXELS, reals=only_two)
    expected = sample_images(at_label(generator, 2), [1, 2]).clamp(-1, 1).flatten(1)
    assert np.allclose(features, expected, atol=1e-5)

    seen = []
    forward = generator.mapping.forward

    def mapping(z, c, **kwargs):
        seen.append(c)
        return forward(z, c, **kwargs)

    generator.mapping.forward = mapping
    mixed = Pictures(4, labels=torch.eye(3)[[0, 0, 0, 2]])
    generator_features(generator, range(200), PIXELS, batch=100, reals=mixed)
    shares = torch.cat(seen).mean(dim=0)
    assert shares[1] == 0
    assert shares[0].item() == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize("reals", [None, Pictures(4), Pictures(4, labels=torch.eye(4))])
def test_labels_of_another_width_raise(reals):
    with pytest.raises(StylemixError, match="for a model with labels of width 3; expected"):
        generator_features(tiny_model(classes=3).generator, [0], PIXELS, reals=reals)


@pytest.mark.parametrize(
    "extract",
    [
        lambda images: images,
        lambda images: pixels(images)[:1],
        lambda images: pixels(images) / 0,
    ],
    ids=["four dimensions", "too few", "infinite"],
)
def test_invalid_features_raise(extract):
    with pytest.raises(StylemixError, match=r"got features of shape .* from Odd; expected"):
        features_of(Pictures(2).floats, Extractor("Odd", extract))


def test_extractor_of_the_user(monkeypatch):
    module = ModuleType("users_features")
    module.plain, module.named, module.number = pixels, PIXELS, 3
    monkeypatch.setitem(sys.modules, "users_features", module)
    assert load_extractor("users_features:plain") == Extractor("plain", pixels)
    assert load_extractor("users_features:named") is PIXELS
    assert load_extractor(PIXELS) is PIXELS
    for name, message in (
        ("users_features:number", "is no function"),
        ("users_features:nosuch", "cannot be imported"),
        ("nosuch_module:name", "cannot be imported"),
        ("lpips", "expected mobilenet, inception or module:name"),
    ):
        with pytest.raises(StylemixError, match=message):
            load_extractor(name)


@pytest.fixture
def fidelity(monkeypatch, tmp_path):
    """A stand-in for torch-fidelity, whose network notes its arguments and pools pixels."""
    calls = []

    class Network(torch.nn.Module):
        def __init__(self, *args):
            super().__init__()
            calls.append(args)

        def forward(self, images):
            assert images.dtype == torch.uint8
            return (images.flatten(1).float(),)

    name = "torch_fidelity.feature_extractor_inceptionv3"
    module = ModuleType(name)
    module.FeatureExtractorInceptionV3 = Network
    module.URL_INCEPTION_V3 = "https://example.org/weights.pth"
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return calls


def test_inception_without_torch_fidelity_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(StylemixError, match=r"pip install stylemix\[fid\]"):
        load_extractor("inception")


def test_inception_takes_only_the_published_weights(fidelity, monkeypatch, tmp_path):
    with pytest.raises(StylemixError, match=r"got no Inception weights at .*hub.*weights\.pth"):
        load_extractor("inception")
    usual = tmp_path / "hub" / "checkpoints" / "weights.pth"
    usual.parent.mkdir(parents=True)
    usual.write_bytes(b"weights")
    with pytest.raises(StylemixError, match="got other weights than the published ones"):
        load_extractor("inception")
    assert fidelity == []  # the library, which unpickles, was not given the file
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(extractors, "INCEPTION_SHA256", digest)
    extractor = load_extractor("inception")
    elsewhere = usual.rename(tmp_path / "mine.pth")
    load_extractor("inception", weights=elsewhere)
    assert fidelity == [
        ("inception", ["2048"], str(usual)),
        ("inception", ["2048"], str(elsewhere)),
    ]
    assert extractor.name == "Inception"
    assert extractor.version == digest[:16]
    images = Pictures(2)  # every byte comes back as it was
    assert torch.equal(extractor.extract(images.floats), images.images.flatten(1).float())

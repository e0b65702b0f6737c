"""Audits of models whose memory is known: one that copies, and one that never saw the data."""

from dataclasses import replace

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.inversion.settings import ProjectionSettings
from stylemix.metrics.extractors import Extractor, generated_images
from stylemix.metrics.memorization import Closeness, Estimate
from stylemix.privacy import audit as module
from stylemix.privacy.audit import Audit, AuditSettings, SpaceAudit, audit, evenly
from stylemix.privacy.spaces import Space
from tests.support.images import Pictures, colors
from tests.support.models import tiny_model

FEW = AuditSettings(count=24, projected=0)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """Features that cost nothing, and projections of a few steps."""
    spaces = [Space(Extractor("hues", colors, "1"), False), Space(Extractor("who", colors), True)]
    monkeypatch.setattr(module, "feature_spaces", lambda template, device: spaces)
    quick = ProjectionSettings(w_steps=3, plus_steps=0)
    monkeypatch.setattr(module, "PRESETS", {"fast": quick})


def made_by(model, first, count=24):
    """Images of a model as a dataset of 8-bit images, from a seed on."""
    images = generated_images(model.generator, range(first, first + count))
    pictures = Pictures(count, first)
    pictures.images = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pictures


def test_a_model_that_copies(model):
    done = audit(model, made_by(model, 0), made_by(model, 100), FEW)
    for space in done.spaces.values():
        assert space.c_t < -4
        assert space.copies.generated.value == 1
        assert [pair.train for pair in space.pairs] == [pair.seed for pair in space.pairs]
        assert space.pairs[0].distance <= space.pairs[-1].distance < 0.01
    assert done.spaces["who"].identity.generated.value == 1
    assert done.spaces["hues"].identity is None
    assert (done.generated, done.train, done.held_out) == (24, 24, 24)
    assert [finding.split(" in ")[0] for finding in done.findings] == [
        "C_T", "the copy rate", "C_T", "the copy rate", "people of the training set are generated, "
        "by who",
    ]  # fmt: skip


def test_a_model_that_never_saw_the_data(model):
    """Training and held-out images are other samples of the same source."""
    data, held_out = made_by(model, 1000, 200), made_by(model, 5000, 100)
    done = audit(model, data, held_out, replace(FEW, count=100))
    assert all(abs(space.c_t) < 2.5 for space in done.spaces.values())
    assert all(space.copies.generated.value < 0.08 for space in done.spaces.values())
    assert all("copied" not in finding for finding in done.findings)


def test_copies_are_found_without_held_out_images(model):
    """Then the training images themselves are the scale, each without itself."""
    data = made_by(model, 0)
    copies = audit(model, data, settings=FEW)
    fair = audit(model, made_by(model, 5000), settings=FEW)
    assert copies.spaces["hues"].c_t < -4
    assert abs(fair.spaces["hues"].c_t) < 2.5
    assert copies.membership is None
    assert copies.recovery is None


def test_the_discriminator_that_knows_its_training_images(model):
    bright, dark = Pictures(40, 1), Pictures(30, 2)
    bright.images = bright.images // 2 + 128

    class Critic(torch.nn.Module):
        c_dim = 0

        def forward(self, images, c=None):
            return images.mean(dim=(1, 2, 3))[:, None]

    knows = replace(model, discriminator=Critic())
    done = audit(knows, bright, dark, FEW)
    assert (done.membership.value, done.by) == (1, "discriminator")
    assert "the discriminator tells training images from new ones" in done.findings
    assert audit(knows, dark, bright, FEW).membership.value == 0
    same = audit(knows, Pictures(40, 3), Pictures(40, 4), FEW).membership
    assert same.low <= 0.5 <= same.high


def test_a_conditional_discriminator_gets_its_labels():
    model = tiny_model(classes=2)
    labels = torch.eye(2)[torch.arange(24) % 2]
    done = audit(model, Pictures(24, 1, labels=labels), Pictures(24, 2, labels=labels), FEW)
    assert done.membership.low <= 0.5 <= done.membership.high
    for wrong in (None, torch.eye(3)[torch.arange(24) % 3]):
        with pytest.raises(StylemixError, match="for a model with labels of width 2; expected"):
            audit(model, Pictures(24, 1, labels=labels), Pictures(24, 2, labels=wrong), FEW)


@pytest.mark.slow
def test_recovery_and_membership_by_reconstruction(model):
    """Its own images are recovered better than noise is."""
    blind = replace(model, discriminator=None)
    done = audit(blind, made_by(model, 0), Pictures(24, 9), replace(FEW, projected=6))
    assert done.recovery.low > 0
    assert (done.membership.value, done.by) == (1, "reconstruction")
    assert "training images are reconstructed better than new ones" in done.findings


def test_the_same_again_from_the_cache(model, tmp_path, monkeypatch):
    data, held_out = made_by(model, 0), made_by(model, 100)
    first = audit(model, data, held_out, FEW, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # both sets in the space that has a version
    assert audit(model, data, held_out, FEW, tmp_path) == first


def test_too_few_images(model):
    with pytest.raises(StylemixError, match="got fewer than 2 images"):
        audit(model, Pictures(1), Pictures(24), FEW)
    done = audit(model, Pictures(5), Pictures(5), replace(FEW, count=5))
    assert done.spaces["hues"].c_t is None


def test_findings_allow_for_chance():
    share = Estimate(0.02, 0.008, 0.04)
    near = Closeness(1.0, share, Estimate(0.01, 0.005, 0.02))
    space = SpaceAudit(-2.9, near, near, [])
    chance = Estimate(0.52, 0.49, 0.55)
    done = Audit(9, 9, 9, {"a": space}, Estimate(0.1, -0.1, 0.3), chance, "x")
    assert done.findings == []
    worse = replace(near, generated=Estimate(0.03, 0.015, 0.05))
    bad = Audit(9, 9, 9, {"a": SpaceAudit(-3.1, worse, worse, [])}, None, Estimate(0.6, 0.51, 1))
    assert len(bad.findings) == 4


def test_evenly():
    assert evenly(3, Pictures(9)) == [0, 3, 6]
    assert evenly(20, Pictures(3)) == [0, 1, 2]

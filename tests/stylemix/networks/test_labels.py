"""Labels: classes and vectors, and networks at one label."""

import copy

import numpy as np
import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.models.model import fingerprint
from stylemix.networks.labels import (
    at_label,
    class_of,
    describe_label,
    label_batch,
    label_of,
    label_values,
)
from tests.support.models import W_DIM, tiny_model

ONES = torch.tensor([[0.0, 1.0, 0.0]])


@pytest.fixture(scope="module")
def model():
    return tiny_model(classes=3)


def test_a_class_is_a_vector():
    assert label_values(1, 3) == (0, 1, 0)
    assert label_values(np.int64(2), 3) == (0, 0, 1)
    assert label_values([0.5, 0, -1], 3) == (0.5, 0, -1)
    assert label_values(torch.tensor([0.5, 0.25]), 2) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("label", "c_dim", "message"),
    [
        (2, 0, "got class 2 for a model without classes; expected none; omit --class"),
        ([1.0], 0, "got a label of 1 value for a model without classes; expected none; omit --lab"),
        (3, 3, "got class 3; expected 0 to 2 for this model; change --class"),
        (-1, 3, "got class -1; expected 0 to 2"),
        ([1, 0], 3, "got a label of 2 values; expected 3 for this model; change --label"),
        ([1, 0, float("nan")], 3, "got a label of 3 values, not all finite"),
    ],
)
def test_wrong_labels_are_one_line(label, c_dim, message):
    with pytest.raises(StylemixError) as caught:
        label_values(label, c_dim)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_labels_as_text():
    assert describe_label((0, 0, 1)) == "class 2"
    assert describe_label((0.5, 0, 0)) == "label 0.5,0,0"
    assert [class_of(v) for v in ((1, 0), (1, 1), (0, 0), (0, 2))] == [0, None, None, None]


def test_a_generator_at_a_label_is_one_without_labels(model):
    generator = model.generator
    z = torch.randn([4, W_DIM], generator=torch.Generator().manual_seed(0))
    fixed = at_label(generator, 1)
    assert generator.needs_label
    assert not fixed.needs_label
    assert torch.equal(fixed.mapping(z), generator.mapping(z, ONES.expand(4, -1)))
    other = torch.tensor([[1.0, 0, 0]]).expand(4, -1)
    assert torch.equal(fixed.mapping(z, other), generator.mapping(z, other))  # a call's own label
    assert torch.equal(copy.deepcopy(fixed).mapping(z), fixed.mapping(z))
    assert (label_of(fixed.mapping), label_of(generator.mapping)) == ((0, 1, 0), None)


def test_all_labels_share_the_weights(model):
    fixed = at_label(model.generator, 2)
    assert fixed.synthesis is model.generator.synthesis
    assert fixed.mapping.fc0 is model.generator.mapping.fc0
    assert list(fixed.state_dict()) == list(model.generator.state_dict())
    assert fingerprint(fixed) == model.fingerprint
    assert at_label(model.generator, None) is model.generator


def test_a_discriminator_has_a_label_too(model):
    images = torch.rand([2, 3, 32, 32], generator=torch.Generator().manual_seed(0))
    critic = model.discriminator
    fixed = at_label(critic, 1)
    assert torch.allclose(fixed(images), critic(images, ONES.expand(2, -1)), atol=1e-6)
    assert label_batch(fixed, 2) is None
    assert torch.equal(label_batch(critic, 2), torch.zeros([2, 3]))
    assert label_batch(tiny_model().discriminator, 2) is None


def test_a_generator_without_its_label_says_how_to_give_one(model):
    with pytest.raises(StylemixError, match=r"got no label for a model of 3 classes.*--class N \("):
        model.generator.mapping(torch.zeros([1, W_DIM]))


@pytest.mark.parametrize(
    "label", ["100", 1.0, np.float32(1), np.array(1), torch.tensor(1), np.zeros([3, 1])]
)
def test_what_is_no_label_is_refused(label):
    """Text, too: its digits are no values."""
    with pytest.raises(StylemixError, match=r"got the label .*; expected the number of a class"):
        label_values(label, 3)


@pytest.mark.parametrize("label", [[1, None, 0], [1, "0", 0], [10**400, 0, 0]])
def test_labels_of_what_is_no_number_are_refused(label):
    with pytest.raises(StylemixError, match="got a label of 3 values, not all finite"):
        label_values(label, 3)


def test_labels_are_read_from_arrays_and_tensors():
    for label in ([0, 1, 0.5], np.array([0, 1, 0.5], np.float32), torch.tensor([0, 1, 0.5])):
        assert label_values(label, 3) == (0.0, 1.0, 0.5)

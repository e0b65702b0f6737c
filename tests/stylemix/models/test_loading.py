"""The model of a call: another template, a label, and what is left as it was."""

import pytest

import stylemix
from stylemix.errors import StylemixError
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE
from stylemix.models.loading import use_model
from stylemix.networks.labels import label_of
from tests.support.models import saved, tiny_model


def test_a_call_does_not_change_its_model():
    model = tiny_model(classes=3)
    used = use_model(model, template="ffhq", label=1)
    assert (used.template, label_of(used.generator.mapping)) == (FFHQ, (0, 1, 0))
    assert label_of(used.discriminator.mapping) == (0, 1, 0)
    assert (model.template, model.generator.needs_label) == (FACES128, True)
    assert use_model(model) is model


def test_a_file_is_loaded_with_both(tmp_path):
    path = saved(tiny_model(classes=2), tmp_path / "model.safetensors")
    model = stylemix.load_model(path, template="none", label=[0.5, 0.5])
    assert isinstance(model, stylemix.Model)
    assert model.template == NO_TEMPLATE
    assert label_of(model.generator.mapping) == (0.5, 0.5)
    assert isinstance(use_model(model, label=1), stylemix.Model)


def test_what_a_model_cannot_have_is_an_error():
    with pytest.raises(StylemixError, match="got class 1 for a model without classes"):
        use_model(tiny_model(), label=1)
    with pytest.raises(StylemixError, match="expected none, since face crops are square"):
        use_model(tiny_model(template=NO_TEMPLATE, base=(3, 5)), template="ffhq")
    with pytest.raises(StylemixError, match="got template 'cats'"):
        use_model("no-such-model", template="cats")  # before the model is read

"""What exported networks compute: the same images as the functions that render them."""

import pytest
import torch

from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.export.graphs import join_offsets, model_graph, offset_layers, student_graph
from stylemix.networks.student import Student, StudentConfig
from stylemix.styles.style import Style
from tests.support.models import W_DIM, tiny_model, ws_of


def test_the_synthesis_of_a_style_renders_like_a_mix():
    model = tiny_model()
    rng = torch.Generator().manual_seed(0)
    shift = torch.randn([model.generator.num_ws, W_DIM], generator=rng)
    channels = offset_layers(model.generator)["b8.conv0"]
    style = Style(
        model.fingerprint, psi=0.8, layers="coarse,middle", shift=0.3 * shift,
        offsets={"b8.conv0": torch.randn([channels], generator=rng)},
        weights={"b8.conv1.weight": torch.full([32, 32, 3, 3], 0.1)},
    )  # fmt: skip
    applied = AppliedStyle(style, 0.7)
    ws = ws_of(model, 2)
    expected = render(model.generator, ws, [applied])
    assert (expected - render(model.generator, ws)).abs().max() > 0.05
    before = model.fingerprint
    network = model_graph(model, "synthesis", [applied]).network
    offsets = torch.zeros([2, sum(offset_layers(model.generator).values())])
    torch.testing.assert_close(network(ws=ws, offsets=offsets), expected, atol=2e-5, rtol=0)
    assert model.fingerprint == before  # the model itself has no style


def test_offsets_are_those_of_style_space():
    model = tiny_model()
    ws = ws_of(model, 2)
    values = {"b16": {"conv1": torch.full([16], 0.5)}, "b32": {"torgb": torch.full([8], -0.2)}}
    row = join_offsets(model.generator, values)
    expected = model.generator.synthesis(ws, "const", values)
    image = model_graph(model, "synthesis").network(ws=ws, offsets=row.expand(2, -1))
    torch.testing.assert_close(image, expected)


def test_the_generator_truncates_and_takes_labels():
    model = tiny_model(classes=3)
    graph = model_graph(model, "generator")
    inputs = graph.examples(3)
    assert {name: list(value.shape) for name, value in inputs.items()} == {
        "z": [3, W_DIM], "psi": [1], "label": [3, 3],
        "offsets": [3, sum(offset_layers(model.generator).values())],
    }  # fmt: skip
    inputs |= {"psi": torch.tensor([0.4]), "offsets": torch.zeros_like(inputs["offsets"])}
    expected = model.generator(inputs["z"], inputs["label"], 0.4, noise_mode="const")
    torch.testing.assert_close(graph.network(**inputs), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("hand", ["", "comic", "toon"])
def test_a_student_draws_as_its_style_does(hand):
    torch.manual_seed(0)
    style = Style("a", student=Student(StudentConfig((8, 12))).eval(), hand=hand)
    graph = student_graph(style)
    inputs = graph.examples(2)
    with torch.no_grad():
        expected = style.drawing(inputs["photo"], inputs["curve"])
        torch.testing.assert_close(graph.network(**inputs), expected)


def test_a_style_without_a_student_is_refused():
    with pytest.raises(StylemixError, match="make it with stylemix distill"):
        student_graph(Style("a"))

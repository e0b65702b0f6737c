"""`stylemix demo`, on the shipped model, styles and portrait."""

from dataclasses import replace

import numpy as np
from click.testing import CliRunner
from PIL import Image

from stylemix.avatars import mixer
from stylemix.avatars.finish import finish
from stylemix.avatars.render import AppliedStyle, render
from stylemix.cli import main
from stylemix.inversion.projection import seed_latent
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.checkpoint import load_model
from stylemix.styles.style import load_style, shipped_styles
from stylemix.tools import demo


def test_the_labelled_image(tmp_path, monkeypatch):
    quick = replace(ProjectionSettings(), w_steps=2, plus_steps=3, refine_steps=1)
    monkeypatch.setattr(mixer, "ProjectionSettings", lambda: quick)
    people = []

    def seen(mixer, person, avatar, size):
        people.append(person)
        return finish(mixer, person, avatar, size)

    monkeypatch.setattr(demo, "finish", seen)
    output = tmp_path / "demo.png"
    result = CliRunner().invoke(main, ["demo", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert len(people) == len(shipped_styles())
    assert people[0].latent.detail is not None  # avatars show what refinement found
    with Image.open(output) as image:
        columns = 2 + len(shipped_styles())
        assert image.width > columns * 256
        assert np.asarray(image).std() > 20


def test_shipped_styles_match_their_names():
    model = load_model("faces-64")
    ws = seed_latent(model.generator, 3)
    plain = render(model.generator, ws)[0]

    def chroma(image):
        return float((image - image.mean(dim=0)).abs().mean())

    images = {
        name: render(model.generator, ws, [AppliedStyle(load_style(name, model))])[0]
        for name in shipped_styles()
    }
    assert set(images) >= {"toon", "golden-hour", "noir"}
    assert chroma(images["noir"]) < 0.25 * chroma(plain)
    warm = images["golden-hour"][0].mean() - images["golden-hour"][2].mean()
    assert warm > plain[0].mean() - plain[2].mean() + 0.1
    # Flat colours of a drawing: neighbouring pixels are mostly equal.
    assert float((images["toon"] - plain).square().mean()) > 0.02

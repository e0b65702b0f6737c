"""`stylemix demo`, on the shipped model, styles and portraits."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from stylemix.avatars.avatar import AvatarOptions
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import Mixer
from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.checkpoint import load_model, save_model
from stylemix.styles.style import load_style, shipped_styles
from stylemix.tools import demo
from tests.support.models import tiny_model

QUICK = ProjectionSettings(w_steps=2, plus_steps=3, refine_steps=1)
DRAWN = ("comic", "illustration", "ink", "pencil", "pop", "toon")


@pytest.mark.parametrize("words", [[], ["--no-cache"]])
def test_latents_are_kept_unless_told(monkeypatch, tmp_path, words):
    def mixer(*arguments, cache, **options):
        raise StylemixError(f"{cache=}")

    monkeypatch.setattr(demo, "Mixer", mixer)
    result = CliRunner().invoke(main, ["demo", "--output", str(tmp_path / "a.png"), *words])
    assert result.output == f"Error: cache={not words}\n"


@pytest.mark.slow
def test_the_labelled_sheet(tmp_path, monkeypatch):
    """Of two portraits; `.ci/run` makes the whole one."""
    monkeypatch.setattr(demo, "preset_settings", lambda name: QUICK)
    output, few = tmp_path / "demo.png", tmp_path / "portraits"
    few.mkdir()
    for path in sorted(demo.PORTRAITS.iterdir())[:2]:
        shutil.copy(path, few)
    monkeypatch.setattr(demo, "PORTRAITS", few)
    result = CliRunner().invoke(main, ["demo", "--output", str(output)])
    assert result.exit_code == 0, result.output
    portraits = len(list(demo.PORTRAITS.iterdir()))
    with Image.open(output) as image:
        assert image.width > (1 + len(shipped_styles())) * 256
        assert image.height > portraits * 256
        assert np.asarray(image).std() > 20


@pytest.mark.slow
def test_a_photo_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "preset_settings", lambda name: QUICK)
    output, source = tmp_path / "mine.png", demo.PORTRAITS / "obama.jpg"
    result = CliRunner().invoke(main, ["demo", "--source", str(source), "--output", str(output)])
    assert result.exit_code == 0, result.output
    with Image.open(output) as image:
        assert image.height < 2 * 256


def test_a_model_that_no_style_fits_is_an_error(tmp_path):
    path = tmp_path / "cats.safetensors"
    save_model(path, tiny_model(template=NO_TEMPLATE))
    result = CliRunner().invoke(main, ["demo", "--model", str(path)])
    assert result.exit_code == 2
    assert f"got the model {path} without shipped styles; expected faces-64" in result.output


@pytest.fixture(scope="module")
def avatars():
    mixer = Mixer(load_model("faces-64"), settings=QUICK, progress=False)
    names = shipped_styles()
    people, styles = mixer.read(
        [str(demo.PORTRAITS / "hopper.jpg")], [StyleArgument(name) for name in names]
    )
    options = AvatarOptions()
    images = {
        style.name: mixer.avatar(people[0], [mixer.apply(style, people[0])], options).image[0]
        for style in styles
    }
    return images | {"plain": mixer.plain(people[0])[0]}


def chroma(image):
    return float((image - image.mean(dim=0)).abs().mean())


def flat(image):
    """The share of neighbours along a row that are almost equal."""
    return float((image[:, :, 1:] - image[:, :, :-1]).abs().amax(dim=0).lt(0.03).float().mean())


def test_there_are_looks_and_drawings():
    assert set(shipped_styles()) == {"golden-hour", "noir", "pastel", *DRAWN}
    for name in shipped_styles():
        style = load_style(name)
        assert style.is_student == (name in DRAWN)
        assert style.statistics is not None
        assert style.info["name"] == name


@pytest.mark.slow
def test_shipped_looks_match_their_names(avatars):
    plain = avatars["plain"]
    assert chroma(avatars["noir"]) < 0.25 * chroma(plain)
    warm = avatars["golden-hour"][0].mean() - avatars["golden-hour"][2].mean()
    assert warm > plain[0].mean() - plain[2].mean() + 0.1
    assert avatars["pastel"].mean() > plain.mean() + 0.2  # bright
    assert chroma(avatars["pastel"]) < chroma(plain)


def test_shipped_drawings_match_their_names(avatars):
    colors = {name: chroma(avatars[name]) for name in DRAWN}
    assert max(colors["ink"], colors["pencil"]) < 0.1 < colors["comic"]
    assert avatars["pencil"].mean() > avatars["noir"].mean() + 0.3  # more paper than graphite
    black = {name: float(avatars[name].amax(dim=0).lt(-0.7).float().mean()) for name in DRAWN}
    assert black["ink"] > 0.1
    assert black["pencil"] < 0.05
    red, _, blue = avatars["pop"].mean(dim=(1, 2))
    assert red > blue + 0.3
    assert min(flat(avatars["comic"]), flat(avatars["toon"])) > 0.5

"""`stylemix mix`: strengths by layer, minimum identity, regions, preserved colours, sheets."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from stylemix.avatars.render import render
from stylemix.cli import main
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.tensors import to_pil
from stylemix.inversion.latent import Latent, save_latent
from stylemix.networks.latents import mix, parse_layers
from stylemix.styles.style import Style, save_style
from tests.support.models import saved, tiny_model, trained_on, ws_of

SIZE = 64


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mix")
    model = tiny_model(resolution=SIZE)
    saved(model, folder / "base.safetensors")
    saved(trained_on(model), folder / "child.safetensors")
    shift = torch.ones([model.generator.num_ws, model.generator.w_dim])
    save_style(folder / "shift.pkl", Style(model.fingerprint, shift=shift, layers="fine"))
    for name, w in zip("ab", ws_of(model), strict=True):
        save_latent(folder / f"{name}.latent.safetensors", Latent(w, model.fingerprint))
    return folder


def run(files, *arguments):
    model = str(files / "base.safetensors")
    command = ["mix", "--model", model, "--overwrite", *map(str, arguments)]
    return CliRunner().invoke(main, command)


def output_and_image(files, *arguments):
    """The output of a command, and its image as an array."""
    output = files / "out.png"
    size = (
        []
        if any("grid" in str(a) or a == "--strip" for a in arguments)
        else ["--output-size", SIZE]
    )
    result = run(files, "--output", output, *size, *arguments)
    assert result.exit_code == 0, result.output
    with Image.open(output) as image:
        return result.output, np.asarray(image).astype(int)


def mixed(files, *arguments):
    return output_and_image(files, "--source", files / "a.latent.safetensors", *arguments)[1]


def rendered(w: torch.Tensor) -> np.ndarray:
    """The image of ws [L, w_dim] as an array."""
    model = tiny_model(resolution=SIZE)
    return np.asarray(to_pil(render(model.generator, w[None]))).astype(int)


@pytest.fixture(scope="module")
def plain(files):
    return mixed(files, "--style", "seed:2:0")


@pytest.mark.parametrize("layers", ["coarse", "16-64px", "0-3", "fine", "all"])
def test_layers_of_another_person_are_exactly_theirs(files, layers):
    ws = ws_of(tiny_model(resolution=SIZE))
    expected = rendered(mix(ws[0], ws[1], parse_layers(layers, SIZE)))
    other = files / "b.latent.safetensors"
    got = mixed(files, "--style", other, "--layers", layers, "--strength", 1)
    assert np.abs(got - expected).max() <= 1
    by_strength = mixed(files, "--style", other, "--strength", f"{layers}=1")
    assert np.abs(by_strength - expected).max() <= 1


def test_a_strength_for_each_band_of_another_person(files):
    ws, steps = ws_of(tiny_model(resolution=SIZE)), {"coarse": 0.2, "middle": -0.5, "fine": 1.0}
    w = ws[0]
    for band, strength in steps.items():
        w = mix(w, ws[1], parse_layers(band, SIZE), strength)
    text = ",".join(f"{band}={strength:g}" for band, strength in steps.items())
    got = mixed(files, "--style", files / "b.latent.safetensors", "--strength", text)
    assert np.abs(got - rendered(w)).max() <= 1
    usual = mixed(files, "--style", files / "b.latent.safetensors")
    by_band = ["--strength", "coarse=0,middle=.35,fine=1"]
    again = mixed(files, "--style", files / "b.latent.safetensors", *by_band)
    assert np.abs(usual - again).max() <= 1


def test_strengths_by_layer_select_where_a_style_file_acts(files, plain):
    style = ["--style", files / "shift.pkl"]  # recommends fine
    recommended = mixed(files, *style)
    assert np.abs(mixed(files, *style, "--strength", "fine=1") - recommended).max() <= 1
    assert np.abs(mixed(files, *style, "--strength", "coarse=1") - recommended).mean() > 1
    confined = mixed(files, *style, "--strength", "coarse=1", "--layers", "fine")
    assert np.abs(confined - plain).max() <= 1
    half = mixed(files, "--style", f"{files / 'shift.pkl'}:0.5", "--strength", "fine=2")
    assert np.abs(half - recommended).max() <= 1  # times the weight


def test_the_guard_lowers_and_prints_the_strength(files, plain):
    person = ["--source", files / "a.latent.safetensors"]
    style = ["--style", files / "b.latent.safetensors", "--layers", "all"]
    changes = []
    for least in (0.95, 0.8):
        text, image = output_and_image(files, *person, *style, "--min-identity", least)
        match = re.search(r"strength (\d\.\d\d), identity (\d\.\d\d)", text)
        assert abs(float(match[2]) - least) <= 0.02
        again = mixed(files, *style, "--strength", match[1])
        assert np.abs(again - image).mean() < 2  # two digits of the strength
        changes.append(np.abs(image - plain).mean())
    assert 0.5 < changes[0] < changes[1]
    text, image = output_and_image(files, *person, *style, "--min-identity", 0.01)
    assert "strength 1.00" in text
    assert np.abs(image - mixed(files, *style)).max() <= 1
    assert "identity" not in output_and_image(files, *person, *style)[0]


def test_an_identity_that_leaves_no_style_is_noted(files):
    source = ["--source", files / "a.latent.safetensors", "--output", files / "out.png"]
    style = ["--style", files / "b.latent.safetensors", "--layers", "all"]
    strict = run(files, *source, *style, "--min-identity", 0.99)
    assert "lower --min-identity" in strict.stderr
    loose = run(files, *source, *style, "--min-identity", 0.01)
    assert "Note" not in loose.stderr


def test_a_mask_image_confines_the_style(files, plain):
    Image.fromarray(np.repeat([[255, 0]], 2, axis=0).astype(np.uint8)).resize(
        (SIZE, SIZE), Image.Resampling.NEAREST
    ).save(files / "left.png")
    style = ["--style", files / "child.safetensors", "--strength", 2]
    full = mixed(files, *style)
    left = mixed(files, *style, "--region", files / "left.png")
    change = np.abs(left - plain).mean(axis=(0, 2))
    assert change[:24].mean() > 5
    assert np.abs(left - full)[:, :16].mean() < 0.3 * np.abs(full - plain)[:, :16].mean()
    assert change[48:].mean() < 0.2 * change[:16].mean()


def test_regions_by_name_add_up_and_differ(files, plain):
    style = ["--style", files / "child.safetensors", "--strength", 2]
    changed = {}
    for name in ("face", "background"):
        changed[name] = np.abs(mixed(files, *style, "--region", name) - plain).mean(axis=2)
    both = np.abs(mixed(files, *style, "--region", "face", "--region", "background") - plain)
    middle, corner = (slice(24, 40), slice(24, 40)), (slice(58, 64), slice(0, 6))
    assert changed["face"][middle].mean() > 4 * changed["face"][corner].mean()
    assert changed["background"][corner].mean() > changed["background"][middle].mean()
    for place in (middle, corner):
        alone = max(change[place].mean() for change in changed.values())
        assert both[place].mean() > 0.8 * alone


def test_preserved_colors_are_the_persons(files, plain):
    style = ["--style", files / "child.safetensors", "--strength", 3]
    middle = (slice(24, 44), slice(20, 44))

    def hue(image):
        red, green, blue = image[middle].reshape(-1, 3).mean(axis=0)
        return np.array([red - green, blue - green])

    styled, half, preserved = (hue(mixed(files, *style, "--keep-color", k)) for k in (0, 0.5, 1))
    own = hue(plain)
    assert np.linalg.norm(preserved - own) < 0.6 * np.linalg.norm(styled - own)
    assert np.linalg.norm(half - own) < np.linalg.norm(styled - own)


def test_a_strip_goes_from_the_person_to_the_style(files, monkeypatch):
    seen = watch(monkeypatch)
    two = ["--style", f"{files / 'shift.pkl'}:0.5", "--style", "seed:4"]
    person = files / "a.latent.safetensors"
    sources = ["--source", person, "--source", "seed:1"]
    output_and_image(files, *sources, *two, "--strip", "--output-size", 40)
    (options,) = seen
    assert options["row_labels"] == ["a shift 0.5", "a seed4", "seed1 shift 0.5", "seed1 seed4"]
    assert [text.split(",")[0] for text in options["labels"][:10]] == [
        *(f"strength {s}" for s in ("0.00", "0.12", "0.25", "0.38", "0.50")),
        *(f"strength {s}" for s in ("0.00", "0.25", "0.50", "0.75", "1.00")),
    ]
    identities = [float(text.split("identity ")[1]) for text in options["labels"][5:10]]
    assert identities[0] == 1
    assert identities == sorted(identities, reverse=True)
    assert identities[-1] < 0.99
    images = [np.asarray(image).astype(int) for image in options["images"]]
    assert len(images) == 20
    for row in range(0, 20, 5):
        changes = [np.abs(image - images[row]).mean() for image in images[row : row + 5]]
        assert changes[0] == 0
        assert changes == sorted(changes)
    full = mixed(files, "--style", "seed:4")
    assert np.abs(images[9] - full).max() <= 1


def watch(monkeypatch):
    """Records the arguments of all sheets rendered from now on."""
    from stylemix.avatars import sheets

    seen, real = [], sheets.grid

    def grid(images, **options):
        seen.append({"images": images, **options})
        return real(images, **options)

    monkeypatch.setattr(sheets, "grid", grid)
    return seen


@pytest.mark.slow
def test_a_guarded_grid_and_strip_preserve_each_person(files, monkeypatch):
    seen = watch(monkeypatch)
    people = ["--source", files / "a.latent.safetensors", "--source", "seed:1"]
    style = ["--style", files / "b.latent.safetensors", "--layers", "all"]
    for sheet in ("--grid", "--strip"):
        output_and_image(files, *people, *style, sheet, "--min-identity", 0.8, "--output-size", 40)
    grid, strip = seen
    assert grid["labels"][::2] == ["", ""]
    labels = grid["labels"][1::2]
    assert all(0.79 < float(text.split("identity ")[1]) < 0.82 for text in labels)
    assert len({text.split(",")[0] for text in labels}) > 1  # a separate strength for each
    assert strip["labels"][4::5] == labels
    for i, j in ((1, 4), (3, 9)):
        assert np.array_equal(np.asarray(grid["images"][i]), np.asarray(strip["images"][j]))


def test_a_strip_of_a_model_without_faces(tmp_path, monkeypatch):
    saved(tiny_model(template=NO_TEMPLATE), tmp_path / "base.safetensors")
    seen = watch(monkeypatch)
    output_and_image(tmp_path, "--source", "seed:1", "--style", "seed:2", "--strip")
    assert seen[0]["labels"] == [f"strength {s}" for s in ("0.00", "0.25", "0.50", "0.75", "1.00")]


def test_a_layer_grid_shows_every_range(files, monkeypatch):
    seen = watch(monkeypatch)
    other = ["--style", files / "b.latent.safetensors"]
    source = ["--source", files / "a.latent.safetensors"]
    output_and_image(files, *source, *other, "--layer-grid", "--output-size", 40)
    (options,) = seen
    ws, pixels = ws_of(tiny_model(resolution=SIZE)), (4, 8, 16, 32, 64)
    assert options["column_labels"] == [f"to {px} px" for px in pixels]
    assert options["row_labels"] == [f"from {px} px" for px in pixels]
    for i, first in enumerate(pixels):
        for j, last in enumerate(pixels):
            image = options["images"][5 * i + j]
            if first > last:
                assert image is None
                continue
            w = mix(ws[0], ws[1], parse_layers(f"{first}-{last}px", SIZE))
            assert np.abs(np.asarray(image).astype(int) - rendered(w)).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--strength", "half"], "--strength"),
        (["--strength", "fnie=1"], "'fnie'"),
        (["--strength", "101"], "-100 to 100"),
        (["--min-identity", "60"], "--min-identity 60"),
        (["--keep-color", "-1"], "--keep-color -1"),
        (["--region", "eyes"], "'eyes'; expected face, skin, hair, background or an image"),
        (["--region", "{text}"], "text.png"),
        (["--region", "{wide}"], "got a mask of 90 x 60 px; expected a square"),
        (["--grid", "--strip"], "got --grid and --strip; expected one of them"),
        (["--source", "seed:3", "--layer-grid"], "got 2 sources and 1 styles for --layer-grid"),
    ],
)
def test_errors_are_one_line(files, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("I am no image")
    Image.new("RGB", (90, 60)).save("wide.png")
    words = [word.format(text="text.png", wide="wide.png") for word in arguments]
    result = run(files, "--source", "seed:1", "--style", "seed:2", *words)
    assert result.exit_code == 2
    assert expected in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not Path("out.png").exists()

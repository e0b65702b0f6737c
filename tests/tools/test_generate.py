"""`stylemix generate` from the command line."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from stylemix.avatars.finish import model_image
from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.color_modes import to_rgb
from stylemix.images.tensors import resize, to_pil
from stylemix.models.checkpoint import load_model
from stylemix.networks.sampling import sample_images
from stylemix.tools.generate import parse_seeds
from tests.support.models import saved, tiny_model


def test_seeds():
    assert parse_seeds("3") == [3]
    assert parse_seeds("1, 5,8-10") == [1, 5, 8, 9, 10]
    assert parse_seeds("0-3,2-4,0") == [0, 1, 2, 3, 4]
    for text in ("", "a", "5-3", "1,,2", "0-999999999"):
        with pytest.raises(StylemixError, match="got seeds"):
            parse_seeds(text)


def test_a_seed_gives_the_same_image_in_any_batch():
    generator = tiny_model().generator
    alone = sample_images(generator, [7])
    together = sample_images(generator, [1, 7, 9])
    assert np.allclose(alone[0], together[1], atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=0.05)


def test_zero_truncation_is_the_average():
    generator = tiny_model().generator
    images = sample_images(generator, [1, 2], psi=0)
    assert np.allclose(images[0], images[1], atol=1e-5)


def _values(image):
    return np.asarray(image, dtype=float)


def test_larger_faces_are_finished(tmp_path):
    """A face of 64 px is enlarged as every command does it, alone and in a grid."""
    model = load_model("faces-64")
    face = sample_images(model.generator, [3], 0.7, noise_mode="const")
    expected = model_image(face, model.template, 256)
    start = ["generate", "--seeds", "3", "--size", "256", "--no-marks", "--output"]
    for words in (["one.png"], ["sheet.png", "--grid"]):
        output = tmp_path / words[0]
        assert CliRunner().invoke(main, [*start, str(output), *words[1:]]).exit_code == 0
        with Image.open(output) as image:
            left = (image.width - 256) // 2
            inner = image.crop((left, left, left + 256, left + 256))
        assert np.abs(_values(inner) - _values(expected)).max() <= 2
    interpolated = resize(to_pil(face), (256, 256))
    assert np.abs(_values(expected) - _values(interpolated)).mean() > 1


def test_files_and_grid(tmp_path):
    saved(tiny_model(), tmp_path / "m.safetensors")
    model = str(tmp_path / "m.safetensors")
    folder, sheet = tmp_path / "out", tmp_path / "sheet.png"
    start = ["generate", "--model", model, "--seeds", "3,5-6"]
    result = CliRunner().invoke(main, [*start, "--output", str(folder), "--size", "40"])
    assert result.exit_code == 0, result.output
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["seed0003.png", "seed0005.png", "seed0006.png"]
    with Image.open(folder / "seed0003.png") as image:
        assert image.size == (40, 40)
    result = CliRunner().invoke(main, [*start, "--grid", "--output", str(sheet)])
    assert result.exit_code == 0, result.output
    with Image.open(sheet) as image:
        assert image.width > image.height / 2


def test_an_oblong_model_with_transparency(tmp_path):
    model = tiny_model(resolution=128, base=(3, 5), channels=4, template=NO_TEMPLATE)
    path = saved(model, tmp_path / "m.safetensors")

    def generated(name, *arguments):
        output = str(tmp_path / name)
        start = ["generate", "--model", path, "--seeds", "3", "--truncation", "1"]
        result = CliRunner().invoke(main, [*start, "--output", output, *arguments])
        assert result.exit_code == 0, result.output
        with Image.open(output) as image:
            return image.copy()

    native = generated("native.png")
    assert (native.mode, native.size) == ("RGBA", (160, 96))
    assert np.array_equal(
        np.asarray(native), np.asarray(to_pil(sample_images(model.generator, [3])))
    )
    assert native.getchannel("A").getextrema()[0] < 250  # not opaque
    assert generated("small.png", "--size", "80").size == (80, 48)
    flat = generated("flat.jpg")
    assert (flat.mode, flat.size) == ("RGB", (160, 96))
    on_white = np.asarray(to_rgb(native)).astype(int)
    assert np.abs(np.asarray(flat).astype(int) - on_white).mean() < 4
    sheet = generated("sheet.png", "--seeds", "3-5", "--grid", "--size", "160", "--no-marks")
    assert sheet.size == (3 * 160 + 2 * 4 + 2 * 13, 96 + 2 * 13)
    assert np.array_equal(np.asarray(sheet)[13:109, 13:173], on_white)


def test_a_conditional_model_needs_a_class(tmp_path):
    saved(tiny_model(classes=3), tmp_path / "m.safetensors")
    start = ["generate", "--model", str(tmp_path / "m.safetensors"), "--seeds", "1"]
    result = CliRunner().invoke(main, [*start, "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "--class" in result.output
    result = CliRunner().invoke(main, [*start, "--class", "2", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output


def test_a_grid_that_no_memory_holds_is_refused_before_the_work(tmp_path):
    model = saved(tiny_model(), tmp_path / "tiny.pkl")
    words = ["generate", "--model", str(model), "--grid", "--output", str(tmp_path / "a.png")]
    for more, size in (
        (["--size", "4096", "--seeds", "0-99"], 1678),
        (["--seeds", "0-99999"], 922),
    ):
        done = CliRunner().invoke(main, [*words, *more])
        assert done.exit_code == 2
        assert f"{size:,} megapixels; expected up to 100; choose fewer --seeds" in done.stderr

"""The watermark: what it survives, that nobody sees it, and that nothing else has it."""

import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from stylemix.images import watermark
from stylemix.images.watermark import FOUND, add_watermark, measure_watermark

ROOT = Path(__file__).resolve().parents[3]
PORTRAITS = ROOT / "tests" / "data" / "portraits"
RECIPE = runpy.run_path(str(ROOT / "docs" / "recipes" / "watermark_table.py"))
ATTACKS, psnr = RECIPE["ATTACKS"], RECIPE["psnr"]


def photo(size, name="obama.jpg"):
    with Image.open(PORTRAITS / name) as image:
        return ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)


def drawing(size, seed=0):
    """Flat areas of random colours with black outlines, smoothed as a drawn style is."""
    random = np.random.RandomState(seed)
    image = Image.new("RGB", (2 * size, 2 * size), tuple(random.randint(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top, width, height = random.randint(0, size, 4).tolist()
        shape = (left, top, left + width, top + height)
        draw.ellipse(shape, tuple(random.randint(0, 256, 3).tolist()), (0, 0, 0), size // 40)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def ink(size):
    """Black and white with little between."""
    tones = np.asarray(ImageOps.grayscale(photo(size)), dtype=float)
    return Image.fromarray(np.clip((tones - 70) * 2, 0, 255).astype(np.uint8)).convert("RGB")


def gradient(size):
    ramp = np.linspace(0, 255, size)
    planes = [np.tile(ramp, (size, 1)), np.tile(ramp, (size, 1)).T, np.full((size, size), 128)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def noise(size):
    values = np.random.RandomState(0).randint(0, 256, (size, size, 3))
    return Image.fromarray(values.astype(np.uint8))


SUBJECTS = {
    "photo": lambda: photo(256),
    "large photo": lambda: photo(1024, "astronaut.jpg"),
    "drawing": lambda: drawing(256),
    "large drawing": lambda: drawing(512, 1),
    "ink": lambda: ink(256),
    "noir": lambda: ImageOps.autocontrast(ImageOps.grayscale(photo(256)), cutoff=20).convert("RGB"),
    "oblong": lambda: drawing(400, 2).crop((0, 0, 400, 260)),
    "gradient": lambda: gradient(256),
    "grey": lambda: Image.new("RGB", (256, 256), (120, 120, 120)),
}


@cache
def with_mark(name):
    return add_watermark(SUBJECTS[name]())


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_it_is_found_after_an_attack(name, attack):
    score = measure_watermark([ATTACKS[attack](with_mark(name), np.random.default_rng(3))])
    assert score >= FOUND


PLAIN = {"white": (255, 255, 255), "black": (0, 0, 0), "blue": (0, 0, 255)}


@pytest.mark.parametrize("name", [*SUBJECTS, *PLAIN, "noise"])
def test_nobody_sees_it(name):
    if name in PLAIN:
        image = Image.new("RGB", (300, 260), PLAIN[name])
    else:
        image = noise(256) if name == "noise" else SUBJECTS[name]()
    marked = add_watermark(image)
    assert psnr(image, marked) >= 42
    change = np.asarray(marked).astype(int) - np.asarray(image)
    assert np.abs(change).max() <= 10
    assert np.abs(change.mean((0, 1))).max() <= 1.1  # the tint of white, which moves by a level


@pytest.mark.parametrize("name", ["photo", "drawing", "ink", "grey"])
def test_unmarked_images_and_other_keys_have_none(name):
    image = SUBJECTS[name]()
    assert measure_watermark([image]) < FOUND - 1
    marked = add_watermark(image)
    spectra = watermark.collect_spectra([marked])
    scores = [watermark.score_spectra(spectra, f"key {number}".encode()) for number in range(8)]
    assert max(scores) < FOUND - 1
    assert watermark.score_spectra(spectra) > 2 * FOUND
    other = add_watermark(image, b"another")
    assert measure_watermark([other]) < FOUND - 1
    assert measure_watermark([other], b"another") > 2 * FOUND


def test_a_plain_image_has_no_score():
    assert measure_watermark([Image.new("RGB", (300, 200), (9, 9, 9))]) == 0


def test_it_is_the_same_each_time_and_in_all_versions():
    image = SUBJECTS["photo"]()
    assert np.array_equal(np.asarray(add_watermark(image)), np.asarray(add_watermark(image)))
    pattern = watermark._pattern(watermark.KEY)
    assert (pattern.shape, round(float(pattern.std()), 5)) == ((256, 256), 1)
    golden = [1.30474, 0.32939, -1.61552, -0.56575, -0.8232, -1.10887]
    assert pattern[:2, :3].ravel().tolist() == pytest.approx(golden, abs=1e-4)


def test_images_under_256_px_are_left_alone():
    image = photo(255)
    assert add_watermark(image) is image


def test_other_modes_are_marked_in_their_colors_only():
    grey = ImageOps.grayscale(photo(256))
    assert add_watermark(grey).mode == "L"
    assert measure_watermark([add_watermark(grey)]) > 2 * FOUND
    clear = photo(256).convert("RGBA")
    clear.putalpha(grey)
    marked = add_watermark(clear)
    assert marked.mode == "RGBA"
    assert marked.getchannel("A").tobytes() == grey.tobytes()
    change = np.asarray(marked)[..., :3].astype(int) - np.asarray(clear)[..., :3]
    middle = (np.asarray(clear)[..., :3] > 9) & (np.asarray(clear)[..., :3] < 246)
    same = middle.all(-1)
    assert (change[same] == change[same][:, :1]).all()
    both = add_watermark(Image.merge("LA", (grey, grey)))
    assert both.getchannel("L").tobytes() == add_watermark(grey).tobytes()


def test_a_large_photo_still_has_it_as_a_thumbnail():
    image = photo(512, "astronaut.jpg").resize((2600, 2000), Image.Resampling.BICUBIC)
    marked = add_watermark(image)
    assert psnr(image, marked) >= 42
    small = marked.resize((512, 394), Image.Resampling.LANCZOS)
    assert measure_watermark([small]) > FOUND + 1
    assert measure_watermark([RECIPE["jpeg"](small)]) > FOUND + 1


def test_frames_of_a_video_add_up():
    random = np.random.RandomState(1)
    frames = []
    for seed in range(4):
        marked = np.asarray(add_watermark(drawing(256, seed))).astype(float)
        spoilt = np.clip(marked + random.normal(0, 12, marked.shape), 0, 255).astype(np.uint8)
        frames.append(Image.fromarray(spoilt))
    alone = [measure_watermark([frame]) for frame in frames]
    assert measure_watermark(frames) > 1.3 * max(alone)
    plain = [drawing(256, seed) for seed in range(4)]
    assert measure_watermark(plain) < FOUND - 1

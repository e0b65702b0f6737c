"""Students learn a drawn style from drawings of other people."""

from dataclasses import replace

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.images.hands import PLAIN, draw_photo
from stylemix.networks.student import Student, StudentConfig, tone_curve
from stylemix.styles.style import load_style
from stylemix.training.adapt.distill import DistillSettings
from stylemix.training.adapt.unpaired import (
    START,
    PatchCritics,
    UnpairedSettings,
    UnpairedTraining,
    _tint,
    learn_unpaired,
)

CONFIG = StudentConfig((8, 12))
SHORT = UnpairedSettings(steps=8, batch=2, crop=64, state_steps=4)


@pytest.fixture(scope="module")
def faces():
    """Coloured blobs, [N, 3, 256, 256], and others as striped drawings, twice as large."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand([10, 3, 6, 6], generator=rng)
    large = torch.nn.functional.interpolate(coarse, [512, 512], mode="bicubic").clamp(0, 1)
    photos = torch.nn.functional.interpolate(large[:6], [256, 256], mode="area")
    stripes = (torch.arange(512) // 4 % 2).view(1, 1, 512, 1)
    drawings = large[6:].mean(dim=1, keepdim=True) * torch.tensor([1.0, 0.6, 0.3]).view(3, 1, 1)
    return (photos * 255).byte(), (drawings * (0.5 + 0.5 * stripes) * 255).byte()


@pytest.fixture(scope="module")
def start():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Student(CONFIG)


def equal(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.slow
def test_stopped_and_continued_is_bitwise_the_same(faces, start, tmp_path):
    straight = learn_unpaired(*faces, SHORT, start)
    state = tmp_path / "student.state"

    def stop(done, _total, _loss):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_unpaired(*faces, SHORT, start, state, progress=stop)
    torch.manual_seed(99)  # its random numbers are its own
    seen = []
    again = learn_unpaired(*faces, SHORT, start, state, progress=lambda *p: seen.append(p[0]))
    assert seen == [5, 6, 7, 8]
    assert equal(again, straight)
    for other in (replace(SHORT, lr=0.1), replace(SHORT, steps=9)):
        with pytest.raises(StylemixError, match=r"other images, settings or base; .* delete it"):
            learn_unpaired(*faces, other, start, state)


def test_a_stop_costs_a_tenth_of_the_training_at_most():
    assert UnpairedSettings().state_steps * 10 <= UnpairedSettings().steps
    assert DistillSettings().state_kimg * 10 <= DistillSettings().kimg


@pytest.mark.slow
def test_the_seed_decides(faces, start):
    short = replace(SHORT, steps=2)
    students = [learn_unpaired(*faces, replace(short, seed=seed), start) for seed in (0, 0, 1)]
    assert equal(students[0], students[1])
    assert not equal(students[0], students[2])


def test_nothing_to_learn_from_is_refused(faces):
    with pytest.raises(StylemixError, match="got 6 photos and 0 drawings; expected some of both"):
        learn_unpaired(faces[0], faces[1][:0], SHORT)


def test_parts_show_the_same_place(start):
    """Photos and drawings with one ramp: their parts agree up to the jitter."""
    ramp = torch.linspace(0, 255, 256).byte()
    photos = ramp.view(1, 1, 1, 256).expand(2, 3, 256, 256)
    drawings = ramp.repeat_interleave(2).view(1, 1, 1, 512).expand(2, 3, 512, 512)
    settings = replace(SHORT, light=0, rough=0, tinted=0)
    work = UnpairedTraining(photos, drawings, settings, start)
    even = work._even(photos.float() / 127.5 - 1)
    values = even[0, 0, 0]
    for seed in range(8):
        torch.manual_seed(seed)
        photo, drawing = work.batch()
        assert photo.shape[2:] == (64, 64)
        assert drawing.shape[2:] == (128, 128)
        left = float(photo[0, 0, 0, 0])
        column = int((values - left).abs().argmin())
        drawn = round((float(drawing[0, 0, 0, 0]) + 1) * 127.5)
        mirrored = photo[0, 0, 0, 0] > photo[0, 0, 0, -1]
        assert abs(drawn - column) <= settings.jitter / 2 + 2
        assert mirrored == (drawing[0, 0, 0, 0] > drawing[0, 0, 0, -1])


def test_tinted_photos_keep_their_lightness():
    photos = torch.rand([4, 3, 8, 8], generator=torch.Generator().manual_seed(1)) * 0.4 - 0.2
    torch.manual_seed(0)
    tinted = _tint(photos, 1.0)
    grey = photos.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1)
    torch.testing.assert_close(_tint(grey, 1.0), grey, atol=0.005, rtol=0)
    torch.testing.assert_close(_tint(photos, 0.0), photos, atol=0.002, rtol=0)
    assert float((tinted - photos).abs().mean()) > 0.03
    assert float((tinted.mean(dim=1) - photos.mean(dim=1)).abs().mean()) < 0.1


def test_critics_judge_patches_wherever_they_are():
    torch.manual_seed(0)
    critics = PatchCritics().eval()
    images = torch.rand([1, 3, 256, 256]) * 2 - 1
    here, there = critics(images[:, :, :, :224]), critics(images[:, :, :, 32:])
    for number, stride in ((0, 2), (1, 4), (4, 8)):  # the others see too much for this size
        one, other = here[number], there[number]
        shift, edge = 32 // stride, 64 // stride
        ours = one[..., shift + edge : one.shape[3] - edge]
        theirs = other[..., edge : other.shape[3] - shift - edge]
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert [score.shape[2] for score in here] == [128, 64, 32, 16, 32]


@pytest.mark.slow
def test_stripes_and_colors_are_learned_without_pairs(faces):
    photos, drawings = faces
    settings = UnpairedSettings(steps=60, batch=2, crop=64, light=0, rough=0, tinted=0)
    student = learn_unpaired(photos, drawings, settings, load_style(START).student)
    with torch.inference_mode():
        images = photos.float() / 127.5 - 1
        drawn = draw_photo(PLAIN, student.draw, images, tone_curve(images))
    red, green, blue = ((drawn[:, i] + 1) / 2 for i in range(3))
    assert float((red - green).mean()) > 0.1  # the drawings are brown
    assert float((green - blue).mean()) > 0.04

    def stripes(images):  # rows differ from those 4 px away more than columns do
        down = (images[:, :, 4:] - images[:, :, :-4]).abs().mean()
        across = (images[:, :, :, 4:] - images[:, :, :, :-4]).abs().mean()
        return float(down / across)

    assert stripes(drawn) > 1.5 * stripes(photos.float())

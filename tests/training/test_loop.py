"""The loop: its files, EMA, augmentation and guard, and that it learns."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.models.checkpoint import load_model
from stylemix.training import guard
from stylemix.training.config import TrainConfig
from stylemix.training.data.dataset import ImageDataset
from stylemix.training.guard import adapt_augment, augment_warning, what_went_wrong
from stylemix.training.phases import Step
from stylemix.training.state import TrainState, update_ema
from tests.support.toy_runs import last_state, lines, run

CPU = torch.device("cpu")
ALWAYS = {
    "Progress/kimg", "Progress/augment", "Progress/lr", "Progress/rollbacks", "Progress/diversity",
    "Timing/total_sec", "Timing/sec_per_kimg", "Resources/cpu_mem_gb",
    "Loss/G/loss", "Loss/D/loss", "Loss/scores/fake", "Loss/scores/real", "Loss/signs/real",
}  # fmt: skip


@pytest.mark.slow
def test_files_of_a_run(tiny, straight):
    names = sorted(path.name for path in straight.iterdir())
    assert names == [
        ".lock", "fakes-000000.png", "reals.png", "snapshot-000000.safetensors",
        "state-000000000048.safetensors", "state-000000000064.safetensors",
        "stats.jsonl", "training_options.json",
    ]  # fmt: skip
    options = json.loads((straight / "training_options.json").read_text())
    fingerprint = options.pop("fingerprint")
    assert len(fingerprint) == 16
    assert options == vars(tiny.resolve()) | {"data": f"dataset {fingerprint}"}
    with Image.open(straight / "reals.png") as picture:
        assert picture.width > 8 * 64


@pytest.mark.slow
def test_statistics(straight):
    for line in lines(straight):
        assert set(line) == ALWAYS | {"Loss/pl_penalty", "Loss/r1_penalty"}
        assert all(np.isfinite(value) for value in line.values())
        assert -1 <= line["Loss/signs/real"] <= 1
        assert line["Timing/sec_per_kimg"] > 0


def test_the_snapshot_is_the_average(tiny, straight):
    model = load_model(straight / "snapshot-000000.safetensors")
    state = last_state(straight)
    assert model.discriminator is not None
    assert model.generator.config == tiny.resolve().generator()
    for name, value in model.generator.state_dict().items():
        assert torch.allclose(value, state[f"G_ema.{name}"], rtol=2e-3, atol=1e-5), name
    assert model.card["kimg"] == 0.064
    assert model.card["seed"] == 0


def test_a_finished_run_does_nothing(tiny, dataset, straight, monkeypatch):
    monkeypatch.setattr(Step, "__call__", None)
    before = {path.name: path.read_bytes() for path in straight.iterdir()}
    outcome = run(tiny, dataset, straight)
    assert outcome.snapshot == straight / "snapshot-000000.safetensors"
    assert outcome.kimg == 0.064
    assert {path.name: path.read_bytes() for path in straight.iterdir()} == before


@pytest.mark.slow
def test_snapshots_come_at_their_kimg(tiny, dataset, tmp_path):
    config = replace(tiny, kimg=3.2, batch=64, snapshot_kimg=1, tick_kimg=10, path_length_weight=0)
    run(config, dataset, tmp_path)
    names = [path.name for path in sorted(tmp_path.glob("snapshot-*"))]
    assert names == [f"snapshot-00000{i}.safetensors" for i in (1, 2, 3, "3_200")]
    kimgs = [load_model(tmp_path / name).card["kimg"] for name in names]
    assert kimgs == [1.024, 2.048, 3.072, 3.2]


@pytest.mark.parametrize(
    ("ema_kimg", "rampup", "cur_nimg", "half_life"),
    [
        (1.0, 0, 10, 1000), (1.0, 0.05, 10_000, 500), (1.0, 0.05, 100_000, 1000),
        ("0:1,10:3", 0, 5000, 2000),
    ],
)  # fmt: skip
def test_ema(tiny, ema_kimg, rampup, cur_nimg, half_life):
    config = replace(tiny, batch=250, ema_kimg=ema_kimg, ema_rampup=rampup).resolve()
    state = TrainState.create(config, 0, CPU)
    state.counters.cur_nimg = cur_nimg
    with torch.no_grad():
        for value in state.generator.state_dict().values():
            value.fill_(1)
        for value in state.generator_ema.state_dict().values():
            value.fill_(0)
    update_ema(state, config)
    update_ema(state, config)
    parameters = dict(state.generator_ema.named_parameters())
    for name, value in state.generator_ema.state_dict().items():
        expected = 1 - 0.5 ** (500 / half_life) if name in parameters else 1.0
        assert torch.allclose(value, torch.tensor(expected)), name


def test_noise_that_changes_its_sign_is_not_averaged_away(tiny):
    config = replace(tiny, batch=250, ema_kimg=1.0, ema_rampup=0).resolve()
    state = TrainState.create(config, 0, CPU)
    networks = (state.generator, state.generator_ema)
    ours, averaged = (network.synthesis.b8.conv0.noise_strength for network in networks)
    averaged.data.fill_(0.1)
    for sign in (1, -1, 1, -1):
        ours.data.fill_(0.1 * sign)
        update_ema(state, config)
        assert float(averaged) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("mean", "p", "expected"),
    [
        (0.9, 0.5, 0.5 + 0.032),  # 16 images of 500: overfitting, so p grows
        (0.1, 0.5, 0.5 - 0.032),
        (0.6, 0.5, 0.5),
        (-1.0, 0.01, 0.0),
        (1.0, 0.99, 1.0),
    ],
)
def test_adaptive_augmentation(tiny, mean, p, expected):
    state = TrainState.create(tiny.resolve(), 0, CPU)
    state.counters.augment_p = p
    state.sign_sum.fill_(mean * 10)
    state.sign_count.fill_(10)
    assert adapt_augment(state, 0.6, 0.5, 16) == p
    assert state.counters.augment_p == pytest.approx(expected)
    assert (state.sign_sum.item(), state.sign_count.item()) == (0, 0)


def test_p_near_its_limit_is_reported_once():
    assert "p reached 0.81" in augment_warning(0.79, 0.81)
    assert augment_warning(0.81, 0.83) == augment_warning(0.5, 0.6) == augment_warning(0.83, 0.79)
    assert augment_warning(0.81, 0.83) == ""


@pytest.mark.slow
def test_only_ada_moves_p(tiny, dataset, tmp_path):
    for augment, p in (("fixed", 0.25), ("none", 0.0)):
        config = replace(tiny, kimg=0.02, augment=augment, augment_p=0.25)
        run(config, dataset, tmp_path / augment)
        assert {line["Progress/augment"] for line in lines(tmp_path / augment)} == {p}
    config = replace(tiny, augment="fixed", augment_p="0:0,.064:.64")
    run(config, dataset, tmp_path / "rising")
    rising = [line["Progress/augment"] for line in lines(tmp_path / "rising")]
    assert rising == pytest.approx([0.12, 0.28, 0.44, 0.6])


def test_collapse_is_detected_after_healthy_diversity(tiny):
    state = TrainState.create(tiny.resolve(), 0, CPU)
    for nimg, diversity, wrong in (
        (1000, 0.9, False), (2000, 0.01, False),  # before images mean anything
        (30_000, 0.05, False),  # never was good
        (40_000, 0.7, False), (50_000, 0.2, False), (60_000, 0.05, True),
    ):  # fmt: skip
        state.counters.cur_nimg = nimg
        state.diversity.fill_(diversity)
        assert bool(what_went_wrong(state, 0)) == wrong, nimg
    assert "fell from 0.70 to 0.05 of that of the reals" in what_went_wrong(state, 0)
    assert what_went_wrong(state, 3) == "3 losses were not finite"


def _poison(monkeypatch, times):
    """Makes a weight of the discriminator NaN at step 10, the first `times` times."""
    whole, done = Step.__call__, []

    def poisoned(self, draws, batches):
        if draws.cur_nimg == 40 and len(done) < times:
            done.append(None)
            with torch.no_grad():
                self.state.discriminator.b4.fc.weight[0, 0] = float("nan")
        whole(self, draws, batches)

    monkeypatch.setattr(Step, "__call__", poisoned)


@pytest.mark.slow
def test_losses_that_are_not_finite_roll_back_the_run(tiny, dataset, tmp_path, monkeypatch, capsys):
    _poison(monkeypatch, 2)
    run(tiny, dataset, tmp_path)
    assert all(value.isfinite().all() for value in last_state(tmp_path).values())
    stats = lines(tmp_path)
    assert [line["Progress/kimg"] for line in stats] == [0.016, 0.032, 0.048, 0.064]
    assert [line["Progress/rollbacks"] for line in stats] == [0, 0, 2, 2]
    full = 0.0025
    assert [line["Progress/lr"] for line in stats] == [full, full, full / 4, full / 4]
    said = capsys.readouterr().err
    assert "losses were not finite at 0.0 kimg: rolled back to here; the learning rate is" in said
    assert "the learning rate is scaled by 0.5" in said


@pytest.mark.slow
def test_a_rollback_does_not_undo_the_best_snapshot(tiny, dataset, tmp_path, monkeypatch):
    """A state is written with each, so that a worse one does not replace it afterwards."""
    values = iter([5.0, 3.0, 4.0, 4.5])
    monkeypatch.setattr(
        "stylemix.training.loop.Evaluation.of", lambda *_: lambda *_: {"FD": next(values)}
    )
    _poison(monkeypatch, 1)
    run(replace(tiny, state_minutes=60, snapshot_kimg=0.016, metrics="fd"), dataset, tmp_path)
    assert [line["FD"] for line in lines(tmp_path, "metrics.jsonl")] == [5, 3, 4, 4.5]
    assert lines(tmp_path)[-1]["Progress/rollbacks"] == 1
    assert load_model(tmp_path / "best.safetensors").card["kimg"] == 0.032


@pytest.mark.slow
def test_a_run_that_cannot_be_saved_gives_up(tiny, dataset, tmp_path, monkeypatch):
    _poison(monkeypatch, 99)
    with pytest.raises(
        StylemixError, match="after 2 attempts with lower learning rates; try a higher"
    ):
        run(replace(tiny, rollbacks=2), dataset, tmp_path)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision(precision, tiny, dataset, tmp_path):
    config = replace(tiny, kimg=0.008, precision=precision)
    assert config.resolve().conv_clamp == 256
    run(config, dataset, tmp_path)
    state = last_state(tmp_path)
    assert all(value.isfinite().all() for value in state.values())
    assert state["G.synthesis.b8.conv0.weight"].dtype == torch.float32


@pytest.fixture
def labelled(pictures, tmp_path):
    """The same images in two classes."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    pairs = [[path.name, int(path.stem) % 2] for path in sorted(folder.iterdir())]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    return ImageDataset(folder, 8, use_labels=True)


def test_conditional(tiny, labelled, tmp_path):
    config = replace(tiny, kimg=0.02, conditional=True)
    model = load_model(run(config, labelled, tmp_path / "run").snapshot)
    G, D = model.generator, model.discriminator
    assert (G.c_dim, D.c_dim) == (2, 2)
    c = torch.eye(2)
    image = labelled.batch([0, 0])[0] / 127.5 - 1
    scores = D(image, c)
    assert scores[0] != scores[1]
    ws = G.mapping(torch.zeros([2, 8]) + 0.5, c)
    assert not torch.equal(ws[0], ws[1])
    fresh = TrainState.create(config.resolve(), 2, CPU).discriminator.state_dict()
    trained = D.state_dict()["mapping.embed.weight"]
    assert (trained - fresh["mapping.embed.weight"]).abs().max() > 1e-3  # labels reach D


@pytest.mark.parametrize(("size", "channels"), [("12x24", 3), ("16x8", 1), ("8x8", 4)])
def test_other_shapes(size, channels, tiny, pictures, tmp_path):
    config = replace(tiny, kimg=0.008, resolution=size, channels=channels, path_length_weight=0)
    data = ImageDataset(pictures, config.size, channels=channels)
    model = load_model(run(config, data, tmp_path).snapshot)
    image = model.generator(torch.zeros([1, 8]) + 1)
    width, height = map(int, size.split("x"))
    assert image.shape == (1, channels, height, width)


def test_two_images_at_the_least(tiny, pictures, tmp_path):
    with pytest.raises(StylemixError, match="got 1 images; expected at least 2"):
        run(tiny, ImageDataset(pictures / "1.png", 8), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["logistic", "relativistic"])
def test_it_learns_two_colors(loss, tmp_path):
    colors = torch.tensor([[200.0, 40, 60], [40.0, 90, 220]])
    (tmp_path / "data").mkdir()
    for i, color in enumerate(colors.tolist()):
        Image.new("RGB", (16, 16), tuple(map(int, color))).save(tmp_path / "data" / f"{i}.png")
    config = TrainConfig(
        resolution=4, kimg=4, batch=16, z_dim=8, w_dim=8, channel_base=64, channel_max=16,
        precision="fp32", lr=0.005, r1_gamma=2, augment="none", path_length_weight=0, seed=1,
        d_reg_interval=4, tick_kimg=100, ema_kimg=1, ema_rampup=0, loss=loss,
    )  # fmt: skip
    outcome = run(config, ImageDataset(tmp_path / "data", 4), tmp_path)
    generator = load_model(outcome.snapshot).generator
    torch.manual_seed(0)
    images = generator(torch.randn([64, 8]), noise_mode="const")
    got = (images * 127.5 + 127.5).mean(dim=[2, 3])
    distances = torch.cdist(got, colors)
    which = distances.argmin(dim=1)
    # Grey, where it starts, is 100 away from both, and one colour alone would be no mixture.
    assert distances.min(dim=1).values.mean() < 75
    assert 0.1 < which.float().mean() < 0.9


def test_the_guard_thresholds_match_the_page():
    assert (guard.P_WARNING, guard.FROM_NIMG, guard.COLLAPSED, guard.HEALTHY) == (
        0.8, 20_000, 0.08, 0.3,
    )  # fmt: skip

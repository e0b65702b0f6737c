"""The loop: its parts against closed forms, resuming bitwise, and that it learns."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stylemix.checkpoint import load_model
from stylemix.dataset import ImageDataset
from stylemix.errors import StylemixError
from stylemix.training import loop
from stylemix.training.loop import Step, adapt_augment, train, update_ema
from stylemix.training.state import TrainState

CPU = torch.device("cpu")
ALWAYS = {
    "Progress/kimg", "Progress/augment", "Timing/total_sec", "Loss/G/loss", "Loss/D/loss",
    "Loss/scores/fake", "Loss/scores/real", "Loss/signs/real",
}  # fmt: skip


def _run(config, dataset, folder):
    return train(config, dataset, folder, CPU, progress=False)


def _lines(folder):
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def straight(tiny, dataset, tmp_path_factory):
    """The folder of a run of 64 images without a stop."""
    folder = tmp_path_factory.mktemp("straight")
    _run(tiny, dataset, folder)
    return folder


def _assert_same(folder, other):
    a, b = (load_file(path / "state.safetensors") for path in (folder, other))
    assert set(a) == set(b)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert (folder / "fakes-000000.png").read_bytes() == (other / "fakes-000000.png").read_bytes()


def test_two_runs_are_bitwise_equal(tiny, dataset, straight, tmp_path):
    _run(tiny, dataset, tmp_path)
    _assert_same(straight, tmp_path)


def test_a_resumed_run_is_bitwise_equal(tiny, dataset, straight, tmp_path):
    for kimg in (0.02, 0.04, 0.064):  # stops between adjustments of p and between penalties
        _run(replace(tiny, kimg=kimg), dataset, tmp_path)
    _assert_same(straight, tmp_path)
    assert [line["Progress/kimg"] for line in _lines(straight)] == [0.016, 0.032, 0.048, 0.064]
    kimgs = [line["Progress/kimg"] for line in _lines(tmp_path)]
    assert kimgs == [0.016, 0.02, 0.032, 0.04, 0.048, 0.064]
    assert 0 < _lines(tmp_path)[-1]["Progress/augment"] <= 1


def test_a_crash_costs_no_more_than_the_steps_since_the_state(
    tiny, dataset, straight, tmp_path, monkeypatch
):
    calls, whole = [], Step.__call__

    def crash(self, *args):
        calls.append(None)
        if len(calls) == 12:
            raise KeyboardInterrupt
        whole(self, *args)

    monkeypatch.setattr(Step, "__call__", crash)
    with pytest.raises(KeyboardInterrupt):
        _run(tiny, dataset, tmp_path)
    with (tmp_path / "stats.jsonl").open("a") as file:  # as if a line had been on its way
        file.write('{"Progress/kimg": 0.048, "Loss')
    _run(tiny, dataset, tmp_path)
    assert len(calls) == 12 + 8  # the state was of step 8 of 16
    _assert_same(straight, tmp_path)
    assert [line["Progress/kimg"] for line in _lines(tmp_path)] == [0.016, 0.032, 0.048, 0.064]


def test_what_a_run_writes(tiny, straight):
    names = sorted(path.name for path in straight.iterdir())
    assert names == [
        "fakes-000000.png", "reals.png", "snapshot-000000.safetensors", "state.safetensors",
        "stats.jsonl", "training_options.json",
    ]  # fmt: skip
    options = json.loads((straight / "training_options.json").read_text())
    assert options == vars(tiny) | {"data": ""}
    with Image.open(straight / "reals.png") as picture:
        assert picture.width > 8 * 64


def test_statistics(straight):
    for line in _lines(straight):
        assert set(line) == ALWAYS | {"Loss/pl_penalty", "Loss/r1_penalty"}
        assert all(np.isfinite(value) for value in line.values())
        assert -1 <= line["Loss/signs/real"] <= 1


def test_the_snapshot_is_the_average(tiny, straight):
    model = load_model(straight / "snapshot-000000.safetensors")
    state = load_file(straight / "state.safetensors")
    assert model.discriminator is not None
    assert model.generator.config == tiny.generator()
    for name, value in model.generator.state_dict().items():
        assert torch.allclose(value, state[f"G_ema.{name}"], rtol=2e-3, atol=1e-5), name
    assert model.card["kimg"] == 0.064
    assert model.card["seed"] == 0


def test_a_finished_run_only_writes_its_snapshot_again(tiny, dataset, straight, monkeypatch):
    monkeypatch.setattr(Step, "__call__", None)
    before = (straight / "state.safetensors").read_bytes()
    assert _run(tiny, dataset, straight) == straight / "snapshot-000000.safetensors"
    assert (straight / "state.safetensors").read_bytes() == before


def test_phases_come_at_their_intervals(tiny, dataset, tmp_path, monkeypatch):
    calls = []
    for phase in ("g_main", "g_reg", "d_main", "d_reg"):
        part = getattr(Step, phase)

        def call(self, *args, part=part, phase=phase):
            calls.append((self.state.cur_nimg // 4, phase))
            part(self, *args)

        monkeypatch.setattr(Step, phase, call)
    _run(replace(tiny, kimg=0.028), dataset, tmp_path)
    assert [i for i, phase in calls if phase == "g_main"] == list(range(7))
    assert [i for i, phase in calls if phase == "g_reg"] == [0, 2, 4, 6]
    assert [i for i, phase in calls if phase == "d_reg"] == [0, 3, 6]
    assert [phase for i, phase in calls if i == 6] == ["g_main", "g_reg", "d_main", "d_reg"]
    calls.clear()
    off = replace(tiny, kimg=0.008, path_length_weight=0, d_reg_interval=0)
    _run(off, dataset, tmp_path / "off")
    assert [phase for _, phase in calls] == ["g_main", "d_main"] * 2


def _snapshot(network):
    return {name: value.clone() for name, value in network.named_parameters()}


def _changed(network, before):
    return any(not torch.equal(value, before[name]) for name, value in network.named_parameters())


def test_each_phase_moves_its_own_network(tiny, dataset):
    state = TrainState.create(tiny, 0, CPU)
    step, reals = Step(state, tiny, {}), dataset.batch(range(4))[0] / 127.5 - 1
    for phase, moves in (("g_main", "G"), ("g_reg", "G"), ("d_main", "D"), ("d_reg", "D")):
        state.discriminator.requires_grad_(moves == "D")
        G, D = _snapshot(state.generator), _snapshot(state.discriminator)
        arguments = {"d_main": (reals, None, None), "d_reg": (reals, None)}
        getattr(step, phase)(*arguments.get(phase, (4, None)))
        assert _changed(state.generator, G) == (moves == "G"), phase
        assert _changed(state.discriminator, D) == (moves == "D"), phase


def test_w_avg_follows_the_mean(tiny):
    state = TrainState.create(tiny, 0, CPU)
    mapping = state.generator.mapping
    z = torch.randn([4, 8])
    ws = Step(state, replace(tiny, style_mixing=0), {})._mapped(z, None)
    assert torch.equal(ws, mapping(z))
    torch.testing.assert_close(mapping.w_avg, 0.005 * ws[:, 0].mean(dim=0).detach())


def test_style_mixing(tiny):
    state = TrainState.create(tiny, 0, CPU)
    step, z, cutoffs = Step(state, replace(tiny, style_mixing=1), {}), torch.randn([4, 8]), set()
    plain = state.generator.mapping(z)
    for _ in range(30):
        same = step._mapped(z, None).eq(plain).all(dim=2)
        assert torch.equal(same[0], same[1])  # one cut for the whole batch
        count = int(same[0].sum())
        assert same[0].tolist() == [True] * count + [False] * (4 - count)
        cutoffs.add(count)
    assert cutoffs == {1, 2, 3}


@pytest.mark.parametrize(
    ("ema_kimg", "rampup", "cur_nimg", "half_life"),
    [(1.0, 0, 10, 1000), (1.0, 0.05, 10_000, 500), (1.0, 0.05, 100_000, 1000)],
)
def test_ema(tiny, ema_kimg, rampup, cur_nimg, half_life):
    config = replace(tiny, ema_kimg=ema_kimg, ema_rampup=rampup)
    state = TrainState.create(config, 0, CPU)
    state.cur_nimg = cur_nimg
    with torch.no_grad():
        for value in state.generator.state_dict().values():
            value.fill_(1)
        for value in state.generator_ema.state_dict().values():
            value.fill_(0)
    update_ema(state, config, 250)
    update_ema(state, config, 250)
    parameters = dict(state.generator_ema.named_parameters())
    for name, value in state.generator_ema.state_dict().items():
        expected = 1 - 0.5 ** (500 / half_life) if name in parameters else 1.0
        assert torch.allclose(value, torch.tensor(expected)), name


def test_ema_starts_as_a_copy(tiny):
    config = replace(tiny, ema_kimg=10, ema_rampup=0.05)
    state = TrainState.create(config, 0, CPU)
    for value in state.generator_ema.state_dict().values():
        value.fill_(7)
    state.cur_nimg = 4
    update_ema(state, config, 4)  # 20 half-lives at once
    weight = state.generator.synthesis.b8.conv0.weight
    assert (state.generator_ema.synthesis.b8.conv0.weight - weight).abs().max() < 2e-5


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
    config = replace(tiny, ada_target=0.6, ada_kimg=0.5)
    state = TrainState.create(config, 0, CPU)
    state.augment_p = p
    state.sign_sum.fill_(mean * 10)
    state.sign_count.fill_(10)
    adapt_augment(state, config, 16)
    assert state.augment_p == pytest.approx(expected)
    assert (state.sign_sum.item(), state.sign_count.item()) == (0, 0)


def test_only_ada_moves_p(tiny, dataset, tmp_path):
    for augment, p in (("fixed", 0.25), ("none", 0.0)):
        config = replace(tiny, kimg=0.02, augment=augment, augment_p=0.25)
        _run(config, dataset, tmp_path / augment)
        assert {line["Progress/augment"] for line in _lines(tmp_path / augment)} == {p}


def test_gradients_that_are_no_numbers_do_no_harm():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimizer = torch.optim.SGD([weight], lr=1e-5)
    factor = torch.tensor([float("nan"), float("inf"), 1e5])
    loop._update(optimizer, (weight * factor).sum())
    assert weight.tolist() == pytest.approx([1.0, 1.0, 2.0])


def test_bf16(tiny, dataset, tmp_path):
    _run(replace(tiny, kimg=0.008, precision="bf16"), dataset, tmp_path)
    state = load_file(tmp_path / "state.safetensors")
    assert all(value.isfinite().all() for value in state.values())
    assert state["G.synthesis.b8.conv0.weight"].dtype == torch.float32


@pytest.fixture
def labelled(pictures, tmp_path):
    """The same pictures in two classes."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    pairs = [[path.name, int(path.stem) % 2] for path in sorted(folder.iterdir())]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    return ImageDataset(folder, 8, use_labels=True)


def test_conditional(tiny, labelled, tmp_path):
    config = replace(tiny, kimg=0.02, conditional=True)
    model = load_model(_run(config, labelled, tmp_path / "run"))
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


def test_two_images_at_the_least(tiny, pictures, tmp_path):
    with pytest.raises(StylemixError, match="got 1 images; expected at least 2"):
        _run(tiny, ImageDataset(pictures / "1.png", 8), tmp_path)


def test_it_learns_two_colours(tiny, tmp_path):
    colours = torch.tensor([[200.0, 40, 60], [40.0, 90, 220]])
    (tmp_path / "data").mkdir()
    for i, colour in enumerate(colours.tolist()):
        Image.new("RGB", (16, 16), tuple(map(int, colour))).save(tmp_path / "data" / f"{i}.png")
    config = replace(
        tiny, resolution=4, kimg=6.4, batch=16, lr=0.005, r1_gamma=1, augment="none",
        path_length_weight=0, d_reg_interval=4, state_kimg=100, ema_kimg=0.3,
    )  # fmt: skip
    generator = load_model(_run(config, ImageDataset(tmp_path / "data", 4), tmp_path)).generator
    torch.manual_seed(0)
    images = generator(torch.randn([64, 8]), noise_mode="const")
    got = (images * 127.5 + 127.5).mean(dim=[2, 3])
    distances = torch.cdist(got, colours)
    which = distances.argmin(dim=1)
    assert (got.mean(dim=0) - colours.mean(dim=0)).abs().max() < 35
    assert distances.min(dim=1).values.mean() < 70  # grey, where it starts, is 130 away
    assert 0.1 < which.float().mean() < 0.9

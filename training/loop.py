"""The training loop: four phases a step, everything derived from (seed, images seen)."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from stylemix.alignment import NO_TEMPLATE, Template
from stylemix.augment import PIPES
from stylemix.dataset import ImageDataset, indices_at
from stylemix.errors import StylemixError
from stylemix.files import write_json
from stylemix.losses import (
    d_logistic,
    g_logistic,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from stylemix.training import log
from stylemix.training.config import TrainConfig
from stylemix.training.state import TrainState

ADA_INTERVAL = 4  # steps between adjustments of the augmentation probability
PATH_LENGTH_SHRINK = 2  # part of the batch that the path length is measured on


class Step:
    """One step on one batch: the phases Gmain, Greg, Dmain and Dreg of the paper."""

    def __init__(self, state: TrainState, config: TrainConfig, stats: log.Stats) -> None:
        self.state, self.config, self.stats = state, config, stats
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self.pipe = replace(PIPES[config.augment_pipe], sharp=config.augment_filter == "sym6")

    def _mapped(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Maps z to ws with style mixing: the rest of the layers from a second latent."""
        mapping = self.state.generator.mapping
        ws: Tensor = mapping(z, c)
        mapping.w_avg.lerp_(ws[:, 0].detach().mean(dim=0), 1 - 0.995)
        if torch.rand([]) < self.config.style_mixing:
            cutoff = int(torch.randint(1, ws.shape[1], []))
            other = mapping(torch.randn_like(z), c)
            ws = torch.cat([ws[:, :cutoff], other[:, cutoff:]], dim=1)
        return ws

    def _noise(self, count: int) -> Tensor:
        return torch.randn([count, self.config.z_dim]).to(self.state.sign_sum.device)

    def _score(self, images: Tensor, c: Tensor | None, dtype: torch.dtype) -> Tensor:
        images = self.pipe(images, self.state.augment_p)
        return self.state.discriminator(images, c, dtype=dtype).float()  # type: ignore[no-any-return]

    def g_main(self, count: int, c: Tensor | None) -> None:
        """The generator against the discriminator."""
        ws = self._mapped(self._noise(count), c)
        fakes = self.state.generator.synthesis(ws, noise_mode=self.config.noise, dtype=self.dtype)
        logits = self._score(fakes, c, self.dtype)
        loss = g_logistic(logits)
        log.add(self.stats, "Loss/G/loss", loss)
        log.add(self.stats, "Loss/scores/fake", logits)
        _update(self.state.g_optimizer, loss)

    def g_reg(self, count: int, c: Tensor | None) -> None:
        """Path length regularisation, in float32 since it differentiates a gradient."""
        half = max(count // PATH_LENGTH_SHRINK, 1)
        ws = self._mapped(self._noise(half), None if c is None else c[:half])
        images = self.state.generator.synthesis(ws, noise_mode=self.config.noise)
        lengths = path_lengths(images, ws)
        penalty, mean = path_length_penalty(lengths, self.state.path_length_mean)
        self.state.path_length_mean.copy_(mean)
        log.add(self.stats, "Loss/pl_penalty", penalty)
        weight = self.config.path_length_weight * self.config.g_reg_interval
        _update(self.state.g_optimizer, penalty * weight)

    def d_main(self, reals: Tensor, real_c: Tensor | None, c: Tensor | None) -> None:
        """The discriminator on reals and fakes."""
        with torch.no_grad():
            ws = self._mapped(self._noise(len(reals)), c)
            synthesis = self.state.generator.synthesis
            fakes = synthesis(ws, noise_mode=self.config.noise, dtype=self.dtype)
        fake_logits = self._score(fakes, c, self.dtype)
        real_logits = self._score(reals, real_c, self.dtype)
        signs = real_logits.detach().sign()
        self.state.sign_sum.add_(signs.sum())
        self.state.sign_count.add_(signs.numel())
        loss = d_logistic(real_logits, fake_logits)
        log.add(self.stats, "Loss/D/loss", loss)
        log.add(self.stats, "Loss/scores/real", real_logits)
        log.add(self.stats, "Loss/signs/real", signs)
        _update(self.state.d_optimizer, loss)

    def d_reg(self, reals: Tensor, c: Tensor | None) -> None:
        """R1, in float32 like the path length."""
        reals = reals.detach().requires_grad_(True)
        penalty = r1_penalty(self._score(reals, c, torch.float32), reals).mean()
        log.add(self.stats, "Loss/r1_penalty", penalty)
        assert self.config.r1_gamma is not None
        weight = self.config.r1_gamma / 2 * self.config.d_reg_interval
        _update(self.state.d_optimizer, penalty * weight)

    def __call__(self, index: int, reals: Tensor, real_c: Tensor | None, c: Tensor | None) -> None:
        """All phases that are due at step number `index`."""
        state, config = self.state, self.config
        state.discriminator.requires_grad_(False)
        self.g_main(len(reals), c)
        if config.path_length_weight > 0 and index % config.g_reg_interval == 0:
            self.g_reg(len(reals), c)
        state.discriminator.requires_grad_(True)
        self.d_main(reals, real_c, c)
        if config.d_reg_interval > 0 and index % config.d_reg_interval == 0:
            self.d_reg(reals, real_c)


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(nan=0.0, posinf=1e5, neginf=-1e5)
    optimizer.step()


@torch.no_grad()
def update_ema(state: TrainState, config: TrainConfig, batch: int) -> None:
    """Moves the averaged generator towards the current one, with a half-life in images."""
    assert config.ema_kimg is not None
    half_life = config.ema_kimg * 1000
    if config.ema_rampup > 0:
        half_life = min(half_life, state.cur_nimg * config.ema_rampup)
    beta = 0.5 ** (batch / max(half_life, 1e-8))
    source = state.generator.state_dict()
    averaged = dict(state.generator_ema.named_parameters())
    for name, value in state.generator_ema.state_dict().items():
        if name in averaged:
            value.lerp_(source[name], 1 - beta)
        else:
            value.copy_(source[name])


def adapt_augment(state: TrainState, config: TrainConfig, images: int) -> None:
    """Moves p so that the reals' mean sign meets the target (ADA, section 3)."""
    direction = torch.sign(state.sign_sum / state.sign_count.clamp(min=1) - config.ada_target)
    change = float(direction) * images / (config.ada_kimg * 1000)
    state.augment_p = min(max(state.augment_p + change, 0.0), 1.0)
    state.sign_sum.zero_()
    state.sign_count.zero_()


def _seed(seed: int, cur_nimg: int) -> int:
    return (seed * 1_000_003 + cur_nimg) % 2**63


def train(
    config: TrainConfig,
    dataset: ImageDataset,
    folder: Path,
    device: torch.device,
    template: Template = NO_TEMPLATE,
    data: str = "",
    progress: bool = True,
) -> Path:
    """Trains a generator and returns the last snapshot; continues where `folder` has a state.

    Args:
        config: settings; see TrainConfig.
        dataset: the real images.
        folder: run folder for state, snapshots, grids and statistics.
        device: where to compute.
        template: alignment of the faces, kept in the model.
        data: name of the data for the model card.
        progress: show a progress bar.
    """
    # Prepare.
    config = config.resolve()
    assert config.batch is not None
    batch, total = config.batch, round(config.kimg * 1000)
    if len(dataset) < 2:
        raise StylemixError(f"got {len(dataset)} images; expected at least 2 to train on")
    folder.mkdir(parents=True, exist_ok=True)
    state = TrainState.create(config, dataset.c_dim, device)
    state_file = folder / "state.safetensors"
    stats: log.Stats = {}
    if state_file.exists():
        state.load(state_file, config, dataset.fingerprint())
    else:
        first = dataset.batch(indices_at(0, min(48, len(dataset)), len(dataset), config.seed))
        log.save_reals(folder, first[0] / 127.5 - 1)
        write_json(folder / "training_options.json", vars(config) | {"data": data})
    log.drop_stats_after(folder, state.cur_nimg / 1000)
    step = Step(state, config, stats)
    started = time.monotonic() - state.seconds
    saved = snapshot = None
    bar = tqdm(
        total=total / 1000, initial=state.cur_nimg / 1000, unit="kimg", disable=not progress,
        bar_format="{desc}{percentage:3.0f}% |{bar}| {n:.1f}/{total:.0f} kimg "
        "[{elapsed}<{remaining}]{postfix}",
    )  # fmt: skip

    while state.cur_nimg < total:
        # One batch; every random number of it follows from where the run is.
        torch.manual_seed(_seed(config.seed, state.cur_nimg))
        where = indices_at(state.cur_nimg, batch, len(dataset), config.seed)
        images, labels = dataset.batch(where)
        reals = images.to(device).float() / 127.5 - 1
        labels = None if labels is None else labels.to(device)
        fake_labels = None if labels is None else labels[torch.randperm(batch)]

        # Train, average, adapt.
        index = state.cur_nimg // batch
        step(index, reals, labels, fake_labels)
        state.cur_nimg += batch
        update_ema(state, config, batch)
        if config.augment == "ada" and index % ADA_INTERVAL == ADA_INTERVAL - 1:
            adapt_augment(state, config, batch * ADA_INTERVAL)

        # Report, and keep what was made.
        state.seconds = time.monotonic() - started
        bar.update(min(batch, total - state.cur_nimg + batch) / 1000)
        done = state.cur_nimg >= total
        if done or _passed(state.cur_nimg, batch, config.state_kimg):
            line = log.write_stats(folder, state, stats)
            bar.set_postfix_str(
                f"G {line['Loss/G/loss']:.2f} D {line['Loss/D/loss']:.2f} p {state.augment_p:.2f}"
            )
            state.save(state_file, config, dataset.fingerprint())
            saved = state.cur_nimg
        if done or _passed(state.cur_nimg, batch, config.snapshot_kimg):
            snapshot = log.save_snapshot(folder, state, config, template, data)
    bar.close()
    if snapshot is None:
        snapshot = log.save_snapshot(folder, state, config, template, data)
    assert saved is None or saved == state.cur_nimg
    return snapshot


def _passed(cur_nimg: int, batch: int, interval_kimg: float) -> bool:
    interval = interval_kimg * 1000
    return int(cur_nimg / interval) > int((cur_nimg - batch) / interval)

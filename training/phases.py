"""One training step: the phases Gmain, Greg, Dmain and Dreg, each over all microbatches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from stylemix.networks.latents import mix
from stylemix.training import log
from stylemix.training.augment.pipe import PIPES
from stylemix.training.config import ResolvedConfig
from stylemix.training.distributed import Ranks
from stylemix.training.feature_discriminator import d_hinge, g_hinge
from stylemix.training.guard import spread, thinned
from stylemix.training.heartbeat import Heartbeat
from stylemix.training.losses import (
    d_logistic,
    d_relativistic,
    g_logistic,
    g_minimax,
    g_relativistic,
    path_lengths,
    r1_penalty,
)
from stylemix.training.microbatches import Microbatch, StepRandom, cells
from stylemix.training.state import TrainState

PATH_LENGTH_SHRINK = 2  # path length regularization uses every second image
PATH_LENGTH_DECAY = 0.01
W_AVG_BETA = 0.995
DIVERSITY_BETA = 0.98
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Batch:
    """The real images of a microbatch in [-1, 1], with their labels."""

    part: Microbatch
    reals: Tensor
    labels: Tensor | None


def batches(
    parts: Sequence[Microbatch], pixels: Tensor, labels: Tensor | None, device: torch.device
) -> list[Batch]:
    """Splits a rank's images uint8 [N, C, H, W] and labels [N, c_dim] into microbatches."""
    if device.type == "cuda":  # copies from pinned memory are asynchronous
        pixels = pixels.pin_memory()
        labels = None if labels is None else labels.pin_memory()
    first, out = parts[0].start, []
    for part in parts:
        own = slice(part.start - first, part.stop - first)
        reals = pixels[own].to(device, non_blocking=True).float() / 127.5 - 1
        c = None if labels is None else labels[own].to(device, non_blocking=True)
        out.append(Batch(part, reals, c))
    return out


class Step:
    """The phases of a step; fakes get random labels from `all_labels`, those of the data."""

    def __init__(
        self,
        state: TrainState,
        config: ResolvedConfig,
        stats: log.Stats,
        ranks: Ranks | None = None,
        all_labels: Tensor | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.state, self.config, self.stats = state, config, stats
        self.ranks, self.labels = ranks or Ranks(), all_labels
        self.heartbeat = heartbeat or Heartbeat(Ranks(), 0)
        self.dtype = DTYPES[config.precision]
        self.pipe = replace(PIPES[config.augment_pipe], sharp=config.augment_filter == "sym6")
        self.device = state.sign_sum.device
        self.bad = torch.zeros([], device=self.device)  # number of losses that were not finite

    def __call__(self, rng: StepRandom, batches: Sequence[Batch]) -> None:
        """Runs all phases that are due after `rng.cur_nimg` images, on this rank's share."""
        state, config, nimg = self.state, self.config, rng.cur_nimg
        index = nimg // config.batch
        state.set_rates(config)
        state.thaw(config)
        state.hold_discriminators()
        self.phase("Gmain", rng, batches)
        if config.path_length_weight and index % config.g_reg_interval == 0:
            self.phase("Greg", rng, batches)
        state.thaw(config)
        if state.feature_discriminator is not None:
            state.feature_discriminator.renew()
        self.phase("Dmain", rng, batches)
        gammas = config.value("r1_gamma", nimg), config.value("r2_gamma", nimg)
        if config.d_reg_interval and any(gammas) and index % config.d_reg_interval == 0:
            self.phase("Dreg", rng, batches)

    def look(self, stop: int) -> tuple[int, bool]:
        """Returns the number of non-finite losses since the last call, and if a rank must stop."""
        flags = torch.stack([self.bad, torch.tensor(float(stop), device=self.device)])
        self.bad.zero_()
        self.heartbeat.at("waiting for the others between steps")
        self.ranks.all_reduce_([flags])
        # Every rank has counted the same losses, those of the whole batch.
        return round(float(flags[0]) / self.ranks.world), bool(flags[1] > 0)

    def phase(self, name: str, rng: StepRandom, batches: Sequence[Batch]) -> None:
        """Sums gradients and statistics over microbatches and ranks, then updates the weights."""
        state = self.state
        is_g = name.startswith("G")
        networks: list[nn.Module] = [state.generator if is_g else state.discriminator]
        if name == "Dmain" and state.feature_discriminator is not None:
            networks.append(state.feature_discriminator)
        optimizer = state.g_optimizer if is_g else state.d_optimizer
        optimizer.zero_grad(set_to_none=True)
        self.heartbeat.at(name)
        sums = Sums(self.device)
        for batch in batches:
            loss = self.loss(name, rng, batch, sums) * batch.part.weight
            if loss.requires_grad:  # it does not while all parameters are frozen
                loss.backward()
            sums.add("loss", loss)
        parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        grads = [p.grad for p in parameters if p.grad is not None]
        self.heartbeat.at(f"waiting for the others in {name}")
        self.ranks.all_reduce_([*grads, *sums.tensors()])
        self.bad.add_(~torch.isfinite(sums.values["loss"]))
        for grad in grads:
            grad.nan_to_num_(nan=0.0, posinf=1e5, neginf=-1e5)
        optimizer.step()
        self._update_statistics(name, sums)

    def loss(self, name: str, rng: StepRandom, batch: Batch, sums: Sums) -> Tensor:
        """Returns the loss of a phase for a microbatch, a mean over its images."""
        loss_of = {
            "Gmain": self._g_main, "Greg": self._g_reg, "Dmain": self._d_main, "Dreg": self._d_reg,
        }[name]  # fmt: skip
        return loss_of(rng, batch, sums)

    def _update_statistics(self, name: str, sums: Sums) -> None:
        """Updates running means and logs, by sums over all ranks."""
        state, values = self.state, sums.values
        if "w" in values:
            state.generator.mapping.w_avg.lerp_(values["w"], 1 - W_AVG_BETA)
        if name == "Greg":
            state.path_length_mean.lerp_(values["length"], PATH_LENGTH_DECAY)
            log.add(self.stats, "Loss/pl_penalty", values["penalty"])
        if name == "Gmain":
            log.add(self.stats, "Loss/G/loss", values["loss"])
        if name == "Dmain":
            state.sign_sum.add_(values["signs"])
            state.sign_count.add_(values["count"])
            ratio = (spread(values, "fake") / spread(values, "real").clamp(min=1e-8)).clamp(max=2)
            # The first step has no previous value to average with.
            beta = torch.where(state.diversity > 0, DIVERSITY_BETA, 0.0)
            state.diversity.copy_(ratio.lerp(state.diversity, beta).nan_to_num(0))
            log.add(self.stats, "Loss/D/loss", values["loss"])
            log.add(self.stats, "Loss/scores/real", values["real score"])
            log.add(self.stats, "Loss/scores/fake", values["fake score"])
            log.add(self.stats, "Loss/signs/real", values["signs"] / values["count"])
            log.add(self.stats, "Progress/diversity", state.diversity)
            if "feature loss" in values:
                log.add(self.stats, "Loss/D/features", values["feature loss"])
        for key in ("r1", "r2"):
            if key in values:
                log.add(self.stats, f"Loss/{key}_penalty", values[key])

    # The four losses of a microbatch.

    def _g_main(self, rng: StepRandom, batch: Batch, sums: Sums) -> Tensor:
        """Returns the adversarial loss of the generator."""
        c = self._fake_labels(rng, "Gmain", batch.part)
        fakes = self._fakes(rng, "Gmain", batch.part, c, sums)
        logits, maps = self._score(rng, "Gmain", batch.part, fakes, c)
        if self.config.loss == "relativistic":
            with torch.no_grad():
                real_logits, _ = self._score(
                    rng, "Gmain real", batch.part, batch.reals, batch.labels
                )
            loss = g_relativistic(logits, real_logits)
        else:
            loss = (g_minimax if self.config.loss == "minimax" else g_logistic)(logits)
        return loss + self.config.feature_weight * g_hinge(maps) if maps else loss

    def _g_reg(self, rng: StepRandom, batch: Batch, sums: Sums) -> Tensor:
        """Returns the path length penalty, in float32 since it differentiates a gradient.

        The running mean is that before this step, so that microbatches are independent. Its decay
        is .01, so the penalty differs by about as much from that of the paper.
        """
        part = batch.part
        # By the position in the whole batch, so that the images do not depend on the split.
        subset = slice(-part.start % PATH_LENGTH_SHRINK, None, PATH_LENGTH_SHRINK)
        c = self._fake_labels(rng, "Greg", part)
        ws = self._ws(rng, "Greg", part, c, sums)[subset]
        share = len(ws) / -(-part.total // PATH_LENGTH_SHRINK)
        if not len(ws):  # a microbatch of one image, which is not one of them
            for name in ("length", "penalty"):
                sums.add(name, torch.zeros([], device=self.device))
            return torch.zeros([], device=self.device)
        if not ws.requires_grad:  # the mapping network is frozen
            ws = ws.detach().requires_grad_(True)
        noise = self._noise(rng, "Greg", part)
        noise = noise if isinstance(noise, str) else noise[subset]
        images = self.state.generator.synthesis(ws, noise_mode=noise)
        y = rng.noise("Greg image", part, images[0].numel(), self.device)
        y = y[subset].view_as(images)
        lengths = path_lengths(images, ws, y / (images.shape[2] * images.shape[3]) ** 0.5)
        penalty = (lengths - self.state.path_length_mean).square().mean()
        sums.add("length", lengths.mean() * share)
        sums.add("penalty", penalty * share)
        weight = self.config.path_length_weight * self.config.g_reg_interval
        return penalty * (weight * (share / part.weight))  # `phase` multiplies by part.weight

    def _d_main(self, rng: StepRandom, batch: Batch, sums: Sums) -> Tensor:
        """Returns the adversarial loss of the discriminator."""
        part = batch.part
        c = self._fake_labels(rng, "Dmain", part)
        with torch.no_grad():
            fakes = self._fakes(rng, "Dmain", part, c, sums)
        fake_logits, fake_maps = self._score(rng, "Dmain fake", part, fakes, c)
        real_logits, real_maps = self._score(rng, "Dmain real", part, batch.reals, batch.labels)
        sums.add("count", torch.tensor(float(len(part)), device=self.device))
        sums.add("real score", real_logits.mean() * part.weight)
        sums.add("fake score", fake_logits.mean() * part.weight)
        for kind, images in (("real", batch.reals), ("fake", fakes)):
            pixels = thinned(images)
            sums.add(f"{kind} mean", pixels.mean(dim=0) * part.weight)
            sums.add(f"{kind} square", pixels.square().mean(dim=0) * part.weight)
        relativistic = self.config.loss == "relativistic"
        loss = (d_relativistic if relativistic else d_logistic)(real_logits, fake_logits)
        # The relativistic loss fixes differences of scores, not their level.
        level = (real_logits.mean() + fake_logits.mean()) / 2 if relativistic else 0.0
        sums.add("signs", (real_logits - level).sign().sum())
        if not real_maps:
            return loss
        feature_loss = d_hinge(real_maps, fake_maps)
        sums.add("feature loss", feature_loss * part.weight)
        return loss + feature_loss

    def _d_reg(self, rng: StepRandom, batch: Batch, sums: Sums) -> Tensor:
        """Returns R1 on reals plus R2 on fakes, in float32 like the path length penalty."""
        part, nimg = batch.part, rng.cur_nimg
        loss = torch.zeros([], device=self.device)
        pairs = [("r1", batch.reals, batch.labels)]
        if self.config.value("r2_gamma", nimg):
            c = self._fake_labels(rng, "Dreg", part)
            with torch.no_grad():
                pairs.append(("r2", self._fakes(rng, "Dreg", part, c), c))
        for name, images, c in pairs:
            images = images.detach().requires_grad_(True)
            logits, _ = self._score(rng, f"Dreg {name}", part, images, c, penalty=True)
            penalty = r1_penalty(logits, images).mean()
            sums.add(name, penalty * part.weight)
            loss = loss + penalty * self.config.value(f"{name}_gamma", nimg) / 2
        return loss * self.config.d_reg_interval

    # Shared by the losses.

    def _fake_labels(self, rng: StepRandom, name: str, part: Microbatch) -> Tensor | None:
        labels = rng.labels(f"{name} label", part, self.labels)
        return None if labels is None else labels.to(self.device)

    def _noise(self, rng: StepRandom, name: str, part: Microbatch) -> str | Tensor:
        if self.config.noise == "none":
            return "none"
        synthesis = self.state.generator.synthesis
        rows = rng.noise(f"{name} noise", part, synthesis.noise_size, self.device)
        if self.config.noise == "fine":
            rows[:, : synthesis.fine_noise_start] = 0
        return rows

    def _ws(
        self,
        rng: StepRandom,
        name: str,
        part: Microbatch,
        c: Tensor | None,
        sums: Sums | None = None,
    ) -> Tensor:
        """Maps new latents to ws [N, L, w_dim], with style mixing."""
        mapping, width = self.state.generator.mapping, self.state.generator.z_dim
        ws: Tensor = mapping(rng.normal(f"{name} z", part, width).to(self.device), c)
        if sums is not None:
            sums.add("w", ws[:, 0].mean(dim=0) * part.weight)
        cutoff = rng.cutoff(f"{name} mix", self.config.style_mixing, ws.shape[1])
        if cutoff is not None:
            other = mapping(rng.normal(f"{name} z2", part, width).to(self.device), c)
            ws = mix(ws, other, range(cutoff, ws.shape[1]))
        return ws

    def _fakes(
        self,
        rng: StepRandom,
        name: str,
        part: Microbatch,
        c: Tensor | None,
        sums: Sums | None = None,
    ) -> Tensor:
        ws = self._ws(rng, name, part, c, sums)
        noise = self._noise(rng, name, part)
        images: Tensor = self.state.generator.synthesis(ws, noise_mode=noise, dtype=self.dtype)
        return images

    def _score(
        self,
        rng: StepRandom,
        name: str,
        part: Microbatch,
        images: Tensor,
        c: Tensor | None,
        penalty: bool = False,
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns logits [N, 1] of augmented images, in the order of `cells`, and feature scores.

        A `penalty` is computed in float32 and without feature scores.
        """
        p = self.state.counters.augment_p
        with torch.random.fork_rng(devices=[]):  # the pipe uses torch's CPU generator
            torch.default_generator.manual_seed(rng.key(f"{name} augment"))
            images = self.pipe(images, p, part=(part.start, part.total))
        order = cells(len(part), self.config.mbstd_group).to(self.device)
        c = None if c is None else c[order]
        images = images[order]
        dtype = torch.float32 if penalty else self.dtype
        logits = self.state.discriminator(images, c, dtype=dtype).float()
        features = self.state.feature_discriminator
        return logits, [] if features is None or penalty else features(images, dtype)


class Sums:
    """Statistics of a phase, summed over microbatches and then over ranks."""

    def __init__(self, device: torch.device) -> None:
        self.values: dict[str, Tensor] = {}
        self.device = device

    def add(self, name: str, value: Tensor) -> None:
        """Adds a value without synchronizing with the device."""
        self.values[name] = self.values.get(name, 0) + value.detach().float()

    def tensors(self) -> list[Tensor]:
        """Returns the sums in a fixed order."""
        return [self.values[name] for name in sorted(self.values)]

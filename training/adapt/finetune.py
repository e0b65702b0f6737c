"""Styles from hundreds of drawings: adversarial fine-tuning of the synthesis network.

Generator and discriminator are trained on the new images while the mapping network is frozen.
Weak regularizers tie each image to the base's image of the same latent, which preserves colours
and layout of the person. The style stores the difference of the weights.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.models.model import Model
from stylemix.networks.labels import label_batch, label_of
from stylemix.networks.latents import mix, sample_ws
from stylemix.progress import Progress
from stylemix.styles.style import Style
from stylemix.training.adapt.regularizers import (
    attribute_difference,
    distance_difference,
    identity_difference,
    pooled_difference,
    tapped,
)
from stylemix.training.adapt.trainable import style_weights
from stylemix.training.augment.pipe import PIPES
from stylemix.training.data.dataset import ImageDataset
from stylemix.training.data.sampler import indices_at
from stylemix.training.losses import d_logistic, g_logistic, r1_penalty
from stylemix.training.optimizer_state import adam_tensors, load_adam, load_work, part, save_work

FORMAT = "stylemix-transfer-state"
MIXING_PROBABILITY = 0.5  # of a batch
IDENTITY_FACES = 4  # images of a batch whose identity is compared, and whose attributes


@dataclass(frozen=True)
class TransferSettings:
    """Length, rates and weights; measured in docs/log.md.

    Attributes:
        part: weights that are trained: "all" or "affine" (see `trainable`).
        tie_weight: weight of the pooled colours, on a grid of `tie_cells` x `tie_cells`.
        distance_weight: weight of the pairwise similarities in a batch.
        identity_weight: weight of the face descriptors of `IDENTITY_FACES` images of a batch.
        attribute_weight: weight of the readings of glasses and beards of the same images.
    """

    kimg: float = 30
    batch: int = 32
    lr: float = 0.002
    r1_gamma: float = 1.0
    r1_interval: int = 16
    augment_p: float = 0.2
    part: str = "all"
    tie_weight: float = 2.0
    tie_cells: int = 16
    distance_weight: float = 100.0
    identity_weight: float = 2.0
    attribute_weight: float = 0.5
    ema: float = 0.995
    psi: float = 1.0
    precision: str = "fp32"
    seed: int = 0
    state_kimg: float = 4


class Transfer:
    """The networks and optimizers of a transfer."""

    def __init__(self, model: Model, settings: TransferSettings) -> None:
        if model.discriminator is None:
            raise StylemixError(
                "got a model without a discriminator; expected one with it, for a style from many "
                "images; use another --model, or --method look"
            )
        self.settings, self.model, self.base = settings, model, model.generator
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        layout = torch.channels_last
        self.synthesis = copy.deepcopy(model.generator.synthesis).to(memory_format=layout)
        self.learned = style_weights(self.synthesis, settings.part)
        self.average = copy.deepcopy(self.synthesis).requires_grad_(False)
        self.discriminator = copy.deepcopy(model.discriminator).to(memory_format=layout)
        self.discriminator.requires_grad_(True).train()
        betas = (0.0, 0.99)
        self.g_adam = torch.optim.Adam(self.learned.values(), lr=settings.lr, betas=betas)
        self.d_adam = torch.optim.Adam(self.discriminator.parameters(), lr=settings.lr, betas=betas)
        self.pipe = replace(PIPES["bgc"], sharp=False)
        self.device = model.generator.device

    def _score(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        d = self.discriminator
        images, c = self.pipe(images, self.settings.augment_p), label_batch(d, len(images))
        return d(images, c, dtype=dtype).float()  # type: ignore[no-any-return]

    def _latents(self, count: int) -> Tensor:
        """Returns latents [N, L, w_dim]; half of the batches use style mixing."""
        ws = sample_ws(self.base, count, torch.default_generator, self.settings.psi)
        if torch.rand([]) < MIXING_PROBABILITY:
            cutoff = int(torch.randint(1, ws.shape[1], []))
            ws = mix(ws, ws.roll(1, dims=0), range(cutoff, ws.shape[1]))
        return ws

    def step(self, index: int, reals: Tensor) -> tuple[float, float]:
        """One step of both networks on reals [N, C, H, H] in [-1, 1]; returns their losses."""
        s = self.settings
        self.discriminator.requires_grad_(False)
        fakes, ties = self._generate(self._latents(len(reals)))
        g_loss = g_logistic(self._score(fakes, self.dtype))
        _update(self.g_adam, g_loss + ties)
        self.discriminator.requires_grad_(True)

        real_logits = self._score(reals, self.dtype)
        d_loss = d_logistic(real_logits, self._score(fakes.detach(), self.dtype))
        _update(self.d_adam, d_loss)
        if index % s.r1_interval == 0:
            reals = reals.detach().requires_grad_(True)
            penalty = r1_penalty(self._score(reals, torch.float32), reals).mean()
            _update(self.d_adam, penalty * (s.r1_gamma / 2 * s.r1_interval))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.synthesis.parameters(), strict=True)
            for averaged, current in pairs:
                averaged.lerp_(current, 1 - s.ema)
        return float(g_loss.detach()), float(d_loss.detach())

    def _generate(self, ws: Tensor) -> tuple[Tensor, Tensor]:
        """Returns images [N, C, H, W] of ws, and the loss that ties them to the base's images."""
        s, blocks = self.settings, list(self.base.synthesis.blocks())
        which = int(torch.randint(1, max(len(blocks) - 1, 2), []))
        block = blocks[min(which, len(blocks) - 1)]  # a model of up to 16 px may have one block
        with torch.no_grad(), tapped(self.base.synthesis, block) as base_features:
            plain = self.base.synthesis(ws, noise_mode="const", dtype=self.dtype)
        with tapped(self.synthesis, block) as features:
            fakes = self.synthesis(ws, noise_mode="const", dtype=self.dtype)
        ties = s.tie_weight * pooled_difference(fakes, plain, s.tie_cells)
        if s.distance_weight > 0:
            ties = ties + s.distance_weight * distance_difference(features[0], base_features[0])
        subset = slice(IDENTITY_FACES)
        if s.identity_weight > 0:
            ties = ties + s.identity_weight * identity_difference(
                self.model, fakes[subset], plain[subset]
            )
        if s.attribute_weight > 0:
            ties = ties + s.attribute_weight * attribute_difference(
                self.model, fakes[subset], plain[subset]
            )
        return fakes, ties

    def style(self) -> Style:
        """Returns the difference of the averaged weights (EMA) from the base."""
        original = dict(self.base.synthesis.named_parameters())
        changes = {
            name: (value - original[name]).detach()
            for name, value in self.average.named_parameters()
            if name in self.learned
        }
        return Style(self.model.fingerprint, weights=changes)

    def _networks(self) -> dict[str, torch.nn.Module]:
        return {"G.": self.synthesis, "G_ema.": self.average, "D.": self.discriminator}

    def tensors(self) -> dict[str, Tensor]:
        """All that a state needs."""
        out = adam_tensors(self.g_adam, "g_adam.") | adam_tensors(self.d_adam, "d_adam.")
        for prefix, network in self._networks().items():
            out |= {prefix + key: value for key, value in network.state_dict().items()}
        return out

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes back to `tensors`; RuntimeError, ValueError or KeyError where they do not fit."""
        for prefix, network in self._networks().items():
            network.load_state_dict(part(tensors, prefix))
        load_adam(self.g_adam, part(tensors, "g_adam."))
        load_adam(self.d_adam, part(tensors, "d_adam."))


def learn_transfer(
    model: Model,
    dataset: ImageDataset,
    settings: TransferSettings | None = None,
    state_file: Path | None = None,
    progress: Progress | None = None,
) -> Style:
    """Learns a style from hundreds of square images; returns it without a name.

    Args:
        model: the base, with its discriminator.
        dataset: images at the model's resolution, aligned as the base expects.
        settings: see TransferSettings.
        state_file: where the state is saved during training, and resumed from.
        progress: called after each step with (images seen, total images, generator loss).
    """
    settings = settings or TransferSettings()
    transfer = Transfer(model, settings)
    kind = {
        "format": FORMAT,
        "settings": json.dumps(asdict(replace(settings, kimg=0, state_kimg=0))),
        "base": " ".join([model.fingerprint, *map(str, label_of(model.generator.mapping) or ())]),
        "data": f"{dataset.fingerprint()} {'faces' if dataset.prepare else 'whole'}",
    }
    total, batch, seen = round(settings.kimg * 1000), settings.batch, 0
    if state_file is not None and state_file.exists():
        seen = load_work(state_file, kind, transfer.restore)
    while seen < total:
        images, _ = dataset.batch(indices_at(seen, batch, len(dataset), settings.seed))
        reals = images.to(transfer.device).float() / 127.5 - 1
        with torch.random.fork_rng(devices=[]):  # all that is random is drawn on the CPU
            torch.default_generator.manual_seed((settings.seed * 1_000_003 + seen) % 2**63)
            loss, _ = transfer.step(seen // batch, reals)
        seen += batch
        interval = max(round(settings.state_kimg * 1000), 1)
        due = seen // interval > (seen - batch) // interval or seen >= total
        if state_file is not None and due:
            save_work(state_file, kind, seen, transfer.tensors())
        if progress is not None:
            progress(min(seen, total), total, loss)
    return transfer.style()


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()

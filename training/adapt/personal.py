"""A personal style from several photos of one face, as in MyStyle (arXiv 2203.17272).

Every photo is inverted, and the generator is fine-tuned on all of them together, so that latents
between theirs show the same person. At full strength the style generates the person, below it an
interpolation. Since it reproduces an identity, it is never chosen automatically.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from stylemix.inversion.loss import Similarity
from stylemix.inversion.projection import project
from stylemix.inversion.refine import changes
from stylemix.inversion.schedule import Stages, optimise, warm_up_then_linear
from stylemix.inversion.settings import LATENTS
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.progress import Progress
from stylemix.styles.style import Style
from stylemix.training.adapt.trainable import style_weights

STEPS, RATE, BATCH = 200, 0.001, 4


def learn_personal(
    model: Model,
    images: Tensor,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Style:
    """Learns a person from aligned photos [K, C, H, W] in [-1, 1]; returns it without a name.

    Its shift is the mean of the person's latents minus w_avg; its truncation (psi 0) removes the
    source's own latent as the strength rises. Stops early on a plateau. `progress` is called
    with (step, steps, loss).
    """
    generator = model.generator
    settings = replace(LATENTS, seed=seed)
    network = copy.deepcopy(generator.synthesis)
    learned = style_weights(network, "all")
    batches = []
    most = batch_size(generator, BATCH, gradients=True)
    for batch in images.to(generator.device, generator.dtype).split(most):
        batches.append((project(model, batch, settings).ws, Similarity(model, batch, settings)))
    adam = torch.optim.Adam(learned.values(), lr=RATE)

    def loss_at(step: int, _t: float) -> Tensor:
        ws, similarity = batches[step % len(batches)]
        fakes = network(ws, noise_mode="const")
        return (similarity.appearance(fakes) + similarity.person(fakes)).mean()

    stages = Stages([steps], progress)
    optimise(adam, loss_at, stages, warm_up_then_linear)
    stages.finish()
    mean = torch.cat([ws for ws, _ in batches]).mean(dim=0)
    shift = (mean - generator.mapping.w_avg).detach()
    return Style(model.fingerprint, psi=0.0, shift=shift, weights=changes(generator, learned))

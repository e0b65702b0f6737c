"""A style that is a person: from several photos of one face, as in MyStyle (arXiv 2203.17272).

Every photo is projected, and the generator learns to draw all of them at once, which makes what it
draws between them that very person, too. At full strength the style draws the person; at less,
somebody on the way there. It takes an identity, so it is never chosen by itself.
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
from stylemix.progress import Progress
from stylemix.styles.style import Style
from stylemix.training.adapt.trainable import style_weights

STEPS, RATE, BATCH = 200, 0.001, 4


def learn_personal(
    model: Model,
    pictures: Tensor,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Style:
    """Learns a person from aligned photos [K, C, H, W] in [-1, 1]; returns an unnamed style.

    Its shift leads from the average face to the mean of the person's latents, its truncation takes
    the source's own latent away as the strength rises. Ends early on a plateau. `progress` is
    called with (step, steps, loss).
    """
    generator = model.generator
    settings = replace(LATENTS, seed=seed)
    network = copy.deepcopy(generator.synthesis)
    learned = style_weights(network, "all")
    groups = []
    for part in pictures.to(generator.device, generator.dtype).split(BATCH):
        groups.append((project(model, part, settings).ws, Similarity(model, part, settings)))
    adam = torch.optim.Adam(learned.values(), lr=RATE)

    def loss_at(step: int, _t: float) -> Tensor:
        ws, similarity = groups[step % len(groups)]
        images = network(ws, noise_mode="const")
        return (similarity.appearance(images) + similarity.person(images)).mean()

    stages = Stages([steps], progress)
    optimise(adam, loss_at, stages, warm_up_then_linear)
    stages.finish()
    mean = torch.cat([ws for ws, _ in groups]).mean(dim=0)
    shift = (mean - generator.mapping.w_avg).detach()
    return Style(model.fingerprint, psi=0.0, shift=shift, weights=changes(generator, learned))

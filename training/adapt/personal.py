"""A personal style from several photos of one face, as in MyStyle (arXiv 2203.17272).

Every photo is inverted, and the generator is fine-tuned on all of them together, so that latents
between theirs show the same person. At full strength the style generates the person, below it an
interpolation. Since it reproduces an identity, it is never chosen automatically.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.recognition import embed
from stylemix.images.tensors import as_rgb
from stylemix.inversion.adam import Adam
from stylemix.inversion.loss import Similarity
from stylemix.inversion.projection import project
from stylemix.inversion.refine import changes
from stylemix.inversion.schedule import Stages, optimise, warm_up_then_linear
from stylemix.inversion.settings import LATENTS
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.progress import Progress
from stylemix.styles.style import Style
from stylemix.training.adapt.method import MAX_EXAMPLES
from stylemix.training.adapt.trainable import style_weights
from stylemix.training.curation.filters import group_people
from stylemix.training.data.dataset import ImageDataset

MAX_NAMED = 5  # files of other people in a message
STEPS, RATE, BATCH = 200, 0.001, 4
# Two photos of a person are .32 to .43 apart, two people .64 to .78 (docs/log.md).
SAME_PERSON_OF_FEW = 0.5


@torch.no_grad()
def check_one_person(model: Model, dataset: ImageDataset) -> None:
    """Raises StylemixError, with the names of the files, for photos of several people.

    They are grouped by their face embeddings as `stylemix pack` does. Photos for a template
    without eyes cannot be compared, and pass.
    """
    if model.template.eyes is None:
        return
    numbers = range(min(len(dataset), MAX_EXAMPLES))
    images = [as_rgb(dataset.batch([i])[0] / 127.5 - 1) for i in numbers]
    groups = group_people(
        [embed(one, model.template)[0].numpy() for one in images], SAME_PERSON_OF_FEW
    )
    person = int(np.bincount(groups).argmax())
    others = [dataset.name(i) for i in numbers if groups[i] != person]
    if others:
        shown = ", ".join(others[:MAX_NAMED]) + (", ..." if len(others) > MAX_NAMED else "")
        raise StylemixError(
            f"got photos of {groups.max() + 1} people, of another one {shown}; expected one person "
            "for a personal style, with that person's consent; leave the others out, or say "
            "--several-people if all consented or it is one person after all"
        )


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
    adam = Adam([(list(learned.values()), RATE)])

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

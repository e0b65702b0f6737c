"""Identity embeddings for evaluation, from a network that nothing in the project optimises.

It was trained without labels by contrastive learning (InfoNCE, arXiv 1807.03748; augmented pairs as
in SimCLR, arXiv 2002.05709). Positives are generated faces with the same coarse and middle layers
in other colours, poses and expressions, and crops of one photo. See docs/recipes/train_judge.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylemix.faces.landmarks import face_crops
from stylemix.faces.templates import Template
from stylemix.images.tensors import as_rgb
from stylemix.io.assets import frozen_network, load_weights
from stylemix.networks.config import DiscriminatorConfig
from stylemix.networks.discriminator import DiscriminatorTrunk
from stylemix.networks.layers import FullyConnected

SIZE = 64  # px of the crops
LENGTH = 64  # of the embeddings
TRUNK = DiscriminatorConfig(img_resolution=SIZE, img_channels=1, channel_base=1024, channel_max=192)


class Judge(nn.Module):
    """Maps crops [N, 3, 64, 64] in 0..255, eyes at `CROP_EYES`, to unit vectors [N, 64]."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.trunk = DiscriminatorTrunk(TRUNK)
        self.head = FullyConnected(TRUNK.channels(4) * 16, LENGTH)
        self.register_buffer("window", _oval(), persistent=False)

    def forward(self, crops: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Maps crops to embeddings [N, 64] of unit length."""
        # Normalised grey values of the face alone, so that light and background have no effect.
        grey = (crops / 127.5 - 1).mean(dim=1, keepdim=True)
        mean = (grey * self.window).sum(dim=(2, 3), keepdim=True) / self.window.sum()
        power = ((grey - mean).square() * self.window).sum(dim=(2, 3), keepdim=True)
        grey = (grey - mean) * (power / self.window.sum() + 1e-3).rsqrt() * self.window
        maps = self.trunk.features(grey, dtype)[-1]
        return functional.normalize(self.head(maps.float().flatten(1)), dim=1)


def _oval() -> Tensor:
    """Returns a soft oval mask of the face, [1, 1, 64, 64]."""
    position = (torch.arange(SIZE) + 0.5) / SIZE
    x, y = (position - 0.5) / 0.46, (position - 0.54) / 0.50
    radius = (x[None, :].square() + y[:, None].square()).sqrt()
    return ((1 - radius) * 10 + 0.5).clamp(0, 1)[None, None]


def _read_judge() -> Judge:
    judge = Judge()
    judge.load_state_dict({k: v.float() for k, v in load_weights("judge").items()})
    return judge


@torch.no_grad()
def judged_embedding(images: Tensor, template: Template) -> Tensor:
    """Returns embeddings [N, 64] of aligned faces [N, C, H, H] in [-1, 1].

    Without gradients, so that nothing can be optimised for this metric. Raises StylemixError for a
    template without eyes.
    """
    crops = face_crops(as_rgb(images).float(), template, SIZE)
    judge = frozen_network("judge", images.device, _read_judge)
    return torch.cat([judge(part) for part in crops.split(64)])

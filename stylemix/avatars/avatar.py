"""Avatars: a person in styles, with an identity limit, regions and colour preservation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stylemix.avatars.identity_guard import check_identity, find_share
from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError, check_range
from stylemix.faces.recognition import embed, identity_kept
from stylemix.faces.regions import REGIONS, region_mask
from stylemix.images.lab import keep_colors
from stylemix.images.tensors import as_rgb
from stylemix.inversion.latent import Latent
from stylemix.models.model import Model


@dataclass(frozen=True)
class AvatarOptions:
    """Options of an avatar besides its styles.

    Attributes:
        min_identity: minimum identity to preserve; None for no limit.
        regions: where the styles act: names of `regions.REGIONS`, or mask images; empty for all.
        keep_color: 0 for the style's colours in the face, 1 for the person's.
    """

    min_identity: float | None = None
    regions: tuple[str, ...] = ()
    keep_color: float = 0.0

    def check(self, model: Model) -> None:
        """Raises StylemixError for values out of range, or that the model does not support."""
        if self.min_identity is not None:
            check_identity(self.min_identity)
        note = ", 0 for the style's colours, 1 for the person's"
        check_range("--keep-color", self.keep_color, 0, 1, note)
        for name in set(self.regions) - set(REGIONS):
            if not Path(name).is_file():
                raise StylemixError(
                    f"got the region {name[:60]!a}; expected {', '.join(REGIONS)} or an image "
                    "with the region in white; change --region"
                )
        needs = self.min_identity is not None or self.keep_color or set(self.regions) & set(REGIONS)
        if needs and model.template.eyes is None:
            raise StylemixError(
                f"got a model with the alignment template {model.template.name!r}, which is not "
                "for faces; expected a face template; leave out --min-identity, "
                "--keep-color and regions by name"
            )


@dataclass(frozen=True)
class Avatar:
    """An image [1, C, H, W], the share of the strength applied, and the identity preserved."""

    image: Tensor
    share: float = 1.0
    identity: float | None = None


def weaker(parts: Sequence[AppliedStyle], share: float) -> list[AppliedStyle]:
    """The same styles with all strengths times `share`."""
    return [replace(part, strength=share * part.amount) for part in parts]


def likeness(model: Model, plain: Tensor) -> Callable[[Tensor], float]:
    """A function of images [1, C, H, W]: the identity of the person in `plain`, 0 to 1."""

    @torch.no_grad()
    def describe_face(image: Tensor) -> Tensor:
        return embed(as_rgb(image), model.template)

    target = describe_face(plain)
    return lambda image: float(identity_kept(target, describe_face(image)))


@torch.no_grad()
def draw_avatar(
    model: Model,
    person: Latent,
    parts: Sequence[AppliedStyle],
    finish: AvatarOptions | None = None,
    mask: Tensor | None = None,
) -> Avatar:
    """Renders a person in a sum of styles, within `mask` [1, 1, H, W] (see `region_mask`).

    With `finish.min_identity` all strengths are lowered together until the image preserves this
    identity of the person's reconstruction; otherwise identity is not measured.
    """
    finish = finish or AvatarOptions()
    finish.check(model)
    ws = person.w[None].to(model.generator.device, model.generator.dtype)
    plain = render(model.generator, ws, (), person.detail)
    amount = finish.keep_color
    face, skin = (
        region_mask([name], plain, model.template) if amount else None for name in ("face", "skin")
    )

    def render_at(share: float) -> Tensor:
        image = render(model.generator, ws, weaker(parts, share), person.detail, mask)
        if face is None or skin is None:
            return image
        return keep_colors(image, plain, face, skin, amount)

    if finish.min_identity is None:
        return Avatar(render_at(1.0))
    identity_of = likeness(model, plain)
    share, identity = find_share(lambda s: identity_of(render_at(s)), finish.min_identity)
    return Avatar(render_at(share), share, identity)


def describe(avatar: Avatar, parts: Sequence[AppliedStyle]) -> str:
    """The strength of an avatar's styles as text, with its identity if it was measured."""
    single = len(parts) == 1 and parts[0].shares is None
    strength = f"{parts[0].amount * avatar.share:.2f}" if single else f"x {avatar.share:.2f}"
    identity = "" if avatar.identity is None else f", identity {avatar.identity:.2f}"
    return f"strength {strength}{identity}"

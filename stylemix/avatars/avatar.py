"""A person in styles, as far as the person is kept, where it is asked for, in whose colours."""

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
    """What is asked of an avatar beside its styles.

    Attributes:
        min_identity: the least identity that is to be kept; None for whatever comes.
        regions: where the styles act: names of `regions.REGIONS`, or images; none for everywhere.
        keep_color: 0 for the style's colours in the face, 1 for the person's.
    """

    min_identity: float | None = None
    regions: tuple[str, ...] = ()
    keep_color: float = 0.0

    def check(self, model: Model) -> None:
        """Raises StylemixError for values out of range, or that a model cannot fulfil."""
        if self.min_identity is not None:
            check_identity(self.min_identity)
        note = ", 0 for the style's colours, 1 for the person's"
        check_range("--keep-color", self.keep_color, 0, 1, note)
        for name in set(self.regions) - set(REGIONS):
            if not Path(name).is_file():
                raise StylemixError(
                    f"got the region {name[:60]!a}; expected {', '.join(REGIONS)} or an image "
                    "that shows it white; change --region"
                )
        needs = self.min_identity is not None or self.keep_color or set(self.regions) & set(REGIONS)
        if needs and model.template.eyes is None:
            raise StylemixError(
                f"got a model with the alignment template {model.template.name!r}, which says "
                "nothing about faces; expected one for faces; leave out --min-identity, "
                "--keep-color and regions by name"
            )


@dataclass(frozen=True)
class Avatar:
    """An image [1, C, H, W] with the share of the strength that it got and what it kept."""

    image: Tensor
    share: float = 1.0
    identity: float | None = None


def weaker(parts: Sequence[AppliedStyle], share: float) -> list[AppliedStyle]:
    """The same ingredients at a share of their strengths."""
    return [replace(part, strength=share * part.amount) for part in parts]


def likeness(model: Model, plain: Tensor) -> Callable[[Tensor], float]:
    """What tells of images [1, C, H, W] how much of the person on `plain` they keep, 0 to 1."""

    @torch.no_grad()
    def describe_face(image: Tensor) -> Tensor:
        return embed(as_rgb(image), model.template)

    own = describe_face(plain)
    return lambda image: float(identity_kept(own, describe_face(image)))


@torch.no_grad()
def draw_avatar(
    model: Model,
    person: Latent,
    parts: Sequence[AppliedStyle],
    finish: AvatarOptions | None = None,
    mask: Tensor | None = None,
) -> Avatar:
    """Draws a person in styles, added; `mask` [1, 1, H, W] is where, as `region_mask` gives it.

    With `finish.min_identity` all strengths are lowered together until the image keeps as much
    of the person's reconstruction; otherwise identity is not measured.
    """
    finish = finish or AvatarOptions()
    finish.check(model)
    ws = person.w[None].to(model.generator.device, model.generator.dtype)
    plain = render(model.generator, ws, (), person.detail)
    amount = finish.keep_color
    face, skin = (
        region_mask([name], plain, model.template) if amount else None for name in ("face", "skin")
    )

    def draw(share: float) -> Tensor:
        image = render(model.generator, ws, weaker(parts, share), person.detail, mask)
        if face is None or skin is None:
            return image
        return keep_colors(image, plain, face, skin, amount)

    if finish.min_identity is None:
        return Avatar(draw(1.0))
    keeps = likeness(model, plain)
    share, kept = find_share(lambda share: keeps(draw(share)), finish.min_identity)
    return Avatar(draw(share), share, kept)


def describe(avatar: Avatar, parts: Sequence[AppliedStyle]) -> str:
    """How strong the styles of an avatar are, and what it keeps, where that was measured."""
    one = len(parts) == 1 and parts[0].shares is None
    strength = f"{parts[0].amount * avatar.share:.2f}" if one else f"x {avatar.share:.2f}"
    kept = "" if avatar.identity is None else f", identity {avatar.identity:.2f}"
    return f"strength {strength}{kept}"

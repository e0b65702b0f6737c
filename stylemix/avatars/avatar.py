"""Avatars: a person in styles, with an identity limit, regions and colour preservation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional

from stylemix.avatars.drawing import (
    Canvas,
    canvas_side,
    draw_students,
    image_canvas,
    photo_canvas,
    shrink_photo,
)
from stylemix.avatars.identity_guard import check_identity, find_share
from stylemix.avatars.lift import ColorMap, fit_colors, moves_face, on_faces, style_saturation
from stylemix.avatars.motion import edit_photo
from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError, check_range
from stylemix.faces.recognition import embed, identity_kept
from stylemix.faces.regions import REGIONS, region_mask
from stylemix.images.lab import keep_colors
from stylemix.images.tensors import as_rgb
from stylemix.inversion.latent import Latent
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.models.model import Model


@dataclass(frozen=True)
class AvatarOptions:
    """Options of an avatar besides its styles.

    Attributes:
        min_identity: minimum identity to preserve; None for no limit. It has no effect on models
            without a face template.
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
            if not os.path.isfile(name):
                raise StylemixError(
                    f"got the region {name[:60]!a}; expected {', '.join(REGIONS)} or an image "
                    "with the region in white; change --region"
                )
        if (self.keep_color or set(self.regions) & set(REGIONS)) and model.template.eyes is None:
            raise StylemixError(
                f"got a model with the alignment template {model.template.name!r}, which is not "
                "for faces; expected a face template; leave out --keep-color and regions by name, "
                "or set --template"
            )


@dataclass(frozen=True)
class Region:
    """A part of the image: its names, its mask [1, 1, H, W] in the crop, and `beyond` far from it.

    `draw` returns the image with the styles everywhere.
    """

    names: tuple[str, ...]
    mask: Tensor
    beyond: float
    draw: Callable[[], Tensor]


@dataclass(frozen=True)
class Avatar:
    """An avatar.

    Attributes:
        draw: returns the image. It is drawn at the first call, since a drawing of the whole photo
            or of a portrait (`finish`) does not need that of the crop.
        share: of the strength that was applied.
        identity: of the person, if it was measured.
        drawn: whether students drew it.
        keeps_colors: whether it keeps colours of the person.
        region: where the styles act, None for everywhere, or in a drawing with kept colours.
    """

    draw: Callable[[], Tensor]
    share: float = 1.0
    identity: float | None = None
    drawn: bool = False
    keeps_colors: bool = False
    region: Region | None = None

    @property
    def image(self) -> Tensor:
        """The image [1, C, H, W], of the model's size, or of a drawing's for students."""
        return self.draw()

    @property
    def masked(self) -> bool:
        """Whether it keeps colours of the person, or regions without a style."""
        return self.keeps_colors or self.region is not None


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
    person: Latent | None,
    parts: Sequence[AppliedStyle],
    options: AvatarOptions | None = None,
    mask: Tensor | None = None,
    photo: AlignedPhoto | None = None,
) -> Avatar:
    """Renders a person in a sum of styles, within `mask` [1, 1, H, W] (see `region_mask`).

    With `options.min_identity` all strengths are lowered together until the image preserves this
    identity of the person's reconstruction; otherwise, and for a model without a face template,
    identity is not measured.

    What students draw starts from the photo, if there is one, after the edits among the styles, if
    the others move nothing; a person whose styles are all drawn needs no latent then.
    """
    options = options or AvatarOptions()
    options.check(model)
    plain = _Plain(model, person, photo)
    drawings = [part for part in parts if part.by_student]
    rendered = [part for part in parts if not part.by_student]
    amount = options.keep_color
    face, skin = (
        region_mask([name], plain.image, model.template) if amount else None
        for name in ("face", "skin")
    )

    def keep(image: Tensor, original: Tensor) -> Tensor:
        if face is None or skin is None:
            return image
        return keep_colors(image, original, fit_mask(face, image), fit_mask(skin, image), amount)

    @torch.no_grad()  # it may be called later
    def render_at(share: float, mask: Tensor | None = mask) -> Tensor:
        if not drawings:
            return keep(plain.render(weaker(rendered, share), mask), plain.image)
        canvas, colors = plain.canvas(weaker(rendered, share))
        drawn, original = draw_students(canvas, weaker(drawings, share), plain.image.device, colors)
        drawn = keep(drawn, original)
        return drawn if mask is None else original.lerp(drawn, fit_mask(mask, drawn))

    def avatar(share: float, identity: float | None) -> Avatar:
        region = None
        if mask is not None and not (drawings and amount):
            beyond = "background" in options.regions or _border(mask) > 0.5
            region = Region(options.regions, mask, float(beyond), partial(render_at, share, None))
        draw = cache(partial(render_at, share))
        return Avatar(draw, share, identity, bool(drawings), bool(amount), region)

    if options.min_identity is None or model.template.eyes is None:
        return avatar(1.0, None)
    # Of drawings at strength 0, which have another size than the model's image.
    identity_of = likeness(model, render_at(0.0) if drawings else plain.image)
    return avatar(*find_share(lambda s: identity_of(render_at(s)), options.min_identity))


def _border(mask: Tensor) -> float:
    """The mean of a mask [1, 1, H, W] along the sides of the crop."""
    sides = (mask[..., 0, :], mask[..., -1, :], mask[..., 0], mask[..., -1])
    return float(torch.cat([side.flatten() for side in sides]).mean())


class _Plain:
    """A person without styles: the model's image, or the photo where there is no latent."""

    def __init__(self, model: Model, person: Latent | None, photo: AlignedPhoto | None) -> None:
        self.model, self.person, self.photo = model, person, photo
        self.image = self.render(())
        self._photo_canvas: Canvas | None = None

    def render(self, parts: Sequence[AppliedStyle], mask: Tensor | None = None) -> Tensor:
        """The image [1, C, H, W] of the person in styles of the model."""
        generator = self.model.generator
        if self.person is None:
            assert self.photo is not None
            assert not parts
            return self.photo.image[None].to(generator.device, generator.dtype)
        ws = self.person.w[None].to(generator.device, generator.dtype)
        return render(generator, ws, parts, self.person.detail, mask)

    def canvas(self, parts: Sequence[AppliedStyle]) -> tuple[Canvas, ColorMap | None]:
        """What students draw on for the person in styles of the model, and the looks' colours."""
        template = self.model.template
        image = self.render(parts) if parts else self.image
        edits = [part for part in parts if part.is_edit]
        photo, plain = self.photo, self.image
        if edits and photo is not None:
            plain = self.render(edits)
            small = shrink_photo(photo, canvas_side(template))
            photo = edit_photo(small, self.image, plain, template)
        looks = len(parts) > len(edits)
        faces = cache(partial(on_faces, self.model, edits, parts))
        moved = looks and (image.shape[1] != 3 or moves_face(plain, image, faces, template))
        if photo is None or moved:
            return image_canvas(image, template), None
        colors = None
        if looks:
            saturation = style_saturation(plain, image, faces)
            colors = fit_colors(photo.image[None], image, saturation=saturation)
        if photo is not self.photo:
            return photo_canvas(photo, template), colors
        if self._photo_canvas is None:
            self._photo_canvas = photo_canvas(photo, template)
        return self._photo_canvas, colors


def fit_mask(mask: Tensor, image: Tensor) -> Tensor:
    """A mask [1, 1, H, W] in the size of an image."""
    if mask.shape[2:] == image.shape[2:]:
        return mask.to(image)
    return functional.interpolate(mask.to(image), image.shape[2:], mode="bilinear")


def describe(avatar: Avatar, parts: Sequence[AppliedStyle]) -> str:
    """The strength of an avatar's styles as text, with its identity if it was measured."""
    single = len(parts) == 1 and parts[0].shares is None
    strength = f"{parts[0].amount * avatar.share:.2f}" if single else f"x {avatar.share:.2f}"
    identity = "" if avatar.identity is None else f", identity {avatar.identity:.2f}"
    return f"strength {strength}{identity}"

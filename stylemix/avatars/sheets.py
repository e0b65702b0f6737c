"""Sheets of one mix: sources by styles, strengths side by side, and which layers take what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from stylemix.avatars.avatar import Avatar, AvatarOptions, describe, likeness, weaker
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import SMALLEST_CELL, Mixer
from stylemix.avatars.render import AppliedStyle
from stylemix.errors import StylemixError
from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import to_pil
from stylemix.networks.latents import layer_resolutions

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a strip, times the strength


@dataclass
class SheetMaker:
    """Draws what a mixer has read: people by name, each style by itself, all finished alike.

    Attributes:
        size: longer side of a picture in px; None for the model's, but at least 192 px.
    """

    mixer: Mixer
    people: Sequence[str]
    wanted: Sequence[StyleArgument]
    strength: float | None = None
    finish: AvatarOptions = field(default_factory=AvatarOptions)
    size: int | None = None

    @property
    def cell(self) -> int:
        """The longer side of a picture in px."""
        config = self.mixer.generator.config
        return self.size or max(config.height, config.width, SMALLEST_CELL)

    def style_grid(self) -> Image.Image:
        """Rows are people, columns their reconstruction and each style."""
        pictures, labels = [], []
        for who in self.people:
            pictures.append(to_pil(self.mixer.avatar(who).image))
            labels.append("")
            for item in self.wanted:
                parts = self.mixer.parts(who, [item], self.strength)
                avatar = self.mixer.avatar(who, parts, self.finish)
                pictures.append(to_pil(avatar.image))
                labels.append(describe(avatar, parts))
        return grid(
            pictures,
            columns=1 + len(self.wanted),
            column_labels=["reconstruction", *(item.label for item in self.wanted)],
            row_labels=[short_name(who) for who in self.people],
            labels=None if self.finish.min_identity is None else labels,
            cell=self.cell,
        )

    def strength_strip(self) -> Image.Image:
        """A row for each person and style, from the reconstruction to the full strength.

        With an identity to keep, the last column is as strong as that allows.
        """
        pictures, labels, rows = [], [], []
        for who in self.people:
            for item in self.wanted:
                parts = self.mixer.parts(who, [item], self.strength)
                for avatar in self.sweep(who, parts):
                    pictures.append(to_pil(avatar.image))
                    labels.append(describe(avatar, parts))
                rows.append(f"{short_name(who)} {item.label}")
        return grid(pictures, columns=len(STEPS), row_labels=rows, labels=labels, cell=self.cell)

    def sweep(self, who: str, parts: Sequence[AppliedStyle]) -> list[Avatar]:
        """The avatars of a row of a strip, with identities where the model is one of faces."""
        model, free = self.mixer.model, replace(self.finish, min_identity=None)
        full = self.mixer.avatar(who, parts, self.finish).share
        shares = [step * full for step in STEPS]
        images = [self.mixer.avatar(who, weaker(parts, share), free).image for share in shares]
        kept: list[float | None] = [None] * len(images)
        if model.template.eyes is not None:
            kept = list(map(likeness(model, images[0]), images))
        return [Avatar(*one) for one in zip(images, shares, kept, strict=True)]

    def layer_grid(self) -> Image.Image:
        """One style at every range of layers: rows are where it begins, columns where it ends."""
        if len(self.people) != 1 or len(self.wanted) != 1:
            raise StylemixError(
                f"got {len(self.people)} sources and {len(self.wanted)} styles for --layer-grid; "
                "expected one of each; leave out the others"
            )
        who, pictures = self.people[0], list[Image.Image | None]()
        pixels = sorted(set(layer_resolutions(self.mixer.generator.img_resolution)))
        for first in pixels:
            for last in pixels:
                if first > last:
                    pictures.append(None)
                    continue
                layers = f"{first}-{last}px"
                parts = self.mixer.parts(who, self.wanted, self.strength, layers)
                pictures.append(to_pil(self.mixer.avatar(who, parts, self.finish).image))
        return grid(
            pictures,
            columns=len(pixels),
            column_labels=[f"to {px} px" for px in pixels],
            row_labels=[f"from {px} px" for px in pixels],
            title=f"{self.wanted[0].label} in {short_name(who)}, by layers",
            cell=self.cell,
        )


def short_name(who: str) -> str:
    """A short name of a person for labels and files."""
    return StyleArgument(who).name

"""Metrics of projections and styles: reconstruction, identity and style of avatars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from stylemix.avatars.drawing import crop_photo
from stylemix.avatars.finish import MIN_OUTPUT, finish
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import Mixer, Person, StyleInput
from stylemix.avatars.render import AppliedStyle
from stylemix.errors import StylemixError, shown
from stylemix.images.sources import unique_names
from stylemix.images.tensors import to_tensor
from stylemix.inversion.latent import Latent
from stylemix.inversion.loss import Similarity
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.inversion.settings import ProjectionSettings
from stylemix.metrics.avatars import (
    Record,
    edit_magnitude,
    judge_avatars,
    read_avatars,
    summarise,
)
from stylemix.metrics.identity_judge import judged_embedding
from stylemix.metrics.reconstruction import ms_ssim, psnr
from stylemix.metrics.style_distance import JUDGED_WIDTH, image_statistics
from stylemix.models.model import Model
from stylemix.progress import progress_bar
from stylemix.styles.named_directions import named_directions

EDITS = {"smile": 2.0, "yaw": 2.0}  # directions and strengths whose effect is measured
PEOPLE = 8  # whose avatars are in memory at once


class StyleEvaluation:
    """Measures projections into a model, and avatars in styles against the styles' images.

    Args:
        model: the model that renders.
        styles: the styles, with their weights.
        strength: strength of all styles; None for the recommended strength of each style.
        references: images [K, C, H, W] in [-1, 1] of styles whose files have no statistics, by
            name.

    Raises:
        StylemixError: for a style without statistics and without references.
    """

    def __init__(
        self,
        model: Model,
        styles: list[StyleArgument],
        strength: float | None = None,
        references: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.model, self.strength, self.mixer = model, strength, Mixer(model)
        self.styles = self.mixer.read([], styles)[1]
        self.names = list(unique_names(style.name for style in self.styles))
        if other := set(references or {}) - {style.name for style in self.styles}:
            raise StylemixError(
                f"got images of {shown(sorted(other)[0])}; expected images of a style that is "
                f"measured ({', '.join(self.names)}); change the name"
            )
        self.looks = torch.stack([self._look(style, references or {}) for style in self.styles])
        has_face = model.template.eyes is not None
        self.edits = named_directions(model, list(EDITS)) if has_face else {}

    def _look(self, item: StyleInput, references: Mapping[str, Tensor]) -> Tensor:
        device = self.model.generator.device
        if item.name in references:
            return image_statistics(references[item.name].to(device)).mean(dim=0)
        target = None if item.style is None else item.style.statistics
        # Files of before have those of the base's discriminator.
        if target is not None and len(target) == JUDGED_WIDTH:
            return target.to(device)
        raise StylemixError(
            f"got the style {item.name}, whose file has no statistics of its images; "
            f"expected its images; add --images {item.name}=PATH, or make it again with "
            "stylemix adapt"
        )

    def measure(
        self, portraits: Sequence[AlignedPhoto], latents: Sequence[Latent], rows: int | None = None
    ) -> tuple[Record, list[list[Tensor]]]:
        """The metrics of the latents of photos, and the images of the first `rows` photos, or all.

        The images are the photo, its reconstruction and its avatars, each [C, H, W] in [-1, 1];
        photo and avatars are as they would be written, in 256 px at least.
        """
        parts: list[dict[str, dict[str, Tensor]]] = []
        images: list[list[Tensor]] = []
        with progress_bar("Measuring avatars", "photo", leave=False) as report:
            for i in range(0, len(latents), PEOPLE):
                report(i, len(latents))
                part, some = self._measure(portraits[i : i + PEOPLE], latents[i : i + PEOPLE])
                parts.append(part)
                images += some if rows is None else some[: rows - len(images)]
        values = {
            group: {name: _joined([part[group][name] for part in parts]) for name in names}
            for group, names in parts[0].items()
        }
        seconds = torch.tensor(
            [latent.metrics.get("seconds", math.nan) for latent in latents], dtype=torch.float64
        )
        record: Record = {
            "reconstruction": summarise(values["reconstruction"]),
            "avatars": summarise(judge_avatars(values["readings"], self.looks), self.names),
            "cost": summarise({"seconds a photo": seconds}),
        }
        if self.edits:
            record["edits"] = summarise(values["edits"])
        return record, images

    def _measure(
        self, portraits: Sequence[AlignedPhoto], latents: Sequence[Latent]
    ) -> tuple[dict[str, dict[str, Tensor]], list[list[Tensor]]]:
        """What is measured of a few people, and their images."""
        device = self.model.generator.device
        photos = torch.stack([portrait.image for portrait in portraits]).to(device)
        plain = self._render(latents, [[]] * len(latents))
        named = zip(portraits, latents, strict=True)
        people = [Person(portrait.name, latent, portrait) for portrait, latent in named]
        large = torch.stack([self._tensor(crop_photo(one, self.size)) for one in portraits])
        styled = torch.stack(
            [torch.stack([self._styled(one, item) for one in people]) for item in self.styles]
        )
        measured = {
            "reconstruction": self._reconstruction(photos, plain),
            "edits": self._edits(latents),
            "readings": read_avatars(self.model, large, styled),
        }
        return measured, [[large[i], plain[i], *styled[:, i]] for i in range(len(latents))]

    def _styled(self, person: Person, item: StyleInput) -> Tensor:
        """The avatar [C, H, W] of a person as it is written."""
        parts = [self.mixer.apply(item, person, self.strength)]
        avatar = self.mixer.avatar(person, parts)
        return self._tensor(finish(self.mixer, person, avatar, parts, self.size).image)

    @property
    def size(self) -> int:
        """The px of photos and avatars: 256, or the model's if that is more."""
        return max(MIN_OUTPUT, self.model.generator.config.longer_side)

    def _tensor(self, image: Image.Image) -> Tensor:
        config = self.model.generator.config
        return to_tensor(image, channels=config.img_channels)[0].to(self.model.generator.device)

    def _render(self, latents: Sequence[Latent], applied: list[list[AppliedStyle]]) -> Tensor:
        """Images [N, C, H, W] of latents in styles, clipped to [-1, 1] as in image files."""
        pairs = zip(latents, applied, strict=True)
        return torch.cat([self.mixer.draw(latent, styles) for latent, styles in pairs]).clamp(-1, 1)

    @torch.no_grad()
    def _reconstruction(self, photos: Tensor, plain: Tensor) -> dict[str, Tensor]:
        similarity = Similarity(self.model, photos, ProjectionSettings(pixel_weight=0.0))
        metrics = {
            "mse": (plain - photos).square().mean(dim=(1, 2, 3)),
            "psnr": psnr(plain, photos),
            "ms-ssim": ms_ssim(plain, photos),
            "feature distance": similarity.appearance(plain),
        }
        if self.model.template.eyes is not None:
            ours, theirs = (judged_embedding(v, self.model.template) for v in (plain, photos))
            metrics["identity"] = (ours * theirs).sum(dim=1)
        return {key: value.cpu() for key, value in metrics.items()}

    def _edits(self, latents: Sequence[Latent]) -> dict[str, Tensor]:
        magnitudes = {}
        for name, style in self.edits.items():
            strength = EDITS[name]
            less, more = (
                self._render(latents, [[AppliedStyle(style, amount)]] * len(latents))
                for amount in (-strength, strength)
            )
            magnitudes[name] = edit_magnitude(self.model, less, more, name).cpu()
        return magnitudes


def _joined(values: Sequence[Tensor]) -> Tensor:
    """Values [N] or [K, N, ...] of some people after those of others."""
    return torch.cat(list(values), dim=min(1, values[0].ndim - 1))

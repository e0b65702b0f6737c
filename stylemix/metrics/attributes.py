"""What an avatar should keep of a face: glasses, beard, smile, mouth, colours of skin and hair.

Glasses and beards are read by linear probes on MobileNetV2's features (Alain and Bengio 2016),
around the eyes and around the mouth. Their labels are those of generated faces, given by looking at
them; the probes learned from these faces as photos and as the shipped styles draw them
(docs/recipes/train_attributes.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from stylemix.faces.attributes import readings, smile_log_odds
from stylemix.faces.crops import crop_faces
from stylemix.faces.regions import region_mask
from stylemix.faces.templates import FACES128, Template
from stylemix.images.lab import to_lab
from stylemix.images.tensors import as_rgb
from stylemix.io.assets import load_weights
from stylemix.metrics.mobilenet import feature_maps

SIZE = 192  # px of the crops
STAGES = (3, 6, 13)
CHUNK = 16
# Left, top, right and bottom of what a probe looks at, in fractions of a crop of faces128.
PLACES = {"glasses": (0.1, 0.18, 0.9, 0.5), "beard": (0.2, 0.5, 0.8, 0.98)}
SHIFT = 0.05  # of the side, to each side, between two readings of one smile
OPEN_MOUTH, MOUTH_SPREAD = 0.10, 0.02  # gap of the lips in eye distances at even odds, and one e


def probe_features(images: Tensor, template: Template) -> dict[str, Tensor]:
    """Features [N, F] of what each probe looks at in images [N, C, H, H] in [-1, 1], by name.

    Differentiable.
    """
    assert FACES128.eyes is not None
    out: dict[str, list[Tensor]] = {name: [] for name in PLACES}
    for part in as_rgb(images).float().clamp(-1, 1).split(CHUNK):
        crops = crop_faces(part, template, FACES128.eyes, SIZE, "border") / 127.5 - 1
        stages = feature_maps(crops, STAGES)
        for name, edges in PLACES.items():
            rows = []
            for maps in stages:
                left, top, right, bottom = (round(edge * maps.shape[2]) for edge in edges)
                place = maps[:, :, top:bottom, left:right]
                rows += [place.mean(dim=(2, 3)), place.amax(dim=(2, 3))]
            out[name].append(torch.cat(rows, dim=1))
    return {name: torch.cat(parts) for name, parts in out.items()}


def probe(features: Tensor, name: str) -> Tensor:
    """The log-odds [N] of "glasses" or "beard" for their `probe_features`."""
    weights = load_weights("attributes")
    log_odds: Tensor = features @ weights[f"{name}.weight"].to(features) + float(
        weights[f"{name}.bias"]
    )
    return log_odds


def probe_log_odds(images: Tensor, template: Template) -> dict[str, Tensor]:
    """The log-odds [N] of glasses and beard in images [N, C, H, H] in [-1, 1]; differentiable."""
    features = probe_features(images, template)
    return {name: probe(rows, name) for name, rows in features.items()}


@torch.no_grad()
def steady_smiles(images: Tensor, template: Template) -> Tensor:
    """The log-odds [N] of a smile in images [N, 3, H, H] in [-1, 1], the mean of ten readings.

    A single one differs between one face in twelve and its mirror image, so these are of each image
    and its mirror image, at its place and moved to each of four sides.
    """
    height, width = images.shape[2:]
    by = max(1, round(SHIFT * width))
    total = torch.zeros(len(images), device=images.device)
    wide = functional.pad(images, [by] * 4, mode="replicate")
    for top, left in ((by, by), (0, by), (2 * by, by), (by, 0), (by, 2 * by)):
        moved = wide[:, :, top : top + height, left : left + width]
        for view in (moved, moved.flip(3)):
            total += torch.cat([smile_log_odds(part, template) for part in view.split(CHUNK)])
    return total / 10


@torch.no_grad()
def probabilities(images: Tensor, template: Template) -> dict[str, Tensor]:
    """The probabilities [N] of glasses, beard, smile and an open mouth in images [N, C, H, H]."""
    rgb = as_rgb(images).float()
    gaps = torch.cat([readings(part, template)["mouth"] for part in rgb.split(CHUNK)])
    odds = probe_log_odds(rgb, template)
    odds |= {"smile": steady_smiles(rgb, template), "mouth": (gaps - OPEN_MOUTH) / MOUTH_SPREAD}
    return {name: values.sigmoid() for name, values in odds.items()}


@torch.no_grad()
def mean_colors(images: Tensor, masks: Tensor) -> Tensor:
    """The mean L*a*b* [N, 3] of images [N, 3, H, W] within masks [N, 1, H, W]."""
    lab = to_lab(as_rgb(images))
    return (lab * masks).sum(dim=(2, 3)) / masks.sum(dim=(2, 3)).clamp(min=1e-6)


@torch.no_grad()
def kept_attributes(
    photos: Tensor, avatars: Sequence[Tensor], template: Template
) -> dict[str, Tensor]:
    """How avatars [N, C, H, H] in each of K styles agree with photos [N, C, H, H], [K, N] by name.

    "glasses kept" and so on is 1 where the probabilities of avatar and photo differ by less than
    .5. "skin color" and "hair color" are differences of the mean colours (CIE 1976), in the places
    where the photo has skin and hair.
    """
    before = probabilities(photos, template)
    masks = {
        name: torch.cat([region_mask([name], part, template) for part in photos.split(CHUNK)])
        for name in ("skin", "hair")
    }
    colors = {name: mean_colors(photos, mask) for name, mask in masks.items()}
    rows: dict[str, list[Tensor]] = {}
    for images in avatars:
        for name, values in probabilities(images, template).items():
            kept = (values - before[name]).abs() < 0.5
            rows.setdefault(f"{name} kept", []).append(kept.float())
        for name, mask in masks.items():
            fitted = functional.interpolate(mask, images.shape[2:], mode="bilinear")
            away = (mean_colors(images, fitted) - colors[name]).norm(dim=1)
            rows.setdefault(f"{name} color", []).append(away)
    return {name: torch.stack(values) for name, values in rows.items()}

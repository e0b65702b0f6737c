"""Dragging: points of an image are pulled to other places, and the face follows.

DragGAN (arXiv 2305.10973): each step moves the latent so that the features around each handle come
a little nearer to its target (motion supervision), then finds the handles again (point tracking).
Three things differ. The latent moves along the principal axes of the model's latents, in standard
deviations, so that one step size fits every model; by steps along the gradient of a fixed length,
instead of Adam's; and the features around a handle are compared with those of the first image, not
with those of the step before.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from stylemix.avatars.drawing import crop_photo, shrink_photo
from stylemix.avatars.finish import MIN_OUTPUT, check_side, model_image
from stylemix.avatars.inputs import Source
from stylemix.avatars.mixer import Mixer, Person
from stylemix.avatars.motion import edit_photo
from stylemix.avatars.point_tracking import motion_loss, patches, sample, track
from stylemix.avatars.render import prepare, render
from stylemix.devices import in_usual_modes
from stylemix.errors import StylemixError, check_range, shown
from stylemix.faces.alignment import Box
from stylemix.images.sources import Photo, open_image
from stylemix.inversion.encoder import chosen_encoder
from stylemix.inversion.latent import Latent
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.inversion.settings import ProjectionSettings, preset_settings
from stylemix.io.files import StrPath
from stylemix.models.loading import DEFAULT_MODEL, AnyModel, AnyTemplate, use_model
from stylemix.models.model import Model
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.generator import Generator
from stylemix.networks.labels import Label
from stylemix.networks.latents import bands, sample_ws
from stylemix.progress import Progress, report_to

STEPS = 200
MAX_STEPS = 2000
MAX_POINTS = 16
FEATURE_PX = 128  # of the features that are tracked, or half of the model's resolution if smaller
# In px of the features:
STEP = 0.25  # that a handle is asked to move at once
ARRIVED = 0.25  # distance from its target at which a handle has arrived
RATE = 0.015  # of a step, root mean square in standard deviations of the latents
MOMENTUM = 0.8
TINY = 1e-12  # instead of a deviation or gradient of 0, where the image is all alike
MASK_WEIGHT = 1.0  # of changes outside of the mask; more, and few handles arrive
REST_WEIGHT = 0.4  # of changes anywhere, so that colours and identity drift less
MIN_SHARE = 0.2  # of the mask at a handle, which may lie on its soft edge
SAMPLES = 4000  # mapped latents for the principal axes

Point = tuple[float, float]
Points = Sequence[tuple[Point, Point]]  # pairs of a handle and its target
MaskSource = Photo  # a name of a region, or an image in any form


@dataclass(frozen=True)
class DragStep:
    """A step of a drag.

    Attributes:
        step: its number; 0 is the image before the drag.
        latent: the latent, for `mix`, `edit`, `animate` and further drags.
        positions: where the handles are, as (x, y) in px of the model's image.
        targets: where they shall go.
        tolerance: the distance in px at which a handle has arrived.
        model: the model that `image` renders with.
        start: whom the drag began with; None for a latent without a photo.
    """

    step: int
    latent: Latent
    positions: tuple[Point, ...]
    targets: tuple[Point, ...]
    tolerance: float
    model: Model
    start: Person | None = None

    @property
    def distances(self) -> tuple[float, ...]:
        """The distance of each handle from its target, in px of the model's image."""
        return tuple(math.dist(a, b) for a, b in zip(self.positions, self.targets, strict=True))

    @property
    def arrived(self) -> bool:
        """Whether all handles have arrived."""
        return max(self.distances) <= self.tolerance

    @in_usual_modes
    def image(self, size: int | None = None) -> Image.Image:
        """The image, with a longer side of `size` px; None for the model's, but at least 256.

        The crop of the photo that was dragged, where it can follow; else the model's image.
        """
        check_side(size)
        side = size or max(MIN_OUTPUT, self.model.generator.config.longer_side)
        if (photo := self.photo(side)) is not None:
            return crop_photo(photo, side)
        return model_image(self._render(self.latent), self.model.template, size)

    @in_usual_modes
    def photo(self, side: int | None = None) -> AlignedPhoto | None:
        """The whole photo after the drag, with a crop of `side` px at most; None without one."""
        start = self.start
        if start is None or start.photo is None or start.latent is None:
            return None
        photo = start.photo if side is None else shrink_photo(start.photo, side)
        images = self._render(start.latent), self._render(self.latent)
        return edit_photo(photo, *images, self.model.template)

    def _render(self, latent: Latent) -> Tensor:
        generator = self.model.generator
        ws = latent.w[None].to(generator.device, generator.dtype)
        return render(generator, ws, (), latent.detail)


def drag(
    source: Source,
    points: Points,
    *,
    steps: int = STEPS,
    progress: Progress | bool = False,
    **options: Any,
) -> DragStep:
    """Drags handles of a photo or latent to their targets; returns the step that came nearest.

    It stops as soon as all handles have arrived. The options are those of `drag_steps`; progress
    is that of the projection, then that of the drag.

    >>> import stylemix
    >>> done = stylemix.drag("seed:3", [((32, 52), (32, 56))], steps=2)
    >>> len(done.positions), done.image().size
    (1, (256, 256))
    """
    made = drag_steps(source, points, steps=steps, progress=progress, **options)
    return nearest(made, steps, progress)


@in_usual_modes
def drag_steps(
    source: Source,
    points: Points,
    *,
    mask: MaskSource | None = None,
    steps: int = STEPS,
    model: AnyModel = DEFAULT_MODEL,
    template: AnyTemplate | None = None,
    label: Label | None = None,
    face: int | None = None,
    box: Box | None = None,
    preset: str | ProjectionSettings = "balanced",
    budget: float | None = None,
    encoder: StrPath | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
) -> Iterator[DragStep]:
    """The steps of a drag, one by one, beginning with the image as it is; stop whenever you like.

    The other arguments are described at the top of `stylemix.api`.

    Args:
        source: what to drag.
        points: pairs of a handle and its target, each (x, y) in px of the model's image, with 0, 0
            at its upper left corner.
        mask: what may change: an image, white where it may; or "face", "skin", "hair" or
            "background". None for everything.
        steps: most steps.
        progress: of the projection of a photo.
    """
    network = use_model(model, device, template, label)
    start, settings = chosen_encoder(encoder, network), preset_settings(preset, budget)
    mixer = Mixer(network, None, face, None, settings, start, progress, box=box)
    return read_drag(mixer, source, points, mask, steps)


def read_drag(
    mixer: Mixer,
    source: Source | Person,
    points: Points,
    mask: MaskSource | None,
    steps: int = STEPS,
) -> Iterator[DragStep]:
    """The steps of a drag of a source that a mixer reads, or has read; see `drag_steps`.

    All arguments are checked before the first step.
    """
    check_range("--steps", steps, 1, MAX_STEPS)
    if not isinstance(steps, Integral):
        raise StylemixError(f"got --steps {steps:g}; expected a whole number; change it")
    points = check_points(points, mixer.generator.config)
    person = source if isinstance(source, Person) else mixer.read([source], [])[0][0]
    area = None if mask is None else _read_mask(mixer, person, mask, points)
    known = replace(person, latent=mixer.latent(person))
    return _Drag(mixer.model, known, points, area).run(steps)


def nearest(steps: Iterator[DragStep], total: int, progress: Progress | bool) -> DragStep:
    """Goes through the at most `total` steps of a drag; returns the one that came nearest.

    The distance of the farthest handle counts; it is reported as the loss of the progress.
    """
    best = next(steps)
    with report_to(progress, "Dragging") as report:
        for step in steps:
            if max(step.distances) < max(best.distances):
                best = step
            if report is not None:
                report(step.step, total, max(step.distances))
    return best


def check_points(points: Points, config: GeneratorConfig) -> Points:
    """The points as floats; StylemixError for none, too many, or those outside of the image."""
    size = f"the model's image of {config.width} x {config.height} px"
    try:
        given = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):  # of text, and of points of several lengths
        given = np.zeros([1])
    if given.shape[:1] != (0,) and given.shape[1:] != (2, 2):
        raise StylemixError(
            f"got the points {shown(points)}; expected pairs of a handle and its target, as in "
            "[((32, 54), (32, 50))]; change them"
        )
    if not 1 <= len(given) <= MAX_POINTS:
        raise StylemixError(
            f"got {len(given)} points; expected 1 to {MAX_POINTS}, each as X,Y:X,Y in px of "
            f"{size}; change them"
        )
    for pair in given.tolist():
        for x, y in pair:
            if not (0 <= x <= config.width and 0 <= y <= config.height):  # NaN is refused, too
                raise StylemixError(
                    f"got the point {x:g},{y:g}; expected one within {size}; move it"
                )
    return [((a, b), (c, d)) for (a, b), (c, d) in given.tolist()]


def _read_mask(mixer: Mixer, person: Person, mask: MaskSource, points: Points) -> Tensor:
    """The mask [1, 1, H, W]; StylemixError if a handle lies where nothing may change."""
    if not isinstance(mask, str | os.PathLike):
        area = mixer.painted(person, open_image(mask, mode="RGBA"), "--mask")
    else:
        found = mixer.mask(person, (os.fspath(mask),))
        assert found is not None
        area = found
    handles = torch.tensor([handle for handle, _ in points]).to(area)
    for (x, y), share in zip(handles.tolist(), sample(area[0], handles)[:, 0], strict=True):
        if share < MIN_SHARE:
            raise StylemixError(
                f"got the handle {x:g},{y:g} outside of the mask; expected it where the mask is "
                "white, since nothing else may move; change the mask or the point"
            )
    return area


class _Drag:
    """The latent of a person in motion, and the handles in its features."""

    def __init__(self, model: Model, person: Person, points: Points, mask: Tensor | None) -> None:
        assert person.latent is not None
        self.model, self.person, self.latent = model, person, person.latent
        generator = model.generator
        config, device = generator.config, generator.device
        size = min(FEATURE_PX, max(generator.img_resolution // 2, 4))
        self.blocks = sum(resolution <= size for resolution in config.resolutions)
        self.scale = config.block_size(size)[1] / config.width  # px of the features per px
        self.start = self.latent.w[None].to(device, generator.dtype)
        # Without noise and features of a photo, which stay in place and would hold the handles.
        self.drawing = prepare(generator, self.start, (), self.latent.detail)
        self.drawing.noise, self.drawing.override = "none", None
        layers = bands(generator.img_resolution)
        self.rows = [*layers["coarse"], *layers["middle"]] or [0]
        self.axes = principal_axes(generator)
        self.code = torch.zeros([len(self.rows), generator.w_dim]).to(self.start)
        self.code.requires_grad_(True)
        handles, targets = zip(*points, strict=True)
        self.positions = torch.tensor(handles).to(self.start) * self.scale
        self.targets = torch.tensor(targets).to(self.start) * self.scale
        self.goal = tuple((float(x), float(y)) for x, y in targets)
        with torch.no_grad():
            plain = self._plain_features()
            # Each channel counts the same.
            spread = plain.std(dim=(1, 2), keepdim=True) + 1e-3 * plain.std()
            self.spread = spread.clamp(min=TINY)
            self.first = plain / self.spread
            self.wanted = patches(self.first, self.positions)
        self.hold = torch.full_like(self.first[:1], REST_WEIGHT)
        if mask is not None:
            area = functional.interpolate(mask, self.first.shape[1:], mode="area")
            self.hold += MASK_WEIGHT * (1 - area[0].to(self.first))

    def ws(self) -> Tensor:
        """The latents [1, L, w_dim] of the current code."""
        rows = torch.tensor(self.rows, device=self.start.device)
        return self.start.index_add(1, rows, (self.code @ self.axes)[None])

    def _plain_features(self) -> Tensor:
        self.drawing.ws = self.ws()
        return self.drawing.run(stop=self.blocks)[0][0].to(self.start)

    def run(self, steps: int) -> Iterator[DragStep]:
        """Yields the image before the drag, and each of the steps."""
        mean: Tensor | None = None
        for number in range(steps + 1):
            features = self._plain_features() / self.spread
            if number:
                self.positions = track(features.detach(), self.wanted, self.positions)
            yield (state := self._state(number))
            if state.arrived or number == steps:
                return
            ahead = self.targets - self.positions
            length = torch.linalg.vector_norm(ahead, dim=1, keepdim=True)
            ahead = ahead * (STEP / length.clamp(min=STEP))
            loss = motion_loss(features, self.wanted, self.positions + ahead)
            loss = loss + ((features - self.first).abs() * self.hold).mean()
            (gradient,) = torch.autograd.grad(loss, self.code)
            mean = gradient if mean is None else mean.lerp(gradient, 1 - MOMENTUM)
            with torch.no_grad():
                self.code -= RATE * mean / mean.square().mean().sqrt().clamp(min=TINY)

    def _state(self, number: int) -> DragStep:
        w = self.ws()[0].detach().clone()
        base = self.latent.base or self.model.fingerprint
        moved = replace(self.latent, w=w, base=base, metrics={}, photo=None, model=self.model)
        positions = tuple((x, y) for x, y in (self.positions / self.scale).tolist())
        tolerance = ARRIVED / self.scale
        return DragStep(number, moved, positions, self.goal, tolerance, self.model, self.person)


def principal_axes(generator: Generator) -> Tensor:
    """The principal axes [w_dim, w_dim] of mapped latents, each one standard deviation long."""
    w = sample_ws(generator, SAMPLES, 0)[:, 0].double().cpu()
    values, vectors = torch.linalg.eigh(torch.cov(w.t()))
    axes: Tensor = values.clamp(min=0).sqrt()[:, None] * vectors.t()
    return axes.to(generator.device, generator.dtype)

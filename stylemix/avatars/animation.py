"""Animations: keyframes of people and styles, and interpolation between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from PIL import Image
from torch import Tensor

from stylemix.avatars.drawing import draw_students, image_canvas, photo_canvas
from stylemix.avatars.finish import model_image
from stylemix.avatars.inputs import Source, StyleArgument
from stylemix.avatars.mixer import Mixer, Person, StyleInput
from stylemix.avatars.render import render
from stylemix.errors import StylemixError, check_range
from stylemix.inversion.latent import Latent
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.inversion.residual import Residual
from stylemix.networks.batches import batch_size
from stylemix.networks.latents import mix
from stylemix.styles.named_directions import find_directions
from stylemix.styles.style import check_strength

BATCH = 8  # images rendered at once, if they share weights
MAX_SECONDS = 600.0  # of a transition or a hold
MAX_FPS = 60
EASINGS: dict[str, Callable[[float], float]] = {
    "smooth": lambda t: t * t * (3 - 2 * t),
    "linear": lambda t: t,
}


@dataclass(frozen=True)
class Keyframe:
    """A person and the strength of each style and direction; others have strength 0."""

    person: Latent
    strengths: Mapping[StyleInput, float]


@dataclass(frozen=True)
class Moment:
    """An image at progress `t` in [0, 1] between two keyframes (by index), and its frame count."""

    start: int
    end: int
    t: float = 0.0
    frames: int = 1


def plan(
    mixer: Mixer,
    people: Sequence[Person],
    styles: Sequence[StyleInput] = (),
    directions: Mapping[StyleInput, float] | None = None,
    strength: float | None = None,
) -> list[Keyframe]:
    """The keyframes of people and styles that a mixer has read: the k-th person, the k-th style.

    The shorter list repeats, so that a single entry is constant. Directions alternate between
    minus and plus their strength. A single person in a single style goes from strength 0 to full.
    """
    moves = directions or {}
    weighted = [(style, mixer.apply(style, people[0], strength).amount) for style in styles]
    count = max(len(people), len(weighted), 2 if moves else 1)
    if count == 1 and weighted:
        weighted, count = [(weighted[0][0], 0.0), weighted[0]], 2
    keys = []
    for k in range(count):
        strengths = dict([weighted[k % len(weighted)]] if weighted else [])
        for style, amount in moves.items():
            strengths[style] = strengths.get(style, 0.0) + (amount if k % 2 else -amount)
        keys.append(Keyframe(mixer.latent(people[k % len(people)]), strengths))
    return keys


@dataclass(frozen=True)
class Timing:
    """The timing of keyframes: transitions and holds in seconds, frames per second and easing."""

    seconds: float = 2.0
    hold: float = 0.5
    fps: int = 25
    loop: bool = True
    easing: str = "smooth"

    def __post_init__(self) -> None:
        check_times(self.seconds, self.hold)
        if not isinstance(self.fps, Integral) or not 1 <= self.fps <= MAX_FPS:
            raise StylemixError(
                f"got {self.fps!r} frames per second; expected 1 to {MAX_FPS}; change them"
            )
        if self.easing not in EASINGS:
            raise StylemixError(f"got easing {self.easing!r}; expected one of {', '.join(EASINGS)}")


@dataclass(frozen=True)
class Animation:
    """Keyframes and the moments to show; images are rendered lazily.

    `photo` is what students draw on if nothing else changes; else they draw on the model's images.
    """

    mixer: Mixer
    keys: list[Keyframe]
    times: list[Moment]
    size: int | None = None
    photo: AlignedPhoto | None = None

    @property
    def lengths(self) -> list[int]:
        """The number of frames of each image."""
        return [moment.frames for moment in self.times]

    def images(self) -> Iterator[Image.Image]:
        """The images, with a longer side of `size` px."""
        return (
            model_image(image[None], self.mixer.model.template, self.size)
            for image in draw(self.mixer, self.keys, self.times, self.photo)
        )


def read_animation(
    mixer: Mixer,
    sources: Sequence[Source],
    styles: Sequence[StyleArgument],
    directions: Mapping[str, float],
    timing: Timing,
    strength: float | None = None,
    size: int | None = None,
) -> Animation:
    """Reads sources and styles, and plans the keyframes (see `plan`) and their timing."""
    if len(sources) < 2 and not styles and not directions:
        raise StylemixError(
            "got one source and nothing that changes; expected another source, a style or a "
            "direction; add one (--source, --style, --direction)"
        )
    for amount in [*directions.values(), *([] if strength is None else [strength])]:
        check_strength(amount)
    moves = find_directions(mixer.model, list(directions))
    people, inputs = mixer.read(sources, styles)
    strengths = {StyleInput(name, style=moves[name]): directions[name] for name in directions}
    keys = plan(mixer, people, inputs, strengths, strength)
    times = moments(len(keys), timing.fps, timing.seconds, timing.hold, timing.loop, timing.easing)
    only_drawn = (
        len(people) == 1
        and not moves
        and all(mixer.apply(style, people[0]).by_student for style in inputs)
    )
    return Animation(mixer, keys, times, size, people[0].photo if only_drawn else None)


def check_times(seconds: float, hold: float) -> None:
    """Raises StylemixError for times out of range; called before long computations."""
    for name, value in (("seconds", seconds), ("hold", hold)):
        check_range(f"--{name}", value, 0, MAX_SECONDS)


def moments(
    count: int,
    fps: int,
    seconds: float,
    hold: float = 0.0,
    loop: bool = True,
    easing: str = "smooth",
) -> list[Moment]:
    """The moments of an animation: each of `count` keyframes holds, then changes to the next.

    Times are in seconds. With `loop` the last keyframe changes back to the first, which is not
    shown twice.
    """
    check_times(seconds, hold)
    steps, hold_frames = max(1, round(seconds * fps)), 1 + round(hold * fps)
    ease = EASINGS[easing]
    out = []
    for start in range(count if loop else count - 1):
        end = (start + 1) % count
        out.append(Moment(start, end, frames=hold_frames))
        out += [Moment(start, end, ease(step / steps)) for step in range(1, steps)]
    return out if loop else [*out, Moment(count - 1, count - 1, frames=hold_frames)]


def between(mixer: Mixer, first: Keyframe, second: Keyframe, t: float) -> Keyframe:
    """Interpolates w, residual and strengths linearly, from `first` (t = 0) to `second` (t = 1)."""
    strengths = {
        style: (1 - t) * first.strengths.get(style, 0.0) + t * second.strengths.get(style, 0.0)
        for style in {**first.strengths, **second.strengths}
    }
    person, other = first.person, second.person
    if other is not person and t:
        person = Latent(
            mix(person.w, other.w, strength=t),
            person.base,
            detail=Residual.lerp(person.detail, other.detail, t, mixer.generator.synthesis),
        )
    return Keyframe(person, {style: value for style, value in strengths.items() if value})


def draw(
    mixer: Mixer,
    keys: Sequence[Keyframe],
    times: Sequence[Moment],
    photo: AlignedPhoto | None = None,
) -> Iterator[Tensor]:
    """Renders the moments lazily to images [C, H, W] in [-1, 1].

    If students draw any of them, all have the size of drawings; `photo` is what they draw on.
    """
    frames = (between(mixer, keys[m.start], keys[m.end], m.t) for m in times)
    drawn = any(
        mixer.apply(style, key.person).by_student for key in keys for style in key.strengths
    )
    canvas = None if photo is None or not drawn else photo_canvas(photo, mixer.model.template)
    for batch in _batches(frames, batch_size(mixer.model.generator, BATCH)):
        person, strengths = batch[0].person, batch[0].strengths
        applied = [mixer.apply(replace(style, weight=v), person) for style, v in strengths.items()]
        ws = torch.stack([frame.person.w.to(mixer.device) for frame in batch])
        images = render(mixer.generator, ws, applied, person.detail)
        if not drawn:
            yield from images
            continue
        students = [part for part in applied if part.by_student]
        for image in images.split(1):
            base = canvas or image_canvas(image, mixer.model.template)
            yield draw_students(base, students, mixer.device)[0][0]


def _batches(frames: Iterator[Keyframe], most: int) -> Iterator[list[Keyframe]]:
    """Batches of up to `most` frames that differ in w alone, so that they share weights."""
    batch: list[Keyframe] = []
    for frame in frames:
        if batch and (len(batch) == most or not _share_weights(batch[0], frame)):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def _share_weights(first: Keyframe, other: Keyframe) -> bool:
    """Whether two frames differ in w alone; a style from an image depends on the person's w."""
    if any(style.style is None for style in first.strengths):
        return False
    return first.strengths == other.strengths and first.person.detail is other.person.detail

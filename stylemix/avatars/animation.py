"""Animations: keyframes of people and styles, and interpolation between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from stylemix.avatars.drawing import crop_photo, draw_students, image_canvas
from stylemix.avatars.finish import Finished, finish, model_image, photos_follow
from stylemix.avatars.inputs import Source, StyleArgument
from stylemix.avatars.mixer import Mixer, Person, StyleInput
from stylemix.avatars.motion import morph_photos
from stylemix.avatars.render import render
from stylemix.errors import StylemixError, check_choice, check_range
from stylemix.inversion.latent import Latent
from stylemix.inversion.residual import Residual
from stylemix.networks.batches import batch_size
from stylemix.networks.latents import mix
from stylemix.styles.named_directions import find_directions
from stylemix.styles.style import check_strength

BATCH = 8  # images rendered at once, if they share weights
PHOTO_PX = 512  # of the images of a photo, by default, as large as drawings
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
        check_range("--seconds", self.seconds, 0, MAX_SECONDS)
        check_range("--hold", self.hold, 0, MAX_SECONDS)
        check_range("--fps", self.fps, 1, MAX_FPS)
        check_choice("easing", self.easing, EASINGS)
        check_choice("loop", self.loop, (True, False))


@dataclass(frozen=True)
class Animation:
    """Keyframes and the moments to show; images are rendered lazily.

    Where all `people`, one for each keyframe, have photos that can carry it, frames are finished as
    avatars are, in 512 px by default, and between two people their photos move towards each other.
    Other images are those of the model, enlarged.
    """

    mixer: Mixer
    keys: list[Keyframe]
    times: list[Moment]
    size: int | None = None
    people: Sequence[Person] = ()

    @property
    def lengths(self) -> list[int]:
        """The number of frames of each image."""
        return [moment.frames for moment in self.times]

    def images(self) -> Iterator[Image.Image]:
        """The images, with a longer side of `size` px."""
        if self._on_photos():
            for moment in self.times:
                start, end = self.keys[moment.start], self.keys[moment.end]
                frame = between(self.mixer, start, end, moment.t)
                yield self._finished(self._person(moment, frame), frame).image
            return
        for image in draw(self.mixer, self.keys, self.times):
            yield model_image(image[None], self.mixer.model.template, self.size)

    def _on_photos(self) -> bool:
        if not self.people or not all(one.photo for one in self.people):
            return False
        if not photos_follow(self.mixer.model):
            return False
        pairs = zip(self.people, self.keys, strict=True)
        return all(self._finished(person, key).on_photo for person, key in pairs)

    def _person(self, moment: Moment, frame: Keyframe) -> Person:
        first, second = self.people[moment.start], self.people[moment.end]
        if first is second or not moment.t:
            return first
        images = [self.mixer.draw(person) for person in (first, second, frame.person)]
        assert first.photo is not None
        assert second.photo is not None
        side = self.size or PHOTO_PX
        template = self.mixer.model.template
        photo = morph_photos((first.photo, second.photo), images, moment.t, template, side)
        return Person(f"{first.name} to {second.name}", frame.person, photo)

    def _finished(self, person: Person, frame: Keyframe) -> Finished:
        # All styles take part, those of strength 0 too, so that all frames are made alike.
        strengths = {style: 0.0 for key in self.keys for style in key.strengths}
        strengths |= frame.strengths
        weighted = [replace(style, weight=value) for style, value in strengths.items()]
        size = self.size or PHOTO_PX
        if not weighted and person.photo is not None:
            return Finished(crop_photo(person.photo, size), "the photo", "crop")
        parts = self.mixer.apply_all(weighted, person)
        avatar = self.mixer.avatar(person, parts)
        return finish(self.mixer, person, avatar, parts, size)


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
    if not sources:
        raise StylemixError("got no source; expected one or more; name a photo")
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
    times = moments(len(keys), timing)
    return Animation(mixer, keys, times, size, [people[k % len(people)] for k in range(len(keys))])


def moments(count: int, timing: Timing) -> list[Moment]:
    """The moments of an animation: each of `count` keyframes holds, then changes to the next.

    In a loop the last keyframe changes back to the first, which is not shown twice.
    """
    steps = max(1, round(timing.seconds * timing.fps))
    hold_frames = 1 + round(timing.hold * timing.fps)
    ease = EASINGS[timing.easing]
    out = []
    for start in range(count if timing.loop else count - 1):
        end = (start + 1) % count
        out.append(Moment(start, end, frames=hold_frames))
        out += [Moment(start, end, ease(step / steps)) for step in range(1, steps)]
    return out if timing.loop else [*out, Moment(count - 1, count - 1, frames=hold_frames)]


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


def draw(mixer: Mixer, keys: Sequence[Keyframe], times: Sequence[Moment]) -> Iterator[Tensor]:
    """Renders the moments lazily to images [C, H, W] in [-1, 1].

    If students draw any of them, all have the size of drawings.
    """
    frames = (between(mixer, keys[m.start], keys[m.end], m.t) for m in times)
    drawn = any(
        mixer.apply(style, key.person).by_student for key in keys for style in key.strengths
    )
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
            canvas = image_canvas(image, mixer.model.template)
            yield draw_students(canvas, students, mixer.device)[0][0]


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

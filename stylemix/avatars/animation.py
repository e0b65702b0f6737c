"""Animations: keyframes of people and styles, and the images between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from stylemix.avatars.finish import enlarge
from stylemix.avatars.inputs import Source, StyleArgument
from stylemix.avatars.mixer import Mixer, Person, StyleInput
from stylemix.avatars.render import render
from stylemix.errors import StylemixError, check_range
from stylemix.images.tensors import to_pil
from stylemix.inversion.latent import Latent
from stylemix.inversion.residual import Residual
from stylemix.networks.latents import mix
from stylemix.styles.named_directions import find_directions
from stylemix.styles.style import check_strength

BATCH = 8  # images that are drawn at once, where they share a network
MAX_SECONDS = 600.0  # of a step or a hold
EASINGS: dict[str, Callable[[float], float]] = {
    "smooth": lambda t: t * t * (3 - 2 * t),
    "linear": lambda t: t,
}


@dataclass(frozen=True)
class Keyframe:
    """Who is seen, and how strong each style and direction is; 0 for others."""

    person: Latent
    strengths: Mapping[StyleInput, float]


@dataclass(frozen=True)
class Moment:
    """An image at `t` (0 to 1) from one keyframe to another, by index, for so many frames."""

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
    """The keyframes of what a mixer has read: the k-th person in the k-th style.

    The shorter list starts over, so that what is given once stays. Directions go from minus to
    plus their strength. Where nothing would change, the style goes from 0 to its strength.
    """
    moves = directions or {}
    worn = [(style, mixer.apply(style, people[0], strength).amount) for style in styles]
    count = max(len(people), len(worn), 2 if moves else 1)
    if count == 1 and worn:
        worn, count = [(worn[0][0], 0.0), worn[0]], 2
    keys = []
    for k in range(count):
        strengths = dict([worn[k % len(worn)]] if worn else [])
        for style, amount in moves.items():
            strengths[style] = strengths.get(style, 0.0) + (amount if k % 2 else -amount)
        keys.append(Keyframe(people[k % len(people)].latent, strengths))
    return keys


@dataclass(frozen=True)
class Timing:
    """How keyframes follow each other: times in seconds, frames a second, and the way there."""

    seconds: float = 2.0
    hold: float = 0.5
    fps: int = 25
    loop: bool = True
    easing: str = "smooth"

    def __post_init__(self) -> None:
        check_times(self.seconds, self.hold)
        if self.easing not in EASINGS:
            raise StylemixError(f"got easing {self.easing!r}; expected one of {', '.join(EASINGS)}")


@dataclass(frozen=True)
class Animation:
    """Keyframes with what is shown when; images are drawn as they are asked for."""

    mixer: Mixer
    keys: list[Keyframe]
    times: list[Moment]
    size: int | None = None

    @property
    def lengths(self) -> list[int]:
        """Frames that each image stays."""
        return [moment.frames for moment in self.times]

    def images(self) -> Iterator[Image.Image]:
        """The images, with a longer side of `size` px."""
        return (
            enlarge(to_pil(image), self.size) for image in draw(self.mixer, self.keys, self.times)
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
    """Reads sources and styles, plans the keyframes and times them; as `plan`."""
    if len(sources) < 2 and not styles and not directions:
        raise StylemixError(
            "got one source and nothing that changes; expected another source, a style or a "
            "direction; give one (--source, --style, --direction)"
        )
    for amount in [*directions.values(), *([] if strength is None else [strength])]:
        check_strength(amount)
    moves = find_directions(mixer.model, list(directions))
    people, inputs = mixer.read(sources, styles)
    strengths = {StyleInput(name, style=moves[name]): directions[name] for name in directions}
    keys = plan(mixer, people, inputs, strengths, strength)
    times = moments(len(keys), timing.fps, timing.seconds, timing.hold, timing.loop, timing.easing)
    return Animation(mixer, keys, times, size)


def check_times(seconds: float, hold: float) -> None:
    """Raises StylemixError for times that cannot be; called before long work."""
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
    """What is seen when: `seconds` from each of `count` keyframes to the next, after its `hold`.

    With `loop` the last goes back to the first, which is not shown twice.
    """
    check_times(seconds, hold)
    steps, still = max(1, round(seconds * fps)), 1 + round(hold * fps)
    ease = EASINGS[easing]
    out = []
    for start in range(count if loop else count - 1):
        end = (start + 1) % count
        out.append(Moment(start, end, frames=still))
        out += [Moment(start, end, ease(step / steps)) for step in range(1, steps)]
    return out if loop else [*out, Moment(count - 1, count - 1, frames=still)]


def between(mixer: Mixer, first: Keyframe, second: Keyframe, t: float) -> Keyframe:
    """The keyframe at `t` from one (0) to another (1): w, residual and strengths, each linear."""
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
    """The images [C, H, W] in [-1, 1] of moments, drawn as they are asked for."""
    frames = (between(mixer, keys[m.start], keys[m.end], m.t) for m in times)
    for group in _groups(frames):
        person, strengths = group[0].person, group[0].strengths
        applied = [mixer.apply(replace(style, weight=v), person) for style, v in strengths.items()]
        ws = torch.stack([frame.person.w.to(mixer.device) for frame in group])
        yield from render(mixer.generator, ws, applied, person.detail)


def _groups(frames: Iterator[Keyframe]) -> Iterator[list[Keyframe]]:
    """Neighbours that differ in w alone, together: a style with weights copies the network."""
    group: list[Keyframe] = []
    for frame in frames:
        if group and (len(group) == BATCH or not _alike(group[0], frame)):
            yield group
            group = []
        group.append(frame)
    if group:
        yield group


def _alike(one: Keyframe, other: Keyframe) -> bool:
    """Whether two differ in w alone; the look of another image depends on the person's w."""
    own = any(style.style is None for style in one.strengths)
    return not own and one.strengths == other.strengths and one.person.detail is other.person.detail

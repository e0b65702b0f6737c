"""Videos: keyframes of people and looks, and the pictures between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import Mixer
from stylemix.avatars.render import render
from stylemix.errors import StylemixError
from stylemix.inversion.latent import Latent
from stylemix.inversion.residual import Residual
from stylemix.networks.latents import mix
from stylemix.styles.style import Style

BATCH = 8  # pictures that are drawn at once, where they share a network
LONGEST = 600.0  # seconds of a step or a hold
EASINGS: dict[str, Callable[[float], float]] = {
    "smooth": lambda along: along * along * (3 - 2 * along),
    "linear": lambda along: along,
}


@dataclass(frozen=True)
class Keyframe:
    """Who is seen, and how strong each style and direction is, by name; 0 for others."""

    person: Latent
    looks: Mapping[str, float]


@dataclass(frozen=True)
class Moment:
    """A picture `along` (0 to 1) from one keyframe to another, by index, for so many frames."""

    start: int
    end: int
    along: float = 0.0
    frames: int = 1


def plan(
    mixer: Mixer,
    sources: Sequence[str],
    styles: Sequence[StyleArgument] = (),
    directions: Mapping[str, tuple[Style, float]] | None = None,
    strength: float | None = None,
) -> list[Keyframe]:
    """The keyframes of what a mixer has read: the k-th source in the k-th style.

    The shorter list starts over, so that what is given once is held. Directions go from minus to
    plus their strength. Where nothing would change, the style goes from nought to its strength.
    """
    moves = directions or {}
    people = [mixer.people[source] for source in sources]
    mixer.styles |= {name: style for name, (style, _) in moves.items()}
    worn = [(item.what, mixer.ingredient(item, people[0], strength).amount) for item in styles]
    count = max(len(people), len(worn), 2 if moves else 1)
    if count == 1 and worn:
        worn, count = [(worn[0][0], 0.0), worn[0]], 2
    keys = []
    for k in range(count):
        looks = dict([worn[k % len(worn)]] if worn else [])
        for name, (_, amount) in moves.items():
            looks[name] = looks.get(name, 0.0) + (amount if k % 2 else -amount)
        keys.append(Keyframe(people[k % len(people)], looks))
    return keys


def check_times(seconds: float, hold: float) -> None:
    """Raises StylemixError for times that cannot be; commands call it before long work."""
    for name, value in (("seconds", seconds), ("hold", hold)):
        if not 0 <= value <= LONGEST:  # so written that NaN is refused as well
            raise StylemixError(f"got --{name} {value:g}; expected 0 to {LONGEST:g}; change it")


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
    found = []
    for start in range(count if loop else count - 1):
        end = (start + 1) % count
        found.append(Moment(start, end, frames=still))
        found += [Moment(start, end, ease(step / steps)) for step in range(1, steps)]
    return found if loop else [*found, Moment(count - 1, count - 1, frames=still)]


def between(mixer: Mixer, first: Keyframe, second: Keyframe, along: float) -> Keyframe:
    """The keyframe on the way from one (0) to another (1): w, detail and strengths, each linear."""
    looks = {
        name: (1 - along) * first.looks.get(name, 0.0) + along * second.looks.get(name, 0.0)
        for name in {**first.looks, **second.looks}
    }
    person, other = first.person, second.person
    if other is not person and along:
        person = Latent(
            mix(person.w, other.w, strength=along),
            person.base,
            detail=Residual.lerp(person.detail, other.detail, along, mixer.generator.synthesis),
        )
    return Keyframe(person, {name: value for name, value in looks.items() if value})


def draw(mixer: Mixer, keys: Sequence[Keyframe], times: Sequence[Moment]) -> Iterator[Tensor]:
    """The pictures [C, H, W] in [-1, 1] of moments, drawn as they are asked for."""
    frames = (between(mixer, keys[m.start], keys[m.end], m.along) for m in times)
    for group in _groups(mixer, frames):
        person = group[0].person
        wanted = [StyleArgument(name, amount) for name, amount in group[0].looks.items()]
        parts = [mixer.ingredient(item, person, None) for item in wanted]
        ws = torch.stack([frame.person.w.to(mixer.device) for frame in group])
        yield from render(mixer.generator, ws, parts, person.detail)


def _groups(mixer: Mixer, frames: Iterator[Keyframe]) -> Iterator[list[Keyframe]]:
    """Neighbours that differ in w alone, together: a style with weights copies the network."""
    group: list[Keyframe] = []
    for frame in frames:
        if group and (len(group) == BATCH or not _alike(mixer, group[0], frame)):
            yield group
            group = []
        group.append(frame)
    if group:
        yield group


def _alike(mixer: Mixer, one: Keyframe, other: Keyframe) -> bool:
    """Whether two differ in w alone; the look of another picture depends on the person's w."""
    own = any(isinstance(mixer.styles[name], Tensor) for name in one.looks)
    return not own and one.looks == other.looks and one.person.detail is other.person.detail

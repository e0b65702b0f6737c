"""Schedules: settings that change with the number of images, parsed from text."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from stylemix.errors import StylemixError

_POINT = re.compile(r"([,~])")


@dataclass(frozen=True)
class Schedule:
    """Points (kimg, value) and the interpolation between them: linear, or half a cosine."""

    points: tuple[tuple[float, float], ...]
    cosine: tuple[bool, ...] = ()

    def at(self, cur_nimg: int) -> float:
        """Returns the value after `cur_nimg` images; constant outside the points."""
        kimg = cur_nimg / 1000
        previous = self.points[0]
        if kimg <= previous[0]:
            return previous[1]
        for point, cosine in zip(self.points[1:], self.cosine, strict=True):
            if kimg < point[0]:
                t = (kimg - previous[0]) / (point[0] - previous[0])
                if cosine:
                    t = (1 - math.cos(math.pi * t)) / 2
                return previous[1] + (point[1] - previous[1]) * t
            previous = point
        return previous[1]


@lru_cache(maxsize=64)
def parse_schedule(value: float | str, name: str = "schedule") -> Schedule:
    """Parses `0.002`, or `KIMG:VALUE,KIMG:VALUE` with `~` instead of `,` for half a cosine wave.

    `0:0.0025,800:0.0025,1000:0` is .0025 up to 800 kimg and then decays linearly to 0;
    `0:0.0002~20000:0.00005` decays as in R3GAN (arXiv 2501.05441, appendix).
    """
    parts = _POINT.split(str(value))
    try:
        if len(parts) == 1 and ":" not in parts[0]:
            points = [(0.0, float(parts[0]))]
        else:
            pairs = [part.split(":") for part in parts[::2]]
            points = [(float(kimg), float(number)) for kimg, number in pairs]
    except ValueError:
        raise _wrong(value, name) from None
    rising = all(a[0] < b[0] for a, b in pairwise(points))
    if not rising or not all(math.isfinite(x) for point in points for x in point):
        raise _wrong(value, name)
    return Schedule(tuple(points), tuple(mark == "~" for mark in parts[1::2]))


def _wrong(value: float | str, name: str) -> StylemixError:
    return StylemixError(
        f"got {name} {value!r}; expected a number, or rising points KIMG:VALUE,KIMG:VALUE such as "
        "0:0.0025,1000:0"
    )

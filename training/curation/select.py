"""Selects the images of a dataset by size, sharpness, duplicates, and images per person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stylemix.errors import StylemixError
from stylemix.training.curation.crop import Measures
from stylemix.training.curation.filters import (
    BLURRED,
    HASH_BITS,
    SAME_PERSON_IN_CROWD,
    find_duplicates,
    group_people,
    hamming_distance,
)


@dataclass(frozen=True)
class KeepSettings:
    """Criteria for the images to keep.

    Args:
        min_face: minimum width of a face in pixels of the photo; 0 for no limit.
        max_upscale: maximum upsampling factor of a crop; 0 for no limit.
        min_sharpness: minimum `sharpness`; 0 for no limit.
        duplicates: Hamming distance of `perceptual_hash` within which images are duplicates, 0
            to 16 bits; -1 keeps all.
        max_per_person: maximum images of one person; 0 for no limit. For aligned faces.
        same_person: distance of descriptors below which two faces are one person.
    """

    min_face: float = 0
    max_upscale: float = 1.5
    min_sharpness: float = BLURRED
    duplicates: int = 4
    max_per_person: int = 0
    same_person: float = SAME_PERSON_IN_CROWD

    def __post_init__(self) -> None:
        if not -1 <= self.duplicates <= HASH_BITS // 4:
            raise StylemixError(
                f"got duplicates {self.duplicates}; expected 0 to {HASH_BITS // 4} bits, or -1 to "
                "keep them all"
            )
        for name in ("min_face", "max_upscale", "min_sharpness", "max_per_person", "same_person"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise StylemixError(f"got {name} {value}; expected 0 or more")


@dataclass(frozen=True)
class Candidate:
    """A finished image: the name of its photo, its measurements, and the key of its bytes."""

    file: str
    measures: Measures
    key: str
    index: int

    def __str__(self) -> str:
        face = self.measures.face
        return self.file if face is None or face == 1 else f"{self.file} (face {face})"


@dataclass(frozen=True)
class LeftOut:
    """A photo, or one of its faces, that is not in the dataset."""

    file: str
    reason: str
    detail: str
    face: int | None = None


def select(
    candidates: Sequence[Candidate], settings: KeepSettings
) -> tuple[list[Candidate], list[LeftOut]]:
    """Returns the images to keep, in order, and the others with their reasons."""
    left_out: list[LeftOut] = []

    def leave(candidate: Candidate, reason: str, detail: str) -> None:
        left_out.append(LeftOut(candidate.file, reason, detail, candidate.measures.face))

    good = []
    for candidate in candidates:
        fault = _fault(candidate.measures, settings)
        if fault is None:
            good.append(candidate)
        else:
            leave(candidate, *fault)
    # Best first. Upsampling is compared before sharpness, which noise and ringing can mimic.
    best = sorted(good, key=lambda c: (round(max(c.measures.upscale, 1), 1), -c.measures.sharpness))
    if settings.duplicates >= 0:
        hashes = [c.measures.hash for c in best]
        for index, other in enumerate(find_duplicates(hashes, settings.duplicates)):
            if other >= 0:
                bits = hamming_distance(hashes[index], hashes[other])
                leave(best[index], "duplicate", f"of {best[other]}, {bits} bits apart")
        dropped = {(item.file, item.face) for item in left_out}
        best = [c for c in best if (c.file, c.measures.face) not in dropped]
    if settings.max_per_person:
        groups = group_people([c.measures.descriptor or () for c in best], settings.same_person)
        shown: dict[int, list[Candidate]] = {}
        for candidate, group in zip(best, groups.tolist(), strict=True):
            others = shown.setdefault(group, [])
            if len(others) < settings.max_per_person:
                others.append(candidate)
            else:
                leave(candidate, "person", f"same person as {others[0]}, of which there are enough")
    dropped = {(item.file, item.face) for item in left_out}
    return [c for c in candidates if (c.file, c.measures.face) not in dropped], left_out


def _fault(measures: Measures, settings: KeepSettings) -> tuple[str, str] | None:
    """Returns reason and detail for an image that is too small or too blurred, else None."""
    width = measures.face_width
    if width is not None and width < settings.min_face:
        return "small", f"a face {width:.0f} px wide; expected {settings.min_face:g}"
    if 0 < settings.max_upscale < measures.upscale:
        limit = settings.max_upscale
        return "small", f"upsampled {measures.upscale:.2f} times; expected at most {limit:g}"
    if measures.sharpness < settings.min_sharpness:
        return "blurred", f"sharpness {measures.sharpness:.4g}; expected {settings.min_sharpness:g}"
    return None

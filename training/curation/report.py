"""The report on a packed dataset: the printed table, and pack.json."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import PIL

from stylemix.io.atomic import Json
from stylemix.training.curation.select import Candidate, LeftOut

REASONS = {
    "broken": "cannot be read",
    "no face": "no clear face",
    "shape": "another aspect ratio",
    "no label": "no label",
    "small": "too small",
    "blurred": "blurred",
    "duplicate": "duplicates",
    "person": "one person too often",
}


@dataclass(frozen=True)
class Report:
    """Images in a dataset, and those left out with reasons; `settings` as JSON values.

    `names` has the names of the photos by what the report calls them, which may be numbers; they
    are not part of the JSON values.
    """

    settings: dict[str, Any]
    photos: int
    kept: list[Candidate]
    left_out: list[LeftOut]
    classes: list[str] | None
    names: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Number of images or photos left out, by reason, in the order of `REASONS`."""
        counts = Counter(item.reason for item in self.left_out)
        return {reason: counts[reason] for reason in REASONS if counts[reason]}

    def table(self) -> str:
        """The counts as aligned lines."""
        rows = [("photos", self.photos), ("kept", len(self.kept))]
        rows += [(f"left out: {REASONS[key]}", count) for key, count in self.counts.items()]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {count:>8,}" for name, count in rows)

    def to_json(self) -> dict[str, Json]:
        """JSON values for pack.json, reproducible for the same photos and settings."""
        kept: list[Json] = []
        for index, image in enumerate(self.kept):
            measures = asdict(image.measures)
            del measures["hash"], measures["descriptor"]
            known = {key: value for key, value in measures.items() if value is not None}
            name = member_name(index, self.settings["format"])
            kept.append({"name": name, "file": image.file, **known})
        left_out = [
            {key: value for key, value in asdict(item).items() if value is not None}
            for item in self.left_out
        ]
        return {
            "format": "stylemix-pack",
            "version": 1,
            "settings": self.settings,
            "resized with": f"{self.settings['filter']} of Pillow {PIL.__version__}",
            "classes": self.classes,
            "counts": {"photos": self.photos, "kept": len(kept), **self.counts},
            "kept": kept,
            "left out": left_out,
        }


def member_name(index: int, kind: str) -> str:
    """Returns an image's name in the layout of StyleGAN datasets: 00000/img00000012.png."""
    extension = "jpg" if kind == "jpeg" else kind
    return f"{index // 1000:05d}/img{index:08d}.{extension}"

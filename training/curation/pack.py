"""Packs photos into a training dataset: crop, select, label, and write with a report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.images.sources import ImageSource, list_images
from stylemix.io.atomic import Json, as_utf8, write_json
from stylemix.io.files import StrPath
from stylemix.io.journal import WorkFile, open_work
from stylemix.training.curation.archive import check_archive, write_archive
from stylemix.training.curation.crop import CropSettings
from stylemix.training.curation.label_files import Label, folder_labels, read_labels
from stylemix.training.curation.report import REASONS, Report, member_name
from stylemix.training.curation.select import Candidate, KeepSettings, LeftOut, select
from stylemix.training.curation.workers import Job, cut_all


def pack(
    photos: StrPath | Sequence[StrPath],
    output: StrPath,
    crops: CropSettings | None = None,
    keep: KeepSettings | None = None,
    labels: StrPath | None = None,
    workers: int = 1,
    device: str = "cpu",
    dry_run: bool = False,
    show: bool = False,
    keep_names: bool = False,
) -> Report:
    """Turns photos into a dataset: a zip or folder of images, dataset.json and pack.json.

    The results for each photo are stored in OUTPUT.work until the dataset is written, so that a
    stopped call resumes. The report is also written beside the output.

    Args:
        photos: folders, zips and files.
        output: a .zip, or a new folder.
        crops: how the images are cropped, resized and encoded.
        keep: criteria for the images to keep.
        labels: "folders", or a JSON or CSV file.
        workers: processes, 0 for one per core; the result does not depend on it.
        device: device for face detection.
        dry_run: write the report only; the work file remains for the next call.
        show: show a progress bar.
        keep_names: name the photos in the report, instead of numbering them.

    Raises StylemixError when no image is left.
    """
    crops, keep, target = crops or CropSettings(), keep or KeepSettings(), Path(output)
    _check(crops, keep, target)
    named = name_sources(photos, target)
    known, classes = _labels(labels, list(named))
    called = {name if keep_names else f"photo {i}": name for i, name in enumerate(named, 1)}
    sources = {call: named[name] for call, name in called.items()}
    known = {call: known[name] for call, name in called.items() if name in known}
    work_path = target.with_name(f"{target.name}.work")
    with open_work(work_path) as work:
        job = Job(crops, device, keep.max_per_person > 0)
        candidates, left_out = cut_all(sources, job, work, workers, show)
        if labels is not None:
            without = [c for c in candidates if c.file not in known]
            left_out += [_unlabelled(candidate) for candidate in without]
            candidates = [c for c in candidates if c.file in known]
        kept, dropped = select(candidates, keep)
        order = {name: index for index, name in enumerate(sources)}
        left_out = sorted(left_out + dropped, key=lambda item: (order[item.file], item.face or 0))
        settings = {**asdict(crops), **asdict(keep), "labels": _label_source(labels, keep_names)}
        report = Report(settings, len(sources), kept, left_out, classes, called)
        write_json(target.with_name(f"{target.stem}.pack.json"), report.to_json())
        if not kept:
            raise _nothing_left(report, target)
        if not dry_run:
            write_archive(target, _members(report, known if labels is not None else None, work))
    if not dry_run:
        work_path.unlink()
    return report


def _unlabelled(candidate: Candidate) -> LeftOut:
    return LeftOut(candidate.file, "no label", "no label for it", candidate.measures.face)


def _check(crops: CropSettings, keep: KeepSettings, target: Path) -> None:
    check_archive(target)
    if keep.max_per_person and crops.crop != "faces":
        raise StylemixError(
            f"got max_per_person with crop {crops.crop!r}; expected faces; use --crop faces"
        )


def name_sources(photos: StrPath | Sequence[StrPath], output: Path) -> dict[str, ImageSource]:
    """Returns images by the names in the report: relative to their input, never a full path.

    With several inputs each name starts with the last part of its input.
    """
    paths = [photos] if isinstance(photos, str | os.PathLike) else list(photos)
    named: dict[str, ImageSource] = {}
    for path in map(Path, paths):
        if os.path.realpath(path) == os.path.realpath(output):
            raise StylemixError(f"{output}: got it as input and output; choose another --output")
        for source in list_images(path):
            within = path.is_dir() or source.member is not None
            folder = os.path.basename(os.path.realpath(path)) if within and paths[1:] else ""
            name = f"{folder}/{source.name}" if folder else source.name
            # Names that are not valid UTF-8 cannot be written into JSON.
            name = plain = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            number = 2
            while name in named:
                name, number = f"{plain} ({number})", number + 1
            named[name] = source
    if not named:
        raise StylemixError("got no photos; expected files, folders or zips; name one")
    return named


def _label_source(labels: StrPath | None, keep_names: bool) -> str | None:
    if labels is None or str(labels) == "folders":
        return None if labels is None else "folders"
    return Path(labels).name if keep_names else "a file"


def _labels(labels: StrPath | None, names: list[str]) -> tuple[dict[str, Label], list[str] | None]:
    if labels is None:
        return {}, None
    if str(labels) == "folders":
        return folder_labels(names)
    known, classes = read_labels(Path(labels))
    if not known.keys() & set(names):
        raise StylemixError(
            f"{labels}: got labels for {next(iter(known))!r} and others; expected names such as "
            f"{names[0]!r}; use the names of the photos"
        )
    return known, classes


def _members(
    report: Report, known: dict[str, Label] | None, work: WorkFile
) -> Iterator[tuple[str, bytes]]:
    """Yields the files of the dataset: images, dataset.json, pack.json."""
    labels = []
    for index, image in enumerate(report.kept):
        name = member_name(index, report.settings["format"])
        yield name, work.data(image.key, image.index)
        if known is not None:
            labels.append([name, known[image.file]])
    table: dict[str, Json] = {"labels": labels if known is not None else None}
    numbers = [label for label in (known or {}).values() if isinstance(label, int)]
    if numbers:  # of all photos, so that classes without an image that was kept count, too
        table["classes"] = len(report.classes or range(max(numbers) + 1))
    yield "dataset.json", json.dumps(table).encode()
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
    yield "pack.json", as_utf8(text)


def _nothing_left(report: Report, target: Path) -> StylemixError:
    counts = ", ".join(f"{count} {REASONS[key]}" for key, count in report.counts.items())
    return StylemixError(
        f"got no image to keep from {report.photos} photos ({counts}); expected one; see "
        f"{target.stem}.pack.json for each, and loosen what left them out"
    )

"""Snapshots of a run: the names of their files, and the average of the last ones."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from stylemix.errors import StylemixError, is_number, shown
from stylemix.io.files import StrPath, user_path
from stylemix.models.container import MODEL, read
from stylemix.progress import Progress

if TYPE_CHECKING:  # it imports the whole Python interface, which a run does not need
    from stylemix.model import Model

LAST = 5  # snapshots in an average


def list_snapshots(folder: Path) -> list[Path]:
    """The snapshots of a run folder, oldest first: their names sort by images seen."""
    return sorted(folder.glob("snapshot-*.safetensors"))


def snapshot_name(folder: Path, cur_nimg: int) -> str:
    """Returns the number in the name of a snapshot: whole kimg ("000012").

    Where the folder has an earlier one of that kimg, the images beyond follow: "000012_512".
    """
    kimg, rest = divmod(cur_nimg, 1000)
    name, exact = f"{kimg:06d}", f"{kimg:06d}_{rest:03d}"
    others = folder.glob(f"snapshot-{name}*.safetensors")
    taken = any(path.stem.endswith(exact) or _is_earlier(path, cur_nimg) for path in others)
    return exact if taken else name


def _is_earlier(path: Path, cur_nimg: int) -> bool:
    try:
        return round(snapshot_kimg(path) * 1000) < cur_nimg
    except StylemixError:
        return False  # a damaged file is replaced


def snapshot_kimg(path: Path) -> float:
    """Returns the kimg in the card of a snapshot; raises StylemixError without one."""
    header = read(path).expect(MODEL).header
    card = header.get("card") if isinstance(header, dict) else None
    kimg = card.get("kimg") if isinstance(card, dict) else None
    if not isinstance(kimg, int | float):
        raise StylemixError(
            f"{path}: got a model without kimg in its card; expected a snapshot of stylemix train; "
            "move it out of the folder"
        )
    return float(kimg)


def average_snapshots(
    folder: StrPath,
    *,
    last: int = LAST,
    half_life: float | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
) -> Model:
    """Averages the last snapshots of a run, with equal weights or as a moving average.

    Discriminator, template and the rest are those of the last snapshot.

    Args:
        folder: the run folder.
        last: number of snapshots.
        half_life: kimg after which the weight of a snapshot is halved (EMA); None for equal ones.
        device: "cpu", "cuda", "cuda:1" or "auto".
        progress: a function of (done, total), or True for a progress bar.
    """
    from stylemix.model import blend

    if not isinstance(last, Integral):
        raise StylemixError(f"got --last {shown(last)}; expected a number of snapshots; change it")
    files = list_snapshots(user_path(folder))[::-1][: max(last, 0)]
    if len(files) < 2:
        raise StylemixError(
            f"{folder}: got {len(files)} snapshots to average; expected two or more; name the "
            "folder of a run with snapshots, or average more of them (--last)"
        )
    weights = None
    if half_life is not None:
        if not (is_number(half_life) and half_life > 0):
            raise StylemixError(
                f"got a half-life of {shown(half_life)} kimg; expected more than 0; change it"
            )
        kimgs = [snapshot_kimg(file) for file in files]
        weights = [0.5 ** ((kimgs[0] - kimg) / half_life) for kimg in kimgs]
    return blend(files, weights=weights, mapping="average", device=device, progress=progress)

"""Models of other programs: which family a file belongs to, and one clear line where it is none."""

from __future__ import annotations

from stylemix.errors import StylemixError
from stylemix.models.model import Model
from stylemix.models.nvidia import nvidia_model
from stylemix.models.rosinality import rosinality_model
from stylemix.safe_pickle.builders import PersistentObject

_KNOWN = "a stylemix model, an NVIDIA PyTorch network pickle or a rosinality checkpoint"


def _is_rosinality(part: dict[object, object]) -> bool:
    return "input.input" in part or "module.input.input" in part


def foreign_model(data: object, name: str) -> Model:
    """Return the model in what `safe_pickle.load` gave; StylemixError for unknown families.

    `name` is the file's, for messages.
    """
    if isinstance(data, PersistentObject):  # a network pickled alone
        data = {"G_ema": data}
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise StylemixError(
            f"{name}: got a {kind}, not networks; expected {_KNOWN}; use one of these"
        )
    if any(isinstance(data.get(key), PersistentObject) for key in ("G_ema", "G")):
        return nvidia_model(data, name)
    for key in ("g_ema", "g", "state_dict"):
        part = data.get(key)
        if isinstance(part, dict) and _is_rosinality(part):
            return rosinality_model(data, name)
    if _is_rosinality(data):
        return rosinality_model({"g_ema": data}, name)
    keys = ", ".join(ascii(str(key)[:20]) for key in list(data)[:5]) or "nothing"
    raise StylemixError(
        f"{name}: got a file that holds {keys}; expected {_KNOWN}; use one of these"
    )

"""What a file may cost to read, and the one-line refusals when it asks for more."""

from __future__ import annotations

import struct
from typing import NoReturn

from stylemix.errors import StylemixError

MAX_OPCODES = 5_000_000  # a 1024 px network with its optimisers needs about 100 thousand
MAX_INT_BYTES = 64  # torch's magic number is the longest in use, ten bytes
MAX_DEPTH = 3  # a storage inside a pickle is a pickle of its own; more levels are never needed


SIGNS_OF_DAMAGE = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class Context:
    """What one file may cost: its name for messages, the bytes left to copy, the nesting depth."""

    def __init__(self, name: str, allowance: int) -> None:
        self.name = name
        self.allowance = allowance
        self.depth = 0
        self.opcodes = 0

    def spend(self, amount: int) -> None:
        """Count `amount` copied bytes or items; StylemixError once a file asks for too much."""
        if amount < 0 or amount > self.allowance:
            self.refuse("it unfolds to more data than it holds")
        self.allowance -= amount

    def count_opcode(self) -> None:
        """Count one step of a pickle; StylemixError when there are absurdly many."""
        self.opcodes += 1
        if self.opcodes > MAX_OPCODES:
            self.refuse("its pickle is far longer than that of any known file")

    def refuse(self, reason: str) -> NoReturn:
        """Raise the one-line refusal of this file."""
        raise StylemixError(
            f"{self.name}: refused, {reason}; nothing in it was run; "
            "expected a model, style or latent file; get it again from its author"
        )


def damaged(name: str) -> StylemixError:
    """Return the one-line error for a file that stops making sense part of the way."""
    return StylemixError(
        f"{name}: got a truncated or damaged file; expected a whole one; download or copy it again"
    )


def refusal_of(module: str, name: str) -> str:
    """Say in words which name was refused, and for known file families what they are."""
    full = f"{module}.{name}"
    shown = ascii(full if len(full) <= 80 else full[:77] + "...")[1:-1]
    if module.startswith("dnnlib.tflib"):
        return (
            f"it is a TensorFlow-era network pickle ({shown}), which only TensorFlow can unpack: "
            "convert it to the NVIDIA PyTorch format first"
        )
    if module.startswith(("dill", "cloudpickle")):
        return f"it was written with {module.split('.')[0]} and asks for {shown}"
    if module.startswith("torch.nn.") or module.split(".")[0] in ("__main__", "model", "models"):
        return f"it is a whole pickled program ({shown}), not weights: save its state_dict instead"
    return f"it asks for {shown}, which is not plain data"

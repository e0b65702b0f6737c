"""Limits on the memory and time that reading a file may take, and the error messages."""

from __future__ import annotations

import struct
from typing import NoReturn

from stylemix.errors import StylemixError

MAX_OPCODES = 500_000  # a 1024 px network with its optimisers needs about 100 thousand
MAX_INT_BYTES = 64  # the longest integer in use, torch's magic number, has ten bytes
MAX_DEPTH = 3  # a storage inside a pickle is another pickle; known files nest no deeper

# Exceptions of the interpreter that mean a damaged file.
DAMAGE_ERRORS = (
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
    """The limits of one file: its name for messages, the bytes left to copy, the nesting depth."""

    def __init__(self, name: str, allowance: int) -> None:
        self.name = name
        self.allowance = allowance
        self.depth = 0
        self.opcodes = 0

    def spend(self, amount: int) -> None:
        """Counts `amount` copied bytes; StylemixError when the allowance is used up."""
        if amount < 0 or amount > self.allowance:
            self.refuse("it expands to more data than it holds")
        self.allowance -= amount

    def count_opcode(self) -> None:
        """Counts one opcode of a pickle; StylemixError above `MAX_OPCODES`."""
        self.opcodes += 1
        if self.opcodes > MAX_OPCODES:
            self.refuse("its pickle is far longer than that of any known file")

    def refuse(self, reason: str) -> NoReturn:
        """Raises the StylemixError that refuses this file for `reason`."""
        raise StylemixError(
            f"{self.name}: refused, {reason}; nothing in it was run; "
            "expected a model, style or latent file; get it again from its author"
        )


def refusal_of(module: str, name: str) -> str:
    """Returns the reason to refuse a global, with the kind of file where it is known."""
    full = f"{module}.{name}"
    shown = ascii(full if len(full) <= 80 else full[:77] + "...")[1:-1]
    if module.startswith(("dill", "cloudpickle")):
        return f"it was written with {module.split('.')[0]} and asks for {shown}"
    if module.startswith("torch.nn.") or module.split(".")[0] in ("__main__", "model", "models"):
        return f"it is a whole pickled program ({shown}), not weights: save its state_dict instead"
    return f"it asks for {shown}, which is not plain data"

"""The exception for problems that a user can solve, and the check of a range."""


class StylemixError(Exception):
    """A problem that the user can solve, as one line: got X; expected Y; do Z.

    The command line prints it as ``Error: ...`` and exits with code 2, without a traceback.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        # File names may contain control codes, and bytes that terminals cannot print.
        super().__init__("".join(letter if letter.isprintable() else "?" for letter in line))


def check_range(name: str, value: float, low: float, high: float, note: str = "") -> None:
    """Raise StylemixError unless `low` <= `value` <= `high`; NaN is an error.

    `note` follows the range in the message, as in ", 1 for the full strength".
    """
    if not low <= value <= high:
        raise StylemixError(f"got {name} {value:g}; expected {low:g} to {high:g}{note}; change it")

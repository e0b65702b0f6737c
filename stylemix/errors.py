"""The one exception that a person using stylemix is meant to read, and the check of a range."""


class StylemixError(Exception):
    """A problem that the user can solve, told in one line: got X; expected Y; do Z.

    The command line prints it as ``Error: ...`` and leaves with code 2, without a traceback.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        # File names may hold control codes, and bytes that no terminal can be given.
        super().__init__("".join(letter if letter.isprintable() else "?" for letter in line))


def check_range(name: str, value: float, low: float, high: float, note: str = "") -> None:
    """Raise StylemixError unless `value` lies from `low` to `high`; NaN lies nowhere.

    `note` follows the range in the message, as in ", 1 for all of it".
    """
    if not low <= value <= high:
        raise StylemixError(f"got {name} {value:g}; expected {low:g} to {high:g}{note}; change it")

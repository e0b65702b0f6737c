"""Errors for unavailable compiled ops."""


class NativeUnavailable(RuntimeError):
    """Compiled ops are unavailable; the message is one line "cause; cure"."""


class NativeUnsupported(NativeUnavailable):
    """Compiled ops do not support this system, which needs no warning."""

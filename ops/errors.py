"""Why compiled ops are not used."""


class NativeUnavailable(RuntimeError):
    """There are no compiled ops; one line "cause; cure"."""


class NativeUnsupported(NativeUnavailable):
    """There are none for this system, which is as it should be: nobody needs to be warned."""

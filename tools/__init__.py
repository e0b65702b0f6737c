"""What one does with a generator; in each file the function first, the click command last."""

if __name__ != "stylemix.tools":
    raise ImportError(
        f"got 'import {__name__}'; expected 'stylemix.tools'; do 'from stylemix import tools'"
    )

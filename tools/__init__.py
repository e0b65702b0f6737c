"""The commands; in each file the functions come first and the click command last."""

if __name__ != "stylemix.tools":
    raise ImportError(
        f"got 'import {__name__}'; expected 'stylemix.tools'; do 'from stylemix import tools'"
    )

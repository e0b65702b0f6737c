"""Training of generators: data, augmentation, the loop, its state and its commands."""

if __name__ != "stylemix.training":
    raise ImportError(
        f"got 'import {__name__}'; expected 'stylemix.training'; do 'from stylemix import training'"
    )

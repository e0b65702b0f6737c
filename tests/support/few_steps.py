"""Projections in a step of each kind, for tests of what comes after them.

As `python -m tests.support.few_steps` it is the command `stylemix` with such projections, and an
app with few styles.
"""

from __future__ import annotations

from dataclasses import replace

from stylemix.inversion.settings import PRESETS, ProjectionSettings


def in_few_steps(preset: ProjectionSettings) -> ProjectionSettings:
    """A preset with as many kinds of steps, and few of each."""
    few = {"w_steps": 2, "plus_steps": min(preset.plus_steps, 1)}
    return replace(preset, **few, refine_steps=min(preset.refine_steps, 1))


SHOWN = ["comic", "ink", "noir", "toon"]  # of the app's gallery

if __name__ == "__main__":
    from stylemix.__main__ import run
    from stylemix.tools.app import session

    session.shipped_styles = lambda: SHOWN
    PRESETS.update({name: in_few_steps(preset) for name, preset in PRESETS.items()})
    run()

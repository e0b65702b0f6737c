"""The recipes of the documentation fit the code as it is."""

import runpy
from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).resolve().parents[2] / "docs" / "recipes").glob("*.py"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_fits_the_code(recipe, monkeypatch):
    monkeypatch.syspath_prepend(str(recipe.parent))  # as when it is run as a script
    assert callable(runpy.run_path(str(recipe))["main"])  # its imports were found

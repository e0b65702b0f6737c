"""Build the pages: `python -m sphinx -W -b html docs docs/_build`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import figures

from stylemix import __version__

project = "stylemix"
author = "the stylemix contributors"
copyright = "the stylemix contributors; Apache License 2.0"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autoclass_content = "class"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "recipes"]

default_role = "code"  # what docstrings have between single backticks
html_theme = "furo"
html_title = f"stylemix {version}"
html_show_sourcelink = False


def setup(app):
    """Makes the figures that the pages show, before they are read."""
    app.connect("builder-inited", lambda _: [figures.make(page) for page in figures.PAGES])

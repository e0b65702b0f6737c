"""Settings of crops."""

import json

import pytest

from stylemix.errors import StylemixError
from stylemix.faces.templates import FFHQ, Template
from stylemix.training.curation.crop import CropSettings


def test_a_template_is_a_name_or_the_points_of_a_file(tmp_path):
    wide = Template("wide", "points", ((0.4, 0.45), (0.6, 0.45)))
    path = tmp_path / "wide.json"
    path.write_text(json.dumps(wide.to_json()))
    assert CropSettings(template=str(path)).template == wide
    path.write_text(json.dumps(FFHQ.to_json()))
    assert CropSettings(template=str(path)).template == "ffhq"
    with pytest.raises(StylemixError, match=r"got template 'none' for faces.*use --crop centre"):
        CropSettings(template="none")

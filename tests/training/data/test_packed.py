"""What `stylemix pack` recorded in a dataset is read again."""

import json

import pytest

from stylemix.errors import StylemixError
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE, Template
from stylemix.images.read import load_image
from stylemix.io.assets import ASSETS
from stylemix.training.curation.crop import CropSettings
from stylemix.training.curation.pack import pack
from stylemix.training.data.packed import packed_template

OWN = Template("own", "points", ((0.4, 0.4), (0.6, 0.4)))


@pytest.mark.parametrize(
    ("crops", "expected"),
    [
        (CropSettings((32, 32)), FACES128),
        (CropSettings((32, 32), template="ffhq"), FFHQ),
        (CropSettings((32, 32), template=OWN), OWN),
        (CropSettings((32, 32), crop="centre"), NO_TEMPLATE),
    ],
)
def test_pack_records_the_template(crops, expected, tmp_path):
    photo = ASSETS / "portraits" / "collins.jpg"
    for output in (tmp_path / "faces.zip", tmp_path / "faces"):
        pack([photo], output, crops)
        assert packed_template([output]) == expected


def test_other_data_has_no_template(tmp_path):
    load_image(ASSETS / "portraits" / "collins.jpg").resize((16, 16)).save(tmp_path / "1.png")
    assert packed_template([tmp_path]) == NO_TEMPLATE
    assert packed_template([tmp_path / "1.png"]) == NO_TEMPLATE
    shards = tmp_path / "shards-{000..003}.tar"
    assert packed_template([shards, tmp_path / "missing"]) == NO_TEMPLATE
    for text in ("[", "[]", "{}", '{"settings": 3}', '{"settings": {"crop": "faces"}}',
                 '{"settings": {"crop": "faces", "template": ["ffhq"]}}'):  # fmt: skip
        (tmp_path / "pack.json").write_text(text)
        assert packed_template([tmp_path]) == NO_TEMPLATE


def test_several_templates_are_refused(tmp_path):
    for name in ("faces128", "ffhq"):
        (tmp_path / name).mkdir()
        settings = {"crop": "faces", "template": name}
        (tmp_path / name / "pack.json").write_text(json.dumps({"settings": settings}))
    assert packed_template([tmp_path / "ffhq", tmp_path / "ffhq"]) == FFHQ
    with pytest.raises(StylemixError, match=r"ffhq ffhq.*; expected one; .* --template"):
        packed_template([tmp_path / "faces128", tmp_path / "ffhq"])

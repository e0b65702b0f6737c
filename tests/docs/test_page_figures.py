"""Figures on the pages are those of the code."""

import re

from stylemix.inversion.settings import PRESETS, ProjectionSettings
from stylemix.training.adapt.finetune import TransferSettings
from stylemix.training.adapt.look_loss import LookSettings
from stylemix.training.config import TrainConfig
from stylemix.training.presets import TABLE
from tests.docs.test_pages import DOCS


def test_weights_of_losses_are_those_of_the_code():
    project = ProjectionSettings()
    look = LookSettings()
    for page, term, weight in (
        ("project.md", "pixels", project.pixel_weight),
        ("project.md", "features", project.feature_weight),
        ("project.md", "prior", project.prior_weight),
        ("project.md", "identity", project.identity_weight),
        ("project.md", "difference", project.delta_weight),
        ("project.md", "locality", project.local_weight),
        ("adapt.md", "colours", look.color_weight),
        ("adapt.md", "colours over the face", look.map_weight),
        ("adapt.md", "texture", look.texture_weight),
        ("adapt.md", "critic", look.critic_weight),
        ("adapt.md", "drawing", look.structure_weight),
        ("adapt.md", "identity", look.identity_weight),
        ("adapt.md", "size", look.size_weight),
    ):
        text = (DOCS / page).read_text(encoding="utf-8")
        assert f"| {term} | {weight:g} |" in text, f"{page}: {term} has the weight {weight:g}"
    text = (DOCS / "project.md").read_text(encoding="utf-8")
    assert f"The learning rate is {project.lr:g};" in text
    assert f"Noise on w, {project.exploration:g} of its spread" in text
    for name, preset in PRESETS.items():
        steps = f"{preset.w_steps}, {preset.plus_steps}, {preset.refine_steps}"
        assert f"| `--preset {name}` | {steps} |" in text
    transfer, text = TransferSettings(), (DOCS / "adapt.md").read_text(encoding="utf-8")
    assert f"weight {transfer.tie_weight:g})" in text
    assert f"2104.06820, weight {transfer.distance_weight:g})" in text
    assert f"four faces (weight {transfer.identity_weight:g})" in text
    assert f"glasses and beards (weight {transfer.attribute_weight:g})" in text
    assert f"R1 with a weight of {transfer.r1_gamma:g}," in text
    assert f"p = {transfer.augment_p:g}," in text
    assert f"with a factor of {transfer.ema:g}" in text


def test_presets_and_automatic_settings_are_those_of_the_code():
    text = (DOCS / "train.md").read_text(encoding="utf-8")
    assert f"```text\n{TABLE}\n```" in text
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", text, flags=re.M)
    assert {int(row[0]) for row in rows} == {64, 128, 256, 512, 1024}
    for px, world, *told in rows:
        config = TrainConfig(resolution=int(px)).resolve(int(world))
        assert told == [f"{config.batch}", f"{config.r1_gamma:.3g}", f"{config.ema_kimg:g}"], px

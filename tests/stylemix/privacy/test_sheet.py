"""The sheet of nearest pairs."""

from unittest import mock

from stylemix.images.tensors import to_pil
from stylemix.metrics.extractors import generated_images
from stylemix.metrics.memorization import Closeness, Estimate
from stylemix.privacy import sheet as module
from stylemix.privacy.audit import Audit, Pair, SpaceAudit
from stylemix.privacy.sheet import pairs_sheet
from tests.support.images import Pictures
from tests.support.models import tiny_model


def test_pairs_stand_side_by_side(monkeypatch):
    model, data = tiny_model(), Pictures(6)
    share = Closeness(1.0, Estimate(0, 0, 1), Estimate(0, 0, 1))
    pairs = [Pair(7, 2, 0.5), Pair(3, 5, 0.75)]
    spaces = {name: SpaceAudit(None, share, None, pairs) for name in ("one", "two")}
    drawn = mock.Mock(side_effect=module.grid)
    monkeypatch.setattr(module, "grid", drawn)
    image = pairs_sheet(model, data, Audit(2, 6, 6, spaces), psi=0.5)
    assert image.width > 8 * module.CELL
    images, told = drawn.call_args.args[0], drawn.call_args.kwargs
    assert told["row_labels"] == ["by one", "by two"]
    assert told["labels"][:5] == ["seed 7", "0.5 from image 3", "seed 3", "0.75 from image 6", ""]
    made = to_pil(generated_images(model.generator, [7], 0.5))
    assert images[0].tobytes() == made.tobytes()
    assert images[1].tobytes() == to_pil(data.images[2:3] / 127.5 - 1).tobytes()
    assert images[4:8] == [None] * 4
    assert images[8].tobytes() == made.tobytes()

"""What notebooks show."""

import base64
import io
import re

import torch
from PIL import Image

import stylemix
from stylemix.images.html import card
from stylemix.inversion.latent import Latent
from tests.support.models import tiny_model


def _images(html: str) -> list[Image.Image]:
    found = re.findall(r"src='data:image/png;base64,([^']+)'", html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_text_from_files_is_escaped():
    html = card("<b>", {"a": "<script>alert(1)</script>", "long": "x" * 999, "none": None})
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    assert "x" * 201 not in html
    assert "none" not in html


def test_an_image_is_shown_as_it_is():
    (shown,) = _images(card("one", {}, [Image.new("RGB", (8, 4), (1, 2, 3))]))
    assert shown.size == (8, 4)
    assert shown.getpixel((0, 0)) == (1, 2, 3)


def test_models_latents_and_styles():
    tiny = tiny_model()
    tiny.card = {"licence": "Apache-2.0"}
    model = stylemix.Model(**{name: getattr(tiny, name) for name in tiny.__dataclass_fields__})
    html = model._repr_html_()
    side = model.generator.img_resolution
    assert [image.size for image in _images(html)] == [(side, side)] * 4
    assert "Apache-2.0" in html
    w = torch.zeros([model.generator.num_ws, model.generator.w_dim])
    html = Latent(w, model.fingerprint, metrics={"mse": 0.0123456}, model=model)._repr_html_()
    assert len(_images(html)) == 1
    assert "0.01235" in html
    assert _images(Latent(w)._repr_html_()) == []
    html = stylemix.Style.load("noir")._repr_html_()
    assert "offset" in html
    assert "Apache-2.0" in html or "licence" in html


def test_a_conditional_model():
    tiny = tiny_model(classes=3)
    model = stylemix.Model(**{name: getattr(tiny, name) for name in tiny.__dataclass_fields__})
    assert len(_images(model._repr_html_())) == 4

"""Folders of the Hugging Face Hub, written, read and uploaded."""

import json
import sys
import types
from pathlib import Path

import pytest
import torch

import stylemix
from stylemix.errors import StylemixError
from stylemix.io import remote
from stylemix.models.hub import pretrained_file
from tests.support.models import tiny_model


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub with what was uploaded to it, as folders of files."""
    places: dict[str, dict[str, bytes]] = {}

    class HfApi:
        def create_repo(self, name, private, exist_ok):
            if name == "nobody/here":
                raise ValueError("403 Forbidden\nmore")
            places[name] = {"private": private}

        def upload_folder(self, repo_id, folder_path):
            files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
            places[repo_id] |= files

    def download(name, file, revision, local_files_only=False):
        if local_files_only:
            raise FileNotFoundError("not in the cache")
        (tmp_path / file).write_bytes(places[name][file])
        return str(tmp_path / file)

    fake = types.SimpleNamespace(HfApi=HfApi, hf_hub_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return places


def _model():
    tiny = tiny_model()
    tiny.card = {"licence": "Apache-2.0", "source": "ten | images"}
    return stylemix.Model(**{name: getattr(tiny, name) for name in tiny.__dataclass_fields__})


def test_a_model_as_a_folder(tmp_path):
    model = _model()
    model.save_pretrained(tmp_path / "tiny")
    names = {path.name for path in (tmp_path / "tiny").iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md"}
    config = json.loads((tmp_path / "tiny" / "config.json").read_text())
    assert config["generator"]["img_resolution"] == model.generator.img_resolution
    assert config["fingerprint"] == model.fingerprint
    card = (tmp_path / "tiny" / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: stylemix\n")
    assert "| source | ten \\| images |" in card
    again = stylemix.Model.from_pretrained(tmp_path / "tiny", device="cpu")
    assert again.fingerprint == model.fingerprint
    assert again.card == model.card


def test_a_style_as_a_folder(tmp_path):
    style = stylemix.Style.load("noir")
    style.save_pretrained(tmp_path / "mine")
    again = stylemix.Style.from_pretrained(tmp_path / "mine")
    assert again.info == style.info
    assert set(again.tensors()) == set(style.tensors())
    assert all(torch.equal(value, style.tensors()[key]) for key, value in again.tensors().items())


def test_upload_and_back(hub):
    model = _model()
    assert model.push_to_hub("me/tiny") == "hf://me/tiny/model.safetensors"
    assert hub["me/tiny"]["private"] is True
    assert b'from_pretrained("me/tiny")' in hub["me/tiny"]["README.md"]
    assert stylemix.Model.from_pretrained("me/tiny", device="cpu").fingerprint == model.fingerprint
    stylemix.Style.load("noir").push_to_hub("me/noir", private=False)
    assert hub["me/noir"]["private"] is False
    assert (
        stylemix.Style.from_pretrained("me/noir").strength == stylemix.Style.load("noir").strength
    )


def test_upload_that_is_refused(hub, monkeypatch):
    with pytest.raises(
        StylemixError, match=r"no upload to nobody/here \(403 Forbidden.*hf auth login"
    ):
        _model().push_to_hub("nobody/here")
    with pytest.raises(StylemixError, match="expected OWNER/NAME"):
        _model().push_to_hub("tiny")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(StylemixError, match=r"stylemix\[hub\]"):
        _model().push_to_hub("me/tiny")


def test_a_licence_that_is_a_sentence():
    model = _model()
    model.card = {"licence": "for research only"}
    assert "license: other\nlicense_name: see below\n" in model.pretrained().readme("tiny")


def test_a_card_of_somebody_else_stays_in_its_table():
    model = _model()
    model.card = {"a\n\n# Download here": "b\n| c"}
    assert "| a # Download here | b \\| c |\n" in model.pretrained().readme("tiny")


@pytest.mark.parametrize("name", [None, "mine", "a/b/c"])
def test_a_repository_has_an_owner_and_a_name(name):
    with pytest.raises(StylemixError, match=r"got the repository .*; expected OWNER/NAME"):
        stylemix.Style("x").push_to_hub(name)


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").write_bytes(b"")
    assert pretrained_file("faces-64") == "faces-64"
    assert pretrained_file("runs/mine") == "runs/mine"  # a file that is here
    assert pretrained_file("me/tiny") == "hf://me/tiny/model.safetensors"
    assert pretrained_file("hf://me/tiny/a.pkl") == "hf://me/tiny/a.pkl"


def test_commands_take_addresses(hub, monkeypatch, tmp_path):
    """A style by its address, with a weight behind it."""
    monkeypatch.setattr(remote, "cache_folder", lambda kind: tmp_path / kind)
    stylemix.Style.load("noir").push_to_hub("me/noir")
    image = stylemix.mix("seed:3", "hf://me/noir/style.safetensors:0.5", output_size=64)
    expected = stylemix.mix("seed:3", "noir:0.5", output_size=64)
    assert image.tobytes() == expected.tobytes()

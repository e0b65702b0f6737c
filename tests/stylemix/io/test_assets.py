"""Shipped networks: built once per device, frozen; an error of one line if damaged."""

import pytest
import torch
from torch import nn

from stylemix.errors import StylemixError
from stylemix.io import assets
from stylemix.io.assets import frozen_network, load_weights


def test_a_network_is_built_once_for_each_device(monkeypatch):
    monkeypatch.setattr(assets, "_FROZEN", {})
    built = []

    def build():
        built.append(nn.Linear(2, 3))
        return built[-1]

    network = frozen_network("a", "cpu", build)
    assert network is frozen_network("a", torch.device("cpu"), build)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert frozen_network("b", "cpu", build) is not network
    assert frozen_network("a", "meta", build).weight.is_meta
    assert len(built) == 3


def test_a_damaged_asset_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    (tmp_path / "net.safetensors").write_bytes(b"short")
    for name in ("net", "none"):
        with pytest.raises(StylemixError, match=f"no readable {name}.safetensors in the installed"):
            load_weights(name)

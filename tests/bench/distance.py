"""Frechet distance of a model to images at a chosen size: `python -m tests.bench.distance`.

`stylemix metrics` reads the images at the model's resolution, so that metrics of a model of 64 px
and one of 256 px that was initialized from it cannot be compared. Here both are compared with the
same images; the feature network resizes all inputs anyway.
"""

from __future__ import annotations

import argparse

from stylemix.devices import find_device
from stylemix.metrics.generator import score
from stylemix.models.checkpoint import load_model
from stylemix.training.data.dataset import open_dataset


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.distance", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="images held out: folder or zip")
    parser.add_argument("--side", type=int, required=True, help="of the images, px")
    parser.add_argument("--count", type=int, default=5000, help="generated images")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto")
    options = parser.parse_args()
    generator = load_model(options.model, find_device(options.device)).generator
    reals = open_dataset(options.data, options.side)
    for name, value in score(generator, reals, count=options.count).items():
        print(f"{name} {value:.4g}, {generator.config.width} px against {len(reals)} images")


if __name__ == "__main__":
    main()

"""The real command line on hostile files: `python -m tests.hostile.commands FOLDER`.

One process imports everything once and forks for each line, since each start takes seconds. Prints
a line of JSON for each: the arguments, the exit code, both streams and the files it left.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from tests.hostile import others, pictures, weights

NAME = "it\x1b[2Js \n na\u7167\u7247me"


def _write_files(folder: Path) -> None:
    """The files that the lines name."""
    model, style, latent = (
        weights.own(kind, {"w": (2, 2)}, {"base": 7}) for kind in ("model", "style", "latent")
    )
    samples = {
        "call.pkl": weights.weights_in_pickles("mark")["reduce_2"],
        "sets.pkl": weights.weights_in_pickles("mark")["many_sets"],
        "cut.pt": weights.torch_zips()["cut"],
        "f8.safetensors": weights.broken_headers()["dtype_F8"],
        "2^64.safetensors": weights.broken_headers()["shape_2^64"],
        "model.safetensors": model,
        "style.safetensors": style,
        "latent.safetensors": latent,
        "objects.npy": weights.arrays()["objects"],
        "bomb.npz": weights.archives_of_arrays()["bomb_bzip2"],
        "rgb.png": pictures.costly()["png_rgb"],
        "rgba16.png": pictures.costly()["png_rgba16"],
        "text.png": pictures.broken()["terminal"],
        "huge.jpg": pictures.broken()["jpeg_65535"],
        "images.zip": others.archives_of_images()["not_image"],
        "cut.zip": others.archives_of_images()["cut"],
        "shard.tar": others.shards()["pax_chain"],
        "deep.json": others.templates()["deep"],
        "options.toml": others.options()["deep"],
        f"{NAME}.png": b"hello",
    }
    for name, data in samples.items():
        (folder / name).write_bytes(data)
    (folder / "data").mkdir()
    (folder / "data" / "a.png").write_bytes(others.PNG)
    (folder / "data" / "dataset.json").write_bytes(others.tables_of_labels()["deep"])
    (folder / "image.png").mkdir()
    os.mkfifo(folder / "pipe.png")


def lines(folder: Path) -> Iterator[list[str]]:
    """Arguments of commands, each with a file that is written into `folder`."""
    _write_files(folder)
    for name in (
        "call.pkl",
        "sets.pkl",
        "cut.pt",
        "f8.safetensors",
        "2^64.safetensors",
        "model.safetensors",
    ):
        yield ["generate", "--model", name, "--seeds", "0", "--output", "out"]
        yield ["convert", name, "out.safetensors"]
        yield ["inspect", name]
    for name in ("call.pkl", "style.safetensors", "f8.safetensors", "deep.json"):
        yield ["mix", "seed:0", name, "--output", "out.png"]
    for name in ("latent.safetensors", "objects.npy", "bomb.npz", "call.pkl", "f8.safetensors"):
        yield ["mix", name, "comic", "--output", "out.png"]
    for name in (
        "rgb.png",
        "rgba16.png",
        "text.png",
        "huge.jpg",
        "image.png",
        "pipe.png",
        f"{NAME}.png",
    ):
        yield ["align", name, "--output", "out.png"]
        yield ["project", name, "--output", "out"]
    for name in ("images.zip", "cut.zip", "image.png", "pipe.png", "rgb.png"):
        yield ["pack", name, "--output", "out.zip", "--size", "32"]
    for data in (
        ["data", "--conditional"],
        ["cut.zip"],
        ["shard.tar"],
        ["pipe.png"],
        ["images.zip"],
    ):
        yield ["train", *data, "--output", "out", "--resolution", "32", "--kimg", "1"]
    yield ["align", "data", "--template", "deep.json", "--output", "out"]
    yield ["edit", "call.pkl", "smile", "--output", "out.png"]


def end_as_command(arguments: list[str]) -> NoReturn:
    """Ends this process, a child, with what the command line answers."""
    try:
        from stylemix.cli import main

        sys.argv = ["stylemix", *arguments]
        main()
    except SystemExit as error:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.code if isinstance(error.code, int) else 1)
    finally:
        os._exit(99)


def run(arguments: list[str], folder: Path) -> dict[str, object]:
    """Runs one line in a child of this process."""
    before = set(os.listdir(folder))
    streams = [folder.parent / "stdout", folder.parent / "stderr"]
    child = os.fork()
    if not child:
        os.chdir(folder)
        for number, stream in enumerate(streams, 1):
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        end_as_command(arguments)
    _, status, usage = os.wait4(child, 0)
    out, err = (stream.read_text(errors="replace") for stream in streams)
    return {
        "arguments": arguments,
        "code": os.waitstatus_to_exitcode(status),
        "out": out,
        "err": err,
        "left": sorted(set(os.listdir(folder)) - before),
        "seconds": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    import torch  # noqa: F401

    from stylemix.tools import align, convert, edit, generate, inspect, mix, pack, project, train  # noqa: F401

    place = Path(sys.argv[1])
    print("\n".join(json.dumps(run(line, place)) for line in lines(place)))

"""Small WebDataset shards for tests."""

import io
import itertools
import os
import tarfile

from PIL import Image

from stylemix.training.data.dataset import open_dataset


def png(red):
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (red, 0, 0)).save(stream, "png")
    return stream.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_shards(folder, counts):
    """Shards of `counts` samples: the n-th has the red value n, class n % 3, and a caption."""
    folder.mkdir(exist_ok=True)
    numbers = itertools.count()
    for k, count in enumerate(counts):
        members = []
        for i in itertools.islice(numbers, count):
            members += [(f"{i:04d}.cls", b"%d" % (i % 3)), (f"{i:04d}.png", png(i))]
            members += [(f"{i:04d}.txt", b"a caption")]
        write_tar(folder / f"data-{k:03d}.tar", members)
        os.utime(folder / f"data-{k:03d}.tar", (1e9, 1e9))
    return folder


def open_shards(*paths, **more):
    return open_dataset([str(path) for path in paths], 8, **more)


def reds(data, indices):
    return data.batch(list(indices))[0][:, 0, 0, 0].tolist()

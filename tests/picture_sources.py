"""One data set in the forms that people have: archives, shards, and what it takes to compare them."""

import io
import tarfile
from pathlib import Path

import torch

from varlite.datasets import ImageFolder, open_dataset

SIZE = (14, 14)


def tar_of(folder: Path, path: Path, wrapper: str = "") -> Path:
    """What `tar cf PATH -C FOLDER .` makes, or with a wrapper `tar cf PATH WRAPPER` beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        tar.add(folder, wrapper or ".")
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    tar.addfile(about, io.BytesIO(content))


def shards_of(dataset: ImageFolder, out: Path, name: str = "shards-{:04d}.tar", each: int = 8, cls=str) -> Path:
    """WebDataset shards of a dataset, in its order: `cls` makes the text of a .cls file from the class number."""
    out.mkdir(parents=True, exist_ok=True)
    rows = list(range(len(dataset.names)))
    for shard, start in enumerate(range(0, len(rows), each)):
        with tarfile.open(out / name.format(shard), "w") as tar:
            for row in rows[start : start + each]:
                add(tar, f"{row:05d}.png", (dataset.root / dataset.names[row]).read_bytes())
                add(tar, f"{row:05d}.cls", cls(int(dataset.labels[row])).encode())
    return out


def opened(name: str | Path, channels: int = 1) -> dict:
    return {split: open_dataset(str(name), split, SIZE, channels) for split in ("train", "test")}


def same(a: dict, b: dict) -> bool:
    """Same pictures of the same classes in the same order, cut at random as well as in the middle."""
    for split in ("train", "test"):
        x, y = a[split], b[split]
        rows = torch.arange(len(x.labels))
        if x.classes != y.classes or not torch.equal(x.labels, y.labels):
            return False
        if not all(torch.equal(x.images(rows, *view), y.images(rows, *view)) for view in ((), (3, True))):
            return False
    return True

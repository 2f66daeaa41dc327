"""Fashion-MNIST, which ships: the data set of the small models."""

import gzip
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from varlite.datasets.in_memory import InMemory
from varlite.io.files import sha256
from varlite.io.places import DATA

FASHION_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class FashionMNIST(InMemory):
    """Fashion-MNIST (arXiv 1708.07747): 60,000 + 10,000 grey images of 28 x 28, ten classes.

    The four original files lie in `data/fashion-mnist/` and are read, and checked against `SHA256SUMS`, on first use.
    Raises FileNotFoundError for a missing file and ValueError for a changed one.
    """

    classes: tuple[str, ...] = FASHION_CLASSES

    def __init__(self, split: str, root: Path | None = None, size: tuple[int, int] = (28, 28), channels: int = 1):
        super().__init__(size, channels)
        self.split, self.root = split, root or DATA / "fashion-mnist"
        missing = [name for name in FASHION_FILES[split] if not (self.root / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"Fashion-MNIST: {self.root / missing[0]} is missing. It is part of the repository: "
                "`git checkout data`, or point the environment variable VARLITE_DATA at its data folder."
            )

    def _read(self, name: str) -> torch.Tensor:
        path = self.root / name
        lines = (self.root / "SHA256SUMS").read_text().splitlines()
        expected = {name: digest for digest, name in (line.split() for line in lines)}
        if (found := sha256(path)) != expected[name]:
            raise ValueError(f"Fashion-MNIST: {path} is damaged: its SHA-256 is {found}, expected {expected[name]}")
        raw = gzip.decompress(path.read_bytes())
        sides = np.frombuffer(raw, ">u4", count=raw[3], offset=4).tolist()  # the IDX header: byte 3 counts the axes
        return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * len(sides)).reshape(sides).copy())

    @cached_property
    def labels(self) -> torch.Tensor:
        return self._read(FASHION_FILES[self.split][1]).long()

    @cached_property
    def all_images(self) -> torch.Tensor:  # type: ignore[override]
        """(N, 1, 28, 28) bytes."""
        return self._read(FASHION_FILES[self.split][0])[:, None]

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the image file as it was published."""
        return sha256(self.root / FASHION_FILES[self.split][0])

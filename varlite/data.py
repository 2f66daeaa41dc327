"""Datasets as bytes, in a deterministic order, and caches of token maps.

A dataset here has `classes`, `labels` (N,), `checksum` and `images(indices) -> uint8 (B, channels, H, W)`; nothing else
is asked of it. Images are bytes until `to_float` makes them [-1, 1].
"""

import gzip
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

DATA = Path(os.environ.get("VARLITE_DATA", Path(__file__).resolve().parents[1] / "data"))

FASHION_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class Dataset(Protocol):
    classes: tuple[str, ...]

    @property
    def labels(self) -> torch.Tensor: ...

    @property
    def checksum(self) -> str: ...

    def images(self, indices: torch.Tensor) -> torch.Tensor: ...


def to_float(img: torch.Tensor) -> torch.Tensor:
    """Bytes -> [-1, 1]."""
    return img.float() / 127.5 - 1


def to_bytes(img: torch.Tensor) -> torch.Tensor:
    """Images in [0, 1] -> bytes, rounded to nearest."""
    return (img * 255).round().clamp(0, 255).to(torch.uint8)


def sha256(path: Path) -> str:
    """Checksum of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FashionMNIST:
    """Fashion-MNIST (arXiv 1708.07747): 60,000 + 10,000 grey images of 28 x 28, ten classes.

    The four original files lie in `data/fashion-mnist/` and are read, and checked against `SHA256SUMS`, on first use.
    Raises FileNotFoundError for a missing file and ValueError for a changed one.
    """

    classes: tuple[str, ...] = FASHION_CLASSES

    def __init__(self, split: str, root: Path | None = None):
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
    def all_images(self) -> torch.Tensor:
        """(N, 1, 28, 28) bytes."""
        return self._read(FASHION_FILES[self.split][0])[:, None]

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the image file as it was published."""
        return sha256(self.root / FASHION_FILES[self.split][0])

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        return self.all_images[indices]


class ImageFolder:
    """One's own images, a sub-folder for each class (the layout of ImageNet).

    With sub-folders `train` and `val` or `test` those are the splits; otherwise every tenth image is the test split.
    Images are converted to `channels`, resized to 1.125 times `size` and centre-cropped, as in the paper.
    Raises FileNotFoundError if the folder does not exist, ValueError if it holds no classes or no images.
    """

    def __init__(self, root: str | Path, split: str, size: tuple[int, int], channels: int):
        from torchvision.datasets import ImageFolder as Folder  # a second of start-up that only folders pay

        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(
                f"data: {root} is neither the name of a dataset ({', '.join(DATASETS)}) nor a folder"
            )
        named = {"train": ["train"], "test": ["val", "test"]}[split]
        split_root = next((root / name for name in named if (root / name).is_dir()), None)
        try:
            folder = Folder(str(split_root or root))
        except FileNotFoundError as error:
            raise ValueError(f"data: {root} must hold one sub-folder of images for each class ({error})") from None
        self.classes = tuple(folder.classes)
        keep = [i for i in range(len(folder.samples)) if split_root or (i % 10 == 0) == (split == "test")]
        self.paths = [folder.samples[i][0] for i in keep]
        self._labels = torch.tensor([folder.samples[i][1] for i in keep])
        if not keep:
            raise ValueError(f"data: {root} has too few images to leave any for the {split} split")
        if channels not in (1, 3):
            raise ValueError(f"data: images are read as grey or RGB, the model wants {channels} channels")
        self.root, self.size, self.mode = root, size, {1: "L", 3: "RGB"}[channels]
        self.pool = ThreadPoolExecutor(os.cpu_count())

    @property
    def labels(self) -> torch.Tensor:
        return self._labels

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the paths and sizes of the files: quick, and notices an added, moved or replaced image."""
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(f"{Path(path).relative_to(self.root).as_posix()}:{os.path.getsize(path)}\n".encode())
        return digest.hexdigest()

    def _image(self, i: int) -> torch.Tensor:
        from PIL import Image, ImageOps

        h, w = self.size
        with Image.open(self.paths[i]) as file:
            # 1.125 times the target, then the middle; `fit` keeps the proportions.
            image = ImageOps.fit(
                file.convert(self.mode), (round(w * 1.125), round(h * 1.125)), Image.Resampling.LANCZOS
            )
        top, left = (image.height - h) // 2, (image.width - w) // 2
        image = image.crop((left, top, left + w, top + h))
        return torch.from_numpy(np.array(image)).reshape(h, w, -1).permute(2, 0, 1)

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(self.pool.map(self._image, indices.tolist())))


DATASETS = ("fashion",)


def open_dataset(name: str, split: str, size: tuple[int, int], channels: int) -> Dataset:
    """A dataset by name, or a folder of images by path, for images of `size` (H, W) with `channels`.

    `split` is "train" or "test". Raises ValueError if a named dataset has other sizes than asked for.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if name == "fashion":
        if (size, channels) != ((28, 28), 1):
            raise ValueError(
                f"data: fashion has 1 x 28 x 28 images, the model wants {channels} x {size[0]} x {size[1]}"
            )
        return FashionMNIST(split)
    return ImageFolder(name, split, size, channels)


def batch_indices(n: int, batch: int, step: int, seed: int) -> torch.Tensor:
    """Indices of training batch `step`: whole shuffled passes over n examples, a function of its arguments alone.

    Being stateless, it makes resuming exact: batch 1000 is the same whether or not batch 999 was drawn.
    """
    batch = min(batch, n)
    per_epoch = n // batch
    epoch, start = divmod(step, per_epoch)
    return _order(n, seed, epoch)[start * batch : (start + 1) * batch]


@lru_cache(maxsize=2)
def _order(n: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


class TokenCache:
    """Token maps of a whole dataset on disk: `tokens.npy` (N, L) uint16, memory-mapped, `labels.npy`, `meta.json`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.meta = json.loads((folder / "meta.json").read_text())
        self.tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        self.labels = torch.from_numpy(np.load(folder / "labels.npy"))

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(idx_BL int64, labels (B,)) of the given rows."""
        return torch.from_numpy(self.tokens[indices.numpy()].astype(np.int64)), self.labels[indices]

"""Datasets as bytes, in a deterministic order, and caches of token maps. Images are bytes until `to_float`."""

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from filelock import FileLock
from PIL import Image

from varlite.folders import ImageFolder
from varlite.pixels import MODES, POOL, chance, convert, view

T = TypeVar("T")
CACHE = Path(os.environ.get("VARLITE_CACHE", Path.home() / ".cache" / "varlite"))
DATA = Path(os.environ.get("VARLITE_DATA", Path(__file__).resolve().parents[1] / "data"))

FASHION_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class Dataset(Protocol):
    """All that is asked of a dataset: (N,) labels, and uint8 images (B, channels, H, W) of the size it was opened for.

    `checksum` is of the data, whatever the size. With a `crop_seed` image i is cut out at random, and with `flip`
    mirrored or not: a function of (crop_seed, i) alone, so that a resumed training sees what an unbroken one does.
    `skipped` tells which files could not be read, and why.
    """

    classes: tuple[str, ...]

    @property
    def skipped(self) -> dict[str, str]: ...

    @property
    def labels(self) -> torch.Tensor: ...

    @property
    def checksum(self) -> str: ...

    def images(self, indices: torch.Tensor, crop_seed: int | None = None, flip: bool = False) -> torch.Tensor: ...


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


class InMemory:
    """A dataset that fits into memory: `all_images` (N, channels, H, W) bytes, resized and cropped where another `size`
    is asked for, and made grey or RGB; as they are where they already fit."""

    all_images: torch.Tensor

    def __init__(self, size: tuple[int, int], channels: int):
        if channels not in MODES:
            raise ValueError(f"data: images are read as grey or RGB, the model wants {channels} channels")
        self.size, self.channels = size, channels
        self.skipped: dict[str, str] = {}

    def images(self, indices: torch.Tensor, crop_seed: int | None = None, flip: bool = False) -> torch.Tensor:
        img = self.all_images[indices]
        if img.shape[1:] == (self.channels, *self.size):
            if not flip:
                return img
            mirrored = torch.tensor([chance(crop_seed, i, flip)[2] for i in indices.tolist()])
            return torch.where(mirrored[:, None, None, None], img.flip(-1), img)

        def one(i: int, x: torch.Tensor) -> torch.Tensor:
            image = convert(Image.fromarray(x.permute(1, 2, 0).squeeze(2).numpy()), self.channels)
            return view(image, self.size, i, crop_seed, flip)

        return torch.stack(list(POOL.map(one, indices.tolist(), img)))


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


class CIFAR10(InMemory):
    """CIFAR-10: 50,000 + 10,000 RGB images of 32 x 32, ten classes. Read by torchvision, which fetches it once.

    Raises FileNotFoundError, saying what to put where, if it neither lies in `root` nor can be fetched.
    """

    def __init__(self, split: str, root: Path | None = None, size: tuple[int, int] = (32, 32), channels: int = 3):
        from torchvision.datasets import CIFAR10 as Files  # a second of start-up

        super().__init__(size, channels)
        root = root or CACHE / "data"
        root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(root / "cifar10.lock"):
                files = Files(str(root), train=split == "train", download=True)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"CIFAR-10 is not in {root} and cannot be fetched ({error}). Put {Files.filename} of "
                f"https://www.cs.toronto.edu/~kriz/cifar.html there, MD5 {Files.tgz_md5}; it will be unpacked."
            ) from None
        self.classes = tuple(files.classes)
        self.all_images = torch.from_numpy(files.data).permute(0, 3, 1, 2)
        self.labels = torch.tensor(files.targets)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the pixels, in the order of the files."""
        return hashlib.sha256(self.all_images.permute(0, 2, 3, 1).numpy().tobytes()).hexdigest()


DATASETS: dict[str, type[FashionMNIST] | type[CIFAR10]] = {"fashion": FashionMNIST, "cifar10": CIFAR10}


def open_dataset(name: str, split: str, size: tuple[int, int], channels: int) -> Dataset:
    """A dataset by name, or a folder of images by path, for images of `size` (H, W) with `channels`, 1 or 3.

    `split` is "train" or "test". Raises ValueError or FileNotFoundError for what cannot be had.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if name in DATASETS:
        return DATASETS[name](split, None, size, channels)
    if not Path(name).is_dir():
        raise FileNotFoundError(f"data: {name} is neither the name of a dataset ({', '.join(DATASETS)}) nor a folder")
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


def ahead(draw: Callable[[int], T], stop: int) -> Callable[[int], T]:
    """`draw(step)` for steps below `stop`, the next one drawn by a thread meanwhile: no accelerator waits for files."""
    pool = ThreadPoolExecutor(1)
    next_step: dict[int, Future[T]] = {}

    def drawn(step: int) -> T:
        result = (next_step.pop(step, None) or pool.submit(draw, step)).result()
        next_step.clear()
        if step + 1 < stop:
            next_step[step + 1] = pool.submit(draw, step + 1)
        return result

    return drawn


class TokenCache:
    """Token maps of a whole dataset on disk: `tokens.npy` (N, L) uint16, memory-mapped, `labels.npy`, `meta.json`.

    Raises ValueError if the files are damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            self.meta = json.loads((folder / "meta.json").read_text())
            self.tokens = np.load(folder / "tokens.npy", mmap_mode="r")
            self.labels = torch.from_numpy(np.load(folder / "labels.npy"))
        except (ValueError, OSError) as error:
            raise ValueError(f"{folder} is damaged ({error}): delete it, and the tokens are made again") from None

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(idx_BL int64, labels (B,)) of the given rows."""
        return torch.from_numpy(self.tokens[indices.numpy()].astype(np.int64)), self.labels[indices]

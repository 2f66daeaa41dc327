"""Datasets as bytes, in a fixed order: those with a name, and one's own images in whatever form they are."""

from collections.abc import Iterable
from typing import Protocol

import torch

from varlite.datasets.cifar import CIFAR10
from varlite.datasets.fashion import FashionMNIST
from varlite.datasets.folders import ImageFolder as ImageFolder
from varlite.datasets.sources import open_source
from varlite.datasets.still_life import LargeStillLife, StillLife


class Dataset(Protocol):
    """What every dataset has: (N,) labels, and uint8 images (B, channels, H, W) of the size it was opened for.

    `checksum` is of the data, whatever the size and wherever they lie. With a `crop_seed` image i is cropped at random,
    and with `flip` mirrored or not: a function of (crop_seed, i) alone, so that a resumed training sees what an
    unbroken one does. With `as_published` images are decoded in full, and enlarged and cut even where they have the
    size already, as by VAR's training code (`varlite.datasets.pixels.crop`); two things stay ours, that EXIF turns
    images upright and that white lies under what is transparent. `skipped` tells which files could not be read, and
    why; `retry` gives the indices of such files once some of them can be read.
    """

    classes: tuple[str, ...]
    as_published: bool

    @property
    def skipped(self) -> dict[str, str]: ...

    @property
    def labels(self) -> torch.Tensor: ...

    @property
    def checksum(self) -> str: ...

    def images(self, indices: torch.Tensor, crop_seed: int | None = None, flip: bool = False) -> torch.Tensor: ...

    def retry(self, names: Iterable[str]) -> torch.Tensor: ...


DATASETS: dict[str, type[FashionMNIST] | type[CIFAR10] | type[StillLife]] = {
    "fashion": FashionMNIST,
    "cifar10": CIFAR10,
    "still-life": StillLife,
    "still-life-large": LargeStillLife,
}


def open_dataset(
    name: str, split: str, size: tuple[int, int], channels: int, unreadable: float = 0.25, as_published: bool = False
) -> Dataset:
    """A dataset by name, or what `varlite.datasets.sources` reads, for images of `size` (H, W) with `channels`, 1 or 3.

    `split` is "train" or "test"; `unreadable` is the share of the images that may be unreadable; for `as_published` see
    `Dataset`. Raises ValueError or FileNotFoundError for what is not there, ValueError for a share outside [0, 1].
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if not 0 <= unreadable <= 1:
        raise ValueError(f"unreadable must be a share from 0 to 1, got {unreadable}")
    dataset = _open(name, split, size, channels, unreadable)
    dataset.as_published = as_published
    return dataset


def _open(name: str, split: str, size: tuple[int, int], channels: int, unreadable: float) -> Dataset:
    if name in DATASETS:
        return DATASETS[name](split, None, size, channels)
    return open_source(name, split, size, channels, unreadable, DATASETS)

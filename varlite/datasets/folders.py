"""Folders of images as datasets."""

import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from varlite.datasets.pixels import MODES, POOL, read_image, view

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")


class ImageFolder:
    """One's own images, a sub-folder for each class (the layout of ImageNet).

    With sub-folders `train` and `val` or `test` those are the splits; otherwise every tenth image is the test split.
    Images are resized and cropped as in the paper (`varlite.pixels`). One that cannot be read is replaced by the next
    that can, together with its label, and noted in `skipped`, path -> reason.
    Raises FileNotFoundError if the folder does not exist, ValueError if it holds no classes or no images.
    """

    # A share of unreadable images among those drawn that is no accident any more: a disk went away.
    MOST_SKIPPED, AT_LEAST, IN_A_ROW = 0.05, 10, 100

    def __init__(self, root: str | Path, split: str, size: tuple[int, int], channels: int):
        root = Path(root)
        if channels not in MODES:
            raise ValueError(f"data: images are read as grey or RGB, the model wants {channels} channels")
        train_root, test_root = split_roots(root)
        self.root, self.size, self.channels, self.classes = root, size, channels, class_folders(train_root)
        split_root = train_root
        if split == "test" and test_root:
            split_root = test_root
            if strange := sorted(set(class_folders(test_root)) - set(self.classes)):
                raise ValueError(f"data: {test_root} has classes that {train_root} has not: {', '.join(strange[:5])}")
        self.names: list[str] = []  # below the root, in a fixed order
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            found = list(images_in(split_root / name, root))
            if not found and split_root == train_root:
                raise ValueError(f"data: {train_root / name} holds no images ({', '.join(SUFFIXES)})")
            self.names += found
            labels += [label] * len(found)
        self._labels = np.array(labels)
        if test_root is None:
            tenth = np.arange(len(labels)) % 10 == 0
            (keep,) = np.nonzero(tenth if split == "test" else ~tenth)
            self.names, self._labels = [self.names[i] for i in keep], self._labels[keep]
        if not self.names:
            raise ValueError(f"data: {root} has too few images to leave any for the {split} split")
        self.skipped: dict[str, str] = {}
        self._instead: dict[int, int] = {}  # unreadable -> the one shown
        self._drawn = self._replaced = 0

    @property
    def labels(self) -> torch.Tensor:
        return torch.from_numpy(self._labels)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the paths and sizes of the files: quick, and notices an added, moved or replaced image."""
        digest = hashlib.sha256()
        for name in self.names:
            try:
                size = os.path.getsize(f"{self.root}/{name}")
            except OSError:
                size = -1  # a dangling link, say; `skipped` will name it
            digest.update(f"{name}:{size}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def images(self, indices: torch.Tensor, crop_seed: int | None = None, flip: bool = False) -> torch.Tensor:
        """(B, channels, H, W) bytes; without a `crop_seed` their middle, with one see `varlite.pixels.view`.

        `labels` are to be taken after the images: those of unreadable ones change to what is shown in their place.
        Raises OSError if so many are unreadable that it can be no accident.
        """
        wanted = indices.tolist()
        images = list(POOL.map(lambda i: self._image(i, crop_seed, flip), wanted))
        replaced = [i for i in wanted if i in self._instead]
        for i in replaced:
            self._labels[i] = self._labels[self._instead[i]]
        self._drawn += len(wanted)
        self._replaced += len(replaced)
        if len(self.skipped) >= self.AT_LEAST and self._replaced > self.MOST_SKIPPED * self._drawn:
            raise self._too_many(f"{self._replaced} of {self._drawn} images drawn")
        return torch.stack(images)

    def _image(self, i: int, crop_seed: int | None, flip: bool) -> torch.Tensor:
        j = self._instead.get(i, i)
        for _ in range(min(len(self.names), self.IN_A_ROW)):
            name = self.names[j]
            if name not in self.skipped:
                try:
                    image = read_image(f"{self.root}/{name}", self.size, self.channels)
                except Exception as error:  # a damaged file may raise nearly anything
                    self.skipped[name] = f"{type(error).__name__}: {error}"
                else:
                    if j != i:
                        self._instead[i] = j
                    return view(image, self.size, i, crop_seed, flip)
            j = (j + 1) % len(self.names)
        raise self._too_many(f"{min(len(self.names), self.IN_A_ROW)} images in a row")

    def _too_many(self, what: str) -> OSError:
        name, reason = list(self.skipped.items())[-1]
        return OSError(
            f"data: {what} from {self.root} cannot be read, the last of them {name} ({reason}). "
            "With the files restored, the same command goes on; without them it is another dataset."
        )


def split_roots(root: Path) -> tuple[Path, Path | None]:
    """Folders of the train and test images; None where test images are to be taken from those for training."""
    names, splits = sub_folders(root), {"train", "val", "test"}
    if "train" not in names or not (sub_folders(root / "train") or set(names) <= splits):  # a class of trains
        return root, None
    return root / "train", next((root / name for name in ("val", "test") if name in names), None)


def sub_folders(root: Path) -> list[str]:
    """Names, sorted, without hidden ones."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def class_folders(root: Path) -> tuple[str, ...]:
    """Raises ValueError if there are none."""
    if not (names := sub_folders(root)):
        raise ValueError(f"data: {root} must hold one sub-folder of images for each class")
    return tuple(names)


def images_in(folder: Path, root: Path) -> Iterator[str]:
    """Paths below `root` of the images in `folder`, however deep, in an order that names alone decide."""
    for parent, _, files in sorted(os.walk(folder, followlinks=True)):
        below = Path(parent).relative_to(root).as_posix()
        images = (file for file in sorted(files) if file.lower().endswith(SUFFIXES) and not file.startswith("."))
        yield from (f"{below}/{file}" for file in images)

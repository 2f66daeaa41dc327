"""An npz of images and labels as a dataset."""

import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from varlite.datasets.encoded import every_tenth
from varlite.datasets.in_memory import InMemory
from varlite.io.class_names import natural_key
from varlite.io.files import sha256

# What arrays are called here, by MedMNIST, and by Keras.
TRAIN = (("images", "labels"), ("train_images", "train_labels"), ("x_train", "y_train"))
TEST = (
    ("val_images", "val_labels"), ("test_images", "test_labels"), ("x_val", "y_val"), ("x_test", "y_test"),
)  # fmt: skip


class NpzImages(InMemory):
    """`images` (N, H, W), (N, H, W, channels) or (N, channels, H, W) bytes, `labels` (N,) numbers or names, and
    `classes`, the names of numbers, if they have any.

    `test_images` and `test_labels` are the test split where they are there; otherwise every tenth image is. The arrays
    may be called as MedMNIST or Keras call them. Raises ValueError for a file of something else.
    """

    def __init__(self, path: Path, split: str, size: tuple[int, int], channels: int):
        super().__init__(size, channels)
        self.path, self.split = path, split
        try:
            with open_archive(path) as file:
                train, test = (next((p for p in pairs if p[0] in file.files), None) for pairs in (TRAIN, TEST))
                if train is None:
                    listed = ", ".join(file.files[:8])
                    raise ValueError(f"it must hold images and labels, and holds {listed or 'nothing'}")
                pair = test if split == "test" and test else train
                images, labels = file[pair[0]], np.ravel(file[pair[1]])
                of_train = labels if pair == train else np.ravel(file[train[1]])
                names = [str(name) for name in np.ravel(file["classes"])] if "classes" in file.files else []
            self.all_images = _in_order(images)
            if len(images) != len(labels):
                raise ValueError(f"{len(images)} images have {len(labels)} labels")
            self.classes, numbers = _numbered(of_train, labels, names)
        except (zipfile.BadZipFile, zlib.error, KeyError, OSError, ValueError, EOFError) as error:
            raise ValueError(f"data: {path} cannot be used: {error}") from None
        if test is None:
            self._choose(every_tenth(numbers) == (split == "test"), numbers)
        else:
            self.labels = torch.from_numpy(numbers)
        if not len(self.labels):
            raise ValueError(f"data: {path} has too few images to leave any for the {split} split")

    def _choose(self, chosen: np.ndarray, numbers: np.ndarray) -> None:
        self.all_images, self.labels = self.all_images[torch.from_numpy(chosen)], torch.from_numpy(numbers[chosen])

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the file, and which split of it this is."""
        return f"{sha256(self.path)}-{self.split}"


def open_archive(path: Path) -> Any:
    """The named arrays of an npz. Raises ValueError for a single array of `np.save`, whatever its name ends in."""
    file = np.load(path)
    if isinstance(file, np.ndarray):
        raise ValueError("it is a single array, and not an archive of named ones (np.savez)")
    return file


def _in_order(images: np.ndarray) -> torch.Tensor:
    """(N, channels, H, W) of bytes in any order of axes."""
    if images.dtype != np.uint8:
        raise ValueError(f"images must be bytes (uint8), got {images.dtype}")
    if 0 in images.shape[1:]:
        raise ValueError(f"images must have pixels, got {images.shape}")
    if images.ndim == 3:
        return torch.from_numpy(images)[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return torch.from_numpy(images).permute(0, 3, 1, 2)
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return torch.from_numpy(images)
    raise ValueError(f"images must be (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W), got {images.shape}")


def _numbered(of_train: np.ndarray, labels: np.ndarray, names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """(names of the classes, number of each label)."""
    if names and of_train.dtype.kind in "iu":
        low, high = min(int(of_train.min()), int(labels.min())), max(int(of_train.max()), int(labels.max()))
        if low < 0 or high >= len(names):
            raise ValueError(f"labels are from {low} to {high}, and there are {len(names)} names in classes")
        return tuple(names), labels.astype(np.int64)
    if of_train.dtype.kind not in "iuUS":
        raise ValueError(f"labels must be whole numbers or names, got {of_train.dtype}")
    words = [text(label) for label in labels]
    classes = names or sorted({text(label) for label in of_train}, key=natural_key)
    known = {name: i for i, name in enumerate(classes)}
    if strange := [word for word in words if word not in known]:
        raise ValueError(f"there is a label {strange[0]} that the training images have not")
    return tuple(classes), np.array([known[word] for word in words], np.int64)


def text(label: np.generic) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)

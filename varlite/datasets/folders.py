"""Folders of images as datasets."""

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from varlite.datasets.checksums import content_checksum
from varlite.datasets.layout import Layout, LeftOut, Pictures, find_layout, sub_folders
from varlite.datasets.pixels import MODES, POOL, SUFFIXES, Unreadable, read_image, view
from varlite.io.places import expand_home


class ImageFolder:
    """One's own images, a sub-folder for each class (the layout of ImageNet).

    Sub-folders such as `train` and `val` or `test` are the splits; otherwise every tenth image is the test split, but
    for classes that would be left without an image to train on. `layout` and `left_out` tell what was understood.
    Images are resized and cropped as by VAR's training code, but for two things that `as_published` takes back: those
    of the size wanted are left as they are, and a large JPEG is decoded at a fraction (`varlite.datasets.pixels`).
    One that cannot be read is replaced by the next that can, together with its label, and noted in `skipped`, path ->
    reason; it is tried again each time.
    unreadable: share of the images that may be unreadable; more means a wrong folder or a lost disk.
    Raises FileNotFoundError if the folder does not exist, ValueError if it holds no classes or no images.
    """

    as_published = False
    AT_LEAST, IN_A_ROW = 10, 100  # unreadable images before anything is concluded from their share or their row

    def __init__(self, root: str | Path, split: str, size: tuple[int, int], channels: int, unreadable: float = 0.25):
        if channels not in MODES:
            raise ValueError(f"data: images are read as grey or RGB, the model wants {channels} channels")
        if not 0 <= unreadable <= 1:
            raise ValueError(f"unreadable must be a share from 0 to 1, got {unreadable}")
        self.root, self.size, self.channels = expand_home(root), size, channels
        self.unreadable = unreadable
        self.layout = find_layout(self.root)
        self.classes = self.layout.classes
        names, labels, self.left_out = list_split(self.layout, split)
        if not names:
            raise ValueError(f"data: {self.root} has too few images to leave any for the {split} split")
        self.names = names  # below the root, in a fixed order
        self._own_labels, self._labels = np.array(labels), np.array(labels)
        self.skipped: dict[str, str] = {}
        self._instead: dict[int, int] = {}  # unreadable -> the one shown
        self._tried, self._bad_when_looked = np.zeros(len(names), bool), 0

    @property
    def labels(self) -> torch.Tensor:
        return torch.from_numpy(self._labels)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the names of the classes, and of each image's class, path below it and content."""
        below = (self.layout.test or self.layout.train).relative_to(self.root).as_posix()
        start = 0 if below == "." else len(below) + 1
        labels = [
            f"{self.classes[label]}/{name[start:]}" for label, name in zip(self._own_labels, self.names, strict=True)
        ]
        return content_checksum(self.root, self.names, labels)

    def images(self, indices: torch.Tensor, crop_seed: int | None = None, flip: bool = False) -> torch.Tensor:
        """(B, channels, H, W) bytes; the middle, or with a `crop_seed` what `varlite.datasets.pixels.view` cuts out.

        Ask for `labels` afterwards: an unreadable image has that of the image shown in its place.
        Raises OSError if so many are unreadable that it can be no accident.
        """
        wanted = indices.tolist()
        images = list(POOL.map(lambda i: self._image(i, crop_seed, flip), wanted))
        self._tried[wanted] = True
        for i in wanted:
            self._labels[i] = self._own_labels[self._instead.get(i, i)]
        self._look_all_over()
        return torch.stack(images)

    def retry(self, names: Iterable[str]) -> torch.Tensor:
        """Indices of the images `names`, once any of them can be read; none as long as all still cannot."""
        known = {name: i for i, name in enumerate(self.names)}
        rows = sorted(known[name] for name in names if name in known)
        readable = any(POOL.map(lambda i: self._read(i) is not None, rows))
        return torch.tensor(rows if readable else [], dtype=torch.int64)

    def _read(self, i: int) -> Image.Image | None:
        """Image `i`; None, and noted in `skipped`, if it cannot be read."""
        name = self.names[i]
        try:
            image = read_image(f"{self.root}/{name}", self.size, self.channels, in_full=self.as_published)
        except (Unreadable, OSError) as error:
            self.skipped[name] = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            return None
        self.skipped.pop(name, None)
        return image

    def _image(self, i: int, crop_seed: int | None, flip: bool) -> torch.Tensor:
        if (image := self._read(i)) is not None:
            self._instead.pop(i, None)
            return view(image, self.size, i, crop_seed, flip, self.as_published)
        n, row = len(self.names), min(len(self.names), self.IN_A_ROW)
        # The next ones in order; all of one class may be broken, so then some from everywhere.
        others = [self._instead.get(i, i), *(i + k for k in range(1, row)), *(i + k * n // row for k in range(1, row))]
        for j in others:
            if self.names[j % n] not in self.skipped and (image := self._read(j % n)) is not None:
                self._instead[i] = j % n
                return view(image, self.size, i, crop_seed, flip, self.as_published)
        raise self._too_many(f"{len(set(j % n for j in others) | {i})} images in a row and from all over")

    def _look_all_over(self) -> None:
        """Where many of the images tried were unreadable, try some from everywhere: they may be all of one class.

        Raises OSError if too many of those are.
        """
        n, bad, most = len(self.names), len(self.skipped), self.unreadable
        if bad < max(self.AT_LEAST, 2 * self._bad_when_looked) or bad <= most * self._tried.sum():
            return
        rows = np.unique(np.linspace(0, n - 1, min(n, self.IN_A_ROW)).astype(int)).tolist()
        unreadable = sum(image is None for image in POOL.map(self._read, rows))
        self._bad_when_looked = len(self.skipped)
        if unreadable > most * len(rows):
            raise self._too_many(f"{unreadable} of {len(rows)} images, evenly spread,")

    def _too_many(self, what: str) -> OSError:
        by_class = Counter(Path(name).parent.as_posix() for name in self.skipped).most_common(3)
        examples = "; ".join(f"{name} ({reason})" for name, reason in list(self.skipped.items())[-3:])
        return OSError(
            f"data: {what} from {self.root} cannot be read, most of them in "
            f"{', '.join(f'{folder} ({n:,})' for folder, n in by_class)}: {examples}. "
            "With the files restored, the same command goes on; without them it is another dataset. A training takes "
            "more with --unreadable SHARE."
        )


def list_split(layout: Layout, split: str) -> tuple[list[str], list[int], LeftOut]:
    """(paths below the root, class numbers, what was left out) of "train" or "test".

    Raises ValueError for a class without images to train on, and for test classes that training does not have.
    """
    place = layout.test if split == "test" and layout.test else layout.train
    have = sub_folders(place)
    if strange := [name for name in have if name not in layout.classes]:
        raise ValueError(f"data: {place} has classes that {layout.train} has not: {', '.join(strange[:5])}")
    folders = [name for name in layout.classes if name in set(have)]
    pictures = Pictures(place, folders)
    found = dict(zip(folders, pictures.names, strict=True))
    left_out, labels, names = pictures.left_out, [], []
    prefix = "" if place == layout.root else place.relative_to(layout.root).as_posix() + "/"
    for label, name in enumerate(layout.classes):
        if not found.get(name) and place == layout.train:
            why = "; ".join(left_out.lines())
            raise ValueError(
                f"data: {place / name} holds no images ({', '.join(SUFFIXES)})" + (f"; left out: {why}" if why else "")
            )
        names += [prefix + picture for picture in found.get(name, [])]
        labels += [label] * len(found.get(name, []))
    if layout.test is None:
        tenth = every_tenth(np.array(labels))
        (keep,) = np.nonzero(tenth if split == "test" else ~tenth)
        names, labels = [names[i] for i in keep], [labels[i] for i in keep]
    return names, labels, left_out


def every_tenth(labels: np.ndarray) -> np.ndarray:
    """Which images are for testing: every tenth of all, unless its class would have none left to train on."""
    tenth = np.arange(len(labels)) % 10 == 0
    left = np.bincount(labels[~tenth], minlength=labels.max(initial=0) + 1)
    return tenth & (left[labels] > 0)


def images_in(folder: Path, root: Path) -> list[str]:
    """Paths below `root` of the images in `folder`, however deep, in an order that names alone decide."""
    below = folder.relative_to(root).as_posix()
    prefix = "" if below == "." else f"{below}/"
    return [prefix + name for name in Pictures(folder, [""]).names[0]]

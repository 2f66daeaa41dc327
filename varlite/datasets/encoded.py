"""Datasets of encoded pictures, wherever they lie: what folders, lists, archives and tables have in common."""

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from varlite.datasets.pixels import MODES, POOL, Unreadable, read_image, view


class EncodedImages:
    """Pictures as files or the bytes of files, in a fixed order, with a name and a class each.

    A subclass says what lies where: `content`, or else `picture`, and `checksum`.
    One that cannot be read is replaced by the next that can, together with its label, and noted in `skipped`, name ->
    reason; it is tried again each time.
    unreadable: share of the images that may be unreadable; more means a wrong source or a lost disk.
    Raises ValueError where `names` is empty, and for channels other than 1 and 3.
    """

    as_published = False
    AT_LEAST, IN_A_ROW = 10, 100  # unreadable images before anything is concluded from their share or their row
    notes: tuple[str, ...] = ()  # what was understood that is not obvious, and what was left out

    def __init__(
        self,
        root: Path,
        names: list[str],
        labels: Iterable[int],
        classes: tuple[str, ...],
        split: str,
        size: tuple[int, int],
        channels: int,
        unreadable: float,
    ):
        """`root` is where the pictures are from; `names` are below it."""
        if channels not in MODES:
            raise ValueError(f"data: images are read as grey or RGB, the model wants {channels} channels")
        if not 0 <= unreadable <= 1:
            raise ValueError(f"unreadable must be a share from 0 to 1, got {unreadable}")
        if not names:
            raise ValueError(f"data: {root} has too few images to leave any for the {split} split")
        self.root, self.names, self.classes, self.size, self.channels = root, names, classes, size, channels
        self.unreadable = unreadable
        self._own_labels, self._labels = np.array(labels, np.int64), np.array(labels, np.int64)
        self.skipped: dict[str, str] = {}
        self._instead: dict[int, int] = {}  # unreadable -> the one shown
        self._tried, self._bad_when_looked = np.zeros(len(names), bool), 0

    @property
    def labels(self) -> torch.Tensor:
        return torch.from_numpy(self._labels)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the names of the classes, and of each image's class, name and content."""
        raise NotImplementedError

    def content(self, i: int) -> bytes:
        """Image `i` as it is encoded. Raises OSError or Unreadable."""
        raise NotImplementedError

    def picture(self, i: int) -> Image.Image:
        """Image `i`, no smaller than is needed. Raises OSError or Unreadable."""
        name, content = self.names[i], self.content(i)
        return read_image(name, self.size, self.channels, in_full=self.as_published, content=content)

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
            image = self.picture(i)
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


class ImageFiles(EncodedImages):
    """Pictures that are files below `root`."""

    def content(self, i: int) -> bytes:
        return (self.root / self.names[i]).read_bytes()

    def picture(self, i: int) -> Image.Image:
        return read_image(f"{self.root}/{self.names[i]}", self.size, self.channels, in_full=self.as_published)


def every_tenth(labels: np.ndarray) -> np.ndarray:
    """Which images are for testing: every tenth of all, unless its class would have none left to train on."""
    tenth = np.arange(len(labels)) % 10 == 0
    left = np.bincount(labels[~tenth], minlength=labels.max(initial=0) + 1)
    return tenth & (left[labels] > 0)

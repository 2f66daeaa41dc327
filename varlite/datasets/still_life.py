"""Still life: an endless world of small colour scenes, rendered in PyTorch, of which every factor is known.

A main object of ten classes and up to two smaller companions stand on a table before a wall.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from varlite.datasets.in_memory import InMemory
from varlite.datasets.pixels import to_bytes
from varlite.datasets.rendering import render
from varlite.datasets.scenes import COUNTS, HELD_OUT, SEEDS, SIDE, VERSION, Scene, sample
from varlite.datasets.shapes import CLASSES
from varlite.io.places import cache_folder


class Frames:
    """(N, 3, 64, 64) bytes, indexed by a tensor: rendered when first asked for, and kept in two sparse files.

    An image is marked once it is whole: breaking off loses nothing, and processes may share them, writing the same.
    """

    def __init__(self, folder: Path, n: int, factors: Callable[[int], Scene]):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.factors, shape = folder, factors, (n, 3, SIDE, SIDE)
        with torch.inference_mode(False):  # opened inside it, they could not be written to outside
            self.pixels = torch.from_file(f"{folder}/pixels", True, n * 3 * SIDE**2, dtype=torch.uint8).view(shape)
            self.marks = torch.from_file(f"{folder}/marks", True, n, dtype=torch.uint8)

    def __getitem__(self, indices: Tensor) -> Tensor:
        n = len(self.marks)
        if len(indices) and not -n <= int(indices.min()) <= int(indices.max()) < n:
            raise IndexError(f"indices must lie in 0 .. {n - 1}, got {int(indices.min())} to {int(indices.max())}")
        indices = indices % n  # negative ones count from the end, as in any tensor
        missing = indices[self.marks[indices] == 0].unique()
        for part in missing.split(32) if len(missing) else ():
            # The files are sparse, and a write to a mapped one that a full disk cannot hold would end the process.
            if shutil.disk_usage(self.folder).free < len(part) * self.pixels[0].numel() + 2**20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
            self.pixels[part] = to_bytes(render([self.factors(i) for i in part.tolist()]))
            self.marks[part] = 1
        return self.pixels[indices]


class StillLife(InMemory):
    """60,000 + 5,000 scenes, RGB of 64 x 64; image i has class i % 10.

    Neither split has a (class, hue) of `held_out`, 5 of the 90; for `render` any Scene will do. What has been rendered
    is kept in `root`, 737 MB in the end.
    """

    classes: tuple[str, ...] = CLASSES
    counts: ClassVar[dict[str, int]] = COUNTS
    render = staticmethod(render)

    def __init__(
        self,
        split: str,
        root: Path | None = None,
        size: tuple[int, int] = (64, 64),
        channels: int = 3,
        held_out=HELD_OUT,
    ):
        super().__init__(size, channels)
        self.seed, self.held_out, self.labels = SEEDS[split], held_out, torch.arange(self.counts[split]) % len(CLASSES)
        self.checksum = hashlib.sha256(f"{VERSION} {split} {len(self.labels)} {sorted(held_out)}".encode()).hexdigest()
        self.root = (root or cache_folder() / "still-life") / self.checksum[:16]

    @cached_property
    def all_images(self) -> Frames:  # type: ignore[override]
        return Frames(self.root, len(self.labels), self.factors)

    def factors(self, index: int) -> Scene:
        """What image `index` shows."""
        return sample(self.seed, index, self.held_out)


class LargeStillLife(StillLife):
    """The same world with 240,000 training scenes, the first 60,000 of them the same: a minute's rendering for a GPU.

    For training that passes over the others so often that it learns them by heart. 3.0 GB in the end.
    """

    counts = COUNTS | {"train": 240_000}

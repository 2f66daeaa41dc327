"""CIFAR-10, fetched on first use."""

import hashlib
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock

from varlite.datasets.in_memory import InMemory
from varlite.io.places import cache_folder


class CIFAR10(InMemory):
    """CIFAR-10: 50,000 + 10,000 RGB images of 32 x 32, ten classes. Read by torchvision, which fetches it once.

    Raises FileNotFoundError, saying what to put where, if it neither lies in `root` nor can be fetched.
    """

    def __init__(self, split: str, root: Path | None = None, size: tuple[int, int] = (32, 32), channels: int = 3):
        from torchvision.datasets import CIFAR10 as Files  # a second of start-up

        super().__init__(size, channels)
        root = root or cache_folder() / "data"
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

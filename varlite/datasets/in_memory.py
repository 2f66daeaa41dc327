"""Datasets that fit into memory."""

from collections.abc import Iterable

import torch
from PIL import Image

from varlite.datasets.pixels import MODES, POOL, chance, convert, view


class InMemory:
    """A dataset that fits into memory: `all_images` (N, channels, H, W) bytes, resized and cropped where another `size`
    is asked for, and made grey or RGB; as they are where they already fit, unless `as_published`."""

    as_published = False
    all_images: torch.Tensor

    def __init__(self, size: tuple[int, int], channels: int):
        if channels not in MODES:
            raise ValueError(f"data: images are read as grey or RGB, the model wants {channels} channels")
        self.size, self.channels = size, channels
        self.skipped: dict[str, str] = {}

    def retry(self, names: Iterable[str]) -> torch.Tensor:
        """Nothing is ever skipped."""
        return torch.tensor([], dtype=torch.int64)

    def images(self, indices: torch.Tensor, crop_seed: int | None = None, flip: bool = False) -> torch.Tensor:
        img = self.all_images[indices]
        if img.shape[1:] == (self.channels, *self.size) and not self.as_published:
            if not flip:
                return img
            mirrored = torch.tensor([chance(crop_seed, i, flip)[2] for i in indices.tolist()])
            return torch.where(mirrored[:, None, None, None], img.flip(-1), img)

        def one(i: int, x: torch.Tensor) -> torch.Tensor:
            image = convert(Image.fromarray(x.permute(1, 2, 0).squeeze(2).numpy()), self.channels)
            return view(image, self.size, i, crop_seed, flip, self.as_published)

        return torch.stack(list(POOL.map(one, indices.tolist(), img)))

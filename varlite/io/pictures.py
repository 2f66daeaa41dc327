"""Pictures as files: images of bytes, one by one or tiled into a grid."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from varlite.io.files import atomic


def save_png(path: Path, img_3HW: torch.Tensor) -> None:
    """Write one image of bytes, grey or RGB, as PNG; its folder is created if need be."""
    array_HW3 = img_3HW.permute(1, 2, 0).numpy()
    with atomic(path, sync=False) as temporary, open(temporary, "wb") as file:
        Image.fromarray(array_HW3[..., 0] if array_HW3.shape[-1] == 1 else array_HW3).save(file, "PNG")


def read_png(path: Path) -> torch.Tensor:
    """One image of bytes (channels, H, W), as `save_png` wrote it."""
    with Image.open(path) as picture:
        array = np.array(picture)
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1)


def tile(rows: list[list[torch.Tensor]], gap: int = 2) -> torch.Tensor:
    """Lay out rows of images of bytes as one image on white, `gap` pixels apart."""
    channels, H, W = rows[0][0].shape
    columns = max(len(row) for row in rows)
    grid_3HW = torch.full((channels, len(rows) * (H + gap) + gap, columns * (W + gap) + gap), 255, dtype=torch.uint8)
    for i, row in enumerate(rows):
        for j, img in enumerate(row):
            top, left = gap + i * (H + gap), gap + j * (W + gap)
            grid_3HW[:, top : top + H, left : left + W] = img
    return grid_3HW

"""Pictures and masks as `varlite edit` is given them."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(height: int, width: int) -> np.ndarray:
    """Grey bytes that rise from one corner to the other."""
    y, x = np.mgrid[:height, :width]
    return (255 * (x / width + y / height) / 2).astype(np.uint8)


def mask(
    path: str | Path, height=10, width=10, rows=slice(2, 6), columns=slice(4, 8), white=255, dtype=np.uint8
) -> str | Path:
    """A file that is black but for a box of `white`; returns its path."""
    values = np.zeros((height, width), dtype)
    values[rows, columns] = white
    Image.fromarray(values).save(path)
    return path

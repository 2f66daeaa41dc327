"""From an image file of any kind to bytes of the size and channels that a model wants."""

import hashlib
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

MODES = {1: "L", 3: "RGB"}
POOL = ThreadPoolExecutor(os.cpu_count())  # Pillow decodes and resizes without holding Python's lock
MARGIN = 1.125  # of the paper: images are resized to this much more than is then cropped


def to_float(img: torch.Tensor) -> torch.Tensor:
    """Bytes -> [-1, 1]."""
    return img.float() / 127.5 - 1


def to_bytes(img: torch.Tensor) -> torch.Tensor:
    """Images in [0, 1] -> bytes, rounded to nearest."""
    return (img * 255).round().clamp(0, 255).to(torch.uint8)


def read_image(path: str | Path, size: tuple[int, int], channels: int) -> Image.Image:
    """The first frame of a file, upright, as grey or RGB, in no less than twice the size that `crop` needs.

    What is transparent becomes white; 16-bit grey keeps its upper bits. Raises whatever Pillow does for a bad file.
    """
    with Image.open(path) as file:
        file.draft(None, (round(2 * MARGIN * max(size)),) * 2)  # decodes a large JPEG at a half, quarter or eighth
        if file.getexif().get(0x0112, 1) != 1:  # orientation
            ImageOps.exif_transpose(file, in_place=True)
        return convert(file, channels)


def convert(image: Image.Image, channels: int) -> Image.Image:
    """Grey or RGB, on white."""
    if image.mode == "I" or image.mode.startswith("I;16"):  # Pillow would clip at 255, to white
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:  # Pillow would show what lies under it
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(MODES[channels])


def crop(image: Image.Image, size: tuple[int, int], u: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Resize so that `size` (H, W) with a margin of an eighth just fits, then cut `size` out of it.

    `u` in [0, 1) is where, across and down: the middle by default. An image that has `size` already is taken as it is.
    """
    h, w = size
    if image.size == (w, h):
        return image
    scale = max(round(MARGIN * h) / image.height, round(MARGIN * w) / image.width)
    left, top = (image.width - w / scale) * u[0], (image.height - h / scale) * u[1]
    # Resizing the cut alone: the whole of a very long image may be too large for memory.
    box = (left, top, min(left + w / scale, image.width), min(top + h / scale, image.height))
    return image.resize((w, h), Image.Resampling.LANCZOS, box)


def chance(crop_seed: int | None, i: int, flip: bool) -> tuple[float, float, bool]:
    """Where to crop image `i`, across and down, and whether to mirror it: a function of the arguments alone.

    None is the middle, as it is. Raises ValueError for `flip` without a seed.
    """
    if crop_seed is None:
        if flip:
            raise ValueError("flip mirrors at random and needs a crop_seed")
        return 0.5, 0.5, False
    digest = hashlib.blake2b(f"{crop_seed} {i}".encode(), digest_size=24).digest()  # a new generator costs more
    across, down, mirrored = (u / 2**64 for u in struct.unpack("<3Q", digest))
    return across, down, flip and mirrored < 0.5


def view(image: Image.Image, size: tuple[int, int], i: int, crop_seed: int | None, flip: bool) -> torch.Tensor:
    """(channels, H, W) bytes of image `i`, cut and mirrored as `chance` says."""
    across, down, mirrored = chance(crop_seed, i, flip)
    image = crop(image, size, (across, down))
    if mirrored:
        image = ImageOps.mirror(image)
    return torch.from_numpy(np.array(image)).reshape(*size, -1).permute(2, 0, 1)

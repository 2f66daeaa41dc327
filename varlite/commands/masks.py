"""Masks for `varlite edit`: what is to be repainted, from a picture or a box, and how that is shown."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from varlite.datasets.pixels import open_picture, read_image
from varlite.editing import box_mask
from varlite.scales import Scales

Box = tuple[float, float, float, float]
WHITE = (1, 255, 65535)  # of masks saved as labels, as pictures of 8 bits and of 16


def read_mask(path: Path, image: tuple[int, int], size: tuple[int, int], scales: Scales) -> torch.Tensor:
    """Booleans, True = keep, from a picture whose white is to be repainted.

    It has the size of the last scale or `size` (H, W), what the model sees, or else the proportions of the image file,
    (width, height), and is then cropped as that is; a pixel with any white in it is to be repainted.
    Raises ValueError for other proportions, grey values, transparency, or no white, and as `open_picture` does.
    """
    with open_picture(path) as file:
        opaque = not file.has_transparency_data or np.asarray(file.convert("RGBA"))[..., 3].min() == 255
        values = np.asarray(file if file.mode[0] in "IF" else file.convert("L"))
    if not opaque:
        raise ValueError(f"mask: {path} is partly transparent; it must be opaque, white where to repaint")
    strange = np.setdiff1d(values, [0, values.max()])
    if len(strange) or values.max() not in (0, *WHITE):
        other = strange[0] if len(strange) else values.max()
        raise ValueError(
            f"mask: {path} must be black and white only, but has the value {other}, too: "
            "draw it with a hard brush and save it as PNG"
        )
    height, width = values.shape
    if (height, width) not in (scales.last, size):
        if abs(width * image[1] - height * image[0]) > max(*image, width, height):  # a pixel of rounding
            raise ValueError(
                f"mask: {path} is {width} x {height}; it must have the proportions of the image, "
                f"{image[0]} x {image[1]}, or be {size[1]} x {size[0]} or {scales.last[1]} x {scales.last[0]}"
            )
        white = Image.fromarray((values > 0).astype(np.float32))
        values = np.asarray(ImageOps.fit(white, size[::-1], Image.Resampling.BOX))
    if not values.any():
        raise ValueError(f"mask: {path} has no white, which marks what to repaint, in the {size[1]} x {size[0]} used")
    return torch.from_numpy(values == 0)


def read_picture(path: Path, size: tuple[int, int], channels: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """The image in a file as bytes of `size` (H, W), its middle where proportions differ; and the file's own size."""
    image = read_image(path, size, channels)
    fitted = ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted)).reshape(*size, -1).permute(2, 0, 1), image.size


def read_box(box: Box, task: str, scales: Scales) -> torch.Tensor:
    """(h, w) booleans, True = keep: with the task "outpaint" the box, otherwise what lies around it."""
    keep_hw = box_mask(box, scales, inside=task == "outpaint")
    h, w = scales.last
    if task == "outpaint" and not keep_hw.any():
        raise ValueError(f"box: rounded to the {h} x {w} tokens of the last scale, {box} leaves nothing to keep")
    if keep_hw.all():
        raise ValueError(f"box: rounded to the {h} x {w} tokens of the last scale, {box} leaves nothing to repaint")
    return keep_hw


def veil(img_3HW: torch.Tensor, keep_hw: torch.Tensor) -> torch.Tensor:
    """The image, bytes, with what is to be repainted under a grey chequered veil."""
    H, W = img_3HW.shape[1:]
    keep_HW = F.interpolate(keep_hw[None, None].float(), size=(H, W))[0, 0].bool()
    cell = max(1, min(H, W) // 14)
    rows_H1, columns_W = torch.arange(H)[:, None] // cell, torch.arange(W) // cell
    chequered_HW = (110 + 50 * ((rows_H1 + columns_W) % 2)).to(torch.uint8)
    return torch.where(keep_HW, img_3HW, chequered_HW)

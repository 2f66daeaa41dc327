"""Figures of the notebooks. Every function draws one figure and leaves it current, for the notebook to show.

One colour per scale throughout: `scale_colours`.
"""

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import seaborn as sns
import torch
from matplotlib.axes import Axes
from PIL import Image

from varlite.datasets.pixels import to_bytes
from varlite.scales import Scales


def scale_colours(K: int) -> list[tuple[float, float, float]]:
    """One colour for each scale, light for the coarsest to dark for the finest."""
    return sns.color_palette("flare", K)


def scale_names(scales: Scales) -> list[str]:
    return [f"{h} x {w}" for h, w in scales.shapes]


def show(axis: Axes, img_3HW: torch.Tensor) -> None:
    """An image in [0, 1], grey or RGB, without axes."""
    img = img_3HW.detach().float().cpu().permute(1, 2, 0).squeeze(-1)
    axis.imshow(img, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    sns.despine(ax=axis, left=True, bottom=True)


def image_grid(
    images: Sequence[Sequence[torch.Tensor]] | torch.Tensor,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    size: float = 0.75,
    colours: Sequence | None = None,
) -> None:
    """Rows of images in [0, 1]; `size` is the side of one in inches, `colours` those of the column names."""
    rows, columns = len(images), len(images[0])
    figure, axes = plt.subplots(rows, columns, figsize=(columns * size, rows * size), squeeze=False, dpi=100)
    for i, row in enumerate(images):
        for j, img in enumerate(row):
            show(axes[i, j], img)
    for i, name in enumerate(row_names):
        axes[i, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for j, name in enumerate(column_names):
        axes[0, j].set_title(name, fontsize=9, color=colours[j] if colours else "black")
    figure.subplots_adjust(wspace=0.06, hspace=0.06)


def token_pyramid(idx: Sequence[torch.Tensor], scales: Scales, vocab: int) -> None:
    """The token maps [idx_l] of one image, coarse to fine; a colour is a code, framed in the colour of its scale."""
    figure, axes = plt.subplots(1, scales.K, figsize=(1.5 * scales.K, 1.9), dpi=100)
    for axis, idx_l, (h, w), colour in zip(axes, idx, scales.shapes, scale_colours(scales.K), strict=True):
        axis.imshow(idx_l.view(h, w), cmap="turbo", vmin=0, vmax=vocab - 1, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{h} x {w}", fontsize=9, color=colour)
        for spine in axis.spines.values():
            spine.set(color=colour, linewidth=2)
    figure.subplots_adjust(wspace=0.15)


def bars_by_scale(values: Sequence[float], scales: Scales, ylabel: str, limit: float | None = None) -> None:
    """One bar for each scale; `limit` draws a dashed line, the largest value there can be."""
    figure, axis = plt.subplots(figsize=(5, 2.4), dpi=100)
    axis.bar(scale_names(scales), values, color=scale_colours(scales.K))
    if limit is not None:
        axis.axhline(limit, color="gray", linestyle="--", linewidth=1)
    axis.set(xlabel="scale", ylabel=ylabel)
    sns.despine(figure)


def png(img_3HW: torch.Tensor, zoom: int = 8) -> bytes:
    """An image in [0, 1] as a PNG file, every pixel `zoom` wide: what `widgets.Image` shows."""
    bytes_HW3 = to_bytes(img_3HW).cpu().permute(1, 2, 0).squeeze(-1).numpy()
    picture, file = Image.fromarray(bytes_HW3), io.BytesIO()
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()

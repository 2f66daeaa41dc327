"""The whole system in one picture: image -> encoder -> token maps -> next scale -> decoder -> image.

Everything in it is real: an image of the data set, its token maps, and what the decoder makes of the first of them.
"""

from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from varlite.nb.maps import shade_map, shades
from varlite.nb.plots import scale_colours
from varlite.tokenizer import VQVAE

INK, FAINT, PAPER = "#333333", "#8a8a8a", "#eef0f3"
ENDS, HEIGHT = 2.4, 3.9  # inches, which are also the units of the drawing: room at either side, and height
MAPS, INPUTS, TALLEST = 2.32, 0.22, 0.98  # bottoms of the two rows of panels, and the side of the largest panel


def system_picture(tokenizer: VQVAE, img_3HW: torch.Tensor, name: str = "") -> list[torch.Tensor]:
    """Draw how VAR sees one image in [0, 1], and how it makes one. `name` is the image's class.

    Above, the token maps that encoder and quantizer make of the image: the shade of a cell is the direction of its code
    vector, so that like shades are like codes. Below, what the transformer is given when it predicts the map above: the
    class at first, then all coarser maps, summed, shown here as the picture that the decoder makes of the sum.

    Returns the token maps [idx_hw].
    """
    with torch.inference_mode():
        idx = tokenizer.encode(img_3HW[None] * 2 - 1)
        so_far = [(tokenizer.decode(idx[: k + 1])[0] + 1) / 2 for k in range(len(idx))]
    shapes, colours, K = tokenizer.scales.shapes, scale_colours(tokenizer.scales.K), tokenizer.scales.K
    step = max(5.2 / K, 0.84)
    side, small = min(TALLEST, 0.8 * step), {"size": 9.5 if K <= 6 else 8}
    left, right = ENDS, ENDS + K * step  # the columns of the scales lie between
    axis = sheet(right + ENDS)
    shade_V = shades(tokenizer.quantizer.codebook.weight)
    band(axis, left, right)
    for k, (shape, colour) in enumerate(zip(shapes, colours, strict=True)):
        x = left + (k + 0.5) * step
        idx_hw = idx[k][0].view(shape).cpu()
        token_map(axis, shade_V[idx_hw], (x, MAPS), side, colour)
        label(axis, x, MAPS + side + 0.13, f"$r_{{{k + 1}}}$  {shape[0]} x {shape[1]}", colour, weight="bold", **small)
        column(axis, x, side, colour, **small)
        if k == 0:
            box(axis, x, INPUTS + side / 2, side, side, fill(f"class {name}", 11), **small)
        else:
            picture(axis, so_far[k - 1], (x, INPUTS), side, colours[k - 1])
        if k + 1 < K:
            feed_back(axis, x, step, side, colour)
    ends(axis, img_3HW, so_far[-1], side, left, right)
    return [idx_Bl[0].view(shape) for idx_Bl, shape in zip(idx, shapes, strict=True)]


# The parts of the drawing


def sheet(width: float) -> Axes:
    """An empty figure in inches, opaque, so that it reads on a dark page as well."""
    figure = plt.figure(figsize=(width, HEIGHT), dpi=100, facecolor="white")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(0, HEIGHT), aspect="equal")
    axis.set_axis_off()
    return axis


def label(axis: Axes, x: float, y: float, text: str, colour: Any = INK, size: float = 9.5, **style: Any) -> None:
    axis.text(x, y, text, color=colour, fontsize=size, ha="center", va="center", linespacing=1.35, **style)


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: Any = INK, bend: str = "") -> None:
    axis.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=11, color=colour, linewidth=1.5, shrinkA=0, shrinkB=0,
            connectionstyle=bend or "arc3", joinstyle="round",
        )
    )  # fmt: skip


def box(
    axis: Axes, x: float, y: float, width: float, height: float, text: str, colour: Any = INK, **style: Any
) -> None:
    """A rounded box around its name."""
    shape = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.08", facecolor="white",
        edgecolor=colour, linewidth=1.4, zorder=3,
    )  # fmt: skip
    axis.add_patch(shape)
    label(axis, x, y, text, zorder=4, **style)


def picture(axis: Axes, img_3HW: torch.Tensor, at: tuple[float, float], side: float, colour: Any = INK) -> None:
    """An image in [0, 1], centred above `at`, in a frame."""
    x, y = at
    shown = img_3HW.detach().float().cpu().permute(1, 2, 0).squeeze(-1).numpy()
    extent = (x - side / 2, x + side / 2, y, y + side)
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest", zorder=3)
    axis.add_patch(Rectangle((x - side / 2, y), side, side, fill=False, edgecolor=colour, linewidth=1.6, zorder=4))


def token_map(axis: Axes, shade_hw: torch.Tensor, at: tuple[float, float], side: float, colour: Any) -> None:
    """Tokens as cells, in shades of the colour of their scale."""
    x, y = at
    cmap = shade_map(colour)
    (h, w), left = shade_hw.shape, x - side / 2
    edges = left + side * np.arange(w + 1) / w, y + side * np.arange(h, -1, -1) / h
    lines: dict[str, Any] = {"edgecolors": "white", "linewidth": min(1.0, 5 / max(h, w))}
    axis.pcolormesh(*edges, shade_hw.numpy(), cmap=cmap, vmin=0, vmax=1, zorder=3, **lines)
    axis.add_patch(Rectangle((left, y), side, side, fill=False, edgecolor=colour, linewidth=1.6, zorder=4))


def band(axis: Axes, left: float, right: float) -> None:
    """The transformer behind all columns: one network, used once for each scale."""
    middle, start = (INPUTS + TALLEST + MAPS) / 2, 0.72
    shape = FancyBboxPatch(
        (start, middle - 0.27), right - start + 0.04, 0.54, boxstyle="round,pad=0,rounding_size=0.1",
        facecolor=PAPER, edgecolor=FAINT, linewidth=1, zorder=0,
    )  # fmt: skip
    axis.add_patch(shape)
    for y, name in ((middle, "transformer,\nonce for each scale"), (INPUTS + TALLEST / 2, "what it is given")):
        axis.text(left - 0.1, y, name, color=INK, fontsize=9.5, ha="right", va="center", linespacing=1.35)


def column(axis: Axes, x: float, side: float, colour: Any, **style: Any) -> None:
    """What is given below, predicts the map above."""
    middle = (INPUTS + TALLEST + MAPS) / 2
    arrow(axis, (x, INPUTS + side + 0.03), (x, middle - 0.17), colour)
    arrow(axis, (x, middle + 0.17), (x, MAPS - 0.03), colour)
    box(axis, x, middle, 0.8 * side, 0.32, "predict", colour, **style)


def feed_back(axis: Axes, x: float, step: float, side: float, colour: Any) -> None:
    """From a map to the input of the next column, down through the gap between the two."""
    gap, low = x + step / 2, INPUTS + side / 2
    path = [(x + side / 2, MAPS + side / 2), (gap, MAPS + side / 2), (gap, low)]
    axis.plot(*zip(*path, strict=True), color=colour, linewidth=1.5, solid_joinstyle="round", zorder=2)
    arrow(axis, (gap, low), (x + step - side / 2 - 0.02, low), colour)


def ends(axis: Axes, given: torch.Tensor, made: torch.Tensor, side: float, left: float, right: float) -> None:
    """The tokenizer: the image and the encoder at the left, the decoder and the image at the right."""
    size, middle, width = TALLEST, MAPS + side / 2, right + ENDS
    picture(axis, given, (0.6, middle - size / 2), size)
    picture(axis, made, (width - 0.6, middle - size / 2), size)
    box(axis, 1.72, middle, 0.86, 0.6, "encoder,\nquantizer")
    box(axis, width - 1.72, middle, 0.86, 0.6, "decoder")
    for start, end in ((1.12, 1.27), (2.17, left + 0.07), (right - 0.05, width - 2.17), (width - 1.27, width - 1.12)):
        arrow(axis, (start, middle), (end, middle))
    for x, y, text in (
        (1.16, middle + size / 2 + 0.24, "training: an image\ngives all maps at once"),
        (width - 1.16, middle + size / 2 + 0.24, "sampling: map after map,\ndecoded at the end"),
        (width - 1.16, INPUTS + TALLEST / 2, "all coarser maps, summed:\nthe picture so far"),
    ):
        label(axis, x, y, text, FAINT, size=8.5)

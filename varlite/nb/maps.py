"""Numbers and tokens on a grid, as cells of colour: attention matrices, token maps of all scales, masks."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from varlite.nb.plots import scale_colours, scale_names
from varlite.scales import Scales

HEAT = sns.color_palette("rocket_r", as_cmap=True)  # light for nothing, dark for much: reads in grey print


def bare(axis: Axes, colour: Any = "black", width: float = 0.8) -> None:
    """No ticks, and a frame on all four sides."""
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=width, visible=True)


def draw_map(axis: Axes, values_hw: torch.Tensor, cmap: Any = HEAT, vmax: float = 1, **settings: Any) -> None:
    """A matrix of numbers from 0 to `vmax`."""
    values = values_hw.detach().cpu().numpy()
    axis.imshow(values, cmap=cmap, interpolation="nearest", **{"vmin": 0, "vmax": vmax} | settings)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(True)


def draw_box(axis: Axes, top: float, left: float, height: float = 1, width: float = 1) -> None:
    """A frame around cells of a map."""
    corner = left - 0.5, top - 0.5
    axis.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="deepskyblue", linewidth=2))


def scale_panels(scales: Scales, rows: int = 1, size: float = 1.5, figure: Figure | None = None) -> np.ndarray:
    """A panel for each scale, framed in its colour and named, in each of `rows` rows: axes (rows, K)."""
    figure = figure or plt.figure(figsize=(size * scales.K, (size + 0.25) * rows), layout="constrained")
    axes = figure.subplots(rows, scales.K, squeeze=False)
    for line in axes:
        for axis, name, colour in zip(line, scale_names(scales), scale_colours(scales.K), strict=True):
            bare(axis, colour, 1.5)
            axis.set_title(name, fontsize=9, color=colour)
    return axes


def draw_borders(axis: Axes, scales: Scales, names: bool = True) -> None:
    """Lines between the scales of an (L, L) matrix, and the names of those that have room for it."""
    bare(axis)
    for (start, end), name, colour in zip(scales.spans, scale_names(scales), scale_colours(scales.K), strict=True):
        axis.axhline(end - 0.5, color="gray", linewidth=0.4)
        axis.axvline(end - 0.5, color="gray", linewidth=0.4)
        if names and end - start > scales.total / 40:
            axis.text(-0.02 * scales.total, (start + end) / 2, name, color=colour, fontsize=8, ha="right", va="center")


def token_pyramid(idx: Sequence[torch.Tensor], scales: Scales, codes_VZ: torch.Tensor) -> list[torch.Tensor]:
    """The token maps [idx_l] of one image, coarse to fine, in shades of the colour of their scale.

    The shade of a cell is the direction of its code vector, see `shades`; up to 7 x 7 cells have their numbers, too,
    since there are more codes than can be told apart by colour. Returns the shades drawn, [shade_hw].
    """
    shade_V, drawn = shades(codes_VZ), []
    for axis, idx_l, shape, colour in zip(
        scale_panels(scales, size=1.75)[0], idx, scales.shapes, scale_colours(scales.K), strict=True
    ):
        drawn.append(shade_V[idx_l].view(shape))
        draw_map(axis, drawn[-1], shade_map(colour))
        if max(shape) <= 7:
            for (row, column), v in np.ndenumerate(idx_l.view(shape).numpy()):
                ink = "white" if drawn[-1][row, column] > 0.45 else "black"
                axis.text(column, row, str(v), ha="center", va="center", color=ink, fontsize=9 - 0.45 * max(shape))
    return drawn


def shades(codes_VZ: torch.Tensor) -> torch.Tensor:
    """A number from 0 to 1 for each code: its rank along the direction in which the codes differ most."""
    centred_VZ = (codes_VZ - codes_VZ.mean(0)).detach().float().cpu()
    along_V = centred_VZ @ torch.linalg.svd(centred_VZ, full_matrices=False).Vh[0]
    return along_V.argsort().argsort() / max(1, len(along_V) - 1)


def shade_map(colour: Any) -> LinearSegmentedColormap:
    """From a light to a dark shade of a colour."""
    return LinearSegmentedColormap.from_list("", [(*colour, 0.25), colour, "#1d0b20"])

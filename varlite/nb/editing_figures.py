"""Figures of editing, and the masks that they show."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from varlite.editing import keep_at_scale
from varlite.nb import maps, plots
from varlite.scales import Scales

VEIL = "#ff7f0e"  # as on the canvas of the painter


def masks_by_scale(keep_hw: torch.Tensor, scales: Scales, thin: bool = False) -> list[torch.Tensor]:
    """Which tokens of each scale are kept, [(h, w) booleans]."""
    return [keep_at_scale(keep_hw, k, scales, thin).view(shape) for k, shape in enumerate(scales.shapes)]


def mask_pyramid(rows: Mapping[str, Sequence[torch.Tensor]], scales: Scales, figure: Figure | None = None) -> None:
    """Masks by scale, a row for each name: coloured is sampled, white is kept, with the share that is sampled."""
    axes = maps.scale_panels(scales, len(rows), 1.3, figure)
    for line, (name, masks) in zip(axes, rows.items(), strict=True):
        plots.name_row(line[0], name)
        for axis, keep_hw, colour in zip(line, masks, plots.scale_colours(scales.K), strict=True):
            free_hw, (h, w) = ~keep_hw.cpu(), keep_hw.shape
            cmap = ListedColormap([(1.0, 1.0, 1.0), colour])
            axis.pcolormesh(free_hw.numpy(), cmap=cmap, vmin=0, vmax=1, edgecolors="silver", linewidth=0.5)
            axis.set(aspect="equal", ylim=(h, 0))
            axis.set_title(f"{h} x {w}: {free_hw.float().mean():.0%}", fontsize=8)


def mask_png(keep_hw: torch.Tensor, scales: Scales, thin: bool) -> bytes:
    """One row of `mask_pyramid` as a PNG file, for a widget."""
    figure = Figure(figsize=(1.1 * scales.K, 1.4), dpi=80)
    mask_pyramid({"": masks_by_scale(keep_hw, scales, thin)}, scales, figure)
    return plots.figure_png(figure, bbox_inches="tight")


def edits(
    rows: Sequence[Sequence[torch.Tensor]] | torch.Tensor, keep_hw: torch.Tensor | Sequence[torch.Tensor],
    row_names: Sequence[str] = (), column_names: Sequence[str] = (), size: float = 0.9, **settings: Any,
) -> None:  # fmt: skip
    """Rows of images in [0, 1]; a line in each around what was sampled, for one mask of any resolution, or one a
    column."""
    axes, side = plots.image_axes(rows, row_names, column_names, size, **settings), rows[0][0].shape[1:]
    masks = [keep_hw] * axes.shape[1] if isinstance(keep_hw, torch.Tensor) else keep_hw
    for column, mask_hw in zip(axes.T, masks, strict=True):
        for axis in column:
            draw_border(axis, in_pixels(mask_hw, side))


def in_pixels(keep_hw: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """A mask of any resolution as (H, W) booleans."""
    return F.interpolate(keep_hw[None, None].float(), size=tuple(size))[0, 0].bool()


def draw_border(axis: Axes, keep_HW: torch.Tensor) -> int:
    """Draws the border between kept and sampled pixels; returns its length in pixels."""
    across, down = keep_HW[:, 1:] != keep_HW[:, :-1], keep_HW[1:] != keep_HW[:-1]
    lines = [[(x + 0.5, y - 0.5), (x + 0.5, y + 0.5)] for y, x in across.nonzero().tolist()]
    lines += [[(x - 0.5, y + 0.5), (x + 0.5, y + 0.5)] for y, x in down.nonzero().tolist()]
    axis.add_collection(LineCollection(lines, colors=VEIL, linewidths=1.2))
    return len(lines)


def sampled_share(keep_HW: torch.Tensor, scales: Scales, thin: bool = False) -> list[float]:
    """The share of the pixels to be sampled that lies under sampled tokens, for each scale."""
    masks = masks_by_scale(keep_HW, scales, thin)
    return [(~in_pixels(keep_hw, keep_HW.shape))[~keep_HW].float().mean().item() for keep_hw in masks]


def share_by_width(shares: Mapping[int, Sequence[float]], thin: Mapping[int, Sequence[float]], scales: Scales) -> None:
    """What survives of lines at each scale, against their width in pixels: as published solid, with thin dashed."""
    (axis,) = plots.panels(1, 5.5, 2.6)
    for k, (name, colour) in enumerate(zip(plots.scale_names(scales), plots.scale_colours(scales.K), strict=True)):
        for table, dash, label in ((shares, "-", name), (thin, "--", None)):
            values = [share[k] for share in table.values()]
            axis.plot(list(table), values, dash, color=colour, marker=plots.MARKERS[k], markersize=4, label=label)
    axis.set(xlabel="width of the line (pixels)", ylabel="share that is sampled", ylim=(-0.05, 1.05))
    plots.legend(axis, "right", title="scale")


def error_maps(errors: Mapping[str, torch.Tensor], keep_hw: torch.Tensor) -> None:
    """Mean errors (H, W) side by side on one scale of grey, dark for large, with the border of the mask."""
    top = max(error.max().item() for error in errors.values())
    for axis, _, error_HW in plots.named_panels(errors, 2.4, 2.4):
        maps.draw_map(axis, error_HW, "Greys", top)
        draw_border(axis, in_pixels(keep_hw, error_HW.shape))
    axis.figure.colorbar(axis.images[0], ax=axis.figure.axes, shrink=0.8, label="mean error")

"""Figures of editing."""

import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from varlite.editing import keep_at_scale
from varlite.nb.plots import scale_colours, show
from varlite.scales import Scales

VEIL = "#ff7f0e"  # as on the canvas of the painter


def masks_by_scale(keep_hw: torch.Tensor, scales: Scales, thin: bool = False) -> list[torch.Tensor]:
    """Which tokens of each scale are kept, [(h, w) booleans]."""
    return [keep_at_scale(keep_hw, k, scales, thin).view(shape) for k, shape in enumerate(scales.shapes)]


def draw_masks(figure: Figure, rows: Mapping[str, Sequence[torch.Tensor]], scales: Scales) -> None:
    """Masks by scale into a figure: coloured is sampled, white is kept, with the share that is sampled."""
    axes = figure.subplots(len(rows), scales.K, squeeze=False)
    for line, (name, masks) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        for axis, keep_hw, (h, w), colour in zip(line, masks, scales.shapes, scale_colours(scales.K), strict=True):
            free_hw = ~keep_hw.cpu()
            colours = ListedColormap([(1.0, 1.0, 1.0), colour])
            axis.pcolormesh(free_hw.numpy(), cmap=colours, vmin=0, vmax=1, edgecolors="silver", linewidth=0.5)
            axis.set(xticks=[], yticks=[], aspect="equal", ylim=(h, 0))
            axis.set_title(f"{h} x {w}: {free_hw.float().mean():.0%}", fontsize=8, color=colour)
            for spine in axis.spines.values():
                spine.set(color=colour, linewidth=1.5)
    figure.subplots_adjust(wspace=0.25, hspace=0.35)


def mask_pyramid(rows: Mapping[str, Sequence[torch.Tensor]], scales: Scales) -> None:
    """Masks by scale, a row for each name; see `masks_by_scale`."""
    draw_masks(plt.figure(figsize=(1.3 * scales.K, 1.55 * len(rows)), dpi=100), rows, scales)


def mask_png(keep_hw: torch.Tensor, scales: Scales, thin: bool) -> bytes:
    """One row of `mask_pyramid` as a PNG file, for a widget."""
    figure, file = Figure(figsize=(1.1 * scales.K, 1.4), dpi=80), io.BytesIO()
    draw_masks(figure, {"": masks_by_scale(keep_hw, scales, thin)}, scales)
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()


def edits(
    rows: Sequence[Sequence[torch.Tensor]] | torch.Tensor,
    keep_hw: torch.Tensor,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    size: float = 1.0,
) -> None:
    """Rows of images in [0, 1]; a line in each around what was sampled, for a mask of any resolution."""
    figure, axes = plt.subplots(
        len(rows), len(rows[0]), figsize=(size * len(rows[0]), size * len(rows)), squeeze=False, dpi=100
    )
    for line, images in zip(axes, rows, strict=True):
        for axis, img_3HW in zip(line, images, strict=True):
            show(axis, img_3HW)
            outline(axis, in_pixels(keep_hw, img_3HW.shape[1:]))
    for axis, name in zip(axes[:, 0], row_names, strict=False):
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis, name in zip(axes[0], column_names, strict=False):
        axis.set_title(name, fontsize=9)
    figure.subplots_adjust(wspace=0.06, hspace=0.06)


def in_pixels(keep_hw: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """A mask of any resolution as (H, W) booleans."""
    return F.interpolate(keep_hw[None, None].float(), size=tuple(size))[0, 0].bool()


def outline(axis: Axes, keep_HW: torch.Tensor) -> int:
    """Draws the border between kept and sampled pixels; returns its length in pixels."""
    across, down = keep_HW[:, 1:] != keep_HW[:, :-1], keep_HW[1:] != keep_HW[:-1]
    lines = [[(x + 0.5, y - 0.5), (x + 0.5, y + 0.5)] for y, x in across.nonzero().tolist()]
    lines += [[(x - 0.5, y + 0.5), (x + 0.5, y + 0.5)] for y, x in down.nonzero().tolist()]
    axis.add_collection(LineCollection(lines, colors=VEIL, linewidths=1.2))
    return len(lines)


def sampled_share(keep_HW: torch.Tensor, scales: Scales, thin: bool = False) -> list[float]:
    """Which share of the pixels to be sampled lies under tokens that are, for each scale."""
    masks = masks_by_scale(keep_HW, scales, thin)
    return [(~in_pixels(keep_hw, keep_HW.shape))[~keep_HW].float().mean().item() for keep_hw in masks]


def share_by_width(shares: Mapping[int, Sequence[float]], thin: Mapping[int, Sequence[float]], scales: Scales) -> None:
    """What survives of lines at each scale, against their width in pixels: as published solid, with thin dashed."""
    figure, axis = plt.subplots(figsize=(5.5, 2.6), dpi=100)
    markers = "osD^vP*X<>"
    for k, ((h, w), colour) in enumerate(zip(scales.shapes, scale_colours(scales.K), strict=True)):
        for table, style in ((shares, "-"), (thin, "--")):
            values = [share[k] for share in table.values()]
            label = f"{h} x {w}" if table is shares else None
            axis.plot(list(table), values, style, color=colour, marker=markers[k], markersize=4, label=label)
    axis.set(xlabel="width of the line (pixels)", ylabel="share that is sampled", ylim=(-0.05, 1.05))
    axis.legend(title="scale", fontsize=8, title_fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)


def error_maps(maps: Mapping[str, torch.Tensor], keep_hw: torch.Tensor) -> None:
    """Mean errors (H, W) side by side on one scale of grey, dark for large, with the border of the mask."""
    figure, axes = plt.subplots(1, len(maps), figsize=(2.4 * len(maps), 2.4), dpi=100, squeeze=False)
    top = max(error.max().item() for error in maps.values())
    for axis, (name, error_HW) in zip(axes[0], maps.items(), strict=True):
        drawn = axis.imshow(error_HW.cpu().numpy(), cmap="Greys", vmin=0, vmax=top)
        outline(axis, in_pixels(keep_hw, error_HW.shape))
        axis.set(xticks=[], yticks=[])
        axis.set_title(name, fontsize=9)
    figure.colorbar(drawn, ax=list(axes[0]), shrink=0.8, label="mean error")


def bars(values: Mapping[str, float], xlabel: str, chance: float | None = None, form: str = "{:.0%}") -> None:
    """One labelled bar for each name; a dashed line at `chance`."""
    figure, axis = plt.subplots(figsize=(5, 0.42 * len(values) + 0.7), dpi=100)
    drawn = axis.barh(list(values), list(values.values()), color=sns.color_palette("flare", 4)[1], height=0.6)
    axis.bar_label(drawn, [form.format(value) for value in values.values()], padding=3, fontsize=9)
    if chance is not None:
        axis.axvline(chance, color="gray", linestyle="--", linewidth=1)
    if form.endswith("%}"):
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xlabel(xlabel)
    axis.invert_yaxis()
    sns.despine(figure)

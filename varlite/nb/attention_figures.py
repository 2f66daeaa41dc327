"""Figures of attention. Every function draws the arrays that it is given."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
import torch
from matplotlib.colors import ListedColormap

from varlite.nb import maps, plots
from varlite.scales import Scales


def masks(mask_LL: Mapping[str, torch.Tensor], scales: Scales) -> None:
    """Attention masks beside each other: a cell is coloured, by the scale of its key, where the row may look."""
    cmap = ListedColormap([(1.0, 1.0, 1.0), *plots.scale_colours(scales.K)])
    for axis, name, mask in plots.named_panels(mask_LL, 3, 3.1):
        maps.draw_map(axis, mask * (scales.levels() + 1), cmap, scales.K)
        maps.draw_borders(axis, scales, names=name == next(iter(mask_LL)))
        axis.set(title=f"{name}: {mask.float().mean():.0%} visible", xlabel="key")


def cache_steps(scales: Scales) -> torch.Tensor:
    """The mask as sampling works through it, a panel a step: 0 not there, 1 read from the cache, 2 computed now.

    Returns the (K, L, L) cells.
    """
    level_L = scales.levels()
    row, key, step_K11 = level_L[:, None], level_L[None], torch.arange(scales.K)[:, None, None]
    cells = ((row == step_K11) & (key <= step_K11)).int() + ((row == step_K11) & (key == step_K11)).int()
    axes = plots.panels(scales.K, 2.1, 2.4)
    for k, (axis, colour) in enumerate(zip(axes, plots.scale_colours(scales.K), strict=True)):
        maps.draw_map(axis, cells[k], ListedColormap([(1.0, 1.0, 1.0), (0.75, 0.75, 0.75), colour]), 2)
        maps.draw_borders(axis, scales, names=k == 0)
        start, end = scales.spans[k]
        axis.set_title(f"step {k + 1}: {end - start} new,\n{start} from the cache", fontsize=9)
    return cells


def place_of(query: int, scales: Scales) -> tuple[int, int, int]:
    """Scale, row and column of a position in the sequence."""
    level = int(scales.levels()[query])
    return level, *divmod(query - scales.spans[level][0], scales.shapes[level][1])


def over_scales(weights_LL: torch.Tensor, scales: Scales, query: int) -> list[float]:
    """Where the token `query` looks, a map for each scale; returns the share that each scale gets."""
    weights_L, (level, row, column) = weights_LL[query], place_of(query, scales)
    parts = weights_L.split(scales.lengths)
    shares, axes = [w.sum().item() for w in parts], maps.scale_panels(scales, size=1.7)[0]
    for k, (axis, part, shape) in enumerate(zip(axes, parts, scales.shapes, strict=True)):
        maps.draw_map(axis, part.view(shape) * (k <= level), vmax=weights_L.max().item())
        axis.set_title(f"{axis.get_title()}\n{shares[k]:.0%}" if k <= level else "hidden")
    maps.draw_box(axes[level], row, column)
    return shares


def on_picture(
    images: Sequence[torch.Tensor], weights_Bll: torch.Tensor, queries: Sequence[int], shape: tuple[int, int]
) -> torch.Tensor:
    """A row for each picture: itself with the query positions numbered, then where each of them looks.

    Returns the maps drawn, (B, queries, h, w).
    """
    seen = weights_Bll[:, list(queries)].unflatten(-1, shape)
    heads = ["", *(f"position {j + 1}" for j in range(len(queries)))]
    axes = plots.image_axes([[img] + [None] * len(queries) for img in images], column_names=heads, size=1.15)
    for i, (picture, *line) in enumerate(axes):
        height = images[i].shape[1] / shape[0]
        for j, (axis, query) in enumerate(zip(line, queries, strict=True)):
            row, column = divmod(query, shape[1])
            picture.text(
                (column + 0.5) * height - 0.5, (row + 0.5) * height - 0.5, str(j + 1), fontsize=8, ha="center",
                va="center", bbox={"boxstyle": "circle,pad=0.15", "facecolor": "deepskyblue", "linewidth": 0},
            )  # fmt: skip
            axis.set_axis_on()
            maps.draw_map(axis, seen[i, j], vmax=seen[i].max())
            maps.draw_box(axis, row, column)
    return seen


def layers_and_heads(layers: Mapping[str, torch.Tensor], scales: Scales) -> None:
    """The whole matrix of every head: layers, (N, L, L) each by its name, down, heads across.

    Drawn is the square root of the weights, or most would be white.
    """
    names, weights_DNLL = list(layers), torch.stack(list(layers.values()))
    D, N = weights_DNLL.shape[:2]
    axes = plots.panels(D * N, 1.4, 1.4, columns=N)
    for i, (axis, weights_LL) in enumerate(zip(axes, weights_DNLL.flatten(0, 1), strict=True)):
        maps.draw_map(axis, weights_LL.sqrt(), vmax=0.6)
        maps.draw_borders(axis, scales, names=False)
        if i < N:
            axis.set_title(f"head {i + 1}", fontsize=9)
        if i % N == 0:
            axis.set_ylabel(names[i // N], fontsize=9)


def between_scales(
    matrices: Mapping[str, torch.Tensor], scales: Scales, percent: bool = True, xlabel: str = "looks at"
) -> None:
    """(K, K) matrices with their numbers, a row for each scale that asks; exact zeros are left white.

    percent: shares in [0, 1] as per cent; otherwise numbers as they are.
    """
    first = next(iter(matrices))
    for axis, name, matrix_KK in plots.named_panels(matrices, 2.7, 2.5):
        values = (matrix_KK * 100 if percent else matrix_KK).numpy()
        sns.heatmap(
            values, annot=True, fmt=".0f" if percent else ".2g", cmap=maps.HEAT, cbar=False, ax=axis, vmin=0,
            vmax=100 if percent else values.max(), mask=values == 0, annot_kws={"fontsize": 8}, linewidths=0.5,
        )  # fmt: skip
        axis.set_facecolor("white")
        for i, j in zip(*np.nonzero(values == 0), strict=True):
            axis.text(j + 0.5, i + 0.5, "0", ha="center", va="center", fontsize=8, color="silver")
        axis.set_xticklabels(plots.scale_names(scales), fontsize=7, rotation=45)
        axis.set_yticklabels(plots.scale_names(scales) if name == first else [], fontsize=7, rotation=0)
        axis.set_xlabel(xlabel, fontsize=8)
        axis.set_ylabel("token of scale" if name == first else "", fontsize=8)
        axis.tick_params(length=0)


def stacked_shares(rows: Mapping[str, Sequence[float]], parts: Sequence[str]) -> None:
    """One horizontal bar a row, cut into the shares of `parts`."""
    (axis,) = plots.panels(1, 7, 0.42 * len(rows) + 0.9)
    sizes = {part: [row[i] if i < len(row) else 0 for row in rows.values()] for i, part in enumerate(parts)}
    plots.draw_stack(axis, sizes, list(rows), [plots.PURPLE, "#f0a57e", "#e8e8e8"])
    drawn: Any
    for i, drawn in enumerate(axis.containers):
        names = [f"{bar.get_width():.{0 if i else 1}%}" if bar.get_width() > 0.04 else "" for bar in drawn]
        axis.bar_label(drawn, names, label_type="center", fontsize=8, color="black" if i else "white")
    axis.set(xlim=(0, 1), xticks=[])
    axis.spines[:].set_visible(False)
    plots.legend(axis, "above")


def dependence(rows: Mapping[str, Sequence[torch.Tensor]], scales: Scales, queries: Mapping[str, int]) -> None:
    """Gradient maps over the scales, one row for each name; a map that is zero throughout says so.

    `queries` gives the position of the predicted token in the sequence, framed where it lies on a map.
    """
    for i, (line, (name, gradients)) in enumerate(zip(maps.scale_panels(scales, len(rows)), rows.items(), strict=True)):
        top, (level, row, column) = max(m.max().item() for m in gradients), place_of(queries[name], scales)
        for axis, map_hw, (h, w) in zip(line, gradients, scales.shapes, strict=True):
            maps.bare(axis)
            maps.draw_map(axis, (map_hw / top).sqrt())
            if not map_hw.any():
                axis.text((w - 1) / 2, 0.9 * h - 0.5, "exactly 0", ha="center", va="center", fontsize=8, color="gray")
            if i > 0:
                axis.set_title("")
        maps.draw_box(line[level], row, column)
        plots.name_row(line[0], name)

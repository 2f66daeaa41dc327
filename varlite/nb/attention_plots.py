"""Figures of attention. Every function draws the arrays that it is given and leaves the figure current."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from varlite.nb.plots import scale_colours, scale_names, show
from varlite.scales import Scales

CMAP = sns.color_palette("rocket_r", as_cmap=True)  # light for nothing, dark for much: reads in grey print


def outline(axis: Axes, row: int, column: int, colour="black") -> None:
    """A frame around one cell of a map."""
    axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=2))


def bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])


def boundaries(axis: Axes, scales: Scales, labels: bool = True) -> None:
    """Lines between the scales of an (L, L) matrix, and their names."""
    bare(axis)
    for (start, end), name, colour in zip(scales.spans, scale_names(scales), scale_colours(scales.K), strict=True):
        axis.axhline(end - 0.5, color="gray", linewidth=0.4)
        axis.axvline(end - 0.5, color="gray", linewidth=0.4)
        if labels and end - start > scales.total / 40:
            axis.text(-0.02 * scales.total, (start + end) / 2, name, color=colour, fontsize=8, ha="right", va="center")


def masks(mask_LL: dict[str, torch.Tensor], scales: Scales) -> None:
    """Attention masks beside each other: a cell is coloured, by the scale of its key, where the row may look."""
    figure, axes = plt.subplots(1, len(mask_LL), figsize=(3 * len(mask_LL), 3.1), dpi=100)
    level_L, cmap = scales.levels() + 1, ListedColormap(np.array([(1, 1, 1), *scale_colours(scales.K)]))
    for axis, (name, mask) in zip(np.atleast_1d(axes), mask_LL.items(), strict=True):
        axis.imshow((mask * level_L).numpy(), cmap=cmap, vmin=0, vmax=scales.K)
        boundaries(axis, scales, labels=axis is np.atleast_1d(axes)[0])
        axis.set_title(f"{name}: {mask.float().mean():.0%} visible", fontsize=10)
        axis.set_xlabel("key", fontsize=9)
    figure.subplots_adjust(wspace=0.12)


def cache_steps(scales: Scales) -> torch.Tensor:
    """The mask as sampling works through it, a panel a step: 0 not there, 1 read from the cache, 2 computed now.

    Returns the (K, L, L) cells.
    """
    level_L = scales.levels()
    row, key, step_K11 = level_L[:, None], level_L[None], torch.arange(scales.K)[:, None, None]
    cells = ((row == step_K11) & (key <= step_K11)).int() + ((row == step_K11) & (key == step_K11)).int()
    figure, axes = plt.subplots(1, scales.K, figsize=(2.1 * scales.K, 2.4), dpi=100)
    for k, (axis, colour) in enumerate(zip(axes, scale_colours(scales.K), strict=True)):
        cmap = ListedColormap(np.array([(1, 1, 1), (0.75, 0.75, 0.75), colour]))
        axis.imshow(cells[k].numpy(), cmap=cmap, vmin=0, vmax=2)
        boundaries(axis, scales, labels=k == 0)
        start, end = scales.spans[k]
        axis.set_title(f"step {k + 1}: {end - start} new,\n{start} from the cache", fontsize=9)
    figure.subplots_adjust(wspace=0.1)
    return cells


def over_scales(weights_LL: torch.Tensor, scales: Scales, query: int) -> list[float]:
    """Where the token `query` looks, a map for each scale; returns the share that each scale gets."""
    weights_L = weights_LL[query]
    maps = [w.view(shape) for w, shape in zip(weights_L.split(scales.lengths), scales.shapes, strict=True)]
    shares, level, top = [m.sum().item() for m in maps], int(scales.levels()[query]), weights_L.max().item()
    figure, axes = plt.subplots(1, scales.K, figsize=(1.7 * scales.K, 2), dpi=100)
    for k, (axis, colour) in enumerate(zip(axes, scale_colours(scales.K), strict=True)):
        axis.imshow((maps[k] * (k <= level)).numpy(), cmap=CMAP, vmin=0, vmax=top)
        bare(axis)
        title = f"{scale_names(scales)[k]}\n{shares[k]:.0%}" if k <= level else "hidden"
        axis.set_title(title, fontsize=9, color=colour)
        for spine in axis.spines.values():
            spine.set(color=colour, linewidth=2)
    row, column = divmod(query - scales.spans[level][0], scales.shapes[level][1])
    outline(axes[level], row, column, "deepskyblue")
    figure.subplots_adjust(wspace=0.12)
    return shares


def on_picture(
    images: Sequence[torch.Tensor], weights_Bll: torch.Tensor, queries: Sequence[int], shape: tuple[int, int]
) -> torch.Tensor:
    """A row for each picture: itself with the query positions numbered, then where each of them looks.

    Returns the maps drawn, (B, queries, h, w).
    """
    maps = weights_Bll[:, list(queries)].unflatten(-1, shape)
    B, n = maps.shape[:2]
    figure, axes = plt.subplots(B, n + 1, figsize=(1.5 * (n + 1), 1.55 * B), squeeze=False, dpi=100)
    for i in range(B):
        show(axes[i, 0], images[i])
        height = images[i].shape[1] / shape[0]
        for j, query in enumerate(queries):
            row, column = divmod(query, shape[1])
            axes[i, 0].text(
                (column + 0.5) * height - 0.5, (row + 0.5) * height - 0.5, str(j + 1), fontsize=8, ha="center",
                va="center", bbox={"boxstyle": "circle,pad=0.15", "facecolor": "deepskyblue", "linewidth": 0},
            )  # fmt: skip
            axes[i, j + 1].imshow(maps[i, j].numpy(), cmap=CMAP, vmin=0, vmax=maps[i].max())
            bare(axes[i, j + 1])
            outline(axes[i, j + 1], row, column, "deepskyblue")
            if i == 0:
                axes[i, j + 1].set_title(f"position {j + 1}", fontsize=9)
    figure.subplots_adjust(wspace=0.08, hspace=0.08)
    return maps


def layers_and_heads(weights_DNLL: torch.Tensor, scales: Scales) -> None:
    """The whole matrix of every head: layers down, heads across. Square root of the weights, or most would be white."""
    D, N = weights_DNLL.shape[:2]
    figure, axes = plt.subplots(D, N, figsize=(1.4 * N, 1.4 * D), squeeze=False, dpi=100)
    for layer in range(D):
        for head in range(N):
            axis = axes[layer, head]
            axis.imshow(weights_DNLL[layer, head].sqrt().numpy(), cmap=CMAP, vmin=0, vmax=0.6, interpolation="nearest")
            boundaries(axis, scales, labels=False)
            if layer == 0:
                axis.set_title(f"head {head + 1}", fontsize=9)
        axes[layer, 0].set_ylabel(f"layer {layer + 1}", fontsize=9)
    figure.subplots_adjust(wspace=0.05, hspace=0.05)


def between_scales(
    matrices: dict[str, torch.Tensor], scales: Scales, percent: bool = True, xlabel: str = "looks at"
) -> None:
    """(K, K) matrices with their numbers, a row for each asking scale; what is exactly 0 is left white.

    percent: shares in [0, 1] as per cent; otherwise numbers as they are.
    """
    figure, axes = plt.subplots(1, len(matrices), figsize=(2.7 * len(matrices), 2.5), squeeze=False, dpi=100)
    for axis, (name, matrix_KK) in zip(axes[0], matrices.items(), strict=True):
        values = (matrix_KK * 100 if percent else matrix_KK).numpy()
        sns.heatmap(
            values, annot=True, fmt=".0f" if percent else ".2g", cmap=CMAP, cbar=False, ax=axis, vmin=0,
            vmax=100 if percent else values.max(), mask=values == 0, annot_kws={"fontsize": 8}, linewidths=0.5,
        )  # fmt: skip
        axis.set_facecolor("white")
        for i, j in zip(*np.nonzero(values == 0), strict=True):
            axis.text(j + 0.5, i + 0.5, "0", ha="center", va="center", fontsize=8, color="silver")
        axis.set_title(name, fontsize=10)
        axis.set_xticklabels(scale_names(scales), fontsize=7, rotation=45)
        axis.set_yticklabels(scale_names(scales) if axis is axes[0, 0] else [], fontsize=7, rotation=0)
        axis.set_xlabel(xlabel, fontsize=8)
        axis.tick_params(length=0)
    axes[0, 0].set_ylabel("token of scale", fontsize=8)
    figure.subplots_adjust(wspace=0.12)


def stacked_shares(rows: dict[str, Sequence[float]], parts: Sequence[str]) -> None:
    """One horizontal bar a row, cut into the shares of `parts`."""
    figure, axis = plt.subplots(figsize=(7, 0.42 * len(rows) + 0.9), dpi=100)
    left = np.zeros(len(rows))
    for i, (part, colour) in enumerate(zip(parts, ["#7a1f5c", "#f0a57e", "#e8e8e8"], strict=False)):
        widths = np.array([shares[i] if i < len(shares) else 0 for shares in rows.values()])
        axis.barh(list(rows), widths, left=left, color=colour, label=part, edgecolor="white")
        for y, (start, width) in enumerate(zip(left, widths, strict=True)):
            if width > 0.04:
                text = f"{width:.0%}" if i else f"{width:.1%}"
                axis.text(start + width / 2, y, text, ha="center", va="center", fontsize=8, color="black" if i else "w")
        left = left + widths
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xticks=[])
    axis.legend(ncols=len(parts), fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    sns.despine(figure, left=True, bottom=True)


def dependence(rows: dict[str, Sequence[torch.Tensor]], scales: Scales, queries: dict[str, int]) -> None:
    """Gradient maps over the scales, one row for each name; a map that is zero throughout says so.

    `queries` gives the position of the predicted token in the sequence, framed where it lies on a map.
    """
    figure, axes = plt.subplots(len(rows), scales.K, figsize=(1.5 * scales.K, 1.5 * len(rows)), dpi=100, squeeze=False)
    for i, (name, maps) in enumerate(rows.items()):
        top, level = max(m.max().item() for m in maps), int(scales.levels()[queries[name]])
        row, column = divmod(queries[name] - scales.spans[level][0], scales.shapes[level][1])
        for k, axis in enumerate(axes[i]):
            axis.imshow((maps[k] / top).sqrt().numpy(), cmap=CMAP, vmin=0, vmax=1)
            bare(axis)
            if not maps[k].any():
                h, w = scales.shapes[k]
                axis.text((w - 1) / 2, 0.9 * h - 0.5, "exactly 0", ha="center", va="center", fontsize=8, color="gray")
            if i == 0:
                axis.set_title(scale_names(scales)[k], fontsize=9, color=scale_colours(scales.K)[k])
            if k == level:
                outline(axis, row, column, "deepskyblue")
        axes[i, 0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
    figure.subplots_adjust(wspace=0.08, hspace=0.08)


def change_by_row(rows: dict[str, Sequence[float]], changed_from: int) -> None:
    """How much each row of a map changed, a line for each name; the rows whose own pixels changed are shaded."""
    figure, axis = plt.subplots(figsize=(5, 2.6), dpi=100)
    n = len(next(iter(rows.values())))
    axis.axvspan(changed_from + 0.5, n + 0.5, color="#e8e8e8", label="pixels replaced")
    for (name, values), colour, style in zip(rows.items(), ["#7a1f5c", "#e6744d"], ["o-", "s--"], strict=False):
        axis.plot(range(1, n + 1), values, style, color=colour, label=name)
    axis.set(xlabel="row of the feature map", ylabel="relative change", ylim=(0, None), xlim=(0.5, n + 0.5))
    axis.legend(fontsize=8, frameon=False)
    sns.despine(figure)

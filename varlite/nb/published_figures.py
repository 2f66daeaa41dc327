"""Figures of appendix A2: what the published files hold. Every function draws one figure and returns what it shows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.colors import ListedColormap

from varlite.nb.maps import bare
from varlite.nb.plots import BLUE, ORANGE, draw_bars, draw_stack, legend, palette, panels, scale_colours


def weights_by_group(counts: pd.DataFrame) -> pd.DataFrame:
    """A bar for each model (rows) of its groups of weights (columns): in billions, and as shares of all.

    Returns the shares.
    """
    shares = counts.div(counts.sum(axis=1), axis=0)
    axes = panels(2, 4.6, 0.36 * len(counts) + 0.9, sharey=True)
    colours, hatches = palette(len(counts.columns)), ["", "////", "", "....", ""]
    for axis, table, xlabel in zip(axes, (counts / 1e9, 100 * shares), ("weights, billions", "per cent"), strict=True):
        parts = {group: table[group].tolist() for group in table}
        draw_stack(axis, parts, list(table.index), colours, hatches)
        axis.set_xlabel(xlabel)
    axes[0].invert_yaxis()  # both panels share it, and each was turned
    group = "AdaLN"
    left = 100 * shares[list(shares)[: list(shares).index(group)]].sum(axis=1)
    for y, (name, share) in enumerate(shares[group].items()):
        if share > 0.05:
            x = left[name] + 50 * share
            axes[1].text(x, y, f"{share:.0%}", ha="center", va="center", fontsize=9, backgroundcolor="white")
    legend(axes[1], "right")
    return shares


def weights_by_depth(billions: Mapping[str, tuple[int, float]]) -> dict[str, tuple[int, float]]:
    """{name: (depth, billions of weights)} on two lines: an AdaLN in each block, 18 d w^2, or one for all, 12 d w^2."""
    (axis,) = panels(1, 5.5, 3.2)
    depths = np.array(sorted({depth for depth, _ in billions.values()}))
    axis.loglog(depths, 73728e-9 * depths**3, color="gray", label="73728 d³")
    axis.loglog(depths, 49152e-9 * depths**3, "--", color="gray", label="49152 d³, one AdaLN for all blocks")
    for name, (depth, size) in billions.items():
        axis.plot(depth, size, "o", color=ORANGE)
        axis.annotate(name, (depth, size), (6, -10), textcoords="offset points", fontsize=8)
    axis.set_xticks(depths, depths)
    axis.set_yticks([0.3, 0.6, 1, 2, 3], ["0.3", "0.6", "1", "2", "3"])
    axis.minorticks_off()
    axis.set(xlabel="depth", ylabel="weights, billions")
    axis.margins(x=0.15)
    legend(axis)
    return dict(billions)


def memory(gigabytes: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{what: {model: GB}} as bars side by side, with their numbers."""
    names = list(next(iter(gigabytes.values())))
    (axis,) = panels(1, 6.5, 2.8)
    groups = {what: [of[name] for name in names] for what, of in gigabytes.items()}
    draw_bars(axis, groups, names, numbers="%.1f", group_colours=["0.7", BLUE])
    axis.set(ylabel="GB")
    axis.margins(y=0.15)
    legend(axis, "above")
    return {what: dict(of) for what, of in gigabytes.items()}


def staircase(bias_LL: torch.Tensor, level_L: torch.Tensor, title: str) -> torch.Tensor:
    """A mask of 0 and -inf, open cells in the colour of the scale looked at. Returns the mask, True where open."""
    open_LL, K = bias_LL == 0, int(level_L.max()) + 1
    seen_LL = torch.where(open_LL, level_L.float(), torch.nan)
    (axis,) = panels(1, 3.6, 3.6)
    axis.imshow(seen_LL, cmap=ListedColormap(scale_colours(K)), interpolation="nearest")
    bare(axis)
    axis.set(xlabel="token looked at", ylabel="token that looks", title=title)
    return open_LL


def best_inception_scores(best: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """{order: the largest Inception Score of each run of 5,000 pictures} as bars."""
    (axis,) = panels(1, 6, 2.6)
    runs = len(next(iter(best.values())))
    draw_bars(axis, best, [str(i) for i in range(runs)], group_colours=["0.7", BLUE])
    axis.set(xlabel="run of 5,000 pictures", ylabel="largest possible IS")
    legend(axis, "above")
    return {order: list(values) for order, values in best.items()}

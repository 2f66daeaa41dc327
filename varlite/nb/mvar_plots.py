"""Figures of M-VAR. Every function draws what it is given, leaves the figure current, and returns what it computed."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, TwoSlopeNorm

from varlite.nb.attention_plots import CMAP, boundaries
from varlite.nb.plots import scale_colours, scale_names
from varlite.scales import Scales


def matrices(panels: dict[str, torch.Tensor], scales: Scales) -> None:
    """(L, L) matrices beside each other: light for 0, dark for the largest; of signed ones, red and blue."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3 * len(panels), 3.2), squeeze=False, dpi=80)
    for axis, (name, matrix_LL) in zip(axes[0], panels.items(), strict=True):
        values, top = matrix_LL.numpy(), max(matrix_LL.abs().max().item(), 1e-12)
        signed = (values < 0).any()
        shown = np.sign(values) * np.sqrt(np.abs(values) / top)  # small entries would not be seen
        norm = TwoSlopeNorm(0, -1, 1) if signed else None
        axis.imshow(shown, cmap="RdBu_r" if signed else CMAP, norm=norm, interpolation="nearest")
        boundaries(axis, scales, labels=axis is axes[0, 0])
        axis.set_title(name, fontsize=10)
    figure.subplots_adjust(wspace=0.1)


def pieces(scales: Scales) -> torch.Tensor:
    """The matrix of a scan whose pieces are the scales: 2 computed pair by pair, 1 summed up by the state, 0 hidden.

    Returns the (L, L) cells.
    """
    level_L = scales.levels()
    own_LL = level_L[:, None] == level_L
    cells = (1 + own_LL.int()).tril()
    _, axis = plt.subplots(figsize=(3.6, 3.9), dpi=100)
    axis.imshow(cells.numpy(), cmap=ListedColormap(["#ffffff", "#f3d9cf", "#7a1f5c"]))
    boundaries(axis, scales)
    axis.set_title("dark: pair by pair\nlight: through the state", fontsize=9)
    return cells


def scanned_tokens(scales: Scales) -> dict[str, list[int]]:
    """How many tokens Mamba works through at each scale: the new ones, or all so far. Bars, a pair a scale."""
    counts = {"carried": list(scales.lengths), "rescanned": [end for _, end in scales.spans]}
    _, axis = plt.subplots(figsize=(6, 2.6), dpi=100)
    pair_bars(axis, counts, scales)
    axis.set(ylabel="tokens scanned")
    return counts


def pair_bars(axis: Axes, values: Mapping[str, Sequence[float]], scales: Scales) -> None:
    """Two bars a scale in its colour, the second one hatched."""
    x = np.arange(scales.K)
    for i, (name, of_scales) in enumerate(values.items()):
        axis.bar(
            x + 0.4 * (i - 0.5), of_scales, 0.38, color=scale_colours(scales.K), alpha=1 - 0.5 * i, hatch="///" * i,
            edgecolor="white", label=f"{name}: {sum(of_scales):,.0f} in all",
        )  # fmt: skip
    axis.set_xticks(x, scale_names(scales), fontsize=7, rotation=45)
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    sns.despine(ax=axis)


def time_per_scale(timed: dict[str, dict]) -> dict[str, list[float]]:
    """Milliseconds of each scale in both ways, a panel for each entry of `timed` (see `varlite.carried.compare`).

    Returns how many times as fast the carried state is at each scale.
    """
    figure, axes = plt.subplots(1, len(timed), figsize=(4.4 * len(timed), 2.7), squeeze=False, dpi=80)
    ratios = {}
    for axis, (name, found) in zip(axes[0], timed.items(), strict=True):
        scales = Scales.of(found["config"]["sides"])
        pair_bars(axis, found["ms_per_scale"], scales)
        axis.set(title=f"{name}: carried {found['speedup']:.2f} times as fast", ylabel="milliseconds")
        both = (found["ms_per_scale"][way] for way in ("carried", "rescanned"))
        ratios[name] = [rescanned / carried for carried, rescanned in zip(*both, strict=True)]
    figure.tight_layout()
    return ratios


def memory(kept: dict[str, dict[str, int]]) -> None:
    """Bytes that a layer keeps for one image, by side of the image: {side: {way: bytes}}."""
    figure, axis = plt.subplots(figsize=(5, 2.9), dpi=100)
    styles = zip(next(iter(kept.values())), ["#333333", "#e6744d", "#7a1f5c"], ["D:", "s--", "o-"], strict=False)
    for name, colour, style in styles:
        sizes = [of_side[name] / 2**20 for of_side in kept.values()]
        axis.plot(list(kept), sizes, style, color=colour)
        axis.text(len(kept) - 0.93, sizes[-1], f"{name}: {sizes[-1]:.1f} MiB", fontsize=9, va="center", color=colour)
    axis.set(yscale="log", xlabel="side of the image", ylabel="MiB a layer and image")
    sns.despine(figure)


def retained(share_HK: torch.Tensor, scales: Scales, heads: int) -> None:
    """How much of the state that enters a scale is left when it ends: a row a head, `heads` of them a layer."""
    H = len(share_HK)
    _, axis = plt.subplots(figsize=(1.3 + 0.75 * scales.K, 0.8 + 0.2 * H), dpi=100)
    sns.heatmap(
        share_HK * 100, annot=True, fmt=".0f", cmap=CMAP, vmin=0, vmax=100, cbar=False, ax=axis,
        annot_kws={"fontsize": 7}, linewidths=0.3,
    )  # fmt: skip
    axis.set_xticklabels(scale_names(scales), fontsize=8)
    axis.set_yticks([heads * (i + 0.5) for i in range(H // heads)], [f"layer {i + 1}" for i in range(H // heads)])
    axis.tick_params(length=0, labelrotation=0, labelsize=8)
    for i in range(1, H // heads):
        axis.axhline(heads * i, color="black", linewidth=1)
    axis.set(xlabel="after the scale", title="per cent of the state left, by head")
    axis.title.set_fontsize(10)


def by_scale(rows: dict[str, Sequence[float]], scales: Scales, ylabel: str) -> None:
    """A line for each row, five at most, over the scales."""
    figure, axis = plt.subplots(figsize=(5, 2.8), dpi=100)
    colours, styles = sns.color_palette("colorblind"), ["o-", "s--", "D:", "^-.", "v-"]
    for (name, values), colour, style in zip(rows.items(), colours, styles, strict=False):
        axis.plot(scale_names(scales), values, style, color=colour, label=name)
    axis.set(
        xlabel="scale", ylabel=ylabel, ylim=(min(0, *(float(v) for values in rows.values() for v in values)), None)
    )
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    sns.despine(figure)


def by_parameters(panels: dict[str, dict[str, dict[str, tuple[float, float]]]]) -> None:
    """A score against the number of parameters: {score: {family: {model: (parameters, score)}}}, a panel a score."""
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.2), squeeze=False, dpi=100)
    styles = {"VAR": ("#333333", "D:", (-4, -3), "right", "top"), "M-VAR": ("#7a1f5c", "o-", (4, 3), "left", "bottom")}
    for axis, (score, families) in zip(axes[0], panels.items(), strict=True):
        for family, models in families.items():
            colour, style, shift, ha, va = styles[family]
            axis.plot(*zip(*sorted(models.values()), strict=True), style, color=colour, label=family, markersize=5)
            for name, point in models.items():
                where = {"xytext": shift, "textcoords": "offset points", "ha": ha, "va": va}
                axis.annotate(name, point, fontsize=7, color=colour, **where)
        axis.set(xscale="log", xlabel="parameters", ylabel=score)
        axis.margins(0.15)
        sns.despine(ax=axis)
    axes[0, 0].legend(fontsize=8, frameon=False)
    figure.tight_layout()

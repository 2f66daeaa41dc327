"""Figures of sampling. Every function draws one figure, leaves it current and returns the data that it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.patches import Patch

from varlite.drawing import image_generator
from varlite.models import VAR
from varlite.nb.panel import Change, Result, compare
from varlite.nb.plots import scale_colours, scale_names, show
from varlite.sampling import generate
from varlite.tokenizer import VQVAE

SCORES = {
    "accuracy": "class accuracy",
    "fd": "FD (fashion features)",
    "recall_within_class": "recall within a class",
}
DASHES, MARKERS, HATCHES = ["-", "--", "-.", ":"], ["o", "s", "^", "D"], ["", "////", "xxxx"]


def generators(model: VAR, labels: Sequence[int], seed: int = 0) -> list[torch.Generator]:
    """One for each image, from the seed, its class and its place in the list."""
    return [image_generator(seed, label, i, model.pos_LC.device) for i, label in enumerate(labels)]


def picture_rows(
    rows: Mapping[str, Sequence[torch.Tensor] | torch.Tensor], colours: Sequence[Any] | None = None
) -> None:
    """Named rows of images in [0, 1]; `colours` are those of the names.

    A pixel of a small image becomes a whole number of pixels: sharp, and half the size of a file with any other zoom.
    """
    W, H = (next(iter(rows.values()))[0].shape[i] for i in (-1, -2))
    zoom, gap, dpi = max(1, 60 // W) if W <= 120 else 120 / W, 3, 100
    right, up = W * zoom + gap, H * zoom + gap
    width, height = right * max(len(row) for row in rows.values()), up * len(rows)
    figure = plt.figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    for i, (name, images) in enumerate(rows.items()):
        for j, img in enumerate(images):
            bottom = height - (i + 1) * up
            axis = figure.add_axes((j * right / width, bottom / height, W * zoom / width, H * zoom / height))
            show(axis, img)
            if j == 0:
                axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
                axis.yaxis.label.set_color(colours[i] if colours else "black")


def strip(
    model: VAR,
    tokenizer: VQVAE,
    labels: Sequence[int],
    rows: Mapping[str, Mapping[str, Any]],
    seed: int = 0,
    **common: Any,
) -> dict[str, torch.Tensor]:
    """A row of pictures for each group of settings of `generate`, every row from the same seed.

    `common` are settings of all rows. Returns {row: images in [0, 1]}.
    """
    images = {
        name: generate(model, tokenizer, labels, generator=generators(model, labels, seed), **{**common, **settings})
        for name, settings in rows.items()
    }
    picture_rows(images)
    return images


def curves(
    lines: Mapping[str, Sequence[Mapping[str, float]]], cfgs: Sequence[float], reference: Mapping[str, float]
) -> dict[str, dict[str, list[float]]]:
    """Scores against cfg, a panel a score, a line a way of sampling; `reference` is a dotted level in each.

    Returns {score: {line: values}}.
    """
    figure, axes = plt.subplots(1, len(SCORES), figsize=(9, 2.7), dpi=80)
    data = {score: {name: [at[score] for at in line] for name, line in lines.items()} for score in SCORES}
    palette = sns.color_palette("colorblind", len(lines))
    for axis, (score, label) in zip(axes, SCORES.items(), strict=True):
        for i, (name, values) in enumerate(data[score].items()):
            axis.plot(cfgs, values, color=palette[i], linestyle=DASHES[i % 4], marker=MARKERS[i % 4], ms=5, label=name)
        axis.axhline(reference[score], color="gray", linestyle=":", linewidth=1.5, label="reconstructions")
        axis.set(xlabel="cfg", title=label)
        axis.title.set_fontsize(10)
    axes[1].set_ylim(bottom=0)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="lower center", bbox_to_anchor=(0.5, 1), ncol=4, frameon=False
    )
    sns.despine(figure)
    figure.tight_layout()
    return data


def grouped_bars(
    groups: Mapping[str, Sequence[float]], names: Sequence[str], ylabel: str, log: bool = False
) -> dict[str, list[float]]:
    """Bars of each scale in its colour, side by side for up to three groups, which differ in hatching."""
    figure, axis = plt.subplots(figsize=(max(5.5, 0.85 * len(names)), 2.6), dpi=80)
    width = 0.84 / len(groups)
    for i, values in enumerate(groups.values()):
        x = np.arange(len(names)) + (i - (len(groups) - 1) / 2) * width
        axis.bar(x, values, 0.9 * width, color=scale_colours(len(names)), hatch=HATCHES[i], edgecolor="white", lw=0)
    axis.set(xticks=range(len(names)), xticklabels=names, ylabel=ylabel, yscale="log" if log else "linear")
    axis.axhline(0, color="black", linewidth=0.8)
    key = [Patch(facecolor="gray", edgecolor="white", hatch=HATCHES[i], label=name) for i, name in enumerate(groups)]
    axis.legend(handles=key, loc="lower center", bbox_to_anchor=(0.5, 1), ncol=len(groups), frameon=False)
    sns.despine(figure)
    return {name: list(values) for name, values in groups.items()}


def flips(gap_N: torch.Tensor, noise: float) -> float:
    """How close the runner-up of each draw came, as a distribution; `noise` is marked.

    gap_N: 1 - second / first of what a draw takes the largest of. Returns the share of draws within `noise`.
    """
    figure, axis = plt.subplots(figsize=(5.5, 2.6), dpi=80)
    axis.plot(gap_N.sort().values, np.arange(1, len(gap_N) + 1) / len(gap_N), color="black")
    axis.axvline(noise, color="tab:red", linestyle="--", label="error of rounding")
    axis.set(xscale="log", yscale="log", xlabel="gap to the runner-up", ylabel="share of draws within")
    axis.legend(frameon=False)
    sns.despine(figure)
    return (gap_N < noise).double().mean().item()


# Static twins of the panel


def stages(result: Result) -> torch.Tensor:
    """The panel's pictures after each scale, a row a scale. Returns them, (K, N, channels, H, W) in [0, 1]."""
    images_KNCHW = torch.stack(result.stages) / 255
    rows = dict(zip(scale_names(result.scales), images_KNCHW, strict=True))
    picture_rows(rows, scale_colours(result.scales.K))
    return images_KNCHW


def comparison(a: Result, b: Result) -> Change:
    """What changed from `a` to `b`: pictures, their absolute difference, the share of tokens that differ by scale."""
    change = compare(a, b)
    n = len(change.difference)
    figure, ratios = plt.figure(figsize=(9, 2.4), dpi=100), (0.75 * n, 9 - 0.75 * n)
    left, right = figure.subfigures(1, 2, width_ratios=ratios, squeeze=False)[0]
    axes = left.subplots(3, n, squeeze=False)
    for row, name, images in zip(axes, ("A", "B", "|A - B|"), (a.images, b.images, change.difference), strict=True):
        for axis, img in zip(row, images, strict=False):
            show(axis, img / 255)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    axis = right.subplots()
    shares = [differ / of for differ, of in change.tokens]
    axis.bar(scale_names(a.scales), shares, color=scale_colours(a.scales.K))
    axis.set(ylim=(0, 1), ylabel="share of tokens\nthat differ")
    axis.tick_params(labelsize=8)
    right.subplots_adjust(left=0.3, bottom=0.15)
    sns.despine(ax=axis)
    return change

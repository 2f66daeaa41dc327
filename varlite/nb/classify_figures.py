"""Figures of a generative model as a classifier (evaluation/classify.py): what each scale knows, and where it lies."""

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

import seaborn as sns
import torch

from varlite.nb import maps, plots
from varlite.scales import Scales

AGAINST, FOR = 250, 15  # hues: blue, red


def over_scales(scores: Mapping[str, Mapping[str, Any]], scales: Scales) -> None:
    """Accuracy, and bits about the class, with the first scales alone: a line for each model.

    `scores` are those of `classify`, by the model's name. The dashed line is all that there is to know.
    """
    names, classes = plots.scale_names(scales), len(next(iter(scores.values()))["confusion"])
    left, right = plots.panels(2, 3.6, 2.6)
    for axis, entry, ylabel, limit in (
        (left, "accuracy_by_step", "accuracy", 1.0),
        (right, "bits_by_step", "bits about the class", log2(classes)),
    ):
        plots.draw_lines(axis, {name: (names, of[entry]) for name, of in scores.items()})
        axis.axhline(limit, color="gray", linestyle="--", linewidth=1)
        axis.set(xlabel="scales up to", ylabel=ylabel, ylim=(0, 1.08 * limit))
    plots.legend(left)


def confusion(counts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """How often each true class (rows) was taken for each class (columns); colours are shares of the row."""
    shares = torch.tensor(counts).float()
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1)
    (axis,) = plots.panels(1, 0.5 * len(names) + 1, 0.42 * len(names) + 1)
    sns.heatmap(
        shares.numpy(), annot=torch.tensor(counts).numpy(), fmt="d", cmap=maps.HEAT, cbar=False, ax=axis, vmin=0,
        vmax=1, mask=shares.numpy() == 0, annot_kws={"fontsize": 8}, linewidths=0.5,
    )  # fmt: skip
    axis.set_xticklabels(names, rotation=45, ha="right", fontsize=8)
    axis.set_yticklabels(names, rotation=0, fontsize=8)
    axis.set(xlabel="taken for", ylabel="is")
    axis.tick_params(length=0)


def on_images(
    images: torch.Tensor, maps_BShw: torch.Tensor, names: Sequence[str], titles: Sequence[str],
    most: float | None = None,
) -> float:  # fmt: skip
    """Pictures, and under each its maps of evidence laid over it: red speaks for the class found, blue against it.

    images: (B, channels, H, W) in [0, 1]. maps_BShw: S maps of log-odds in nats for each picture, in rows called
    `names`; `titles` are the pictures'. One colour scale for all, up to `most` nats either way, which is returned; by
    default the 99th percentile.
    """
    most = most or maps_BShw.abs().quantile(0.99).item() or 1.0
    cmap = sns.diverging_palette(AGAINST, FOR, s=90, l=55, as_cmap=True)
    rows = [list(images)] + [[1 - 0.45 * img for img in images] for _ in names]  # pale, on white, under the colours
    axes = plots.image_axes(rows, ["", *names], titles, size=1.15)
    H, W = images.shape[-2:]
    for line, map_Bhw in zip(axes[1:], maps_BShw.unbind(1), strict=True):
        for axis, map_hw in zip(line, map_Bhw, strict=True):
            axis.imshow(
                map_hw.numpy(), cmap=cmap, vmin=-most, vmax=most, alpha=0.65, interpolation="nearest",
                extent=(-0.5, W - 0.5, H - 0.5, -0.5),
            )  # fmt: skip
    return most

"""Figures of sampling. Every function draws one figure and returns the data that it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from varlite.nb import plots
from varlite.nb.widgets.panel import Change, Result, changes
from varlite.sampling import generate
from varlite.tokenizer import VQVAE

SCORES = {"accuracy": "class accuracy", "fd": plots.FD, "recall_within_class": "recall within a class"}


def strip(
    model: Any, tokenizer: VQVAE, labels: Sequence[int], rows: Mapping[str, Mapping[str, Any]], seed: int = 0,
    **common: Any,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """A row of pictures for each group of settings of `generate`, every row from the same seed.

    `common` are settings of all rows. Returns {row: images in [0, 1]}.
    """
    images = {
        name: generate(model, tokenizer, labels, seeds=seed, **{**common, **settings})
        for name, settings in rows.items()
    }
    plots.image_grid(images)
    return images


def scores_by_cfg(
    lines: Mapping[str, Sequence[Mapping[str, float]]], cfgs: Sequence[float], reference: Mapping[str, float],
    spread: Mapping[str, float] | None = None,
) -> dict[str, dict[str, list[float]]]:  # fmt: skip
    """Scores against cfg, a panel a score, a line a way of sampling; `reference` is a dotted level in each.

    spread: the standard deviation of each score, drawn as a bar at every point. Returns {score: {line: values}}.
    """
    data = {score: {name: [at[score] for at in line] for name, line in lines.items()} for score in SCORES}
    axes = plots.panels(len(SCORES), 3, 2.7)
    for axis, (score, title) in zip(axes, SCORES.items(), strict=True):
        plots.draw_lines(axis, {name: (cfgs, values) for name, values in data[score].items()})
        for line, values in zip(list(axis.lines), data[score].values(), strict=True):
            if spread:
                middle, half = np.array(values), spread[score]
                axis.vlines(cfgs, middle - half, middle + half, colors=line.get_color(), lw=1)
        axis.axhline(reference[score], color="gray", linestyle=":", linewidth=1.5, label="reconstructions")
        axis.set(xlabel="cfg", title=title)
    axes[1].set_ylim(bottom=0)
    plots.legend_on_top(axes[0])
    return data


def flips(gap_N: torch.Tensor, noise: float) -> float:
    """How close each draw came to another code, as a distribution; `noise` is marked.

    gap_N: from the random number of a draw to the nearest sum of probabilities. Returns the share within `noise`.
    """
    (axis,) = plots.panels(1, 5.5, 2.6)
    axis.plot(gap_N.sort().values, np.arange(1, len(gap_N) + 1) / len(gap_N), color="black")
    axis.axvline(noise, color="tab:red", linestyle="--", label="error of rounding")
    axis.set(xscale="log", yscale="log", xlabel="distance to the nearest sum", ylabel="share of draws within")
    plots.legend(axis)
    return (gap_N < noise).double().mean().item()


def likeliest(distributions: Mapping[str, torch.Tensor], n: int = 8) -> dict[str, list[float]]:
    """The n codes that are likeliest in the first distribution, and their probabilities in each {name: p_V}.

    Returns what the bars show.
    """
    first_V = next(iter(distributions.values()))
    codes_n = first_V.argsort(descending=True)[:n]
    groups = {name: p_V[codes_n].tolist() for name, p_V in distributions.items()}
    plots.bars(groups, [str(code) for code in codes_n.tolist()], "probability")
    plt.gca().set_xlabel(f"the {n} likeliest codes of {len(first_V)}")
    return groups


# Static twins of the panel


def stages(result: Result) -> torch.Tensor:
    """The panel's pictures after each scale, a row a scale. Returns them, (K, N, channels, H, W) in [0, 1]."""
    images_KNCHW = torch.stack(result.stages) / 255
    rows = dict(zip(plots.scale_names(result.scales), images_KNCHW, strict=True))
    plots.image_grid(rows, row_colours=plots.scale_colours(result.scales.K))
    return images_KNCHW


def comparison(a: Result, b: Result) -> Change:
    """What changed from `a` to `b`: pictures, their absolute difference, the share of tokens that differ by scale."""
    change = changes(a, b)
    n = len(change.difference)
    side, chart = 0.8, 3.6  # inches: of a picture, of the bars
    figure = plt.figure(figsize=(side * n + 0.6 + chart, 3 * side))
    left, right = figure.subfigures(1, 2, width_ratios=(side * n + 0.6, chart), squeeze=False)[0]
    spread = {"left": 0.6 / (side * n + 0.6), "right": 1, "bottom": 0, "top": 1, "wspace": 0.05, "hspace": 0.05}
    axes = left.subplots(3, n, squeeze=False, gridspec_kw=spread)
    for row, name, images in zip(axes, ("A", "B", "|A - B|"), (a.images, b.images, change.difference), strict=True):
        for axis, img in zip(row, images, strict=False):
            plots.show(axis, img / 255)
        plots.name_row(row[0], name)
    axis, shares = right.subplots(), [differ / of for differ, of in change.tokens]
    plots.draw_bars(axis, {"": shares}, plots.scale_names(a.scales), plots.scale_colours(a.scales.K))
    axis.set(ylim=(0, 1), ylabel="share of tokens\nthat differ")
    right.subplots_adjust(left=0.25, right=0.98, bottom=0.12, top=0.96)
    return change

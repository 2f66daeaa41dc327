"""Raster order against next scale: what depends on what, what a step costs, what comes out. Figures of both.

Every function draws one figure, leaves it current and returns the data that it shows.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import NullFormatter
from PIL import Image

from varlite.drawing import Step
from varlite.models import VAR
from varlite.nb.paradigms import RASTER, faint
from varlite.nb.plots import scale_colours, scale_names
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

LOOKS: list[tuple[str, Any, str]] = [("raster", RASTER, "////"), ("next scale", scale_colours(5)[3], "")]


# What depends on what


def changed_tokens(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor], scales: Scales) -> list[torch.Tensor]:
    """Share of images whose token differs between two lists of token maps [idx_Bl]: one map (h, w) a scale."""
    return [(x != y).float().mean(0).view(shape) for x, y, shape in zip(a, b, scales.shapes, strict=True)]


def change_maps(rows: Mapping[str, tuple[Sequence[torch.Tensor], Scales]], box: tuple[float, float, float, float]):
    """Shares in [0, 1] on token maps, a row a tokenizer; `box` (y0, x0, y1, x1), in fractions, frames what was changed.

    Returns {row: share of all tokens outside of the box that are 0.5 or more}: positions that most images change.
    """
    columns = max(scales.K for _, scales in rows.values())
    figure, axes = plt.subplots(len(rows), columns, figsize=(1.75 * columns, 2.05 * len(rows)), squeeze=False, dpi=80)
    y0, x0, y1, x1 = box
    outside = {}
    for line, (name, (maps, scales)) in zip(axes, rows.items(), strict=True):
        for axis in line[: columns - scales.K]:
            axis.set_axis_off()
        line = line[columns - scales.K :]
        far = []
        for axis, share_hw, label in zip(line, maps, scale_names(scales), strict=True):
            h, w = share_hw.shape
            axis.imshow(share_hw.numpy(), cmap=sns.color_palette("rocket_r", as_cmap=True), vmin=0, vmax=1)
            for (i, j), share in np.ndenumerate(share_hw.numpy()):
                ink = "white" if share > 0.55 else "black"
                axis.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5, color=ink)
            frame = (x0 * w - 0.5, y0 * h - 0.5), (x1 - x0) * w, (y1 - y0) * h
            axis.add_patch(Rectangle(*frame, fill=False, edgecolor="deepskyblue", linewidth=2))
            axis.set(xticks=[], yticks=[])
            axis.set_title(label, fontsize=9)
            inside = np.zeros((h, w), bool)
            inside[int(y0 * h) : int(np.ceil(y1 * h)), int(x0 * w) : int(np.ceil(x1 * w))] = True
            far += share_hw.numpy()[~inside].tolist()
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        outside[name] = float(np.mean(far))
    figure.subplots_adjust(wspace=0.08, hspace=0.25)
    return outside


def by_distance(weights: Mapping[str, torch.Tensor], width: int) -> dict[str, list[float]]:
    """Mean attention to the token 1, 2, ... before the one that is predicted, a line a layer; dotted: whole rows.

    weights: {layer: (..., L, L)} of a raster model, whose place i holds token i - 1 and predicts token i; place 0 holds
    the class and is left out. A distance is averaged over the places that can look so far back.
    """
    figure, axis = plt.subplots(figsize=(6.6, 2.7), dpi=80)
    data = {}
    palette = sns.color_palette("crest", len(weights))
    for (name, weights_XLL), colour, dash in zip(weights.items(), palette, ["-", "--", "-.", ":"] * 9, strict=False):
        mean_LL = weights_XLL.flatten(0, -3).mean(0)
        far = min(len(mean_LL) - 1, 4 * width + 2)
        data[name] = [mean_LL.diagonal(-back)[1:].mean().item() for back in range(far)]
        axis.plot(range(1, far + 1), data[name], dash, color=colour, label=name)
    for rows in range(1, 5):
        axis.axvline(rows * width, color="gray", linestyle=":", linewidth=1)
    axis.set(xlabel="tokens before the one predicted", ylabel="mean attention", yscale="log")
    axis.set_xticks(range(0, 4 * width + 1, width))
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)
    figure.tight_layout()
    return data


# What comes out, and what it costs


def grids(
    paths: Mapping[str, Path], names: Sequence[str], columns: int = 6, side: int = 28, gap: int = 2, zoom: int = 2
) -> None:
    """Grids of pictures that trainings wrote, a row a class: the first columns of each, side by side."""
    width, height, dpi = gap + columns * (side + gap), gap + len(names) * (side + gap), 80
    size = (len(paths) * (zoom * width + 24) / dpi, zoom * height / dpi)
    figure = plt.figure(figsize=size, dpi=dpi)
    for i, (name, path) in enumerate(paths.items()):
        axis = figure.add_axes((i / len(paths), 0, zoom * width / dpi / size[0], 1))
        page = np.asarray(Image.open(path).convert("L"))[:height, :width]
        axis.imshow(page, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        if i == 0:
            axis.set_yticks([gap + side / 2 + row * (side + gap) for row in range(len(names))], names, fontsize=9)
        axis.tick_params(length=0)
        axis.set_title(name, fontsize=10)
        sns.despine(ax=axis, left=True, bottom=True)


def seconds_by_step(
    models: Mapping[str, tuple[VAR, VQVAE]], label: int, rounds: int = 5, **settings: Any
) -> dict[str, list[float]]:
    """Median seconds of each step of sampling one image, decoding left out, models in turns; one round to warm up."""
    times: dict[str, list[list[float]]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, (model, tokenizer) in models.items():
            stamps = [time.perf_counter()]

            def stamp(step: Step, stamps: list[float] = stamps) -> None:
                stamps.append(time.perf_counter())

            generate(model, tokenizer, [label], on_scale=stamp, **settings)
            times[name].append(np.diff(stamps).tolist())
    return {name: np.median(rows[1:], 0).tolist() for name, rows in times.items()}


def elapsed(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """How far each model is at which time, from seconds of each step. Returns {name: milliseconds in all}."""
    figure, axis = plt.subplots(figsize=(6.6, 2.3), dpi=80)
    total = {}
    for i, (name, of_steps) in enumerate(seconds.items()):
        ends = 1000 * np.cumsum(of_steps)
        starts = np.concatenate(([0], ends[:-1]))
        few = len(of_steps) < 20
        colours = scale_colours(len(of_steps)) if few else [RASTER, faint(RASTER)] * len(of_steps)
        axis.barh([i] * len(ends), ends - starts, left=starts, color=colours[: len(ends)], height=0.6)
        total[name] = float(ends[-1])
        axis.text(ends[-1], i, f"  {len(of_steps)} steps", va="center", fontsize=9)
    axis.set_yticks(range(len(seconds)), list(seconds))
    axis.set(xlabel="milliseconds for one image, two branches of guidance", xlim=(0, 1.18 * max(total.values())))
    axis.invert_yaxis()
    sns.despine(figure)
    figure.tight_layout()
    return total


def growth(n: Sequence[int], panels: Mapping[str, Mapping[str, Callable[[int], float]]]) -> dict[str, dict[str, float]]:
    """Counts over n on logarithmic axes, a panel a kind of count, up to three lines of either order.

    Returns the slope of each line at its right end.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(4.7 * len(panels), 3.2), dpi=70, squeeze=False)
    slopes: dict[str, dict[str, float]] = {}
    for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
        slopes[title], unused = {}, {colour: iter(("-", "--", ":")) for _, colour, _ in LOOKS}
        for name, count in lines.items():
            _, colour, _ = LOOKS[0 if name.startswith("raster") else 1]
            y = [count(side) for side in n]
            slopes[title][name] = float(np.log(y[-1] / y[-2]) / np.log(n[-1] / n[-2]))
            marker = "o" if colour == RASTER else "s"
            axis.plot(n, y, marker + next(unused[colour]), color=colour, markersize=4, label=name)
        axis.set(xscale="log", yscale="log", xlabel="side n of the finest map")
        axis.set_xticks(n, [str(side) for side in n])
        axis.minorticks_off()
        axis.set_title(title, fontsize=10)
        axis.legend(fontsize=8, frameon=False)
    sns.despine(figure)
    figure.tight_layout()
    return slopes


def budget(pairs: Mapping[str, Sequence[Mapping[str, Any]]], scores: Mapping[str, str]) -> dict[str, dict[str, list]]:
    """Pairs of rows of the measured ablation, raster first: a panel a score, bars with the band of training seeds.

    pairs: {group: (row of raster, row of next scale)}; scores: {name in a row, or in its mean: title}.
    Returns {score: {group: [of raster, of next scale]}}.
    """
    figure, axes = plt.subplots(1, len(scores), figsize=(3.1 * len(scores), 2.9), dpi=80)
    data: dict[str, dict[str, list]] = {name: {} for name in scores}
    for axis, (name, title) in zip(np.atleast_1d(axes), scores.items(), strict=True):
        for g, (group, rows) in enumerate(pairs.items()):
            data[name][group] = [row["mean"].get(name, row.get(name)) for row in rows]
            for i, (row, value, (_, colour, hatch)) in enumerate(zip(rows, data[name][group], LOOKS, strict=True)):
                x = g + 0.4 * (i - 0.5)
                axis.bar(x, value, 0.38, color=colour, hatch=hatch, edgecolor="white")
                if name in row["band"]:
                    axis.plot([x, x], row["band"][name], color="black", linewidth=1.5)
                top = max(value, *row["band"].get(name, [value]))
                axis.text(x, top, f"{value:.3g}", ha="center", va="bottom", fontsize=8)
        axis.set_xticks(range(len(pairs)), list(pairs), fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.margins(y=0.15)
    key = [Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=label) for label, colour, hatch in LOOKS]
    figure.legend(handles=key, loc="lower center", bbox_to_anchor=(0.5, 0.97), ncol=2, frameon=False, fontsize=9)
    sns.despine(figure)
    figure.tight_layout()
    return data


def two_bars(groups: Mapping[str, Sequence[float]], ylabel: str, log: bool = False) -> dict[str, list[float]]:
    """A pair of bars a group, [of raster, of next scale], with their values. Returns what it was given."""
    figure, axis = plt.subplots(figsize=(1.2 + 1.7 * len(groups), 2.5), dpi=80)
    for i, (name, colour, hatch) in enumerate(LOOKS):
        heights = [pair[i] for pair in groups.values()]
        drawn = axis.bar(np.arange(len(groups)) + 0.4 * (i - 0.5), heights, 0.38, color=colour, hatch=hatch, label=name)
        axis.bar_label(drawn, fmt="%.3g", fontsize=8)
        for patch in drawn:
            patch.set_edgecolor("white")
    axis.set_xticks(range(len(groups)), list(groups))
    axis.set(ylabel=ylabel, yscale="log" if log else "linear")
    if log:
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.margins(y=0.12)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)
    figure.tight_layout()
    return {name: list(pair) for name, pair in groups.items()}


def loss_curves(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, tuple[list[float], list[float]]]:
    """Test loss over the images seen, raster first: {name: (images, losses)}."""
    figure, axis = plt.subplots(figsize=(5.5, 2.5), dpi=80)
    data = {}
    for (name, curve), (_, colour, _), style in zip(curves.items(), LOOKS, ("o--", "s-"), strict=True):
        data[name] = [point["images"] for point in curve], [point["val_loss"] for point in curve]
        thousands = [images / 1000 for images in data[name][0]]
        axis.plot(thousands, data[name][1], style, color=colour, markersize=4, label=name)
    axis.set(xlabel="thousand images seen", ylabel="test loss, nats a token")
    axis.legend(fontsize=8, frameon=False)
    sns.despine(figure)
    return data


def settled(raster: Mapping[int, float], by_scale: Mapping[int, float]) -> None:
    """Share of pictures whose class is kept against the number of tokens kept, for both orders."""
    figure, axis = plt.subplots(figsize=(5.5, 2.7), dpi=80)
    for shares, (name, colour, _), style in zip((raster, by_scale), LOOKS, ("o--", "s-"), strict=True):
        axis.plot(list(shares), list(shares.values()), style, color=colour, markersize=5, label=name)
    axis.set(xlabel="real tokens kept", ylabel="recognised as\nwhat it was", ylim=(0, 1))
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    sns.despine(figure)

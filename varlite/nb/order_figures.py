"""Figures of raster order against next scale: what depends on what, what a step costs, what comes out.

Every function draws one figure and returns the data that it shows.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb

from varlite.nb import maps, plots
from varlite.nb.order_films import RASTER, WORDS, faint, orders, state, steps_of
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

COLOURS = [RASTER, plots.scale_colours(5)[3]]  # of raster order and of next scale


# The orders


def snapshots_at(steps: int, columns: int) -> list[int]:
    """Steps to show: the first, the last, and others evenly between."""
    return np.linspace(0, steps - 1, min(columns, steps)).round().astype(int).tolist()


def draw_state(axis: Axes, state_hw: np.ndarray, colour: Any) -> None:
    """One map: dark what a step draws, faint what it may look at, white what is to come."""
    cmap = ListedColormap([(1.0, 1.0, 1.0), faint(colour), colour])
    axis.pcolormesh(state_hw, cmap=cmap, vmin=0, vmax=2, edgecolors="#b5b5b5", linewidth=0.5)
    maps.bare(axis, colour, 1.2)
    axis.set(aspect="equal", ylim=(len(state_hw), 0))


def overview(scales: Scales) -> dict[str, dict[int, int]]:
    """The three paradigms, a row each: what a step draws (dark), what it may look at (faint), what is to come (white).

    Returns {paradigm: {step shown, from 1: tokens drawn in it}}.
    """
    text, raster, by_scale = orders(scales).values()
    figure = plt.figure(figsize=(8.6, 4.5))
    cells, now = figure.add_gridspec(3, scales.K, height_ratios=[0.28, 1, 1], hspace=0.42, wspace=0.25), 4
    strip = figure.add_subplot(cells[0, :])
    draw_state(strip, state(text, now)[0], RASTER)
    strip.set_aspect("auto")
    strip.set_title(f"step {now + 1} of {steps_of(text)}: 1 new", fontsize=8.5)
    for i, word in enumerate(WORDS[: now + 1]):
        strip.text(i + 0.5, 0.5, word, ha="center", va="center", color="white" if i == now else "black")
    shown: dict[str, dict[int, int]] = {"next token": {now + 1: 1}, "next image token": {}, "next scale": {}}
    first = [strip]
    for row, (name, orders_hw) in enumerate((("next image token", raster), ("next scale", by_scale)), 1):
        steps, colours = steps_of(orders_hw), [RASTER] * scales.K if row == 1 else plots.scale_colours(scales.K)
        axes = [figure.add_subplot(cells[row, j]) for j in range(scales.K)]
        first.append(axes[0])
        for j, (axis, step) in enumerate(zip(axes, snapshots_at(steps, scales.K), strict=True)):
            states = state(orders_hw, step)
            draw_state(axis, states[j if row == 2 else 0], colours[j])
            shown[name][step + 1] = sum(int((state_hw == 2).sum()) for state_hw in states)
            axis.set_title(f"step {step + 1} of {steps}: {shown[name][step + 1]} new", fontsize=8.5)
    for name, axis in zip(shown, first, strict=True):
        place = axis.get_position()
        figure.text(0.1, (place.y0 + place.y1) / 2, name, ha="right", va="center", fontsize=10)
    return shown


def masks(named: Mapping[str, tuple[torch.Tensor, Sequence[tuple[int, int]], Sequence[Any]]]) -> dict[str, int]:
    """Attention masks with cells of one size: a row's tokens may look where its cells are coloured.

    named: {name: (mask (L, L), spans of the steps, a colour for each step)}. Returns {name: pairs that see each other}.
    """
    axes = plots.panels(len(named), 3.6, 3.9, width_ratios=[len(mask_LL) for mask_LL, _, _ in named.values()])
    for axis, (name, (mask_LL, spans, colours)) in zip(axes, named.items(), strict=True):
        step_L = torch.repeat_interleave(torch.arange(len(spans)), torch.tensor([end - start for start, end in spans]))
        cmap = ListedColormap([(1.0, 1.0, 1.0), *map(to_rgb, colours)])
        maps.draw_map(axis, mask_LL * (step_L[:, None] + 1), cmap, len(spans))
        for start, end in spans:
            if end - start > 1:
                axis.axhline(end - 0.5, color="white", linewidth=0.5)
        axis.set_anchor("N")
        axis.set_title(f"{name}\n{len(mask_LL)} tokens in {len(spans)} steps", fontsize=9)
        axis.set(xlabel="key", ylabel="query")
    return {name: int(mask_LL.sum()) for name, (mask_LL, _, _) in named.items()}


def race(
    raster_SB: torch.Tensor, scales_SB: torch.Tensor, columns: int = 5, rows: Sequence[str] = ()
) -> dict[str, list[int]]:
    """Pictures after some steps of both, a row an image, named by `rows`; in both the last is the finished one.

    raster_SB, scales_SB: from `order_films.stages`, for the same labels. Returns {order: steps shown, from 1}.
    """
    both, names = (raster_SB, scales_SB), ("raster", "next scale")
    at = [snapshots_at(len(stages_SB), columns) for stages_SB in both]
    left, right = ([[stages_SB[step, b] for step in steps] for b in range(len(raster_SB[0]))]
                   for stages_SB, steps in zip(both, at, strict=True))  # fmt: skip
    heads = [f"token {step + 1}" for step in at[0]] + [""] + [f"scale {step + 1}" for step in at[1]]
    colours = [RASTER] * len(at[0]) + ["black"] + plots.scale_colours(columns)
    plots.image_grid([[*a, None, *b] for a, b in zip(left, right, strict=True)], rows, heads, 0.9, colours)
    return {name: [step + 1 for step in steps] for name, steps in zip(names, at, strict=True)}


# What depends on what


def changed_tokens(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor], scales: Scales) -> list[torch.Tensor]:
    """Share of images whose token differs between two lists of token maps [idx_Bl]: one map (h, w) a scale."""
    return [(x != y).float().mean(0).view(shape) for x, y, shape in zip(a, b, scales.shapes, strict=True)]


def change_maps(
    rows: Mapping[str, tuple[Sequence[torch.Tensor], Scales]], box: tuple[float, float, float, float]
) -> dict[str, float]:
    """Shares in [0, 1] on token maps, one tokenizer after the other, with the maps of each coarse to fine.

    `box` (y0, x0, y1, x1), in fractions of the picture, frames what was changed. On a single map, which is drawn row by
    row, a dashed line ends the rows before it. Returns {tokenizer: mean share of the tokens outside of the box}.
    """
    axes = iter(plots.panels(sum(scales.K for _, scales in rows.values()), 1.68, 2.05))
    (y0, x0, y1, x1), outside = box, {}
    for name, (shares, scales) in rows.items():
        far, colours = [], plots.scale_colours(scales.K) if scales.K > 1 else [RASTER]
        for share_hw, size, colour in zip(shares, plots.scale_names(scales), colours, strict=True):
            axis, (h, w) = next(axes), share_hw.shape
            maps.draw_map(axis, share_hw)
            maps.draw_box(axis, y0 * h, x0 * w, (y1 - y0) * h, (x1 - x0) * w)
            for (row, column), share in np.ndenumerate(share_hw.numpy()):
                ink, paper = ("white", "black") if share > 0.55 else ("black", "white")
                style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": ink}
                style["path_effects"] = [patheffects.withStroke(linewidth=1.2, foreground=paper)]  # read on the frame
                axis.text(column, row, f"{100 * share:.0f}", **style)
            if scales.K == 1:
                axis.axhline(int(y0 * h) - 0.5, color="deepskyblue", linestyle="--", linewidth=1.5)
            axis.set_title(f"{name}\n{size}", fontsize=9, color=colour)
            beyond = torch.ones(h, w, dtype=torch.bool)
            beyond[int(y0 * h) : int(np.ceil(y1 * h)), int(x0 * w) : int(np.ceil(x1 * w))] = False
            far.append(share_hw[beyond])
        outside[name] = torch.cat(far).mean().item()
    return outside


def by_distance(weights: Mapping[str, torch.Tensor], width: int) -> dict[str, list[float]]:
    """Mean attention to the token 1, 2, ... before the one that is predicted, a line a layer; dotted: whole rows.

    weights: {layer: (..., L, L)} of a raster model, whose place i holds token i - 1 and predicts token i; place 0 holds
    the class and is left out. A distance is averaged over the places that can look so far back.
    """
    data = {}
    for name, weights_XLL in weights.items():
        mean_LL = weights_XLL.flatten(0, -3).mean(0)
        far = min(len(mean_LL) - 1, 4 * width + 2)
        data[name] = [mean_LL.diagonal(-back)[1:].mean().item() for back in range(far)]
    (axis,) = plots.panels(1, 6.6, 2.7)
    lines = {name: (range(1, len(line) + 1), line) for name, line in data.items()}
    plots.draw_lines(axis, lines, sns.color_palette("crest", len(data)), marker=None)
    for rows in range(1, 5):
        axis.axvline(rows * width, color="gray", linestyle=":", linewidth=1)
    axis.set(xlabel="tokens before the one predicted", ylabel="mean attention", yscale="log")
    axis.set_xticks(range(0, 4 * width + 1, width))
    plots.legend(axis, "right")
    return data


# What comes out, and what it costs


def pictures_of(paths: Mapping[str, Path], names: Sequence[str], columns: int = 6, **grid: int) -> None:
    """Grids of pictures that trainings wrote, a row a class: the first columns of each, side by side."""
    blocks = [plots.tiles_of(path, range(len(names)), range(columns), **grid) for path in paths.values()]
    rows = [[img for row in lines for img in (*row, None)][:-1] for lines in zip(*blocks, strict=True)]
    middle = (columns - 1) // 2  # of a grid, where its name stands; an empty column follows
    heads = [head for name in paths for head in [""] * middle + [name] + [""] * (columns - middle)]
    plots.image_axes(rows, names, heads[:-1])


def seconds_by_step(
    models: Mapping[str, tuple[Any, VQVAE]], label: int, rounds: int = 5, **settings: Any
) -> dict[str, list[float]]:
    """Median seconds of each step of sampling one image, decoding left out, models in turns; one round to warm up."""
    times: dict[str, list[list[float]]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, (model, tokenizer) in models.items():
            stamps = [time.perf_counter()]
            note = lambda _, stamps=stamps: stamps.append(time.perf_counter())  # noqa: E731
            generate(model, tokenizer, [label], on_scale=note, **settings)
            times[name].append(np.diff(stamps).tolist())
    return {name: np.median(rows[1:], 0).tolist() for name, rows in times.items()}


def elapsed(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """How far each model is at which time, from seconds of each step. Returns {name: milliseconds in all}."""
    (axis,) = plots.panels(1, 6.6, 2.3)
    total = {name: 1000 * sum(of_steps) for name, of_steps in seconds.items()}
    for i, (name, of_steps) in enumerate(seconds.items()):
        lengths, n = 1000 * np.asarray(of_steps), len(of_steps)
        colours = plots.scale_colours(n) if n < 20 else ([RASTER, faint(RASTER)] * n)[:n]
        axis.barh([i] * n, lengths, left=np.cumsum(lengths) - lengths, color=colours, height=0.6)
        axis.text(total[name], i, f"  {n} steps", va="center", fontsize=9)
    axis.set_yticks(range(len(seconds)), list(seconds))
    axis.set(xlabel="milliseconds for one image, two branches of guidance", xlim=(0, 1.18 * max(total.values())))
    axis.invert_yaxis()
    return total


def growth(n: Sequence[int], counts: Mapping[str, Mapping[str, Callable[[int], float]]]) -> dict[str, dict[str, float]]:
    """Counts over n on logarithmic axes, a panel a kind of count; lines in the colour of their order.

    Returns the slope of each line at its right end.
    """
    axes = plots.panels(len(counts), 4.7, 3.2)
    slopes: dict[str, dict[str, float]] = {}
    for axis, (title, functions) in zip(axes, counts.items(), strict=True):
        lines = {name: (n, [count(side) for side in n]) for name, count in functions.items()}
        plots.draw_lines(axis, lines, [COLOURS[not name.startswith("raster")] for name in lines])
        slopes[title] = {name: float(np.log(y[-1] / y[-2]) / np.log(n[-1] / n[-2])) for name, (_, y) in lines.items()}
        axis.set(xscale="log", yscale="log", xlabel="side n of the finest map", title=title)
        axis.set_xticks(n, [str(side) for side in n])
        axis.minorticks_off()
        plots.legend(axis)
    return slopes


def budget(pairs: Mapping[str, Sequence[Mapping[str, Any]]], scores: Mapping[str, str]) -> dict[str, dict[str, list]]:
    """Pairs of rows of the measured ablation, raster first: a panel a score, bars with the band of training seeds.

    pairs: {group: (row of raster, row of next scale)}; scores: {name in the mean of a row: title}.
    Returns {score: {group: [of raster, of next scale]}}.
    """
    axes = plots.panels(len(scores), min(3.1, 9.8 / len(scores)), 2.9)
    data: dict[str, dict[str, list]] = {}
    for axis, (name, title) in zip(axes, scores.items(), strict=True):
        data[name] = {g: [row["mean"][name] for row in rows] for g, rows in pairs.items()}
        by_order = zip(("raster", "next scale"), zip(*data[name].values(), strict=True), strict=True)
        plots.draw_bars(axis, dict(by_order), list(pairs), group_colours=COLOURS)
        for drawn, rows in zip(axis.containers, zip(*pairs.values(), strict=True), strict=False):
            for bar, row in zip(drawn, rows, strict=True):
                x = bar.get_x() + bar.get_width() / 2
                axis.plot([x, x], row["band"][name], color="black", linewidth=1.5)
                place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
                axis.annotate(f"{row['mean'][name]:.2f}", (x, max(row["band"][name])), (0, 2), **place)
        axis.set_title(title, fontsize=9)
        axis.margins(y=0.15)
    plots.legend_on_top(axes[0])
    return data


def two_bars(groups: Mapping[str, Sequence[float]], ylabel: str, numbers: str = "%.3g") -> dict[str, list[float]]:
    """A pair of bars a group, [of raster, of next scale], with their values as `numbers`. Returns what it was given."""
    by_order = dict(zip(("raster", "next scale"), zip(*groups.values(), strict=True), strict=True))
    plots.bars(by_order, list(groups), ylabel, numbers=numbers, group_colours=COLOURS)
    return {name: list(pair) for name, pair in groups.items()}

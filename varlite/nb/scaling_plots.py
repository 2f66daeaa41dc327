"""Figures of scaling laws. Every function draws one figure, leaves it current and returns the data that it shows.

`runs` is a ladder of models {depth: run}, as `varlite.evaluation.scaling.ladder` takes it from a sweep.
One colour per depth throughout: `depth_colours`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

from varlite.experiments.scaling_laws import (
    PowerLaw,
    bootstrap,
    config_of,
    correlation,
    curve,
    fit,
    lower_envelope,
    size,
)

# Columns of a curve, as the papers name them.
NAMES = {
    "val_loss_last": "test loss, last scale",
    "val_loss": "test loss, all scales",
    "val_error_last": "token error, last scale",
    "val_error": "token error, all scales",
}
SIZE, COST = "N, weights in the blocks", "C, FLOPs of training"
MARKERS = "os^Dv<>p"
# Every part of a model has its colour and hatch.
HATCHES = {
    "embeddings": "",
    "attention": "////",
    "pairs": "oo",
    "mamba": "++++",
    "ffn": "....",
    "adaln": "xxxx",
    "head": "||||",
}

Runs = Mapping[int, Mapping[str, Any]]


def depth_colours(depths: Sequence[int]) -> dict[int, Any]:
    """Light for the shallowest to dark for the deepest."""
    return dict(zip(depths, sns.color_palette("crest", len(depths)), strict=True))


def finals(runs: Runs, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, value of `name` at the end of training) of every run."""
    sizes = [size(config_of(run)) for run in runs.values()]
    return np.array(sizes, float), np.array([run["curve"][-1][name] for run in runs.values()])


def draw_law(axis: Axes, law: PowerLaw, X: np.ndarray, reach: float = 1.0, **style: Any) -> None:
    """A law as a line, over the range of X and `reach` times further to the right."""
    x = np.geomspace(X.min(), X.max() * reach, 100)
    look: dict[str, Any] = {"color": "black", "linewidth": 1, "zorder": 1}
    axis.plot(x, law(x), **look | style)


def log_axes(axis: Axes, xlabel: str, title: str) -> None:
    """Both axes logarithmic, the vertical one with plain numbers even where it spans far less than a decade."""
    axis.set(xscale="log", yscale="log", xlabel=xlabel)
    axis.set_title(title, fontsize=9)
    axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def against_size(runs: Runs, names: Sequence[str] = tuple(NAMES)) -> dict[str, dict[str, Any]]:
    """What each model ends with against N, a panel a name, and the straight line through it on log-log.

    Returns {name: {"X", "L", "law", "correlation"}}.
    """
    figure, axes = panels(len(names), 2.7)
    colours, data = depth_colours(list(runs)), {}
    for axis, name in zip(axes, names, strict=True):
        X, L = finals(runs, name)
        law, r = fit(X, L), correlation(X, L)
        draw_law(axis, law, X)
        for i, depth in enumerate(runs):
            axis.plot(X[i], L[i], MARKERS[i % 8], color=colours[depth], markersize=7, label=f"depth {depth}")
        log_axes(axis, SIZE, f"{NAMES[name]}: N^{law.exponent:.3f}, r = {r:.3f}")
        data[name] = {"X": X, "L": L, "law": law, "correlation": r}
    legend_on_top(figure, axes[0])
    return data


def against_compute(runs: Runs, names: Sequence[str] = tuple(NAMES)) -> dict[str, dict[str, Any]]:
    """Every training against its cost so far, a panel a name: the lower envelope, and the line through it.

    Returns {name: {"X", "L", "depth", "law", "correlation"}} of the points on the envelope.
    """
    figure, axes = panels(len(names), 3.0)
    colours, data = depth_colours(list(runs)), {}
    for axis, name in zip(axes, names, strict=True):
        curves = [curve(run, name) for run in runs.values()]
        for i, (depth, (C, L)) in enumerate(zip(runs, curves, strict=True)):
            style: dict[str, Any] = {"color": colours[depth], "linewidth": 1, "marker": MARKERS[i % 8], "markersize": 3}
            axis.plot(C, L, **style, label=f"depth {depth}")
        C, L = (np.concatenate(parts) for parts in zip(*curves, strict=True))
        of = np.repeat(list(runs), [len(c) for c, _ in curves])
        best = lower_envelope(C, L)
        axis.plot(C[best], L[best], "o", mfc="none", color="black", ms=7, mew=0.8, label="lower envelope")
        law, r = fit(C[best], L[best]), correlation(C[best], L[best])
        draw_law(axis, law, C[best])
        log_axes(axis, COST, f"{NAMES[name]}: C^{law.exponent:.3f}, r = {r:.3f}")
        data[name] = {"X": C[best], "L": L[best], "depth": of[best], "law": law, "correlation": r}
    legend_on_top(figure, axes[0])
    return data


def panels(n: int, height: float) -> tuple[Figure, list[Axes]]:
    """Room for n panels, two in a row."""
    rows, columns = -(-n // 2), min(2, n)
    figure = plt.figure(figsize=(4.2 * columns, height * rows), dpi=90)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]


def legend_on_top(figure: Figure, axis: Axes) -> None:
    """One legend for all panels, each name once."""
    handles, labels = axis.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    sns.despine(figure)
    figure.tight_layout()
    above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.99), "ncol": 4}
    figure.legend(list(entries.values()), list(entries), frameon=False, fontsize=9, **above)


def with_floor(points: Mapping[str, tuple[np.ndarray, np.ndarray]], xlabel: str = SIZE, reach: float = 30) -> dict:
    """The law with an irreducible part beside the one without, drawn `reach` times beyond the points.

    points: {title: (X, L)}. The grey band is where the floor lies in nine of ten resampled fits.
    Returns {title: {"straight", "floor", "intervals"}}.
    """
    figure, axes = panels(len(points), 3.0)
    data = {}
    for axis, (title, (X, L)) in zip(axes, points.items(), strict=True):
        straight, bent, found = fit(X, L), fit(X, L, floor=True), bootstrap(X, L, floor=True, draws=300)
        draw_law(axis, straight, X, reach, linestyle="--", zorder=2, label="without floor")
        draw_law(axis, bent, X, reach, color="#0173b2", linewidth=2, label="with floor")
        axis.axhspan(*found["floor"], color="gray", alpha=0.25, linewidth=0, label="floor, 90 %")
        axis.plot(X, L, "o", color="black", markersize=5, label="measured")
        axis.set(xscale="log", xlabel=xlabel)
        axis.set_title(f"{title}\nexponent {straight.exponent:.3f} without, {bent.exponent:.2f} with floor", fontsize=9)
        data[title] = {"straight": straight, "floor": bent, "intervals": found}
    legend_on_top(figure, axes[0])
    return data


def assumed_floors(
    points: Mapping[str, tuple[np.ndarray, np.ndarray]], papers: Mapping[str, float], most: float = 0.98
) -> dict[str, dict[str, np.ndarray]]:
    """The exponent and the straightness of L - floor for every floor from 0 to `most` of the lowest loss.

    points: {title: (X, L)}; papers: exponents to compare with. Returns {title: {"floor", "exponent", "correlation"}}.
    """
    figure, (left, right) = panels(2, 3.0)
    data = {}
    for i, (title, (X, L)) in enumerate(points.items()):
        floor = np.linspace(0, most * L.min(), 100)
        exponent = np.array([fit(X, L - f).exponent for f in floor])
        r = np.array([correlation(X, L - f) for f in floor])
        look: dict[str, Any] = {"color": ["#0173b2", "#de8f05"][i % 2], "linestyle": ["-", "--"][i % 2], "label": title}
        left.plot(floor, exponent, **look)
        right.plot(floor, r, **look)
        left.plot(floor, np.full(100, papers[title]), color=look["color"], linestyle=":", linewidth=1)
        data[title] = {"floor": floor, "exponent": exponent, "correlation": r}
    left.set(xlabel="assumed floor", ylabel="exponent in N (dotted: the paper's)")
    right.set(xlabel="assumed floor", ylabel="correlation")
    legend_on_top(figure, left)
    return data


def exponents(groups: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[Sequence[Mapping[str, Any]]]:
    """Exponents with their intervals, beside the paper's, a panel a group, two panels in a row.

    A group is rows {"name", "ours", "interval": (low, high), "paper"}. Returns the groups.
    """
    figure, axes = panels(len(groups), 1.5)
    for axis, rows in zip(axes, groups, strict=True):
        for i, row in enumerate(rows):
            axis.plot(row["interval"], (i, i), color="#0173b2", linewidth=3, solid_capstyle="butt", label="90 %")
            axis.plot(row["ours"], i, "o", color="#0173b2", label="here")
            axis.plot(row["paper"], i, "D", color="#de8f05", mec="black", mew=0.6, label="paper")
        axis.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=9)
        axis.set(ylim=(len(rows) - 0.4, -0.6), xlim=(1.15 * min(min(r["paper"], *r["interval"]) for r in rows), 0))
        axis.grid(axis="x", linewidth=0.4)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    legend_on_top(figure, axes[0])
    return groups


def shares(counts: Mapping[str, Mapping[str, int]], xlabel: str) -> dict[str, dict[str, float]]:
    """A bar a name, cut into the shares of its parts; returns them {name: {part: share}}."""
    data = {name: {part: n / sum(parts.values()) for part, n in parts.items()} for name, parts in counts.items()}
    figure, axis = plt.subplots(figsize=(7, 0.36 * len(data) + 1.0), dpi=90)
    left, colours = np.zeros(len(data)), dict(zip(HATCHES, sns.color_palette("colorblind"), strict=False))
    for part, hatch in HATCHES.items():
        widths = np.array([parts.get(part, 0.0) for parts in data.values()])
        label = part if widths.max() > 0.005 else None
        axis.barh(list(data), widths, left=left, color=colours[part], hatch=hatch, edgecolor="white", label=label)
        left += widths
    axis.invert_yaxis()
    axis.set(xlabel=xlabel, xlim=(0, 1))
    axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)
    figure.tight_layout()
    return data


def misses(rows: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """How far predictions miss, as a share of what was measured: pairs of bars {group: {name: miss}}."""
    figure, axis = plt.subplots(figsize=(6.4, 2.6), dpi=90)
    names = list(next(iter(rows.values())))
    for i, name in enumerate(names):
        y = [100 * group[name] for group in rows.values()]
        at = np.arange(len(rows)) + (i - (len(names) - 1) / 2) * 0.36
        colour, hatch = [("#949494", ""), ("#0173b2", "////")][i]
        drawn = axis.bar(at, y, 0.34, color=colour, hatch=hatch, edgecolor="white", label=name)
        axis.bar_label(drawn, fmt="%+.2f", fontsize=8, padding=2)
    axis.set_xticks(range(len(rows)), list(rows))
    axis.axhline(0, color="black", linewidth=0.8)
    axis.margins(y=0.2)
    axis.set(ylabel="miss in %")
    axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)
    figure.tight_layout()
    return {name: dict(group) for name, group in rows.items()}


def cut(path: Path, rows: Sequence[int], column: int, side: int = 28, gap: int = 2) -> np.ndarray:
    """Pictures of one column of the grid that a training wrote, as a block two wide: (side ceil(n / 2), 2 side) bytes.

    Raises ValueError for a row or column that the grid does not have.
    """
    grid = np.asarray(Image.open(path).convert("L"))
    have = [(n - gap) // (side + gap) for n in grid.shape]
    if not (all(0 <= row < have[0] for row in rows) and 0 <= column < have[1]):
        raise ValueError(f"{path.name} has {have[0]} rows and {have[1]} columns; got rows {rows} and column {column}")
    block = np.full((-(-len(rows) // 2) * side, 2 * side), 255, np.uint8)
    for i, row in enumerate(rows):
        down, right = i // 2 * side, i % 2 * side
        top, left = gap + row * (side + gap), gap + column * (side + gap)
        block[down : down + side, right : right + side] = grid[top : top + side, left : left + side]
    return block


def stages(
    blocks: Sequence[Sequence[np.ndarray]], row_names: Sequence[str], column_names: Sequence[str], zoom: int = 2
) -> None:
    """Blocks of pictures, a row a depth, a column a stage of training."""
    dpi, (H, W) = 100, blocks[0][0].shape
    figure, axes = plt.subplots(
        len(blocks), len(blocks[0]), squeeze=False, dpi=dpi,
        figsize=((W * zoom + 8) * len(blocks[0]) / dpi, (H * zoom + 8) * len(blocks) / dpi),
    )  # fmt: skip
    for i, row in enumerate(blocks):
        for j, block in enumerate(row):
            axes[i, j].imshow(block, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes[i, j].set(xticks=[], yticks=[])
            sns.despine(ax=axes[i, j], left=True, bottom=True)
    for i, name in enumerate(row_names):
        axes[i, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for j, name in enumerate(column_names):
        axes[0, j].set_title(name, fontsize=9)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.07, hspace=0.07)

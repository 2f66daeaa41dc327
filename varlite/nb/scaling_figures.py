"""Figures of scaling laws. Every function draws one figure and returns the data that it shows.

`runs` is a ladder of models {depth: run}, as `varlite.experiments.scaling_laws.ladder` takes it from a sweep.
One colour per depth throughout: `depth_colours`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from varlite.experiments.scaling_laws import (
    PowerLaw,
    config_of,
    curve,
    fit,
    halves,
    intervals,
    lower_envelope,
    rival_laws,
    size,
)  # fmt: skip
from varlite.nb import plots

# Columns of a curve, as the papers name them.
NAMES = {
    "val_loss_last": "test loss, last scale",
    "val_loss": "test loss, all scales",
    "val_error_last": "token error, last scale",
    "val_error": "token error, all scales",
}
SIZE, COST = "N, weights in the blocks", "C, operations of training"
# Every part of a model has its name in figures, its colour and its hatch.
PARTS = {
    "embeddings": ("embeddings", ""),
    "attention": ("attention, linear", "////"),
    "pairs": ("attention, pairs", "oo"),
    "mamba": ("Mamba", "++++"),
    "ffn": ("feed-forward", "...."),
    "adaln": ("AdaLN", "xxxx"),
    "head": ("head", "||||"),
}

Runs = Mapping[int, Mapping[str, Any]]
Points = Mapping[str, tuple[np.ndarray, np.ndarray]]  # {title: (X, L)}


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


def draw_fit(axis: Axes, X: np.ndarray, L: np.ndarray, xlabel: str, name: str) -> dict[str, Any]:
    """The straight line through points on log-log; plain numbers even where L spans far less than a decade.

    The title has the exponent and its 90 % interval in a line of its own. Returns {"X", "L", "law", "interval"}.
    """
    law, (low, high) = fit(X, L), intervals(X, L)["exponent"]
    draw_law(axis, law, X)
    axis.set(xscale="log", yscale="log", xlabel=xlabel)
    axis.set_title(f"{NAMES[name]}\nexponent {law.exponent:.3f} ({low:.3f} to {high:.3f})", fontsize=10)
    axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    return {"X": X, "L": L, "law": law, "interval": (low, high)}


def against_size(runs: Runs, names: Sequence[str] = tuple(NAMES)) -> dict[str, dict[str, Any]]:
    """The final value of each model against N, a panel a name, and the straight line through them.

    Returns {name: {"X", "L", "law", "interval"}}.
    """
    axes = plots.panels(len(names), *((4.2, 2.9) if len(names) > 1 else (5.2, 3.4)), columns=2)
    colours, data = depth_colours(list(runs)), {}
    for axis, name in zip(axes, names, strict=True):
        X, L = finals(runs, name)
        for i, depth in enumerate(runs):
            axis.plot(X[i], L[i], plots.MARKERS[i], color=colours[depth], markersize=7, label=f"depth {depth}")
        data[name] = draw_fit(axis, X, L, SIZE, name)
    plots.legend_on_top(axes[0], columns=len(runs))
    return data


def against_compute(runs: Runs, names: Sequence[str] = tuple(NAMES)) -> dict[str, dict[str, Any]]:
    """Every training against its cost so far, a panel a name: the lower envelope, and the straight line through it.

    The titles give the exponents of the envelope's two halves as well, since its points are not independent and the
    interval takes them for that.
    Returns {name: {"X", "L", "depth", "law", "interval", "halves"}} of the points on the envelope.
    """
    axes = plots.panels(len(names), 4.2, 3.0, columns=2)
    colours, data = list(depth_colours(list(runs)).values()), {}
    for axis, name in zip(axes, names, strict=True):
        curves = {f"depth {depth}": curve(run, name) for depth, run in runs.items()}
        plots.draw_lines(axis, curves, colours, linestyle="-", linewidth=1, markersize=3)
        C, L = (np.concatenate(parts) for parts in zip(*curves.values(), strict=True))
        of, best = np.repeat(list(runs), [len(c) for c, _ in curves.values()]), lower_envelope(C, L)
        axis.plot(C[best], L[best], "o", mfc="none", color="black", ms=7, mew=0.8, label="lower envelope")
        data[name] = draw_fit(axis, C[best], L[best], COST, name) | {"depth": of[best]}
        data[name]["halves"] = halves(C[best], L[best])
        axis.set_title("{}\nits halves {:.3f} and {:.3f}".format(axis.get_title(), *data[name]["halves"]), fontsize=10)
    plots.legend_on_top(axes[0], columns=len(runs) + 1)
    return data


def with_floor(points: Points, xlabel: str = SIZE, reach: float = 30) -> dict[str, dict[str, Any]]:
    """The law with an irreducible part beside the one without, drawn `reach` times beyond the points.

    The grey band is the 90 % confidence interval of the floor; the titles have those of the exponents.
    Returns {title: {"straight", "floor", "intervals"}}.
    """
    axes = plots.panels(len(points), 4.2, 3.2, columns=2)
    data = {}
    for axis, (title, (X, L)) in zip(axes, points.items(), strict=True):
        straight, bent, found = fit(X, L), fit(X, L, floor=True), intervals(X, L, floor=True)
        draw_law(axis, straight, X, reach, linestyle="--", zorder=2, label="without floor")
        draw_law(axis, bent, X, reach, color=plots.BLUE, linewidth=2, label="with floor")
        axis.axhspan(*found["floor"], color="gray", alpha=0.25, linewidth=0, label="floor, 90 %")
        axis.plot(X, L, "o", color="black", markersize=5, label="measured")
        axis.set(xscale="log", xlabel=xlabel, ylabel="loss")
        ways = ((straight.exponent, *intervals(X, L)["exponent"]), (bent.exponent, *found["exponent"]))
        without, with_one = ("{:.3f} ({:.3f} to {:.3f})".format(*way) for way in ways)
        axis.set_title(f"{title}\nexponent {without}\nwith floor {with_one}", fontsize=9)
        data[title] = {"straight": straight, "floor": bent, "intervals": found}
    plots.legend_on_top(axes[0])
    return data


def assumed_floors(points: Points, papers: Mapping[str, float], most: float = 0.98) -> dict[str, dict[str, np.ndarray]]:
    """The exponent of L - floor, and how far L lies off that law, for every floor from 0 to `most` of the lowest loss.

    papers: exponents to compare with. Returns {title: {"floor", "exponent", "scatter"}}, the last relative to L.
    """
    (left, right) = plots.panels(2, 4.2, 3.0)
    data = {}
    for i, (title, (X, L)) in enumerate(points.items()):
        floor, colour = np.linspace(0, most * L.min(), 100), [plots.BLUE, plots.ORANGE][i % 2]
        laws = [fit(X, L - f) for f in floor]
        exponent = np.array([law.exponent for law in laws])
        off_FX = np.stack([(f + law(X)) / L - 1 for f, law in zip(floor, laws, strict=True)])
        around = np.sqrt((off_FX**2).sum(1) / (len(X) - 2))
        left.plot(floor, exponent, plots.DASHES[i % 2], color=colour, label=title)
        right.plot(floor, 100 * around, plots.DASHES[i % 2], color=colour)
        left.axhline(papers[title], color=colour, linestyle=":", linewidth=1)
        data[title] = {"floor": floor, "exponent": exponent, "scatter": around}
    left.set(xlabel="assumed floor", ylabel="exponent in N (dotted: the paper's)")
    right.set(xlabel="assumed floor", ylabel="scatter around the law, %", ylim=(0, None))
    plots.legend_on_top(left)
    return data


def exponents(groups: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[Sequence[Mapping[str, Any]]]:
    """Exponents with their intervals, beside the paper's, a panel a group, two panels in a row.

    A group is rows {"name", "ours", "interval": (low, high), "paper"}. Returns the groups.
    """
    axes = plots.panels(len(groups), 4.2, 1.5, columns=2)
    for axis, rows in zip(axes, groups, strict=True):
        for i, row in enumerate(rows):
            axis.plot(row["interval"], (i, i), color=plots.BLUE, linewidth=3, solid_capstyle="butt", label="90 %")
            axis.plot(row["ours"], i, "o", color=plots.BLUE, label="here")
            axis.plot(row["paper"], i, "D", color=plots.ORANGE, mec="black", mew=0.6, label="paper")
        axis.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=9)
        axis.set(ylim=(len(rows) - 0.4, -0.6), xlim=(1.15 * min(min(r["paper"], *r["interval"]) for r in rows), 0))
        axis.grid(axis="x", linewidth=0.4)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    plots.legend_on_top(axes[0])
    return groups


def rivals(X: np.ndarray, L: np.ndarray, ylabel: str, reach: float = 1000) -> dict[str, np.ndarray]:
    """Laws through all points but the one of largest X, drawn `reach` times beyond it: where do they part?

    Returns {"x": sizes, law: values}.
    """
    x = np.geomspace(X.min(), X.max() * reach, 200)
    data = {"x": x} | {name: law(x) for name, law in rival_laws(X, L).items() if name != "no change"}
    (axis,) = plots.panels(1, 6.3, 3.2)
    plots.draw_lines(axis, {name: (x, y) for name, y in data.items() if name != "x"})
    last = X.max() == X
    axis.plot(X[~last], L[~last], "o", color="black", ms=6, label="measured, fitted")
    axis.plot(X[last], L[last], "o", color="black", mfc="white", ms=7, label="measured, predicted")
    axis.set(xscale="log", xlabel=SIZE, ylabel=ylabel)
    plots.legend(axis, "right")
    return data


def shares(counts: Mapping[str, Mapping[str, int]], xlabel: str) -> dict[str, dict[str, float]]:
    """A bar a name, cut into the shares of its parts; returns them {name: {part: share}}."""
    data = {name: {part: n / sum(parts.values()) for part, n in parts.items()} for name, parts in counts.items()}
    (axis,) = plots.panels(1, 7, 0.36 * len(data) + 1.0)
    sizes = {name: [parts.get(part, 0.0) for parts in data.values()] for part, (name, _) in PARTS.items()}
    plots.draw_stack(axis, sizes, list(data), plots.palette(len(PARTS)), [hatch for _, hatch in PARTS.values()])
    axis.set(xlabel=xlabel, xlim=(0, 1))
    plots.legend(axis, "right")
    return data


def column_of(path: Path, rows: Sequence[int], column: int) -> torch.Tensor:
    """Pictures of one column of the grid that a training wrote, as one picture two wide: (1, H, W) in [0, 1].

    Raises ValueError for a row or column that the grid does not have.
    """
    tiles = plots.tiles_of(path, rows, [column])[:, 0]
    tiles = torch.cat((tiles, torch.ones_like(tiles[: len(tiles) % 2])))
    return torch.cat([torch.cat(list(pair), -1) for pair in tiles.split(2)], -2)

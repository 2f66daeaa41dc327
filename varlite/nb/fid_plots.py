"""Figures of scores. Every function draws one figure, leaves it current and returns the data that it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

FD = "FD (fashion features)"
KINDS = {"var": "VAR", "mvar": "M-VAR", "raster": "raster AR"}
MARKERS, DASHES = "os^Dv<>p", ["-", "--", "-.", ":"]
PLACES = [(7, 0, "left"), (-7, 0, "right"), (0, 10, "center"), (0, -11, "center"), (7, 8, "left"), (7, -8, "left")]
PLACES += [
    (-7, 8, "right"),
    (-7, -8, "right"),
    (20, 12, "left"),
    (20, -12, "left"),
    (-20, 12, "right"),
    (-20, -14, "right"),
]

Row = Mapping[str, Any]


def label(
    axis: Axes, points: Sequence[tuple[str, tuple[float, float]]], others: Sequence[tuple[float, float]] = ()
) -> None:
    """A name beside each point, where it covers no other name, point or one of `others`, if there is such a place."""
    axis.get_figure().canvas.draw()
    marks = axis.transData.transform([xy for _, xy in points] + list(others))
    taken: list[Bbox] = []
    for name, xy in points:
        for x, y, side in [*PLACES, PLACES[0]]:
            style: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "center", "fontsize": 8}
            drawn = axis.annotate(name, xy, (x, y), **style)
            box = drawn.get_window_extent()
            if axis.bbox.x0 < box.x0 and not any(map(box.overlaps, taken)) and not box.count_contains(marks):
                break
            drawn.remove()
        else:
            drawn = axis.annotate(name, xy, PLACES[0][:2], **style)
        taken.append(drawn.get_window_extent())


def plain_log(axis: Axes, x: bool = True, y: bool = True) -> None:
    """Logarithmic axes with plain numbers."""
    for on, one in ((x, axis.xaxis), (y, axis.yaxis)):
        if on:
            one.axes.set(**{f"{one.axis_name}scale": "log"})
            one.set_major_locator(LogLocator(subs=(1, 2, 5)))
            one.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            one.set_minor_formatter(NullFormatter())


def quality_and_time(published: Sequence[Row], measured: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """FID against relative time, as published; apart, our FD against seconds an image. Down and left is better.

    measured: records of small models by name, as `load_results` gives them. An arrow is a time known to be longer.
    Returns {"published": {model: (time, fid)}, "measured": {kind: {model: (seconds, fd)}}}.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), width_ratios=[1.7, 1], dpi=80)
    types = list(dict.fromkeys(row["type"] for row in published))
    colours = dict(zip(types, sns.color_palette("colorblind", len(types)), strict=True))
    points: dict[str, tuple[float, float]] = {}
    arrows: list[tuple[float, float]] = []
    for row in published:
        time, above = row["time"], row["time_above"]
        if row["fid"] is None or (time is None and above is None):
            continue
        points[row["model"]] = (above if time is None else time, row["fid"])
        style: dict[str, Any] = {"color": colours[row["type"]], "marker": MARKERS[types.index(row["type"])], "ms": 7}
        if time is None:
            arrows.append(points[row["model"]])
            left.annotate("", (1.4 * above, row["fid"]), (above, row["fid"]), arrowprops={"arrowstyle": "->"})
        hollow = {"mfc": "none", "ms": 11} if time is None else {}  # around the point of a model as fast
        left.plot(*points[row["model"]], linestyle="none", **style | hollow)
    for i, name in enumerate(types):
        if any(row["model"] in points for row in published if row["type"] == name):
            left.plot([], [], MARKERS[i], color=colours[name], label=name)
    plain_log(left)
    left.set(xlabel="time of an image, VAR-d30 = 1", ylabel="FID", title="published, ImageNet 256 x 256")
    left.margins(0.08)
    for name, fid in [(row["model"], row["fid"]) for row in published if row["type"] == "reference"]:
        left.axhline(fid, color="gray", linestyle=":", linewidth=1, label=name)
    own: dict[str, dict[str, tuple[float, float]]] = {}
    for name, record in measured.items():
        if record["kind"] in KINDS:
            own.setdefault(record["kind"], {})[name] = (record["mean"]["seconds_per_image"], record["mean"]["fd"])
    for kind, models in own.items():
        i = list(KINDS).index(kind)
        order = sorted(models, key=lambda name: measured[name]["parameters"])
        low, high = np.array([measured[name]["band"]["fd"] for name in order]).T
        x, y = np.array([models[name] for name in order]).T
        style = {"color": [colours["VAR"], "#7a1f5c", colours["AR"]][i], "marker": "vPD"[i], "ms": 7, "ls": DASHES[i]}
        right.errorbar(x, y, [y - low, high - y], lw=1, label=KINDS[kind], **style)
    for name, record in measured.items():
        if record["kind"] == "tokenizer":
            right.axhline(
                record["mean"]["fd"], color="gray", linestyle=":", linewidth=1, label=f"{name}: reconstructions"
            )
    plain_log(right)
    right.set(xlabel="seconds an image", ylabel=FD, title="measured here, Fashion-MNIST")
    right.margins(0.15)
    for axis in (left, right):
        axis.title.set_fontsize(10)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8)
    sns.despine(figure)
    figure.tight_layout()
    label(left, list(points.items()), [(1.2 * x, y) for x, y in arrows] + [(1.35 * x, y) for x, y in arrows])
    label(right, [(f"d{measured[name]['depth']}", xy) for models in own.values() for name, xy in models.items()])
    return {"published": points, "measured": own}


def against_number(lines: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """A distance against the number of images, and against its inverse, where it is nearly a straight line.

    lines: {name: {number: distance}}. Returns where each line meets zero: the distance of infinitely many images.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), dpi=85)
    limits = {}
    for i, (name, points) in enumerate(lines.items()):
        n, d = np.array(list(points), float), np.array(list(points.values()))
        style: dict[str, Any] = {"color": sns.color_palette("colorblind")[i], "marker": MARKERS[i], "ms": 5}
        left.plot(n, d, linestyle=DASHES[i], label=name, **style)
        slope, limits[name] = np.polyfit(1 / n, d, 1)
        right.plot(1 / n, d, linestyle="none", **style)
        x = np.array([0, max(1 / n)])
        right.plot(x, limits[name] + slope * x, DASHES[i], color=style["color"], lw=1)
        right.plot(0, limits[name], mfc="none", clip_on=False, **style | {"ms": 9})
    plain_log(left)
    left.set(xlabel="images", ylabel=FD)
    right.set(xlabel="1 / images", ylim=(min(0, *limits.values()) - 0.1, None), xlim=(0, None))
    left.legend(frameon=False, fontsize=8)
    sns.despine(figure)
    figure.tight_layout()
    return {name: float(limit) for name, limit in limits.items()}


def traps(values: Mapping[str, Mapping[str, float]], level: tuple[str, float]) -> dict[str, dict[str, float]]:
    """How far each mistake carries a distance: {trap: {case: distance}}. `level` is a named line to compare with."""
    cases = [(trap, case, value) for trap, named in values.items() for case, value in named.items()]
    figure, axis = plt.subplots(figsize=(8, 0.27 * len(cases) + 0.8), dpi=85)
    palette = sns.color_palette("colorblind", len(values))
    colours = dict(zip(values, palette, strict=True))
    for i, (trap, _, value) in enumerate(cases):
        axis.plot([1e-3, value], [i, i], color=colours[trap], linewidth=1.5)
        axis.plot(value, i, MARKERS[list(values).index(trap)], color=colours[trap], markersize=7)
        axis.annotate(f"{value:.2f}", (value, i), (7, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(cases)), [f"{trap}: {case}" for trap, case, _ in cases], fontsize=9)
    axis.axvline(level[1], color="black", linestyle=":", label=level[0])
    axis.set(xlabel=FD, ylim=(len(cases) - 0.4, -0.6))
    plain_log(axis, y=False)
    axis.set_xlim(min(value for *_, value in cases) / 2, 3 * max(value for *_, value in cases))
    axis.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1))
    sns.despine(figure)
    return {trap: dict(named) for trap, named in values.items()}


def trade_off(rows: Sequence[Row], dial: str) -> dict[str, dict[Any, tuple[float, float]]]:
    """What a dial trades: FD against accuracy, and precision against recall, its value beside each point.

    Returns {"fd": {value: (accuracy, fd)}, "recall": {value: (precision, recall within a class)}}.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), dpi=85)
    columns = {"fd": ("accuracy", "fd"), "recall": ("precision", "recall_within_class")}
    rows = sorted(rows, key=lambda row: row[dial] or (np.inf if dial == "top_k" else 0))  # top_k 0 keeps all
    data = {name: {row[dial]: (row[x], row[y]) for row in rows} for name, (x, y) in columns.items()}
    for axis, points, colour in zip(axes, data.values(), sns.color_palette("colorblind"), strict=False):
        x, y = zip(*points.values(), strict=True)
        axis.plot(x, y, "o-", color=colour, markersize=5, linewidth=1)
        axis.margins(0.12)
        axis.xaxis.set_major_locator(MaxNLocator(6))
    if max(row["fd"] for row in rows) > 8 * min(row["fd"] for row in rows):
        plain_log(axes[0], x=False)
    axes[0].set(xlabel="accuracy", ylabel=FD, title=f"down and right is better ({dial} at the points)")
    axes[1].set(xlabel="precision", ylabel="recall within a class", title="up and right is better")
    sns.despine(figure)
    for axis in axes:
        axis.title.set_fontsize(10)
    figure.tight_layout()
    for axis, points in zip(axes, data.values(), strict=True):
        names = [f"{value:g}" if value or dial != "top_k" else "all" for value in points]
        label(axis, list(zip(names, points.values(), strict=True)))
    return data


def ablation(published: Sequence[Row], record: Row) -> dict[str, dict[int, Any]]:
    """The paper's ablation, FID, beside ours, FD, step by step: every published value, and the range over our seeds.

    Rows of ours that the paper does not have stand apart. Returns {"published": {row: [fid, ...]}, "measured": {row:
    (mean, smallest, largest)}}.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.36 * len(record["rows"]) + 0.9), sharey=True, dpi=85)
    blue, orange = sns.color_palette("colorblind")[:2]
    fids: dict[int, list[float]] = {}
    for row in published:
        fids.setdefault(row["row"], []).append(row["fid"])
    ours = {row["row"]: (row["mean"]["fd"], *row["band"]["fd"]) for row in record["rows"]}
    left.plot([values[0] for values in fids.values()], list(fids), "o-", color=blue, ms=6, lw=1, label="the paper")
    others = np.array([(value, i) for i, values in fids.items() for value in values[1:]]).reshape(-1, 2)
    left.plot(*others.T, "x", color="black", markersize=7, label="reported by others")
    mean, low, high = np.array(list(ours.values())).T
    style: dict[str, Any] = {"color": orange, "ms": 5, "elinewidth": 1.5, "capsize": 4}
    label = "here, mean and range over seeds"
    right.errorbar(mean, list(ours), xerr=[mean - low, high - mean], fmt="s", label=label, **style)
    right.plot([ours[i][0] for i in fids if i in ours], [i for i in fids if i in ours], color=orange, lw=1)
    left.set_yticks(list(ours), [f"{row['row']}  {row['step']}" for row in record["rows"]], fontsize=9)
    firsts = {i: values[0] for i, values in fids.items()}, {i: values[0] for i, values in ours.items()}
    for axis, of, values in zip((left, right), ("FID, ImageNet 256 x 256", FD), firsts, strict=True):
        for i, value in values.items():
            axis.annotate(f"{value:.2f}", (value, i), (8, 5), textcoords="offset points", va="center", fontsize=8)
        plain_log(axis, y=False)
        axis.margins(x=0.15)
        axis.set(xlabel=of, ylim=(max(ours) + 0.5, min(ours) - 0.7))
        axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncol=2)
    sns.despine(figure)
    figure.tight_layout()
    return {"published": fids, "measured": ours}


def sources(published: Sequence[Row], band: tuple[float, float]) -> dict[str, dict[str, list[float]]]:
    """Every published FID of each model by who says so, and the band in which the first model should be found again.

    Returns {model: {"paper" | "README" | "others": [fid, ...]}}.
    """
    data: dict[str, dict[str, list[float]]] = {}
    for row in published:
        if row["fid"] is not None:
            who = "others" if row["mark"] == "one-copy" else "README" if "README" in row["source"] else "paper"
            data.setdefault(row["model"], {}).setdefault(who, []).append(row["fid"])
    figure, axis = plt.subplots(figsize=(7, 0.42 * len(data) + 1.0), dpi=85)
    styles = dict(zip(("paper", "README", "others"), ("o", "s", "x"), strict=True))
    for (who, marker), colour in zip(styles.items(), ["#0173b2", "#de8f05", "black"], strict=True):
        points = np.array([(fid, i) for i, by in enumerate(data.values()) for fid in by.get(who, [])]).reshape(-1, 2)
        look = {"ms": 11, "mfc": "none"} if who == "README" else {"ms": 7}  # around a point at the same place
        axis.plot(*points.T, marker, color=colour, label=who, **look)
    axis.fill_between(band, -0.35, 0.35, color="gray", alpha=0.25, linewidth=0, label="d16 reproduced")
    axis.set_yticks(range(len(data)), list(data))
    axis.invert_yaxis()
    axis.set(xlabel="FID")
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)
    return data

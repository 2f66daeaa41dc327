"""Figures of scores. Every function draws one figure and returns the data that it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from varlite.nb.plots import BLUE, DASHES, FD, MARKERS, ORANGE, PURPLE, draw_lines, legend, palette, panels

FAMILIES = {"var": "VAR", "mvar": "M-VAR", "raster": "raster AR"}

Row = Mapping[str, Any]


def log_axes(axis: Axes, x: bool = True, y: bool = True) -> None:
    """Logarithmic axes with plain numbers at 1, 2 and 5 times the powers of ten, and between them where there is room.

    To be called once the data are drawn.
    """
    for on, one in ((x, axis.xaxis), (y, axis.yaxis)):
        if on:
            axis.set(**{f"{one.axis_name}scale": "log"})
            low, high = one.get_view_interval()
            one.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 8 * low > 0 else (1, 1.5, 2, 3, 4, 5, 6, 8)))
            one.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            one.set_minor_formatter(NullFormatter())


def label_points(
    axis: Axes, points: Sequence[tuple[str, tuple[float, float]]], others: Sequence[tuple[float, float]] = ()
) -> None:
    """A name beside each point, where it covers no other name, point or one of `others`, if there is such a place."""
    near = [(7, 0), (-7, 0), (0, 10), (0, -11)]
    places = [*near, *((x, y) for r in (7, 20) for x in (r, -r) for y in (0.6 * r + 4, -0.6 * r - 4))]
    axis.get_figure().canvas.draw()
    marks = axis.transData.transform([xy for _, xy in points] + list(others))
    taken: list[Bbox] = []
    for name, xy in points:
        for x, y in [*places, near[0]]:
            side = "left" if x > 0 else "right" if x < 0 else "center"
            style: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "center", "fontsize": 8}
            drawn = axis.annotate(name, xy, (x, y), **style)
            box = drawn.get_window_extent()
            if axis.bbox.x0 < box.x0 and not any(map(box.overlaps, taken)) and not box.count_contains(marks):
                break
            drawn.remove()
        else:
            drawn = axis.annotate(name, xy, near[0], **style)
        taken.append(drawn.get_window_extent())


def quality_and_time(published: Sequence[Row], measured: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """FID against relative time, as published; apart, our FD against seconds an image. Down and left is better.

    measured: records of small models by name, as `load_results` gives them. An arrow is a time known to be longer.
    Returns {"published": {model: (time, fid)}, "measured": {kind: {model: (seconds, fd)}}}.
    """
    types = list(dict.fromkeys(row["type"] for row in published))
    colours = dict(zip(types, palette(len(types)), strict=True))
    (left, right) = panels(2, 5.5, 4.4, width_ratios=[1.7, 1])
    points: dict[str, tuple[float, float]] = {}
    arrows: list[tuple[float, float]] = []
    for row in published:
        time, above, fid, i = row["time"], row["time_above"], row["fid"], types.index(row["type"])
        if row["type"] == "reference":
            left.axhline(fid, color="gray", linestyle=":", linewidth=1, label=row["model"])
        if fid is None or (time is None and above is None):
            continue
        points[row["model"]] = (above if time is None else time, fid)
        if time is None:
            arrows += [(1.2 * above, fid), (1.35 * above, fid)]
            left.annotate("", (1.4 * above, fid), (above, fid), arrowprops={"arrowstyle": "->"})
        hollow = {"mfc": "none", "ms": 11} if time is None else {"ms": 7}  # around the point of a model as fast
        left.plot(*points[row["model"]], MARKERS[i], color=colours[row["type"]], **hollow)
    for name in dict.fromkeys(row["type"] for row in published if row["model"] in points):
        left.plot([], [], MARKERS[types.index(name)], color=colours[name], label=name)
    left.set(xlabel="time of an image, VAR-d30 = 1", ylabel="FID", title="published, ImageNet 256 x 256")

    own: dict[str, dict[str, tuple[float, float]]] = {}
    for name, record in sorted(measured.items(), key=lambda item: item[1]["parameters"]):
        if record["kind"] in FAMILIES:
            own.setdefault(record["kind"], {})[name] = (record["mean"]["seconds_per_image"], record["mean"]["fd"])
        elif record["kind"] == "tokenizer":
            style: dict[str, Any] = {"color": "gray", "linestyle": ":", "label": f"{name}: reconstructions"}
            right.axhline(record["mean"]["fd"], **style)
    own = {kind: own[kind] for kind in FAMILIES if kind in own}
    looks = dict(zip(FAMILIES, zip("vPD", (colours["VAR"], PURPLE, colours["AR"]), DASHES, strict=False), strict=True))
    for kind, models in own.items():
        low, high = np.array([measured[name]["band"]["fd"] for name in models]).T
        x, y = np.array(list(models.values())).T * [[1000], [1]]
        marker, colour, dash = looks[kind]
        style = {"color": colour, "marker": marker, "ms": 7, "ls": dash, "lw": 1, "label": FAMILIES[kind]}
        right.errorbar(x, y, [y - low, high - y], **style)
    right.set(xlabel="milliseconds an image", ylabel=FD, title="measured here, Fashion-MNIST")
    for axis, margin in ((left, 0.08), (right, 0.15)):
        log_axes(axis)
        axis.margins(margin)
        if axis.get_legend_handles_labels()[0]:
            legend(axis)
    label_points(left, list(points.items()), arrows)
    label_points(right, [
        (f"d{measured[name]['depth']}", (1000 * seconds, fd))
        for models in own.values() for name, (seconds, fd) in models.items()
    ])  # fmt: skip
    return {"published": points, "measured": own}


def against_number(lines: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """A distance against the number of images, and against its inverse, where it is nearly a straight line.

    lines: {name: {number: distance}}. Returns where each line meets zero: the distance of infinitely many images.
    """
    (left, right) = panels(2, 4.5, 3)
    draw_lines(left, {name: (list(points), list(points.values())) for name, points in lines.items()})
    limits = {}
    for i, (name, points) in enumerate(lines.items()):
        inverse, d = 1 / np.array(list(points), float), np.array(list(points.values()))
        slope, limits[name] = np.polyfit(inverse, d, 1)
        ends, colour = np.array([0, max(inverse)]), palette(len(lines))[i]
        right.plot(inverse, d, MARKERS[i], color=colour, ms=5)
        right.plot(ends, limits[name] + slope * ends, DASHES[i], color=colour, lw=1)
        right.plot(0, limits[name], MARKERS[i], color=colour, mfc="none", clip_on=False, ms=9)
    log_axes(left)
    left.set(xlabel="images", ylabel=FD)
    right.set(xlabel="1 / images", ylim=(min(0, *limits.values()) - 0.1, None), xlim=(0, None))
    legend(left)
    return {name: float(limit) for name, limit in limits.items()}


def traps(values: Mapping[str, Mapping[str, float]], level: tuple[str, float]) -> dict[str, dict[str, float]]:
    """How far each mistake carries a distance: {trap: {case: distance}}. `level` is a named line to compare with."""
    cases = [
        (i, f"{trap}: {case}", value) for i, (trap, named) in enumerate(values.items()) for case, value in named.items()
    ]
    (axis,) = panels(1, 8, 0.27 * len(cases) + 0.8)
    for y, (i, _, value) in enumerate(cases):
        colour = palette(len(values))[i]
        axis.plot([1e-3, value], [y, y], color=colour, linewidth=1.5)
        axis.plot(value, y, MARKERS[i], color=colour, markersize=7)
        axis.annotate(f"{value:.2f}", (value, y), (7, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(cases)), [name for _, name, _ in cases], fontsize=9)
    axis.axvline(level[1], color="black", linestyle=":", label=level[0])
    log_axes(axis, y=False)
    sizes = [value for *_, value in cases]
    axis.set(xlabel=FD, ylim=(len(cases) - 0.4, -0.6), xlim=(min(sizes) / 2, 3 * max(sizes)))
    legend(axis, loc="lower right", bbox_to_anchor=(1, 1))
    return {trap: dict(named) for trap, named in values.items()}


def trade_off(rows: Sequence[Row], dial: str) -> dict[str, dict[Any, tuple[float, float]]]:
    """What a dial trades: FD against accuracy, and precision against recall, its value beside each point.

    Returns {"fd": {value: (accuracy, fd)}, "recall": {value: (precision, recall within a class)}}.
    """
    columns = {"fd": ("accuracy", "fd"), "recall": ("precision", "recall_within_class")}
    rows = sorted(rows, key=lambda row: row[dial] or (np.inf if dial == "top_k" else 0))  # top_k 0 keeps all
    data = {name: {row[dial]: (row[x], row[y]) for row in rows} for name, (x, y) in columns.items()}
    axes = panels(2, 4.5, 3.2)
    for axis, points, colour in zip(axes, data.values(), palette(2), strict=True):
        axis.plot(*zip(*points.values(), strict=True), "o-", color=colour, markersize=5, linewidth=1)
        axis.margins(0.12)
        axis.xaxis.set_major_locator(MaxNLocator(6))
    if max(row["fd"] for row in rows) > 8 * min(row["fd"] for row in rows):
        log_axes(axes[0], x=False)
    axes[0].set(xlabel="accuracy", ylabel=FD, title=f"down and right is better ({dial} at the points)")
    axes[1].set(xlabel="precision", ylabel="recall within a class", title="up and right is better")
    for axis, points in zip(axes, data.values(), strict=True):
        names = [f"{value:g}" if value or dial != "top_k" else "all" for value in points]
        label_points(axis, list(zip(names, points.values(), strict=True)))
    return data


def ablation(published: Sequence[Row], record: Row) -> dict[str, dict[int, Any]]:
    """The paper's ablation, FID, beside ours, FD, step by step: every published value, and the range over our seeds.

    Rows of ours that the paper does not have stand apart. Returns {"published": {row: [fid, ...]}, "measured": {row:
    (mean, smallest, largest)}}.
    """
    fids: dict[int, list[float]] = {}
    for row in published:
        fids.setdefault(row["row"], []).append(row["fid"])
    ours = {row["row"]: (row["mean"]["fd"], *row["band"]["fd"]) for row in record["rows"]}
    (left, right) = panels(2, 4.5, 0.36 * len(record["rows"]) + 0.9, sharey=True)
    left.plot([values[0] for values in fids.values()], list(fids), "o-", color=BLUE, ms=6, lw=1, label="the paper")
    others = np.array([(value, i) for i, values in fids.items() for value in values[1:]]).reshape(-1, 2)
    left.plot(*others.T, "x", color="black", markersize=7, label="reported by others")
    mean, low, high = np.array(list(ours.values())).T
    style: dict[str, Any] = {"color": ORANGE, "ms": 5, "elinewidth": 1.5, "capsize": 4, "fmt": "s"}
    right.errorbar(mean, list(ours), xerr=[mean - low, high - mean], label="here, mean and range over seeds", **style)
    both = [i for i in fids if i in ours]
    right.plot([ours[i][0] for i in both], both, color=ORANGE, lw=1)
    left.set_yticks(list(ours), [f"{row['row']}  {row['step']}" for row in record["rows"]], fontsize=9)
    for axis, xlabel, values in ((left, "FID, ImageNet 256 x 256", fids), (right, FD, ours)):
        for i, (first, *_) in values.items():
            axis.annotate(f"{first:.2f}", (first, i), (8, 5), textcoords="offset points", va="center", fontsize=8)
        log_axes(axis, y=False)
        axis.margins(x=0.15)
        axis.set(xlabel=xlabel, ylim=(max(ours) + 0.5, min(ours) - 0.7))
        legend(axis, "above")
    return {"published": fids, "measured": ours}


def gains(paper: Mapping[int, Sequence[float]], record: Row) -> dict[str, dict[str, Any]]:
    """By what share each step of the ablation changes the distance: the paper's, and ours.

    paper: {row: [fid, ...]}, the paper's own first, as `ablation` returns them. A bar of ours is hollow where the step
    compares two trainings of which one or both are single, so that nothing is known of luck. Returns {step: {"paper",
    "here": shares, "seeds": trainings before and after, "beyond": whether the ranges lie apart, None for single ones,
    "weights": how many more}}. Settings of one model, such as guidance, need no second training.
    """
    rows = {row["row"]: row for row in record["rows"] if row["row"] in paper}
    found: dict[str, dict[str, Any]] = {}
    for i in list(rows)[1:]:
        now, before = rows[i], rows[i - 1]
        seeds = len(before["runs"]), len(now["runs"])
        apart = None if min(seeds) < 2 else now["band"]["fd"][1] < before["band"]["fd"][0]
        found[now["step"]] = {
            "paper": paper[i][0] / paper[i - 1][0] - 1,
            "here": now["mean"]["fd"] / before["mean"]["fd"] - 1,
            "same model": now["model"] == before["model"],
            "seeds": seeds,
            "beyond": apart,
            "weights": now["parameters"] / before["parameters"] - 1,
        }
    (axis,) = panels(1, 7, 0.45 * len(found) + 0.9)
    for y, gain in enumerate(found.values()):
        known = gain["same model"] or gain["beyond"] is not None
        axis.barh(y - 0.2, 100 * gain["paper"], 0.36, color=BLUE, label="the paper, FID" if y == 0 else None)
        style: dict[str, Any] = {"color": ORANGE, "hatch": "////"} if known else {"color": "white", "ec": ORANGE}
        axis.barh(y + 0.2, 100 * gain["here"], 0.36, **style)
    axis.barh(0, 0, color=ORANGE, hatch="////", ec="white", label="here, FD")
    if any(gain["beyond"] is None and not gain["same model"] for gain in found.values()):
        axis.barh(0, 0, color="white", ec=ORANGE, label="here, a single training")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(found)), list(found))
    axis.set(xlabel="change of the distance, per cent", ylim=(len(found) - 0.5, -0.6))
    legend(axis, "right")
    return found


def sources(published: Sequence[Row], band: tuple[float, float]) -> dict[str, dict[str, list[float]]]:
    """Every published FID of each model by who says so, and the band in which the first model should be found again.

    Returns {model: {"paper" | "README" | "others": [fid, ...]}}.
    """
    data: dict[str, dict[str, list[float]]] = {}
    for row in published:
        if row["fid"] is not None:
            who = "others" if row["mark"] == "one-copy" else "README" if "README" in row["source"] else "paper"
            data.setdefault(row["model"], {}).setdefault(who, []).append(row["fid"])
    (axis,) = panels(1, 7, 0.42 * len(data) + 1.0)
    for who, marker, colour in (("paper", "o", BLUE), ("README", "s", ORANGE), ("others", "x", "black")):
        points = np.array([(fid, i) for i, by in enumerate(data.values()) for fid in by.get(who, [])]).reshape(-1, 2)
        look = {"ms": 11, "mfc": "none"} if who == "README" else {"ms": 7}  # around a point at the same place
        axis.plot(*points.T, marker, color=colour, label=who, **look)
    axis.fill_between(band, -0.35, 0.35, color="gray", alpha=0.25, linewidth=0, label="d16, published or measured")
    axis.set_yticks(range(len(data)), list(data))
    axis.invert_yaxis()
    axis.set(xlabel="FID")
    legend(axis, "right")
    return data

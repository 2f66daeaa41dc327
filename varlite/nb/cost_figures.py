"""Figures and tables of what sampling costs, from data/results/speed.json. Every function returns what it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from seaborn import color_palette

from varlite.nb.html_tables import size
from varlite.nb.plots import BLUE, ORANGE, bars_by_scale, draw_lines, draw_stack, legend, panels
from varlite.scales import Scales

Record = Mapping[str, Any]
STAGES = ("transformer", "draws", "filters", "quantizer", "decoder")


def speedups(record: Record) -> pd.DataFrame:
    """A row for each bench: seconds of the plain way and of the package, and how many times as fast it is."""
    lines = {}
    for title, found in record["bench"].items():
        ways, times = found["ways"], found["speedup"]
        lines[title] = {
            "plain, s": f"{ways['plain']['seconds']:.2f}",
            "varlite, s": f"{ways['varlite']['seconds']:.2f}",
            "times as fast": span(times["varlite"]),
            "of a bare product's rate": f"{ways['varlite']['percent_of_gemm']:.0f} %",
        }
    return pd.DataFrame(lines).T


def span(times: Record) -> str:
    """How many times as fast: the median, and in brackets the range over the rounds."""
    return f"{times['median']:.2f} ({min(times['rounds']):.2f} to {max(times['rounds']):.2f})"


def times_as_fast(record: Record) -> dict[str, dict[str, float]]:
    """Bars of how many times as fast the package is as the plain way, at equal tokens, and in int8, at others.

    Returns {bench: {"varlite": .., "int8": ..}}.
    """
    found = {
        title: {way: times["median"] for way, times in one["speedup"].items() if way in ("varlite", "int8")}
        for title, one in record["bench"].items()
    }
    (axis,) = panels(1, 6.5, 0.5 * len(found) + 0.8)
    looks = {"varlite": (BLUE, "", "same tokens"), "int8": (ORANGE, "////", "int8: other tokens")}
    for way, (colour, hatch, name) in looks.items():
        rows = [(y, times[way]) for y, times in enumerate(found.values()) if way in times]
        if not rows:
            continue
        places, lengths = zip(*rows, strict=True)
        shift = -0.2 if way == "varlite" else 0.2
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": name}
        drawn = axis.barh([y + shift for y in places], lengths, 0.38, **style)
        axis.bar_label(drawn, fmt="%.2f", fontsize=8, padding=2)
    axis.axvline(1, color="black", linestyle=":", label="the plain way")
    axis.set_yticks(range(len(found)), list(found))
    axis.set(xlabel="times as fast", ylim=(len(found) - 0.4, -0.6))
    axis.margins(x=0.12)
    legend(axis, "right")
    return found


def quality(record: Record, results: Mapping[str, Record]) -> pd.DataFrame:
    """Scores of models in float32 (the mean over seeds of `results`) and in int8 (one seed)."""
    lines = {}
    for name, scores in record["int8"].items():
        mean, band = results[name]["mean"], results[name]["band"]
        lines[name] = {
            "FD": f"{mean['fd']:.2f} ({band['fd'][0]:.2f} to {band['fd'][1]:.2f})",
            "FD, int8": f"{scores['fd']:.2f}",
            "accuracy": f"{mean['accuracy']:.1%}",
            "accuracy, int8": f"{scores['accuracy']:.1%}",
        }
    return pd.DataFrame(lines).T


def over_batch(record: Record) -> list[float]:
    """Milliseconds for an image over the size of the batch, by part of the work. Returns the heights of the bars."""
    (axis,) = panels(1, 7.2, 3.0)
    heights = [1000 * row["seconds_per_image"] for row in record["batch"]]
    parts = {stage: [row["ms_by_stage"][stage] for row in record["batch"]] for stage in STAGES}
    known = map(sum, zip(*parts.values(), strict=True))
    # What is in no part is the loop itself.
    parts["the rest"] = [max(0.0, all - part) for all, part in zip(heights, known, strict=True)]
    names = [str(row["batch"]) for row in record["batch"]]
    draw_stack(axis, parts, names, [*color_palette("cividis", len(STAGES)), "0.85"], upright=True)
    for i, height in enumerate(heights):
        axis.annotate(f"{height:.0f}", (i, height), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    axis.set(xlabel="images in a batch", ylabel="milliseconds for an image", ylim=(0, 1.12 * max(heights)))
    legend(axis)
    return heights


def over_size(record: Record) -> dict[str, list[float]]:
    """Seconds for an image over its side, VAR and M-VAR; milliseconds over depth, with the weights of the blocks.

    Returns the heights: {"var": .., "mvar": .., "depth": ..}.
    """
    (resolution, depth), heights, lines = panels(2, 4.6, 3.1), {}, {}
    for kind, title in (("var", "VAR"), ("mvar", "M-VAR")):
        measured = [row for row in record["resolution"] if row["kind"] == kind]
        heights[kind] = [row["seconds_per_image"] for row in measured]
        lines[title] = sides, _ = [row["side"] for row in measured], heights[kind]
    draw_lines(resolution, lines, [BLUE, ORANGE])
    resolution.set(xscale="log", yscale="log", xlabel="side of the image, pixels", ylabel="seconds for an image")
    resolution.set(title="depth 4, one image at a time")
    resolution.set_xticks(sides, [str(side) for side in sides])
    resolution.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    resolution.minorticks_off()
    legend(resolution)

    heights["depth"] = [1000 * row["seconds_per_image"] for row in record["depth"]]
    depth.plot([row["depth"] for row in record["depth"]], heights["depth"], "o-", color="0.2")
    for row, height in zip(record["depth"], heights["depth"], strict=True):
        style: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "fontsize": 9}
        depth.annotate(size(row["size"]), (row["depth"], height), (-4, 7), **style)
    depth.set_xticks([row["depth"] for row in record["depth"]])
    depth.margins(x=0.24)
    depth.set(xlabel="depth; at each point the weights in the blocks", ylabel="milliseconds for an image")
    depth.set(title="28 x 28 pixels, 64 images at a time", ylim=(0, 1.15 * max(heights["depth"])))
    return heights


def rates(gflop_K: Sequence[float], ms: Mapping[str, Sequence[float]], record: Record, scales: Scales) -> list[float]:
    """Bars of 10^9 operations a second at each scale; grey: bare matrix products of the benches, slowest to fastest.

    ms: {name: milliseconds for an image at each scale}. Returns the ends of the grey band.
    """
    band = [found["gemm_gflop_per_second"] for found in record["bench"].values()]
    rate = {name: [1000 * g / t for g, t in zip(gflop_K, ms_K, strict=True)] for name, ms_K in ms.items()}
    bars_by_scale(rate, scales, "10$^9$ operations\na second")
    axis = plt.gca()
    axis.axhspan(min(band), max(band), color="0.85", zorder=0, label="a bare matrix product")
    legend(axis, "above")
    return [min(band), max(band)]

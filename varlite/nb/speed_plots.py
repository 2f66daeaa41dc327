"""Figures and tables of what sampling costs, from data/results/speed.json. Every function returns what it shows."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from varlite.nb.tables import size

Record = Mapping[str, Any]
STAGES = ("transformer", "draws", "filters", "quantizer", "decoder")


def speedups(record: Record) -> pd.DataFrame:
    """A row for each bench: seconds of the plain way and of the package, how many times as fast, and in int8."""
    rows = {}
    for title, found in record["bench"].items():
        ways, times = found["ways"], found["speedup"]
        rows[title] = {
            "plain, s": ways["plain"]["seconds"],
            "varlite, s": ways["varlite"]["seconds"],
            "times": times["varlite"]["median"],
            "decoder, times": times["varlite"].get("decoder"),
            "int8, times": times["int8"]["median"] if "int8" in times else None,
            "of GEMM rate, %": ways["varlite"]["percent_of_gemm"],
        }
    table = pd.DataFrame(rows).T.astype(float).round(2)
    return table.astype(object).where(table.notna(), "")


def quality(record: Record, results: Mapping[str, Record]) -> pd.DataFrame:
    """Scores of models in float32 (the mean over seeds of `results`) and in int8 (one seed)."""
    rows = {}
    for name, scores in record["int8"].items():
        mean, band = results[name]["mean"], results[name]["band"]
        rows[name] = {
            "FD": f"{mean['fd']:.2f} ({band['fd'][0]:.2f} to {band['fd'][1]:.2f})",
            "FD, int8": f"{scores['fd']:.2f}",
            "accuracy": f"{mean['accuracy']:.1%}",
            "accuracy, int8": f"{scores['accuracy']:.1%}",
        }
    return pd.DataFrame(rows).T


def costs(record: Record) -> dict[str, list[float]]:
    """Milliseconds an image over batch size, by part; seconds over the side of the image; milliseconds over depth.

    Returns the heights: {"batch": totals, "var": .., "mvar": .., "depth": ..}.
    """
    _, axes = plt.subplots(1, 3, figsize=(11, 3.2), dpi=90)
    heights = {"batch": by_batch(axes[0], record["batch"])}
    for kind, style in (("var", "o-"), ("mvar", "s--")):
        rows = [row for row in record["resolution"] if row["kind"] == kind]
        heights[kind] = [row["seconds_per_image"] for row in rows]
        sides = [row["side"] for row in rows]
        axes[1].plot(sides, heights[kind], style, label={"var": "VAR", "mvar": "M-VAR"}[kind], color="0.2")
    axes[1].set(xscale="log", yscale="log", xlabel="side of the image", ylabel="seconds an image", title="resolution")
    axes[1].set_xticks(sides, [str(side) for side in sides])
    axes[1].set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    axes[1].minorticks_off()
    axes[1].legend(frameon=False)
    depths = record["depth"]
    heights["depth"] = [1000 * row["seconds_per_image"] for row in depths]
    axes[2].plot([row["depth"] for row in depths], heights["depth"], "o-", color="0.2")
    for row, height in zip(depths, heights["depth"], strict=True):
        axes[2].annotate(size(row["size"]), (row["depth"], height), (0, 6), textcoords="offset points", ha="center")
    axes[2].margins(x=0.12)
    axes[2].set(xlabel="depth", ylabel="ms an image", title="depth, batch 64", ylim=(0, 1.15 * max(heights["depth"])))
    sns.despine()
    plt.tight_layout()
    return heights


def by_batch(axis: Axes, rows: list[Record]) -> list[float]:
    """Stacked bars; what is in no part, the loop itself, is on top."""
    x, bottom, colours = range(len(rows)), [0.0] * len(rows), sns.color_palette("cividis", len(STAGES))
    for stage, colour in zip(STAGES, colours, strict=True):
        heights = [row["ms_by_stage"][stage] for row in rows]
        axis.bar(x, heights, bottom=bottom, color=colour, label=stage)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    totals = [1000 * row["seconds_per_image"] for row in rows]
    rest = [max(0.0, total - below) for total, below in zip(totals, bottom, strict=True)]
    axis.bar(x, rest, bottom=bottom, color="0.85", label="the rest")
    axis.set_xticks(x, [str(row["batch"]) for row in rows])
    axis.set(xlabel="images in a batch", ylabel="ms an image", title="batch, fashion-var-d4")
    axis.legend(frameon=False, fontsize=8)
    return totals

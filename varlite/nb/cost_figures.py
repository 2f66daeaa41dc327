"""Figures and tables of what sampling costs, from data/results/speed.json. Every function returns what it shows."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from seaborn import color_palette

from varlite.nb.html_tables import size
from varlite.nb.plots import BLUE, ORANGE, draw_lines, draw_stack, legend, panels

Record = Mapping[str, Any]
STAGES = ("transformer", "draws", "filters", "quantizer", "decoder")


def speedups(record: Record) -> pd.DataFrame:
    """A row for each bench: seconds of the plain way and of the package, how many times as fast, and in int8."""
    lines = {}
    for title, found in record["bench"].items():
        ways, times = found["ways"], found["speedup"]
        lines[title] = {
            "plain, s": ways["plain"]["seconds"],
            "varlite, s": ways["varlite"]["seconds"],
            "times": times["varlite"]["median"],
            "decoder, times": times["varlite"].get("decoder"),
            "int8, times": times["int8"]["median"] if "int8" in times else None,
            "of GEMM rate, %": ways["varlite"]["percent_of_gemm"],
        }
    table = pd.DataFrame(lines).T.astype(float).round(2)
    return table.astype(object).where(table.notna(), "")


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


def costs(record: Record) -> dict[str, list[float]]:
    """Milliseconds an image over batch size, by part; seconds over the side of the image; milliseconds over depth.

    Returns the heights: {"batch": totals, "var": .., "mvar": .., "depth": ..}.
    """
    (batch, resolution, depth) = panels(3, 3.7, 3.2)
    heights = {"batch": [1000 * row["seconds_per_image"] for row in record["batch"]]}
    parts = {stage: [row["ms_by_stage"][stage] for row in record["batch"]] for stage in STAGES}
    known = map(sum, zip(*parts.values(), strict=True))
    # What is in no part is the loop itself.
    parts["the rest"] = [max(0.0, all - part) for all, part in zip(heights["batch"], known, strict=True)]
    names = [str(row["batch"]) for row in record["batch"]]
    draw_stack(batch, parts, names, [*color_palette("cividis", len(STAGES)), "0.85"], upright=True)
    batch.set(xlabel="images in a batch", ylabel="ms an image", title="batch, fashion-var-d4")
    legend(batch)

    lines = {}
    for kind, title in (("var", "VAR"), ("mvar", "M-VAR")):
        measured = [row for row in record["resolution"] if row["kind"] == kind]
        heights[kind] = [row["seconds_per_image"] for row in measured]
        lines[title] = sides, _ = [row["side"] for row in measured], heights[kind]
    draw_lines(resolution, lines, ["0.2", "0.2"])
    resolution.set(
        xscale="log", yscale="log", xlabel="side of the image", ylabel="seconds an image", title="resolution"
    )
    resolution.set_xticks(sides, [str(side) for side in sides])
    resolution.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    resolution.minorticks_off()
    legend(resolution)

    heights["depth"] = [1000 * row["seconds_per_image"] for row in record["depth"]]
    depth.plot([row["depth"] for row in record["depth"]], heights["depth"], "o-", color="0.2")
    for row, height in zip(record["depth"], heights["depth"], strict=True):
        depth.annotate(size(row["size"]), (row["depth"], height), (0, 6), textcoords="offset points", ha="center")
    depth.margins(x=0.12)
    depth.set(xlabel="depth", ylabel="ms an image", title="depth, batch 64", ylim=(0, 1.15 * max(heights["depth"])))
    return heights

"""Figures of the panel of judges. Every function draws one figure and returns the data that it shows."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from varlite.evaluation.judges.verdict import CHOSEN_WITH
from varlite.experiments.judge_the_judges import REAL, reports_of
from varlite.nb.plots import BLUE, legend, palette, panels

FLOOR, FAR = 1.0, 100.0  # ends of the colours, in halves of the interval of real pictures


def judges_and_corruptions(result: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """How far from real pictures each judge finds each corruption, from weak to strong: `data/results/judges.json`.

    Dark is far, in halves of the interval of real pictures. A cross says that the judge is blind to that corruption.
    Outlined is the judge that decides in the verdict; judges in brackets have no vote, since choices were made by them.
    Returns {corruption: {strength: {judge: how far}}}.
    """
    names = [name for name in result["table"] if name != REAL]
    found = {name: reports_of(result, name) for name in names}
    shown = {
        name: {key: {j: score.away().value for j, score in report.scores.items()} for key, report in reports.items()
               if key != REAL}
        for name, reports in found.items()
    }  # fmt: skip
    judges = list(result["judges"])
    columns = [(name, key) for name in names for key in shown[name]]
    away = np.array([[shown[name][key].get(judge, np.nan) for name, key in columns] for judge in judges])
    figure, axis = plt.subplots(figsize=(2.6 + 0.3 * len(columns), 1.4 + 0.27 * len(judges)), layout="constrained")
    colours = sns.color_palette("rocket_r", as_cmap=True).with_extremes(bad="white")
    image = axis.imshow(away.clip(FLOOR, FAR), cmap=colours, norm=LogNorm(FLOOR, FAR), aspect="auto")
    for x, (name, key) in enumerate(columns):
        report = found[name][key]
        (decides, worst), *_ = report.worst_first()
        if worst.low > 1:
            axis.add_patch(Rectangle((x - 0.5, judges.index(decides) - 0.5), 1, 1, fill=False, ec=BLUE, lw=2))
        for y, judge in enumerate(judges):
            if not result["table"][name].get(judge, {"sees": True})["sees"]:
                axis.text(x, y, "×", ha="center", va="center", fontsize=8, color="0.45")
    starts = [i for i, (name, _) in enumerate(columns) if i == 0 or columns[i - 1][0] != name]
    for start in starts[1:]:
        axis.axvline(start - 0.5, color="white", lw=4)
    keys = [key.removesuffix(".npz").rpartition("-")[2] if key.endswith(".npz") else key for _, key in columns]
    axis.set_xticks(range(len(columns)), keys, fontsize=7, rotation=90)
    axis.set_yticks(range(len(judges)), [f"({j})" if j in CHOSEN_WITH else j for j in judges], fontsize=8)
    axis.tick_params(length=0)
    above = axis.secondary_xaxis("top")
    middles = [(a + b - 1) / 2 for a, b in zip(starts, [*starts[1:], len(columns)], strict=True)]
    above.set_xticks(middles, [name.replace("_", "\n") for name in names], fontsize=8)
    above.tick_params(length=0)
    for spine in (*axis.spines.values(), *above.spines.values()):
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axis, pad=0.01, ticks=[1, 3, 10, 30, 100], format="%g")
    bar.set_label("away from real pictures, in their own noise", fontsize=8)
    return shown


def two_opinions(judged: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """What different judges say of the same sets: a panel a judge, a bar a set, lower is better.

    judged: {judge: {set: score}}; the first set, of real pictures, is the dashed line. Returns it.
    """
    axes = panels(len(judged), 4, 1.9)
    for axis, (judge, scores) in zip(axes, judged.items(), strict=True):
        (_, floor), *sets = scores.items()
        drawn = axis.barh(
            [name for name, _ in sets], [value for _, value in sets], color=palette(len(sets)), height=0.6
        )
        axis.bar_label(drawn, [f"{value:.2f}" for _, value in sets], padding=3, fontsize=9)
        axis.axvline(floor, color="black", linestyle="--", linewidth=1, label="real pictures")
        axis.set(title=judge, xlim=(0, 1.2 * max(scores.values())))
        axis.invert_yaxis()
    legend(axes[-1])
    return {judge: dict(scores) for judge, scores in judged.items()}

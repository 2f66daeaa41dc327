"""Figures of notebook 14: what reaches what in a model, and what judges say of two."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from varlite.evaluation.judges.verdict import Report
from varlite.nb.maps import bare
from varlite.nb.plots import BLUE, ORANGE, PURPLE, draw_lines, legend, panels, scale_colours, scale_names
from varlite.scales import Scales

LEAK, MAY = "#c1272d", "0.75"


def reach(named: Mapping[str, torch.Tensor], scales: Scales) -> dict[str, int]:
    """For each name a matrix (K, K) of shares: how much of map k changes when the input of map j is changed.

    Below the diagonal nothing may change, and what does is red. Returns the number of such cells.
    """
    axes, names, K = panels(len(named), 2.6, 2.9), scale_names(scales), scales.K
    leaks = {}
    for axis, (name, share_KK) in zip(axes, named.items(), strict=True):
        ahead_KK = np.arange(K)[:, None] > np.arange(K)[None]
        found = share_KK.numpy() > 0
        picture = np.ones((K, K, 3))
        picture[found] = plt.matplotlib.colors.to_rgb(MAY)
        picture[found & ahead_KK] = plt.matplotlib.colors.to_rgb(LEAK)
        axis.imshow(picture, interpolation="nearest")
        bare(axis)
        axis.set_xticks(range(K), names, rotation=90, fontsize=8)
        axis.set_yticks(range(K), names, fontsize=8)
        for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
            for tick, colour in zip(ticks, scale_colours(K), strict=True):
                tick.set_color(colour)
        for j, k in zip(*np.nonzero(found & ahead_KK), strict=True):
            axis.text(k, j, "leak", ha="center", va="center", color="white", fontsize=8)
        axis.set(title=name, xlabel="predictions that change")
        leaks[name] = int((found & ahead_KK).sum())
    axes[0].set_ylabel("input that is changed")
    return leaks


def losses(named: Mapping[str, list[float]], every: int = 10) -> dict[str, np.ndarray]:
    """A line for each training: its loss, averaged over `every` steps. Returns the averages."""
    means = {
        name: np.array(loss[: len(loss) // every * every]).reshape(-1, every).mean(1) for name, loss in named.items()
    }
    (axis,) = panels(1, 6, 2.8)
    lines = {name: ((np.arange(len(mean)) + 0.5) * every, mean) for name, mean in means.items()}
    draw_lines(axis, lines, [BLUE, ORANGE, PURPLE][: len(lines)], marker=None)
    axis.set(xlabel="step", ylabel="loss, nats per token", ylim=(0, None))
    legend(axis, "right")
    return means


def by_judge(reports: Mapping[str, Report]) -> dict[str, dict[str, float]]:
    """How far from real pictures each judge finds each set, with its 95 % interval; real pictures lie left of the line.

    Judges that had a part in the choice of settings are written in grey. Returns {judge: {name: away}}.
    """
    first = next(iter(reports.values()))
    judges = [name for name, _ in first.worst_first(set.intersection(*(set(r.scores) for r in reports.values())))]
    (axis,) = panels(1, 7, 0.32 * len(judges) + 0.9)
    data: dict[str, dict[str, float]] = {judge: {} for judge in judges}
    shift = np.linspace(-0.15, 0.15, len(reports)) if len(reports) > 1 else [0.0]
    for i, (name, report) in enumerate(reports.items()):
        found = [report.scores[judge].away() for judge in judges]
        x = np.array([max(0.3, away.value) for away in found])  # what is no further than real pictures, at the left
        ends = np.array([[x_i - max(0.3, a.low), a.high - x_i] for x_i, a in zip(x, found, strict=True)]).clip(0).T
        style: dict[str, Any] = {"fmt": "so^"[i % 3], "color": (BLUE, ORANGE, PURPLE)[i % 3], "ms": 5, "capsize": 2}
        axis.errorbar(x, np.arange(len(judges)) + shift[i], xerr=ends, label=name, lw=1, **style)
        for judge, away in zip(judges, found, strict=True):
            data[judge][name] = away.value
    axis.axvline(1, color="gray", linestyle=":", label="noise of real pictures")
    axis.set_yticks(range(len(judges)), judges, fontsize=9)
    for tick, judge in zip(axis.get_yticklabels(), judges, strict=True):
        tick.set_color("0.6" if judge in first.chosen_with else "black")
    axis.set(xscale="log", xlabel="how far from real pictures, in units of their noise", ylim=(len(judges) - 0.5, -0.5))
    axis.set_xticks([0.5, 1, 2, 5, 10, 20, 50, 100], ["0.5", "1", "2", "5", "10", "20", "50", "100"])
    axis.minorticks_off()
    legend(axis, "right")
    return data

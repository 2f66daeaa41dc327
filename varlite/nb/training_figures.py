"""Figures of training. They take a log as `read_log` gives it, or plain arrays, and return the data that they show."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from varlite.nb import plots
from varlite.nb.training_watch import Log, column
from varlite.scales import Scales


def draw_by_scale(axis: Axes, steps: Sequence[int], values_SK: np.ndarray, scales: Scales) -> None:
    """A line over the steps for each scale, in its colour."""
    lines = {name: (steps, values_SK[:, k]) for k, name in enumerate(plots.scale_names(scales))}
    plots.draw_lines(axis, lines, plots.scale_colours(scales.K))


def losses(
    logs: Mapping[str, Log] | Log, names: Mapping[str, str] | Sequence[str] = ("loss",)
) -> dict[str, dict[str, tuple]]:
    """Entries of one log, or of several by name, over the steps: {entry: {name: (steps, values)}}.

    `names` are entries, or {entry: title of its panel}. Those that a log has on some lines only, such as `val_loss`,
    are drawn where they are.
    """
    logs = logs if isinstance(logs, Mapping) else {"": logs}
    titles = names if isinstance(names, Mapping) else {}
    data = {name: {run: column(log, name) for run, log in logs.items()} for name in names}
    axes = plots.panels(len(names), 3.6, 2.8)
    for axis, (name, lines) in zip(axes, data.items(), strict=True):
        plots.draw_lines(axis, lines)
        axis.set(xlabel="step", title=titles.get(name, name))
        seen = [x for _, values in lines.values() for x in values]
        if seen and max(seen) > 5 * min(seen) > 0:
            axis.set_yscale("log")
    if len(logs) > 1:
        plots.legend(axes[0])
    return data


def codebook_health(
    log: Log, scales: Scales, vocab: int, mark: tuple[int, str] | None = None
) -> dict[str, tuple[list[int], np.ndarray]]:
    """Perplexity and codes used of each scale over the steps of a tokenizer's log.

    The grey line is the size of the codebook, the black one what any scale uses: a code that no scale uses is lost.
    mark: a step, and what happened there. Returns {"perplexity", "used": (steps, values (steps, K))}. Raises ValueError
    for a log without codebook health, such as a transformer's.
    """
    steps, used = column(log, "codes_used_per_scale")
    if not steps:
        raise ValueError("log: no line has codes_used_per_scale; codebook health is in the logs of tokenizers")
    at, perplexity = column(log, "perplexity_per_scale")
    data = {"perplexity": (at, np.array(perplexity)), "used": (steps, np.array(used))}
    axes = plots.panels(2, 4.2, 3)
    for axis, (at, values_SK), title in zip(axes, data.values(), ("perplexity", "codes used"), strict=True):
        draw_by_scale(axis, at, values_SK, scales)
        axis.axhline(vocab, color="gray", linestyle=":", linewidth=1)
        axis.set(xlabel="step", title=title)
        if mark is not None:
            axis.axvline(mark[0], color="black", linewidth=1)
    axes[0].set(yscale="log", ylim=(0.9, 1.3 * vocab))
    steps, shares = column(log, "codes_used")
    axes[1].plot(steps, [round(share * vocab) for share in shares], color="black", linewidth=1.5, label="any scale")
    axes[1].set_ylim(0, 1.08 * vocab)
    if mark is not None:
        axes[0].text(mark[0], 0.04, f"{mark[1]} ", ha="right", transform=axes[0].get_xaxis_transform(), fontsize=9)
    plots.legend_on_top(axes[1], scales.K + 1)
    return data


def running_mean(values_SK: np.ndarray, over: int) -> np.ndarray:
    """Means over the last `over` rows, fewer at the start."""
    sums = np.cumsum(values_SK, 0)
    sums[over:] = sums[over:] - sums[:-over]
    return sums / np.minimum(np.arange(1, len(sums) + 1), over)[:, None]


def curves_by_scale(
    values_SK: Sequence[Sequence[float]] | np.ndarray,
    scales: Scales,
    ylabel: str,
    levels_K: Sequence[float] | None = None,
    limit: float | None = None,
    mark: tuple[int, str] | None = None,
    over: int = 1,
    levels_name: str = "",
) -> np.ndarray:
    """A line for each scale over the steps, averaged over the last `over`; returns them.

    levels_K: a short dash at the right for each scale, to compare its line with; `levels_name` says what it is.
    limit: a dotted line. mark: a step, and what happened there.
    """
    values_SK = running_mean(np.asarray(values_SK, float), over)
    (axis,) = plots.panels(1, 6, 3.2)
    draw_by_scale(axis, range(1, len(values_SK) + 1), values_SK, scales)
    if levels_K is not None:
        right = (1.02 * len(values_SK), 1.1 * len(values_SK))
        for level, colour in zip(levels_K, plots.scale_colours(scales.K), strict=True):
            axis.plot(right, (level, level), color=colour, linewidth=3)
        if levels_name:
            pairs = pairwise(sorted(levels_K))
            low, high = max(pairs, key=lambda pair: pair[1] - pair[0])  # the two dashes with most room for the name
            axis.text(sum(right) / 2, (low + high) / 2, levels_name, ha="center", va="center", size=8)
    if limit is not None:
        axis.axhline(limit, color="gray", linestyle=":", linewidth=1.5)
    if mark is not None:
        axis.axvline(mark[0], color="black", linewidth=1)
        axis.text(mark[0], 0.85, f" {mark[1]}", transform=axis.get_xaxis_transform(), fontsize=9)
    axis.set(xlabel="step", ylabel=ylabel)
    plots.legend(axis, "right")
    return values_SK


def code_map(clouds: Mapping[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> dict[str, np.ndarray]:
    """Codes among the vectors to represent, a panel a name: (vectors_XZ, codes_VZ, used_V), the last True in use.

    The plane is that of the two main directions of the vectors. Returns the codes' places {name: (V, 2)}.
    """
    axes = plots.panels(len(clouds), 3.3, 3.1)
    places = {}
    for axis, (name, (vectors_XZ, codes_VZ, used_V)) in zip(axes, clouds.items(), strict=True):
        mean_Z = vectors_XZ.mean(0)
        plane_Z2 = torch.linalg.svd(vectors_XZ - mean_Z, full_matrices=False).Vh[:2].T
        cloud, places[name] = (((x - mean_Z) @ plane_Z2).numpy() for x in (vectors_XZ, codes_VZ))
        dead, used = places[name][~used_V.numpy()], places[name][used_V.numpy()]
        x, y = cloud[:: max(1, len(cloud) // 1000)].T
        axis.scatter(x, y, s=4, color="#bbbbbb", lw=0, label="to represent")
        axis.scatter(dead[:, 0], dead[:, 1], s=14, marker="x", color=plots.BLUE, lw=0.8, zorder=3, label="code, dead")
        axis.scatter(used[:, 0], used[:, 1], s=16, color=plots.ORANGE, edgecolor="black", lw=0.4, label="code, used")
        low, high = np.quantile(cloud, [0.005, 0.995], axis=0)
        (left, bottom), (right, top) = low - 0.25 * (high - low), high + 0.25 * (high - low)
        axis.set(xticks=[], yticks=[], title=name, xlim=(left, right), ylim=(bottom, top))
    plots.legend_on_top(axes[0])
    return places


def collapse(result: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Codebook collapse and its remedies: perplexity of each scale over the steps, a panel a remedy, and the errors.

    Takes the contents of data/results/codebook.json; returns the perplexities {arm: (steps, K)}.
    """
    scales, vocab, arms = Scales.of(result["config"]["scales"]), result["config"]["vocab"], result["arms"]
    (*axes, last) = plots.panels(len(arms) + 1, 2.5, 2.4, columns=-(-(len(arms) + 1) // 2))
    data = {}
    for axis, (name, arm) in zip(axes, arms.items(), strict=True):
        data[name] = np.array([line["perplexity_per_scale"] for line in arm["curve"]])
        draw_by_scale(axis, [line["step"] for line in arm["curve"]], data[name], scales)
        axis.axhline(vocab, color="gray", linestyle=":", linewidth=1)
        axis.set(yscale="log", ylim=(0.9, 1.3 * vocab), xlabel="step", ylabel="perplexity")
        axis.set_title(f"{name}\n{arm['curve'][-1]['codes_used']:.0%} of codes used", fontsize=9)
        axis.label_outer()
    errors = [arm["val_mse"] for arm in arms.values()]
    drawn = last.barh(range(len(arms)), errors, color="#dddddd")
    for bar, (name, error) in zip(drawn, zip(arms, errors, strict=True), strict=True):
        last.text(0.02 * max(errors), bar.get_y() + 0.4, f"{name}  {error:.4f}", va="center", fontsize=8)
    last.invert_yaxis()
    last.set(yticks=[], xticks=[])
    last.set_title("error on held-out\npictures at the end", fontsize=9)
    plots.legend_on_top(axes[0], scales.K)
    return data

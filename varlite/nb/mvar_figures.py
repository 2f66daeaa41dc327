"""Figures of M-VAR. Every function draws what it is given and returns what it computed."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from varlite.nb.maps import HEAT, draw_borders, draw_map
from varlite.nb.plots import (
    PURPLE,
    draw_bars,
    draw_lines,
    image_grid,
    legend,
    named_panels,
    panels,
    scale_colours,
    scale_names,
)
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

GREY = "#333333"


def taken_away(model: Any, tokenizer: VQVAE, labels: Sequence[int]) -> dict[str, torch.Tensor]:
    """One picture of each class from the same numbers: by an M-VAR, with emptied states, and without Mamba layers."""
    rows = {"as it is": generate(model, tokenizer, labels, seeds=0)}
    step = model.step

    def emptied(x: Any, label_B: torch.Tensor, k: int, cache: list, *others: Any, **named: Any) -> torch.Tensor:
        cache[:] = model.make_cache()
        return step(x, label_B, k, cache, *others, **named)

    with patch.object(model, "step", emptied):
        rows["nothing carried"] = generate(model, tokenizer, labels, seeds=0)
    with ExitStack() as stack:
        for block in model.blocks:
            handle = block.mamba.register_forward_hook(lambda _, args, out: 0 * out)
            stack.callback(handle.remove)
        rows["no Mamba layers"] = generate(model, tokenizer, labels, seeds=0)
    image_grid({name: list(img.cpu()) for name, img in rows.items()}, size=0.85)
    return rows


def two_ways(scales: Scales, shown: int = 4) -> dict[str, list[tuple[int, int]]]:
    """How the first scales hear of each other: by looking back at all of them, or by a state that is handed on.

    Returns which scale hears directly of which, as pairs (later, earlier), for VAR and for M-VAR.
    """
    shown, colours, names = min(shown, scales.K), scale_colours(scales.K), scale_names(scales)
    pairs = {
        "VAR": [(k, j) for k in range(shown) for j in range(k)],
        "M-VAR": [(k, k - 1) for k in range(1, shown)],
    }
    for axis, name, of_family in named_panels(pairs, 4.6, 2.3):
        for k in range(shown):
            axis.add_patch(Rectangle((k - 0.27, -0.2), 0.54, 0.4, color=colours[k]))
            axis.text(k, 0, names[k], color="white", ha="center", va="center", fontsize=9)
            axis.annotate("", (k + 0.16, -0.22), (k - 0.16, -0.22), arrowprops=arrow(GREY, 1.1))
        for k, j in of_family:
            start, end = ((k, 0.22), (j, 0.22)) if name == "VAR" else ((k - 0.28, 0), (j + 0.28, 0))
            style = arrow(colours[j], -0.45 if k - j > 1 else -0.6) if name == "VAR" else arrow(PURPLE, 0, 3)
            axis.annotate("", start, end, arrowprops=style)
        if name == "M-VAR":
            axis.text(0.5, 0.2, "state", color=PURPLE, ha="center", fontsize=9)
        axis.set(xlim=(-0.6, shown - 0.4), ylim=(-0.85, 1.35), title=TITLES[name])
        axis.text((shown - 1) / 2, -0.8, "attention within each map", ha="center", fontsize=8, color=GREY)
        axis.set_axis_off()
    return pairs


TITLES = {"VAR": "VAR: each map looks back at all before it", "M-VAR": "M-VAR: a state is handed on"}


def arrow(colour: Any, bend: float, width: float = 1.4) -> dict[str, Any]:
    return {"arrowstyle": "->", "color": colour, "linewidth": width, "connectionstyle": f"arc3,rad={bend}"}


def matrices(named: Mapping[str, torch.Tensor], scales: Scales) -> None:
    """(L, L) matrices beside each other: light for 0, dark for the largest; of signed ones, red and blue."""
    for axis, name, matrix_LL in named_panels(named, 3, 3.2):
        relative = matrix_LL / matrix_LL.abs().max().clamp_min(1e-12)
        shown = relative.sign() * relative.abs().sqrt()  # small entries would not be seen
        signed = bool((matrix_LL < 0).any())
        draw_map(axis, shown, "RdBu_r" if signed else HEAT, vmin=-1 if signed else 0)
        draw_borders(axis, scales, names=name == next(iter(named)))


def scan_pieces(scales: Scales) -> torch.Tensor:
    """The matrix of a scan whose pieces are the scales: 2 computed pair by pair, 1 summed up by the state, 0 hidden.

    Returns the (L, L) cells.
    """
    level_L = scales.levels()
    cells = (1 + (level_L[:, None] == level_L).int()).tril()
    (axis,) = panels(1, 3.6, 3.9)
    draw_map(axis, cells, ListedColormap(["#ffffff", "#f3d9cf", PURPLE]), 2)
    draw_borders(axis, scales)
    axis.set_title("dark: pair by pair\nlight: through the state", fontsize=9)
    return cells


def scanned_tokens(scales: Scales) -> dict[str, list[int]]:
    """How many tokens Mamba works through at each scale: the new ones, or all so far. Bars, a pair a scale."""
    counts = {"carried": list(scales.lengths), "rescanned": [end for _, end in scales.spans]}
    (axis,) = panels(1, 6, 2.6)
    draw_totals(axis, counts, scales)
    axis.set_ylabel("tokens scanned")
    return counts


def draw_totals(axis: Axes, values: Mapping[str, Sequence[float]], scales: Scales) -> None:
    """Bars of each scale in its colour, and their sums in the legend."""
    groups = {f"{name}: {sum(of_scales):,.0f} in all": of_scales for name, of_scales in values.items()}
    draw_bars(axis, groups, scale_names(scales), scale_colours(scales.K))
    axis.tick_params(axis="x", labelsize=7, labelrotation=45)
    legend(axis, loc="upper left")


def time_per_scale(timed: Mapping[str, Mapping[str, Any]]) -> dict[str, list[float]]:
    """Milliseconds of each scale with the state carried and with all rescanned, a panel for each entry of `timed`.

    Returns how many times as fast the carried state is at each scale.
    """
    ratios = {}
    for axis, name, found in named_panels(timed, 4.4, 2.7):
        draw_totals(axis, found["ms_per_scale"], Scales.of(found["config"]["sides"]))
        axis.set(title=f"{name}: carried {found['speedup']:.2f} times as fast", ylabel="milliseconds")
        both = (found["ms_per_scale"][way] for way in ("carried", "rescanned"))
        ratios[name] = [rescanned / carried for carried, rescanned in zip(*both, strict=True)]
    return ratios


def retained(share_HK: torch.Tensor, scales: Scales, heads: int) -> None:
    """How much of the state that enters a scale is left when it ends: a row a head, `heads` of them a layer."""
    H = len(share_HK)
    (axis,) = panels(1, 1.3 + 0.75 * scales.K, 0.8 + 0.2 * H)
    sns.heatmap(
        share_HK * 100, annot=True, fmt=".0f", cmap=HEAT, vmin=0, vmax=100, cbar=False, ax=axis,
        annot_kws={"fontsize": 7}, linewidths=0.3, xticklabels=scale_names(scales),
    )  # fmt: skip
    axis.set_yticks([heads * (i + 0.5) for i in range(H // heads)], [f"layer {i + 1}" for i in range(H // heads)])
    axis.tick_params(length=0, labelrotation=0, labelsize=8)
    for i in range(1, H // heads):
        axis.axhline(heads * i, color="black", linewidth=1)
    axis.set(xlabel="after the scale", title="per cent of the state left, by head")


def by_parameters(scores: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]) -> None:
    """A score against the number of parameters: {score: {family: {model: (parameters, score)}}}, a panel a score.

    A point has the last part of its model's name, "d12" of "var-d12", on the side away from the other family's line.
    """
    axes = panels(len(scores), 4.6, 3.2)
    for axis, (score, families) in zip(axes, scores.items(), strict=True):
        sorted_points = {name: np.array(sorted(models.values())).T for name, models in families.items()}
        draw_lines(axis, sorted_points, [GREY, PURPLE])
        for (family, models), colour in zip(families.items(), (GREY, PURPLE), strict=False):
            others = [line for name, line in sorted_points.items() if name != family]
            for name, (size, value) in models.items():
                above = all(value >= np.interp(np.log(size), np.log(x), y) for x, y in others)
                shift, ha, va = ((4, 4), "left", "bottom") if above else ((-4, -4), "right", "top")
                style: dict[str, Any] = {"textcoords": "offset points", "ha": ha, "va": va, "color": colour}
                axis.annotate(name.split("-")[-1], (size, value), shift, fontsize=8, **style)
        axis.set(xscale="log", xlabel="parameters", ylabel=score)
        axis.margins(0.15)
    legend(axes[0])

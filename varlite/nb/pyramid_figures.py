"""The pyramid explorer as a picture, for pages that run no kernel; and what a judge says of each scale's picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from varlite.nb import maps, plots
from varlite.nb.pyramid import Alternative, Pyramid
from varlite.scales import Scales
from varlite.tokenizer import VQVAE


def explorer_png(
    sample: Pyramid, tokenizer: VQVAE, k: int, place: int, codes: Sequence[Alternative], layer: int = -1
) -> bytes:
    """What the explorer shows of one token, as a PNG file.

    Left, a column for each scale: tokens, what the framed token looks at in `layer`, the picture so far. Right, the
    likeliest codes of the token (`alternatives`), with the picture after its scale and at the end. Not pyplot's, so
    that a widget may call it.
    """
    K, n = sample.scales.K, len(codes)
    figure = Figure(figsize=(1.15 * K + 0.95 * n + 0.9, 4.1), dpi=100, layout="constrained", facecolor="white")
    halves: Any = figure.subfigures(1, 2, width_ratios=[1.15 * K + 0.5, 0.95 * n + 0.4])
    left, right = halves
    draw_scales(left, sample, tokenizer, k, place, layer)
    row, column = divmod(place, sample.scales.shapes[k][1])
    name = plots.scale_names(sample.scales)[k]
    right.suptitle(f"{name}, row {row + 1}, column {column + 1}: its likeliest codes", fontsize=10)
    axes = right.subplots(3, n, squeeze=False, height_ratios=[1, 1, 0.45])
    own = int(sample.idx[k][place])
    for line, one in zip(axes.T, codes, strict=True):
        for axis, img in zip(line, (one.after, one.end), strict=False):
            plots.show(axis, img)
            maps.bare(axis, "deepskyblue" if one.code == own else "silver", 2 if one.code == own else 0.5)
        line[0].set_title(f"code {one.code}\n{one.p:.1%}", fontsize=8, color="black")
        line[2].set_axis_off()
    plots.name_row(axes[0, 0], f"after\n{name}")
    plots.name_row(axes[1, 0], "at the\nend")
    right.text(0.5, 0.06, "Framed in blue: the code that was drawn. Finer tokens\nkeep their random numbers.",
               fontsize=8, ha="center", va="bottom")  # fmt: skip
    return plots.figure_png(figure)


def draw_scales(figure: Any, sample: Pyramid, tokenizer: VQVAE, k: int, place: int, layer: int) -> list[float]:
    """Tokens, attention of one of them, pictures: three rows of panels. Returns the attention of each scale."""
    scales, shade_V = sample.scales, maps.shades(tokenizer.quantizer.codebook.weight)
    weights_L = sample.attention_DLL[layer, scales.spans[k][0] + place]
    shares = [part.sum().item() for part in weights_L.split(scales.lengths)]
    axes = maps.scale_panels(scales, 3, figure=figure)
    for i, (column, idx_l, weights_l) in enumerate(
        zip(axes.T, sample.idx, weights_L.split(scales.lengths), strict=True)
    ):
        shape = scales.shapes[i]
        maps.draw_map(column[0], shade_V[idx_l].view(shape), maps.shade_map(plots.scale_colours(scales.K)[i]))
        maps.draw_map(column[1], weights_l.view(shape), vmax=weights_L.max().item())
        column[1].set_title("hidden" if i > k else f"{shares[i]:.0%}", fontsize=9, color="black")
        if i > k:
            column[1].set_facecolor("white")
            column[1].images[0].set_visible(False)
        plots.show(column[2], sample.images[i])
        column[2].set_title("")
    row_column = divmod(place, scales.shapes[k][1])
    for axis in axes[:2, k]:
        maps.draw_box(axis, *row_column)
    count = len(sample.attention_DLL)
    for axis, name in zip(
        axes[:, 0], ("tokens", f"looks at\n(layer {layer % count + 1})", "picture\nso far"), strict=True
    ):
        plots.name_row(axis, name)
    return shares


def verdicts(judged_KN: torch.Tensor, class_names: Sequence[str], scales: Scales) -> dict[str, list[int]]:
    """What a judge says of N samples of one class after every scale: bars over the scales, a part for each verdict.

    Returns {class: how many at each scale} for the classes that were named at all, the most frequent first.
    """
    counts_KC = torch.stack([torch.bincount(judged_N, minlength=len(class_names)) for judged_N in judged_KN])
    order = [c for c in counts_KC.sum(0).argsort(descending=True, stable=True).tolist() if counts_KC[:, c].any()]
    parts = {class_names[c]: counts_KC[:, c].tolist() for c in order}
    (axis,) = plots.panels(1, 7, 0.42 * scales.K + 0.9)
    hatches = (plots.HATCHES * len(parts))[: len(parts)]
    plots.draw_stack(
        axis, parts, [f"after {name}" for name in plots.scale_names(scales)], plots.palette(len(parts)), hatches
    )
    axis.set(xlim=(0, judged_KN.shape[1]), xlabel="samples, by what the judge takes them for")
    plots.legend(axis, "right")
    return parts


def judged_samples(
    stages_KNCHW: Sequence[torch.Tensor],
    judged_KN: torch.Tensor,
    class_names: Sequence[str],
    scales: Scales,
    n: int = 8,
) -> np.ndarray:
    """The first n samples after every scale, a row a scale, each with the judge's verdict on it. Returns the axes."""
    rows = [list(images[:n]) for images in stages_KNCHW]
    axes = plots.image_axes(rows, plots.scale_names(scales), size=0.85, row_colours=plots.scale_colours(scales.K))
    for line, judged_N in zip(axes, judged_KN.tolist(), strict=True):
        for axis, verdict in zip(line, judged_N, strict=False):
            axis.text(
                0.5, 0.03, class_names[verdict], transform=axis.transAxes, color="white", fontsize=7, ha="center",
                va="bottom", bbox={"facecolor": "black", "alpha": 0.7, "linewidth": 0, "pad": 1},
            )  # fmt: skip
    return axes

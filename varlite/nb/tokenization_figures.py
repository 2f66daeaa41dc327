"""Figures of tokenization: codes, how often each scale uses them, and what they cost in bits."""

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
import torch

from varlite.nb.maps import draw_map
from varlite.nb.plots import DASHES, draw_lines, legend, panels, scale_colours, scale_names, show
from varlite.scales import Scales


def cells(points_N2: torch.Tensor, codes_V2: torch.Tensor, side: int = 200) -> torch.Tensor:
    """Points of the plane on [-1, 1], and the cell of each code: all that is nearer to it than to any other.

    Returns the nearest code of each of side x side places, rows from -1 upwards.
    """
    axis = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    owner = torch.cdist(torch.stack((x, y), -1).view(-1, 2), codes_V2).argmin(1).view(side, side)
    (plot,) = panels(1, 4, 4)
    colours = np.array(sns.color_palette("husl", len(codes_V2), desat=0.5))
    plot.imshow(colours[owner.numpy()], extent=(-1, 1, -1, 1), origin="lower", alpha=0.45)
    plot.scatter(points_N2[:, 0], points_N2[:, 1], s=2, color="black", alpha=0.25, linewidths=0)
    plot.scatter(codes_V2[:, 0], codes_V2[:, 1], s=50, color="white", edgecolor="black", zorder=3)
    plot.set(xlabel="pixel", ylabel="its right neighbour", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    return owner


def mosaic(tiles_Nhw: torch.Tensor, columns: int, size: float = 0.3) -> torch.Tensor:
    """Many small grey pictures in [0, 1] side by side with a white line between; returns the one picture."""
    _, h, w = tiles_Nhw.shape
    rows = -(-len(tiles_Nhw) // columns)
    page = tiles_Nhw.new_ones(rows * (h + 1) + 1, columns * (w + 1) + 1)
    for i, tile_hw in enumerate(tiles_Nhw):
        y, x = (i // columns) * (h + 1) + 1, (i % columns) * (w + 1) + 1
        page[y : y + h, x : x + w] = tile_hw
    (axis,) = panels(1, columns * size, rows * size)
    show(axis, page[None])
    return page


def usage(counts_KV: torch.Tensor, scales: Scales) -> tuple[list[int], list[float]]:
    """How often each scale chooses its codes, the likeliest first, and how many codes that amounts to.

    Returns, by scale, codes used and perplexity: exp of the entropy, the number of codes that equal use would need.
    """
    p_KV = counts_KV / counts_KV.sum(1, keepdim=True)
    used_K, perplexity_K = (counts_KV > 0).sum(1).tolist(), torch.special.entr(p_KV).sum(1).exp().tolist()
    ranked = [p_V[p_V > 0].sort(descending=True).values.tolist() for p_V in p_KV]
    names, colours = scale_names(scales), scale_colours(scales.K)
    (left, right) = panels(2, 4.25, 3)
    lines = {name: (range(1, len(p) + 1), p) for name, p in zip(names, ranked, strict=True)}
    draw_lines(left, lines, colours, marker=None)
    left.axhline(1 / counts_KV.shape[1], color="gray", linewidth=1, linestyle=":")
    left.set(xscale="log", yscale="log", xlabel="code, likeliest first", ylabel="share of the scale's tokens")
    right.bar(names, used_K, color="#e4e4e4", edgecolor="gray", label="codes used at all")
    right.bar(names, perplexity_K, color=colours, width=0.5, label="perplexity")
    right.axhline(counts_KV.shape[1], color="gray", linestyle="--", linewidth=1)
    right.set(xlabel="scale", ylabel="codes")
    legend(left)
    legend(right, "above")
    return used_K, perplexity_K


def favourites(counts_KV: torch.Tensor, scales: Scales) -> torch.Tensor:
    """For each code, a column, how its use divides among the scales; codes are ordered by the scale that favours them.

    A scale's counts are first made shares, or the finest, with the most tokens, would drown the others. Returns the
    (K, V) matrix drawn, without the columns of codes that nobody used.
    """
    p_KV = counts_KV / counts_KV.sum(1, keepdim=True)
    p_KV = p_KV[:, p_KV.sum(0) > 0]
    p_KV = p_KV / p_KV.sum(0)
    centre_V = (p_KV * torch.arange(scales.K)[:, None]).sum(0)
    p_KV = p_KV[:, centre_V.argsort()]
    (axis,) = panels(1, 8.5, 1.7)
    draw_map(axis, p_KV, aspect="auto")
    axis.set_yticks(range(scales.K), scale_names(scales))
    axis.set_xlabel("codes, ordered by the scales that favour them")
    for name, colour in zip(axis.get_yticklabels(), scale_colours(scales.K), strict=True):
        name.set_color(colour)
    return p_KV


def price(
    bits_K: Sequence[float],
    coded_K: Sequence[float],
    mse_K: Sequence[float],
    others: Mapping[str, list],
    scales: Scales,
) -> list[float]:
    """Error against size after each scale, in plain bits and entropy-coded; `others` adds {name: [(bits, error)]}.

    Errors are of images in [-1, 1]. Returns the decibels (PSNR) drawn for the scales.
    """
    psnr_K = decibels(mse_K)
    (axis,) = panels(1, 6, 3.4)
    for (name, points), marker in zip(others.items(), "^D", strict=False):
        bits, errors = zip(*points, strict=True)
        axis.plot(bits, decibels(errors), marker + DASHES[3], color="gray", label=name)
    axis.plot(coded_K, psnr_K, "--", color="#c0392b", linewidth=1, label="tokens, entropy-coded")
    axis.plot(bits_K, psnr_K, "-", color="black", linewidth=1, label="tokens")
    axis.scatter(bits_K, psnr_K, color=scale_colours(scales.K), s=45, zorder=3)
    for name, x, y in zip(scale_names(scales), bits_K, psnr_K, strict=True):
        axis.annotate(name, (x, y), xytext=(-6, 6), textcoords="offset points", fontsize=8, ha="right")
    axis.set(xscale="log", xlabel="bits a picture", ylabel="PSNR, dB")
    legend(axis)
    return psnr_K


def decibels(errors: Sequence[float]) -> list[float]:
    return (10 * np.log10(4 / np.asarray(errors))).tolist()

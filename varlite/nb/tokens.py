"""Tokenization in pictures: figures of codes, their use and their price, and a quantizer fitted on its own."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
import torch.nn.functional as F

from varlite.nb.plots import scale_colours, scale_names
from varlite.quantizer import MultiScaleQuantizer
from varlite.scales import Scales

DASHES = ["-", "--", "-.", ":"]
LINES = ["o-", "s--", "^-.", "D:", "v-"]  # told apart without colour


def cells(points_N2: torch.Tensor, codes_V2: torch.Tensor, side: int = 200) -> torch.Tensor:
    """Points of the plane on [-1, 1], and the cell of each code: all that is nearer to it than to any other.

    Returns which code owns each of side x side places, rows from -1 upwards.
    """
    axis = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    owner = torch.cdist(torch.stack((x, y), -1).view(-1, 2), codes_V2).argmin(1).view(side, side)
    figure, plot = plt.subplots(figsize=(4, 4), dpi=100)
    colours = sns.color_palette("husl", len(codes_V2), desat=0.5)
    plot.imshow(np.array(colours)[owner.numpy()], extent=(-1, 1, -1, 1), origin="lower", alpha=0.45)
    plot.scatter(points_N2[:, 0].numpy(), points_N2[:, 1].numpy(), s=2, color="black", alpha=0.25, linewidths=0)
    plot.scatter(codes_V2[:, 0].numpy(), codes_V2[:, 1].numpy(), s=50, color="white", edgecolor="black", zorder=3)
    plot.set(xlabel="pixel", ylabel="its right neighbour", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    sns.despine(figure)
    return owner


def curves(rows: dict[str, Sequence[float]], scales: Scales, ylabel: str) -> None:
    """One line a name over the scales, on a logarithmic axis."""
    figure, axis = plt.subplots(figsize=(5.5, 3), dpi=100)
    palette = sns.color_palette("colorblind", len(rows))
    for (name, values), style, colour in zip(rows.items(), LINES, palette, strict=False):
        axis.plot(scale_names(scales), values, style, color=colour, label=name, markersize=5)
    axis.set(xlabel="after scale", ylabel=ylabel, yscale="log")
    axis.legend(fontsize=8, frameon=False)
    sns.despine(figure)


def mosaic(tiles_Nhw: torch.Tensor, columns: int, size: float = 0.3) -> torch.Tensor:
    """Many small grey pictures in [0, 1] side by side with a white line between; returns the one picture."""
    _, h, w = tiles_Nhw.shape
    rows = -(-len(tiles_Nhw) // columns)
    page = tiles_Nhw.new_ones(rows * (h + 1) + 1, columns * (w + 1) + 1)
    for i, tile_hw in enumerate(tiles_Nhw):
        y, x = (i // columns) * (h + 1) + 1, (i % columns) * (w + 1) + 1
        page[y : y + h, x : x + w] = tile_hw
    _, axis = plt.subplots(figsize=(columns * size, rows * size), dpi=100)
    axis.imshow(page.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    sns.despine(ax=axis, left=True, bottom=True)
    return page


def usage(counts_KV: torch.Tensor, scales: Scales) -> tuple[list[int], list[float]]:
    """How often each scale draws its codes, the likeliest first, and how many codes that amounts to.

    Returns, by scale, codes used and perplexity: exp of the entropy, the number of codes that equal use would need.
    """
    p_KV = counts_KV / counts_KV.sum(1, keepdim=True)
    used_K, perplexity_K = (counts_KV > 0).sum(1).tolist(), torch.special.entr(p_KV).sum(1).exp().tolist()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3), dpi=100)
    for i, (p_V, name, colour) in enumerate(zip(p_KV, scale_names(scales), scale_colours(scales.K), strict=True)):
        ranked = p_V[p_V > 0].sort(descending=True).values.tolist()
        left.plot(range(1, len(ranked) + 1), ranked, DASHES[i % 4], color=colour, label=name)
    left.axhline(1 / counts_KV.shape[1], color="gray", linewidth=1, linestyle=":")
    left.set(xscale="log", yscale="log", xlabel="code, likeliest first", ylabel="share of the scale's tokens")
    left.legend(fontsize=8, frameon=False)
    right.bar(scale_names(scales), used_K, color="#e4e4e4", edgecolor="gray", label="codes used at all")
    right.bar(scale_names(scales), perplexity_K, color=scale_colours(scales.K), width=0.5, label="perplexity")
    right.axhline(counts_KV.shape[1], color="gray", linestyle="--", linewidth=1)
    right.set(xlabel="scale", ylabel="codes")
    right.legend(fontsize=8, frameon=False)
    sns.despine(figure)
    figure.subplots_adjust(wspace=0.3)
    return used_K, perplexity_K


def favourites(counts_KV: torch.Tensor, scales: Scales) -> torch.Tensor:
    """For each code, a column, how its use divides among the scales; codes are ordered by the scale that favours them.

    A scale's counts are first made shares, so that the finest, with the most tokens, does not drown the others.
    Returns the (K, V) matrix drawn; columns of codes that nobody used are left out.
    """
    p_KV = counts_KV / counts_KV.sum(1, keepdim=True)
    p_KV = p_KV[:, p_KV.sum(0) > 0]
    p_KV = p_KV / p_KV.sum(0)
    centre_V = (p_KV * torch.arange(scales.K)[:, None]).sum(0)
    p_KV = p_KV[:, centre_V.argsort()]
    _, axis = plt.subplots(figsize=(8.5, 1.7), dpi=100)
    axis.imshow(p_KV.numpy(), cmap="rocket_r", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axis.set_yticks(range(scales.K), scale_names(scales))
    axis.set(xlabel="codes, ordered by the scales that favour them", xticks=[])
    for label, colour in zip(axis.get_yticklabels(), scale_colours(scales.K), strict=True):
        label.set_color(colour)
    return p_KV


def price(
    bits_K: Sequence[float], coded_K: Sequence[float], mse_K: Sequence[float], others: dict[str, list], scales: Scales
) -> list[float]:
    """Error against size after each scale, in plain bits and entropy-coded; `others` adds {name: [(bits, error)]}.

    Errors are of images in [-1, 1]. Returns the decibels (PSNR) drawn for the scales.
    """

    def decibels(mse: float) -> float:
        return float(10 * np.log10(4 / mse))

    figure, axis = plt.subplots(figsize=(6, 3.4), dpi=100)
    psnr_K = [decibels(mse) for mse in mse_K]
    for (name, points), style in zip(others.items(), ["^:", "D:"], strict=False):
        axis.plot([b for b, _ in points], [decibels(m) for _, m in points], style, color="gray", label=name)
    axis.plot(coded_K, psnr_K, "--", color="#c0392b", linewidth=1, label="tokens, entropy-coded")
    axis.plot(bits_K, psnr_K, "-", color="black", linewidth=1, label="tokens")
    axis.scatter(bits_K, psnr_K, color=scale_colours(scales.K), s=45, zorder=3)
    for name, x, y in zip(scale_names(scales), bits_K, psnr_K, strict=True):
        axis.annotate(name, (x, y), xytext=(-6, 6), textcoords="offset points", fontsize=8, ha="right")
    axis.set(xscale="log", xlabel="bits a picture", ylabel="PSNR, dB")
    axis.legend(fontsize=8, frameon=False)
    sns.despine(figure)
    return psnr_K


def fit_quantizer(
    f_NZhw: torch.Tensor, scales: Scales, phi_shared: int, phi_ratio: float, V: int = 512, steps: int = 150
) -> MultiScaleQuantizer:
    """A codebook and phi's for given latent maps, nothing else trained: so that phi alone makes the difference.

    `phi_ratio` 0 is no phi at all. Codes begin as what each scale is asked for, an equal share of the book for each.
    """
    torch.manual_seed(0)
    quantizer = MultiScaleQuantizer(V, f_NZhw.shape[1], scales, phi_shared, phi_ratio)
    rest, asked = f_NZhw[:1000], []
    for k in range(scales.K):
        small = quantizer.shrink(rest, k, scales)
        z_XZ = small.flatten(2).mT.flatten(0, 1)
        asked.append(z_XZ[torch.randperm(len(z_XZ))[: -(-V // scales.K)]])
        rest = rest - F.interpolate(small, size=scales.last, mode="bicubic")
    with torch.no_grad():
        quantizer.codebook.weight.copy_(torch.cat(asked)[:V])
    if phi_ratio == 0:
        quantizer.phis.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in quantizer.parameters() if p.requires_grad], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        f = f_NZhw[torch.randint(len(f_NZhw), (32,))]
        _, f_hats = quantizer.encode(f, scales)
        loss = torch.stack([F.mse_loss(f_hat, f) for f_hat in f_hats]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return quantizer.requires_grad_(False)

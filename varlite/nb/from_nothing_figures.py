"""Figures of the notebook that builds VAR from nothing: what training makes of it, and how it looks on the way.

They return the data that they show.
"""

import ast
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from varlite.io.places import DATA
from varlite.nb import maps, plots
from varlite.scales import Scales

STEPS = (150, 450, 900, 1500)  # at which `varlite reproduce sweep` wrote pictures


def learning_to_draw(name: str, classes: Sequence[str], steps: Sequence[int] = STEPS) -> torch.Tensor:
    """Pictures of one training at some of its steps, a class a column: (steps, classes, 1, 28, 28) in [0, 1]."""
    folder, columns = DATA / "pictures" / "ladder", range(len(classes))
    drawn = [plots.tiles_of(folder / f"{name}-{step:07d}.png", columns, [1])[:, 0] for step in steps]
    plots.image_grid(drawn, [f"step {step:,}" for step in steps], classes, size=0.95)
    return torch.stack(drawn)


def block_mask(mask_LL: torch.Tensor, scales: Scales) -> None:
    """An attention mask; the cells that a row may see are in the colour of the row's scale."""
    (axis,) = plots.panels(1, 4.2, 3.9)
    colours = [to_rgb("white"), *plots.scale_colours(scales.K)]
    level_LL = torch.where(mask_LL, scales.levels()[:, None] + 1, 0)
    maps.draw_map(axis, level_LL, ListedColormap(colours), scales.K)
    maps.draw_borders(axis, scales)
    axis.set_title("columns: what may be looked at", fontsize=9)
    axis.set_xlabel("rows: the token that is predicted", fontsize=9)


def progress_png(loss_SK: Sequence[torch.Tensor], steps: int, scales: Scales, images: torch.Tensor) -> bytes:
    """A training so far, as a PNG file: a bar, the loss of each scale, and some samples (B, 1, H, W) in [0, 1]."""
    figure = Figure(figsize=(9.2, 3.4), dpi=75)  # not pyplot's, so that no cell shows it
    grid = figure.add_gridspec(2, 2, height_ratios=[1, 9], width_ratios=[1.25, 1], hspace=0.5, wspace=0.12)
    draw_bar(figure.add_subplot(grid[0, :]), len(loss_SK), steps, torch.stack(list(loss_SK[-40:])), scales)
    left, right = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
    draw_losses(left, loss_SK, scales, over=20)
    left.set_xlim(0, steps)
    plots.show(right, tiled(images))
    return plots.figure_png(figure, bbox_inches="tight")


def draw_bar(axis: Axes, done: int, steps: int, lately_SK: torch.Tensor, scales: Scales) -> None:
    """How far a training is, and its loss over the last steps."""
    share_K = torch.tensor(scales.lengths) / scales.total
    axis.barh([0], [steps], color="#eeeeee")
    axis.barh([0], [done], color=plots.scale_colours(scales.K)[2])
    axis.set(xlim=(0, steps), xticks=[], yticks=[])
    axis.set_title(f"step {done} of {steps}, loss {(lately_SK.mean(0) * share_K).sum():.2f}", loc="left")
    axis.spines[:].set_visible(False)


def draw_losses(axis: Axes, loss_SK: Sequence[torch.Tensor], scales: Scales, over: int) -> np.ndarray:
    """The loss of each scale over the steps, as means over some steps; returns them, (steps, K)."""
    over = min(over, len(loss_SK))
    sums_SK = np.cumsum(torch.stack(list(loss_SK)).numpy(), 0)
    mean_SK = np.concatenate((sums_SK[over - 1 : over], sums_SK[over:] - sums_SK[:-over])) / over
    steps = range(over, over + len(mean_SK))
    lines = {name: (steps, mean_SK[:, k]) for k, name in enumerate(plots.scale_names(scales))}
    plots.draw_lines(axis, lines, plots.scale_colours(scales.K), marker=None)
    axis.set(xlabel="step", ylabel="loss")
    plots.legend(axis)
    return mean_SK


def losses(loss_SK: Sequence[torch.Tensor], scales: Scales, vocab: int, over: int = 40) -> np.ndarray:
    """The loss of each scale over a training, beside that of a network that knows nothing, log V."""
    (axis,) = plots.panels(1, 6, 3)
    mean_SK = draw_losses(axis, loss_SK, scales, over)
    axis.axhline(np.log(vocab), color="gray", linestyle=":", linewidth=1.5, label="knowing nothing")
    plots.legend(axis, "right")
    return mean_SK


def tiled(images: torch.Tensor, columns: int = 5) -> torch.Tensor:
    """Images (B, C, H, W) side by side in rows of `columns`, as one."""
    rows = [torch.cat(list(row), -1) for row in images.split(columns)]
    return torch.cat(rows, -2)


def snapshots(images: Mapping[int, torch.Tensor], steps: Sequence[int], classes: Sequence[str]) -> None:
    """Samples of a network at some steps of its training, a class a column."""
    plots.image_grid([images[step] for step in steps], [f"step {step}" for step in steps], classes, size=0.9)


def lines_of_code(cells: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Lines of the classes and functions of a notebook, without empty ones, from the sources of its cells.

    {name: lines}, in the order of the cells; of one that is defined twice the last. Cells that are no Python are left
    out.
    """
    found = {}
    for cell in cells:
        try:
            nodes = ast.parse(cell).body
        except SyntaxError:
            continue
        for node in nodes:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in names:
                start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[node.name] = sum(bool(line.strip()) for line in cell.splitlines()[start - 1 : node.end_lineno])
    return found

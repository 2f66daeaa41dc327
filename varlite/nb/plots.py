"""What the figures of the notebooks are made of: colours, panels, legends, lines, bars, pictures, PNG files.

A function that makes a figure leaves it current, for the notebook to show; one that draws into a panel is called
`draw_...`. One colour per scale throughout (`scale_colours`). Colours are always joined by dashes, markers or hatches.
"""

import base64
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter
from PIL import Image

from varlite.datasets.pixels import to_bytes
from varlite.scales import Scales

DASHES, MARKERS, HATCHES = ["-", "--", "-.", ":"], "os^DvP*X<>p", ["", "////", "xxxx", "...."]
BLUE, ORANGE, PURPLE = "#0173b2", "#de8f05", "#7a1f5c"
FD = "FD (fashion features)"
FEW = 25  # points of a line that are marked one by one

plt.rcParams.update({
    "figure.dpi": 90, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "legend.fontsize": 8, "hatch.color": "white",
})  # fmt: skip


def show_figures_in_notebooks() -> None:
    """Undo MPLBACKEND=Agg, which many servers and containers set: under it a notebook shows no figure at all."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and hasattr(shell, "kernel") and plt.get_backend().lower() == "agg":
        shell.run_line_magic("matplotlib", "inline")


show_figures_in_notebooks()


def scale_colours(K: int) -> list[tuple[float, float, float]]:
    """One colour for each scale, light for the coarsest to dark for the finest."""
    return sns.color_palette("flare", K)


def scale_names(scales: Scales) -> list[str]:
    return [f"{h} x {w}" for h, w in scales.shapes]


def palette(n: int) -> list[tuple[float, float, float]]:
    """Colours for n things that have no order."""
    return sns.color_palette("colorblind", n)


# Panels and legends


def panels(n: int, width: float, height: float, columns: int = 0, **settings: Any) -> list[Axes]:
    """A figure of n panels of `width` x `height` inches each, in one row or in rows of `columns`."""
    columns = min(columns or n, n)
    rows = -(-n // columns)
    figure = plt.figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **settings).flat
    for axis in axes[n:]:
        axis.remove()
    return list(axes[:n])


def named_panels(named: Mapping[str, Any], width: float, height: float) -> Iterator[tuple[Axes, str, Any]]:
    """A panel in one row for each entry, with its name as title: yields (panel, name, entry)."""
    for axis, (name, entry) in zip(panels(len(named), width, height), named.items(), strict=True):
        axis.set_title(name)
        yield axis, name, entry


def legend(axis: Axes, place: str = "", **style: Any) -> None:
    """The names of what is drawn: where there is room, or "above" or "right" of the panel."""
    short = sum(map(len, axis.get_legend_handles_labels()[1])) < 50  # names fit side by side
    outside: dict[str, dict[str, Any]] = {"right": {"loc": "center left", "bbox_to_anchor": (1, 0.5)}}
    outside["above"] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncol": 3 if short else 1}
    axis.legend(**outside.get(place, {}) | style)


def legend_on_top(axis: Axes, columns: int = 4) -> None:
    """One legend above all panels, each name in `axis` once."""
    handles, names = axis.get_legend_handles_labels()
    entries = dict(zip(names, handles, strict=True))
    axis.figure.legend(list(entries.values()), list(entries), loc="outside upper center", ncol=columns)


# Lines


def draw_lines(axis: Axes, lines: Mapping[str, Any], colours: Sequence | None = None, **style: Any) -> None:
    """A line {name: (x, y)} for each name; lines of few points have markers."""
    for i, (name, (x, y)) in enumerate(lines.items()):
        look = {"linestyle": DASHES[i % 4], "marker": MARKERS[i % 11] if len(x) < FEW else None, "markersize": 5}
        axis.plot(x, y, color=(colours or palette(len(lines)))[i], label=name, **look | style)


def lines(
    named: Mapping[str, Any], place: str = "", colours: Sequence | None = None,
    size: tuple[float, float] = (5.5, 2.8), **labels: Any,
) -> Axes:  # fmt: skip
    """Lines as a figure, see `draw_lines`; `place` of the legend, `labels` of the axes. Returns the panel."""
    (axis,) = panels(1, *size)
    draw_lines(axis, named, colours)
    axis.set(**labels)
    legend(axis, place)
    return axis


def lines_over_scales(named: Mapping[str, Sequence[float]], scales: Scales, ylabel: str, log: bool = False) -> None:
    """A line for each name over the scales."""
    lowest = min(float(value) for values in named.values() for value in values)
    limits: dict[str, Any] = {"yscale": "log"} if log else {"ylim": (min(0, lowest), None)}
    points = {name: (scale_names(scales), values) for name, values in named.items()}
    lines(points, "right", xlabel="scale", ylabel=ylabel, **limits)


# Bars


def draw_bars(
    axis: Axes, groups: Mapping[str, Sequence[float]], names: Sequence[str], colours: Sequence | None = None,
    numbers: str = "", group_colours: Sequence | None = None,
) -> None:  # fmt: skip
    """Bars at each name, one a group: in the colour of the name, or without `colours` in that of the group.

    `numbers` is the format of the numbers above the bars.
    """
    width, fills = 0.8 / len(groups), group_colours or palette(len(groups))
    for i, (group, values) in enumerate(groups.items()):
        x = np.arange(len(names)) + (i - (len(groups) - 1) / 2) * width
        style: dict[str, Any] = {"hatch": HATCHES[i % 4], "edgecolor": "white", "label": group}
        style |= {"color": fills[i]} if colours is None else {"color": colours, "alpha": 1 - 0.2 * i}
        drawn = axis.bar(x, values, 0.95 * width, **style)
        if numbers:
            axis.bar_label(drawn, fmt=numbers, fontsize=8, padding=1)
    axis.set_xticks(range(len(names)), names)


def bars(
    groups: Mapping[str, Sequence[float]], names: Sequence[str], ylabel: str, colours: Sequence | None = None,
    limit: float | None = None, limit_name: str = "", log: bool = False, **settings: Any,
) -> dict[str, list[float]]:  # fmt: skip
    """Groups of bars as a figure, see `draw_bars`; `limit` is a dashed line. Returns {group: values}."""
    (axis,) = panels(1, max(5.0, 0.85 * len(names)), 2.6)
    draw_bars(axis, groups, names, colours, **settings)
    if limit is not None:
        axis.axhline(limit, color="gray", linestyle="--", linewidth=1, label=limit_name or None)
    if log:
        axis.set_yscale("log")
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        axis.axhline(0, color="black", linewidth=0.8)
    axis.set_ylabel(ylabel)
    if settings:
        axis.margins(y=0.15)  # room for the numbers
    if len(groups) > 1 or limit_name:
        legend(axis, "above")
    return {group: list(values) for group, values in groups.items()}


def bars_by_scale(
    values: Mapping[str, Sequence[float]] | Sequence[float], scales: Scales, ylabel: str, limit: float | None = None,
    limit_name: str = "",
) -> dict[str, list[float]]:  # fmt: skip
    """A bar for each scale in its colour, or {group: values}; of the finest scales, if there are fewer values."""
    groups = values if isinstance(values, Mapping) else {"": values}
    n = len(next(iter(groups.values())))
    found = bars(groups, scale_names(scales)[-n:], ylabel, scale_colours(n), limit=limit, limit_name=limit_name)
    plt.gca().set_xlabel("scale")
    return found


def named_bars(values: Mapping[str, float], xlabel: str, limit: float | None = None, numbers: str = "{:.0%}") -> None:
    """A horizontal bar with its number for each name; `limit` is a dashed line."""
    (axis,) = panels(1, 5, 0.42 * len(values) + 0.7)
    drawn = axis.barh(list(values), list(values.values()), color=scale_colours(4)[1], height=0.6)
    axis.bar_label(drawn, [numbers.format(value) for value in values.values()], padding=3, fontsize=9)
    if limit is not None:
        axis.axvline(limit, color="gray", linestyle="--", linewidth=1)
    if numbers.endswith("%}"):
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xlabel(xlabel)
    axis.invert_yaxis()


def draw_stack(
    axis: Axes, parts: Mapping[str, Sequence[float]], names: Sequence[str], colours: Sequence,
    hatches: Sequence[str] = (), upright: bool = False,
) -> None:  # fmt: skip
    """A bar for each name, put together from parts {part: a length for each name}: lying, the first on top, or upright.

    A part that is nowhere more than half a per cent is not in the legend.
    """
    base = np.zeros(len(names))
    for i, (part, sizes) in enumerate(parts.items()):
        style: dict[str, Any] = {"hatch": hatches[i] if hatches else None, "edgecolor": "white", "color": colours[i]}
        style["label"] = part if max(sizes) > 0.005 else None
        axis.bar(names, sizes, bottom=base, **style) if upright else axis.barh(names, sizes, left=base, **style)
        base = base + np.asarray(sizes)
    if not upright:
        axis.invert_yaxis()


# Pictures


def name_row(axis: Axes, name: str, colour: Any = "black") -> None:
    """The name of a row of panels, to the left of the first."""
    axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, color=colour)


def show(axis: Axes, img_3HW: torch.Tensor) -> None:
    """An image in [0, 1], grey or RGB, without axes."""
    img = img_3HW.detach().float().cpu().permute(1, 2, 0).squeeze(-1)
    axis.imshow(img, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def image_axes(
    images: Any, row_names: Sequence[str] = (),
    column_names: Sequence[str] = (), size: float = 0.75, colours: Sequence | None = None,
    row_colours: Sequence | None = None,
) -> np.ndarray:  # fmt: skip
    """Rows of images in [0, 1], of any lengths, or {name: row}; None leaves a place empty. Returns the axes.

    `size` is about the side of one in inches: a pixel of a small image becomes a whole number of pixels. `colours` are
    those of the column names, `row_colours` those of the row names.
    """
    if isinstance(images, Mapping):
        row_names, images = list(images), list(images.values())
    rows, columns, dpi, gap = len(images), max(map(len, images)), 100, 3
    H, W = next(img for img in images[0] if img is not None).shape[-2:]
    zoom = size * dpi // W or size * dpi / W
    width, height = ((n * (side * zoom + gap) - gap) / dpi for n, side in ((columns, W), (rows, H)))
    figure, spread = plt.figure(figsize=(width, height), dpi=dpi), {"left": 0, "right": 1, "bottom": 0, "top": 1}
    spread |= {"wspace": gap / (W * zoom), "hspace": gap / (H * zoom)}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=spread)
    for line, row in zip(axes, images, strict=True):
        for j, axis in enumerate(line):
            if j < len(row) and row[j] is not None:
                show(axis, row[j])
            else:
                axis.set_axis_off()
    for i, name in enumerate(row_names):
        name_row(axes[i, 0], name, row_colours[i] if row_colours else "black")
    for j, name in enumerate(column_names):
        axes[0, j].set_title(name, fontsize=9, color=colours[j] if colours else "black")
    return axes


def image_grid(images: Any, *names: Any, **settings: Any) -> None:
    """Rows of images in [0, 1]; the arguments are those of `image_axes`."""
    image_axes(images, *names, **settings)


def tiles_of(path: Path, rows: Sequence[int], columns: Sequence[int], side: int = 28, gap: int = 2) -> torch.Tensor:
    """Pictures in the grey grid that a training wrote, (rows, columns, 1, side, side) in [0, 1].

    Raises ValueError for a row or column that the grid does not have.
    """
    page = torch.from_numpy(np.array(Image.open(path).convert("L")))
    have = [(n - gap) // (side + gap) for n in page.shape]
    for wanted, there in zip((rows, columns), have, strict=True):
        if not all(0 <= i < there for i in wanted):
            raise ValueError(
                f"{path.name} has {have[0]} rows and {have[1]} columns; got rows {[*rows]} and columns {[*columns]}"
            )
    tiles = page[gap:, gap:].unfold(0, side, side + gap).unfold(1, side, side + gap)
    return tiles[list(rows)][:, list(columns), None] / 255


# Files


def png_file(picture: Image.Image, **settings: Any) -> bytes:
    """A Pillow image as the contents of a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG", **settings)
    return file.getvalue()


def png(img_3HW: torch.Tensor, zoom: int = 8) -> bytes:
    """An image in [0, 1] as a PNG file, every pixel `zoom` wide: what `widgets.Image` shows."""
    picture = Image.fromarray(to_bytes(img_3HW).cpu().permute(1, 2, 0).squeeze(-1).numpy())
    return png_file(picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST))


def figure_png(figure: Figure, **settings: Any) -> bytes:
    """A figure as a PNG file. Of a figure that is not pyplot's, which a thread may draw."""
    file = io.BytesIO()
    figure.savefig(file, format="png", **settings)
    return file.getvalue()


def data_url(img_3HW: torch.Tensor, zoom: int = 1) -> str:
    """An image in [0, 1] as an address that a page shows."""
    return "data:image/png;base64," + base64.b64encode(png(img_3HW, zoom)).decode()

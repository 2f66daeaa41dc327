"""Next token, next image token, next scale: the three orders drawn, animated, and followed as they draw.

Functions that draw leave one figure current and return the data that it shows; films are lists of PNG files.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from PIL import Image, ImageDraw, ImageFont

from varlite.datasets.pixels import to_bytes
from varlite.drawing import Step
from varlite.models import VAR
from varlite.nb.plots import scale_colours, show
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

RASTER = "#5b7083"  # colour of everything in raster order; next scale has the colours of its scales
WORDS = ["a", "bag", "with", "two", "long", "handles", "."]

# At which step each cell of each map is drawn: one array (h, w) a map.
Order = list[np.ndarray]


# The orders


def order(scales: Scales, one_by_one: bool) -> Order:
    """The step, from 0, in which each token is drawn: one a step, row by row and map by map, or a map a step."""
    starts = [start for start, _ in scales.spans]
    return [
        start + np.arange(h * w).reshape(h, w) if one_by_one else np.full((h, w), k)
        for k, (start, (h, w)) in enumerate(zip(starts, scales.shapes, strict=True))
    ]


def orders(scales: Scales) -> dict[str, Order]:
    """The three paradigms: a sentence, the finest map in raster order, all maps one after another."""
    return {
        "next token": order(Scales.of([(1, len(WORDS))]), one_by_one=True),
        "next image token": order(Scales.of(scales.shapes[-1:]), one_by_one=True),
        "next scale": order(scales, one_by_one=False),
    }


def steps_of(maps: Order) -> int:
    return 1 + max(int(step_hw.max()) for step_hw in maps)


def colours_of(name: str, maps: Order) -> list[Any]:
    """The colour of each map."""
    return scale_colours(len(maps)) if name == "next scale" else [RASTER] * len(maps)


def faint(colour: Any) -> tuple[float, float, float]:
    """What was drawn in earlier steps: the colour, mixed with white."""
    red, green, blue = (0.62 + 0.38 * part for part in to_rgb(colour))
    return red, green, blue


def state(maps: Order, step: int) -> Order:
    """0 what is not drawn yet, 1 what was drawn before `step` (from 0) and may be looked at, 2 what it draws."""
    return [(at_hw <= step).astype(int) + (at_hw == step) for at_hw in maps]


def snapshots_at(steps: int, columns: int) -> list[int]:
    """Steps to show: the first, the last, and others evenly between."""
    return np.linspace(0, steps - 1, min(columns, steps)).round().astype(int).tolist()


def draw_map(axis: Axes, state_hw: np.ndarray, colour: Any) -> None:
    """One map: dark what a step draws, faint what it may look at, white what is to come."""
    cmap = ListedColormap([(1.0, 1.0, 1.0), faint(colour), colour])
    axis.pcolormesh(state_hw, cmap=cmap, vmin=0, vmax=2, edgecolors="#b5b5b5", linewidth=0.5)
    axis.set(xticks=[], yticks=[], aspect="equal", ylim=(len(state_hw), 0))
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=1.2)


def overview(scales: Scales) -> dict[str, dict[int, int]]:
    """The three paradigms, a row each: what a step draws (dark), what it may look at (faint), what is to come (white).

    Returns {paradigm: {step shown, from 1: tokens drawn in it}}.
    """
    text, raster, by_scale = orders(scales).values()
    figure = plt.figure(figsize=(8.6, 4.5), dpi=80)
    rows = figure.add_gridspec(3, 1, height_ratios=[0.28, 1, 1], hspace=0.42)
    strip, now = figure.add_subplot(rows[0]), 4
    draw_map(strip, state(text, now)[0], RASTER)
    strip.set(aspect="auto", title=f"step {now + 1} of {steps_of(text)}: 1 new")
    for i, word in enumerate(WORDS[: now + 1]):
        strip.text(i + 0.5, 0.5, word, ha="center", va="center", color="white" if i == now else "black")
    shown: dict[str, dict[int, int]] = {"next token": {now + 1: 1}, "next image token": {}, "next scale": {}}
    for row, maps, colours in ((1, raster, [RASTER] * scales.K), (2, by_scale, scale_colours(scales.K))):
        name, steps = list(shown)[row], steps_of(maps)
        cells = rows[row].subgridspec(1, scales.K, wspace=0.25)
        for j, (step, colour) in enumerate(zip(snapshots_at(steps, scales.K), colours, strict=True)):
            axis, states = figure.add_subplot(cells[j]), state(maps, step)
            draw_map(axis, states[j if row == 2 else 0], colour)
            shown[name][step + 1] = sum(int((state_hw == 2).sum()) for state_hw in states)
            axis.set_title(f"step {step + 1} of {steps}: {shown[name][step + 1]} new")
    for axis in figure.axes:
        axis.title.set_fontsize(8.5)
    for name, axis in zip(shown, (figure.axes[0], figure.axes[1], figure.axes[1 + scales.K]), strict=True):
        place = axis.get_position()
        figure.text(0.1, (place.y0 + place.y1) / 2, name, ha="right", va="center", fontsize=10)
    return shown


def film(scales: Scales) -> list[bytes]:
    """The three paradigms below each other, a picture a step, until the last has ended: PNG files.

    The clock counts steps, so that what ends early waits: that is the difference to see.
    """
    named = orders(scales)
    return [film_page(named, step) for step in range(max(map(steps_of, named.values())))]


def film_page(named: Mapping[str, Order], step: int) -> bytes:
    """All paradigms after `step`, or after their last."""
    heights, font, top = {"next token": 26, "next image token": 112, "next scale": 84}, ImageFont.load_default(13), 12
    page = Image.new("RGB", (610, sum(heights.values()) + 4 * top), "white")
    pen = ImageDraw.Draw(page)
    for name, maps in named.items():
        steps, height, left = steps_of(maps), heights[name], 150
        words = f"step {step + 1} of {steps}" if step < steps else f"done after {steps}"
        pen.text((8, top + height / 2), f"{name}\n{words}", fill="black", font=font, anchor="lm")
        for state_hw, colour in zip(state(maps, min(step, steps - 1)), colours_of(name, maps), strict=True):
            h, w = state_hw.shape
            high, wide = (height, 62) if name == "next token" else (height // h, height // h)
            inks = ["white", *(to_hex(ink) for ink in (faint(colour), colour))]
            for (i, j), now in np.ndenumerate(state_hw):
                corner = left + j * wide, top + i * high
                pen.rectangle((*corner, corner[0] + wide, corner[1] + high), inks[now], "#b5b5b5")
                if name == "next token" and now:
                    middle = corner[0] + wide / 2, corner[1] + high / 2
                    pen.text(middle, WORDS[j], fill="white" if now == 2 else "black", font=font, anchor="mm")
            pen.rectangle((left, top, left + w * wide, top + h * high), outline=to_hex(colour))
            left += w * wide + 8
        top += height + 12
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def animation(frames: Sequence[bytes], milliseconds: int = 150, hold: int = 1500) -> bytes:
    """PNG files of one size as one animated PNG of 64 colours, which any browser plays without a kernel.

    The last picture stays `hold` milliseconds. A viewer that knows still pictures alone shows the first.
    """
    pages = [Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames]
    # One palette for all pages, of the last, where everything is drawn, above the first.
    both = Image.new("RGB", (pages[0].width, 2 * pages[0].height))
    both.paste(pages[0], (0, 0))
    both.paste(pages[-1], (0, pages[0].height))
    palette = both.quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # keeps white white
    pages = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    times, file = [milliseconds] * (len(pages) - 1) + [hold], io.BytesIO()
    pages[0].save(file, "PNG", save_all=True, append_images=pages[1:], duration=times, loop=0, optimize=True)
    return file.getvalue()


def player(frames: Sequence[bytes], milliseconds: int = 150) -> widgets.VBox:
    """Buttons that play the pictures, a slider to go to any of them, and the screen."""
    screen = widgets.Image(value=frames[0], format="png")
    limits = {"min": 0, "max": len(frames) - 1}
    play = widgets.Play(**limits, interval=milliseconds)
    slider = widgets.IntSlider(**limits, description="step", continuous_update=True)
    widgets.jslink((play, "value"), (slider, "value"))

    def turn(change: Mapping[str, Any]) -> None:
        screen.value = frames[change["new"]]

    slider.observe(turn, "value")
    return widgets.VBox([widgets.HBox([play, slider]), screen])


# Masks


def masks(panels: Mapping[str, tuple[torch.Tensor, Sequence[tuple[int, int]], Sequence[Any]]]) -> dict[str, int]:
    """Attention masks at one scale of cells: a row's tokens may look where its cells are coloured.

    panels: {name: (mask (L, L), spans of the steps, a colour for each step)}. Returns {name: pairs that see each
    other}.
    """
    sizes = [len(mask_LL) for mask_LL, _, _ in panels.values()]
    figure, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.9), dpi=80, width_ratios=sizes)
    for axis, (name, (mask_LL, spans, colours)) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        step_L = torch.repeat_interleave(torch.arange(len(spans)), torch.tensor([end - start for start, end in spans]))
        cells = (mask_LL * (step_L[:, None] + 1)).numpy()
        cmap = ListedColormap(np.array([(1.0, 1, 1), *map(to_rgb, colours)]))
        axis.imshow(cells, cmap=cmap, vmin=0, vmax=len(spans), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        for start, end in spans:
            if end - start > 1:
                axis.axhline(end - 0.5, color="white", linewidth=0.5)
        axis.set_anchor("N")
        axis.set_title(f"{name}\n{len(mask_LL)} tokens in {len(spans)} steps", fontsize=9)
        axis.set(xlabel="key", ylabel="query")
    figure.tight_layout()
    return {name: int(mask_LL.sum()) for name, (mask_LL, _, _) in panels.items()}


# Drawing, step by step


def stages(
    model: VAR, tokenizer: VQVAE, labels: Sequence[int], generator: torch.Generator, **settings: Any
) -> torch.Tensor:
    """The pictures after every step of `generate`, (steps, B, channels, H, W) in [0, 1]; see `veiled`."""
    kept: list[torch.Tensor] = []
    generate(model, tokenizer, labels, generator=generator, on_scale=lambda s: kept.append(veiled(s)), **settings)
    return torch.stack(kept)


def veiled(step: Step) -> torch.Tensor:
    """`step.image()`, grey where tokens of its map are still to come: what the decoder makes of none says nothing."""
    drawn, (h, w) = step.idx_Bl.shape[1], step.scales.shapes[step.k]
    image = step.image()
    known_hw = (torch.arange(h * w, device=image.device) < drawn).view(1, 1, h, w).float()
    known_HW = torch.nn.functional.interpolate(known_hw, size=image.shape[-2:]).bool()
    return torch.where(known_HW, image, 0.5)


def race(
    raster_SB: torch.Tensor, scales_SB: torch.Tensor, columns: int = 5, names: Sequence[str] = ("raster", "next scale")
) -> dict[str, list[int]]:
    """Pictures after some steps of both, a pair of rows an image; in both the last is the finished one.

    raster_SB, scales_SB: what `stages` gives, for the same labels. Returns {name: steps shown, from 1}.
    """
    both = dict(zip(names, (raster_SB, scales_SB), strict=True))
    B, at = raster_SB.shape[1], {}
    figure, axes = plt.subplots(B, 2 * columns + 1, figsize=(0.85 * (2 * columns + 1), 0.92 * B), squeeze=False, dpi=80)
    for axis in axes[:, columns]:
        axis.set_axis_off()
    for i, (name, stages_SB) in enumerate(both.items()):
        at[name] = [step + 1 for step in snapshots_at(len(stages_SB), columns)]
        block = axes[:, i * (columns + 1) : i * (columns + 1) + columns]
        for j, step in enumerate(at[name]):
            for b in range(B):
                show(block[b, j], stages_SB[step - 1, b])
            word = "token" if name == names[0] else "scale"
            colour = RASTER if i == 0 else scale_colours(columns)[j]
            block[0, j].set_title(f"{word} {step}", fontsize=8, color=colour)
    figure.subplots_adjust(wspace=0.06, hspace=0.06)
    return at


def side_by_side(raster_SB: torch.Tensor, scales_SB: torch.Tensor, zoom: int = 2) -> list[bytes]:
    """The film of both drawing: raster above, next scale below, a column an image; a picture a step, as PNG files."""
    frames = []
    for step in range(max(len(raster_SB), len(scales_SB))):
        rows = [stages_SB[min(step, len(stages_SB) - 1)] for stages_SB in (raster_SB, scales_SB)]
        page = torch.cat([torch.cat([*framed(row)], -1) for row in rows], -2)
        grey = to_bytes(page).permute(1, 2, 0).squeeze(-1).numpy()
        picture, file = Image.fromarray(grey), io.BytesIO()
        picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST).save(file, "PNG")
        frames.append(file.getvalue())
    return frames


def framed(row_B3HW: torch.Tensor, gap: int = 2) -> torch.Tensor:
    return torch.nn.functional.pad(row_B3HW, (gap, gap, gap, gap), value=1.0)

"""Next token, next image token, next scale: the three orders of drawing, as states step by step and as films of them.

A film is a list of PNG files; `widgets/player.py` plays it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import to_hex, to_rgb
from PIL import Image, ImageDraw, ImageFont

from varlite.drawing import Step
from varlite.nb.plots import png, png_file, scale_colours
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

RASTER = "#5b7083"  # colour of everything in raster order; next scale has the colours of its scales
WORDS = ["a", "bag", "with", "two", "long", "handles", "."]

# At which step each cell of each map is drawn: one array (h, w) a map.
Order = list[np.ndarray]


def order(scales: Scales, one_by_one: bool) -> Order:
    """The step, from 0, in which each token is drawn: one a step, row by row and map by map, or a map a step."""
    return [
        start + np.arange(h * w).reshape(h, w) if one_by_one else np.full((h, w), k)
        for k, ((start, _), (h, w)) in enumerate(zip(scales.spans, scales.shapes, strict=True))
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


def faint(colour: Any) -> tuple[float, float, float]:
    """The colour of what was drawn in earlier steps: mixed with white."""
    red, green, blue = (0.62 + 0.38 * part for part in to_rgb(colour))
    return red, green, blue


def state(maps: Order, step: int) -> Order:
    """0 what is not drawn yet, 1 what was drawn before `step` (from 0) and may be looked at, 2 what it draws."""
    return [(at_hw <= step).astype(int) + (at_hw == step) for at_hw in maps]


# Films


def film(scales: Scales) -> list[bytes]:
    """The three paradigms below each other, a picture a step, until the last has ended.

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
        colours: list[Any] = scale_colours(len(maps)) if name == "next scale" else [RASTER]
        for state_hw, colour in zip(state(maps, min(step, steps - 1)), colours, strict=True):
            h, w = state_hw.shape
            high, wide = (height, 62) if name == "next token" else (height // h, height // h)
            inks = ["white", *(to_hex(ink) for ink in (faint(colour), colour))]
            for (i, j), now in np.ndenumerate(state_hw):
                x, y = left + j * wide, top + i * high
                pen.rectangle((x, y, x + wide, y + high), inks[now], "#b5b5b5")
                if name == "next token" and now:
                    ink = "white" if now == 2 else "black"
                    pen.text((x + wide / 2, y + high / 2), WORDS[j], fill=ink, font=font, anchor="mm")
            pen.rectangle((left, top, left + w * wide, top + h * high), outline=to_hex(colour))
            left += w * wide + 8
        top += height + 12
    return png_file(page)


def stages(model: Any, tokenizer: VQVAE, labels: Sequence[int], seed: int, **settings: Any) -> torch.Tensor:
    """The pictures after every step of `generate`, (steps, B, channels, H, W) in [0, 1]; see `veiled`."""
    kept: list[torch.Tensor] = []
    generate(model, tokenizer, labels, seeds=seed, on_scale=lambda s: kept.append(veiled(s)), **settings)
    return torch.stack(kept)


def veiled(step: Step) -> torch.Tensor:
    """`step.image()`, grey where tokens of its map are still missing: the decoder turns missing tokens into ghosts."""
    drawn, (h, w), image = step.idx_Bl.shape[1], step.scales.shapes[step.k], step.image()
    known_hw = (torch.arange(h * w, device=image.device) < drawn).view(1, 1, h, w).float()
    return torch.where(F.interpolate(known_hw, size=image.shape[-2:]).bool(), image, 0.5)


def side_by_side(raster_SB: torch.Tensor, scales_SB: torch.Tensor, zoom: int = 2) -> list[bytes]:
    """The film of both drawing: raster above, next scale below, a column an image, a picture a step."""
    frames = []
    for step in range(max(len(raster_SB), len(scales_SB))):
        both = [stages_SB[min(step, len(stages_SB) - 1)] for stages_SB in (raster_SB, scales_SB)]
        framed = [F.pad(row_B3HW, (2, 2, 2, 2), value=1.0) for row_B3HW in both]
        frames.append(png(torch.cat([torch.cat([*row_B3HW], -1) for row_B3HW in framed], -2), zoom))
    return frames

"""A widget: choose a position of a picture, by mouse or keyboard, and see its attention map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import anywidget
import ipywidgets as widgets
import torch
import traitlets
from PIL import Image, ImageDraw

from varlite.nb.maps import HEAT
from varlite.nb.plots import data_url, png_file
from varlite.nb.widgets.keys import KeepKeys

CSS = """
.varlite-picker { width: 224px; height: 224px; display: flex; flex-direction: column; background-size: 100% 100%;
  image-rendering: pixelated; }
.varlite-picker > div { flex: 1; display: flex; }
.varlite-picker button { flex: 1; padding: 0; margin: 0; background: none; border: 1px solid #8886; cursor: pointer; }
.varlite-picker button:hover { background: #00bfff55; }
.varlite-picker button:focus-visible { outline: 3px solid #ffb000; outline-offset: -1px; z-index: 1; }
.varlite-picker button[aria-selected="true"] { border: 3px solid #00bfff; }
"""


class TokenPicker(anywidget.AnyWidget):
    """A picture under a grid of buttons, one a token; `row` and `column` are those of the chosen one."""

    _esm, _css = Path(__file__).with_name("picker.js"), CSS
    height, width = traitlets.Int(1).tag(sync=True), traitlets.Int(1).tag(sync=True)
    row, column = traitlets.Int(0).tag(sync=True), traitlets.Int(0).tag(sync=True)
    picture = traitlets.Unicode("").tag(sync=True)  # address of an image, as a data: URL
    label = traitlets.Unicode("position; the arrow keys move").tag(sync=True)


def map_png(weights_hw: torch.Tensor, row: int, column: int, side: int = 224) -> bytes:
    """One attention map as a PNG file, light for nothing and dark for its largest weight, the query framed."""
    h, w = weights_hw.shape
    rgb_hw3 = HEAT((weights_hw / weights_hw.max().clamp_min(1e-12)).numpy(), bytes=True)[..., :3]
    picture = Image.fromarray(rgb_hw3).resize((side, side), Image.Resampling.NEAREST)
    y, x = side / h, side / w
    box = [column * x, row * y, (column + 1) * x - 1, (row + 1) * y - 1]
    ImageDraw.Draw(picture).rectangle(box, outline="deepskyblue", width=3)
    return png_file(picture)


def attention_explorer(
    images: Sequence[torch.Tensor], layers: Mapping[str, torch.Tensor], shape: tuple[int, int]
) -> widgets.VBox:
    """Click a position of a picture, or go there with the arrow keys: its attention map appears beside it.

    images: in [0, 1], each (channels, H, W). layers: name -> weights (B, l, l) over a map of `shape`.
    Raises ValueError if the weights don't fit the pictures and the shape.
    """
    h, w = shape
    for name, weights_Bll in layers.items():
        if tuple(weights_Bll.shape) != (len(images), h * w, h * w):
            expected = (len(images), h * w, h * w)
            raise ValueError(f"layers[{name!r}] must have shape {expected}, got {tuple(weights_Bll.shape)}")
    numbered = [(str(i + 1), i) for i in range(len(images))]
    which = widgets.Dropdown(options=numbered, description="picture")
    layer = widgets.Dropdown(options=list(layers), description="layer")
    picker = TokenPicker(height=h, width=w, row=h // 2, column=w // 2)
    screen, words = widgets.Image(format="png", width=224), widgets.HTML()

    def look(_=None):
        query = picker.row * w + picker.column
        weights_hw = layers[layer.value][which.value, query].view(h, w)
        screen.value = map_png(weights_hw, picker.row, picker.column)
        later, top = weights_hw.flatten()[query + 1 :].sum(), int(weights_hw.argmax())
        words.value = (
            f'<span aria-live="polite">Row {picker.row + 1}, column {picker.column + 1} looks most at row '
            f"{top // w + 1}, column {top % w + 1}; {later:.0%} goes to later positions in raster order.</span>"
        )

    def change_picture(_=None):
        picker.picture = data_url(images[which.value], zoom=8)
        look()

    which.observe(change_picture, "value")
    for control, trait in ((layer, "value"), (picker, "row"), (picker, "column")):
        control.observe(look, trait)
    change_picture()
    wrap = {"flex_flow": "row wrap"}
    rows = [widgets.HBox(parts, layout=wrap) for parts in ([which, layer], [picker, screen])]
    return widgets.VBox([*rows, words, KeepKeys()])

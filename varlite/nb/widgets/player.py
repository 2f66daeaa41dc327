"""A widget that plays a film, a list of PNG files; and the same film as one animated file, which needs no kernel."""

import io
from collections.abc import Sequence

import ipywidgets as widgets
from PIL import Image

from varlite.nb.plots import png_file
from varlite.nb.widgets.keys import KeepKeys


def player(frames: Sequence[bytes], milliseconds: int = 150) -> widgets.VBox:
    """Buttons that play the pictures, once or from the start again, a slider to go to any of them, and the screen."""
    # flex-start: else the box stretches the picture to its own width
    fit = {"align_self": "flex-start", "max_width": "100%", "max_height": "420px", "object_fit": "contain"}
    screen = widgets.Image(value=frames[0], format="png", layout=fit)
    limits = {"min": 0, "max": len(frames) - 1}
    play = widgets.Play(**limits, interval=milliseconds)
    replay = widgets.Button(description="Replay", icon="rotate-left", layout={"width": "auto"})
    slider = widgets.IntSlider(**limits, description="step", continuous_update=True)
    widgets.jslink((play, "value"), (slider, "value"))
    slider.observe(lambda change: setattr(screen, "value", frames[change["new"]]), "value")

    def from_the_start(_: widgets.Button) -> None:
        play.value = 0  # the slider follows in the browser
        play.playing = True

    replay.on_click(from_the_start)
    controls = widgets.HBox([play, replay, slider], layout={"flex_flow": "row wrap"})
    return widgets.VBox([controls, screen, KeepKeys()])


def animation(frames: Sequence[bytes], milliseconds: int = 150, hold: int = 1500) -> bytes:
    """PNG files of one size as one animated PNG of 64 colours, which any browser plays without a kernel.

    The last picture stays `hold` milliseconds. A viewer that knows still pictures alone shows the first.
    """
    pages = [Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames]
    # One palette for all pages, of the last, where everything is drawn, below the first.
    both = Image.new("RGB", (pages[0].width, 2 * pages[0].height))
    both.paste(pages[0], (0, 0))
    both.paste(pages[-1], (0, pages[0].height))
    palette = both.quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # keeps white white
    first, *others = (page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages)
    times = [milliseconds] * len(others) + [hold]
    return png_file(first, save_all=True, append_images=others, duration=times, loop=0, optimize=True)

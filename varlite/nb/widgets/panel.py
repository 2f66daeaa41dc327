"""The sampling panel: turn the dials of `generate` and watch the pictures appear, coarse to fine.

A control asks for a run and returns at once; one thread draws (`LatestOnly`), so that sliders stay alive meanwhile.
"""

import html
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch

import varlite
from varlite.datasets.pixels import to_bytes
from varlite.drawing import Step
from varlite.io.files import write_json
from varlite.io.pictures import save_png, tile
from varlite.nb.plots import png, scale_colours, scale_names
from varlite.nb.widgets.keys import KeepKeys
from varlite.sampling import generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

COLUMNS = 8
MOST_IMAGES = 64
ERROR = "var(--jp-error-color0, #d32f2f)"  # reads on a dark page, too
START = {"class": 0, "cfg": 1.5, "top_k": 0, "top_p": 0.96, "seed": 0, "smooth": False, "images": 8}


class LatestOnly:
    """Does jobs in a thread of its own, one at a time. Of those asked for meanwhile it does only the last.

    work: called with the job. failed: called with the exception if `work` raised one; the next job is done as usual.
    """

    def __init__(self, work: Callable[[Any], None], failed: Callable[[Exception], None]):
        self._work, self._failed = work, failed
        self._thread, self._lock, self._last = ThreadPoolExecutor(1), threading.Lock(), Future[None]()
        self._last.set_result(None)

    def ask(self, job: Any) -> None:
        with self._lock:
            self._last.cancel()  # without effect on a job that runs or is done
            self._last = self._thread.submit(self._do, job)

    def wait(self, seconds: float = 60) -> None:
        """Until the last job asked for is done. Raises TimeoutError if that takes longer."""
        if not wait([self._last], seconds).done:
            raise TimeoutError(f"still at work after {seconds} s")

    def _do(self, job: Any) -> None:
        try:
            self._work(job)
        except Exception as error:
            self._failed(error)


@dataclass(frozen=True)
class Result:
    """The outcome of one run; `settings` has the keys of START."""

    settings: dict[str, Any]
    scales: Scales
    stages: list[torch.Tensor]  # bytes (N, channels, H, W): the pictures after each scale
    idx: list[torch.Tensor]  # the codes drawn at each scale, (N, l)

    @property
    def images(self) -> torch.Tensor:
        return self.stages[-1]


def sample_stages(
    model: Any,
    tokenizer: VQVAE,
    settings: dict[str, Any],
    on_stage: Callable[[int, torch.Tensor], None] = lambda *_: None,
) -> Result:
    """One run. `on_stage` gets k and the pictures after scale k, as bytes.

    The images are those that `varlite sample` writes for the same seed, class and settings.
    Raises ValueError for a setting out of range.
    """
    label, seed, n = settings["class"], settings["seed"], settings["images"]
    if not 1 <= n <= MOST_IMAGES:
        raise ValueError(f"images must be a number from 1 to {MOST_IMAGES}, got {n}")
    stages: list[torch.Tensor] = []
    idx: list[torch.Tensor] = []

    def on_scale(step: Step) -> None:
        idx.append(step.idx_Bl.cpu())
        stages.append(to_bytes(step.image()).cpu())
        on_stage(step.k, stages[-1])

    dials = {name: settings[name] for name in ("cfg", "top_k", "top_p", "smooth")}
    generate(model, tokenizer, [label] * n, seeds=seed, on_scale=on_scale, **dials)
    return Result(dict(settings), model.scales, stages, idx)


@dataclass(frozen=True)
class Change:
    """What differs between two results, over the images that both have."""

    settings: dict[str, tuple[Any, Any]]  # name -> (a, b), only where they differ
    difference: torch.Tensor  # bytes (N, channels, H, W), |a - b|
    mean: list[float]  # of each image, 0 .. 255
    tokens: list[tuple[int, int]]  # of each scale: how many differ, of how many


def changes(a: Result, b: Result) -> Change:
    """What differs from `a` to `b`."""
    n = min(len(a.images), len(b.images))
    difference = (a.images[:n].int() - b.images[:n].int()).abs().to(torch.uint8)
    pairs = list(zip((x[:n] for x in a.idx), (x[:n] for x in b.idx), strict=True))
    return Change(
        {name: (a.settings[name], b.settings[name]) for name in START if a.settings[name] != b.settings[name]},
        difference,
        difference.float().flatten(1).mean(1).tolist(),
        [(int((x != y).sum()), x.numel()) for x, y in pairs],
    )


def grid(images: torch.Tensor, rows: int = 0) -> bytes:
    """Bytes (N, channels, H, W) as the PNG file of a grid: as many rows as given, or as wide as COLUMNS."""
    columns = -(-len(images) // rows) if rows else COLUMNS
    picture = tile([list(row) for row in images.split(columns)])
    return png(picture / 255, zoom=max(1, 600 // picture.shape[-1]))


class SamplingPanel(widgets.VBox):
    """Controls of `generate`, a grid of images that fills scale by scale, and what changed since A was pinned.

    classes: the names of the model's classes. folder: where "Save" writes. start: settings other than START's.
    Raises ValueError for a wrong number of classes or a setting that there is not.
    """

    def __init__(
        self, model: Any, tokenizer: VQVAE, classes: Sequence[str], folder: Path = Path("out/panel"), **start: Any
    ):
        if "smooth" not in model.abilities or model.scales.K < 2:
            raise ValueError("model: the panel is for models that draw one scale a step, such as fashion-var-d4")
        if len(classes) != model.config.classes:
            raise ValueError(f"classes must be the names of the {model.config.classes} classes, got {len(classes)}")
        if unknown := start.keys() - START.keys():
            raise ValueError(f"no setting {', '.join(sorted(unknown))}; there are: {', '.join(START)}")
        self.model, self.tokenizer, self.folder = model, tokenizer, folder
        self.result: Result | None = None
        self.pinned: Result | None = None
        self.worker = LatestOnly(self._draw, self._fail)

        self.class_names = [*classes, "no class (null)"]  # the null class comes after the others
        options = [(name, i) for i, name in enumerate(self.class_names)]
        self.controls: dict[str, Any] = {
            "class": widgets.Dropdown(options=options, description="class"),
            "cfg": widgets.FloatSlider(min=0, max=10, step=0.25, description="cfg"),
            "top_k": widgets.IntText(description="top-k (0: off)"),
            "top_p": widgets.FloatSlider(min=0, max=1, step=0.01, description="top-p (0: off)"),
            "seed": widgets.IntText(description="seed"),
            "smooth": widgets.Checkbox(description="smooth"),
            "images": widgets.IntText(description="images"),
        }
        for name, value in (START | start).items():
            self.controls[name].value = value
        self.pause = widgets.FloatSlider(max=1, step=0.1, description="slow motion")
        self.save_button = widgets.Button(description="Save", tooltip=f"PNG and settings to {folder}")
        self.pin_button = widgets.Button(description="Pin as A", tooltip="compare what comes next with this")
        self.progress = widgets.IntProgress(max=model.scales.K, description="scale")
        self.message, self.changed = widgets.HTML(), widgets.HTML()
        # flex-start: else a box stretches its pictures
        self.picture, self.changed_picture = (
            widgets.Image(format="png", layout=widgets.Layout(align_self="flex-start", max_width="100%"))
            for _ in range(2)
        )
        self.comparison = widgets.VBox([self.changed, self.changed_picture], layout=widgets.Layout(display="none"))

        labelled = [*self.controls.values(), self.pause, self.progress]
        for control in labelled:
            control.style.description_width, control.layout.width = "95px", "290px"
        for control in self.controls.values():
            control.observe(lambda _: self.run(), "value")
        self.save_button.on_click(lambda _: self._save())
        self.pin_button.on_click(lambda _: self._pin())
        buttons = widgets.HBox([self.save_button, self.pin_button])
        left = widgets.VBox([*self.controls.values(), self.pause, self.progress, buttons])
        # All pictures beside the controls, where they are seen together; below them in a narrow window.
        right = widgets.VBox([self.picture, self.message, self.comparison], layout={"max_width": "100%"})
        row = widgets.HBox([left, right], layout={"flex_flow": "row wrap", "align_items": "flex-start"})
        super().__init__([row, KeepKeys()])
        self.run()

    def __repr__(self) -> str:
        return f"SamplingPanel({len(self.controls)} settings)"  # the default has the bytes of every picture

    def settings(self) -> dict[str, Any]:
        return {name: control.value for name, control in self.controls.items()}

    def run(self) -> None:
        """Ask for a run with the settings as they are now."""
        self.worker.ask(self.settings())

    def wait(self, seconds: float = 60) -> Result | None:
        """The last result, once no run is left. Raises TimeoutError."""
        self.worker.wait(seconds)
        return self.result

    # In the worker's thread

    def _draw(self, settings: dict[str, Any]) -> None:
        self.progress.value, self.progress.bar_style = 0, "info"
        self._say("drawing ...")
        start = time.monotonic()
        self.result = sample_stages(self.model, self.tokenizer, settings, self._show)
        n = len(self.result.images)
        self.progress.bar_style = "success"
        self._say(f"{n} image{'s' * (n > 1)} in {time.monotonic() - start:.2f} s")
        self._show_comparison()

    def _show(self, k: int, images: torch.Tensor) -> None:
        self.picture.value = grid(images)
        self.progress.value = k + 1
        if k < self.model.scales.K - 1:
            time.sleep(self.pause.value)

    def _fail(self, error: Exception) -> None:
        if self.result is not None:
            self.picture.value = grid(self.result.images)  # not the half of a picture that failed
        self.progress.bar_style = "danger"
        self._complain(error, of_picture=True)

    # Messages and the comparison

    def _say(self, text: str) -> None:
        self.message.value = f'<span aria-live="polite">{html.escape(text)}</span>'

    def _complain(self, error: Exception, of_picture: bool = False) -> None:
        what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        what = what.replace("top_k", "top-k").replace("top_p", "top-p")  # as the controls are called
        shown = f"{what} (the picture is an earlier one)" if of_picture and self.result is not None else what
        self.message.value = f'<span role="alert" style="color: {ERROR}">Error: {html.escape(shown)}</span>'

    def _save(self) -> None:
        if self.result is None:
            return self._complain(ValueError("there is no picture to save yet"))
        result, s = self.result, self.result.settings
        smooth = "-smooth" * s["smooth"]
        name = (
            f"class{s['class']}-cfg{s['cfg']}-k{s['top_k']}-p{s['top_p']}-seed{s['seed']}{smooth}-{s['images']}images"
        )
        path = self.folder / f"{name}.png"
        versions = {"varlite": varlite.__version__, "torch": torch.__version__}
        try:
            save_png(path, tile([list(row) for row in result.images.split(COLUMNS)]))
            write_json(path.with_suffix(".json"), {"settings": s, "versions": versions})
        except OSError as error:
            return self._complain(error)
        self._say(f"saved {os.path.relpath(path)} and .json")

    def _pin(self) -> None:
        self.pinned = self.result if self.pinned is None else None
        self.pin_button.description = "Pin as A" if self.pinned is None else "Unpin A"
        self._show_comparison()

    def _show_comparison(self) -> None:
        a, b = self.pinned, self.result
        self.comparison.layout.display = "none" if a is None or b is None else ""
        if a is not None and b is not None:
            change = changes(a, b)
            n = min(COLUMNS, len(change.difference))
            self.changed_picture.value = grid(
                torch.cat([x[:n] for x in (a.images, b.images, change.difference)]), rows=3
            )
            self.changed.value = change_html(change, a.scales, self.class_names)


def change_html(change: Change, scales: Scales, class_names: Sequence[str]) -> str:
    """A change as HTML: the settings that differ, a bar of the tokens that differ at each scale."""
    both = {
        name: [class_names[x] for x in pair] if name == "class" else list(pair)
        for name, pair in change.settings.items()
    }
    settings = ", ".join(f"{name} {a} → {b}" for name, (a, b) in both.items()) or "no setting differs"
    rows = []
    for name, (r, g, b), (differ, of) in zip(scale_names(scales), scale_colours(scales.K), change.tokens, strict=True):
        bar = f"width: {100 * differ / of:.0f}px; height: 10px; background: rgb({r:.0%} {g:.0%} {b:.0%})"
        rows.append(f'<tr><td>{name}</td><td><div style="{bar}"></div></td><td>{differ} of {of} tokens</td></tr>')
    means = ", ".join(f"{mean:.1f}" for mean in change.mean[:COLUMNS])
    return (
        f'<div aria-live="polite" style="line-height: 1.5"><b>A → now:</b> {html.escape(settings)}'
        f"<table>{''.join(rows)}</table>"
        f"Rows: A, now, |A - now| (black: equal; mean of each image, of 255: {means})</div>"
    )

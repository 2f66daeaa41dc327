"""A widget: paint a mask on a picture, see it at each scale, and edit on a click."""

import html
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import torch
import torch.nn.functional as F
import traitlets

from varlite.datasets.pixels import Unreadable, read_image, to_float, view
from varlite.drawing import Step
from varlite.editing import check_mask, edit
from varlite.nb.editing_figures import in_pixels, mask_png, masks_by_scale
from varlite.nb.plots import data_url, png
from varlite.nb.widgets.keys import KeepKeys
from varlite.tokenizer import VQVAE

CSS = """
.varlite-painter { display: flex; flex-direction: column; gap: 4px; width: 420px; max-width: 100%; min-width: 0;
  color: var(--jp-ui-font-color1, inherit); }
.varlite-painter canvas { touch-action: none; cursor: crosshair; align-self: start; max-width: 100%; }
.varlite-painter canvas:focus-visible { outline: 3px solid #0072b2; }
.varlite-painter [role="toolbar"] { display: flex; flex-wrap: wrap; gap: 4px; align-items: center; }
.varlite-painter label { display: flex; align-items: center; }
.varlite-painter input { width: 90px; }
.varlite-painter button { font: inherit; color: inherit; background: var(--jp-layout-color1, #8882); cursor: pointer;
  border: 1px solid #8889; border-radius: 3px; padding: 2px 8px; }
.varlite-painter button[aria-pressed="true"], .varlite-painter .edit { background: #0072b2; color: white; }
.varlite-painter button:focus-visible { outline: 3px solid #ffb000; }
.varlite-painter button:disabled { opacity: 0.5; cursor: default; }
"""
WRAP = {"flex_flow": "row wrap", "max_width": "100%", "align_items": "flex-start"}
NO_CLASS = -1  # a list whose value is None shows nothing at all


class MaskCanvas(anywidget.AnyWidget):
    """The picture to paint on, with brush, eraser, box, invert, clear, undo and edit, by mouse or keyboard."""

    _esm, _css = Path(__file__).with_name("painter.js"), CSS
    height, width = traitlets.Int(1).tag(sync=True), traitlets.Int(1).tag(sync=True)
    picture = traitlets.Unicode("").tag(sync=True)  # address of an image, as a data: URL
    mask = traitlets.Unicode("").tag(sync=True)  # 0 (keep) and 1 (repaint), row by row
    busy = traitlets.Bool(False).tag(sync=True)  # an edit is under way

    @traitlets.validate("mask")
    def _right_length(self, proposal) -> str:
        mask = proposal["value"]
        if len(mask) != self.height * self.width or set(mask) - {"0", "1"}:
            raise traitlets.TraitError(f"mask must be {self.height} x {self.width} characters 0 or 1")
        return mask


class Painter(widgets.HBox):
    """Paint and edit: the mask canvas with its scales on the left, the settings and the edited image on the right.

    img_3HW: the image, (channels, H, W) in [-1, 1], or several to choose from, (N, channels, H, W); files can be added.
    class_names: of the dropdown. keep_hw: a mask to start from, as `edit` takes it. The mask is in pixels and handed to
    `edit` as it is. An edit runs beside the notebook, one at a time; what goes wrong in it is shown. `result` is the
    last edited image, (channels, H, W) in [0, 1].
    """

    def __init__(
        self,
        model: Any,
        tokenizer: VQVAE,
        img_3HW: torch.Tensor,
        class_names: Sequence[str] = (),
        keep_hw: torch.Tensor | None = None,
        seed: int = 0,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.size = H, W = tokenizer.image_size(model.scales)
        expected = (tokenizer.config.channels, H, W)
        if img_3HW.ndim not in (3, 4) or tuple(img_3HW.shape[-3:]) != expected or not len(img_3HW):
            raise ValueError(f"img_3HW must have shape {expected}, got {tuple(img_3HW.shape)}")
        pictures = img_3HW[None] if img_3HW.ndim == 3 else img_3HW
        self.pictures = {str(i + 1): img for i, img in enumerate(pictures)}
        self.result: torch.Tensor | None = None
        self._one_at_a_time = threading.Lock()
        self.thread: threading.Thread | None = None
        self.canvas = MaskCanvas(height=H, width=W, mask="0" * (H * W))
        self.scales_picture = widgets.Image(format="png", layout={"max_width": "100%", "object_fit": "contain"})
        self.zoom = max(1, 224 // max(H, W))
        self.screen = widgets.Image(format="png", layout={"width": f"{self.zoom * W}px", "max_width": "100%"})
        self.which = widgets.Dropdown(options=list(self.pictures), description="picture")
        self.upload = widgets.FileUpload(accept="image/*", description="Your own picture", layout={"width": "auto"})
        names = [(name, i) for i, name in enumerate(class_names)]
        self.label = widgets.Dropdown(options=[("none", NO_CLASS), *names], description="class")
        self.cfg = widgets.FloatSlider(1.5, min=0, max=10, step=0.5, description="guidance", disabled=True)
        self.seed = widgets.BoundedIntText(seed, min=0, max=2**31 - 1, description="seed")
        self.hide = widgets.Checkbox(True, description="hide what is repainted", indent=False)
        self.thin = widgets.Checkbox(False, description="thin: free every token touched", indent=False)
        self.paste = widgets.Checkbox(True, description="paste kept pixels back", indent=False)
        self.status = widgets.HTML(layout={"max_width": "330px"})
        self.say("Paint on the picture, then Edit.")
        self.canvas.observe(self._show_masks, "mask")
        self.thin.observe(self._show_masks, "value")
        self.which.observe(self._show_picture, "value")
        self.upload.observe(self._take_upload, "value")
        self.label.observe(self._guidance_needs_a_class, "value")
        self.canvas.on_msg(lambda _, message, __: self.answer(message))
        settings = [self.status, self.screen, self.label, self.cfg, self.seed, self.hide, self.thin, self.paste]
        left = widgets.VBox([self.canvas, self.scales_picture], layout={"max_width": "100%"})
        right = widgets.VBox([*settings, self.which, self.upload], layout={"max_width": "100%"})
        super().__init__([left, right, KeepKeys()], layout=WRAP)
        self._show_picture()
        self._show_masks()
        if keep_hw is not None:
            self.keep_HW = check_mask(keep_hw, model.scales, self.size, thin=True)

    def __repr__(self) -> str:  # what a page that shows no widgets says
        return "Painter({} x {})".format(*self.size)

    def _repr_mimebundle_(self, **settings: Any) -> Any:
        """Its picture goes with it, for pages that show no widgets: the mask on the image, darkened where repainted."""
        bundle = super()._repr_mimebundle_(**settings)
        veiled = torch.where(in_pixels(self.keep_HW, self.size), self.shown, 0.35 * self.shown + 0.1)
        bundle["image/png"] = png(veiled if self.result is None else torch.cat((veiled, self.result), -1), self.zoom)
        return bundle

    @property
    def img_3HW(self) -> torch.Tensor:
        """The image that is painted on, in [-1, 1]."""
        return self.pictures[self.which.value]

    @property
    def shown(self) -> torch.Tensor:
        """The same in [0, 1]."""
        return (self.img_3HW.cpu() + 1) / 2

    def say(self, text: str, error: bool = False) -> None:
        """Show a message; it wraps."""
        style = "overflow-wrap: anywhere; line-height: 1.4" + "; color: var(--jp-error-color0, #d32f2f)" * error
        role = "alert" if error else "status"
        self.status.value = f'<div role="{role}" style="{style}">{html.escape(text)}</div>'

    @property
    def keep_HW(self) -> torch.Tensor:
        """(H, W) booleans, True where nothing is painted."""
        return torch.tensor([c == "0" for c in self.canvas.mask]).view(self.size)

    @keep_HW.setter
    def keep_HW(self, keep_hw: torch.Tensor) -> None:
        keep_HW = F.interpolate(keep_hw[None, None].float(), size=self.size)[0, 0] > 0.5
        self.canvas.mask = "".join("01"[not keep] for keep in keep_HW.flatten().tolist())

    def _show_masks(self, _=None) -> None:
        self.scales_picture.value = mask_png(self.keep_HW, self.model.scales, self.thin.value)

    def _show_picture(self, _=None) -> None:
        self.canvas.picture, self.screen.value = data_url(self.shown), png(self.shown, self.zoom)
        self.result = None

    def _guidance_needs_a_class(self, _=None) -> None:
        self.cfg.disabled = self.label.value == NO_CLASS

    def _take_upload(self, _=None) -> None:
        """The files that were chosen join the list, cut to the model's size; the last one is shown."""
        files, self.upload.value = self.upload.value, ()  # else the page and the notebook would keep them whole
        for file in files:
            try:
                picture = self._read(file["name"], bytes(file["content"]))
            except Unreadable as error:
                return self.say(f"{file['name']} cannot be read: {error.reason}", error=True)
            name, number = file["name"], 2
            while name in self.pictures:
                name, number = f"{file['name']} ({number})", number + 1
            self.pictures[name] = picture
            self.which.options = list(self.pictures)
            self.which.value = name
            channels = "grey" if self.tokenizer.config.channels == 1 else "colour"
            self.say("{}, cut to {} x {} in {}.".format(name, *self.size, channels))

    def _read(self, name: str, content: bytes) -> torch.Tensor:
        image = read_image(name, self.size, self.tokenizer.config.channels, content=content)
        return to_float(view(image, self.size, 0, None, flip=False))

    def answer(self, message: dict[str, str]) -> None:
        """What the button does: the mask comes with the click, and is then edited with."""
        self.canvas.mask = message["mask"]
        self.start()

    def start(self) -> None:
        """An edit in a thread of its own, unless one is running."""
        # Whatever is changed during an edit is for the next one.
        asked = {name: getattr(self, name).value for name in ("hide", "thin", "paste", "cfg")}
        label = None if self.label.value == NO_CLASS else [self.label.value]
        arguments = (self.img_3HW, self.keep_HW, label, self.seed.value, asked)
        if not self._one_at_a_time.acquire(blocking=False):
            return
        self._be_busy(True)
        self.say("editing ...")
        self.thread = threading.Thread(target=self._edit, args=arguments, daemon=True)
        self.thread.start()

    def _be_busy(self, busy: bool) -> None:
        self.canvas.busy = self.which.disabled = self.upload.disabled = busy

    def _edit(
        self, img_3HW: torch.Tensor, keep_HW: torch.Tensor, label: list[int] | None, seed: int, asked: dict[str, Any]
    ) -> None:
        K = self.model.scales.K

        def progress(step: Step) -> None:
            self.say(f"scale {step.k + 1} of {K}")

        try:
            device = next(self.model.parameters()).device
            if keep_HW.all():
                raise ValueError("Nothing to repaint yet: paint on the picture first.")
            if masks_by_scale(keep_HW, self.model.scales, asked["thin"])[-1].all():
                raise ValueError('The stroke covers less than half of every token: tick "thin", or use a larger brush.')
            self.result = edit(
                self.model, self.tokenizer, img_3HW[None].to(device), keep_HW, label,
                seeds=seed, on_scale=progress, **asked,
            )[0].cpu()  # fmt: skip
            self.screen.value = png(self.result, self.zoom)
            self.say(f"edited with seed {seed}")
        except Exception as error:  # whatever it is, the person at the screen has to learn of it
            told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self.say(told, error=True)
        finally:
            self._be_busy(False)
            self._one_at_a_time.release()

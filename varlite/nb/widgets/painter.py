"""A widget: paint a mask on a picture, see it at each scale, and edit on a click."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import torch
import torch.nn.functional as F
import traitlets

from varlite.drawing import Step
from varlite.editing import check_mask, edit
from varlite.nb.editing_figures import mask_png
from varlite.nb.plots import data_url, png
from varlite.tokenizer import VQVAE

CSS = """
.varlite-painter { display: flex; flex-direction: column; gap: 4px; width: max-content; }
.varlite-painter canvas { touch-action: none; cursor: crosshair; align-self: start; }
.varlite-painter canvas:focus-visible { outline: 3px solid #0072b2; }
.varlite-painter [role="toolbar"] { display: flex; flex-wrap: wrap; gap: 4px; align-items: center; max-width: 512px; }
.varlite-painter label { display: flex; align-items: center; }
.varlite-painter input { width: 90px; }
.varlite-painter button[aria-pressed="true"] { background: #0072b2; color: white; }
"""


class MaskCanvas(anywidget.AnyWidget):
    """The picture to paint on, with brush, eraser, box, invert, clear and undo, by mouse or keyboard."""

    _esm, _css = Path(__file__).with_name("painter.js"), CSS
    height, width = traitlets.Int(1).tag(sync=True), traitlets.Int(1).tag(sync=True)
    picture = traitlets.Unicode("").tag(sync=True)  # address of an image, as a data: URL
    mask = traitlets.Unicode("").tag(sync=True)  # 0 (keep) and 1 (repaint), row by row

    @traitlets.validate("mask")
    def _right_length(self, proposal) -> str:
        mask = proposal["value"]
        if len(mask) != self.height * self.width or set(mask) - {"0", "1"}:
            raise traitlets.TraitError(f"mask must be {self.height} x {self.width} characters 0 or 1")
        return mask


class Painter(widgets.HBox):
    """Paint and edit: the mask canvas with its scales on the left, the settings and the edited image on the right.

    img_3HW: the image, (channels, H, W) in [-1, 1]. class_names: of the dropdown. keep_hw: a mask to start from, as
    `edit` takes it. The mask is in pixels and handed to `edit` as it is. An edit runs beside the notebook, one at a
    time; what goes wrong in it is shown. `result` is the last edited image, (channels, H, W) in [0, 1].
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
        self.model, self.tokenizer, self.img_3HW = model, tokenizer, img_3HW
        self.size = H, W = tokenizer.image_size(model.scales)
        if tuple(img_3HW.shape) != (tokenizer.config.channels, H, W):
            expected = (tokenizer.config.channels, H, W)
            raise ValueError(f"img_3HW must have shape {expected}, got {tuple(img_3HW.shape)}")
        self.result: torch.Tensor | None = None
        self._one_at_a_time = threading.Lock()
        self.thread: threading.Thread | None = None
        shown = (img_3HW + 1) / 2
        self.canvas = MaskCanvas(height=H, width=W, picture=data_url(shown), mask="0" * (H * W))
        self.scales_picture = widgets.Image(format="png", layout={"max_width": "420px", "object_fit": "contain"})
        self.zoom = max(1, 224 // max(H, W))
        self.screen = widgets.Image(format="png", value=png(shown, self.zoom), layout={"width": f"{self.zoom * W}px"})
        names = [(name, i) for i, name in enumerate(class_names)]
        self.label = widgets.Dropdown(options=[("none", None), *names], description="class")
        self.cfg = widgets.FloatSlider(1.5, min=0, max=10, step=0.5, description="guidance", disabled=True)
        self.seed = widgets.BoundedIntText(seed, min=0, max=2**31 - 1, description="seed")
        self.hide = widgets.Checkbox(True, description="hide what is repainted", indent=False)
        self.thin = widgets.Checkbox(False, description="thin: free every token touched", indent=False)
        self.paste = widgets.Checkbox(True, description="paste kept pixels back", indent=False)
        self.button = widgets.Button(description="Edit", button_style="primary")
        self.status = widgets.Label("Paint on the picture, then Edit.")
        self.canvas.observe(self._show_masks, "mask")
        self.thin.observe(self._show_masks, "value")
        self.label.observe(self._guidance_needs_a_class, "value")
        self.button.on_click(self.start)
        settings = [self.label, self.cfg, self.seed, self.hide, self.thin, self.paste, self.button, self.status]
        super().__init__([widgets.VBox([self.canvas, self.scales_picture]), widgets.VBox([*settings, self.screen])])
        self._show_masks()
        if keep_hw is not None:
            self.keep_HW = check_mask(keep_hw, model.scales, self.size, thin=True)

    def __repr__(self) -> str:  # what a page that shows no widgets says
        return "Painter({} x {})".format(*self.size)

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

    def _guidance_needs_a_class(self, _=None) -> None:
        self.cfg.disabled = self.label.value is None

    def start(self, _=None) -> None:
        """What the button does: an edit in a thread of its own, unless one is running."""
        if not self._one_at_a_time.acquire(blocking=False):
            return
        self.button.disabled = True
        self.status.value = "editing ..."
        self.thread = threading.Thread(target=self._edit, daemon=True)
        self.thread.start()

    def _edit(self) -> None:
        K = self.model.scales.K

        def progress(step: Step) -> None:
            self.status.value = f"scale {step.k + 1} of {K}"

        try:
            keep_HW, device = self.keep_HW, next(self.model.parameters()).device
            if keep_HW.all():
                raise ValueError("nothing to repaint: paint on the picture first")
            self.result = edit(
                self.model, self.tokenizer, self.img_3HW[None].to(device), keep_HW,
                None if self.label.value is None else [self.label.value],
                hide=self.hide.value, thin=self.thin.value, paste=self.paste.value, cfg=self.cfg.value,
                seeds=self.seed.value, on_scale=progress,
            )[0].cpu()  # fmt: skip
            self.screen.value = png(self.result, self.zoom)
            self.status.value = f"edited with seed {self.seed.value}"
        except Exception as error:  # whatever it is, the person at the screen has to learn of it
            self.status.value = f"{type(error).__name__}: {error}"
        finally:
            self.button.disabled = False
            self._one_at_a_time.release()

"""Zero-shot editing (VAR, arXiv 2404.02905): keep an image's own tokens in one region and sample the rest.

A hook of `generate`, which draws at every position and then puts the kept embeddings back, scale by scale.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from varlite.models.var import VAR
from varlite.sampling import Step, check_labels, generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE


def box_mask(box: tuple[float, float, float, float], scales: Scales, inside: bool) -> torch.Tensor:
    """(h, w) booleans at the last scale, True = keep, from a box (y0, x0, y1, x1) in fractions of the image.

    `inside` True keeps the box (out-painting), False what lies around it (in-painting).
    Raises ValueError if the box is not within [0, 1] or is empty.
    """
    y0, x0, y1, x1 = box
    if not (0 <= y0 < y1 <= 1 and 0 <= x0 < x1 <= 1):
        raise ValueError(f"box must be y0 < y1 and x0 < x1 (y0, x0, y1, x1) within 0 .. 1, got {box}")
    h, w = scales.last
    keep_hw = torch.full((h, w), not inside)
    # round() is half to even, as in the published demo.
    keep_hw[round(y0 * h) : round(y1 * h), round(x0 * w) : round(x1 * w)] = inside
    return keep_hw


def keep_at_scale(keep_hw: torch.Tensor, k: int, scales: Scales) -> torch.Tensor:
    """(l,) booleans: which tokens of scale k are kept. Scales of at most three tokens are kept whole."""
    if scales.lengths[k] <= 3:
        return torch.ones(scales.lengths[k], dtype=torch.bool, device=keep_hw.device)
    return F.interpolate(keep_hw[None, None].float(), size=scales.shapes[k], mode="bilinear")[0, 0].flatten() > 0.5


def keep_tokens(idx: list[torch.Tensor], keep_hw: torch.Tensor) -> Callable[[Step], None]:
    """The hook: at every scale put back the embeddings of the tokens `idx` where `keep_hw` says so."""

    def on_scale(step: Step) -> None:
        keep_l1 = keep_at_scale(keep_hw, step.k, step.scales)[:, None]
        step.h_BlZ = torch.where(keep_l1, step.tokenizer.embed(idx[step.k]), step.h_BlZ)

    return on_scale


@torch.inference_mode()
def edit(
    model: VAR, tokenizer: VQVAE, img_B3HW: torch.Tensor, keep_hw: torch.Tensor, labels: Any = None, **settings: Any
) -> torch.Tensor:
    """Edit images (B, channels, H, W) in [-1, 1]: keep the tokens where `keep_hw` is True, sample the others.

    `labels` None is the null class (in- and out-painting; guidance then has no effect), otherwise one class an image.
    `settings` are those of `generate`. Returns images in [0, 1]; pixels are not composited, so kept regions are
    reconstructions too. Raises ValueError if `keep_hw` does not have the shape of the last scale, or labels do not fit.
    """
    scales = model.scales
    if tuple(keep_hw.shape) != scales.last:
        raise ValueError(f"keep_hw must have the shape of the last scale, {scales.last}, got {tuple(keep_hw.shape)}")
    label_B = check_labels([model.class_embed.null] * len(img_B3HW) if labels is None else labels, model.config.classes)
    if len(label_B) != len(img_B3HW):
        raise ValueError(f"labels must be one for each of the {len(img_B3HW)} images, got {len(label_B)}")
    hook = keep_tokens(tokenizer.encode(img_B3HW, scales), keep_hw.to(img_B3HW.device, torch.bool))
    return generate(model, tokenizer, label_B, on_scale=hook, **settings)

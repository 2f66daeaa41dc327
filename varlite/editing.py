"""Zero-shot editing (VAR, arXiv 2404.02905): keep an image's own tokens in one region and sample the rest.

A hook of `generate`, which draws at every position and then puts the kept embeddings back, scale by scale.
"""

from typing import Any

import torch
import torch.nn.functional as F

from varlite.drawing import Hook, Rules, Step
from varlite.io.checks import brief, check_switches, value_range
from varlite.models import Model, require
from varlite.sampling import check_labels, check_pair, generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE, check_pixels


def box_mask(box: tuple[float, float, float, float], scales: Scales, inside: bool) -> torch.Tensor:
    """(h, w) booleans at the last scale, True = keep, from a box (y0, x0, y1, x1) in fractions of the image.

    `inside` True keeps the box (out-painting), False what lies around it (in-painting).
    Raises ValueError if the box is not within [0, 1] or is empty.
    """
    try:
        y0, x0, y1, x1 = map(float, box)
    except (TypeError, ValueError):
        raise ValueError(f"box must be four fractions (y0, x0, y1, x1) within 0 .. 1, got {brief(box)}") from None
    check_switches(inside=inside)
    if not (0 <= y0 < y1 <= 1 and 0 <= x0 < x1 <= 1):
        raise ValueError(f"box must be y0 < y1 and x0 < x1 (y0, x0, y1, x1) within 0 .. 1, got {box}")
    h, w = Scales.of(scales).last
    keep_hw = torch.full((h, w), not inside)
    # round() is half to even, as in the published demo.
    keep_hw[round(y0 * h) : round(y1 * h), round(x0 * w) : round(x1 * w)] = bool(inside)
    return keep_hw


def check_mask(keep: torch.Tensor, scales: Scales, image_size: tuple[int, int], thin: bool = False) -> torch.Tensor:
    """The mask as booleans. Raises ValueError for another size, for values other than 0 and 1, and for a region so
    thin that no token would be sampled."""
    scales = Scales.of(scales)
    try:
        keep = torch.as_tensor(keep).to_dense()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"keep must be a tensor of booleans, or of 0 and 1, got {brief(keep)}") from None
    if tuple(keep.shape) not in (scales.last, image_size):
        raise ValueError(
            f"keep must have the shape of the last scale, {scales.last}, or of the image, {image_size}, "
            f"got {tuple(keep.shape)}"
        )
    wrong = value_range(((keep != 0) & (keep != 1)).int())
    if wrong is None:
        return keep.bool()  # only a shape, no values
    if wrong[1]:
        raise ValueError("keep must hold only 0 (sample) and 1 (keep), or booleans; it has other values, too")
    keep = keep.bool()
    if not keep.all() and keep_at_scale(keep, scales.K - 1, scales, thin).all():
        raise ValueError(
            "keep: the region to sample is less than half of every token that it touches; with thin those are sampled "
            "all the same (thin=True, --thin)"
        )
    return keep


def keep_at_scale(keep_hw: torch.Tensor, k: int, scales: Scales, thin: bool = False) -> torch.Tensor:
    """(l,) booleans: which tokens of scale k are kept, for a mask at the last scale or in pixels.

    As published, the mask of the last scale is resized bilinearly and a token kept where it exceeds a half; pixels are
    averaged to the last scale first, by the same rule. `thin` keeps a token only where everything beneath it is kept,
    so that a thin region is sampled at all scales. Scales of at most three tokens are kept whole.
    """
    if scales.lengths[k] <= 3:
        return torch.ones(scales.lengths[k], dtype=torch.bool, device=keep_hw.device)
    keep = keep_hw[None, None].float()
    if thin:
        return -F.adaptive_max_pool2d(-keep, scales.shapes[k])[0, 0].flatten() > 0.5
    if tuple(keep_hw.shape) != scales.last:
        keep = (F.interpolate(keep, size=scales.last, mode="area") > 0.5).float()
    return F.interpolate(keep, size=scales.shapes[k], mode="bilinear")[0, 0].flatten() > 0.5


def keep_tokens(idx: list[torch.Tensor], keep_hw: torch.Tensor) -> Hook:
    """The hook: at every scale put back the embeddings of the tokens `idx` where `keep_hw` says so."""

    def on_scale(step: Step) -> None:
        keep_l1 = keep_at_scale(keep_hw, step.k, step.scales)[:, None]
        step.h_BlZ = torch.where(keep_l1, step.tokenizer.embed(idx[step.k]), step.h_BlZ)

    return on_scale


def keep_features(f_BZhw: torch.Tensor, keep_hw: torch.Tensor) -> Hook:
    """The hook of thin masks: kept tokens are re-quantized from the residual that remains after the scales so far.

    Where a thin mask frees a coarse token, what is drawn there reaches into the kept region, and the image's own finer
    tokens would add to something that they were not made for.
    """

    def on_scale(step: Step) -> None:
        keep_l1 = keep_at_scale(keep_hw, step.k, step.scales, thin=True)[:, None]
        quantizer = step.tokenizer.quantizer
        z_BlZ = quantizer.shrink(f_BZhw - step.f_hat_BZhw, step.k, step.scales).flatten(2).transpose(1, 2)
        idx_Bl = quantizer.nearest(z_BlZ.flatten(0, 1)).view(z_BlZ.shape[:2])
        step.h_BlZ = torch.where(keep_l1, step.tokenizer.embed(idx_Bl), step.h_BlZ)

    return on_scale


def keep_latents(f_BZhw: torch.Tensor, keep_hw: torch.Tensor, thin: bool) -> Hook:
    """The hook of models of latents, which keep no tokens: put the image's own latents back where `keep_hw` says so."""

    def on_scale(step: Step) -> None:
        keep_l1 = keep_at_scale(keep_hw, step.k, step.scales, thin)[:, None]
        step.h_BlZ = torch.where(keep_l1, f_BZhw.flatten(2).transpose(1, 2), step.h_BlZ)

    return on_scale


def fill(img_B3HW: torch.Tensor, keep_HW: torch.Tensor) -> torch.Tensor:
    """The image with what is not kept replaced by a smooth continuation of what is; grey (0) where nothing is kept.

    Means over the kept pixels of ever larger cells, the smallest that holds one: a function of kept pixels alone.
    """
    if keep_HW.all():
        return img_B3HW
    if not keep_HW.any():
        return torch.zeros_like(img_B3HW)
    half = [(side + 1) // 2 for side in keep_HW.shape]
    share = F.interpolate(keep_HW[None, None].to(img_B3HW.dtype), size=half, mode="area")
    kept = torch.where(keep_HW, img_B3HW, 0)
    mean = F.interpolate(kept, size=half, mode="area") / share.clamp(min=torch.finfo(share.dtype).tiny)
    coarse = F.interpolate(fill(mean, share[0, 0] > 0), size=keep_HW.shape, mode="bilinear")
    return torch.where(keep_HW, img_B3HW, coarse)


def paste_weight(keep_HW: torch.Tensor, feather: int) -> torch.Tensor:
    """(H, W) in [0, 1]: 0 where not kept, from there up to 1 over `feather` kept pixels."""
    keep = keep_HW[None].float()
    total = keep
    for _ in range(feather):
        keep = -F.max_pool2d(-keep, 3, 1, 1)  # one pixel less on each side
        total = total + keep
    return total[0] / (feather + 1)


def check_edit(
    model: Model, tokenizer: VQVAE, img_B3HW: torch.Tensor, keep_hw: Any, labels: Any, scales: Scales, thin: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mask as booleans on the images' device, and the labels (B,) with None as the null class.

    Raises ValueError for images, mask or labels that do not fit.
    """
    tokenizer.check_image(img_B3HW, scales)
    check_pixels(img_B3HW)
    keep_hw = check_mask(keep_hw, scales, tokenizer.image_size(scales), thin).to(img_B3HW.device)
    label_B = check_labels([model.config.classes] * len(img_B3HW) if labels is None else labels, model)
    if len(label_B) != len(img_B3HW):
        raise ValueError(f"labels must be one for each of the {len(img_B3HW)} images, got {len(label_B)}")
    return keep_hw, label_B


@torch.inference_mode()
def edit(
    model: Model,
    tokenizer: VQVAE,
    img_B3HW: torch.Tensor,
    keep_hw: torch.Tensor,
    labels: Any = None,
    *,
    hide: bool = False,
    thin: bool = False,
    paste: bool = False,
    on_scale: Hook | None = None,
    scales: Scales | None = None,
    **settings: Any,
) -> torch.Tensor:
    """Edit images (B, channels, H, W) in [-1, 1]: keep the tokens where `keep_hw` is True, sample the others.

    keep_hw: one mask for all images, at the last scale (h, w) or in pixels (H, W); booleans, or 0 and 1.
    labels: None is the null class (in- and out-painting; guidance then has no effect), otherwise one class an image.
    hide: fill what is not kept from its surroundings before encoding, so that the edit cannot depend on it. As
        published, kept tokens know of it, the 1 x 1 token above all.
    thin: sample every token that the mask touches, at all scales but the coarsest. As published, a region thinner than
        a token is sampled at fine scales only.
    paste: put the kept pixels back, blended into the edit over half a token. As published, kept regions come back as
        reconstructions, changed near the border.
    on_scale: called at each step, a scale for most models, with a `Step`, after the kept tokens were put back.
    settings: the others are those of `generate`.

    Returns images in [0, 1]. Raises ValueError for a model that cannot be edited, for images that are no floats in
    [-1, 1] of the schedule's size, if `keep_hw` has another shape or other values than these or marks a region too thin
    to sample, if labels do not fit, and as `generate` does.
    """
    check_pair(model, tokenizer)
    require(model, "editing")
    Rules(on_scale=on_scale)  # refuses what is no hook
    check_switches(hide=hide, thin=thin, paste=paste)
    scales = model.scales if scales is None else Scales.of(scales)
    keep_hw, label_B = check_edit(model, tokenizer, img_B3HW, keep_hw, labels, scales, thin)
    keep_HW = F.interpolate(keep_hw[None, None].float(), size=tokenizer.image_size(scales))[0, 0].bool()
    f_BZhw = tokenizer.features(fill(img_B3HW, keep_HW) if hide else img_B3HW, scales)
    if model.learns == "latents":
        put_back = keep_latents(f_BZhw, keep_hw, thin)
    elif thin:
        put_back = keep_features(f_BZhw, keep_hw)
    else:
        put_back = keep_tokens(tokenizer.quantizer.encode(f_BZhw, scales)[0], keep_hw)

    def both(step: Step) -> None:
        if not hide or keep_HW.any():  # hiding everything leaves no token to put back
            put_back(step)
        if on_scale is not None:
            on_scale(step)

    edited = generate(model, tokenizer, label_B, on_scale=both, scales=scales, **settings)
    if not paste:
        return edited
    original = ((img_B3HW + 1) / 2).clamp(0, 1)  # as exact as it came, whatever precision the edit has
    return torch.lerp(edited.to(original.dtype), original, paste_weight(keep_HW, tokenizer.stride // 2).to(original))

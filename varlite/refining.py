"""Edits that fit: drawn several times, judged by the model itself, and begun again from the best.

fill -> edits -> pasted into the picture -> encoded -> log p(tokens): the best -> edits of it, coarse tokens kept -> ...

One pass of `edit` draws each token without a look at those that are kept at the same scale or at finer ones. With the
coarse tokens it may settle on another colour, or another light, than what is kept, and later scales seldom mend that.
But the model can tell: encoded as a whole, such a picture is unlikely. Our own; neither paper has it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from varlite.drawing import Hook, Step, image_seeds
from varlite.editing import check_edit, fill, keep_features, paste_weight
from varlite.io.checks import brief, integer
from varlite.models import Model, require
from varlite.sampling import Seeds, check_pair, check_seeds, generate, without_drop_path
from varlite.scales import Scales
from varlite.tokenizer import VQVAE


@dataclass(frozen=True)
class Round:
    """One round for one image: N edits (N, channels, H, W) in [0, 1] whose scales before `k` are those of the best so
    far, and their scores, nats. `best` is the number of the one that is taken on, None where none is better."""

    k: int
    images_N3HW: torch.Tensor
    score_N: torch.Tensor
    best: int | None


def begins(K: int) -> tuple[int, ...]:
    """The scale at which each round begins to draw: the first two thirds of the rounds are about the coarse ones."""
    return (0, *(max(1, K * sixths // 6) for sixths in (1, 1, 2, 2, 3)))


def draw_from(tokenizer: VQVAE, img_13HW: torch.Tensor, keep_HW: torch.Tensor, k: int, scales: Scales) -> Hook:
    """The hook: scales before `k` are those of the image; from there on it is kept where `keep_HW` says so."""
    f_BZhw = tokenizer.features(img_13HW, scales)
    idx, put_back = tokenizer.quantizer.encode(f_BZhw, scales)[0], keep_features(f_BZhw, keep_HW)

    def on_scale(step: Step) -> None:
        if step.k < k:
            step.h_BlZ = tokenizer.embed(idx[step.k]).expand_as(step.h_BlZ)
        elif keep_HW.any():
            put_back(step)

    return on_scale


@torch.inference_mode()
def refine(
    model: Model,
    tokenizer: VQVAE,
    img_B3HW: torch.Tensor,
    keep_hw: torch.Tensor,
    labels: Any = None,
    *,
    candidates: int = 8,
    seeds: Seeds | None = None,
    on_round: Callable[[Round], None] | None = None,
    **settings: Any,
) -> torch.Tensor:
    """Edit images (B, channels, H, W) in [-1, 1] in six rounds, the first of twice as many candidates as the others.

    An edit of the first round is one of `edit` with hide, thin and paste. All are scored by log p of the whole edited
    picture's tokens under its label; a round takes the best on if it beats the best so far. Each image is about as much
    work as 7 x `candidates` edits, and depends on its own seed.

    keep_hw, labels: as for `edit`. seeds: as for `generate`.
    on_round: called after every round of every image.
    settings: the others are those of `generate`, but for its hook `on_scale`.

    Returns images in [0, 1], the kept pixels as they were but for a blend at the border. Raises ValueError for a model
    that gives no likelihood, for less than one candidate, and as `edit` does; FloatingPointError where all likelihoods
    are NaN.
    """
    check_pair(model, tokenizer)
    require(model, "editing")
    require(model, "likelihood")
    if not callable(on_round) and on_round is not None:
        raise ValueError(f"on_round must be a function of a Round, got {brief(on_round)}")
    if own := {"generator", "on_scale", "scales"} & settings.keys():
        raise ValueError(f"{min(own)}: refine draws many times, with seeds, a hook and the model's schedule of its own")
    candidates, scales = integer("candidates", candidates, 1), model.scales
    keep_hw, label_B = check_edit(model, tokenizer, img_B3HW, keep_hw, labels, scales, thin=True)
    label_B = label_B.cpu()
    seed_B = check_seeds(seeds, label_B)
    keep_HW = F.interpolate(keep_hw[None, None].float(), size=tokenizer.image_size(scales))[0, 0].bool()
    weight_HW = paste_weight(keep_HW, tokenizer.stride // 2).to(img_B3HW.dtype)
    done = []
    for img_13HW, label_1, seed in zip(img_B3HW.split(1), label_B.split(1), seed_B.tolist(), strict=True):
        kept_13HW, base_13HW, drawn = ((img_13HW + 1) / 2).clamp(0, 1), fill(img_13HW, keep_HW), 0
        best_13HW, best_score = kept_13HW, -torch.inf
        for number, k in enumerate(begins(scales.K)):
            label_N = label_1.repeat(candidates * (2 if number == 0 else 1))
            seed_N = image_seeds(seed, label_N, torch.arange(drawn, drawn + len(label_N)))
            drawn += len(label_N)
            hook = draw_from(tokenizer, base_13HW, keep_HW, k, scales)
            edits = generate(model, tokenizer, label_N, seeds=seed_N, on_scale=hook, scales=scales, **settings)
            edits = torch.lerp(edits.to(img_13HW.dtype), kept_13HW, weight_HW)
            idx = tokenizer.quantizer.encode(tokenizer.features(2 * edits - 1), scales)[0]
            with without_drop_path(model):
                score_N = model.log_likelihood(tokenizer, idx, label_N[:, None].to(edits.device)).sum((1, 2))
            if score_N.isnan().all():
                raise FloatingPointError("the model gives none of the edits a likelihood: all are NaN")
            first = int(score_N.nan_to_num(-torch.inf).argmax())
            better = score_N[first].item() > best_score
            if better:
                best_13HW, best_score = edits[first : first + 1], score_N[first].item()
                base_13HW = 2 * best_13HW - 1
            if on_round is not None:
                on_round(Round(k, edits, score_N, first if better else None))
        done.append(best_13HW)
    return torch.cat(done)

"""Carry a trained transformer over to another tokenizer, whose codes mean something else.

The blocks know how pictures go on from coarse to fine, and keep that. What speaks in codes is fitted on images that
both tokenizers have seen, at the scales that they have in common:

    input of the old tokenizer ~ W input of the new one + b        least squares     -> token embedding
    p(old code | new code) where both have a token at one place    counted           -> head
    positions and level of the scale with the same sides, or between its neighbours  -> positions, levels
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from varlite.models.next_scale import NextScale
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

IMAGES = 5_000  # of the training set that the fit looks at
TRUST = 100  # so many places must have a code before what stands there outweighs what stands anywhere


def takes_new_codes(kind: type) -> bool:
    """Whether a kind of model can be carried over: its inputs are those of VAR, scale after scale."""
    return issubclass(kind, NextScale) and kind.inputs is NextScale.inputs


def same_codes(new: VQVAE, old: VQVAE) -> bool:
    """Whether two tokenizers mean the same by a code's number, as one that was trained on from the other does: they
    are of one shape, and for most codes the other's nearest has the same number."""
    codes_VZ, old_VZ = (vq.quantizer.codebook.weight.detach().float() for vq in (new, old))
    if new.scales != old.scales or codes_VZ.shape != old_VZ.shape:
        return False
    nearest_V = torch.cdist(codes_VZ, old_VZ).argmin(1)
    return bool((nearest_V.cpu() == torch.arange(len(codes_VZ))).float().mean() > 0.5)


def common_scales(new: Scales, old: Scales) -> list[tuple[int, int]]:
    """Pairs (k of new, k of old) with maps of equal shape."""
    return [(k, old.shapes.index(shape)) for k, shape in enumerate(new.shapes) if shape in old.shapes]


def check_new_codes(start: str, new: Scales, old: Scales) -> None:
    """Raises ValueError unless both schedules start with maps of equal shape and have another in common."""
    common = common_scales(new, old)
    if (0, 0) not in common or len(common) < 2:
        raise ValueError(
            f"start: to be carried over to another tokenizer, {start} needs its first scale and one more in common "
            f"with it; scales are {old.sides} there, {new.sides} here"
        )


@torch.no_grad()
def carry_over(
    model: NextScale, begun: NextScale, tokenizers: tuple[VQVAE, VQVAE], pairs: Iterable[tuple[torch.Tensor, ...]]
) -> None:
    """Give `model`, made for the codes of another tokenizer, what `begun` has learned; both on the CPU.

    tokenizers: that of `model` and that of `begun`, which have at least two scales in common, the first among them.
    pairs: tokens (idx_BL, idx_BL) of the same images by the one and by the other.
    Whatever does not depend on codes or schedule is taken over, but a class table of another size.
    """
    kept = {name: weight for name, weight in begun.state_dict().items() if not speaks_codes(name)}
    if model.config.classes != begun.config.classes:
        del kept["class_embed.table.weight"]
    model.load_state_dict(kept, strict=False)
    carry_positions(model, begun)

    gram, cross, together, used = count(tokenizers, pairs)
    W = torch.linalg.lstsq(gram, cross).solution.float()
    model.token_embed.weight.copy_(begun.token_embed.weight @ W[:-1].T)
    model.token_embed.bias.copy_(begun.token_embed.weight @ W[-1] + begun.token_embed.bias)

    # A code's logit is the mean of those of the old codes in its places, moved by how often it is used beside them.
    old_V = (together.sum(0) + 1) / (together.sum() + together.shape[1])
    mixture_VV = (together + TRUST * old_V) / (together.sum(1, keepdim=True) + TRUST)
    new_V = (used + 0.5) / (used.sum() + 0.5 * len(used))
    model.head.linear.weight.copy_(mixture_VV @ begun.head.linear.weight)
    model.head.linear.bias.copy_(mixture_VV @ begun.head.linear.bias + new_V.log() - (mixture_VV @ old_V).log())


def speaks_codes(name: str) -> bool:
    """Whether a weight's shape follows from codebook or schedule."""
    return name.startswith(("token_embed.", "head.linear.", "pos_LC", "level_embed."))


def carry_positions(model: NextScale, begun: NextScale) -> None:
    """Positions and levels of equal scales. One between two others has the positions of the finer, resized, and the
    mean of their levels; one beyond the finest has those of the finest."""
    old, places = begun.scales, begun.scales.split(begun.pos_LC[None])
    positions = []
    for k, shape in enumerate(model.scales.shapes):
        finer = [j for j, (h, w) in enumerate(old.shapes) if h >= shape[0] and w >= shape[1]]
        j = finer[0] if finer else old.K - 1
        pos_1Chw, around = places[j].transpose(1, 2).unflatten(2, old.shapes[j]), [j]
        if shape != old.shapes[j]:
            pos_1Chw = F.interpolate(pos_1Chw, size=shape, mode="bicubic")
            around = [j - 1, j] if finer else [j]  # j > 0: the first scales are equal
        positions.append(pos_1Chw.flatten(2).transpose(1, 2)[0])
        model.level_embed.weight[k] = begun.level_embed.weight[around].mean(0)
    model.pos_LC.copy_(torch.cat(positions))


def count(
    tokenizers: tuple[VQVAE, VQVAE], pairs: Iterable[tuple[torch.Tensor, ...]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sums over images: products of the inputs for least squares, in float64; codes that share a place (V, V of old);
    uses of every new code (V,)."""
    new, old = tokenizers
    common, Z, V = common_scales(new.scales, old.scales), new.config.z, new.config.vocab
    gram, cross = torch.zeros(Z + 1, Z + 1).double(), torch.zeros(Z + 1, old.config.z).double()
    together, used = torch.zeros(V, old.config.vocab), torch.zeros(V)
    for new_BL, old_BL in pairs:
        x, old_x = inputs(new, new_BL), inputs(old, old_BL)
        maps, old_maps = new.scales.split(new_BL.cpu()), old.scales.split(old_BL.cpu())
        a = torch.cat([x[k].flatten(0, 1) for k, j in common if k and j]).double()
        a, b = F.pad(a, (0, 1), value=1.0), torch.cat([old_x[j].flatten(0, 1) for k, j in common if k and j]).double()
        gram, cross = gram + a.T @ a, cross + a.T @ b
        for k, j in common:
            places = (maps[k] * old.config.vocab + old_maps[j]).flatten()
            together.view(-1).index_add_(0, places, torch.ones(len(places)))
        used += torch.bincount(new_BL.flatten().cpu(), minlength=V)
    return gram, cross, together, used


def inputs(tokenizer: VQVAE, idx_BL: torch.Tensor) -> dict[int, torch.Tensor]:
    """Teacher-forcing inputs {k: x_BlZ} of all scales but the first, on the CPU."""
    x_BLZ = tokenizer.inputs(tokenizer.scales.split(idx_BL)).cpu()
    return dict(enumerate(x_BLZ.split(tokenizer.scales.lengths[1:], 1), 1))

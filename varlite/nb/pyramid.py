"""One sample taken apart: its token maps, what they were drawn from, what they looked at, and what if.

Everything here is `generate` with its hooks: `on_scale` puts back the tokens that are to stay, the others are drawn,
and attention is recorded beside it. The widget in `widgets/explorer.py` and its static twins show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from varlite.drawing import Step, draw, image_seed
from varlite.io.checks import brief, integer
from varlite.nb.attention_recording import join, record_attention
from varlite.sampling import device_of, generate
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

LIKELIEST = 5


@dataclass(frozen=True)
class Pyramid:
    """One sample of `label`, scale by scale, on the CPU. It is the first image that `varlite sample` draws of a class.

    seeds: of the draws of each scale; they differ once a scale was drawn again. dials: cfg, top_k and top_p.
    """

    label: int
    seeds: tuple[int, ...]
    dials: dict[str, Any]
    scales: Scales
    idx: tuple[torch.Tensor, ...]  # codes (l,)
    p: tuple[torch.Tensor, ...]  # the probabilities (l, V) that codes are drawn with, after guidance and filters
    images: tuple[torch.Tensor, ...]  # the picture after each scale, (channels, H, W) in [0, 1]
    attention_DLL: torch.Tensor  # of each attention layer, averaged over heads; a row is what a token looks at


@dataclass(frozen=True)
class Alternative:
    """A code that a token of scale k could have, its probability, and the sample that it leads to: codes and pictures.

    Coarser scales are the sample's own; finer tokens are drawn with the random numbers that they had.
    """

    code: int
    p: float
    k: int
    idx: tuple[torch.Tensor, ...]
    images: tuple[torch.Tensor, ...]

    @property
    def after(self) -> torch.Tensor:
        """The picture after the token's scale, (channels, H, W) in [0, 1]."""
        return self.images[self.k]

    @property
    def end(self) -> torch.Tensor:
        """The picture after the last scale."""
        return self.images[-1]


def sample_pyramid(
    model: Any, tokenizer: VQVAE, label: int, seed: int = 0, cfg: float = 1.5, top_k: int = 0, top_p: float = 0.96
) -> Pyramid:
    """Draw one sample and keep everything that it was made from.

    Raises ValueError as `generate` does, and for a model that does not draw one scale a step, or has no attention.
    """
    seeds = (integer("seed", seed),) * model.scales.K
    return _pyramid(model, tokenizer, label, seeds, (), {"cfg": cfg, "top_k": top_k, "top_p": top_p})


def redraw(model: Any, tokenizer: VQVAE, pyramid: Pyramid, from_k: int, seed: int) -> Pyramid:
    """Draw scale `from_k` and all finer ones again, with another seed. Coarser tokens and pictures stay bit for bit.

    Raises ValueError for a scale that there is not.
    """
    _check_scale(pyramid, "from_k", from_k)
    seeds = pyramid.seeds[:from_k] + (integer("seed", seed),) * (pyramid.scales.K - from_k)
    return _pyramid(model, tokenizer, pyramid.label, seeds, pyramid.idx[:from_k], pyramid.dials)


def swap(model: Any, tokenizer: VQVAE, pyramid: Pyramid, k: int, place: int, code: int) -> Pyramid:
    """Give one token of scale k another code; finer scales are drawn again with the random numbers that they had.

    The other tokens of its scale and all coarser ones stay: the tokens of a scale are drawn without seeing each other.
    Raises ValueError for a scale, place or code that there is not.
    """
    _check_place(pyramid, k, place)
    if not 0 <= integer("code", code) < (V := pyramid.p[k].shape[1]):
        raise ValueError(f"code must lie in 0 .. {V - 1}, got {code}")
    idx_l = pyramid.idx[k].clone()
    idx_l[place] = code
    return _pyramid(model, tokenizer, pyramid.label, pyramid.seeds, (*pyramid.idx[:k], idx_l), pyramid.dials)


def likeliest(pyramid: Pyramid, k: int, place: int, n: int = LIKELIEST) -> list[tuple[int, float]]:
    """The n codes (code, probability) that a token had the best chances of, likeliest first.

    Fewer, where the filters left fewer. Raises ValueError for a scale or place that there is not.
    """
    _check_place(pyramid, k, place)
    top = pyramid.p[k][place].topk(min(n, pyramid.p[k].shape[1]))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [(code, p) for code, p in pairs if p > 0]


def alternatives(
    model: Any, tokenizer: VQVAE, pyramid: Pyramid, k: int, place: int, n: int = LIKELIEST
) -> list[Alternative]:
    """The n likeliest codes of a token, drawn to the end in one batch; and its own code, if that is another."""
    codes, own = likeliest(pyramid, k, place, n), int(pyramid.idx[k][place])
    if own not in dict(codes):
        codes.append((own, pyramid.p[k][place, own].item()))
    rows_Xl = pyramid.idx[k].repeat(len(codes), 1)
    rows_Xl[:, place] = torch.tensor([code for code, _ in codes])
    keep = [idx_l.expand(len(codes), -1) for idx_l in pyramid.idx[:k]] + [rows_Xl]
    drawn = _drawn(model, tokenizer, pyramid.label, pyramid.seeds, keep, pyramid.dials)
    idx, _, images = ([x.clone() for x in column[k:]] for column in zip(*drawn, strict=True))
    return [
        Alternative(
            code, p, k,
            (*pyramid.idx[:k], *(idx_Bl[i] for idx_Bl in idx)),
            (*pyramid.images[:k], *(img[i] for img in images)),
        )
        for i, (code, p) in enumerate(codes)
    ]  # fmt: skip


def changed(a: Pyramid, b: Pyramid) -> list[tuple[int, int]]:
    """Of each scale: how many tokens differ between two samples, and of how many."""
    return [(int((x != y).sum()), len(x)) for x, y in zip(a.idx, b.idx, strict=True)]


def _pyramid(
    model: Any,
    tokenizer: VQVAE,
    label: int,
    seeds: tuple[int, ...],
    keep: Sequence[torch.Tensor],
    dials: dict[str, Any],
) -> Pyramid:
    with record_attention(model) as calls:
        drawn = _drawn(model, tokenizer, label, seeds, [idx_l[None] for idx_l in keep], dials)
    idx, p, images = (tuple(x[0].clone() for x in column) for column in zip(*drawn, strict=True))
    # Under guidance the second row of the batch is the null class.
    attention_DLL = torch.stack([join(layer)[0].mean(0).float().cpu() for layer in calls.values()])
    return Pyramid(int(label), seeds, dict(dials), model.scales, idx, p, images, attention_DLL)


def _drawn(
    model: Any,
    tokenizer: VQVAE,
    label: int,
    seeds: tuple[int, ...],
    keep: Sequence[torch.Tensor],
    dials: dict[str, Any],
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Codes (B, l), probabilities (B, l, V) and images (B, channels, H, W) of each scale, the first scales given.

    Rows differ in what is given alone: all have the same random numbers.
    """
    scales, device = model.scales, device_of(model)
    drawn: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    B = len(keep[0]) if keep else 1

    def on_scale(step: Step) -> None:
        k = step.k
        if scales.K < 2 or k != len(drawn) or step.idx_Bl.shape[1] != scales.lengths[k]:
            raise ValueError("model: the explorer is for models that draw one scale a step, such as fashion-var-d4")
        if k < len(keep):
            step.idx_Bl = keep[k].to(device)
        else:
            seed_B = torch.full((B,), image_seed(seeds[k], label, 0), device=device)
            step.idx_Bl = draw(step.logits_BlV, seed_B, k)
        step.h_BlZ = step.tokenizer.embed(step.idx_Bl)
        p_BlV = step.logits_BlV.softmax(-1).float()
        drawn.append((step.idx_Bl.cpu(), p_BlV.cpu(), step.image().float().cpu()))

    generate(model, tokenizer, [label] * B, seeds=[image_seed(seeds[0], label, 0)] * B, on_scale=on_scale, **dials)
    return drawn


def _check_scale(pyramid: Pyramid, name: str, k: int) -> None:
    if not 0 <= integer(name, k) < pyramid.scales.K:
        raise ValueError(f"{name} must be a scale from 0 to {pyramid.scales.K - 1}, got {brief(k)}")


def _check_place(pyramid: Pyramid, k: int, place: int) -> None:
    _check_scale(pyramid, "k", k)
    if not 0 <= integer("place", place) < pyramid.scales.lengths[k]:
        raise ValueError(f"place must lie in 0 .. {pyramid.scales.lengths[k] - 1} at scale {k}, got {brief(place)}")

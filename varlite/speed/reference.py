"""Sampling without any of what makes it quick, for `varlite bench` and the tests: the same tokens, more slowly.

A dense mask at every scale, keys and values copied into a larger tensor at each, AdaLN computed at each, all codes
sorted with their indices, a decoder whose maps lie channel after channel; Mamba-2 scans all earlier tokens again.
"""

from typing import Any

import torch

from varlite.checkpoints.assemble import twin
from varlite.mamba2 import Mamba2
from varlite.models.next_scale import NextScale
from varlite.scales import Scales
from varlite.speed.mvar_state import RescanningMamba
from varlite.tokenizer import VQVAE


class ConcatenatedCache:
    """Keys and values of the tokens so far."""

    def __init__(self) -> None:
        self.kv: list[torch.Tensor] = []

    def append(self, k_BNlE: torch.Tensor, v_BNlE: torch.Tensor) -> list[torch.Tensor]:
        new = [k_BNlE, v_BNlE]
        self.kv = [torch.cat(pair, 2) for pair in zip(self.kv, new, strict=True)] if self.kv else new
        return self.kv


class ReferenceSteps(NextScale):
    """The steps of sampling as the published code takes them; mixed into the class of any next-scale model."""

    def make_cache(self, scales: Scales | None = None) -> list:
        scanned = [any(isinstance(part, Mamba2) for part in block.modules()) for block in self.blocks]
        return [[] if scan else ConcatenatedCache() for scan in scanned]

    def condition(self, label_B: torch.Tensor) -> Any:
        return label_B

    def step(
        self, x_BlZ: torch.Tensor | None, label: Any, k: int, cache: list, scales: Scales | None = None,
        rows: int | None = None,
    ) -> torch.Tensor:  # fmt: skip
        scales = scales or self.scales
        start, end = self.spans(scales)[k]
        cond_BD, mask = self.class_embed(label), self.make_mask(scales, self.pos_LC.device)
        # M-VAR's mask is the lengths of the scales: one scale needs none.
        mask_ll = mask[start:end, :end] if isinstance(mask, torch.Tensor) else None
        x = self._start(cond_BD) if x_BlZ is None else self.token_embed(x_BlZ)
        x, block_cond = x + self._positions(scales)[start:end], self._block_cond(cond_BD)
        for block, block_cache in zip(self.blocks, cache, strict=True):
            x = block(x, block_cond, mask_ll, block_cache)
        return self.head(x, cond_BD)[:rows]


class ReferenceVQVAE(VQVAE):
    def to_image(self, f_hat: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.post_quant(f_hat)).clamp(-1, 1)


def reference(model: Any, tokenizer: VQVAE) -> tuple[Any, VQVAE]:
    """The same models, sharing their weights, to be sampled with `keep_top` below.

    A model that takes no steps with a cache is its own reference: only its filters and decoder differ.
    """
    if not isinstance(model, NextScale):
        return model, twin(tokenizer, ReferenceVQVAE)
    slow = twin(model, type(f"Reference{type(model).__name__}", (ReferenceSteps, type(model)), {}))
    for part in slow.modules():
        if isinstance(part, Mamba2):
            part.__class__ = RescanningMamba
    return slow, twin(tokenizer, ReferenceVQVAE)


def keep_top(logits_BlV: torch.Tensor, top_k: int = 0, top_p: float = 0.0) -> torch.Tensor:
    """What `drawing.keep_top` does, by sorting all codes together with their indices."""
    if top_k:
        kth_Bl1 = logits_BlV.topk(top_k, dim=-1).values[..., -1:]
        logits_BlV = logits_BlV.masked_fill(logits_BlV < kth_Bl1, -torch.inf)
    if top_p:
        ascending_BlV, order_BlV = logits_BlV.sort(dim=-1, stable=True)
        drop_BlV = ascending_BlV.softmax(-1).cumsum(-1) <= 1 - top_p
        drop_BlV[..., -1] = False
        logits_BlV = logits_BlV.masked_fill(drop_BlV.scatter(-1, order_BlV, drop_BlV), -torch.inf)
    return logits_BlV

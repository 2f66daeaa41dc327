"""What a sampling loop calls of a next-scale model and its tokenizer, each as a module of tensors alone.

    condition    label_B -> cond_BnC             everything computed from the labels, once an image
    embed        idx_X -> h_XZ                   rows of the codebook, for any number of tokens
    step-k       cond_BnC, x_BlZ, cache -> logits_BlV, cache      no x and no cache at k = 0
    add-k        f_hat_BZhw, h_BlZ -> f_hat_BZhw, x_BlZ           no x after the last scale
    decode       f_hat_BZhw -> img_B3HW          in [-1, 1]

The batch is free. With guidance it holds the images twice, under their labels and under the null label, in `condition`
and `step-k`. What is drawn in between is arithmetic on logits, and stays with the caller.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from varlite.models.stack import Condition
from varlite.quantizer import phi_index
from varlite.tokenizer import VQVAE
from varlite.transformer import KVCache


class GrowingCache(KVCache):
    """Keys and values that are as long as there are tokens: a graph takes and returns tensors, and writes into none."""

    def append(self, k_BNlE: torch.Tensor, v_BNlE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.used:
            k_BNlE, v_BNlE = torch.cat((self.keys, k_BNlE), 2), torch.cat((self.values, v_BNlE), 2)
        self.keys, self.values, self.used = k_BNlE, v_BNlE, k_BNlE.shape[2]
        return k_BNlE, v_BNlE


def make_cache(model: Any) -> list[Any]:
    """The model's empty caches, those of keys and values without room for tokens to come."""
    return [GrowingCache(cache.length) if type(cache) is KVCache else cache for cache in model.make_cache()]


def tensors_of(cache: list[Any]) -> list[torch.Tensor]:
    """All that caches hold, block after block."""
    return [value for one in cache for value in vars(one).values() if isinstance(value, torch.Tensor)]


def put_into(cache: list[Any], tensors: list[torch.Tensor], tokens: int) -> list[Any]:
    """Empty caches filled with what `tensors_of` gave of caches that had seen so many tokens."""
    rest = list(tensors)
    for one in cache:
        for name in [name for name, value in vars(one).items() if value is None or isinstance(value, torch.Tensor)]:
            setattr(one, name, rest.pop(0))
        if hasattr(one, "used"):
            one.used = tokens
    return cache


def pack(given: Condition) -> torch.Tensor:
    """The vectors of a condition as one tensor, (B, n, C); the class embedding comes first."""
    B, cond_B1C = given.cond_BD.shape[0], given.cond_BD[:, None]
    vectors = [v for vectors in (*given.blocks, given.head) for v in vectors if isinstance(v, torch.Tensor)]
    return torch.cat([cond_B1C, *(vector.expand(B, -1, -1) for vector in vectors)], 1)


def unpack(cond_BnC: torch.Tensor, like: Condition) -> Condition:
    """A condition of the form of `like`, whose numbers that are no tensors stay."""
    rest = list(cond_BnC.split(1, 1))
    first = rest.pop(0)[:, 0]
    parts = [
        [rest.pop(0) if isinstance(v, torch.Tensor) else v for v in vectors] for vectors in (*like.blocks, like.head)
    ]
    return Condition(first, parts[:-1], parts[-1])


class ConditionGraph(nn.Module):
    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, label_B: torch.Tensor) -> torch.Tensor:
        return pack(self.model.condition(label_B))


class StepGraph(nn.Module):
    """Step k of a model, from the cache of the steps before it to the cache after it."""

    def __init__(self, model: Any, k: int):
        super().__init__()
        self.model, self.k = model, k
        self.like = model.condition(torch.zeros(1, dtype=torch.int64))

    def forward(
        self, cond_BnC: torch.Tensor, x_BlZ: torch.Tensor | None = None, before: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        cache = make_cache(self.model)
        if before is not None:
            put_into(cache, before, self.model.scales.spans[self.k][0])
        logits_BlV = self.model.step(x_BlZ, unpack(cond_BnC, self.like), self.k, cache)
        return logits_BlV, tensors_of(cache)


class EmbedGraph(nn.Module):
    def __init__(self, tokenizer: VQVAE):
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, idx_X: torch.Tensor) -> torch.Tensor:
        return self.tokenizer.embed(idx_X)


class AddGraph(nn.Module):
    """`accumulate` and `next_input` of scale k.

    Both resize by fixed weights, so they are products with small matrices here: runtimes differ in what they mean by
    bicubic, and have no area-averaging to sides that do not divide.
    """

    rows_up: torch.Tensor
    columns_up: torch.Tensor
    rows_down: torch.Tensor
    columns_down: torch.Tensor

    def __init__(self, tokenizer: VQVAE, k: int):
        super().__init__()
        scales, quantizer = tokenizer.scales, tokenizer.quantizer
        self.left, self.shape, last = scales.K - 1 - k, scales.shapes[k], scales.last
        self.phi = quantizer.phis[phi_index(k, scales.K, quantizer.phi_shared)]
        after = scales.shapes[min(k + 1, scales.K - 1)]
        for axis, name in enumerate(("rows", "columns")):
            self.register_buffer(f"{name}_up", resizing(self.shape[axis], last[axis], "bicubic"))
            self.register_buffer(f"{name}_down", resizing(last[axis], after[axis], "area"))

    def forward(self, f_hat_BZhw: torch.Tensor, h_BlZ: torch.Tensor) -> tuple[torch.Tensor, ...]:
        h_BZhw = h_BlZ.transpose(1, 2).unflatten(2, self.shape)
        if self.left == 0:
            return (f_hat_BZhw + self.phi(h_BZhw),)
        f_hat_BZhw = f_hat_BZhw + self.phi(self.rows_up @ h_BZhw @ self.columns_up.T)
        x_BZhw = f_hat_BZhw if self.left == 1 else self.rows_down @ f_hat_BZhw @ self.columns_down.T
        return f_hat_BZhw, x_BZhw.flatten(2).transpose(1, 2)


def resizing(old: int, new: int, mode: str) -> torch.Tensor:
    """The matrix (new, old) by which `interpolate` resizes one axis: what it makes of each unit vector."""
    return F.interpolate(torch.eye(old)[None, :, :, None], size=(new, 1), mode=mode)[0, :, :, 0].T.contiguous()


class DecodeGraph(nn.Module):
    def __init__(self, tokenizer: VQVAE):
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, f_hat_BZhw: torch.Tensor) -> torch.Tensor:
        return self.tokenizer.decoder(self.tokenizer.post_quant(f_hat_BZhw)).clamp(-1, 1)

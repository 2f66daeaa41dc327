"""Attention weights recorded through hooks, in any model; their shares by scale; receptive fields by gradient."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from threading import get_ident
from typing import Any

import torch
from torch import nn

from varlite.autoencoder import SpatialAttention
from varlite.scales import Scales
from varlite.tokenizer import VQVAE
from varlite.transformer import Attention


@dataclass(frozen=True)
class Call:
    """One call of an attention layer, l queries over the n keys that it could reach."""

    x: torch.Tensor  # the input of the layer
    weights_BNln: torch.Tensor  # after softmax: rows sum to 1, 0 where the mask forbids
    values_BNnE: torch.Tensor
    output: torch.Tensor  # of the layer, from the fused kernel


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, list[Call]]]:
    """While the block runs, every attention layer in `model` records its calls: {name of the layer: [Call, ...]}.

    Teacher forcing makes one call a layer, sampling one a scale, with the cached keys among the n. The fused kernel
    never forms the weights, so they are computed beside it, from the same queries and keys; the output is untouched.
    Under guidance the second half of the batch is the null class.

    Raises ValueError for a model without attention layers.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, Attention | SpatialAttention)}
    if not layers:
        raise ValueError(f"model: {type(model).__name__} has no attention layer to record")
    calls: dict[str, list[Call]] = {name: [] for name in layers}
    mine = get_ident()

    def hook_for(name: str):
        def record(layer, args, kwargs, output):
            if get_ident() != mine:
                return  # a widget draws with the same model in a thread of its own
            given = signature(layer.forward).bind(*args, **kwargs).arguments
            mask_ll, cache = given.get("mask_ll"), given.get("cache")
            q, k, v, scale = layer.project(args[0])
            if cache is not None:  # the call that just ended has appended its own
                k, v = cache.keys[:, :, : cache.used], cache.values[:, :, : cache.used]
            logits_BNln = q @ k.mT * scale
            if mask_ll is not None:
                logits_BNln = logits_BNln.masked_fill(~mask_ll, -torch.inf)
            call = Call(args[0], logits_BNln.softmax(-1), v, output)
            calls[name].append(Call(*(x.detach().clone() for x in vars(call).values())))

        return record

    handles = [m.register_forward_hook(hook_for(name), with_kwargs=True) for name, m in layers.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def unfused_output(layer: Attention | SpatialAttention, call: Call) -> torch.Tensor:
    """The layer's output computed again as recorded weights times values; it must equal `call.output`."""
    out_BlNE = (call.weights_BNln @ call.values_BNnE).transpose(1, 2)
    if isinstance(layer, SpatialAttention):
        return call.x + layer.proj(out_BlNE.flatten(2).mT.reshape(call.x.shape))
    return layer.proj(out_BlNE.flatten(2))


def join(calls: Sequence[Call]) -> torch.Tensor:
    """The weights of one layer's calls as one matrix (B, N, L, L); 0 where no call could look.

    A call's keys end where its queries do: with a cache they begin at the first token, without one at the call's own.
    """
    L = sum(call.weights_BNln.shape[2] for call in calls)
    B, N = calls[0].weights_BNln.shape[:2]
    weights_BNLL, end = calls[0].weights_BNln.new_zeros(B, N, L, L), 0
    for call in calls:
        l, n = call.weights_BNln.shape[2:]
        end += l
        weights_BNLL[:, :, end - l : end, end - n : end] = call.weights_BNln
    return weights_BNLL


def mass_between_scales(weights_XLL: torch.Tensor, scales: Scales) -> torch.Tensor:
    """(K, K): share of its attention that a token of scale i spends on scale j, averaged over tokens and leading axes.

    Rows sum to 1. Raises ValueError if the matrix is not of the schedule's length.
    """
    if weights_XLL.shape[-2:] != (scales.total, scales.total):
        raise ValueError(f"weights must end in {(scales.total,) * 2}, got {tuple(weights_XLL.shape)}")
    weights_LL = weights_XLL.flatten(0, -3).mean(0) if weights_XLL.ndim > 2 else weights_XLL
    by_key_LK = torch.stack([part.sum(-1) for part in weights_LL.split(scales.lengths, -1)], -1)
    return torch.stack([part.mean(0) for part in by_key_LK.split(scales.lengths)])


def intra_share(mass_KK: torch.Tensor, scales: Scales) -> float:
    """Share of all attention that stays within its scale. Every token counts the same, so fine scales count most."""
    length_K = torch.tensor(scales.lengths, dtype=mass_KK.dtype, device=mass_KK.device)
    return (mass_KK.diag() @ length_K / scales.total).item()


@dataclass(frozen=True)
class Cost:
    """Pairs of query and key that attention computes, by kind."""

    intra: int  # both in one scale
    inter: int  # the key in a coarser scale
    hidden: int  # the key in a finer scale: computed by a dense kernel, then masked

    @property
    def of_dense(self) -> float:
        """Intra-scale share of the whole L x L matrix."""
        return self.intra / (self.intra + self.inter + self.hidden)

    @property
    def of_visible(self) -> float:
        """Intra-scale share of the pairs that the block-causal mask leaves."""
        return self.intra / (self.intra + self.inter)


def cost(scales: Scales) -> Cost:
    intra = sum(length**2 for length in scales.lengths)
    inter = (scales.total**2 - intra) // 2
    return Cost(intra, inter, inter)


def uniform_intra_share(scales: Scales) -> float:
    """`intra_share` of attention that is uniform over the visible tokens."""
    weights_LL = scales.block_causal_mask().float()
    return intra_share(mass_between_scales(weights_LL / weights_LL.sum(-1, keepdim=True), scales), scales)


def mass_on_later(weights_XLL: torch.Tensor) -> float:
    """Share of attention on positions after the query's own in raster order; uniform attention gives (L - 1) / 2L."""
    return weights_XLL.triu(1).sum(-1).mean().item()


def receptive_field(
    model: Any, tokenizer: VQVAE, idx: Sequence[torch.Tensor], label: int, rows: slice
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The tokens that the predictions at positions `rows` depend on, for the token maps [idx_l] of one image.

    The gradient of their summed log-probability, as a norm for each token, one map (h, w) for each scale: with respect
    to the transformer's inputs, and to the code embeddings of the tokens. Under the mask the first may reach the
    tokens' own scale; the second must end one scale earlier, or the model would see what it has to predict.
    """
    scales, idx = model.scales, [idx_l.view(1, -1) for idx_l in idx]
    with torch.enable_grad():
        h = [tokenizer.embed(idx_Bl).detach().requires_grad_() for idx_Bl in idx]
        f_hat, inputs = tokenizer.empty(1, scales), []
        for k in range(scales.K - 1):
            f_hat = tokenizer.accumulate(f_hat, h[k], k, scales)
            inputs.append(tokenizer.next_input(f_hat, k, scales))
        logits_LV = model(torch.cat(inputs, 1), torch.tensor([label], device=f_hat.device))[0]
        log_p_LV = logits_LV.log_softmax(-1).gather(-1, torch.cat(idx, 1).mT)
        # A position vector is added to each token, the first included: its gradient is that of the token's input.
        wanted = [model.pos_LC, *h]
        pos, *embeddings = torch.autograd.grad(log_p_LV[rows].sum(), wanted, allow_unused=True, materialize_grads=True)
    by_scale = pos.split(scales.lengths), [grad[0] for grad in embeddings]
    inputs_maps, code_maps = (
        [grad.norm(dim=-1).view(shape) for grad, shape in zip(grads, scales.shapes, strict=True)] for grads in by_scale
    )
    return inputs_maps, code_maps

"""What next-scale models, MaskGIT and DiT are built around: a stack of blocks, its initial values, its condition."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


def stack(block: type[nn.Module], config: Any) -> nn.ModuleList:
    """As many blocks as `config.depth` says; drop-path rises linearly over them, from 0 to `config.drop_path`.

    `block` is built as `Block` is: from width, heads, hidden width, `attn_norm`, `ada_ln` and its rate of drop-path.
    """
    c, hidden = config, round(config.width * config.ffn_ratio)
    rates = [c.drop_path * i / max(1, c.depth - 1) for i in range(c.depth)]
    return nn.ModuleList(block(c.width, c.heads, hidden, c.attn_norm, c.ada_ln, rate) for rate in rates)


@torch.no_grad()
def initialise(model: Any, small: tuple[str, ...] | None = None) -> None:
    """Truncated normal everywhere, biases zero; small head, residual gates and output projections.

    small: the branches whose last layers are divided by sqrt(2 depth); as many gates, the first, start at `gamma_init`.
    The default is all of them. For VAR these are the initial values of the published code; for M-VAR see there. What
    is neither linear nor an embedding keeps the values that its module gave it.
    """
    c, n, small = model.config, len(model.branches), small or model.branches
    std = math.sqrt(1 / (3 * c.width))
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    positions = [getattr(model, name) for name in ("pos_start", "pos_LC") if hasattr(model, name)]
    for weight in [m.weight for m in linears + embeddings] + positions:
        nn.init.trunc_normal_(weight, std=std, a=-2, b=2)
    for linear in linears:
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
    model.head.linear.weight.mul_(0.02)
    if c.adaln:
        model.head.ada_ln.linear.weight.mul_(0.5)
    for block in model.blocks:
        if c.adaln:
            rows = block.ada_ln.offset_nC if c.shared_adaln else block.ada_ln.linear.weight.unflatten(0, (3 * n, -1))
            rows[: len(small)].mul_(c.gamma_init)
            rows[len(small) :].mul_(0.5)
        for name in small:
            block.get_submodule(name).weight.div_(math.sqrt(2 * c.depth))


@dataclass(frozen=True)
class Condition:
    """Everything computed from the labels; constant during sampling, so computed once."""

    cond_BD: torch.Tensor
    blocks: list[list]  # the vectors of each block's AdaLN
    head: list

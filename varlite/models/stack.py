"""What every transformer here is built around: a stack of equal blocks."""

from typing import Any

from torch import nn


def stack(block: type[nn.Module], config: Any) -> nn.ModuleList:
    """As many blocks as `config.depth` says; drop-path rises linearly over them, from 0 to `config.drop_path`.

    `block` is built as `Block` is: from width, heads, hidden width, `attn_norm`, `ada_ln` and its rate of drop-path.
    """
    c, hidden = config, round(config.width * config.ffn_ratio)
    rates = [c.drop_path * i / max(1, c.depth - 1) for i in range(c.depth)]
    return nn.ModuleList(block(c.width, c.heads, hidden, c.attn_norm, c.ada_ln, rate) for rate in rates)

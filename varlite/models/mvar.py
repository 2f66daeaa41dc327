"""M-VAR: attention within a scale, Mamba-2 across scales (arXiv 2411.10433, section 3).

    within a scale every token sees every other: attention         x_0 | x_1 | .. | x_{K-1}, each on its own
    from scale to scale information flows one way: Mamba-2         x_0 > x_1 > .. > x_{K-1}, state carried

All else is VAR.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from varlite.mamba2 import CHUNK, EXPAND, TAPS, E, Mamba2, Mamba2State, S
from varlite.models.contract import register
from varlite.models.costs import What, block_formula, check_what
from varlite.models.var import VAR, VARConfig
from varlite.scales import Scales
from varlite.transformer import FFN, AdaLNKind, Attention, drop_path, make_ada_ln, modulate, vectors


@dataclass(frozen=True)
class MVARConfig(VARConfig):
    """Everything that shapes an M-VAR: as for VAR. The width must be a multiple of 32, for the heads of Mamba-2.

    `published_start` gives the initial values of the published code, see `MVAR`; of interest to training alone.
    """

    only_training: ClassVar[tuple[str, ...]] = (*VARConfig.only_training, "published_start")
    published_start: bool = False


class MVARBlock(nn.Module):
    """Attention within each scale, Mamba-2 over all of them, feed-forward: residual, modulated and gated as in VAR."""

    def __init__(self, C: int, heads: int, hidden: int, normalise: bool, ada_ln: AdaLNKind, drop_path: float):
        super().__init__()
        self.attn, self.mamba, self.ffn = Attention(C, heads, normalise), Mamba2(C), FFN(C, hidden)
        self.ada_ln = make_ada_ln(C, 3, ada_ln)
        self.drop_path = drop_path

    def forward(
        self,
        x: torch.Tensor,
        cond: torch.Tensor | list,
        mask: tuple[int, ...] | None = None,
        cache: Mamba2State | None = None,
    ) -> torch.Tensor:
        """x_BlC -> x_BlC. `mask` says how many tokens each scale in x has, None that x is one scale.

        Incremental exactly when a cache is given: x then holds the newest scale's tokens only.
        """
        gamma1, gamma2, gamma3, scale1, scale2, scale3, shift1, shift2, shift3 = vectors(self.ada_ln, cond)
        p, training = self.drop_path, self.training
        parts = modulate(x, scale1, shift1).split(mask or x.shape[1], 1)
        x = x + drop_path(gamma1 * torch.cat([self.attn(part) for part in parts], 1), p, training)
        x = x + drop_path(gamma2 * self.mamba(modulate(x, scale2, shift2), cache), p, training)
        x = x + drop_path(gamma3 * self.ffn(modulate(x, scale3, shift3)), p, training)
        return x

    def make_cache(self, length: int) -> Mamba2State:
        """What `forward` needs to be incremental: of the same size for any number of tokens, and no keys or values."""
        return Mamba2State()


class MVAR(VAR):
    """VAR with another block. Nothing of size L x L is ever made: `mask` is the lengths of the scales.

    All three branches of a block start small, as VAR's two do, and the convolution as PyTorch makes it. The published
    code starts otherwise (`published_start`), perhaps by an oversight: its lines are those for VAR's two branches. Only
    the gates of attention and Mamba start at `gamma_init`; the feed-forward's starts like a scale, 500 to 50,000 times
    larger in the published sizes. Mamba's output projection is not divided by sqrt(2 depth), and the convolution has
    weights of standard deviation 0.02, not 0.29, and biases of zero. One training each of depth 4 ended its 450 steps
    at 4.597 and 4.604; what the difference does to the large models is not known.
    """

    block: ClassVar[type[nn.Module]] = MVARBlock
    branches = ("attn.proj", "mamba.out_proj", "ffn.fc2")
    published_mark = "blocks.0.mamba.A_log"

    def __init__(self, config: MVARConfig):
        super().__init__(config)
        if config.published_start:
            for name, weight in self.named_parameters():
                if name.endswith("conv1d.weight"):
                    nn.init.trunc_normal_(weight, std=0.02, a=-2, b=2)
                elif name.endswith("conv1d.bias"):
                    nn.init.zeros_(weight)

    @property
    def small(self) -> tuple[str, ...]:
        return ("attn.proj", "ffn.fc2") if self.config.published_start else self.branches

    def make_mask(self, scales: Scales, device: torch.device) -> tuple[int, ...]:  # type: ignore[override]
        return scales.lengths

    @staticmethod
    def in_sight(spans: Sequence[tuple[int, int]], k: int) -> int:
        return spans[k][1] - spans[k][0]

    @staticmethod
    def pairs(scales: Scales) -> int:
        return sum(l * l for l in scales.lengths)

    @classmethod
    def flops_by_part(cls, config: VARConfig, what: What = "forward") -> dict[str, int]:
        parts, C = block_formula(cls, config, what), config.width
        inner = EXPAND * C
        of_token = 2 * C * (2 * inner + 2 * S + inner // E) + 2 * inner * C + 2 * TAPS * (inner + 2 * S)
        ran = cls.passes(config, what)
        mamba = sum(p.tokens * of_token + scan_flops(p.tokens, C) for p in ran)
        return parts | {"mamba": check_what(what) * config.depth * mamba}

    def published_mask(self) -> torch.Tensor:
        mask_LL = self.scales.block_causal_mask()
        return mask_LL & mask_LL.T  # block-diagonal: its own scale only

    def published_constants(self) -> dict[str, torch.Tensor]:
        lengths, depth = self.scales.lengths, self.config.depth
        of_blocks = {f"blocks.{i}.attn.patch_nums": torch.tensor(lengths, dtype=torch.int32) for i in range(depth)}
        return super().published_constants() | of_blocks


def scan_flops(tokens: int, C: int) -> int:
    """FLOPs of the chunked state-space scan of varlite/mamba2.py over the tokens of one pass."""
    inner, chunks = EXPAND * C, [min(CHUNK, tokens - start) for start in range(0, tokens, CHUNK)]
    return sum(2 * T * T * (S + inner) + 4 * T * inner * S for T in chunks)


register("mvar", MVAR, MVARConfig)

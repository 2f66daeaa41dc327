"""Next-scale prediction that looks back one scale only (MVAR, arXiv 2505.12742): scales as a Markov chain.

    a token of scale k sees its own scale and scale k - 1; the input of scale k is, as in VAR, f_hat after scale k - 1

So the cache keeps one scale: of the 680 tokens at 256 x 256 the 256 of the last, and sampling computes fewer pairs. All
else is VAR.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from varlite.models.contract import Ability, register
from varlite.models.costs import block_formula
from varlite.models.var import VAR, VARConfig
from varlite.scales import Scales
from varlite.transformer import Block, KVCache


@dataclass(frozen=True)
class MarkovConfig(VARConfig):
    """Everything that shapes a Markov model: as for VAR."""


class LastScaleCache(KVCache):
    """Keys and values of the last scale alone."""

    def append(self, k_BNlE: torch.Tensor, v_BNlE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of the last scale and of this one; afterwards this one is the last."""
        last, self.keys, self.values, self.used = (self.keys, self.values), k_BNlE, v_BNlE, k_BNlE.shape[2]
        if last[0].numel() == 0:
            return k_BNlE, v_BNlE
        return torch.cat((last[0], k_BNlE), 2), torch.cat((last[1], v_BNlE), 2)


class MarkovBlock(Block):
    """VAR's block with another cache."""

    def make_cache(self, length: int) -> KVCache:
        return LastScaleCache(length)


class Markov(VAR):
    """VAR that forgets all scales before the last."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(
        ("cache", "guidance", "logits", "smooth", "editing", "schedules", "likelihood")
    )
    block = MarkovBlock
    flops_by_part = classmethod(block_formula)

    def make_mask(self, scales: Scales, device: torch.device) -> torch.Tensor:
        level_L = scales.levels(device)
        back_LL = level_L[:, None] - level_L[None, :]
        return (back_LL == 0) | (back_LL == 1)

    @staticmethod
    def in_sight(spans: Sequence[tuple[int, int]], k: int) -> int:
        return spans[k][1] - spans[max(k - 1, 0)][0]


register("markov", Markov, MarkovConfig)

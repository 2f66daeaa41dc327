"""The baseline that VAR is measured against: the next token of one map, row by row (VQGAN, arXiv 2012.09841).

label -> class embedding -> x_0           tokenizer.embed(idx) of token 0 .. l-2 -> x_1 .. x_{l-1}
[x_0 | x_1 | .. | x_{l-1}] + position -> the same blocks under the causal mask -> logits_BlV

The tokenizer has one scale, and all else is VAR: equal blocks, an equal number of weights, l steps of one token instead
of K steps of a whole map.
"""

from dataclasses import dataclass

import torch

from varlite.models.var import VAR, VARConfig
from varlite.scales import Scales
from varlite.tokenizer import VQVAE


@dataclass(frozen=True)
class RasterConfig(VARConfig):
    """Everything that shapes a raster model: as for VAR, with the one scale of its tokenizer."""

    def check_scales(self) -> None:
        if len(self.scales) != 1:
            raise ValueError(f"scales: a raster model has one scale, got {self.scales}")


class Raster(VAR):
    """VAR with a step for every token. Guidance has no scales to rise over: it is the same for all tokens."""

    def spans(self, scales: Scales) -> tuple[tuple[int, int], ...]:
        return tuple((i, i + 1) for i in range(scales.total))

    def inputs(self, tokenizer: VQVAE, idx: list[torch.Tensor]) -> torch.Tensor:
        return tokenizer.embed(idx[0][:, :-1])

    def make_mask(self, scales: Scales, device: torch.device) -> torch.Tensor:
        return torch.ones(scales.total, scales.total, dtype=torch.bool, device=device).tril()

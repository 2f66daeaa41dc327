"""The baseline that VAR is measured against: the next token of one map, row by row (VQGAN, arXiv 2012.09841).

label -> class embedding -> x_0           tokenizer.embed(idx) of token 0 .. l-2 -> x_1 .. x_{l-1}
[x_0 | x_1 | .. | x_{l-1}] + position -> the same blocks under the causal mask -> logits_BlV

The tokenizer has one scale, and all else is VAR: equal blocks, an equal number of weights, l steps of one token instead
of K steps of a whole map.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from varlite.drawing import Rules, Step, guide
from varlite.models.contract import Ability, register
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

    abilities: ClassVar[frozenset[Ability]] = frozenset(("cache", "guidance", "logits", "likelihood"))

    @staticmethod
    def spans(scales: Scales) -> tuple[tuple[int, int], ...]:
        return tuple((i, i + 1) for i in range(scales.total))

    def inputs(self, tokenizer: VQVAE, idx: list[torch.Tensor]) -> torch.Tensor:
        return tokenizer.embed(idx[0][:, :-1])

    def make_mask(self, scales: Scales, device: torch.device) -> torch.Tensor:
        return torch.ones(scales.total, scales.total, dtype=torch.bool, device=device).tril()

    def sample(self, tokenizer: VQVAE, label_B: torch.Tensor, rules: Rules, scales: Scales) -> torch.Tensor:
        """l steps of one token, guided by `cfg` throughout: images in [-1, 1].

        The hooks are called for every token. After the draw, their step is the one scale so far: codes (B, tokens
        drawn), and embeddings (B, l, Z) that are zero where none is drawn; `on_scale` may look, and changes nothing.
        A seed's random numbers are those of steps 0 .. l - 1, each with its one token at place 0.
        """
        null_B, branches = torch.full_like(label_B, self.class_embed.null), 2 if rules.cfg > 0 else 1
        given, cache = self.condition(torch.cat((label_B, null_B)[:branches])), self.make_cache()
        f_hat, l = tokenizer.empty(len(label_B)), scales.total
        x_B1Z: torch.Tensor | None = None
        h_BlZ, codes = f_hat.new_zeros(len(label_B), l, tokenizer.config.z), []
        for i in range(l):
            logits_B1V = self.step(None if x_B1Z is None else x_B1Z.repeat(branches, 1, 1), given, i, cache)
            if rules.cfg > 0:
                cond_B1V, null_B1V = logits_B1V.chunk(2)
                logits_B1V = guide(cond_B1V, null_B1V, rules.cfg)
            step = Step(0, scales, tokenizer, logits_B1V, f_hat)
            rules.choose(step, number=i)
            codes.append(step.idx_Bl)
            x_B1Z = step.h_BlZ
            h_BlZ[:, i : i + 1] = x_B1Z
            if rules.on_scale is not None:
                step.idx_Bl, step.h_BlZ = torch.cat(codes, 1), h_BlZ.clone()
                rules.on_scale(step)
        return tokenizer.to_image(tokenizer.accumulate(f_hat, h_BlZ, 0))


register("raster", Raster, RasterConfig)

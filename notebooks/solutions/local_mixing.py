"""VAR with a small convolution: before each block every token is mixed with its eight neighbours on its own map.

Attention has to learn which tokens lie side by side. A convolution knows, and costs ten weights a channel. The maps
are kept apart, so that nothing leaks from a finer one to a coarser one.
"""

from dataclasses import dataclass

import torch
from torch import nn

from varlite.models import VAR, VARConfig, register
from varlite.models.costs import block_formula, check_what
from varlite.presets import FASHION_SCALES, MODELS, ModelPreset, TransformerRecipe
from varlite.transformer import Block


@dataclass(frozen=True)
class LocalMixingConfig(VARConfig):
    """Everything that shapes it: as for VAR."""


class LocalMixingBlock(Block):
    """VAR's block behind a depthwise 3 x 3 convolution, which begins as nothing."""

    def __init__(self, C, *rest):
        super().__init__(C, *rest)
        self.near = nn.Conv2d(C, C, 3, padding=1, groups=C)
        nn.init.zeros_(self.near.weight)
        nn.init.zeros_(self.near.bias)

    def mix(self, x_BlC):
        """One map, whose tokens lie row after row."""
        side = round(x_BlC.shape[1] ** 0.5)
        return self.near(x_BlC.mT.unflatten(2, (side, side))).flatten(2).mT

    def forward(self, x, cond, mask=None, cache=None):
        # In training all maps come at once, with their lengths; in sampling a step has one map, and no mask.
        lengths, mask_LL = mask or ((x.shape[1],), None)
        x = x + torch.cat([self.mix(part) for part in x.split(lengths, 1)], 1)
        return super().forward(x, cond, mask_LL, cache)


class LocalMixing(VAR):
    """VAR, each of whose tokens hears of its neighbours before it looks around."""

    abilities = VAR.abilities - {"schedules", "published names"}
    block = LocalMixingBlock

    def make_mask(self, scales, device):
        return scales.lengths, scales.block_causal_mask(device)

    @classmethod
    def flops_by_part(cls, config, what="forward"):
        mixed = sum(one.tokens for one in cls.passes(config, what)) * config.depth * 18 * config.width
        return block_formula(cls, config, what) | {"near": check_what(what) * mixed}


register("local-mixing", LocalMixing, LocalMixingConfig)
MODELS["local-mixing-d2"] = ModelPreset(
    LocalMixingConfig(depth=2, width=64, heads=2, classes=10, vocab=512, z=16, scales=FASHION_SCALES, gamma_init=0.1),
    "fashion-vq",
    TransformerRecipe(steps=1500, batch=64, lr=2e-3, warmup=100, ema=0.995),
)

"""VAR: predict the next scale, all of its tokens at once, from the coarser ones (arXiv 2404.02905, section 3)."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from varlite.models.contract import Ability, register
from varlite.models.costs import block_formula
from varlite.models.next_scale import NextScale
from varlite.scales import Scales
from varlite.transformer import AdaLNKind, Block


@dataclass(frozen=True)
class VARConfig:
    """Everything that shapes a VAR. One dial, `depth`: a `width` of 0 is 64 * depth, and heads are as many as depth.

    Drop-path rises linearly over the blocks up to `drop_path`. `gamma_init` scales the residual gates at the start.
    """

    only_training: ClassVar[tuple[str, ...]] = ("drop_path", "class_dropout", "gamma_init")  # in no published file

    depth: int
    width: int = 0
    heads: int = 0
    classes: int = 1000
    vocab: int = 4096
    z: int = 32
    scales: list = field(default_factory=lambda: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16])
    shared_adaln: bool = False
    adaln: bool = True  # False: plain layer norms, for the ablation
    attn_norm: bool = True
    ffn_ratio: float = 4.0
    drop_path: float = 0.0
    class_dropout: float = 0.1
    gamma_init: float = 1e-3

    def __post_init__(self):
        object.__setattr__(self, "width", self.width or 64 * self.depth)
        object.__setattr__(self, "heads", self.heads or self.depth)
        object.__setattr__(self, "scales", Scales.of(self.scales).sides)
        self.check_scales()
        if self.shared_adaln and not self.adaln:
            raise ValueError("shared_adaln is a kind of adaln: it cannot be True where adaln is False")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width {self.width} and {self.heads} heads")

    def check_scales(self) -> None:
        if len(self.scales) < 2:
            raise ValueError(f"scales: next-scale prediction needs at least two, got {self.scales}")

    @property
    def ada_ln(self) -> AdaLNKind:
        return "none" if not self.adaln else "shared" if self.shared_adaln else "own"


class VAR(NextScale):
    """Every token sees its own scale and all coarser ones."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(
        ("cache", "guidance", "logits", "smooth", "editing", "schedules", "likelihood", "published names")
    )

    block: ClassVar[type[nn.Module]] = Block
    published_mark: ClassVar[str] = ""  # a tensor that only the published files of this kind hold; none for VAR's own

    def make_mask(self, scales: Scales, device: torch.device) -> torch.Tensor:
        return scales.block_causal_mask(device)

    flops_by_part = classmethod(block_formula)

    def published_constants(self) -> dict[str, torch.Tensor]:
        """{published name: value} of the published tensors that are not weights but follow from the configuration."""
        mask_LL = self.published_mask()
        bias = torch.zeros(1, 1, *mask_LL.shape).masked_fill(~mask_LL, -torch.inf)
        return {"lvl_1L": self.scales.levels()[None], "attn_bias_for_masking": bias} | {
            f"blocks.{i}.attn.zero_k_bias": torch.zeros(self.config.width) for i in range(self.config.depth)
        }

    def published_mask(self) -> torch.Tensor:
        return self.scales.block_causal_mask()


register("var", VAR, VARConfig)

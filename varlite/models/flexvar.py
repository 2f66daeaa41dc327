"""Next-scale prediction without residuals (FlexVAR, arXiv 2502.20313): every scale is the whole picture, coarser.

    token map of scale k     the latents, area-averaged to its sides, each the nearest code
    input of scale k         the map of scale k - 1, enlarged; nothing is summed over scales
    image                    the last map alone

So a scale does not depend on which ones came before, and the schedule may change at sampling: in training each image is
seen by one of several. The tokenizer has one scale, the last: no codebook has to be trained for the others. That is
simpler than the paper's, whose tokenizer is trained at all of them and decodes each.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from varlite.drawing import Rules
from varlite.models.contract import Ability, register
from varlite.models.costs import block_formula
from varlite.models.raster import RasterConfig
from varlite.models.var import VAR
from varlite.scales import Scales
from varlite.tokenizer import VQVAE


@dataclass(frozen=True)
class FlexVARConfig(RasterConfig):
    """As for VAR, with the one scale of its tokenizer.

    `sides` is the schedule of sampling, `trained` are those of training. Each starts with one token and ends with the
    tokenizer's map.
    """

    sides: list = field(default_factory=lambda: [1, 2, 3, 5, 7])
    trained: list = field(default_factory=lambda: [[1, 2, 3, 5, 7], [1, 3, 5, 7], [1, 2, 4, 7], [1, 2, 3, 4, 5, 6, 7]])

    def __post_init__(self):
        super().__post_init__()
        if not self.trained:
            raise ValueError("trained: at least one schedule is needed, got none")
        for name, sides in (("sides", self.sides), *(("trained", sides) for sides in self.trained)):
            scales = Scales.of(sides)
            if scales.lengths[0] != 1 or scales.last != Scales.of(self.scales).last:
                raise ValueError(
                    f"{name}: a schedule goes from one token to the tokenizer's {self.scales}, got {sides}"
                )


class MapsOf:
    """A tokenizer of one scale as the loop of next-scale models wants one: a map replaces the last, it is not added."""

    def __init__(self, tokenizer: Any, last: tuple[int, int]):
        self.tokenizer, self.last = tokenizer, last
        self.embed, self.quantizer = tokenizer.embed, tokenizer.quantizer

    def empty(self, batch: int, scales: Scales) -> torch.Tensor:
        return self.tokenizer.empty(batch, Scales.of([scales.shapes[0]]))

    def accumulate(self, f_hat: torch.Tensor, h_BlZ: torch.Tensor, k: int, scales: Scales) -> torch.Tensor:
        """The map of scale k, from its code embeddings."""
        return h_BlZ.transpose(1, 2).unflatten(2, scales.shapes[k])

    def next_input(self, f_hat: torch.Tensor, k: int, scales: Scales) -> torch.Tensor:
        """What scale k + 1 sees, (B, l, Z): the map of scale k, enlarged."""
        return enlarged(f_hat, scales.shapes[k + 1]).flatten(2).transpose(1, 2)

    def to_image(self, f_hat: torch.Tensor) -> torch.Tensor:
        """The picture of a map of any scale."""
        one, h_BlZ = Scales.of([self.last]), enlarged(f_hat, self.last).flatten(2).transpose(1, 2)
        return self.tokenizer.to_image(self.tokenizer.accumulate(self.tokenizer.empty(len(f_hat), one), h_BlZ, 0, one))


def enlarged(f_BZhw: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return f_BZhw if tuple(f_BZhw.shape[2:]) == size else F.interpolate(f_BZhw, size=size, mode="bicubic")


class FlexVAR(VAR):
    """VAR on maps that are not residuals. Positions are those of the last map, resized; there are no level embeddings.

    Token maps given to `inputs` are of all scales (see `maps`); those given to `loss` and `score` are the tokenizer's.
    """

    abilities: ClassVar[frozenset[Ability]] = frozenset(("cache", "guidance", "logits", "smooth", "schedules"))
    dials: ClassVar[tuple[str, ...]] = ("sides",)
    chances = 2  # of an image: one for its label, one for its schedule
    flops_by_part = classmethod(block_formula)

    def __init__(self, config: FlexVARConfig):
        super().__init__(config)
        self.pos_LC = nn.Parameter(self.pos_LC.detach()[-Scales.of(config.scales).total :].clone())
        del self.level_embed

    @classmethod
    def scales_of(cls, config: Any) -> Scales:
        return Scales.of(config.sides)

    def maps(self, tokenizer: VQVAE, idx: list[torch.Tensor], scales: Scales) -> list[torch.Tensor]:
        """The token maps of a schedule, [idx_Bl], from the one map of the tokenizer, which is the last of them."""
        f_BZhw = tokenizer.embed(idx[0]).transpose(1, 2).unflatten(2, Scales.of(self.config.scales).last)
        coarser = [F.interpolate(f_BZhw, size=shape, mode="area").flatten(2) for shape in scales.shapes[:-1]]
        codes = [tokenizer.quantizer.nearest(x_BZl.transpose(1, 2).flatten(0, 1)) for x_BZl in coarser]
        return [*(x.view(len(f_BZhw), -1) for x in codes), idx[0]]

    def inputs(self, tokenizer: VQVAE, idx: list[torch.Tensor], scales: Scales | None = None) -> torch.Tensor:
        scales = scales or self.scales
        of_maps, parts = MapsOf(tokenizer, scales.last), [tokenizer.embed(idx[0][:, :0])]
        for k in range(scales.K - 1):
            f_BZhw = of_maps.accumulate(parts[0], tokenizer.embed(idx[k]), k, scales)
            parts.append(of_maps.next_input(f_BZhw, k, scales))
        return torch.cat(parts, 1)

    def loss(
        self, tokenizer: VQVAE, idx: list[torch.Tensor], label_B: torch.Tensor, chance_Bn: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Cross-entropy, a mean over the tokens of each image's schedule and over images; labels are dropped as in VAR.

        `chance_Bn` are the random numbers in [0, 1) that decide about label and schedule; None draws them here.
        """
        chance_Bn = torch.rand(len(label_B), self.chances, device=label_B.device) if chance_Bn is None else chance_Bn
        if self.training:
            label_B = torch.where(chance_Bn[:, 0] < self.config.class_dropout, self.class_embed.null, label_B)
        which_B, sums = (chance_Bn[:, 1] * len(self.config.trained)).long(), []
        for number, sides in enumerate(self.config.trained):
            if len(rows := (which_B == number).nonzero()[:, 0]):
                loss_BL, _ = self._tokens(tokenizer, [idx[0][rows]], label_B[rows], Scales.of(sides))
                sums.append(loss_BL.mean(1).sum())
        return torch.stack(sums).sum() / len(label_B)

    def score_tokens(
        self, tokenizer: VQVAE, idx: list[torch.Tensor], label_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As of VAR, of the maps of the schedule of sampling."""
        return self._tokens(tokenizer, idx, label_B, self.scales)

    def _tokens(
        self, tokenizer: VQVAE, idx: list[torch.Tensor], label_B: torch.Tensor, scales: Scales
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy and error (B, L) of every token of a schedule."""
        with torch.no_grad():
            maps = self.maps(tokenizer, idx, scales)
            x_BLZ, idx_BL = self.inputs(tokenizer, maps, scales), torch.cat(maps, 1)
        logits_BLV = self(x_BLZ, label_B, scales)
        loss_BL = F.cross_entropy(logits_BLV.transpose(1, 2), idx_BL, reduction="none")
        return loss_BL, (logits_BLV.argmax(-1) != idx_BL).float()

    def sample(self, tokenizer: VQVAE, label_B: torch.Tensor, rules: Rules, scales: Scales) -> torch.Tensor:
        """VAR's loop over maps that replace each other: images in [-1, 1]. `step.image()` is this map, enlarged."""
        maps: Any = MapsOf(tokenizer, scales.last)
        return super().sample(maps, label_B, rules, scales)

    def _positions(self, scales: Scales) -> torch.Tensor:
        """Position of each token, (L, C), whatever the schedule."""
        if scales.lengths[0] != 1:
            raise ValueError(f"scales: this model starts with a map of one token, got {scales.sides}")
        pos_1Chw = self.pos_LC.T.unflatten(1, Scales.of(self.config.scales).last)[None]
        resized = [F.interpolate(pos_1Chw, size=shape, mode="bilinear") for shape in scales.shapes]
        return torch.cat([x.flatten(2)[0].T for x in resized])


register("flexvar", FlexVAR, FlexVARConfig)

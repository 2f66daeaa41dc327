"""Masked token prediction with bidirectional attention (MaskGIT, arXiv 2202.04200) over one token map.

    training   hide a random share of the tokens, cos(pi/2 u) with u uniform; predict them from the others
    sampling   start from nothing; in each of a few passes draw all hidden tokens, keep the ones drawn most confidently

The blocks are VAR's with no mask, the tokenizer has one scale. In-painting is keeping the known tokens.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from varlite.drawing import Rules, Step, guide
from varlite.models.contract import Ability, Model, register
from varlite.models.costs import Pass, TransformerCosts, What, block_formula
from varlite.models.raster import RasterConfig
from varlite.models.stack import Condition, initialise, stack
from varlite.scales import Scales
from varlite.tokenizer import VQVAE
from varlite.transformer import Block, ClassEmbedding, Head


@dataclass(frozen=True)
class MaskGITConfig(RasterConfig):
    """As for a raster model; `steps` are the passes of sampling, `choice` the temperature at which confident tokens are
    chosen, falling to zero over the passes."""

    steps: int = 8
    choice: float = 4.5

    def __post_init__(self):
        super().__post_init__()
        if not self.adaln or self.shared_adaln:
            raise ValueError("adaln: MaskGIT knows the class through an AdaLN in every block, and in no other way")
        if self.steps < 1 or self.choice < 0:
            raise ValueError(f"steps must be at least 1 and choice 0 or more, got {self.steps} and {self.choice}")


class MaskGIT(TransformerCosts, Model):
    """A bidirectional transformer that fills in hidden tokens."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(("guidance", "logits", "editing"))
    dials: ClassVar[tuple[str, ...]] = ("steps", "choice")
    branches: ClassVar[tuple[str, ...]] = ("attn.proj", "ffn.fc2")
    flops_by_part = classmethod(block_formula)

    def __init__(self, config: MaskGITConfig):
        super().__init__()
        c = self.config = config
        self.scales = Scales.of(c.scales)
        self.class_embed = ClassEmbedding(c.classes, c.width)
        self.pos_start = nn.Parameter(torch.empty(1, c.width))  # what stands for a hidden token
        self.pos_LC = nn.Parameter(torch.empty(self.scales.total, c.width))
        self.token_embed = nn.Linear(c.z, c.width)
        self.blocks = stack(Block, c)
        self.head = Head(c.width, c.vocab, "own")
        initialise(self)

    @classmethod
    def passes(cls, config: Any, what: What) -> list[Pass]:
        l = Scales.of(config.scales).total
        return [Pass(l, l, l * l)] * (config.steps if what == "sampling" else 1)

    def condition(self, label_B: torch.Tensor) -> Condition:
        """Everything computed from the labels, once for all passes."""
        cond_BD = self.class_embed(label_B)
        return Condition(cond_BD, [block.ada_ln(cond_BD) for block in self.blocks], self.head.ada_ln(cond_BD))

    def forward(self, h_BlZ: torch.Tensor, hidden_Bl: torch.Tensor, label: torch.Tensor | Condition) -> torch.Tensor:
        """Logits_BlV at every position, from code embeddings, of which `hidden_Bl` says which are not to be seen."""
        given = label if isinstance(label, Condition) else self.condition(label)
        x = torch.where(hidden_Bl[..., None], self.pos_start, self.token_embed(h_BlZ)) + self.pos_LC
        for block, cond in zip(self.blocks, given.blocks, strict=True):
            x = block(x, cond)
        return self.head(x, given.head)

    # Training

    @property
    def chances(self) -> int:  # type: ignore[override]
        """Of an image: one for its label, one for the number of hidden tokens, and one for each token."""
        return 2 + self.scales.total

    @staticmethod
    def hide(u_B1: torch.Tensor, rank_Bl: torch.Tensor) -> torch.Tensor:
        """(B, l) booleans: hidden positions, ceil(l cos(pi/2 u)) of them in each row (section 3.1), lowest ranks first.

        Both arguments are random numbers in [0, 1).
        """
        return rank_Bl.argsort(-1).argsort(-1) < (rank_Bl.shape[1] * (math.pi / 2 * u_B1).cos()).ceil()

    def loss(
        self, tokenizer: VQVAE, idx: list[torch.Tensor], label_B: torch.Tensor, chance_Bn: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Cross-entropy averaged over the hidden tokens. In training mode labels are dropped at random.

        `chance_Bn` are the random numbers in [0, 1) that decide about labels and hidden tokens; None draws them here.
        """
        chance_Bn = torch.rand(len(label_B), self.chances, device=label_B.device) if chance_Bn is None else chance_Bn
        if self.training:
            label_B = torch.where(chance_Bn[:, 0] < self.config.class_dropout, self.class_embed.null, label_B)
        hidden_Bl = self.hide(chance_Bn[:, 1:2], chance_Bn[:, 2:])
        logits_BlV = self(tokenizer.embed(idx[0]).detach(), hidden_Bl, label_B)
        return F.cross_entropy(logits_BlV[hidden_Bl], idx[0][hidden_Bl])

    def score_tokens(
        self, tokenizer: VQVAE, idx: list[torch.Tensor], label_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy and error (B, l), whose means are those over hidden tokens; the same are hidden every time."""
        always = torch.Generator().manual_seed(0)
        u_B1, rank_Bl = (torch.rand(len(label_B), n, generator=always).to(label_B.device) for n in (1, idx[0].shape[1]))
        hidden_Bl = self.hide(u_B1, rank_Bl)
        logits_BlV = self(tokenizer.embed(idx[0]), hidden_Bl, label_B)
        weight_Bl = hidden_Bl / hidden_Bl.float().mean()
        loss_Bl = F.cross_entropy(logits_BlV.transpose(1, 2), idx[0], reduction="none")
        return weight_Bl * loss_Bl, weight_Bl * (logits_BlV.argmax(-1) != idx[0])

    # Sampling

    def sample(self, tokenizer: VQVAE, label_B: torch.Tensor, rules: Rules, scales: Scales) -> torch.Tensor:
        """Fill in the map in `steps` passes (section 3.2): images in [-1, 1]. Guidance rises over the passes.

        The hooks are called in every pass; after the draw their step holds all tokens, kept or about to be hidden
        again. Where `on_scale` puts another embedding, that token counts as known from then on.
        """
        B, l, steps = len(label_B), scales.total, self.config.steps
        null_B, branches = torch.full_like(label_B, self.class_embed.null), 2 if rules.cfg > 0 else 1
        given = self.condition(torch.cat((label_B, null_B)[:branches]))
        f_hat = tokenizer.empty(B)
        h_BlZ, hidden_Bl = f_hat.new_zeros(B, l, tokenizer.config.z), torch.ones_like(f_hat[:, 0].flatten(1)).bool()
        known_Bl, idx_Bl = ~hidden_Bl, hidden_Bl.long()
        for t in range(steps):
            logits_BlV = self(h_BlZ.repeat(branches, 1, 1), hidden_Bl.repeat(branches, 1), given)
            if rules.cfg > 0:
                cond_BlV, null_BlV = logits_BlV.chunk(2)
                logits_BlV = guide(cond_BlV, null_BlV, rules.cfg * t / max(1, steps - 1))
            step = Step(0, scales, tokenizer, logits_BlV, f_hat)
            rules.choose(step, number=t)
            idx_Bl = step.idx_Bl = torch.where(hidden_Bl, step.idx_Bl, idx_Bl)
            sure_Bl = step.logits_BlV.log_softmax(-1).gather(-1, step.idx_Bl[..., None])[..., 0]
            drawn_BlZ = step.h_BlZ = torch.where(hidden_Bl[..., None], step.h_BlZ, h_BlZ)
            if rules.on_scale is not None:
                rules.on_scale(step)
            h_BlZ, known_Bl = step.h_BlZ, known_Bl | (step.h_BlZ != drawn_BlZ).any(-1)
            left = math.floor(l * math.cos(math.pi / 2 * (t + 1) / steps))
            sure_Bl = sure_Bl + self.config.choice * (1 - (t + 1) / steps) * rules.gumbel(sure_Bl, t)
            sure_Bl = sure_Bl.masked_fill(~hidden_Bl | known_Bl, torch.inf)  # what was kept stays
            rank_Bl = sure_Bl.argsort(-1).argsort(-1)
            hidden_Bl = (rank_Bl < left) & (sure_Bl < torch.inf)
        return tokenizer.to_image(tokenizer.accumulate(f_hat, h_BlZ, 0))


register("maskgit", MaskGIT, MaskGITConfig)

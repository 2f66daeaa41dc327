"""What all next-scale models share: the transformer around the blocks, its loss, its sampling loop.

label -> class embedding -> x_0           tokenizer.inputs(idx) -> x_1 .. x_{K-1}
[x_0 | x_1 | .. | x_{K-1}] + position + level -> blocks under the mask -> logits_BLV
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from varlite.drawing import Rules, Step, guide
from varlite.models.contract import Model
from varlite.models.costs import TransformerCosts
from varlite.models.stack import Condition, initialise, stack
from varlite.scales import Scales
from varlite.tokenizer import VQVAE
from varlite.transformer import ClassEmbedding, Head, for_training


class NextScale(TransformerCosts, Model):
    """A transformer over token maps.

    `forward` is teacher-forced over all scales; `step` is one step of sampling, with a cache from `make_cache`. Both
    give the same logits. `scales` may be another schedule of as many scales: positions are then interpolated.

    A variant says what differs: with another block `block`, `branches` and `make_mask` (mvar.py); with another order
    of tokens `spans`, `inputs`, `make_mask` and `sample` (raster.py).
    """

    # Built by `stack`; with `forward(x, cond, mask=None, cache=None)` and `make_cache(length)`.
    block: ClassVar[type[nn.Module]]
    # The last layer of each residual branch of a block. A branch has three AdaLN vectors: gates first, scales, shifts.
    branches: ClassVar[tuple[str, ...]] = ("attn.proj", "ffn.fc2")

    @property
    def small(self) -> tuple[str, ...]:
        """For `initialise`."""
        return self.branches

    def __init__(self, config: Any):
        super().__init__()
        c = self.config = config
        C = c.width
        self.scales = self.scales_of(c)
        self.class_embed = ClassEmbedding(c.classes, C)
        self.pos_start = nn.Parameter(torch.empty(self.spans(self.scales)[0][1], C))
        self.pos_LC = nn.Parameter(torch.empty(self.scales.total, C))
        self.level_embed = nn.Embedding(self.scales.K, C)
        self.token_embed = nn.Linear(c.z, C)
        self.shared_ada_ln = nn.Linear(C, 3 * len(self.branches) * C) if c.shared_adaln else None
        self.blocks = stack(self.block, c)
        self.head = Head(C, c.vocab, c.ada_ln)
        initialise(self, self.small)

    def make_mask(self, scales: Scales, device: torch.device) -> Any:
        """What a block needs in order to keep teacher forcing causal; passed to it as `mask`."""
        raise NotImplementedError

    @staticmethod
    def spans(scales: Scales) -> tuple[tuple[int, int], ...]:
        """Where the tokens predicted in one step start and end among all L tokens."""
        return scales.spans

    def inputs(self, tokenizer: VQVAE, idx: list[torch.Tensor]) -> torch.Tensor:
        """What `forward` takes beside the label, (B, L - l_0, Z), from token maps."""
        return tokenizer.inputs(idx, self.scales)

    def forward(self, x_BLZ: torch.Tensor, label_B: torch.Tensor, scales: Scales | None = None) -> torch.Tensor:
        """Teacher-forced logits_BLV of all scales, from `inputs` (B, L - l_0, Z) and labels (B,)."""
        scales = scales or self.scales
        cond_BD = self.class_embed(label_B)
        # In float32 under autocast, as published; a model without memory, whose operations are counted, knows none.
        with torch.autocast("cpu" if x_BLZ.is_meta else x_BLZ.device.type, enabled=False):
            embedded = self.token_embed(x_BLZ.to(self.token_embed.weight.dtype))
        x = torch.cat((self._start(cond_BD), embedded), 1) + self._positions(scales)
        mask, block_cond = self.make_mask(scales, x.device), self._block_cond(cond_BD)
        if x.is_cuda and self.training:
            dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
            mask = for_training(mask, dtype, self.config.width // self.config.heads)
        for block in self.blocks:
            x = block(x, block_cond, mask=mask)
        return self.head(x, cond_BD)

    def loss(
        self, tokenizer: VQVAE, idx: list[torch.Tensor], label_B: torch.Tensor, chance_Bn: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Cross-entropy averaged over all L tokens. In training mode labels are dropped at random, for guidance.

        `chance_Bn` are the random numbers in [0, 1) that decide which; None draws them here.
        """
        if self.training:
            chance_Bn = torch.rand(len(label_B), 1, device=label_B.device) if chance_Bn is None else chance_Bn
            label_B = torch.where(chance_Bn[:, 0] < self.config.class_dropout, self.class_embed.null, label_B)
        with torch.no_grad():
            x_BLZ = self.inputs(tokenizer, idx)
        logits_BLV = self(x_BLZ, label_B)
        return F.cross_entropy(logits_BLV.flatten(0, 1), torch.cat(idx, 1).flatten())

    def score_tokens(
        self, tokenizer: VQVAE, idx: list[torch.Tensor], label_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy, and whether the likeliest code is wrong, for every token: (B, L) each. No label is dropped."""
        idx_BL = torch.cat(idx, 1)
        logits_BLV = self(self.inputs(tokenizer, idx), label_B)
        loss_BL = F.cross_entropy(logits_BLV.transpose(1, 2), idx_BL, reduction="none")
        return loss_BL, (logits_BLV.argmax(-1) != idx_BL).float()

    def log_likelihood(self, tokenizer: VQVAE, idx: list[torch.Tensor], label_BM: torch.Tensor) -> torch.Tensor:
        """log p(token | label, tokens of earlier steps) in nats, of every token under M labels an image: (B, M, L).

        The inputs are computed once an image. No label is dropped; gradients reach the model, not the tokenizer.
        """
        M = label_BM.shape[1]
        with torch.no_grad():
            x_BLZ = self.inputs(tokenizer, idx)
        logits_XLV = self(x_BLZ.repeat_interleave(M, 0), label_BM.flatten())
        idx_XL = torch.cat(idx, 1).repeat_interleave(M, 0)
        loss_X = F.cross_entropy(logits_XLV.flatten(0, 1), idx_XL.flatten(), reduction="none")
        return -loss_X.view(*label_BM.shape, -1)

    # Sampling

    def condition(self, label_B: torch.Tensor) -> Condition:
        """What the labels (B,) mean to every layer, for the many steps that they stay the same."""
        cond_BD = self.class_embed(label_B)
        block_cond = self._block_cond(cond_BD)
        of_blocks = [block.get_submodule("ada_ln")(block_cond) for block in self.blocks]
        return Condition(cond_BD, of_blocks, self.head.ada_ln(cond_BD))

    def make_cache(self, scales: Scales | None = None) -> list:
        """An empty cache for each block, of the block's kind; memory is taken by the first step."""
        return [block.make_cache((scales or self.scales).total) for block in self.blocks]

    def step(
        self,
        x_BlZ: torch.Tensor | None,
        label: torch.Tensor | Condition,
        k: int,
        cache: list,
        scales: Scales | None = None,
        rows: int | None = None,
    ) -> torch.Tensor:
        """Logits_BlV of step k, given the cache of the steps before it and `tokenizer.next_input`; None at k = 0.

        `label` is label_B, or `condition` of it. With `rows`, logits of the first so many images of the batch alone.
        """
        scales = scales or self.scales
        given = label if isinstance(label, Condition) else self.condition(label)
        x = self._start(given.cond_BD) if x_BlZ is None else self.token_embed(x_BlZ)
        x = x + self._positions(scales)[slice(*self.spans(scales)[k])]
        for block, cond, block_cache in zip(self.blocks, given.blocks, cache, strict=True):
            x = block(x, cond, cache=block_cache)
        return self.head(x[:rows], [vector[:rows] for vector in given.head])

    def sample(self, tokenizer: VQVAE, label_B: torch.Tensor, rules: Rules, scales: Scales) -> torch.Tensor:
        """The coarse-to-fine loop: images in [-1, 1]. Guidance rises over the scales, t = cfg k / (K - 1).

        The null branch runs only if there is guidance, and at the first scale, where t = 0, without its logits.
        """
        B, branches = len(label_B), 2 if rules.cfg > 0 and scales.K > 1 else 1
        # Conditional and null branch side by side in one batch; the null branch is the second half.
        null_B = torch.full_like(label_B, self.class_embed.null)
        given, cache = self.condition(torch.cat((label_B, null_B)[:branches])), self.make_cache(scales)
        f_hat, x_BlZ = tokenizer.empty(B, scales), None
        for k in range(scales.K):
            progress = k / max(1, scales.K - 1)
            x_2BlZ = None if x_BlZ is None else x_BlZ.repeat(branches, 1, 1)
            t = rules.cfg * progress
            logits_BlV = self.step(x_2BlZ, given, k, cache, scales, rows=None if t else B)
            if t:
                cond_BlV, null_BlV = logits_BlV.chunk(2)
                logits_BlV = guide(cond_BlV, null_BlV, t)
            step = Step(k, scales, tokenizer, logits_BlV, f_hat)
            rules.choose(step, progress)
            if rules.on_scale is not None:
                rules.on_scale(step)
            f_hat = tokenizer.accumulate(f_hat, step.h_BlZ, k, scales)
            if k < scales.K - 1:
                x_BlZ = tokenizer.next_input(f_hat, k, scales)
        del cache  # the decoder can use its memory
        return tokenizer.to_image(f_hat)

    # Inputs of the blocks

    def _start(self, cond_BD: torch.Tensor) -> torch.Tensor:
        """Input of the first step: the condition itself, (B, l_0, C)."""
        return cond_BD[:, None] + self.pos_start

    def _block_cond(self, cond_BD: torch.Tensor) -> torch.Tensor:
        return cond_BD if self.shared_ada_ln is None else self.shared_ada_ln(F.silu(cond_BD))

    def _positions(self, scales: Scales) -> torch.Tensor:
        """Position plus level embedding of each token, (L, C)."""
        if scales == self.scales:
            pos_LC: torch.Tensor = self.pos_LC
        elif scales.K != self.scales.K or scales.lengths[0] != self.scales.lengths[0]:
            raise ValueError(
                f"scales: this model has {self.scales.K} scales, the first of {self.scales.lengths[0]} tokens; "
                f"got {scales.K}, the first of {scales.lengths[0]}"
            )
        else:
            maps = zip(self.scales.split(self.pos_LC[None]), self.scales.shapes, scales.shapes, strict=True)
            resized = [
                F.interpolate(x.transpose(1, 2).unflatten(2, old), size=new, mode="bicubic") for x, old, new in maps
            ]
            pos_LC = torch.cat([x.flatten(2).transpose(1, 2) for x in resized], 1)[0]
        return pos_LC + self.level_embed(scales.levels(pos_LC.device))

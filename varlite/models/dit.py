"""A diffusion transformer (DiT, arXiv 2212.09748) on continuous latents, trained by flow matching (rectified flow).

    training   x_t = (1 - t) x_0 + t noise; predict the velocity noise - x_0 (arXiv 2209.03003) at random times t, whose
               logit is normal (arXiv 2403.03206)
    sampling   start from noise at t = 1; follow the velocity to t = 0, by Euler's or Heun's method

The latents x_0 are the encoder's output before quantization, with mean 0 and standard deviation 1 in every channel; no
codebook takes part, and the decoder is given them as they are. The blocks are VAR's, without a mask: already DiT's with
AdaLN-zero. Their condition is the class embedding plus that of the time t.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from varlite.drawing import Rules, Step, guide
from varlite.models.contract import Ability, Learns, Model, register
from varlite.models.costs import Pass, TransformerCosts, What, block_formula, check_what
from varlite.models.stack import initialise, stack
from varlite.models.var import VARConfig
from varlite.scales import Scales
from varlite.tokenizer import VQVAE
from varlite.transformer import Block, ClassEmbedding, Head

FREQUENCIES = 256  # numbers that a time is turned into before the layers of its embedding


@dataclass(frozen=True)
class DiTConfig(VARConfig):
    """As for VAR. `scales` are the tokenizer's, of which a DiT fills the last; of `vocab` it makes no use.

    `steps` and `solver` are of sampling: Euler's method evaluates the model once a step, Heun's twice but in the last.
    """

    gamma_init: float = 0.0  # AdaLN-zero: every block starts as the identity
    steps: int = 8
    solver: Literal["euler", "heun"] = "heun"

    def __post_init__(self):
        super().__post_init__()
        if not self.adaln or self.shared_adaln:
            raise ValueError("adaln: a DiT knows class and time through an AdaLN in every block, and in no other way")
        if self.steps < 1 or self.solver not in ("euler", "heun"):
            raise ValueError(f"steps must be at least 1, solver euler or heun, got {self.steps} and {self.solver!r}")

    def check_scales(self) -> None:
        """Any number of them will do."""


class TimeEmbedding(nn.Module):
    """Sines and cosines of 1000 t at FREQUENCIES / 2 frequencies, then linear, SiLU, linear: t_B -> (B, D)."""

    def __init__(self, D: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(FREQUENCIES, D), nn.Linear(D, D)

    def forward(self, t_B: torch.Tensor) -> torch.Tensor:
        half = FREQUENCIES // 2
        rate = torch.exp(torch.arange(half, device=t_B.device, dtype=t_B.dtype) * (-math.log(10_000) / half))
        angle = 1000 * t_B[:, None] * rate
        waves = torch.cat((angle.cos(), angle.sin()), 1).to(self.fc1.weight.dtype)
        return self.fc2(F.silu(self.fc1(waves)))


class LatentStep(Step):
    """A step without codes: `h_BlZ` is the estimate of the clean latents, at the positions of the last scale."""

    def image(self) -> torch.Tensor:
        """The picture of the estimate, (B, channels, H, W) in [0, 1]."""
        return (self.tokenizer.to_image(as_map(self.h_BlZ, self.scales).to(self.f_hat_BZhw.dtype)) + 1) / 2


class DiT(TransformerCosts, Model):
    """A bidirectional transformer that predicts the velocity from noise to latents."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(("guidance", "editing"))
    learns: ClassVar[Learns] = "latents"
    dials: ClassVar[tuple[str, ...]] = ("steps", "solver")
    branches: ClassVar[tuple[str, ...]] = ("attn.proj", "ffn.fc2")
    mean_Z11: torch.Tensor
    std_Z11: torch.Tensor

    def __init__(self, config: DiTConfig):
        super().__init__()
        c = self.config = config
        self.scales = Scales.of(c.scales)
        l = self.scales.lengths[-1]
        self.chances = 2 + l * c.z  # of an image: one for its label, one for its time, and one for each number of noise
        self.register_buffer("mean_Z11", torch.zeros(c.z, 1, 1))
        self.register_buffer("std_Z11", torch.ones(c.z, 1, 1))
        self.class_embed, self.time_embed = ClassEmbedding(c.classes, c.width), TimeEmbedding(c.width)
        self.pos_LC = nn.Parameter(torch.empty(l, c.width))
        self.token_embed = nn.Linear(c.z, c.width)
        self.blocks = stack(Block, c)
        self.head = Head(c.width, c.z, "own")
        initialise(self)
        nn.init.zeros_(self.head.linear.weight)

    @classmethod
    def passes(cls, config: Any, what: What) -> list[Pass]:
        l = Scales.of(config.scales).lengths[-1]
        evaluations = 2 * config.steps - 1 if config.solver == "heun" else config.steps
        return [Pass(l, l, l * l)] * (evaluations if what == "sampling" else 1)

    @classmethod
    def flops_by_part(cls, config: Any, what: What = "forward") -> dict[str, int]:
        """As of VAR's blocks, except that the condition changes with the time: AdaLN is computed in every pass."""
        parts, C = block_formula(cls, replace(config, vocab=config.z), what), config.width
        images, n = check_what(what), len(cls.passes(config, what))
        parts["adaln"] *= n
        parts["head"] += (n - 1) * images * 4 * C * C
        parts["embeddings"] += n * images * 2 * (FREQUENCIES + C) * C
        return parts

    def forward(self, x_BZhw: torch.Tensor, t_B: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        """Velocity_BZhw at normalised, noisy latents x and times t in [0, 1] (1 is noise)."""
        cond_BD = self.class_embed(label_B) + self.time_embed(t_B)
        x = self.token_embed(as_rows(x_BZhw).to(self.token_embed.weight.dtype)) + self.pos_LC
        for block in self.blocks:
            x = block(x, cond_BD)
        return as_map(self.head(x, cond_BD), self.scales)

    # Training

    def measure(self, f_BZhw: torch.Tensor) -> None:
        """Keep mean and standard deviation of each channel of the latents, by which all are normalised."""
        self.mean_Z11.copy_(f_BZhw.mean((0, 2, 3)).view_as(self.mean_Z11))
        self.std_Z11.copy_(f_BZhw.std((0, 2, 3)).view_as(self.std_Z11))

    def loss(
        self, tokenizer: VQVAE, f_BZhw: torch.Tensor, label_B: torch.Tensor, chance_Bn: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean squared error of the velocity. In training mode labels are dropped at random.

        `chance_Bn` are the random numbers in [0, 1) that labels, times and noise are made of; None draws them here.
        """
        chance_Bn = torch.rand(len(label_B), self.chances, device=f_BZhw.device) if chance_Bn is None else chance_Bn
        if self.training:
            label_B = torch.where(chance_Bn[:, 0] < self.config.class_dropout, self.class_embed.null, label_B)
        return self.errors(f_BZhw, label_B, chance_Bn[:, 1:]).mean()

    def errors(self, f_BZhw: torch.Tensor, label_B: torch.Tensor, chance_Bn: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the velocity of each image, (B,), at the time and noise that `chance_Bn` makes."""
        # Uniform to normal; a chance can be 0, and never 1.
        normal_Bn = math.sqrt(2) * torch.erfinv(2 * chance_Bn.clamp_min(2**-25) - 1)
        t_B, noise, x_0 = normal_Bn[:, 0].sigmoid(), normal_Bn[:, 1:].view_as(f_BZhw), self.normalise(f_BZhw)
        v_BZhw = self(torch.lerp(x_0, noise, t_B[:, None, None, None]), t_B, label_B)
        return (v_BZhw - (noise - x_0)).square().mean((1, 2, 3))

    def score(self, tokenizer: VQVAE, f_BZhw: torch.Tensor, label_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """ "loss": that of the velocity, at the same times and noise every time; it is no cross-entropy."""
        chance_Bn = torch.rand(len(label_B), self.chances, generator=torch.Generator().manual_seed(0))
        return {"loss": self.errors(f_BZhw, label_B, chance_Bn[:, 1:].to(f_BZhw.device))}

    def normalise(self, f_BZhw: torch.Tensor) -> torch.Tensor:
        return (f_BZhw - self.mean_Z11) / self.std_Z11

    def latents(self, x_BZhw: torch.Tensor) -> torch.Tensor:
        """What `normalise` was given."""
        return x_BZhw * self.std_Z11 + self.mean_Z11

    # Sampling

    def sample(self, tokenizer: VQVAE, label_B: torch.Tensor, rules: Rules, scales: Scales) -> torch.Tensor:
        """From noise to latents in `steps` steps of equal length: images in [-1, 1]. top_k and top_p mean nothing here.

        `on_scale` is called in every step, with the estimate of the clean latents, x - t v. Where it puts another one,
        that is known: the position goes on as what was put there, with its own noise of the time (in-painting by
        replacement).
        """
        empty = tokenizer.empty(len(label_B), scales)
        x = noise = rules.normal(empty.float(), 0)  # steps add up in float32, whatever the weights are
        for t, s in pairwise(1 - i / self.config.steps for i in range(self.config.steps + 1)):
            v = self.guided(x, t, label_B, rules.cfg)
            x_s, known, put = x + (s - t) * v, torch.zeros_like(x[:, :1]).bool(), x
            if rules.on_scale is not None:
                h_BlZ = as_rows(self.latents(x - t * v))
                step = LatentStep(scales.K - 1, scales, tokenizer, h_BlZ[..., :0], empty)
                step.h_BlZ = h_BlZ
                rules.on_scale(step)
                known = as_map((step.h_BlZ != h_BlZ).any(-1, keepdim=True), scales)
                put = torch.lerp(self.normalise(as_map(step.h_BlZ, scales)).float(), noise, s)
            x_s = torch.where(known, put, x_s)
            if self.config.solver == "heun" and s > 0:
                v = (v + self.guided(x_s, s, label_B, rules.cfg)) / 2
                x_s = torch.where(known, x_s, x + (s - t) * v)
            x = x_s
        return tokenizer.to_image(self.latents(x).to(empty.dtype))

    def guided(self, x_BZhw: torch.Tensor, t: float, label_B: torch.Tensor, cfg: float) -> torch.Tensor:
        """The velocity at time t, guided by `cfg` throughout."""
        if cfg == 0:
            return self(x_BZhw, x_BZhw.new_full((len(label_B),), t), label_B)
        label_2B = torch.cat((label_B, torch.full_like(label_B, self.class_embed.null)))
        both = self(x_BZhw.repeat(2, 1, 1, 1), x_BZhw.new_full((len(label_2B),), t), label_2B)
        cond, null = both.chunk(2)
        return guide(cond, null, cfg)


def as_map(x_BlZ: torch.Tensor, scales: Scales) -> torch.Tensor:
    """A map (B, Z, h, w) of the last scale, from rows of its positions."""
    return x_BlZ.transpose(1, 2).unflatten(2, scales.last)


def as_rows(x_BZhw: torch.Tensor) -> torch.Tensor:
    """Rows (B, l, Z) of a map's positions."""
    return x_BZhw.flatten(2).transpose(1, 2)


register("dit", DiT, DiTConfig)

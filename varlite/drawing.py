"""From logits to tokens: guidance, filters, draws, and the hooks around the draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from varlite.io.checks import brief, check_switches, integer
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass
class Step:
    """One step of sampling as the hooks see it: one scale, or one token of a raster model.

    `on_logits` is called before the draw and may assign `logits_BlV`; `on_scale` after it and may assign `h_BlZ`, the
    embeddings passed on to the next scale.
    """

    k: int
    scales: Scales
    tokenizer: VQVAE
    logits_BlV: torch.Tensor  # after guidance; after the draw -inf where a filter dropped the code
    f_hat_BZhw: torch.Tensor  # the latent map before this scale is added
    idx_Bl: torch.Tensor = field(init=False, repr=False)  # the tokens drawn
    h_BlZ: torch.Tensor = field(init=False, repr=False)  # their embeddings (in smooth mode a mixture of embeddings)

    def image(self) -> torch.Tensor:
        """The picture if sampling stopped after this scale, (B, channels, H, W) in [0, 1]."""
        f_hat = self.tokenizer.accumulate(self.f_hat_BZhw, self.h_BlZ, self.k, self.scales)
        return (self.tokenizer.to_image(f_hat) + 1) / 2


Hook = Callable[[Step], None]


@dataclass(frozen=True)
class Rules:
    """How logits become tokens. `generate` explains every entry, and checks the numbers.

    Raises ValueError for a generator or a hook that is none.
    """

    cfg: float = 1.5
    top_k: int = 0
    top_p: float = 0.96
    generator: Generators = None
    smooth: bool = False
    on_logits: Hook | None = None
    on_scale: Hook | None = None

    def __post_init__(self):
        given = self.generator if isinstance(self.generator, list | tuple) else [self.generator]
        if not all(isinstance(one, torch.Generator) for one in given) and self.generator is not None:
            raise ValueError(
                "generator must be a torch.Generator, such as torch.Generator().manual_seed(0), or a list of them, "
                f"got {brief(self.generator)}"
            )
        for name in ("on_logits", "on_scale"):
            if not callable(hook := getattr(self, name)) and hook is not None:
                raise ValueError(f"{name} must be a function of a Step, got {brief(hook)}")
        check_switches(smooth=self.smooth)

    def choose(self, step: Step, progress: float = 0.0) -> None:
        """Draw the tokens of a step: `on_logits`, the filters, the draw. `progress` is k / (K - 1), for smooth mode."""
        if self.on_logits is not None:
            self.on_logits(step)
        step.logits_BlV = keep_top(step.logits_BlV, self.top_k, self.top_p)
        step.idx_Bl = draw(step.logits_BlV, self.generator)
        if self.smooth:
            codes_VZ = step.tokenizer.quantizer.codebook.weight
            step.h_BlZ = smooth_weights(step.logits_BlV, progress, self.generator).to(codes_VZ.dtype) @ codes_VZ
        else:
            step.h_BlZ = step.tokenizer.embed(step.idx_Bl)


def guide(logits_cond: torch.Tensor, logits_null: torch.Tensor, t: float) -> torch.Tensor:
    """Classifier-free guidance: (1 + t) cond - t null."""
    return (1 + t) * logits_cond - t * logits_null


def keep_top(logits_BlV: torch.Tensor, top_k: int = 0, top_p: float = 0.0) -> torch.Tensor:
    """Logits with -inf where top-k or, after it, top-p drops a code; 0 switches either off.

    top-k keeps what is not less than the k-th largest. top-p drops the least likely codes as long as their summed
    probability stays within 1 - p, and never the likeliest.
    """
    if not top_k and not top_p:
        return logits_BlV
    ascending_BlV, last = ascending(logits_BlV), logits_BlV.shape[-1] - 1
    if top_k:
        kth_Bl1 = ascending_BlV[..., -top_k, None]
        logits_BlV = logits_BlV.masked_fill(logits_BlV < kth_Bl1, -torch.inf)
        ascending_BlV = ascending_BlV.masked_fill(ascending_BlV < kth_Bl1, -torch.inf)
    if top_p:
        dropped_Bl1 = (ascending_BlV.softmax(-1).cumsum(-1) <= 1 - top_p).sum(-1, keepdim=True).clamp_max(last)
        least_Bl1 = ascending_BlV.gather(-1, dropped_Bl1)
        below_BlV, equal_BlV = logits_BlV < least_Bl1, logits_BlV == least_Bl1
        # Of codes as likely as the least that stays, the first ones make up the number.
        surplus_Bl1 = dropped_Bl1 - below_BlV.sum(-1, keepdim=True)
        drop_BlV = below_BlV | (equal_BlV & (equal_BlV.cumsum(-1, dtype=torch.int32) <= surplus_Bl1))
        logits_BlV = logits_BlV.masked_fill(drop_BlV, -torch.inf)
    return logits_BlV


def ascending(x: torch.Tensor) -> torch.Tensor:
    """Sorted along the last axis. On a CPU by NumPy, ten times as fast as torch, which sorts indices along."""
    return torch.from_numpy(np.sort(x.detach().numpy())) if x.device.type == "cpu" else x.sort(dim=-1).values


def draw(logits_BlV: torch.Tensor, generator: Generators = None) -> torch.Tensor:
    """One code per token, idx_Bl. With a list of generators, one an image, an image's draws depend on its own alone."""
    if isinstance(generator, Sequence):
        return torch.cat([draw(row[None], g) for row, g in zip(logits_BlV, generator, strict=True)])
    p_XV = logits_BlV.softmax(-1).flatten(0, 1)
    try:
        return torch.multinomial(p_XV, 1, generator=generator).view(logits_BlV.shape[:2])
    except RuntimeError:
        if p_XV.isfinite().all():
            raise
        raise ValueError("logits: NaN or infinite, or every code is ruled out: look at weights and hooks") from None


def gumbel_noise(like_BlV: torch.Tensor, generator: Generators = None) -> torch.Tensor:
    """-log E with E ~ Exp(1), in the shape of `like_BlV`."""
    if isinstance(generator, Sequence):
        return torch.cat([gumbel_noise(row[None], g) for row, g in zip(like_BlV, generator, strict=True)])
    noise = torch.empty_like(like_BlV, memory_format=torch.contiguous_format)
    return -noise.exponential_(generator=generator).log()


def smooth_weights(logits_BlV: torch.Tensor, progress: float, generator: Generators = None) -> torch.Tensor:
    """Weights of a mixture of codes in place of one code (`more_smooth`): nicer pictures, not for scores.

    `progress` is k / (K - 1). A Gumbel softmax whose temperature falls from 0.27 to 0.0135 over the scales.
    """
    tau = max(0.27 * (1 - 0.95 * progress), 0.005)
    return ((logits_BlV * (1 + progress) + gumbel_noise(logits_BlV, generator)) / tau).softmax(-1)


def image_generator(seed: int, label: int, index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Random numbers of one image, from its seed, class and number alone."""
    seed, label, index = integer("seed", seed), integer("label", label), integer("index", index)
    try:
        generator = torch.Generator(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device: no random numbers on {brief(device)}: {str(error).splitlines()[0]}") from None
    return generator.manual_seed(((seed * 1_000_003 + label) * 1_000_003 + index) % 2**63)

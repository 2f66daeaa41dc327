"""From logits to tokens: guidance, filters, draws, and the hooks around the draw; random numbers that travel.

A random number is a hash of (seed of the image, stream, step, place): the same bits on every device, in any batch, by
any number of processes and threads. `random_words` has the recipe.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from varlite.io.checks import brief, check_switches, integer
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

# Where random numbers come from: seeds int64 (B,), one an image, or one generator for the batch, as in the published
# code; None is torch's global generator.
Source = torch.Tensor | torch.Generator | None


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

    Random numbers come from `seeds`, int64 (B,) on the model's device, or else from `generator`. Models get theirs from
    `choose`, `gumbel` and `normal`, and never ask which of the two it is.

    Raises ValueError for both, and for a generator, seeds or a hook that are none.
    """

    cfg: float = 1.5
    top_k: int = 0
    top_p: float = 0.96
    seeds: torch.Tensor | None = None
    generator: torch.Generator | None = None
    smooth: bool = False
    on_logits: Hook | None = None
    on_scale: Hook | None = None

    def __post_init__(self):
        if not isinstance(self.generator, torch.Generator | None):
            raise ValueError(
                "generator must be one torch.Generator for the batch, such as torch.Generator().manual_seed(0); with "
                f"seeds each image has random numbers of its own; got {brief(self.generator)}"
            )
        if self.seeds is not None and self.generator is not None:
            raise ValueError("seeds or a generator: random numbers come from one of them, not from both")
        if not isinstance(self.seeds, torch.Tensor | None):
            raise ValueError(f"seeds must be a tensor (see `image_seeds`), got {brief(self.seeds)}")
        for name in ("on_logits", "on_scale"):
            if not callable(hook := getattr(self, name)) and hook is not None:
                raise ValueError(f"{name} must be a function of a Step, got {brief(hook)}")
        check_switches(smooth=self.smooth)

    @property
    def source(self) -> Source:
        return self.generator if self.seeds is None else self.seeds

    def choose(self, step: Step, progress: float = 0.0, number: int | None = None) -> None:
        """Draw the tokens of a step: `on_logits`, the filters, the draw.

        progress: k / (K - 1), for smooth mode. number: of the step in its random numbers, where that is not its scale.
        """
        number = step.k if number is None else number
        if self.on_logits is not None:
            self.on_logits(step)
        step.logits_BlV = keep_top(step.logits_BlV, self.top_k, self.top_p)
        step.idx_Bl = draw(step.logits_BlV, self.source, number)
        if self.smooth:
            codes_VZ = step.tokenizer.quantizer.codebook.weight
            weights_BlV = smooth_weights(step.logits_BlV, progress, self.source, number)
            step.h_BlZ = weights_BlV.to(codes_VZ.dtype) @ codes_VZ
        else:
            step.h_BlZ = step.tokenizer.embed(step.idx_Bl)

    def gumbel(self, like: torch.Tensor, number: int) -> torch.Tensor:
        """Gumbel noise of step `number`, in the shape (B, ...), type and device of `like`."""
        return gumbel_noise(like, self.source, number)

    def normal(self, like: torch.Tensor, number: int) -> torch.Tensor:
        """Normal noise of step `number`, in the shape (B, ...), type and device of `like`."""
        return normal_noise(like, self.source, number)


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
        logits_BlV = torch.where(logits_BlV < kth_Bl1, -torch.inf, logits_BlV)
        ascending_BlV = torch.where(ascending_BlV < kth_Bl1, -torch.inf, ascending_BlV)
    if top_p:
        mass_BlV = ascending_BlV.softmax(-1).cumsum(-1)
        most_Bl1 = mass_BlV.new_full((), 1 - top_p).expand(*mass_BlV.shape[:-1], 1).contiguous()
        dropped_Bl1 = torch.searchsorted(mass_BlV, most_Bl1, right=True).clamp_max(last)
        least_Bl1 = ascending_BlV.gather(-1, dropped_Bl1)
        drop_BlV = logits_BlV < least_Bl1
        # Of codes as likely as the least that stays, the first ones make up the number.
        surplus_Bl1 = dropped_Bl1 - torch.searchsorted(ascending_BlV, least_Bl1)
        if not may_look(logits_BlV) or surplus_Bl1.any():
            equal_BlV = logits_BlV == least_Bl1
            drop_BlV |= equal_BlV & (equal_BlV.cumsum(-1, dtype=torch.int32) <= surplus_Bl1)
        logits_BlV = torch.where(drop_BlV, -torch.inf, logits_BlV)
    return logits_BlV


def ascending(x: torch.Tensor) -> torch.Tensor:
    """Sorted along the last axis. On a CPU by NumPy, ten times as fast as torch, which sorts indices along."""
    return torch.from_numpy(np.sort(x.detach().numpy())) if may_look(x) else x.sort(dim=-1).values


def may_look(x: torch.Tensor) -> bool:
    """Whether Python may look at values: on a CPU, while no graph is traced. A GPU would have to be waited for."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def draw(logits_BlV: torch.Tensor, source: Source = None, step: int = 0) -> torch.Tensor:
    """One code per token, idx_Bl. With seeds an image's draws depend on its own seed and logits alone.

    Raises ValueError for logits that leave nothing to draw; with seeds on a CPU only, as a GPU would have to be waited
    for.
    """
    p_BlV = logits_BlV.softmax(-1)
    if isinstance(source, torch.Tensor):
        if may_look(p_BlV) and p_BlV[..., 0].isnan().any():  # one spoils its whole row
            raise ValueError(NOTHING_TO_DRAW)
        return invert(p_BlV, random_words(source, DRAW, step, p_BlV.shape[1:2]))
    try:
        return torch.multinomial(p_BlV.flatten(0, 1), 1, generator=source).view(p_BlV.shape[:2])
    except RuntimeError:
        if p_BlV.isfinite().all():
            raise
        raise ValueError(NOTHING_TO_DRAW) from None


NOTHING_TO_DRAW = "logits: NaN or infinite, or every code is ruled out: look at weights and hooks"


def invert(p_BlV: torch.Tensor, word_Bl: torch.Tensor) -> torch.Tensor:
    """Inverts the cumulative distribution over codes: the first code whose sum exceeds a random share of the total.

    Probabilities are counted in units of 2^-28 and the share is of 24 bits, so that everything is whole numbers: sums
    are the same in any order of adding, no code of probability zero is drawn and none past the end, and the product
    below is exact in float64, too, which is what a browser has.
    """
    sum_BlV = (p_BlV * 2**28 + 0.5).to(torch.int32).cumsum(-1, dtype=torch.int32)
    target_Bl1 = ((word_Bl >> 8)[..., None] * sum_BlV[..., -1:]) >> 24
    # Past the end only for probabilities that are no numbers.
    return torch.searchsorted(sum_BlV, target_Bl1.int(), right=True)[..., 0].clamp_max(p_BlV.shape[-1] - 1)


def gumbel_noise(like: torch.Tensor, source: Source = None, step: int = 0) -> torch.Tensor:
    """-log E with E ~ Exp(1), in the shape (B, ...) of `like`."""
    if isinstance(source, torch.Tensor):
        return -(-uniform(source, GUMBEL, step, like.shape[1:]).log()).log().to(like.dtype)
    noise = torch.empty_like(like, memory_format=torch.contiguous_format)
    return -noise.exponential_(generator=source).log()


def normal_noise(like: torch.Tensor, source: Source = None, step: int = 0) -> torch.Tensor:
    """Standard normal numbers in the shape (B, ...) of `like`; of seeds by the transform of Box and Muller.

    Their uniform numbers are equal on all devices, their logarithms and cosines up to rounding.
    """
    if isinstance(source, torch.Tensor):
        u, v = (uniform(source, stream, step, [like[0].numel()]) for stream in (RADIUS, ANGLE))
        return ((-2 * u.log()).sqrt() * (2 * math.pi * v).cos()).view(like.shape).to(like.dtype)
    return torch.randn(like.shape, generator=source, dtype=like.dtype, device=like.device)


def smooth_weights(logits_BlV: torch.Tensor, progress: float, source: Source = None, step: int = 0) -> torch.Tensor:
    """Weights of a mixture of codes in place of one code (`more_smooth`): nicer pictures, not for scores.

    `progress` is k / (K - 1). A Gumbel softmax whose temperature falls from 0.27 to 0.0135 over the scales.
    """
    tau = max(0.27 * (1 - 0.95 * progress), 0.005)
    return ((logits_BlV * (1 + progress) + gumbel_noise(logits_BlV, source, step)) / tau).softmax(-1)


# Random numbers

WORD = 0xFFFFFFFF  # 32 bits
DRAW, GUMBEL, RADIUS, ANGLE, SEED = range(5)  # streams: what a random number is for


def mix(x: torch.Tensor) -> torch.Tensor:
    """A bijection of 32-bit words in which each bit of the result depends on every bit of x."""
    x = (x ^ (x >> 16)).mul_(0x21F0AAAD).bitwise_and_(WORD)
    x = (x ^ (x >> 15)).mul_(0x735A2D97).bitwise_and_(WORD)
    return x ^ (x >> 15)


def absorb(state: tuple[Any, Any], word: torch.Tensor | int) -> tuple[torch.Tensor, torch.Tensor]:
    """The next state of the hash, two words (a, b): a = mix(a ^ word), then b = mix(b ^ a)."""
    a = mix(state[0] ^ word)
    return a, mix(state[1] ^ a)


def random_words(seed_B: torch.Tensor, stream: int, step: int, shape: Sequence[int]) -> torch.Tensor:
    """Random 32-bit words (B, *shape) as int64: of each image's seed, the stream, the step and the place in `shape`.

    The recipe, for a twin in another language, all numbers being unsigned 32-bit words:

        mix(x):             x ^= x >> 16; x *= 0x21F0AAAD; x ^= x >> 15; x *= 0x735A2D97; x ^= x >> 15
        absorb(a, b, word): a = mix(a ^ word); b = mix(b ^ a)
        start               a = 0x243F6A88, b = 0x85A308D3 (of pi)
        absorb in turn      low word of the seed, its high word, stream, step, then the index on each axis of `shape`
        result              b

    In JavaScript `*=` is Math.imul and `>>` is >>>. Here words lie in int64, where the products of a word and these
    constants, both below 2^31, are exact, so that no device has to overflow as another does.

    Streams are 0 draws, 1 Gumbel noise, 2 and 3 normal noise, 4 seeds of images. `shape` is (l,) for draws, the place
    of a token in its step; (l,) or (l, V) for Gumbel noise, the second index being the code; one axis for normal noise,
    which flattens its own. The seed of an image absorbs the two words of the common seed, stream 4, the class and the
    number within the class; it is the upper 31 bits of a, followed by the 32 of b.

    A draw takes word >> 8 (see `invert`), a uniform number ((word >> 9) + 0.5) / 2^23: exact in float32, never 0 or 1.

    The two multipliers were found by search for the least bias (github.com/skeeto/hash-prospector, issue 19); two words
    of state tell all 2^64 seeds apart, where one would give two of 50,000 images the same numbers in one case of four.
    """
    state = absorb(absorb(START, seed_B & WORD), (seed_B >> 32) & WORD)
    state = absorb(absorb(state, stream), step)
    for length in shape:
        place = torch.arange(length, device=seed_B.device)
        state = absorb((state[0][..., None], state[1][..., None]), place)
    return state[1]


START = 0x243F6A88, 0x85A308D3


def uniform(seed_B: torch.Tensor, stream: int, step: int, shape: Sequence[int]) -> torch.Tensor:
    """Uniform numbers in (0, 1), float32 (B, *shape)."""
    return ((random_words(seed_B, stream, step, shape) >> 9).float() + 0.5) / 2**23


def image_seeds(seed: int, label_B: torch.Tensor, number_B: torch.Tensor | None = None) -> torch.Tensor:
    """Seeds int64 (B,) of images, from a seed for all, their classes and their numbers within the class.

    Without numbers they are counted here: 0 for the first image of a class, 1 for the second.
    """
    if number_B is None:
        order = label_B.argsort(stable=True)
        by_class = label_B[order]
        number_B = torch.empty_like(order)
        number_B[order] = torch.arange(len(order), device=order.device) - torch.searchsorted(by_class, by_class)
    whole = torch.tensor(signed(integer("seed", seed)), device=label_B.device)
    state = absorb(absorb(START, whole & WORD), (whole >> 32) & WORD)
    a, b = absorb(absorb(absorb(state, SEED), label_B & WORD), number_B & WORD)
    return (a >> 1 << 32) | b


def signed(seed: int) -> int:
    """A seed as int64 holds it: of a larger number the low 64 bits."""
    return (seed + 2**63) % 2**64 - 2**63


def image_seed(seed: int, label: int, index: int) -> int:
    """The seed of one image: number `index` of a class, of those that `varlite sample --seed SEED` makes."""
    seed, label, index = integer("seed", seed), integer("label", label), integer("index", index)
    return int(image_seeds(seed, torch.tensor([label]), torch.tensor([index])))

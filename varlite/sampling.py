"""Sampling: the coarse-to-fine loop (VAR, arXiv 2404.02905, section 3.2), guidance and filters as plain functions."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from varlite.models import VAR, Raster
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass
class Step:
    """One scale of sampling, as `on_scale` sees it. A hook may assign `h_BlZ`: what goes on from this scale."""

    k: int
    scales: Scales
    tokenizer: VQVAE
    logits_BlV: torch.Tensor  # after guidance and filters; -inf where a filter dropped the code
    idx_Bl: torch.Tensor  # the codes drawn
    h_BlZ: torch.Tensor  # their embeddings (in smooth mode a mixture of embeddings)
    f_hat_BZhw: torch.Tensor  # the latent map before this scale is added

    def image(self) -> torch.Tensor:
        """The picture if sampling stopped after this scale, (B, channels, H, W) in [0, 1]."""
        f_hat = self.tokenizer.accumulate(self.f_hat_BZhw, self.h_BlZ, self.k, self.scales)
        return (self.tokenizer.to_image(f_hat) + 1) / 2


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
    return torch.multinomial(p_XV, 1, generator=generator).view(logits_BlV.shape[:2])


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


@torch.inference_mode()
def generate(
    model: VAR,
    tokenizer: VQVAE,
    labels: torch.Tensor | Iterable[int],
    *,
    cfg: float = 1.5,
    top_k: int = 0,
    top_p: float = 0.96,
    generator: Generators = None,
    smooth: bool = False,
    on_scale: Callable[[Step], None] | None = None,
    scales: Scales | None = None,
) -> torch.Tensor:
    """Sample one image for each label: (B, channels, H, W) in [0, 1], on the model's device.

    labels: class indices in [0, classes]; `classes` itself is the null class.
    cfg: guidance at the last scale, >= 0. It rises linearly over the scales: t = cfg * k / (K - 1).
    top_k, top_p: keep the k likeliest codes, then the likeliest of summed probability p; 0 keeps all.
    generator: one for the batch, or a list with one for each image, which makes an image independent of its batch.
    smooth: mix codes instead of drawing one; for pictures, not for scores.
    on_scale: called once for each scale with a `Step`; for a raster model once for each token, see `token_by_token`.

    Raises ValueError for an argument out of range, or for a tokenizer with other codes than the model's.
    """
    check_pair(model, tokenizer)
    device, scales = model.pos_LC.device, scales or model.scales
    label_B = check_labels(labels, model.config.classes).to(device)
    check_settings(cfg, top_k, top_p, model.config.vocab)
    if isinstance(generator, Sequence) and len(generator) != len(label_B):
        raise ValueError(f"generator: a list must have one for each of the {len(label_B)} labels, got {len(generator)}")
    if isinstance(model, Raster):
        if smooth or scales != model.scales:
            raise ValueError("smooth and scales: a raster model draws the map it was made for, code after code")
        return token_by_token(model, tokenizer, label_B, cfg, top_k, top_p, generator, on_scale)
    # Conditional and null branch side by side in one batch; the null branch is the second half.
    label_2B = torch.cat((label_B, torch.full_like(label_B, model.class_embed.null)))
    given, cache = model.condition(label_2B), model.make_cache(scales)
    f_hat, x_BlZ = tokenizer.empty(len(label_B), scales), None
    for k in range(scales.K):
        progress = k / (scales.K - 1)
        x_2BlZ = None if x_BlZ is None else x_BlZ.repeat(2, 1, 1)
        cond_BlV, null_BlV = model.step(x_2BlZ, given, k, cache, scales).chunk(2)
        logits_BlV = guide(cond_BlV, null_BlV, cfg * progress)
        logits_BlV = keep_top(logits_BlV, top_k, top_p)
        idx_Bl = draw(logits_BlV, generator)
        if smooth:
            codes_VZ = tokenizer.quantizer.codebook.weight
            h_BlZ = smooth_weights(logits_BlV, progress, generator).to(codes_VZ.dtype) @ codes_VZ
        else:
            h_BlZ = tokenizer.embed(idx_Bl)
        step = Step(k, scales, tokenizer, logits_BlV, idx_Bl, h_BlZ, f_hat)
        if on_scale is not None:
            on_scale(step)
        f_hat = tokenizer.accumulate(f_hat, step.h_BlZ, k, scales)
        if k < scales.K - 1:
            x_BlZ = tokenizer.next_input(f_hat, k, scales)
    return (tokenizer.to_image(f_hat) + 1) / 2


def token_by_token(
    model: Raster,
    tokenizer: VQVAE,
    label_B: torch.Tensor,
    cfg: float,
    top_k: int,
    top_p: float,
    generator: Generators,
    on_scale: Callable[[Step], None] | None,
) -> torch.Tensor:
    """What `generate` does with a raster model: l steps of one token, guided by `cfg` throughout.

    The hook is called after every token. Its step is the one scale so far: codes (B, tokens drawn), and embeddings
    (B, l, Z) that are zero where none is drawn; it may look, and changes nothing.
    """
    label_2B = torch.cat((label_B, torch.full_like(label_B, model.class_embed.null)))
    given, cache = model.condition(label_2B), model.make_cache()
    f_hat, l = tokenizer.empty(len(label_B)), model.scales.total
    x_B1Z: torch.Tensor | None = None
    h_BlZ, codes = f_hat.new_zeros(len(label_B), l, tokenizer.config.z), []
    for i in range(l):
        both = None if x_B1Z is None else x_B1Z.repeat(2, 1, 1)
        cond_B1V, null_B1V = model.step(both, given, i, cache).chunk(2)
        logits_B1V = keep_top(guide(cond_B1V, null_B1V, cfg), top_k, top_p)
        codes.append(draw(logits_B1V, generator))
        x_B1Z = tokenizer.embed(codes[-1])
        h_BlZ[:, i : i + 1] = x_B1Z
        if on_scale is not None:
            on_scale(Step(0, model.scales, tokenizer, logits_B1V, torch.cat(codes, 1), h_BlZ.clone(), f_hat))
    return (tokenizer.to_image(tokenizer.accumulate(f_hat, h_BlZ, 0)) + 1) / 2


def compile_blocks(model: VAR, backend: str = "inductor") -> None:
    """Compile the blocks in place: one graph of static shapes for each scale, shared by all blocks.

    Pays off where many batches of one size follow, on a GPU above all; the first batch takes a minute or more.
    """
    # Past the limit dynamo would silently go on without compiling.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * model.scales.K)
    for block in model.blocks:
        block.compile(dynamic=False, backend=backend)


def check_pair(model: VAR, tokenizer: VQVAE) -> None:
    """Raises ValueError unless both have as many codes, of as many channels."""
    ours, theirs = model.config, tokenizer.config
    if (ours.vocab, ours.z) != (theirs.vocab, theirs.z):
        raise ValueError(
            "model and tokenizer must have the same codebook size (vocab) and latent channels (z), "
            f"got vocab {ours.vocab}, z {ours.z} and vocab {theirs.vocab}, z {theirs.z}"
        )


def check_labels(labels: torch.Tensor | Iterable[int], classes: int) -> torch.Tensor:
    """Labels as int64 (B,). Raises ValueError if there is none or one lies outside [0, classes]."""
    if not isinstance(labels, Iterable):
        raise ValueError(f"labels must be a non-empty list of class indices, got {labels!r}")
    label_B = torch.as_tensor(labels if isinstance(labels, torch.Tensor) else list(labels))
    if label_B.ndim != 1 or len(label_B) == 0 or label_B.is_floating_point():
        raise ValueError(f"labels must be a non-empty list of class indices, got {labels!r}")
    if label_B.min() < 0 or label_B.max() > classes:
        raise ValueError(f"labels must lie in 0 .. {classes - 1} ({classes} is the null class), got {label_B.tolist()}")
    return label_B.long()


def check_settings(cfg: float, top_k: int, top_p: float, V: int) -> None:
    """Raises ValueError that names the sampling setting out of range."""
    if not 0 <= cfg < float("inf"):
        raise ValueError(f"cfg must be 0 or more (0 is no guidance), got {cfg}")
    if not (isinstance(top_k, int) and 0 <= top_k <= V):
        raise ValueError(f"top_k must be an integer from 0 (off) to the codebook size {V}, got {top_k}")
    if not 0 <= top_p <= 1:
        raise ValueError(f"top_p must lie in 0 (off) .. 1, got {top_p}")


def image_generator(seed: int, label: int, index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Random numbers of one image, from its seed, class and number alone."""
    return torch.Generator(device).manual_seed(((seed * 1_000_003 + label) * 1_000_003 + index) % 2**63)


def generate_many(
    model: VAR, tokenizer: VQVAE, labels: Sequence[int], seed: int, batch: int = 64, **settings: Any
) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """Sample any number of images in batches: yields (images in [0, 1], their labels), with a progress bar.

    Every image has a generator of its own, from the seed, its class and its number within the class. The batch size
    therefore does not change which image comes out, but for float rounding of matrix products of another size.
    `settings` are those of `generate`.
    """
    seen: Counter[int] = Counter()
    with tqdm(total=len(labels), unit="image", desc="sampling", mininterval=0.5, delay=3) as bar:
        for start in range(0, len(labels), batch):
            some = list(labels[start : start + batch])
            generators = []
            for label in some:
                generators.append(image_generator(seed, label, seen[label], model.pos_LC.device))
                seen[label] += 1
            yield generate(model, tokenizer, some, generator=generators, **settings), some
            bar.update(len(some))

"""Sampling: checks, then the model's own loop (see varlite/models/next_scale.py); any number of images in batches."""

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from itertools import islice
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from varlite.drawing import Hook, Rules, image_seeds, signed
from varlite.io.checks import brief, integer, value_range
from varlite.io.class_names import class_indices
from varlite.models import Model, require
from varlite.scales import Scales
from varlite.tokenizer import VQVAE

Labels = torch.Tensor | Iterable[int | str]
Seeds = int | Sequence[int] | torch.Tensor
LARGEST_CFG = 1_000_000


@torch.inference_mode()
def generate(
    model: Model,
    tokenizer: VQVAE,
    labels: Labels,
    *,
    cfg: float = 1.5,
    top_k: int = 0,
    top_p: float = 0.96,
    seeds: Seeds | None = None,
    generator: torch.Generator | None = None,
    smooth: bool = False,
    on_logits: Hook | None = None,
    on_scale: Hook | None = None,
    scales: Scales | None = None,
) -> torch.Tensor:
    """Sample one image for each label: (B, channels, H, W) in [0, 1], on the model's device.

    labels: class indices in [0, classes], where `classes` itself is the null class, or names that the model knows.
    cfg: guidance at the last scale, >= 0. It rises linearly over the scales: t = cfg * k / (K - 1).
    top_k, top_p: keep the k likeliest codes, then the likeliest of summed probability p; 0 keeps all.
    seeds: a whole number for each image. An image is a function of its label and seed: the same in any batch, on any
        device, but for rounding. One number for all gives the images of `varlite sample --seed`: the seed of each then
        follows from it, the class and its number among those of the class (`drawing.image_seeds`). None: fresh ones.
    generator: instead of seeds, one for the batch on the model's device: the published code's tokens.
    smooth: mix codes instead of drawing one; for pictures, not for scores.
    on_logits: called at each step before the filters and the draw, with a `Step` whose logits it may change.
    on_scale: called at each step after the draw, with a `Step` whose embeddings it may change. A step is a scale, or
        for a raster model a token.
    scales: another schedule than the model was trained with.

    Raises ValueError for an argument of another type or out of range, a tokenizer with other codes than the model's or
    on another device, or a schedule that the model cannot take.
    """
    check_pair(model, tokenizer)
    scales = model.scales if scales is None else Scales.of(scales)
    if scales != model.scales:
        require(model, "schedules")
    if on_logits is not None:
        require(model, "logits")
    if smooth:
        require(model, "smooth")
    device = device_of(model)
    label_B = check_labels(labels, model)
    check_settings(cfg, top_k, top_p, model.config.vocab)
    seed_B = check_seeds(seeds, label_B).to(device) if generator is None or seeds is not None else None
    rules = Rules(cfg, top_k, top_p, seed_B, generator, smooth, on_logits, on_scale)
    if generator is not None and generator.device.type != device.type:
        raise ValueError(f"generator must be on the model's device, {device}, got {generator.device}")
    with without_drop_path(model):
        return (model.sample(tokenizer, label_B.to(device), rules, scales) + 1) / 2


@contextmanager
def without_drop_path(model: Model) -> Iterator[None]:
    """Evaluation mode: drop-path is for training, and would make the same seed another image and another likelihood."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model's weights are."""
    return next(model.parameters()).device


def check_pair(model: Model, tokenizer: VQVAE) -> None:
    """Raises ValueError unless these are a model and a tokenizer of equal codes on one device; and of equal scales, but
    for a model that takes other schedules."""
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "abilities"):
        raise ValueError(f"model must be a model such as varlite.load gives, got {brief(model)}")
    if not isinstance(tokenizer, torch.nn.Module) or not hasattr(tokenizer, "to_image"):
        raise ValueError(f"tokenizer must be a tokenizer such as varlite.load gives, got {brief(tokenizer)}")
    ours, theirs = model.config, tokenizer.config
    if (ours.vocab, ours.z) != (theirs.vocab, theirs.z):
        raise ValueError(
            "model and tokenizer must have the same codebook size (vocab) and latent channels (z), "
            f"got vocab {ours.vocab}, z {ours.z} and vocab {theirs.vocab}, z {theirs.z}"
        )
    maps = Scales.of(ours.scales)
    if maps != tokenizer.scales and ("schedules" not in model.abilities or maps != model.scales):
        raise ValueError(
            f"model and tokenizer must have the same scales, got {maps.sides} and {tokenizer.scales.sides}"
        )
    a, b = (next(module.parameters()) for module in (model, tokenizer))
    if a.device != b.device or (a.dtype != b.dtype and not torch.is_autocast_enabled(a.device.type)):
        raise ValueError(
            "model and tokenizer must be on one device and of one dtype, "
            f"got {a.dtype} on {a.device} and {b.dtype} on {b.device}"
        )


def check_labels(labels: Labels, model: Model) -> torch.Tensor:
    """Labels as int64 (B,). Raises ValueError if there is none or one is no class of the model."""
    classes = model.config.classes
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if isinstance(labels, Iterable) and not isinstance(labels, torch.Tensor):
        names = getattr(model, "class_names", None) or classes
        labels = class_indices(labels, names) if isinstance(labels, str) else list(labels)
        labels = [class_indices([label], names)[0] if isinstance(label, str) else label for label in labels]
    try:
        label_B = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        label_B = torch.empty(0)
    if label_B.ndim != 1 or len(label_B) == 0 or label_B.is_floating_point() or label_B.dtype == torch.bool:
        raise ValueError(f"labels must be a non-empty list of class indices, got {brief(labels)}")
    low, high = value_range(label_B.long()) or (0, 0)
    if low < 0 or high > classes:
        raise ValueError(f"labels must lie in 0 .. {classes - 1} ({classes} is the null class), got {brief(labels)}")
    return label_B.long()


def check_seeds(seeds: Seeds | None, label_B: torch.Tensor) -> torch.Tensor:
    """Seeds as int64 (B,), fresh ones for None. Raises ValueError unless they are a whole number, or one a label."""
    if seeds is None:
        return torch.randint(-(2**63), 2**63 - 1, label_B.shape)
    if isinstance(seeds, Integral) and not isinstance(seeds, bool):
        return image_seeds(int(seeds), label_B)
    try:
        several = seeds if isinstance(seeds, torch.Tensor) else [integer("seeds", seed) for seed in seeds]
    except (TypeError, ValueError):
        several = []
    if isinstance(several, list):
        several = torch.tensor([signed(seed) for seed in several], dtype=torch.int64)
    if several.shape != label_B.shape or several.is_floating_point() or several.dtype == torch.bool:
        raise ValueError(
            f"seeds must be whole numbers, one for each of the {len(label_B)} labels, or one number, got {brief(seeds)}"
        )
    return several.long()


def check_settings(cfg: float, top_k: int, top_p: float, V: int) -> None:
    """Raises ValueError that names the sampling setting out of range."""
    if not (isinstance(cfg, Real) and cfg >= 0):
        raise ValueError(f"cfg must be 0 or more (0 is no guidance), got {brief(cfg)}")
    if cfg > LARGEST_CFG:
        raise ValueError(
            f"cfg must be at most {LARGEST_CFG:,}, where float32 still tells guided logits apart, got {cfg}"
        )
    if not (isinstance(top_k, Integral) and 0 <= top_k <= V):
        raise ValueError(f"top_k must be an integer from 0 (off) to the codebook size {V}, got {brief(top_k)}")
    if not (isinstance(top_p, Real) and 0 <= top_p <= 1):
        raise ValueError(f"top_p must lie in 0 (off) .. 1, got {brief(top_p)}")


def generate_many(
    model: Model, tokenizer: VQVAE, labels: Labels, seed: int, batch: int = 64, total: int | None = None,
    share: tuple[int, int] = (0, 1), **settings: Any,
) -> Iterator[tuple[torch.Tensor, list[int]]]:  # fmt: skip
    """Sample any number of images in batches: yields (images in [0, 1], their labels), with a progress bar.

    labels: a list, or any iterable, which is read as images are made; `total` is how many it gives, for the bar.
    Every image has a seed of its own, from `seed`, its class and its number within the class. The batch size therefore
    does not change which image comes out, but for float rounding of matrix products of another size.
    share: (i, n) makes batch i and every n-th after it, for one of n processes; together they make what one would.
    `settings` are those of `generate`.
    """
    from tqdm import tqdm  # `varlite verify` does without

    check_pair(model, tokenizer)
    seed, batch = integer("seed", seed), integer("batch", batch, 1)
    total = None if total is None else integer("total", total, 0)
    if not isinstance(labels, Iterable) or isinstance(labels, str | list | tuple | torch.Tensor | np.ndarray):
        labels = check_labels(labels, model).tolist()
    seen: Counter[int] = Counter()
    total, rest = len(labels) if isinstance(labels, Sized) else total, iter(labels)
    index, count = share
    with tqdm(total=total, unit="image", desc="sampling", mininterval=0.5, delay=3, disable=index > 0) as bar:
        for turn in itertools.count():
            if not (chunk := list(islice(rest, min(batch, sys.maxsize)))):
                return
            some, numbers = check_labels(chunk, model).tolist(), []
            for label in some:
                numbers.append(seen[label])
                seen[label] += 1
            if turn % count == index:
                seeds = image_seeds(seed, torch.tensor(some), torch.tensor(numbers))
                yield generate(model, tokenizer, some, seeds=seeds, **settings), some
            bar.update(len(some))

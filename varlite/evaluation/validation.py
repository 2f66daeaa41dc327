"""Scores on held-out data without sampling: error and codebook health of a tokenizer, loss and token error of a
transformer."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from varlite.datasets import Dataset
from varlite.datasets.pixels import to_float
from varlite.datasets.tokens import TokenCache
from varlite.models import Model
from varlite.tokenizer import VQVAE


def batches_of(dataset: Dataset, most: int = 10_000, batch: int = 250) -> Iterator[torch.Tensor]:
    """The first images of a dataset, a batch at a time."""
    return (dataset.images(rows) for rows in torch.arange(min(most, len(dataset.labels))).split(batch))


@torch.no_grad()
def validate_tokenizer(model: VQVAE, batches: Iterable[torch.Tensor]) -> dict[str, Any]:
    """Mean squared error on [-1, 1] images, and codebook health, over batches of bytes (B, channels, H, W)."""
    device, error, pixels = model.quantizer.codebook.weight.device, 0.0, 0
    usage_KV = torch.zeros(model.scales.K, model.config.vocab, device=device)
    for img in batches:
        x = to_float(img.to(device))
        idx = model.encode(x)
        usage_KV += count_codes(idx, model.config.vocab)
        error += F.mse_loss(model.decode(idx), x, reduction="sum").item()
        pixels += x.numel()
    return {"val_mse": error / pixels} | codebook_health(usage_KV)


def count_codes(idx: list[torch.Tensor], V: int) -> torch.Tensor:
    """(K, V) how often each scale's tokens are each code."""
    return torch.stack([torch.bincount(idx_Bl.flatten(), minlength=V) for idx_Bl in idx]).float()


@torch.no_grad()
def codebook_health(usage_KV: torch.Tensor) -> dict[str, Any]:
    """From `count_codes`: the share of codes used at all; codes used, dead codes and perplexity per scale.

    Perplexity, exp of the entropy, is the number of codes that uniform use would need; near 1 a scale has collapsed.
    """
    p_KV = usage_KV / usage_KV.sum(1, keepdim=True)
    perplexity_K = (-(p_KV * p_KV.clamp_min(1e-12).log()).sum(1)).exp()
    used_K = (usage_KV > 0).sum(1)
    return {
        "codes_used": (usage_KV.sum(0) > 0).float().mean().item(),
        "codes_used_per_scale": used_K.tolist(),
        "dead_codes_per_scale": (usage_KV.shape[1] - used_K).tolist(),
        "perplexity_per_scale": [round(p, 1) for p in perplexity_K.tolist()],
    }


@torch.inference_mode()
def validate_transformer(model: Model, tokenizer: VQVAE, cache: TokenCache, n: int = 2000) -> dict[str, float]:
    """Cross-entropy and token error over the first n examples, all tokens and last scale; no label is dropped."""
    model.eval()
    start, sums, count = model.scales.spans[-1][0], torch.zeros(4), min(n, len(cache))
    device = next(model.parameters()).device
    for rows in torch.arange(count).split(250):
        idx_BL, label_B = (x.to(device) for x in cache.batch(rows))
        loss_BL, error_BL = model.score_tokens(tokenizer, model.scales.split(idx_BL), label_B)
        sums += torch.stack(
            [x.mean(1).sum() for x in (loss_BL, loss_BL[:, start:], error_BL, error_BL[:, start:])]
        ).cpu()
    names = ("val_loss", "val_loss_last", "val_error", "val_error_last")
    return dict(zip(names, (sums / count).tolist(), strict=True))

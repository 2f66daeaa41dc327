"""Scores on held-out data without sampling: error and codebook health of a tokenizer, loss and token error of a
transformer."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from varlite.datasets import Dataset
from varlite.datasets.batches import rows_across
from varlite.datasets.pixels import to_float
from varlite.datasets.tokens import TokenCache
from varlite.models import Model
from varlite.tokenizer import VQVAE


def batches_of(dataset: Dataset, size: tuple[int, int], most: int = 10_000) -> Iterator[torch.Tensor]:
    """Images of a dataset (`rows_across`), opened for `size` (H, W), as many at a time as memory can take."""
    batch = min(250, max(1, 2**20 // (size[0] * size[1])))
    return (dataset.images(rows) for rows in rows_across(dataset.labels, most).split(batch))


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
    """Means over n examples (`rows_across`) of what the model's `score` gives, each as `val_` and its name; no label
    is dropped. Of a model of tokens: cross-entropy and token error, over all tokens and over the last scale."""
    model.eval()
    sums: dict[str, float] = {}
    count, device = min(n, len(cache)), next(model.parameters()).device
    most = 2**28 // (model.scales.total * model.config.vocab)  # logits of a batch, 1 GB of them
    for indices in rows_across(cache.label(torch.arange(len(cache))), n).split(min(250, max(1, most))):
        rows, label_B = (x.to(device) for x in cache.batch(indices))
        for name, figure_B in model.score(tokenizer, cache.example(tokenizer.scales, rows), label_B).items():
            sums[f"val_{name}"] = sums.get(f"val_{name}", 0.0) + figure_B.sum().item()
    return {name: total / count for name, total in sums.items()}

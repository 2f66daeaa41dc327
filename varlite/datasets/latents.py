"""Latents, the encoder's output before quantization, kept as tokens are; and which of the two a model learns from."""

from typing import Any, ClassVar

import numpy as np
import torch

from varlite.datasets.tokens import TokenCache
from varlite.models.contract import Learns
from varlite.scales import Scales
from varlite.tokenizer import VQVAE


class LatentCache(TokenCache):
    """Latents of a whole dataset on disk: `latents.npy` (N, Z, h, w) float16, memory-mapped, `labels.npy`, `meta.json`.

    Rounding to 16 bits changes the mean squared error of a decoded image by less than a ten-thousandth of it.
    """

    name: ClassVar[str] = "latents"
    dtype: ClassVar[type] = np.float16
    given: ClassVar[type] = np.float32

    @staticmethod
    def expected(meta: dict[str, Any]) -> tuple[int, ...]:
        return (meta["z"], *Scales.of(meta["scales"]).last)

    @staticmethod
    def encode(tokenizer: VQVAE, img_B3HW: torch.Tensor) -> torch.Tensor:
        return tokenizer.features(img_B3HW)

    @staticmethod
    def example(scales: Scales, rows: torch.Tensor) -> torch.Tensor:
        return rows


CACHES: dict[Learns, type[TokenCache]] = {"tokens": TokenCache, "latents": LatentCache}

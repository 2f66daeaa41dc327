"""Distances between two sets of images, given their features; torch-fidelity computes them.

Which features decides what a distance may be called: FID is Inception's, and only Inception's. With the features of
fashion-classifier it is "FD (fashion features)".
"""

import numpy as np
import torch
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric


def statistics(features_NX: torch.Tensor) -> dict[str, np.ndarray]:
    """Mean and covariance of features, (N, X) -> {"mu": (X,), "sigma": (X, X)}.

    Raises ValueError for fewer than two rows.
    """
    if features_NX.ndim != 2 or len(features_NX) < 2:
        raise ValueError(f"features must be (N, X) with N of at least 2, got {tuple(features_NX.shape)}")
    x = features_NX.double().numpy()
    return {"mu": x.mean(0).astype(np.float32), "sigma": np.cov(x, rowvar=False)}


def frechet_distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """|mu_a - mu_b|^2 + tr(sigma_a + sigma_b - 2 (sigma_a sigma_b)^1/2) (arXiv 1706.08500, equation 6)."""
    return fid_statistics_to_metric(a, b, False)["frechet_inception_distance"]


def precision_recall(generated_NX: torch.Tensor, real_NX: torch.Tensor, k: int = 3) -> tuple[float, float]:
    """Share of generated features near a real one, and of real features near a generated one (arXiv 1904.06991)."""
    settings = {"prc_neighborhood": k, "prc_batch_size": 10_000, "save_cpu_ram": True, "verbose": False}
    scores = prc_features_to_metric(generated_NX, real_NX, **settings)
    return scores["precision"], scores["recall"]

"""Statistics of features: distances between two sets of images, given a row of features for each.

    x_NX = extract(extractor, images)["pool"]                    features.py
    frechet_distance(statistics(a_NX), statistics(b_NX))         FID, if the features are Inception's; else FD
    kid(a_NX, b_NX)  inception_score(logits_NV)  precision_recall(generated_NX, real_NX)

Features are a tensor (N, X), or the same on disk (`Rows`), which is read in blocks. The formulas are torch-fidelity's;
where its functions need all rows in memory at once, ours go through them in blocks, with the same results
(tests/evaluation/test_statistics.py).
"""

import math
from collections.abc import Iterator

import numpy as np
import torch

from varlite.evaluation.feature_store import Rows

Features = torch.Tensor | Rows
BLOCK = 2000
ADM_RUN = 5000  # images in a part of the Inception Score, as ADM's evaluator computes it


def blocks(x_NX: Features) -> Iterator[torch.Tensor]:
    return (x_NX[start : start + BLOCK] for start in range(0, len(x_NX), BLOCK))


def check_features(argument: str, x_NX: Features, least: int) -> None:
    """Raises ValueError for fewer than `least` rows."""
    if len(x_NX.shape) != 2 or len(x_NX) < least:
        raise ValueError(f"{argument} must be (N, X) with N of at least {least}, got {tuple(x_NX.shape)}")


def statistics(x_NX: Features) -> dict[str, np.ndarray]:
    """Mean and unbiased covariance of features, (N, X) -> {"mu": (X,), "sigma": (X, X)}.

    Raises ValueError for fewer than two rows.
    """
    check_features("features", x_NX, 2)
    mean, products = torch.zeros(x_NX.shape[1]).double(), torch.zeros(x_NX.shape[1], x_NX.shape[1]).double()
    for block in blocks(x_NX):
        mean += block.double().sum(0)
    mean /= len(x_NX)
    for block in blocks(x_NX):
        centred = block.double() - mean
        products.addmm_(centred.T, centred)
    return {"mu": mean.float().numpy(), "sigma": (products / (len(x_NX) - 1)).numpy()}


def frechet_distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """|mu_a - mu_b|^2 + tr(sigma_a + sigma_b - 2 (sigma_a sigma_b)^1/2) (arXiv 1706.08500, equation 6).

    Never below zero: for singular covariances rounding alone would take it there. With fewer images than features it is
    much too large; it falls as their number grows, so compare distances of equally many images only.
    """
    from torch_fidelity.metric_fid import fid_statistics_to_metric  # with torchvision two seconds of start-up

    a, b = ({name: np.asarray(x[name], np.float64) for name in ("mu", "sigma")} for x in (a, b))
    if a["mu"].shape != b["mu"].shape:
        raise ValueError(f"statistics of different features: {len(a['mu'])} of them and {len(b['mu'])}")
    distance = fid_statistics_to_metric(a, b, False)["frechet_inception_distance"]
    if not math.isfinite(distance):
        raise ValueError("statistics: mean or covariance of one of them holds NaN or infinity")
    return max(0.0, distance)


def kid(
    generated_NX: Features, real_NX: Features, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Kernel distance (arXiv 1801.01401): mean and deviation over `subsets` of `size` random images, of all if fewer.

    Unbiased: for equal distributions it scatters around zero, and may be negative.
    """
    from torch_fidelity.metric_kid import kernel_mmd

    for argument, x_NX in (("generated", generated_NX), ("real", real_NX)):
        check_features(argument, x_NX, 2)
    size, random = min(size, len(generated_NX), len(real_NX)), np.random.RandomState(seed)

    def some(x_NX: Features) -> np.ndarray:
        return x_NX[random.choice(len(x_NX), size, replace=False)].numpy()

    distances = [kernel_mmd(some(generated_NX), some(real_NX)) for _ in range(subsets)]
    return float(np.mean(distances)), float(np.std(distances))


def inception_score(
    logits_NV: Features, splits: int | None = None, shuffle: bool = True, seed: int = 2020
) -> tuple[float, float]:
    """exp E KL(p(y|x), p(y)) (arXiv 1606.03498, section 4): mean and deviation over `splits` parts of the images.

    splits: None takes parts of 5,000 images, as ADM's evaluator does, and ten parts where there are fewer images: those
    score lower, and only scores of equally large parts can be compared.
    p(y) is each part's own: without `shuffle`, images sorted by class have few classes in a part and score too low.
    """
    N = len(logits_NV)
    if splits is None:
        splits = N // ADM_RUN or 10
    check_features("logits", logits_NV, splits)
    order = np.random.RandomState(seed).permutation(N) if shuffle else np.arange(N)
    bounds = torch.arange(splits + 1) * N // splits
    part_N = torch.empty(N, dtype=torch.long)
    part_N[torch.from_numpy(order)] = torch.arange(splits).repeat_interleave(bounds.diff())
    sums, negative_entropy = torch.zeros(splits, logits_NV.shape[1]).double(), torch.zeros(splits).double()
    for block, part in zip(blocks(logits_NV), part_N.split(BLOCK), strict=True):
        log_p = block.double().log_softmax(1)
        sums.index_add_(0, part, log_p.exp())
        negative_entropy.index_add_(0, part, (log_p.exp() * log_p).sum(1))
    mean = sums / bounds.diff()[:, None]
    scores = (negative_entropy / bounds.diff() - torch.xlogy(mean, mean).sum(1)).exp()
    return scores.mean().item(), scores.std(unbiased=False).item()


def precision_recall(generated_NX: Features, real_NX: Features, k: int = 3) -> tuple[float, float]:
    """Share of generated features near a real one, and of real features near a generated one (arXiv 1904.06991).

    Near means within the distance of that one to its own k-th neighbour. Raises ValueError for k rows or fewer.
    """
    for argument, x_NX in (("generated", generated_NX), ("real", real_NX)):
        check_features(argument, x_NX, k + 1)
    return covered(generated_NX, real_NX, k), covered(real_NX, generated_NX, k)


def covered(x_NX: Features, by_MX: Features, k: int) -> float:
    """Share of the rows of `x_NX` within the radius of any row of `by_MX`."""
    radii = [_radii(block, by_MX, k) for block in blocks(by_MX)]
    inside = 0
    for block in blocks(x_NX):
        near = torch.zeros(len(block), dtype=torch.bool)
        for others, radius in zip(blocks(by_MX), radii, strict=True):
            near |= (torch.cdist(block, others) <= radius).any(1)
        inside += int(near.sum())
    return inside / len(x_NX)


def _radii(block_BX: torch.Tensor, x_NX: Features, k: int) -> torch.Tensor:
    """k-th-neighbour distance of each row among `x_NX`, excluding itself."""
    nearest = torch.empty(len(block_BX), 0)
    for others in blocks(x_NX):
        nearest = torch.cat((nearest, torch.cdist(block_BX, others)), 1)
        nearest = nearest.topk(min(k + 1, nearest.shape[1]), largest=False).values
    return nearest.max(1).values

"""Fréchet distance in features of a network (arXiv 1706.08500, equation 6): never called FID, which is Inception's.

Sees: where the features of a set lie and how they spread, as far as a Gaussian tells.
Fooled by: whatever pleases its network. With `fashion-classifier`, by which models here were compared and settings
chosen, a change of the logits can lower it while samples leave the data; with `fashion-judge`, which nothing was chosen
by, that needs luck. By copies of training pictures, and by lack of diversity: twenty training pictures a class,
slightly noisy, score better than any model, since two moments do not tell twenty pictures from a thousand. And it falls
with N: compare equal numbers.
"""

from collections.abc import Callable

import torch

from varlite.evaluation.judges.interface import Judge, Pictures
from varlite.evaluation.statistics import frechet_distance, statistics

BLIND: dict[str, frozenset[str]] = {  # corruptions (experiments/corruptions.py) that it misses
    "fd_first": frozenset({"memorised"}), "fd_second": frozenset({"memorised"}),
}  # fmt: skip


class FeatureDistance(Judge):
    """Fréchet distance between the features "first" (fashion-classifier) or "second" (fashion-judge)."""

    squared = True

    def __init__(self, view: str):
        self.view, self.name = view, f"fd_{view}"
        self.blind = BLIND[self.name]
        self.sees = f"mean and covariance of the {view} classifier's features"

    def rows(self, pictures: Pictures) -> torch.Tensor:
        return pictures.view(self.view)

    def score(self, samples: torch.Tensor, reference: torch.Tensor) -> float:
        return self.against(reference)(samples)

    def against(self, reference: torch.Tensor) -> Callable[[torch.Tensor], float]:
        real = statistics(reference)
        return lambda samples: frechet_distance(statistics(samples), real)
